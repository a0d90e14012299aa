"""What a figure needs beside the files that it shows.

A recipe is filled by the names of its fields: those of FIELDS out of the configuration, the others out of
what config.yaml says of the figure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from samdiffsr.config.config import Config
from samdiffsr.config.recipes.tables import claimed, row_recipe
from samdiffsr.config.tables import Row as RowSpec
from samdiffsr.reporting.figures import recipe
from samdiffsr.reporting.figures.registry import KINDS
from samdiffsr.reporting.figures.spec import Crop, Figure, OfRuns


def figure_recipe(config: Config, figure: str) -> recipe.FigureRecipe:
    """Everything a figure needs beside the files that it shows."""
    spec = config.figures[figure]
    kind = KINDS[spec.kind].recipe
    return kind(
        **{
            name: FIELDS[name](config, spec) if name in FIELDS else getattr(spec, name)
            for name in kind.model_fields
        }
    )


def figure_datasets(config: Config, spec: Any) -> list[str]:
    """Data sets whose scores or images the figure needs."""
    if crops := _crops(config, spec):
        return list(dict.fromkeys(crop.dataset for crop in crops))
    found = config.tested(spec.datasets)
    if spec.with_truth:
        found = config.with_truth(found)
    return found[:1] if spec.one_dataset else found


def figure_points(config: Config, spec: Any) -> list[tuple[str, int]]:
    """(variant, network calls) of a figure of kind `steps`; the variant's own number is among them."""
    return [(variant, n) for variant in spec.variants for n in sorted({*spec.steps, config.calls(variant)})]


def _crops(config: Config, spec: Any) -> tuple[Crop, ...]:
    """The figure's crops of images that the study tests on."""
    return tuple(crop for crop in getattr(spec, "crops", ()) if crop.dataset in config.chosen.test_sets)


def _notes(config: Config, spec: Any) -> tuple[str, ...]:
    kept = _crops(config, spec)
    lost = dict.fromkeys(crop.dataset for crop in getattr(spec, "crops", ()) if crop not in kept)
    return (f"Crops of {', '.join(lost)} are left out: not tested on here.",) if lost else ()


def _scale(config: Config, spec: Any) -> int:
    if isinstance(spec, OfRuns):
        return spec.scale
    return config.tables[spec.tables[0]].scale if hasattr(spec, "tables") else 4


def _variants(config: Config, spec: Any) -> tuple[str, ...]:
    """Those that a figure names, or that its tables show."""
    if isinstance(spec, OfRuns):
        return spec.variants
    if hasattr(spec, "tables"):
        return tuple(dict.fromkeys(v for name in spec.tables for v in config.tables[name].variants))
    return (spec.variant,)


def _row(config: Config, variant: str, scale: int) -> recipe.FigureRow:
    v = config.variants[variant]
    row = row_recipe(config, RowSpec(variant=variant), scale, {}, config.chosen.test_sets)
    return recipe.FigureRow(**row.model_dump(), kind=v.kind, level=v.masks, formulation=v.formulation)


def _levels(config: Config, spec: Any) -> tuple[recipe.LevelOfMasks, ...]:
    own = config.chosen.masks  # a mask set that stands for itself keeps its name
    headings: dict[str, str] = {}
    for level, masks in config.levels.items():
        headings.setdefault(masks, level.capitalize() if level in own else level)
    return tuple(recipe.LevelOfMasks(heading=words, masks=masks) for masks, words in headings.items())


def _published(config: Config, spec: Any) -> tuple[str, ...]:
    names = [config.datasets[name].published for name in spec.datasets] if spec.published else []
    return tuple(name for name in names if name)


def _pairs(config: Config, spec: Any) -> tuple[recipe.ClaimedPair, ...]:
    pairs = []
    for name in spec.tables:
        table = config.tables[name]
        sets = config.table_datasets(name)
        rows = {r.variant: row_recipe(config, r, table.scale, {}, sets) for r in table.rows if r.variant}
        for pair in table.differences:
            of, minus = rows[pair.of], rows[pair.minus]
            pairs.append(
                recipe.ClaimedPair(
                    table=name,
                    scale=table.scale,
                    of=of.label,
                    minus=minus.label,
                    published_of=of.published,
                    published_minus=minus.published,
                )
            )
    return tuple(pairs)


def _points(config: Config, spec: Any) -> tuple[recipe.Point, ...]:
    return tuple(
        recipe.Point(row=spec.variants.index(name), steps=calls)
        for name, calls in figure_points(config, spec)
    )


def figure_curves(config: Config, spec: Any) -> tuple[recipe.Curve, ...]:
    """Each training whose curve is shown: the variants' encoders, then their denoisers."""
    curves = []
    for encoder in dict.fromkeys(config.variants[name].encoder for name in spec.variants):
        loss = config.chosen.encoders[encoder].training.loss
        for seed in config.chosen.seeds:
            name = f"{encoder}-x{spec.scale}-s{seed}"
            panel = f"encoder, {loss.upper()} loss"
            curves.append(recipe.Curve(folder="encoders", name=name, label=encoder, panel=panel))
    for variant in dict.fromkeys(config.model_of(name) for name in spec.variants):
        panel = f"denoiser, {config.training(variant).loss.upper()} loss"
        for run in config.runs(variant, spec.scale):
            label = config.variants[variant].label
            curves.append(recipe.Curve(folder="runs", name=run.name, label=label, panel=panel))
    return tuple(curves)


# field of a recipe -> how the configuration fills it
FIELDS: dict[str, Callable[[Config, Figure], Any]] = {
    "defined": lambda config, spec: config.defined(spec.shown_metrics),
    "study": lambda config, spec: config.study,
    "comparable": lambda config, spec: config.chosen.comparable,
    "checkpoints": lambda config, spec: config.checkpoint_source,
    "train_set": lambda config, spec: config.chosen.train_set,
    "diffusion": lambda config, spec: config.diffusion,
    "formulation_options": lambda config, spec: config.variants[_variants(config, spec)[0]].options,
    "notes": _notes,
    "crops": _crops,
    "scale": _scale,
    "rows": lambda config, spec: tuple(
        _row(config, name, _scale(config, spec)) for name in _variants(config, spec)
    ),
    "datasets": lambda config, spec: tuple(
        recipe.Shown(name=n, label=config.dataset_label(n)) for n in figure_datasets(config, spec)
    ),
    "control": lambda config, spec: _row(config, spec.control, spec.scale),  # type: ignore[attr-defined]
    "levels": _levels,
    "published": _published,
    "pairs": _pairs,
    "differences": lambda config, spec: claimed(config.tables[spec.tables[0]]),  # type: ignore[attr-defined]
    "points": _points,
    "curves": figure_curves,
}
