"""What is read of images and regions, and what makes a file an input by its content.

Of an `Undated` file only its presence counts: what it holds is known by something else (an index with its
digest, a checksum that the reader compares, a parameter of the rule), so that a fresh copy re-runs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from samdiffsr.config.config import Config
from samdiffsr.config.recipes.stages import encoding_name, encoding_recipe
from samdiffsr.core import layout
from samdiffsr.core.errors import UserError
from samdiffsr.core.layout import files
from samdiffsr.data.catalogue import sources, weights
from samdiffsr.data.demo import PHOTOGRAPHS
from samdiffsr.data.fetch import check_disk
from samdiffsr.data.images import list_images
from samdiffsr.masks.recipe import Encoding
from samdiffsr.masks.segmenters.registry import SEGMENTERS, Settings
from samdiffsr.workflow.availability import needed_sources, needed_weights

Files = dict[str, str | list[str]]


class Undated(str):
    """A file whose date says nothing."""


def undated(paths: Iterable[str]) -> list[str]:
    return [Undated(path) for path in paths]


def indexed(paths: Sequence[str]) -> list[str]:
    """The files of a store. The index holds the digest of the data, and small files count by their content: a
    store that was made again with the same content re-runs nothing, whatever its data file's date says."""
    index, *data = paths
    return [index, *undated(data)]


def image_store(stem: str) -> list[str]:
    return indexed(files(stem, layout.STORE))


def region_store(stem: str) -> list[str]:
    return indexed(files(stem, layout.REGIONS))


def fetched(config: Config) -> list[str]:
    """What the study needs from outside; refused before anything starts if the disk cannot hold what is
    missing."""
    wanted = needed_sources(config)
    rows = [weights()[key] for key in needed_weights(config)]
    need = sum(source.disk for source in wanted if not source.stamp.exists())
    need += sum(row.bytes or 0 for row in rows if not Path(layout.weight(row.file)).exists())
    check_disk(need, Path(layout.DATA), f"study {config.study!r}")
    return [str(source.stamp) for source in wanted] + [layout.weight(row.file) for row in rows]


def demo_images() -> list[str]:
    return [layout.demo_image(photograph.split, photograph.name) for photograph in PHOTOGRAPHS]


def images(config: Config, dataset: str) -> list[str]:
    """What must be there before a data set's images can be read: small files, whose content decides.

    Local images are no inputs: a parameter of the rule says what they hold (`arguments.content`).
    """
    if dataset not in config.datasets:
        raise UserError(f"no dataset {dataset!r} in config.yaml")
    spec = config.datasets[dataset]
    found = [str(sources()[key].stamp) for key in spec.source if key in sources()]
    if "demo" in spec.source:
        found += [path for path in demo_images() if str(Path(path).parent) in spec.folder]
    return found


def image_sets(config: Config) -> list[str]:
    """The training set, then the test sets."""
    return [config.chosen.train_set, *config.chosen.test_sets]


def truths(config: Config) -> list[str]:
    """The HR images of every set of the study."""
    return [path for dataset in image_sets(config) for path in image_store(layout.hr(dataset))]


def local_images(config: Config, dataset: str) -> list[Path]:
    """The images of a data set's folders that are the user's own."""
    spec = config.datasets[dataset]
    try:
        return [path for folder in spec.folder if "local" in spec.source for path in list_images(folder)]
    except UserError as error:
        raise UserError(f"dataset {dataset}: {error}") from None


def local_lr_images(config: Config, dataset: str, scale: int) -> list[Path]:
    """The LR images of a data set that are given."""
    try:
        folders = config.datasets[dataset].lr_folders(scale)
        return [path for folder in folders for path in list_images(folder)]
    except UserError as error:
        raise UserError(f"dataset {dataset}: {error}") from None


def segmenter_of(config: Config, masks: str) -> Settings:
    """What config.yaml says of the segmenter that finds these regions."""
    mask_set, _ = layout.read_masks(masks)
    if mask_set not in config.mask_sets:
        raise UserError(f"no mask set {mask_set!r} in config.yaml")
    return config.mask_sets[mask_set].segmenter


def segmented(dataset: str, masks: str) -> str:
    """Stem of the store whose images are segmented."""
    _, scale = layout.read_masks(masks)
    return layout.hr(dataset) if scale is None else layout.lr(dataset, scale)


def segmentation(config: Config, dataset: str, masks: str) -> Files:
    """The images, and what the segmenter reads beside them.

    Regions cost hours and are pulled: a newer store alone does not make them again, other images do (by the
    rule's parameters; and training refuses regions of other images).
    """
    return {
        "source": undated(files(segmented(dataset, masks), layout.STORE)),
        **segmenter(config, dataset, masks),
    }


def segmenter(config: Config, dataset: str, masks: str) -> Files:
    spec = segmenter_of(config, masks)
    match SEGMENTERS[spec.kind].reads:
        case "weights":
            file = spec.own_weights or weights()[spec.needed_weights].file
            return {"weights": Undated(layout.weight(file))}
        case "bsds500":
            return {"bsds": layout.source_stamp("bsds500")}
        case "folder":
            return {"folder": Undated(spec.input_folder)}
        case "regions":
            return {"regions": region_store(layout.regions(dataset, spec.input_masks))}
        case _:
            return {}


def imported_files(config: Config, masks: str) -> list[Path]:
    """The files that a segmenter takes masks from; what they hold is a parameter (`arguments`)."""
    folder = segmenter_of(config, masks).input_folder
    return sorted(path for path in Path(folder).rglob("*") if path.is_file()) if folder else []


def region_parts(config: Config, dataset: str, masks: str) -> list[str]:
    """Stems of the parts of a region store, in their order."""
    parts = config.chosen.mask_shards
    return [layout.region_part(dataset, masks, part, parts) for part in range(parts)]


def region_part_files(config: Config, dataset: str, masks: str) -> list[str]:
    return [f for stem in region_parts(config, dataset, masks) for f in files(stem, layout.REGIONS)]


def annotated(config: Config, dataset: str, masks: str) -> Files:
    """Regions, and people's segmentations where the images are BSDS500's."""
    bsds = "bsds500" in config.datasets[dataset].source
    labels: Files = {"labels": files(layout.regions(dataset, masks), layout.REGIONS)}
    return labels | ({"bsds": layout.source_stamp("bsds500")} if bsds else {})


def encoded(config: Config, dataset: str, masks: str, encoding: str) -> Files:
    """Regions, and the HR images where a feature is one of theirs."""
    found: Files = {"labels": region_store(layout.regions(dataset, masks))}
    sees = encoding_of(config, encoding).sees_images
    return found | ({"images": image_store(layout.hr(dataset))} if sees else {})


def encoding_of(config: Config, encoding: str) -> Encoding:
    """Variants with equal encodings share one."""
    for variant in config.variants:
        if encoding_name(config, variant) == encoding:
            return encoding_recipe(config, variant)
    raise UserError(f"no variant has the encoding {encoding!r}")


def structure(config: Config, variant: str, dataset: str, mask_set: str, scale: int) -> Files:
    """Files that give e_sam: label maps and values."""
    masks = config.mask_name(mask_set, scale)
    return {
        "labels": region_store(layout.regions(dataset, masks)),
        "values": layout.values(dataset, masks, encoding_name(config, variant)),
    }
