"""What a figure is drawn from, by use; `beside` are files that go with another one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from samdiffsr.config.config import Config
from samdiffsr.config.recipes.figures import figure_curves, figure_datasets, figure_points
from samdiffsr.core import layout
from samdiffsr.core.errors import UserError
from samdiffsr.core.layout import Layout
from samdiffsr.core.registry import Registry
from samdiffsr.evaluation.metrics import SetMetric, of_kind
from samdiffsr.reporting.figures.registry import KINDS
from samdiffsr.reporting.figures.spec import Curves, Figure, MaskGain, Noise, OfImages, Steps
from samdiffsr.workflow.inputs.results import scores, table_scores
from samdiffsr.workflow.inputs.stores import Files, image_store, region_store, structure
from samdiffsr.workflow.targets import level_regions


def figure_of(config: Config, figure: str) -> Figure:
    if figure not in config.figures:
        raise UserError(f"no figure {figure!r} in config.yaml; there are {', '.join(config.figures)}")
    return config.figures[figure]


def figure(config: Config, figure: str) -> dict[str, list[str]]:
    """All that a figure shows, beside its recipe."""
    spec = figure_of(config, figure)
    found: dict[str, list[str]] = {}
    for name in KINDS[spec.kind].reads:
        for use, files in READS[name](config, spec).items():
            found.setdefault(use, []).extend([files] if isinstance(files, str) else files)
    return found


def _structure(config: Config, spec: Noise) -> Files:
    """A variant's masks of the training images, at its largest scale factor."""
    train_set, scale = config.chosen.train_set, config.scales(spec.variant)[-1]
    mask_set = config.mask_set(spec.variant)
    assert mask_set is not None  # config.yaml was checked
    found = structure(config, spec.variant, train_set, mask_set, scale)
    index, *members = list(found["labels"])
    return _truth(train_set, *members) | {"labels": index, "values": found["values"]}


def _regions(config: Config, spec: Figure) -> Files:
    """The masks of the training images at each level of quality."""
    stores = [region_store(stem) for stem in level_regions(config)]
    members = [file for _, *rest in stores for file in rest]
    return _truth(config.chosen.train_set, *members) | {"labels": [index for index, *_ in stores]}


def _images(config: Config, spec: OfImages) -> Files:
    """The variants' images, and the truth."""
    datasets = figure_datasets(config, spec)
    truths = [image_store(layout.hr(dataset)) for dataset in datasets]
    return {
        "manifests": [
            _shown(config, variant, spec.scale, dataset, layout.SAMPLES[0])
            for variant in spec.variants
            for dataset in datasets
        ],
        "hr": [index for index, _ in truths],
        "beside": [data for _, data in truths],
    }


def _of_tables(use: str, kind: str) -> Callable[[Config, Any], Files]:
    """A file of each table that the figure names."""
    return lambda config, spec: {use: [Layout(config.study).table(name, kind) for name in spec.tables]}


def _table_scores(config: Config, spec: Any) -> Files:
    """The scores that the tables show, each file once."""
    return {"scores": list(dict.fromkeys(p for name in spec.tables for p in table_scores(config, name)))}


def _scores_and_control(config: Config, spec: MaskGain) -> Files:
    """The scores of all seeds of the variants, and of the control."""
    return {
        "scores": [
            path
            for variant in (*spec.variants, spec.control)
            for dataset in figure_datasets(config, spec)
            for path in scores(config, variant, spec.scale, dataset)
        ]
    }


def _truth(dataset: str, *beside: str) -> Files:
    """A data set's HR images."""
    index, data = image_store(layout.hr(dataset))
    return {"hr": index, "beside": [data, *beside]}


def _shown(config: Config, variant: str, scale: int, dataset: str, suffix: str) -> str:
    """The images that figures show of a variant: the first seed's, headline weights."""
    run, weights = config.runs(variant, scale)[0], config.weights(variant)[0]
    return Layout(config.study).samples(run.name, weights, dataset) + suffix


def _steps(config: Config, spec: Steps) -> Files:
    """Scores and times for each number of steps; those of a variant's own number are the tables'."""
    place, dataset = Layout(config.study), figure_datasets(config, spec)[0]
    found: dict[str, list[str]] = {"scores": [], "timings": []}
    if of_kind(spec.metrics, SetMetric):
        found["sets"] = []
    for variant, steps in figure_points(config, spec):
        run, weights = config.runs(variant, spec.scale)[0], config.weights(variant)[0]
        if steps == config.calls(variant):
            paths = {
                "scores": place.scores(run.name, dataset),
                "timings": _shown(config, variant, spec.scale, dataset, layout.SAMPLES[1]),
                "sets": place.scores(run.name, dataset, "sets"),
            }
        else:
            where = run.name, steps, weights, dataset
            paths = {
                "scores": place.steps_scores(*where),
                "timings": place.steps(*where) + layout.SAMPLES[1],
                "sets": place.steps_scores(*where, "sets"),
            }
        for use in found:
            found[use].append(paths[use])
    return {**found}


def _curves(config: Config, spec: Curves) -> Files:
    """Those of the variants' trainings, if this study trained."""
    if config.checkpoint_source != "trained":
        return {}
    place = Layout(config.study)
    return {"curves": [place.curve(curve.folder, curve.name) for curve in figure_curves(config, spec)]}


# what a kind of figure says that it reads -> function(config, what config.yaml says of the figure) -> files
READS: Registry[Callable[[Config, Any], Files]] = Registry(
    "input of figures",
    {
        "structure": _structure,
        "regions": _regions,
        "images": _images,
        "tables": _of_tables("tables", "tidy"),
        "differences": _of_tables("differences", "differences"),
        "published": lambda config, spec: {"published": layout.PUBLISHED, "beside": layout.ERRATA},
        "table_scores": _table_scores,
        "scores_and_control": _scores_and_control,
        "mask_statistics": lambda config, spec: {"statistics": Layout(config.study).all_mask_statistics()},
        "steps": _steps,
        "curves": _curves,
        "rule_graph": lambda config, spec: {"graph": Layout(config.study).rule_graph()},
    },
)
