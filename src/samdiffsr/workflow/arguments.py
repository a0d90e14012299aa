"""What each rule tells its command beside files and recipe, and the machine it asks for.

Options are lists, so that `:q` in a shell command quotes each word of them; one that is not needed is empty.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from samdiffsr.config.config import Config
from samdiffsr.config.recipes.stages import asked_protocols
from samdiffsr.core import layout
from samdiffsr.core.files import sha256_json
from samdiffsr.core.registry import module_of
from samdiffsr.data import fetch
from samdiffsr.data.catalogue import WeightFile, sources, weights
from samdiffsr.evaluation.metrics import METRICS, CostMetric, ImageMetric, SamplesMetric, SetMetric, of_kind
from samdiffsr.evaluation.named import WeightRow
from samdiffsr.evaluation.protocol import PROTOCOL_METRICS, PROTOCOLS
from samdiffsr.masks.segmenters.registry import SEGMENTERS
from samdiffsr.reporting.figures.registry import KINDS
from samdiffsr.sampling.adapters import ADAPTERS
from samdiffsr.workflow.contents import content
from samdiffsr.workflow.fingerprint import (
    fingerprint,
    plugins,
    sampling_fingerprint,
    scoring_fingerprint,
    training_fingerprint,
)
from samdiffsr.workflow.inputs import figures, results, runs, split, stores
from samdiffsr.workflow.inputs.stores import Files

MASKS_MB = {True: 16000, False: 2000}  # SAM's largest network with 64 prompts on a 2K image; a few label maps


def _options(found: Files, names: Sequence[str]) -> list[str]:
    """--name and its path, of the files there are."""
    return [word for name in names if name in found for word in (f"--{name}", str(found[name]))]


def shard(part: int | None = None, parts: int | None = None) -> list[str]:
    """Which part of the images; nothing for all."""
    return [] if part is None else ["--shard", f"{part}/{parts}"]


# ---- data ----


def images_content(config: Config, dataset: str) -> str:
    """Of images of the user's own, what they hold; a manifest says it of all others."""
    local = stores.local_images(config, dataset)
    return content(local, Path(layout.contents(dataset))) if local else ""


def lr_content(config: Config, dataset: str, scale: int) -> str:
    """Of LR images that are given, what they hold."""
    given = stores.local_lr_images(config, dataset, scale)
    return content(given, Path(layout.contents(f"{dataset}-lr-x{scale}"))) if given else ""


def source_keys() -> list[str]:
    """What can be fetched as image sets."""
    return list(sources())


def source_version(source: str) -> str:
    """What makes a fetched set another one."""
    return fetch.source_version(sources()[source])


def source_mb(source: str) -> int:
    """The disk that fetching it needs."""
    return sources()[source].disk // 1_000_000


def weight_names() -> list[str]:
    """Files of networks that can be fetched."""
    return sorted(row.file for row in weights().values())


def weight_key(weight: str) -> str:
    return _weight(weight).key


def weight_row(weight: str) -> list[str]:
    """Of a file that the configuration declares, its row: the packaged table does not have it."""
    row = _weight(weight)
    if row.key != row.file:
        return []
    given = WeightRow(file=row.file, sha256=row.sha256, bytes=row.bytes, urls=row.urls, also=row.also)
    return ["--row", given.model_dump_json()]


def weight_sha256(weight: str) -> str:
    return _weight(weight).sha256


def _weight(file: str) -> WeightFile:
    (row,) = (row for row in weights().values() if row.file == file)
    return row


def named_stores(datasets: Iterable[str]) -> list[str]:
    """NAME=STORE of HR images."""
    return [f"{dataset}={layout.hr(dataset)}" for dataset in datasets]


# ---- masks ----


def mask_scale(masks: str) -> int:
    """Of the images that are segmented."""
    return layout.read_masks(masks)[1] or 1


def mask_places(config: Config, dataset: str, masks: str) -> list[str]:
    """Folders travel beside the recipe, not in it."""
    found = stores.segmenter(config, dataset, masks)
    weights = ["--weights", layout.WEIGHTS] if "weights" in found else []
    stand_in = stores.segmenter_of(config, masks).input_masks
    regions = ["--regions", layout.regions(dataset, stand_in)] if "regions" in found else []
    return weights + regions + (_bsds() if "bsds" in found else [])


def segmentation_content(config: Config, dataset: str, masks: str) -> str:
    """Of images and masks of the user's own, what they hold."""
    images = images_content(config, dataset)
    found = stores.imported_files(config, masks)
    if not found:
        return images
    mask_set, _ = layout.read_masks(masks)
    return sha256_json([images, content(found, Path(layout.contents(f"{mask_set}-masks")))])


def human_annotations(config: Config, dataset: str, masks: str) -> list[str]:
    return _bsds() if "bsds" in stores.annotated(config, dataset, masks) else []


def _bsds() -> list[str]:
    return ["--root", layout.source_folder("bsds500")]


def segmenter_code(config: Config, masks: str) -> str:
    kind = stores.segmenter_of(config, masks).kind
    return fingerprint("samdiffsr.masks.segment", SEGMENTERS[kind].module)


def segmenter_gpu(config: Config, masks: str) -> int:
    return int(SEGMENTERS[stores.segmenter_of(config, masks).kind].reads == "weights")


def segmenter_threads(config: Config, masks: str) -> int:
    return config.chosen.threads if segmenter_gpu(config, masks) else 1


def segmenter_mb(config: Config, masks: str) -> int:
    return MASKS_MB[bool(segmenter_gpu(config, masks))]


# ---- training and sampling ----


def _structure(found: Files) -> list[str]:
    """Regions and their values; nothing for a variant without masks."""
    if "values" not in found:
        return []
    index = found["labels"][0]
    return ["--labels", index.removesuffix(layout.REGIONS[0]), "--values", str(found["values"])]


def device(config: Config) -> list[str]:
    """Of trainings."""
    compiling = [] if config.compile == "auto" else ["--compile", str(config.compile).lower()]
    return ["--device", config.device, *compiling]


def encoder_threads(config: Config) -> int:
    """Of all processes that train an encoder on the CPU; on a GPU one counts."""
    return config.chosen.threads * (1 if config.chosen.gpus else config.chosen.encoder_processes)


def encoder_mb(config: Config) -> int:
    return config.chosen.memory_mb * encoder_threads(config) // config.chosen.threads


def training_structure(config: Config, variant: str, scale: int, seed: int) -> list[str]:
    return _structure(runs.denoiser_training(config, variant, scale, seed))


def sampling_structure(config: Config, variant: str, scale: int, seed: int, dataset: str) -> list[str]:
    return _structure(runs.sampling(config, variant, scale, seed, dataset))


def models(config: Config, variant: str, scale: int, seed: int, dataset: str) -> list[str]:
    """The networks that draw a run's images."""
    found = runs.sampling(config, variant, scale, seed, dataset)
    return _options({k.removesuffix("_file"): v for k, v in found.items()}, ("encoder", "denoiser"))


def source(config: Config, variant: str, dataset: str, scale: int) -> list[str]:
    """Where a baseline's images or network lie."""
    place = runs.baseline_place(config, variant, dataset, scale)
    return ["--source", place] if place else []


def source_content(config: Config, variant: str, dataset: str, scale: int) -> str:
    """What a baseline's folder holds."""
    found = runs.baseline_images(config, variant, dataset, scale)
    return content(found, Path(layout.contents(f"{variant}-{dataset}-x{scale}"))) if found else ""


def encoding_images(config: Config, dataset: str, encoding: str) -> list[str]:
    """The store that features of pixels are taken from."""
    return ["--images", layout.hr(dataset)] if stores.encoding_of(config, encoding).sees_images else []


def encoding_code(config: Config, encoding: str) -> str:
    """Of the modules that make values of regions, the package's own too: the stage loads them by name."""
    codes = stores.encoding_of(config, encoding).codes
    return fingerprint("samdiffsr.masks.encode", *sorted({module_of(code) for code in codes}))


def training_code(config: Config, variant: str) -> str:
    """Of the modules that train a variant's denoiser."""
    return training_fingerprint(config.variants[variant])


def restoring_code(config: Config, variant: str) -> str:
    """Of the modules that make a variant's images; those of baselines decide nothing about the others."""
    if variant in config.baselines:
        code = ADAPTERS[config.baselines[variant].adapter].code
        return fingerprint("samdiffsr.sampling.restorers", "samdiffsr.sampling.baselines", *plugins([code]))
    return sampling_fingerprint(config.variants[variant])


def sampling_gpu(config: Config, variant: str) -> int:
    return 0 if config.trivial(variant) else min(1, config.chosen.gpus)


# ---- scores, tables, figures ----


def scoring_gpu(config: Config, weights: Sequence[str]) -> int:
    """Metrics with networks use one."""
    return min(1, config.chosen.gpus) if weights else 0


def image_scoring_gpu(config: Config) -> int:
    return scoring_gpu(config, results.image_metric_weights(config))


def set_scoring_gpu(config: Config) -> int:
    return scoring_gpu(config, results.set_metric_weights(config))


def image_scoring_mb(config: Config) -> int:
    return 8000 if results.image_metric_weights(config) else 3000


def image_scoring_code(config: Config) -> str:
    return scoring_fingerprint("samdiffsr.evaluation.stages", config.asked(ImageMetric))


def set_scoring_code(config: Config) -> str:
    return scoring_fingerprint("samdiffsr.evaluation.set", config.asked(SetMetric))


def samples_scoring_code(config: Config) -> str:
    return scoring_fingerprint("samdiffsr.evaluation.samples", config.asked(SamplesMetric))


def protocol_scoring_code(config: Config) -> str:
    """Also of the plug-ins whose protocols are asked for."""
    own = plugins(PROTOCOLS[name].code for name in asked_protocols(config))
    return scoring_fingerprint("samdiffsr.evaluation.stages", PROTOCOL_METRICS, own)


def cost_code() -> str:
    return scoring_fingerprint("samdiffsr.evaluation.cost", of_kind(METRICS, CostMetric))


def cost(config: Config, variant: str, scale: int, seed: int) -> list[str]:
    return _options(results.cost(config, variant, scale, seed), ("encoder", "denoiser", "training"))


def table_sets(config: Config, table: str) -> list[str]:
    found = results.table_sets(config, table)
    return ["--sets", *found] if found else []


def figure(config: Config, figure: str) -> list[str]:
    """USE=PATH of everything that the figure shows."""
    pairs = [
        f"{use}={path}"
        for use, found in figures.figure(config, figure).items()
        if use != "beside"
        for path in found
    ]
    return ["--inputs", *pairs] if pairs else []


def figure_code(config: Config, figure: str) -> str:
    kind = figures.figure_of(config, figure).kind
    return fingerprint("samdiffsr.reporting.figures.draw", KINDS[kind].module)


def overlaps(config: Config) -> list[str]:
    """What the page says of them."""
    found = split.before_page(config)
    return ["--overlaps", *found] if found else []


# ---- how Snakemake's report lists a file ----


TABLE_WORDS = {
    "wide": "measured values",
    "tidy": "with published values, spread and protocol",
    "differences": "differences with confidence intervals",
    "markdown": "for people",
    "latex": "for papers",
}


def table_labels(config: Config, table: str, kind: str) -> dict[str, str]:
    title = results.table_of(config, table).title
    return {"table": f"{table.removeprefix('table').upper()}: {title}", "content": TABLE_WORDS[kind]}


def figure_labels(config: Config, figure: str, content: str) -> dict[str, str]:
    title = figures.figure_of(config, figure).title
    return {"figure": f"{figure.removeprefix('figure').strip('_')}: {title}", "content": content.strip(".")}


# ---- what a wildcard may be ----


def any_of(names: Iterable[str]) -> str:
    """Regular expression of one of these names, or of nothing."""
    return "|".join(map(re.escape, names)) or "(?!)"


def none_of(names: Iterable[str]) -> str:
    """Of every other name."""
    return rf"(?!(?:{any_of(names)})-x){layout.NAME}"
