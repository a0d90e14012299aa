"""Masks as JSON in COCO's run lengths, as segment-anything's scripts/amg.py --convert-to-rle writes them.

A file holds a list with one record per mask, in the generator's order: {"segmentation": {"size": [height,
width], "counts": text}, "area", "bbox", "predicted_iou", "point_coords", "stability_score", "crop_box"}. Run
lengths count pixels down the columns, starting with a run of zeros; "bbox" is [left, top, right - left,
bottom - top] where right and bottom are the last column and row inside.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from samdiffsr.core.errors import UserError
from samdiffsr.core.files import atomic_path, read_json
from samdiffsr.masks.regions import Regions, check_crop

COLUMNS = ("predicted_iou", "point_coords", "stability_score", "crop_box")


def read_rle(path: str | Path, image: tuple[int, int]) -> Regions:
    """Regions of a file, of the size that its masks have; see `regions_from_records`.

    Args:
        image: (H, W) of what was segmented, maybe cropped since. Masks of another size are refused before
            they are decoded, however large they say they are.

    Raises:
        UserError: names the file and what is wrong with it.
    """
    records = read_json(path)
    try:
        if not isinstance(records, list):
            raise TypeError("a list of records expected")
        shape = _size(records) or image
        check_crop(shape, image, Path(path))
        return regions_from_records(records, shape)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise UserError(
            f"{path}: not masks in COCO run lengths ({error!r}); segment the image again"
        ) from None


def write_rle(path: str | Path, regions: Regions) -> None:
    """Write the file that amg.py would have written for these masks."""
    with atomic_path(path) as part:
        part.write_text(json.dumps(records_from_regions(regions)), encoding="utf-8")


def regions_from_records(
    records: Sequence[Mapping[str, Any]], shape: tuple[int, int] | None = None
) -> Regions:
    """Regions of amg's records, in their order; COLUMNS that every record has go to `Regions.per_mask`.

    Args:
        records: as above; "counts" may also be a list of run lengths (amg's "uncompressed_rle").
        shape: the image's (H, W); needed only where there may be no record.

    Raises:
        ValueError: sizes that differ from each other or from `shape`, or run lengths that do not fill them.
    """
    size = _size(records) or shape
    if size is None or shape not in (None, size):
        raise ValueError(f"masks of one size expected, found {size} and {shape}")
    shape = size
    pixels = (_pixels(record["segmentation"]["counts"], shape[0] * shape[1]) for record in records)
    regions = Regions.from_pixels(pixels, shape, order="F")
    present = [key for key in COLUMNS if records and all(key in record for record in records)]
    columns = {key: np.asarray([record[key] for record in records]) for key in present}
    return Regions(regions.labels, regions.members, columns)


def _size(records: Sequence[Mapping[str, Any]]) -> tuple[int, int] | None:
    """(H, W) of the masks, None if there are none; ValueError if they differ, or are polygons."""
    if any(isinstance(record["segmentation"], list) for record in records):
        raise ValueError("a polygon of points; convert it with pycocotools, frPyObjects and merge")
    sizes = {tuple(record["segmentation"]["size"]) for record in records}
    if len(sizes) > 1:
        raise ValueError(f"masks of one size expected, found {sorted(sizes)}")
    for height, width in sizes:
        return int(height), int(width)
    return None


def records_from_regions(regions: Regions) -> list[dict[str, Any]]:
    """The inverse: JSON records with area and bbox computed and the rest taken from `Regions.per_mask`."""
    from pycocotools.mask import encode

    records = []
    for i in range(regions.n_masks):
        mask = regions.mask(i)
        counts = encode(np.asfortranarray(mask, np.uint8))["counts"].decode("ascii")
        columns = {key: regions.per_mask[key][i].tolist() for key in COLUMNS if key in regions.per_mask}
        record = {
            "segmentation": {"size": list(regions.shape), "counts": counts},
            "area": int(np.count_nonzero(mask)),
            "bbox": _bbox(mask),
            **columns,
        }
        records.append(record)
    return records


def counts_from_text(text: str) -> np.ndarray:
    """Run lengths of COCO's compressed text, (n,) int64.

    Each number is one or more characters of code 48 + five bits, low bits first; bit 6 says that more follow,
    the highest bit of the last is the sign. From the fourth number on, they are differences to the number two
    places before.
    """
    code = np.frombuffer(text.encode("ascii"), np.uint8).astype(np.int64) - 48
    if code.size and (code.min() < 0 or code.max() > 63 or code[-1] & 32):
        raise ValueError("run lengths are not COCO's compressed text")
    last = (code & 32) == 0
    start = np.flatnonzero(np.concatenate(([True], last[:-1])))[: np.count_nonzero(last)]
    length = np.diff(np.append(start, code.size))
    place = 5 * (np.arange(code.size) - np.repeat(start, length))
    if place.max(initial=0) > 55:
        raise ValueError("run lengths are not COCO's compressed text")
    numbers = np.add.reduceat((code & 31) << place, start) if code.size else code
    numbers -= np.where(code[last] & 16, 1 << (5 * length), 0)  # two's complement
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers


def _pixels(counts: str | Sequence[int], size: int) -> np.ndarray:
    """Flat column-major indices of a mask's pixels."""
    runs = counts_from_text(counts) if isinstance(counts, str) else np.asarray(counts, np.int64)
    if runs.sum() != size or runs.min(initial=0) < 0:
        raise ValueError(f"run lengths of {runs.sum()} pixels for a mask of {size}")
    ends = np.cumsum(runs)
    starts, lengths = ends[0::2][: len(runs) // 2], runs[1::2]
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(lengths.sum())


def _bbox(mask: np.ndarray) -> list[int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return [0, 0, 0, 0]
    return [int(v) for v in (columns[0], rows[0], columns[-1] - columns[0], rows[-1] - rows[0])]
