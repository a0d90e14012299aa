"""config.yaml as validated, frozen objects.

A *run* is (variant, scale, seed).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from samdiffsr.config.checks import check_references
from samdiffsr.config.inheritance import completed
from samdiffsr.config.schema import Baseline, Dataset, OwnSampling, Run, Study, Variant
from samdiffsr.config.tables import FigureName, Protocol, Report, Row, Table
from samdiffsr.core.errors import UserError
from samdiffsr.core.layout import mask_name
from samdiffsr.core.recipe import Name, Precision, Strict, problem
from samdiffsr.core.registry import similar
from samdiffsr.data.manifest import Entry, expected_images, images_digest
from samdiffsr.data.recipe import Bicubic, Degradation, RealEsrgan
from samdiffsr.diffusion.recipe import Diffusion
from samdiffsr.diffusion.registry import FORMULATIONS
from samdiffsr.evaluation.metrics import Metric, of_kind
from samdiffsr.evaluation.named import Definition, Definitions
from samdiffsr.masks.recipe import MaskRecipe
from samdiffsr.reporting.figures.registry import AnyFigure
from samdiffsr.sampling.recipe import Chain
from samdiffsr.training.recipe import Training
from samdiffsr.training.watching import Watching


class Config(Strict):
    """All of config.yaml."""

    study: Name
    """The study to run: a block of `studies`."""
    checkpoint_source: Literal["trained", "released"] = "trained"
    """`trained`: train what is missing. `released`: use the models in checkpoints/ and train nothing."""
    mirror: str | None = None
    """A folder or a URL prefix to search before any download."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where networks run. `auto`: on a GPU if there is one."""
    precision: Precision = "auto"
    """Arithmetic of the networks. `auto`: bf16 where the device has instructions for it, else float32."""
    compile: Literal["auto"] | bool = "auto"
    """Whether to train with torch.compile. `auto`: from 20 000 steps on a GPU."""
    missing_test_sets: Literal["skip", "fail"] = "skip"
    """A test set that cannot be fetched: leave it out and say so, or stop."""
    missing_weights: Literal["skip", "fail"] = "skip"
    """A metric whose network is missing: leave its cells empty and say why, or stop."""
    stop_below_bicubic: Annotated[float, Field(gt=0)] | None = 6.0
    """Stop if images score worse than bicubic by more than this many dB of PSNR. `null`: never stop."""
    allow_slow: bool = False
    """Allow trainings that would take longer than `slow_hours` on this machine."""
    slow_hours: Annotated[float, Field(gt=0)] = 72.0
    """Hours above which a training is refused, unless `allow_slow`."""
    command_hours: Annotated[float, Field(gt=0)] = 24.0
    """Hours after which the command of another method is stopped, for each test set."""
    watch: Watching = Watching()
    """What a training shows while it runs."""
    degradation: Degradation = Bicubic()
    """How LR images are made from HR images."""
    diffusion: Diffusion = Diffusion()
    """The diffusion process that all variants share."""
    protocol: Protocol = Protocol()
    """How images are compared."""
    report: Report = Report()
    """How many images results/report.html holds."""
    plugins: tuple[str, ...] = ()
    """Modules of your own that add methods, features, metrics and others (docs/develop/extending.md)."""
    metrics: Definitions
    """Metrics of pyiqa by name, beside those that come with the package."""
    datasets: dict[Name, Dataset]
    """Folders of images."""
    mask_sets: dict[Name, MaskRecipe]
    """Ways to find regions: a segmenter, and the image that it sees."""
    studies: dict[Name, Study]
    """Data, seeds, networks and effort under one name."""
    variants: dict[Name, Variant]
    """Methods as data."""
    baselines: dict[Name, Baseline] = Field(default_factory=dict)
    """Methods of others. Merged over those that come with the package."""
    tables: dict[Name, Table]
    """Tables: rows, data sets, metrics, claimed differences."""
    figures: dict[FigureName, AnyFigure] = Field(default_factory=dict)
    """Figures, each of one kind."""
    # test sets that are not there, and why; the workflow fills it in
    left_out: dict[Name, str] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, value: Any) -> Any:
        return completed(value)

    @model_validator(mode="after")
    def _references(self) -> Config:
        check_references(self)
        return self

    # ---- the chosen study ----

    @property
    def chosen(self) -> Study:
        return self.studies[self.study]

    @property
    def levels(self) -> dict[str, str]:
        """Level -> mask set: the study's, then the mask sets that variants in tables name themselves."""
        shown = (self.variants[name] for table in self.tables.values() for name in table.variants)
        named = {variant.masks: variant.masks for variant in shown if variant.masks is not None}
        return self.chosen.masks | {k: name for k, name in named.items() if k not in self.chosen.masks}

    @property
    def inference_masks(self) -> str | None:
        """The mask set of networks that see masks at inference: one found on LR images."""
        masks = self.chosen.masks
        on_lr = (name for name in masks.values() if self.mask_sets[name].image == "lr")
        return masks.get("low") or next(on_lr, None)

    def training(self, variant: str) -> Training:
        base = self.chosen.training.model_dump()
        unknown = sorted(set(self.variants[variant].training) - set(base))
        if unknown:
            raise ValueError(
                f"variants.{variant}.training.{unknown[0]}: unknown key{similar(unknown[0], base)}"
            )
        try:
            return Training.model_validate({**base, **self.variants[variant].training})
        except ValidationError as error:
            raise ValueError(f"variants.{variant}.training.{problem(error)}") from None

    def runs(self, variant: str, scale: int) -> list[Run]:
        """The runs whose mean is a table's cell: one a seed, or one where this study trains nothing.

        Images drawn again of one imported network would say nothing of another training.
        """
        once = self.trivial(variant) or self.variants[variant].foreign is not None
        seeds = self.chosen.seeds[:1] if once else self.chosen.seeds
        return [Run(variant=variant, scale=scale, seed=seed) for seed in seeds]

    def encoder_of(self, variant: str) -> str:
        """Name of a variant's encoder; one that is imported is called as its variant."""
        return self.variants[variant].encoder if self.variants[variant].foreign is None else variant

    def model_of(self, variant: str) -> str:
        """The variant whose training makes a variant's networks."""
        return self.variants[variant].model_of or variant

    def chain(self, variant: str) -> Chain:
        """How a variant's images are drawn: as the study says, but for what it says itself."""
        study, own = self.chosen.sampling, self.variants[variant].sampling or OwnSampling()
        start = own.start or study.start if own.like is None else self.start(own.like)
        return Chain(steps=own.steps or study.steps, start=start, pad=study.pad)

    def start(self, variant: str) -> int:
        """The step t at which a denoiser's images are begun: as many steps there are to draw them in."""
        arm = FORMULATIONS[self.variants[variant].formulation]
        return self.chain(variant).start or arm.first_t(self.diffusion.steps)

    def calls(self, variant: str) -> int:
        """In how many steps a denoiser's images are drawn, by the study's count: T stands for all."""
        return self.chain(variant).steps or self.diffusion.steps

    def trivial(self, variant: str) -> bool:
        """Whether a variant is neither trained nor random."""
        return self.variants[variant].kind in ("bicubic", "baseline")

    def scales(self, variant: str) -> list[int]:
        """The scale factors at which some table has the variant; 4 if none has it."""
        tables = self.tables.values()
        return sorted({t.scale for t in tables if variant in t.variants}) or [4]

    @property
    def all_scales(self) -> list[int]:
        """The scale factors of all tables."""
        return sorted({table.scale for table in self.tables.values()})

    def table_datasets(self, table: str) -> list[str]:
        """The table's data sets that the study tests on, in the table's order."""
        return self.tested(self.tables[table].datasets)

    def tested(self, wanted: Iterable[str]) -> list[str]:
        """Those of `wanted` that the study tests on, in their order; if none, all that it tests on."""
        return [name for name in wanted if name in self.chosen.test_sets] or list(self.chosen.test_sets)

    def mask_set(self, variant: str) -> str | None:
        """Name of the mask set that a variant trains with in this study."""
        chosen = self.variants[variant]
        if chosen.masks is None:
            return None
        own = self.chosen.masks.get(chosen.masks, chosen.masks)
        return own if chosen.placebo is None else f"{own}_{chosen.placebo}"

    def mask_name(self, mask_set: str, scale: int) -> str:
        """File name of a mask set's regions: those found on LR images belong to one scale factor."""
        return mask_name(mask_set, None if self.mask_sets[mask_set].image == "hr" else scale)

    def row_label(self, row: Row) -> str:
        """What a table calls a row: its scores are averaged, and its claims joined, by this."""
        return row.label or (row.published if row.variant is None else self.variants[row.variant].label)

    def dataset_label(self, name: str) -> str:
        return self.datasets[name].label or name

    def degradation_of(self, dataset: str) -> Bicubic | RealEsrgan | None:
        """How a data set's LR images are made; None where they are given."""
        spec = self.datasets[dataset]
        return None if spec.lr or spec.reference == "none" else spec.degradation or self.degradation

    def with_truth(self, datasets: Iterable[str]) -> list[str]:
        """Those of `datasets` whose truth is known."""
        return [name for name in datasets if self.datasets[name].reference == "hr"]

    def without(self, missing: dict[str, str]) -> Config:
        """The same without the test sets `missing` (name -> why); UserError if none is left."""
        kept = tuple(name for name in self.chosen.test_sets if name not in missing)
        if not kept:
            name, why = next(iter(missing.items()))
            raise UserError(f"study {self.study!r}: no test set is there ({name}: {why})")
        study = self.chosen.model_copy(update={"test_sets": kept})
        left_out = {**self.left_out, **missing}
        return self.model_copy(update={"studies": {**self.studies, self.study: study}, "left_out": left_out})

    def expected_images(self, dataset: str) -> tuple[Entry, ...] | None:
        """What the manifests under version control say a data set holds; None where they do not say."""
        spec = self.datasets[dataset]
        return expected_images(spec.folder, spec.exclude)

    def images_digest(self, dataset: str) -> str | None:
        """Digest of a data set's images, from the manifests alone."""
        expected = self.expected_images(dataset)
        return None if expected is None else images_digest(expected)

    def weights(self, variant: str) -> list[str]:
        """Which weights of a variant's runs are scored, the headline first; "none" where there are none."""
        if self.trivial(variant):
            return ["none"]
        return list(self.chosen.sampling.weights) if self.variants[variant].foreign is None else ["raw"]

    def defined(self, names: Iterable[str]) -> dict[str, Definition]:
        """Those of these metrics that the configuration itself defines."""
        return {name: self.metrics[name] for name in sorted(set(names) & set(self.metrics))}

    def asked(self, kind: type[Metric]) -> list[str]:
        """The metrics of one kind (ImageMetric, SetMetric, CostMetric) that some table asks for."""
        return of_kind((name for table in self.tables.values() for name in table.metrics), kind)
