"""config.yaml as validated, frozen objects, and the recipes that the stages are run with.

A *run* is (variant, scale, seed). A *recipe* is the part of the configuration that decides what a stage
computes, as plain JSON: the workflow hands it to the stage and re-runs the stage when it changes, and the
stage writes it into what it makes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import Field, ValidationError, model_validator

from samdiffsr.config.schema import (
    FIGURE_KINDS,
    AnyFigure,
    Baseline,
    Crop,
    Crops,
    Curves,
    Dataset,
    Degradation,
    Diffusion,
    FigureName,
    ImageMetric,
    Level,
    MaskGain,
    Masks,
    MaskSet,
    Metrics,
    Modulation,
    Name,
    Noise,
    OfImages,
    OfRuns,
    Protocol,
    Published,
    Report,
    Row,
    Run,
    SetMetric,
    Steps,
    Strict,
    Study,
    Table,
    Training,
    Variant,
    similar,
)
from samdiffsr.core.errors import UserError
from samdiffsr.data.catalogue import baselines
from samdiffsr.data.manifest import Entry, expected_images, images_digest


class Config(Strict):
    """All of config.yaml."""

    study: Name
    checkpoint_source: Literal["trained", "released"] = "trained"
    mirror: str | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "bf16", "float32"] = "auto"
    compile: bool = False  # the networks in training, with torch.compile
    missing_test_sets: Literal["skip", "fail"] = "skip"
    missing_weights: Literal["skip", "fail"] = "skip"
    stop_below_bicubic: Annotated[float, Field(gt=0)] | None = 6.0  # dB of PSNR; None: score anything
    allow_slow: bool = False  # train even what takes longer than slow_hours
    slow_hours: Annotated[float, Field(gt=0)] = 72.0
    degradation: Degradation = Degradation()
    diffusion: Diffusion = Diffusion()
    protocol: Protocol = Protocol()
    report: Report = Report()
    datasets: dict[Name, Dataset]
    mask_sets: dict[Name, MaskSet]
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

        return {**value, "variants": {name: full(name) for name in variants}}

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
            training = self._training(key)
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

    def _figure_references(self, key: str, figure: Any, known: Any) -> None:
        where = f"figures.{key}"
        for name in getattr(figure, "tables", ()):
            known(f"{where}.tables", name, self.tables, "table")
        for name in getattr(figure, "datasets", ()):
            known(f"{where}.datasets", name, self.datasets, "dataset")
        for field in ("variant", "variants", "control"):
            names = getattr(figure, field, ())
            for name in (names,) if isinstance(names, str) else names:
                known(f"{where}.{field}", name, self.variants, "variant")
                masks = figure.kind in ("noise", "mask_gain") and field != "control"
                if masks and not self.variants[name].structured:
                    raise ValueError(f"{where}.{field}: {name!r} has no masks to show")
                if figure.kind in ("steps", "curves") and self.variants[name].kind != "denoiser":
                    raise ValueError(f"{where}.{field}: {name!r} is no denoiser")
        most = self.diffusion.steps
        for field in ("steps", "times"):
            if max(getattr(figure, field, (0,))) > most:
                raise ValueError(
                    f"{where}.{field}: the diffusion has {most} steps, not {max(getattr(figure, field))}"
                )
        if figure.kind == "metrics" and len({self.tables[name].scale for name in figure.tables}) > 1:
            raise ValueError(f"{where}.tables: their scale factors differ")
        for crop in getattr(figure, "crops", ()):
            known(f"{where}.crops", crop.dataset, self.datasets, "dataset")

    # ---- the chosen study ----

    @property
    def chosen(self) -> Study:
        return self.studies[self.study]

    def _training(self, variant: str) -> Training:
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
        level = self.variants[variant].masks
        return None if level is None else self.chosen.masks[level]

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

    # ---- recipes: what decides the outcome of a stage, as JSON ----

    def dataset_recipe(self, dataset: str) -> dict[str, Any]:
        """HR images of one data set."""
        spec = self.datasets[dataset].model_dump(mode="json", include={"folder", "exclude"})
        return {**spec, "images": self.images_digest(dataset)}

    def lr_recipe(self, scale: int) -> dict[str, Any]:
        """LR images of one data set."""
        return {"scale": scale, **self.degradation.model_dump()}

    def mask_recipe(self, mask_set: str) -> dict[str, Any]:
        """Region maps of one data set."""
        return self.mask_sets[mask_set].model_dump()

    def statistics_recipe(self, dataset: str, mask_set: str, scale: int) -> dict[str, Any]:
        """Mask statistics of one data set, for the quality levels that the mask set stands for."""
        levels = [level for level, name in self.chosen.masks.items() if name == mask_set]
        return {
            "study": self.study,
            "level": " ".join(levels),
            "masks": mask_set,
            "dataset": dataset,
            "scale": scale,
            "patch": self.chosen.training.patch,
        }

    def encoding_recipe(self, variant: str) -> dict[str, Any]:
        """Values per region (paper equation 6)."""
        return self.variants[variant].model_dump(
            include={"position", "rope_axis", "mean_over", "overlap", "uncovered"}
        )

    def encoding_name(self, variant: str) -> str:
        """File name of an encoding: variants with equal encodings share it."""
        v = self.variants[variant]
        return f"{v.position}-{v.rope_axis}-{v.mean_over}-{v.overlap}-{v.uncovered}"

    def encoder_recipe(self, encoder: str, scale: int, seed: int) -> dict[str, Any]:
        """L1 pretraining of the RRDB encoder."""
        sizes = self.chosen.encoders[encoder].model_dump()
        return {
            "kind": "encoder",
            **sizes,
            "scale": scale,
            "seed": seed,
            "train_set": self.chosen.train_set,
            "precision": self.precision,
        }

    def denoiser_recipe(self, run: Run) -> dict[str, Any]:
        """Training of one variant's denoiser."""
        v = self.variants[run.variant]
        recipe = {
            "kind": "denoiser",
            "scale": run.scale,
            "seed": run.seed,
            "train_set": self.chosen.train_set,
            "encoder": v.encoder,
            "unet": self.chosen.unet.model_dump(),
            "diffusion": self.diffusion.model_dump(),
            "formulation": v.formulation,
            "lr_divisor": v.lr_divisor,
            "training": self._training(run.variant).model_dump(),
            "precision": self.precision,
            "structure": None,
        }
        if v.structured:
            recipe["structure"] = {
                "mask_set": self.mask_set(run.variant),
                **self.encoding_recipe(run.variant),
                "reduce": v.reduce,
                "mask_crop": v.mask_crop,
            }
        return recipe

    def import_recipe(self, run: Run) -> dict[str, Any]:
        """Bringing others' networks into this project's format."""
        v = self.variants[run.variant]
        return {
            "scale": run.scale,
            "formulation": v.formulation,
            "lr_divisor": v.lr_divisor,
            "diffusion": self.diffusion.model_dump(),
            "precision": self.precision,
        }

    def _sampling_words(self, kind: str) -> str:
        if kind != "denoiser":
            return "not random"
        steps, pad = self.chosen.sampling.steps, self.chosen.sampling.pad
        words = f"{steps} of {self.diffusion.steps} steps" if steps else f"all {self.diffusion.steps} steps"
        return f"{words}, padded by {pad} LR px" if pad else words

    def weights(self, variant: str) -> list[str]:
        """Which weights of a variant's runs are scored, the headline first; "none" where there are none."""
        if self.trivial(variant):
            return ["none"]
        return list(self.chosen.sampling.weights) if self.variants[variant].foreign is None else ["raw"]

    def sampling_recipe(self, run: Run, weights: str) -> dict[str, Any]:
        """Drawing SR images from a run."""
        kind = self.variants[run.variant].kind
        recipe: dict[str, Any] = {"kind": kind, "scale": run.scale, "weights": weights}
        if kind == "denoiser":
            recipe |= {"seed": run.seed, **self.chosen.sampling.model_dump(exclude={"weights"})}
        if kind in ("encoder", "denoiser"):
            recipe["precision"] = self.precision
        if kind == "baseline":
            baseline = self.baselines[run.variant]
            fields = {"adapter", "command", "sha256", "url"}
            fields |= {"steps"} if baseline.adapter == "diffusers" else set()
            recipe |= baseline.model_dump(include=fields)
        return recipe

    def metrics(self, kind: Any) -> list[str]:
        """The metrics of one kind (ImageMetric, SetMetric, CostMetric) that some table asks for."""
        asked = {metric for table in self.tables.values() for metric in table.metrics}
        return sorted(asked & set(get_args(kind)))

    def score_recipe(self, scale: int) -> dict[str, Any]:
        """Scoring the images of one run on one data set."""
        return {
            "scale": scale,
            "metrics": self.metrics(ImageMetric),
            "rounding": self.degradation.rounding,
            "missing_weights": self.missing_weights,
            "stop_below_bicubic": self.stop_below_bicubic,
            **self.protocol.model_dump(),
        }

    def step_metrics(self) -> list[str]:
        """The metrics of images that figures of kind `steps` show."""
        asked = {
            metric for spec in self.figures.values() if isinstance(spec, Steps) for metric in spec.metrics
        }
        return sorted(asked & set(get_args(ImageMetric)))

    def step_score_recipe(self, scale: int) -> dict[str, Any]:
        """Scoring images of other numbers of steps, which may be as bad as they are."""
        return {**self.score_recipe(scale), "metrics": self.step_metrics(), "stop_below_bicubic": None}

    def set_recipe(self, scale: int) -> dict[str, Any]:
        """Scoring one run on one data set as a whole: FID and KID."""
        return {
            "scale": scale,
            "metrics": self.metrics(SetMetric),
            "missing_weights": self.missing_weights,
        }

    def protocol_recipe(self, scale: int) -> dict[str, Any]:
        """Scoring one run on one data set under several protocols."""
        asked = {name for table in self.tables.values() for name in table.protocols}
        return {"scale": scale, "protocols": sorted(asked)}

    def table_recipe(self, table: str, absent: dict[str, dict[str, str]] | None = None) -> dict[str, Any]:
        """Everything a table needs beside the scores.

        Args:
            absent: variant -> data set -> why its images cannot be had here (presence.absent).
        """
        spec = self.tables[table]
        sets = self.table_datasets(table)
        return {
            "name": table,
            "study": self.study,
            "about": self.chosen.about,
            "comparable": self.chosen.comparable,
            "train_set": self.chosen.train_set,
            "checkpoints": self.checkpoint_source,
            "title": spec.title,
            "scale": spec.scale,
            "metrics": list(spec.metrics),
            "datasets": [
                part
                for n in sets
                for part in _under_protocols(
                    {"name": n, "label": self.dataset_label(n), "published": self.datasets[n].published},
                    spec.protocols,
                )
            ],
            "left_out": [
                {
                    "name": n,
                    "label": self.dataset_label(n),
                    "published": self.datasets[n].published,
                    "why": why,
                }
                for n, why in self.left_out.items()
                if n in self.tables[table].datasets or not self.tables[table].datasets
            ],
            "rows": [
                self._row_recipe(row, spec.scale, (absent or {}).get(row.variant or "", {}), sets)
                for row in spec.rows
            ],
            "differences": [pair.model_dump() for pair in spec.differences],
            "notes": list(spec.notes),
        }

    def report_recipe(self, absent: dict[str, dict[str, dict[str, str]]] | None = None) -> dict[str, Any]:
        """Everything the report needs beside the tables, the figures and the images.

        absent: table -> what `table_recipe` takes.
        """
        study = self.chosen
        return {
            "study": self.study,
            "about": study.about,
            "comparable": study.comparable,
            "checkpoints": self.checkpoint_source,
            "train_set": study.train_set,
            "test_sets": list(study.test_sets),
            "left_out": self.left_out,
            "masks": study.masks,
            "seeds": list(study.seeds),
            "sampling": self._sampling_words("denoiser"),
            "limits": self.report.model_dump(),
            "tables": [self.table_recipe(name, (absent or {}).get(name)) for name in self.tables],
            "figures": {name: figure.title for name, figure in self.figures.items()},
            "comparisons": self.comparisons(absent),
        }

    def comparisons(self, absent: dict[str, dict[str, dict[str, str]]] | None = None) -> list[dict[str, Any]]:
        """The images that the report sets side by side: for each data set and scale factor the variants that
        some table shows there, of the first seed and the headline weights. `absent`: as in `report_recipe`.
        """
        shown: dict[tuple[int, str], set[str]] = {}
        for name, table in self.tables.items():
            for dataset in self.table_datasets(name):
                missing = {v for v, sets in (absent or {}).get(name, {}).items() if dataset in sets}
                shown.setdefault((table.scale, dataset), set()).update({*table.variants} - missing)
        order = sorted(
            filter(shown.get, shown), key=lambda key: (-key[0], self.chosen.test_sets.index(key[1]))
        )
        return [
            {
                "dataset": dataset,
                "label": self.dataset_label(dataset),
                "scale": scale,
                "methods": [
                    {
                        "label": variant.label,
                        "run": self.runs(name, scale)[0].name,
                        "weights": self.weights(name)[0],
                        "structured": variant.structured,
                    }
                    for name, variant in self.variants.items()
                    if name in shown[scale, dataset]
                ],
            }
            for scale, dataset in order
        ]

    def _row_recipe(
        self, row: Row, scale: int, absent: dict[str, str], datasets: list[str]
    ) -> dict[str, Any]:
        if row.variant is None:
            return {
                "variant": None,
                "label": row.label or row.published,
                "published": row.published,
                "masks": None,
                "runs": [],
                "weights": [],
                "sampling": "",
                "absent": {},
            }
        variant = self.variants[row.variant]
        runs = [] if absent.keys() >= set(datasets) else self.runs(row.variant, scale)
        return {
            "variant": row.variant,
            "label": row.label or variant.label,
            "published": row.published or row.label or variant.published or variant.label,
            "masks": self._mask_words(row.variant),
            "runs": [run.name for run in runs],
            "weights": self.weights(row.variant),
            "sampling": self._sampling_words(variant.kind),
            "absent": absent,
        }

    def _mask_words(self, variant: str) -> str | None:
        """Which masks a variant saw, as the tables say it."""
        v, masks = self.variants[variant], self.mask_set(variant)
        if v.foreign is not None:
            return "its own"
        if v.formulation == "condition":  # the one network that needs masks at inference, where HR is unknown
            return f"{masks} in training, {self.chosen.masks['low']} at inference"
        return masks

    # ---- figures ----

    def figure_crops(self, figure: str) -> list[Crop]:
        """The figure's crops of images that the study tests on."""
        return [crop for crop in self.figures[figure].crops if crop.dataset in self.chosen.test_sets]

    def figure_datasets(self, figure: str) -> list[str]:
        """Data sets whose scores or images the figure needs."""
        spec = self.figures[figure]
        if isinstance(spec, Crops) and (crops := self.figure_crops(figure)):
            return list(dict.fromkeys(crop.dataset for crop in crops))
        found = self.tested(spec.datasets)
        return found[:1] if isinstance(spec, Steps) else found

    def figure_points(self, figure: str) -> list[tuple[str, int]]:
        """(variant, network calls) of a figure of kind `steps`; the study's own number is among them."""
        spec = self.figures[figure]
        calls = sorted({*spec.steps, self.chosen.sampling.steps or self.diffusion.steps})
        return [(variant, n) for variant in spec.variants for n in calls]

    def figure_recipe(self, figure: str) -> dict[str, Any]:
        """Everything a figure needs beside the files that it shows."""
        spec = self.figures[figure]
        recipe: dict[str, Any] = {
            "kind": spec.kind,
            "title": spec.title,
            "study": self.study,
            "comparable": self.chosen.comparable,
            "checkpoints": self.checkpoint_source,
            "notes": [],
        }
        variants: tuple[str, ...] = ()
        scale = 4
        if isinstance(spec, OfRuns):
            variants, scale = spec.variants, spec.scale
        elif isinstance(spec, Metrics | Published):
            tables = [self.tables[name] for name in spec.tables]
            variants, scale = tuple(dict.fromkeys(v for t in tables for v in t.variants)), tables[0].scale
        elif isinstance(spec, Noise):
            variants = (spec.variant,)
        if variants:
            recipe |= {"scale": scale, "rows": [self._figure_row(name, scale) for name in variants]}
        if isinstance(spec, OfImages | Metrics):
            recipe["datasets"] = [
                {"name": n, "label": self.dataset_label(n)} for n in self.figure_datasets(figure)
            ]
        if isinstance(spec, Noise | Masks | Curves):
            recipe["train_set"] = self.chosen.train_set
        if isinstance(spec, Noise | Modulation):
            recipe["diffusion"] = self.diffusion.model_dump()
        shared = {*OfImages.model_fields, "kind", "variant", "tables", "published"}
        return recipe | spec.model_dump(mode="json", exclude=shared) | self._figure_specials(figure)

    def _figure_row(self, variant: str, scale: int) -> dict[str, Any]:
        v = self.variants[variant]
        row = self._row_recipe(Row(variant=variant), scale, {}, list(self.chosen.test_sets))
        return {**row, "kind": v.kind, "level": v.masks, "formulation": v.formulation}

    def _figure_specials(self, figure: str) -> dict[str, Any]:
        """What only one kind of figure needs."""
        spec = self.figures[figure]
        if isinstance(spec, Crops):
            kept = self.figure_crops(figure)
            lost = dict.fromkeys(crop.dataset for crop in spec.crops if crop not in kept)
            notes = [f"Crops of {', '.join(lost)} are left out: not tested on here."] if lost else []
            return {"crops": [crop.model_dump(mode="json") for crop in kept], "notes": notes}
        if isinstance(spec, Masks):
            levels = [level for level in get_args(Level) if level in self.chosen.masks]
            masks = self.chosen.masks
            return {"levels": [{"heading": lv.capitalize(), "masks": masks[lv]} for lv in levels]}
        if isinstance(spec, Metrics):
            names = [self.datasets[n].published for n in spec.datasets] if spec.published else []
            return {"tables": list(spec.tables), "published": [name for name in names if name]}
        if isinstance(spec, Published):
            return {"pairs": self._claimed_pairs(spec.tables)}
        if isinstance(spec, MaskGain):
            return {"control": self._figure_row(spec.control, spec.scale)}
        if isinstance(spec, Steps):
            points = self.figure_points(figure)
            return {"points": [{"row": spec.variants.index(name), "steps": n} for name, n in points]}
        if isinstance(spec, Curves):
            return {"curves": self._curves(spec)}
        return {}

    def _claimed_pairs(self, tables: Iterable[str]) -> list[dict[str, Any]]:
        pairs = []
        for name in tables:
            table = self.tables[name]
            sets = self.table_datasets(name)
            rows = {r.variant: self._row_recipe(r, table.scale, {}, sets) for r in table.rows if r.variant}
            for pair in table.differences:
                of, minus = rows[pair.of], rows[pair.minus]
                pairs.append(
                    {
                        "table": name,
                        "scale": table.scale,
                        "of": of["label"],
                        "minus": minus["label"],
                        "published_of": of["published"],
                        "published_minus": minus["published"],
                    }
                )
        return pairs

    def _curves(self, spec: Curves) -> list[dict[str, str]]:
        """Each training whose curve is shown: the variants' encoders, then their denoisers."""
        curves = []
        for encoder in dict.fromkeys(self.variants[name].encoder for name in spec.variants):
            loss = self.chosen.encoders[encoder].training.loss
            for seed in self.chosen.seeds:
                name = f"{encoder}-x{spec.scale}-s{seed}"
                panel = f"encoder, {loss.upper()} loss"
                curves.append({"folder": "encoders", "name": name, "label": encoder, "panel": panel})
        for variant in spec.variants:
            panel = f"denoiser, {self._training(variant).loss.upper()} loss"
            for run in self.runs(variant, spec.scale):
                label = self.variants[variant].label
                curves.append({"folder": "runs", "name": run.name, "label": label, "panel": panel})
        return curves


def _under_protocols(dataset: dict[str, str], protocols: tuple[str, ...]) -> list[dict[str, str]]:
    """A data set once for each protocol; the paper's values stand beside its own protocol alone."""
    from samdiffsr.evaluation.protocols import PROTOCOLS

    if not protocols:
        return [dataset]
    return [
        {
            "name": f"{dataset['name']}/{name}",
            "label": f"{dataset['label']}, {PROTOCOLS[name]}",
            "published": dataset["published"] if name == "authors" else "",
        }
        for name in protocols
    ]


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
        raise UserError(f"config: {_first_error(error)}") from None


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


def recipe_text(recipe: dict[str, Any]) -> str:
    """A recipe as one line of canonical JSON."""
    return json.dumps(recipe, sort_keys=True, separators=(",", ":"))


def _first_error(error: ValidationError) -> str:
    # a misspelt key is also a missing one: name what was written
    first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    path = first["loc"]
    if path[:1] == ("figures",) and first["type"] not in ("union_tag_invalid", "union_tag_not_found"):
        path = (*path[:2], *path[3:])  # without the kind, which pydantic puts in
    where = ".".join(str(part) for part in path if part != "[key]")
    if first["type"] in ("union_tag_invalid", "union_tag_not_found"):
        kind = first.get("ctx", {}).get("tag")
        meant = similar(kind, FIGURE_KINDS) if kind else ""
        return f"{where}.kind: {kind!r} is none of {', '.join(FIGURE_KINDS)}{meant}"
    if first["type"] == "extra_forbidden":
        return f"{where}: unknown key{similar(str(first['loc'][-1]), _fields_beside(first['loc']))}"
    if first["type"] == "missing":
        return f"{where}: missing"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error":
        return f"{where}: {message}" if where else message
    more = f" (and {len(error.errors()) - 1} more)" if len(error.errors()) > 1 else ""
    return f"{where}: {message[0].lower()}{message[1:]}, not {first['input']!r}{more}"


def _fields_beside(path: tuple[Any, ...]) -> list[str]:
    """Field names of the model that the last part of `path` was looked for in."""
    model: Any = Config
    if path[0] == "figures" and len(path) > 2:
        model, path = FIGURE_KINDS[path[2]], path[3:]
    for part in path[:-1]:
        fields = getattr(model, "model_fields", None)
        if fields is None or part not in fields:
            continue  # a key of a mapping or list: the model stays its values' model
        inner = fields[part].annotation
        candidates = [inner, *getattr(inner, "__args__", ())]
        model = next((c for c in candidates if hasattr(c, "model_fields")), model)
    return list(getattr(model, "model_fields", {}))
