"""The text of each stage's recipe, for the wildcards of its rule."""

from __future__ import annotations

from samdiffsr.checkpoints.released import models_of
from samdiffsr.config.config import Config
from samdiffsr.config.recipes import figures, report, stages, tables
from samdiffsr.config.schema import Run
from samdiffsr.core.layout import read_masks
from samdiffsr.core.recipe import Scale
from samdiffsr.sampling.recipe import Weights
from samdiffsr.workflow import beforehand
from samdiffsr.workflow.availability import absences, all_absences
from samdiffsr.workflow.inputs.figures import figure_of
from samdiffsr.workflow.inputs.results import table_of
from samdiffsr.workflow.inputs.runs import model, run_of
from samdiffsr.workflow.inputs.stores import encoding_of, segmenter_of


def images(config: Config, dataset: str) -> str:
    """HR images of one data set."""
    return stages.dataset_recipe(config, dataset).text()


def lr_images(config: Config, dataset: str, scale: int) -> str:
    return stages.lr_recipe(config, dataset, scale).text()


def regions(config: Config, masks: str) -> str:
    segmenter_of(config, masks)
    mask_set, _ = read_masks(masks)
    return stages.mask_recipe(config, mask_set).text()


def mask_statistics(config: Config, dataset: str, masks: str) -> str:
    """Statistics of regions of HR images count them in patches of the smallest scale factor."""
    mask_set, scale = read_masks(masks)
    smallest = min(table.scale for table in config.tables.values())
    return stages.statistics_recipe(config, dataset, mask_set, scale or smallest).text()


def encoding(config: Config, encoding: str) -> str:
    return encoding_of(config, encoding).text()


def encoder(config: Config, encoder: str, scale: Scale, seed: int) -> str:
    return stages.encoder_recipe(config, encoder, scale, seed).text()


def denoiser(config: Config, variant: str, scale: int, seed: int) -> str:
    return stages.denoiser_recipe(config, run_of(config, variant, scale, seed)).text()


def imported(config: Config, variant: str, scale: int, seed: int) -> str:
    return stages.import_recipe(config, run_of(config, variant, scale, seed)).text()


def sampling(
    config: Config,
    variant: str,
    scale: int,
    seed: int,
    weights: Weights,
    steps: int | None = None,
    sample: int | None = None,
) -> str:
    """Drawing images; steps: another number than the study's; sample: another sampling seed than 0."""
    recipe = stages.sampling_recipe(config, run_of(config, variant, scale, seed), weights)
    changes = {"steps": steps, "sample": sample}
    return recipe.but(**{key: value for key, value in changes.items() if value is not None}).text()


def scoring(config: Config, dataset: str, scale: int) -> str:
    return stages.score_recipe(config, scale, dataset).text()


def scorings(config: Config) -> list[str]:
    """Of every scale factor."""
    return [recipe.text() for recipe in beforehand.scorings(config)]


def step_scoring(config: Config, dataset: str, scale: int) -> str:
    return stages.step_score_recipe(config, scale, dataset).text()


def samples_scoring(config: Config, scale: int) -> str:
    return stages.samples_recipe(config, scale).text()


def set_scoring(config: Config, scale: int) -> str:
    return stages.set_recipe(config, scale).text()


def protocol_scoring(config: Config, scale: int) -> str:
    return stages.protocol_recipe(config, scale).text()


def table(config: Config, table: str) -> str:
    """Also refuses to call a table released whose checkpoints are not here: results of trained ones may lie
    there."""
    spec = table_of(config, table)
    if config.checkpoint_source == "released":
        runs: list[Run] = [run for variant in spec.variants for run in config.runs(variant, spec.scale)]
        for run in runs:
            for kind in models_of(config, run):
                model(config, kind, run)
    return tables.table_recipe(config, table, absences(config, table)).text()


def figure(config: Config, figure: str) -> str:
    figure_of(config, figure)
    return figures.figure_recipe(config, figure).text()


def page(config: Config) -> str:
    return report.report_recipe(config, all_absences(config)).text()
