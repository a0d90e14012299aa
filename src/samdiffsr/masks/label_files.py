"""Masks that other programs wrote: a PNG label map, or numpy's npz, one file an image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from samdiffsr.core.errors import UserError
from samdiffsr.masks.regions import Regions, check_crop
from samdiffsr.masks.rle import COLUMNS

GREY = ("1", "L", "P", "I", "I;16", "I;16B")  # Pillow's modes with one number a pixel


def read_label_map(path: Path, image: tuple[int, int]) -> Regions:
    """Regions of a PNG of one channel, 8 or 16 bits: 0 is in no mask, every other value is one mask.

    Of a palette count the indices, not the colours.

    Args:
        image: (H, W) of what was segmented, maybe cropped since.

    Raises UserError naming the file: no PNG, in colour, or of another size.
    """
    try:
        with Image.open(path, formats=("PNG",)) as picture:
            if picture.mode not in GREY:
                raise UserError(f"{path}: in colour ({picture.mode}); a label map has one number a pixel")
            check_crop(picture.size[::-1], image, path)
            labels = np.asarray(picture).astype(np.int64)
    except UserError:
        raise
    except Exception as error:  # decoders raise a dozen different types on broken files
        raise UserError(f"{path}: no PNG label map ({error}); segment the image again") from None
    return Regions.from_partition(labels)


def read_npz(path: Path, image: tuple[int, int]) -> Regions:
    """Regions of an npz: `masks`, (K, H, W) truth values that may overlap, or `labels`, (H, W) integers.

    In `labels` 0 is in no mask, and every other value is one mask. Beside `masks`, arrays that are called as
    in `rle.COLUMNS` and have K entries are kept of each mask.

    Args:
        image: (H, W) of what was segmented, maybe cropped since.

    Raises UserError naming the file and what is wrong with it.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if ("masks" in arrays) == ("labels" in arrays):
                raise ValueError("it must hold one of the arrays `masks` and `labels`")
            if "labels" in arrays:
                labels = arrays["labels"]
                check_crop(labels.shape, image, path)
                return Regions.from_partition(labels)
            masks = arrays["masks"]
            columns = {name: arrays[name] for name in COLUMNS if name in arrays}
        if (
            masks.ndim != 3
            or masks.dtype.kind not in "bui"
            or (masks.size and not 0 <= masks.min() <= masks.max() <= 1)
        ):
            raise ValueError(f"masks {masks.shape} {masks.dtype}: not (K, H, W) of 0 and 1")
        check_crop(masks.shape[1:], image, path)
        regions = Regions.from_masks(masks.astype(bool), masks.shape[1:])
        return Regions(regions.labels, regions.members, columns)
    except UserError:
        raise
    except Exception as error:  # of zip, of numpy and of Regions
        raise UserError(f"{path}: no masks in npz ({error}); segment the image again") from None
