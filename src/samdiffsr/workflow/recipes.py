"""The text of each stage's recipe, for the wildcards of its rule."""

from __future__ import annotations

from samdiffsr.checkpoints.released import models_of
from samdiffsr.config.load import Config
from samdiffsr.config.recipes import figures, report, stages, tables
from samdiffsr.config.recipes.stages import recipe_text
from samdiffsr.config.schema import Run
from samdiffsr.core.errors import UserError
from samdiffsr.core.layout import read_masks
from samdiffsr.workflow.availability import absences, all_absences
from samdiffsr.workflow.inputs.figures import figure_of
from samdiffsr.workflow.inputs.results import table_of
from samdiffsr.workflow.inputs.runs import model, run_of
from samdiffsr.workflow.inputs.stores import segmenter_of


def images(config: Config, dataset: str) -> str:
    """HR images of one data set."""
    return recipe_text(stages.dataset_recipe(config, dataset))


def lr_images(config: Config, scale: int) -> str:
    return recipe_text(stages.lr_recipe(config, scale))


def regions(config: Config, masks: str) -> str:
    segmenter_of(config, masks)
    mask_set, _ = read_masks(masks)
    return recipe_text(stages.mask_recipe(config, mask_set))


def mask_statistics(config: Config, dataset: str, masks: str) -> str:
    """Statistics of regions of HR images count them in patches of the smallest scale factor."""
    mask_set, scale = read_masks(masks)
    smallest = min(table.scale for table in config.tables.values())
    return recipe_text(stages.statistics_recipe(config, dataset, mask_set, scale or smallest))


def encoding(config: Config, encoding: str) -> str:
    """Variants with equal encodings share one."""
    for variant in config.variants:
        if stages.encoding_name(config, variant) == encoding:
            return recipe_text(stages.encoding_recipe(config, variant))
    raise UserError(f"no variant has the encoding {encoding!r}")


def encoder(config: Config, encoder: str, scale: int, seed: int) -> str:
    return recipe_text(stages.encoder_recipe(config, encoder, scale, seed))


def denoiser(config: Config, variant: str, scale: int, seed: int) -> str:
    return recipe_text(stages.denoiser_recipe(config, run_of(config, variant, scale, seed)))


def imported(config: Config, variant: str, scale: int, seed: int) -> str:
    return recipe_text(stages.import_recipe(config, run_of(config, variant, scale, seed)))


def sampling(
    config: Config, variant: str, scale: int, seed: int, weights: str, steps: int | None = None
) -> str:
    """Drawing images; steps: another number of them than the study's."""
    recipe = stages.sampling_recipe(config, run_of(config, variant, scale, seed), weights)
    return recipe_text(recipe if steps is None else recipe | {"steps": steps})


def scoring(config: Config, scale: int) -> str:
    return recipe_text(stages.score_recipe(config, scale))


def step_scoring(config: Config, scale: int) -> str:
    return recipe_text(stages.step_score_recipe(config, scale))


def set_scoring(config: Config, scale: int) -> str:
    return recipe_text(stages.set_recipe(config, scale))


def protocol_scoring(config: Config, scale: int) -> str:
    return recipe_text(stages.protocol_recipe(config, scale))


def table(config: Config, table: str) -> str:
    """Also refuses to call a table released whose checkpoints are not here: results of trained ones may lie
    there."""
    spec = table_of(config, table)
    if config.checkpoint_source == "released":
        runs: list[Run] = [run for variant in spec.variants for run in config.runs(variant, spec.scale)]
        for run in runs:
            for kind in models_of(config, run):
                model(config, kind, run)
    return recipe_text(tables.table_recipe(config, table, absences(config, table)))


def figure(config: Config, figure: str) -> str:
    figure_of(config, figure)
    return recipe_text(figures.figure_recipe(config, figure))


def page(config: Config) -> str:
    return recipe_text(report.report_recipe(config, all_absences(config)))
