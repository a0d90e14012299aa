"""What the blocks of config.yaml say of each other."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

from samdiffsr.core.registry import similar
from samdiffsr.diffusion.registry import FORMULATIONS
from samdiffsr.evaluation.metrics import METRICS, NamedMetric
from samdiffsr.models.registry import SRDiffUNet
from samdiffsr.reporting.figures.spec import SPLIT, Figure, Noise, OfTables, Split, Steps

if TYPE_CHECKING:
    from samdiffsr.config.config import Config
    from samdiffsr.config.schema import Variant


def check_references(config: Config) -> None:
    """Every name means something, and what is named fits; ValueError names the key."""
    _known("study", config.study, config.studies, "study")
    check_studies(config)
    check_tables(config)
    for key in config.variants:
        check_variant(config, key)
    for key, figure in config.figures.items():
        check_figure(config, key, figure)


def check_studies(config: Config) -> None:
    """Their data sets and masks are there."""
    for key, study in config.studies.items():
        _known(f"studies.{key}.train_set", study.train_set, config.datasets, "dataset")
        if config.datasets[study.train_set].reference == "none":
            raise ValueError(f"studies.{key}.train_set: {study.train_set!r} has no truth to train on")
        for name in study.test_sets:
            _known(f"studies.{key}.test_sets", name, config.datasets, "dataset")
        for level, name in study.masks.items():
            _known(f"studies.{key}.masks.{level}", name, config.mask_sets, "mask set")


def check_tables(config: Config) -> None:
    """Their rows, differences and data sets are there."""
    for key, table in config.tables.items():
        for name in table.variants:
            _known(f"tables.{key}.rows", name, config.variants, "variant")
        for pair in table.differences:
            for name in (pair.of, pair.minus):
                _known(f"tables.{key}.differences", name, table.variants, "row of the table for variant")
        for name in table.datasets:
            _known(f"tables.{key}.datasets", name, config.datasets, "dataset")
        _defined(config, f"tables.{key}.metrics", table.metrics)
        for name in table.variants if table.samples > 1 else ():
            if config.variants[name].kind != "denoiser":
                raise ValueError(f"tables.{key}.samples: {name!r} draws nothing by chance")
    check_labels(config)


def check_labels(config: Config) -> None:
    """Labels tell apart what tables show: scores are averaged by them, and claims joined over the tables."""
    variants: dict[str, str] = {}  # label -> what has it, in all tables; one variant may have several
    datasets: dict[str, str] = {}
    for key, table in config.tables.items():
        rows: dict[str, str] = {}
        for row in table.rows:
            name, label = row.variant or row.published, config.row_label(row)
            if rows.get(label) == name:
                raise ValueError(f"tables.{key}.rows: {name!r} stands there twice; give one row a `label`")
            for taken in (rows, variants) if row.variant else (rows,):
                _apart(f"tables.{key}.rows", taken, label, name)
        for name in config.table_datasets(key):
            _apart(f"tables.{key}.datasets", datasets, config.dataset_label(name), name)


def _apart(where: str, taken: dict[str, str], label: str, name: str) -> None:
    other = taken.setdefault(label, name)
    if other != name:
        raise ValueError(f"{where}: {other!r} and {name!r} are both called {label!r}; give one a `label`")


def check_variant(config: Config, key: str) -> None:
    """The chosen study has its encoder and its masks, and its training is possible there."""
    variant, study, where = config.variants[key], config.chosen, f"variants.{key}"
    if variant.kind == "baseline":
        _known(where, key, config.baselines, "baseline")
    check_sampling(config, key)
    if variant.foreign is not None:
        if key in study.encoders:
            raise ValueError(f"{where}.foreign: an encoder of study {config.study!r} has this name")
        return
    _known(f"{where}.encoder", variant.encoder, study.encoders, f"encoder of study {config.study!r}")
    if variant.masks is not None:
        names = {**study.masks, **config.mask_sets}
        _known(f"{where}.masks", variant.masks, names, f"mask level of study {config.study!r}, nor mask set,")
        own = study.masks.get(variant.masks, variant.masks)
        if variant.placebo and config.mask_sets[own].image == "lr":
            raise ValueError(f"{where}.placebo: masks found on LR images have none")
        if FORMULATIONS[variant.formulation].needs_masks and config.inference_masks is None:
            raise ValueError(f"{where}.formulation: the study's masks need some found on LR images (`low`)")
    if variant.model_of is not None:
        _known(f"{where}.model_of", variant.model_of, config.variants, "variant")
        if _trained_as(config.variants[variant.model_of]) != _trained_as(variant, model_of=None):
            raise ValueError(f"{where}.model_of: it is not trained as {variant.model_of!r} is")
    training = config.training(key)
    if variant.kind == "denoiser":
        check_patch(config, key, training.patch)


def check_sampling(config: Config, key: str) -> None:
    """The diffusion has the steps in which a denoiser's images are drawn."""
    own, where = config.variants[key].sampling, f"variants.{key}.sampling"
    if own is not None and own.like is not None:
        _known(f"{where}.like", own.like, config.variants, "variant")
        if config.variants[own.like].sampling is not None:
            raise ValueError(f"{where}.like: {own.like!r} has a sampling of its own; say `start`")
        if config.variants[own.like].kind != "denoiser":
            raise ValueError(f"{where}.like: {own.like!r} has no steps to begin at; name a denoiser")
    if config.variants[key].kind != "denoiser":
        return
    chain = config.chain(key)
    for field, most in (("start", config.diffusion.steps), ("steps", config.start(key))):
        number = getattr(chain, field)
        if number is not None and number > most:
            place = where if getattr(own, field, None) else f"studies.{config.study}.sampling"
            raise ValueError(
                f"{place}.{field}: {key!r} takes {most} at most, not {number}; leave it out for all steps"
            )


def _trained_as(variant: Variant, **changes: Any) -> dict[str, Any]:
    """What decides a variant's networks."""
    beside = {"label", "base", "published", "sampling"}
    return {key: value for key, value in {**dict(variant), **changes}.items() if key not in beside}


def check_patch(config: Config, variant: str, patch: int) -> None:
    """A patch is whole LR pixels and halves at every level of the U-Net, down to two pixels."""
    backbone = config.variants[variant].backbone
    halved = (backbone or SRDiffUNet(**dict(config.chosen.unet))).size_multiple
    multiple = math.lcm(halved, *config.scales(variant))
    if patch % multiple or patch < 2 * halved:
        raise ValueError(
            f"variants.{variant}: its training.patch {patch} must be a multiple of {multiple} (of the "
            f"scale factors and the network's levels), {2 * halved} or more"
        )


def check_figure(config: Config, key: str, figure: Figure) -> None:
    """What it shows is there, and can be shown."""
    where = f"figures.{key}"
    for name in getattr(figure, "tables", ()):
        _known(f"{where}.tables", name, config.tables, "table")
    for name in getattr(figure, "datasets", ()):
        _known(f"{where}.datasets", name, config.datasets, "dataset")
    for field in ("variant", "variants", "control"):
        names = getattr(figure, field, ())
        for name in (names,) if isinstance(names, str) else names:
            _known(f"{where}.{field}", name, config.variants, "variant")
            if field in figure.masked and not config.variants[name].structured:
                raise ValueError(f"{where}.{field}: {name!r} has no masks to show")
            if figure.denoisers and config.variants[name].kind != "denoiser":
                raise ValueError(f"{where}.{field}: {name!r} is no denoiser")
            if figure.trained and config.variants[name].foreign is not None:
                raise ValueError(f"{where}.{field}: {name!r} is imported, so it has no training to show")
    _defined(config, where, figure.shown_metrics)
    most = config.diffusion.steps
    for field in ("steps", "times"):
        if max(getattr(figure, field, (0,))) > most:
            raise ValueError(
                f"{where}.{field}: the diffusion has {most} steps, not {max(getattr(figure, field))}"
            )
    if isinstance(figure, Steps):
        for name in figure.variants:
            start, own = config.start(name), config.calls(name)
            if beyond := [number for number in figure.steps if number > start and number != own]:
                raise ValueError(f"{where}.steps: {name!r} takes {start} at most, not {beyond[0]}")
    if isinstance(figure, OfTables) and len({config.tables[name].scale for name in figure.tables}) > 1:
        raise ValueError(f"{where}.tables: their scale factors differ")
    if isinstance(figure, Noise) and (numbers := config.variants[figure.variant].encoding.channels) > 1:
        raise ValueError(
            f"{where}.variant: a region of {figure.variant!r} has {numbers} numbers, and the figure shows one"
        )
    for name in figure.tables if isinstance(figure, Split) else ():
        if lacking := [metric for metric in SPLIT if metric not in config.tables[name].metrics]:
            raise ValueError(f"{where}.tables: {name!r} has no metric {lacking[0]!r}, which the figure shows")
    for crop in getattr(figure, "crops", ()):
        _known(f"{where}.crops", crop.dataset, config.datasets, "dataset")


def _defined(config: Config, where: str, metrics: Iterable[str]) -> None:
    """Of metrics of pyiqa this configuration has what it defines, not what another one did before it."""
    for name in metrics:
        if isinstance(METRICS[name], NamedMetric):
            _known(where, name, config.metrics, "metric")


def _known(where: str, name: str, things: Collection[str], what: str) -> None:
    if name not in things:
        raise ValueError(f"{where}: no {what} {name!r}{similar(name, things)}")
