"""What one asks for by a name: all files of a stage, or of one variant."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from samdiffsr.config.config import Config
from samdiffsr.core import layout
from samdiffsr.core.layout import Layout, files
from samdiffsr.reporting.figures.registry import KINDS
from samdiffsr.workflow.inputs import stores
from samdiffsr.workflow.inputs.results import scores
from samdiffsr.workflow.inputs.split import with_variants


def data(config: Config) -> list[str]:
    """Every image store, and the proof that no test image is trained on."""
    stems = [layout.hr(dataset) for dataset in stores.image_sets(config)]
    stems += [
        layout.lr(dataset, scale) for dataset in stores.image_sets(config) for scale in config.all_scales
    ]
    return [f for stem in stems for f in files(stem, layout.STORE)] + [Layout(config.study).overlaps()]


def training_masks(config: Config) -> list[str]:
    """File names of the training set's regions: every level, at every scale factor."""
    sets = config.levels.values()
    return list(dict.fromkeys(config.mask_name(name, scale) for name in sets for scale in config.all_scales))


def level_regions(config: Config) -> list[str]:
    """Stems of one region store a level, for figures of masks."""
    scale = 4 if 4 in config.all_scales else config.all_scales[0]
    sets = dict.fromkeys(config.levels.values())
    return [layout.regions(config.chosen.train_set, config.mask_name(name, scale)) for name in sets]


def masks(config: Config) -> list[str]:
    """The regions of the training images at all quality levels, their statistics and figures."""
    place, names = Layout(config.study), training_masks(config)
    stems = [layout.regions(config.chosen.train_set, name) for name in names]
    drawn = [name for name, spec in config.figures.items() if "regions" in KINDS[spec.kind].reads]
    return [
        *(f for stem in stems for f in files(stem, layout.REGIONS)),
        place.all_mask_statistics(),
        *(place.figure(name, suffix) for name in drawn for suffix in layout.FIGURE),
    ]


def mask_summaries(config: Config) -> list[str]:
    spell = Layout(config.study).mask_summary
    return [spell(config.chosen.train_set, name) for name in training_masks(config)]


def tables(config: Config) -> list[str]:
    shown = [layout.shown_table(table, kind) for table in config.tables for kind in layout.TABLE]
    return [*shown, layout.shown_differences()]


def tables_as(config: Config, kind: str) -> list[str]:
    """One file of every table of the study."""
    return [Layout(config.study).table(table, kind) for table in config.tables]


def figures(config: Config) -> list[str]:
    return [layout.shown_figure(name, suffix) for name in config.figures for suffix in layout.FIGURE]


def figures_as(config: Config, suffix: str) -> list[str]:
    return [Layout(config.study).figure(name, suffix) for name in config.figures]


def rule_files() -> list[str]:
    """The workflow's own text."""
    return ["Snakefile", *sorted(map(str, Path("rules").glob("*.smk")))]


def variant(config: Config, variant: str) -> list[str]:
    """Scores of one variant at every scale factor that a table has it at."""
    sets: Iterable[str] = config.chosen.test_sets
    found = [path for s in config.scales(variant) for d in sets for path in scores(config, variant, s, d)]
    return found + with_variants(config, variant)
