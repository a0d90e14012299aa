"""Who waits for the proof that no test image is trained on: every training, its scores and every table.

It decides no number: what waits for it is not made again when it is. Trainings wait for a copy of their own.
Snakemake runs again what waits for a missing file once that is made, and an `overlaps.csv` that was deleted
or failed must never cost a training. Two sets of images are compared once (`work/overlaps`).

With `checkpoint_source: released` nothing is trained, and the training images need not be here.
"""

from __future__ import annotations

from pathlib import Path

from samdiffsr.checkpoints.released import models_of, trained_path
from samdiffsr.config.config import Config
from samdiffsr.core.layout import Layout
from samdiffsr.workflow.inputs.results import table_of, table_scores
from samdiffsr.workflow.inputs.stores import Undated


def before_training(config: Config) -> str:
    return Undated(Layout(config.study).split())


def before_scores(config: Config, variant: str) -> list[str]:
    return [before_training(config)] if _trained_here(config, variant) else []


def before_table(config: Config, table: str) -> list[str]:
    """Not of scores that came without their models, as committed ones do: their images need not be here."""
    spec = table_of(config, table)
    runs = [
        run
        for variant in spec.variants
        if _trained_here(config, variant)
        for run in config.runs(variant, spec.scale)
    ]
    models = [trained_path(config, kind, run) for run in runs for kind in models_of(config, run)]
    if any(path.exists() for path in models) or not _all_here(table_scores(config, table)):
        return [Undated(path) for path in with_variants(config, *spec.variants)]
    return []


def with_variants(config: Config, *variants: str) -> list[str]:
    """The same for people, if one of the variants is trained here."""
    needed = any(_trained_here(config, variant) for variant in variants)
    return [Layout(config.study).overlaps()] if needed else []


def before_page(config: Config) -> list[str]:
    """The page shows what was found."""
    return with_variants(config, *(variant for table in config.tables.values() for variant in table.variants))


def _trained_here(config: Config, variant: str) -> bool:
    spec = config.variants.get(variant)
    ours = spec is not None and spec.foreign is None and not config.trivial(variant)
    return ours and config.checkpoint_source == "trained"


def _all_here(paths: list[str]) -> bool:
    return all(Path(path).exists() for path in paths)
