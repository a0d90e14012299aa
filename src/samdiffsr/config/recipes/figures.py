"""What a figure needs beside the files that it shows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, get_args

from samdiffsr.config.load import Config
from samdiffsr.config.recipes.tables import row_recipe
from samdiffsr.config.schema import (
    Crop,
    Crops,
    Curves,
    Level,
    MaskGain,
    Masks,
    Metrics,
    Modulation,
    Noise,
    OfImages,
    OfRuns,
    Published,
    Row,
    Steps,
)


def figure_crops(config: Config, figure: str) -> list[Crop]:
    """The figure's crops of images that the study tests on."""
    return [crop for crop in config.figures[figure].crops if crop.dataset in config.chosen.test_sets]


def figure_datasets(config: Config, figure: str) -> list[str]:
    """Data sets whose scores or images the figure needs."""
    spec = config.figures[figure]
    if isinstance(spec, Crops) and (crops := figure_crops(config, figure)):
        return list(dict.fromkeys(crop.dataset for crop in crops))
    found = config.tested(spec.datasets)
    return found[:1] if isinstance(spec, Steps) else found


def figure_points(config: Config, figure: str) -> list[tuple[str, int]]:
    """(variant, network calls) of a figure of kind `steps`; the study's own number is among them."""
    spec = config.figures[figure]
    calls = sorted({*spec.steps, config.chosen.sampling.steps or config.diffusion.steps})
    return [(variant, n) for variant in spec.variants for n in calls]


def figure_recipe(config: Config, figure: str) -> dict[str, Any]:
    """Everything a figure needs beside the files that it shows."""
    spec = config.figures[figure]
    recipe: dict[str, Any] = {
        "kind": spec.kind,
        "title": spec.title,
        "study": config.study,
        "comparable": config.chosen.comparable,
        "checkpoints": config.checkpoint_source,
        "notes": [],
    }
    variants: tuple[str, ...] = ()
    scale = 4
    if isinstance(spec, OfRuns):
        variants, scale = spec.variants, spec.scale
    elif isinstance(spec, Metrics | Published):
        tables = [config.tables[name] for name in spec.tables]
        variants, scale = tuple(dict.fromkeys(v for t in tables for v in t.variants)), tables[0].scale
    elif isinstance(spec, Noise):
        variants = (spec.variant,)
    if variants:
        recipe |= {"scale": scale, "rows": [_figure_row(config, name, scale) for name in variants]}
    if isinstance(spec, OfImages | Metrics):
        recipe["datasets"] = [
            {"name": n, "label": config.dataset_label(n)} for n in figure_datasets(config, figure)
        ]
    if isinstance(spec, Noise | Masks | Curves):
        recipe["train_set"] = config.chosen.train_set
    if isinstance(spec, Noise | Modulation):
        recipe["diffusion"] = config.diffusion.model_dump()
    shared = {*OfImages.model_fields, "kind", "variant", "tables", "published"}
    return recipe | spec.model_dump(mode="json", exclude=shared) | _figure_specials(config, figure)


def _figure_row(config: Config, variant: str, scale: int) -> dict[str, Any]:
    v = config.variants[variant]
    row = row_recipe(config, Row(variant=variant), scale, {}, list(config.chosen.test_sets))
    return {**row, "kind": v.kind, "level": v.masks, "formulation": v.formulation}


def _figure_specials(config: Config, figure: str) -> dict[str, Any]:
    """What only one kind of figure needs."""
    spec = config.figures[figure]
    if isinstance(spec, Crops):
        kept = figure_crops(config, figure)
        lost = dict.fromkeys(crop.dataset for crop in spec.crops if crop not in kept)
        notes = [f"Crops of {', '.join(lost)} are left out: not tested on here."] if lost else []
        return {"crops": [crop.model_dump(mode="json") for crop in kept], "notes": notes}
    if isinstance(spec, Masks):
        levels = [level for level in get_args(Level) if level in config.chosen.masks]
        masks = config.chosen.masks
        return {"levels": [{"heading": lv.capitalize(), "masks": masks[lv]} for lv in levels]}
    if isinstance(spec, Metrics):
        names = [config.datasets[n].published for n in spec.datasets] if spec.published else []
        return {"tables": list(spec.tables), "published": [name for name in names if name]}
    if isinstance(spec, Published):
        return {"pairs": _claimed_pairs(config, spec.tables)}
    if isinstance(spec, MaskGain):
        return {"control": _figure_row(config, spec.control, spec.scale)}
    if isinstance(spec, Steps):
        points = figure_points(config, figure)
        return {"points": [{"row": spec.variants.index(name), "steps": n} for name, n in points]}
    if isinstance(spec, Curves):
        return {"curves": _curves(config, spec)}
    return {}


def _claimed_pairs(config: Config, tables: Iterable[str]) -> list[dict[str, Any]]:
    pairs = []
    for name in tables:
        table = config.tables[name]
        sets = config.table_datasets(name)
        rows = {r.variant: row_recipe(config, r, table.scale, {}, sets) for r in table.rows if r.variant}
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


def _curves(config: Config, spec: Curves) -> list[dict[str, str]]:
    """Each training whose curve is shown: the variants' encoders, then their denoisers."""
    curves = []
    for encoder in dict.fromkeys(config.variants[name].encoder for name in spec.variants):
        loss = config.chosen.encoders[encoder].training.loss
        for seed in config.chosen.seeds:
            name = f"{encoder}-x{spec.scale}-s{seed}"
            panel = f"encoder, {loss.upper()} loss"
            curves.append({"folder": "encoders", "name": name, "label": encoder, "panel": panel})
    for variant in spec.variants:
        panel = f"denoiser, {config.training(variant).loss.upper()} loss"
        for run in config.runs(variant, spec.scale):
            label = config.variants[variant].label
            curves.append({"folder": "runs", "name": run.name, "label": label, "panel": panel})
    return curves
