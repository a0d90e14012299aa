"""What a figure is drawn from, by use; `beside` are files that go with another one."""

from __future__ import annotations

from samdiffsr.config.config import Config
from samdiffsr.config.recipes.figures import figure_datasets, figure_points, figure_recipe
from samdiffsr.core import layout
from samdiffsr.core.errors import UserError
from samdiffsr.core.layout import Layout
from samdiffsr.evaluation.metrics import SetMetric, of_kind
from samdiffsr.reporting.figures.recipe import CurvesRecipe
from samdiffsr.reporting.figures.spec import (
    Artifacts,
    Crops,
    Curves,
    Figure,
    MaskGain,
    Masks,
    Metrics,
    Noise,
    Published,
    Rules,
    Seeds,
    Split,
    Steps,
)
from samdiffsr.workflow.inputs.results import scores, table_scores
from samdiffsr.workflow.inputs.stores import Files, image_store, region_store, structure
from samdiffsr.workflow.targets import level_regions

PUBLISHED: Files = {"published": layout.PUBLISHED, "beside": layout.ERRATA}


def figure_of(config: Config, figure: str) -> Figure:
    if figure not in config.figures:
        raise UserError(f"no figure {figure!r} in config.yaml; there are {', '.join(config.figures)}")
    return config.figures[figure]


def figure(config: Config, figure: str) -> Files:
    """All that a figure shows, beside its recipe."""
    spec, place = figure_of(config, figure), Layout(config.study)
    if isinstance(spec, Noise):
        return _noise(config, spec)
    if isinstance(spec, Masks):
        stores = [region_store(stem) for stem in level_regions(config)]
        members = [file for _, *rest in stores for file in rest]
        return _truth(config.chosen.train_set, *members) | {"labels": [index for index, *_ in stores]}
    if isinstance(spec, Crops | Artifacts):
        datasets = figure_datasets(config, figure)
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
    if isinstance(spec, Metrics):
        return {"tables": [place.table(name, "tidy") for name in spec.tables]} | PUBLISHED
    if isinstance(spec, Published):
        return {
            "tables": [place.table(name, "tidy") for name in spec.tables],
            "differences": [place.table(name, "differences") for name in spec.tables],
        } | PUBLISHED
    if isinstance(spec, Seeds | Split):
        return {"scores": table_scores(config, spec.tables[0])}
    if isinstance(spec, MaskGain):
        return {
            "scores": [
                path
                for variant in (*spec.variants, spec.control)
                for dataset in figure_datasets(config, figure)
                for path in scores(config, variant, spec.scale, dataset)
            ],
            "statistics": place.all_mask_statistics(),
        }
    if isinstance(spec, Steps):
        return _steps(config, figure, spec)
    if isinstance(spec, Curves) and config.checkpoint_source == "trained":
        recipe = figure_recipe(config, figure)
        assert isinstance(recipe, CurvesRecipe)
        return {"curves": [place.curve(curve.folder, curve.name) for curve in recipe.curves]}
    if isinstance(spec, Rules):
        return {"graph": place.rule_graph()}
    return {}


def _truth(dataset: str, *beside: str) -> Files:
    """A data set's HR images."""
    index, data = image_store(layout.hr(dataset))
    return {"hr": index, "beside": [data, *beside]}


def _noise(config: Config, spec: Noise) -> Files:
    train_set, scale = config.chosen.train_set, config.scales(spec.variant)[-1]
    mask_set = config.mask_set(spec.variant)
    assert mask_set is not None  # config.yaml was checked
    found = structure(config, spec.variant, train_set, mask_set, scale)
    index, *members = list(found["labels"])
    return _truth(train_set, *members) | {"labels": index, "values": found["values"]}


def _shown(config: Config, variant: str, scale: int, dataset: str, suffix: str) -> str:
    """The images that figures show of a variant: the first seed's, headline weights."""
    run, weights = config.runs(variant, scale)[0], config.weights(variant)[0]
    return Layout(config.study).samples(run.name, weights, dataset) + suffix


def _steps(config: Config, figure: str, spec: Steps) -> Files:
    """Scores and times for each number of steps; those of the study's own number are the tables'."""
    place, dataset = Layout(config.study), figure_datasets(config, figure)[0]
    own = config.chosen.sampling.steps or config.diffusion.steps
    found: dict[str, list[str]] = {"scores": [], "timings": []}
    if of_kind(spec.metrics, SetMetric):
        found["sets"] = []
    for variant, steps in figure_points(config, figure):
        run, weights = config.runs(variant, spec.scale)[0], config.weights(variant)[0]
        if steps == own:
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
