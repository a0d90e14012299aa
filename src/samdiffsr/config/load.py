"""config.yaml as validated, frozen objects, and the recipes that the stages are run with.

A *run* is (variant, scale, seed). A *recipe* is the part of the configuration that decides what a stage
computes, as plain JSON: the workflow hands it to the stage and re-runs the stage when it changes, and the
stage writes it into what it makes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from samdiffsr.config.schema import (
    Baseline,
    Dataset,
    FigureName,
    Name,
    Protocol,
    Report,
    Run,
    Study,
    Table,
    Variant,
)
from samdiffsr.core.errors import UserError
from samdiffsr.core.layout import mask_name
from samdiffsr.core.recipe import Precision, Strict
from samdiffsr.core.registry import similar
from samdiffsr.data.catalogue import baselines
from samdiffsr.data.manifest import Entry, expected_images, images_digest
from samdiffsr.data.recipe import Degradation
from samdiffsr.diffusion.recipe import Diffusion
from samdiffsr.evaluation.metrics import Metric, of_kind
from samdiffsr.masks.recipe import MaskRecipe
from samdiffsr.reporting.figures.registry import KINDS, AnyFigure
from samdiffsr.reporting.figures.spec import Figure, Metrics
from samdiffsr.training.recipe import Training


class Config(Strict):
    """All of config.yaml."""

    study: Name
    checkpoint_source: Literal["trained", "released"] = "trained"
    mirror: str | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Precision = "auto"
    compile: Literal["auto"] | bool = "auto"  # the networks in training, with torch.compile
    missing_test_sets: Literal["skip", "fail"] = "skip"
    missing_weights: Literal["skip", "fail"] = "skip"
    stop_below_bicubic: Annotated[float, Field(gt=0)] | None = 6.0  # dB of PSNR; None: score anything
    allow_slow: bool = False  # train even what takes longer than slow_hours
    slow_hours: Annotated[float, Field(gt=0)] = 72.0
    command_hours: Annotated[float, Field(gt=0)] = 24.0  # of a baseline's program for one test set
    degradation: Degradation = Degradation()
    diffusion: Diffusion = Diffusion()
    protocol: Protocol = Protocol()
    report: Report = Report()
    datasets: dict[Name, Dataset]
    mask_sets: dict[Name, MaskRecipe]
    studies: dict[Name, Study]
    variants: dict[Name, Variant]
    baselines: dict[Name, Baseline] = Field(default_factory=dict)
    tables: dict[Name, Table]
    figures: dict[FigureName, AnyFigure] = Field(default_factory=dict)
    # test sets that are not there, and why; the workflow fills it in
    left_out: dict[Name, str] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _inherit(cls, value: Any) -> Any:
        """Fill every variant with what its `base` says, and the baselines with the packaged ones."""
        variants = value.get("variants") if isinstance(value, dict) else None
        if not isinstance(variants, dict):
            return value
        for name, own in variants.items():
            if not isinstance(own, dict) or not isinstance(own.get("training", {}), dict):
                raise ValueError(f"variants.{name}: it and its `training` must map keys to values")
        others: dict[str, Any] = {**baselines()}
        for name, own in (value.get("baselines") or {}).items():
            others[name] = {**others.get(name, {}), **own} if isinstance(own, dict) else own
        value = {**value, "baselines": others}
        for name, own in others.items():
            if isinstance(own, dict):
                if name in variants and variants[name].get("kind") != "baseline":
                    raise ValueError(f"baselines.{name}: a variant has this name too")
                row = {"label": own.get("label", name), "published": own.get("published", "")}
                variants = {**variants, name: {**row, "kind": "baseline", "formulation": "none"}}

        def full(name: str, seen: tuple[str, ...] = ()) -> dict[str, Any]:
            own = variants[name]
            base = own.get("base")
            if base is None:
                return own
            if base in seen or base == name:
                raise ValueError(f"variants.{name}.base: {base!r} leads back to itself")
            if base not in variants:
                raise ValueError(f"variants.{name}.base: no variant {base!r}{similar(base, variants)}")
            inherited = full(base, (*seen, name))
            training = {**inherited.get("training", {}), **own.get("training", {})}
            return {**inherited, "published": "", **own, "training": training}

        complete = {name: full(name) for name in variants}
        return _with_placebos({**value, "variants": complete})

    @model_validator(mode="after")
    def _references(self) -> Config:
        def known(where: str, name: str, things: Any, what: str) -> None:
            if name not in things:
                raise ValueError(f"{where}: no {what} {name!r}{similar(name, things)}")

        known("study", self.study, self.studies, "study")
        for key, study in self.studies.items():
            known(f"studies.{key}.train_set", study.train_set, self.datasets, "dataset")
            for name in study.test_sets:
                known(f"studies.{key}.test_sets", name, self.datasets, "dataset")
            for level, name in study.masks.items():
                known(f"studies.{key}.masks.{level}", name, self.mask_sets, "mask set")
        for key, table in self.tables.items():
            for name in table.variants:
                known(f"tables.{key}.rows", name, self.variants, "variant")
            for pair in table.differences:
                for name in (pair.of, pair.minus):
                    known(f"tables.{key}.differences", name, table.variants, "row of the table for variant")
            for name in table.datasets:
                known(f"tables.{key}.datasets", name, self.datasets, "dataset")
        for key, figure in self.figures.items():
            self._figure_references(key, figure, known)
        for key, variant in self.variants.items():
            if variant.kind == "baseline":
                known(f"variants.{key}", key, self.baselines, "baseline")
        study = self.studies[self.study]
        for key, variant in self.variants.items():
            if variant.foreign is not None:
                if key in study.encoders:
                    raise ValueError(
                        f"variants.{key}.foreign: an encoder of study {self.study!r} has this name"
                    )
                continue
            known(
                f"variants.{key}.encoder", variant.encoder, study.encoders, f"encoder of study {self.study!r}"
            )
            if variant.masks is not None:
                known(
                    f"variants.{key}.masks", variant.masks, study.masks, f"mask level of study {self.study!r}"
                )
                if variant.placebo and self.mask_sets[study.masks[variant.masks]].image == "lr":
                    raise ValueError(f"variants.{key}.placebo: masks found on LR images have none")
            training = self.training(key)
            if variant.kind == "denoiser":
                self._check_patch(key, training.patch)
        return self

    def _check_patch(self, variant: str, patch: int) -> None:
        """A patch is whole LR pixels and halves at every level of the U-Net, down to two pixels."""
        halved = 2 ** (len(self.chosen.unet.mults) - 1)
        multiple = math.lcm(halved, *self.scales(variant))
        if patch % multiple or patch < 2 * halved:
            raise ValueError(
                f"variants.{variant}: its training.patch {patch} must be a multiple of {multiple} (of the "
                f"scale factors and the U-Net's levels), {2 * halved} or more"
            )

    def _figure_references(self, key: str, figure: Figure, known: Any) -> None:
        where = f"figures.{key}"
        for name in getattr(figure, "tables", ()):
            known(f"{where}.tables", name, self.tables, "table")
        for name in getattr(figure, "datasets", ()):
            known(f"{where}.datasets", name, self.datasets, "dataset")
        for field in ("variant", "variants", "control"):
            names = getattr(figure, field, ())
            for name in (names,) if isinstance(names, str) else names:
                known(f"{where}.{field}", name, self.variants, "variant")
                if field in figure.masked and not self.variants[name].structured:
                    raise ValueError(f"{where}.{field}: {name!r} has no masks to show")
                if figure.denoisers and self.variants[name].kind != "denoiser":
                    raise ValueError(f"{where}.{field}: {name!r} is no denoiser")
        most = self.diffusion.steps
        for field in ("steps", "times"):
            if max(getattr(figure, field, (0,))) > most:
                raise ValueError(
                    f"{where}.{field}: the diffusion has {most} steps, not {max(getattr(figure, field))}"
                )
        if isinstance(figure, Metrics) and len({self.tables[name].scale for name in figure.tables}) > 1:
            raise ValueError(f"{where}.tables: their scale factors differ")
        for crop in getattr(figure, "crops", ()):
            known(f"{where}.crops", crop.dataset, self.datasets, "dataset")

    # ---- the chosen study ----

    @property
    def chosen(self) -> Study:
        return self.studies[self.study]

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
            raise ValueError(f"variants.{variant}.training.{_first_error(error)}") from None

    def runs(self, variant: str, scale: int) -> list[Run]:
        """The runs whose mean is a table's cell: one a seed, or one where nothing is random."""
        seeds = self.chosen.seeds[:1] if self.trivial(variant) else self.chosen.seeds
        return [Run(variant=variant, scale=scale, seed=seed) for seed in seeds]

    def encoder_of(self, variant: str) -> str:
        """Name of a variant's encoder; one that is imported is called as its variant."""
        return self.variants[variant].encoder if self.variants[variant].foreign is None else variant

    def trivial(self, variant: str) -> bool:
        """Whether a variant is neither trained nor random."""
        return self.variants[variant].kind in ("bicubic", "baseline")

    def scales(self, variant: str) -> list[int]:
        """The scale factors at which some table has the variant; 4 if none has it."""
        tables = self.tables.values()
        return sorted({t.scale for t in tables if variant in t.variants}) or [4]

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
        own = self.chosen.masks[chosen.masks]
        return own if chosen.placebo is None else f"{own}_{chosen.placebo}"

    def mask_name(self, mask_set: str, scale: int) -> str:
        """File name of a mask set's regions: those found on LR images belong to one scale factor."""
        return mask_name(mask_set, None if self.mask_sets[mask_set].image == "hr" else scale)

    def dataset_label(self, name: str) -> str:
        return self.datasets[name].label or name

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

    def metrics(self, kind: type[Metric]) -> list[str]:
        """The metrics of one kind (ImageMetric, SetMetric, CostMetric) that some table asks for."""
        return of_kind((name for table in self.tables.values() for name in table.metrics), kind)


def load_config(value: dict[str, Any] | str | Path) -> Config:
    """Validate a configuration, given as a mapping or as the path of a YAML file.

    Raises:
        UserError: one line that names the key and says what is wrong with it.
    """
    if not isinstance(value, dict):
        value = read_mapping(value)
    try:
        return Config.model_validate(value)
    except ValidationError as error:
        raise UserError(f"config: {_first_error(error, value)}") from None


def read_mapping(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file, unchecked; UserError if there is none."""
    try:
        value = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run from the repository's root") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: must map keys to values")
    return value


def _with_placebos(value: dict[str, Any]) -> dict[str, Any]:
    """With a mask set for each placebo that a variant asks for, of the masks that a study gives it."""
    sets, studies = value.get("mask_sets"), value.get("studies")
    if not isinstance(sets, dict) or not isinstance(studies, dict):
        return value  # what is wrong is said when it is validated
    made = {}
    for variant in value["variants"].values():
        regions, level = variant.get("placebo"), variant.get("masks")
        for study in studies.values() if regions else ():
            levels = study.get("masks") if isinstance(study, dict) else None
            own = levels.get(level) if isinstance(levels, dict) else None
            if own in sets:
                segmenter = {"kind": "placebo", "regions": regions, "of": own}
                made[f"{own}_{regions}"] = {"image": "hr", "segmenter": segmenter}
    return {**value, "mask_sets": {**made, **sets}}


def _first_error(error: ValidationError, value: Any = None) -> str:
    # a misspelt key is also a missing one: name what was written
    first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    path = first["loc"]
    where = ".".join(str(part) for part in path if part != "[key]")
    if first["type"] == "extra_forbidden":
        return f"{where}: unknown key{similar(str(path[-1]), _fields_beside(path, value))}"
    if first["type"] == "missing":
        return f"{where}: missing"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error":
        return f"{where}: {message}" if where else message
    more = f" (and {len(error.errors()) - 1} more)" if len(error.errors()) > 1 else ""
    return f"{where}: {message[0].lower()}{message[1:]}, not {first['input']!r}{more}"


def _fields_beside(path: tuple[Any, ...], value: Any) -> list[str]:
    """Field names of the model that the last part of `path` was looked for in."""
    model: Any = Config
    if path[0] == "figures" and len(path) > 2:
        model, path = KINDS[value["figures"][path[1]]["kind"]].spec, path[2:]
    for part in path[:-1]:
        fields = getattr(model, "model_fields", None)
        if fields is None or part not in fields:
            continue  # a key of a mapping or list: the model stays its values' model
        inner = fields[part].annotation
        candidates = [inner, *getattr(inner, "__args__", ())]
        model = next((c for c in candidates if hasattr(c, "model_fields")), model)
    return list(getattr(model, "model_fields", {}))
