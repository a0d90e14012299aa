"""What is read of samples and scores: for scores, costs, tables and the report."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from samdiffsr.checkpoints.released import model_name, models_of
from samdiffsr.config.config import Config
from samdiffsr.config.recipes.report import comparisons
from samdiffsr.config.recipes.stages import step_metrics
from samdiffsr.config.tables import Table
from samdiffsr.core import layout
from samdiffsr.core.errors import UserError
from samdiffsr.core.layout import Layout, files
from samdiffsr.data.catalogue import weights
from samdiffsr.evaluation.metrics import CostMetric, ImageMetric, Metric, SetMetric, of_kind, weight_keys
from samdiffsr.workflow.availability import absences, all_absences
from samdiffsr.workflow.inputs.runs import model, run_of
from samdiffsr.workflow.inputs.stores import Files, undated


def table_of(config: Config, table: str) -> Table:
    if table not in config.tables:
        raise UserError(f"no table {table!r} in config.yaml; there are {', '.join(config.tables)}")
    return config.tables[table]


def sampled(
    config: Config, variant: str, scale: int, seed: int, dataset: str, suffix: str = layout.SAMPLES[0]
) -> list[str]:
    """What was sampled from a run: the manifests, or another record, of each kind of its weights."""
    run = run_of(config, variant, scale, seed)
    spell = Layout(config.study).samples
    return [spell(run.name, weights, dataset) + suffix for weights in config.weights(variant)]


def drawn(config: Config, variant: str, scale: int, seed: int, dataset: str, samples: int) -> list[str]:
    """The manifests of so many images of each LR image, one a sampling seed; of the headline weights."""
    run, place = run_of(config, variant, scale, seed), Layout(config.study)
    weights = config.weights(variant)[0]
    first = place.samples(run.name, weights, dataset)
    others = [place.draws(run.name, sample, weights, dataset) for sample in range(1, samples)]
    return [stem + layout.SAMPLES[0] for stem in (first, *others)]


def scores(config: Config, variant: str, scale: int, dataset: str, kind: str = "") -> list[str]:
    """The scores of all seeds of a variant on one data set."""
    spell = Layout(config.study).scores
    return [spell(run.name, dataset, kind) for run in config.runs(variant, scale)]


def weight_files(config: Config, metrics: Iterable[str]) -> list[str]:
    """Weights that metrics need. Of a weight file only the content matters, which is checked when it is read.

    With `missing_weights: skip` those that are there; when one arrives, what uses it runs again.
    """
    table = weights()
    found = [layout.weight(table[key].file) for key in weight_keys(metrics)]
    if config.missing_weights == "skip":
        found = [path for path in found if Path(path).exists()]
    return undated(found)


def image_metric_weights(config: Config) -> list[str]:
    return weight_files(config, config.asked(ImageMetric))


def set_metric_weights(config: Config) -> list[str]:
    return weight_files(config, config.asked(SetMetric))


def weights_that_must_be(config: Config) -> list[str]:
    """Weights without which scoring fails: with `missing_weights: fail`, all that metrics use."""
    return weight_files(config, config.asked(Metric)) if config.missing_weights == "fail" else []


def step_metric_weights(config: Config) -> list[str]:
    return weight_files(config, step_metrics(config))


def cost(config: Config, variant: str, scale: int, seed: int) -> Files:
    """Model files that a run has, and the record of its training if it was trained here."""
    run = run_of(config, variant, scale, seed)
    found: Files = {}
    for name, kind in (("encoder", "encoders"), ("denoiser", "runs")):
        if kind in models_of(config, run):
            found[name] = model(config, kind, run)["file"]
    trained = config.checkpoint_source == "trained" and config.variants[variant].foreign is None
    if "denoiser" in found and trained:
        found["training"] = Layout(config.study).training_record("runs", model_name(config, "runs", run))
    return found


# ---- tables.smk ----


def table_scores(config: Config, table: str, kind: str = "") -> list[str]:
    """The scores that a table shows; kind: as in `scores`, empty for those of its images."""
    spec = table_of(config, table)
    missing = absences(config, table)
    return [
        path
        for variant in spec.variants
        for dataset in config.table_datasets(table)
        if dataset not in missing.get(variant, ())
        for path in scores(config, variant, spec.scale, dataset, kind or spec.scores)
    ]


def table_sets(config: Config, table: str) -> list[str]:
    """Scores of sets and costs, if the table asks for some."""
    metrics = table_of(config, table).metrics
    of_sets = table_scores(config, table, "sets") if of_kind(metrics, SetMetric) else []
    costs = table_scores(config, table, "cost") if of_kind(metrics, CostMetric) else []
    return [*of_sets, *costs]


def page_images(config: Config) -> list[str]:
    """Per-image scores and samples that the page shows: what the tables need anyway."""
    spell, found = Layout(config.study), []
    for comparison in comparisons(config, all_absences(config)):
        for method in comparison.methods:
            dataset, run = comparison.dataset, method.run
            found += [spell.scores(run, dataset)]
            found += files(spell.samples(run, method.weights, dataset), layout.SAMPLES)
    return found
