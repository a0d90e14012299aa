"""What a table needs beside the scores."""

from __future__ import annotations

from collections.abc import Iterable

from samdiffsr.config.config import Config
from samdiffsr.config.tables import Row as RowSpec
from samdiffsr.config.tables import Table as TableSpec
from samdiffsr.data.recipe import RealEsrgan
from samdiffsr.diffusion.registry import FORMULATIONS
from samdiffsr.evaluation.protocol import PROTOCOLS
from samdiffsr.reporting.tables.recipe import Column, LeftOut, Pair, Row, TableRecipe

Absences = dict[str, dict[str, str]]  # variant -> data set -> why its images cannot be had here


def sampling_words(config: Config, kind: str) -> str:
    """How images of this kind of variant are drawn, in words."""
    if kind != "denoiser":
        return "not random"
    steps, pad = config.chosen.sampling.steps, config.chosen.sampling.pad
    words = f"{steps} of {config.diffusion.steps} steps" if steps else f"all {config.diffusion.steps} steps"
    return f"{words}, padded by {pad} LR px" if pad else words


def table_recipe(config: Config, table: str, absent: Absences | None = None) -> TableRecipe:
    """Everything a table needs beside the scores. absent: as `workflow.availability.absences` finds them."""
    spec = config.tables[table]
    sets = config.table_datasets(table)
    rows = [
        row_recipe(config, row, spec.scale, (absent or {}).get(row.variant or "", {}), sets)
        for row in spec.rows
    ]
    if spec.samples > 1:  # of the headline weights alone
        words = f"{spec.samples} images an LR image"
        rows = [row.but(weights=row.weights[:1], sampling=f"{row.sampling}, {words}") for row in rows]
    return TableRecipe(
        defined=config.defined(spec.metrics),
        name=table,
        study=config.study,
        about=config.chosen.about,
        comparable=config.chosen.comparable,
        train_set=config.chosen.train_set,
        checkpoints=config.checkpoint_source,
        title=spec.title,
        scale=spec.scale,
        metrics=spec.metrics,
        datasets=tuple(part for n in sets for part in _under_protocols(_column(config, n), spec.protocols)),
        left_out=tuple(
            LeftOut(**_column(config, name).model_dump(), why=why)
            for name, why in config.left_out.items()
            if name in spec.datasets or not spec.datasets
        ),
        rows=tuple(rows),
        differences=claimed(spec),
        notes=spec.notes + lr_words(config, sets),
    )


def lr_words(config: Config, datasets: Iterable[str]) -> tuple[str, ...]:
    """Sentences on the training set and on these, where LR images are no bicubic ones or the truth is not
    known."""
    found: dict[str, list[str]] = {}
    for name in dict.fromkeys((config.chosen.train_set, *datasets)):
        made = config.degradation_of(name)
        if config.datasets[name].reference == "none":
            what = "No ground truth, so that metrics without reference alone are measured"
        elif made is None:
            what = "LR images that came with the HR images"
        elif isinstance(made, RealEsrgan):
            what = f"LR images by Real-ESRGAN's blind degradation, seed {made.seed}"
        else:
            continue
        found.setdefault(what, []).append(config.dataset_label(name))
    return tuple(f"{what}: {', '.join(labels)}." for what, labels in found.items())


def claimed(spec: TableSpec) -> tuple[Pair, ...]:
    """The differences that a table claims."""
    return tuple(Pair(of=pair.of, minus=pair.minus) for pair in spec.differences)


def row_recipe(
    config: Config, row: RowSpec, scale: int, absent: dict[str, str], datasets: Iterable[str]
) -> Row:
    """One row; without runs if `absent`, data set -> why its images cannot be had, names all data sets."""
    if row.variant is None:
        return Row(
            variant=None,
            label=config.row_label(row),
            published=row.published,
            masks=None,
            runs=(),
            weights=(),
            sampling="",
        )
    variant = config.variants[row.variant]
    runs = [] if absent.keys() >= set(datasets) else config.runs(row.variant, scale)
    return Row(
        variant=row.variant,
        label=config.row_label(row),
        published=row.published or row.label or variant.published or variant.label,
        masks=_mask_words(config, row.variant),
        runs=tuple(run.name for run in runs),
        weights=tuple(config.weights(row.variant)),
        sampling=sampling_words(config, variant.kind) + _own_sampling(config, row.variant),
        absent=absent,
    )


def _own_sampling(config: Config, variant: str) -> str:
    """What a variant says of its own sampling, in words."""
    if config.variants[variant].sampling is None:
        return ""
    chain = config.chain(variant)
    steps = f", {chain.steps} steps" if chain.steps != config.chosen.sampling.steps else ""
    return f"{steps} (from t = {chain.start})" if chain.start else steps


def _column(config: Config, dataset: str) -> Column:
    return Column(
        name=dataset, label=config.dataset_label(dataset), published=config.datasets[dataset].published
    )


def _mask_words(config: Config, variant: str) -> str | None:
    """Which masks a variant saw, as the tables say it."""
    v, masks = config.variants[variant], config.mask_set(variant)
    if v.foreign is not None:
        return "its own"
    if FORMULATIONS[v.formulation].needs_masks:  # at inference, where HR is unknown
        return f"{masks} in training, {config.inference_masks} at inference"
    return masks


def _under_protocols(dataset: Column, protocols: tuple[str, ...]) -> list[Column]:
    """A data set once for each protocol; the paper's values stand beside its own protocol alone."""
    if not protocols:
        return [dataset]
    return [
        Column(
            name=f"{dataset.name}/{name}",
            label=f"{dataset.label}, {PROTOCOLS[name].label}",
            published=dataset.published if PROTOCOLS[name].published else "",
        )
        for name in protocols
    ]
