"""What the masks of a data set are like, and how far they agree with people.

Per image: how many masks, how large, how much no mask covers, and how many of the possible training patches
hold a single region, so that the paper's "reduce" (appendix B) sets their structure map to zero. Where people
segmented the images too (BSDS500), the measures of Arbelaez et al. (2011): covering, variation of
information, boundary F-measure.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from samdiffsr.core.errors import UserError
from samdiffsr.core.files import as_cell, write_csv
from samdiffsr.core.progress import each_image
from samdiffsr.masks.recipe import StatisticsRecipe
from samdiffsr.masks.regions import Regions
from samdiffsr.masks.segmenters.bsds import Annotations
from samdiffsr.masks.store import RegionStore

AREA_QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
BOUNDARY_TOLERANCE = 0.0075  # of the image's diagonal, as the BSDS500 benchmark has it
HUMAN_COLUMNS = ("annotators", "covering", "vi", "vi_merges", "vi_splits", "boundary_f")
IMAGE_COLUMNS = (
    "image", "height", "width", "masks", "atoms", "area_median", "uncovered", "overlapped",
    "uninformative_patches", *HUMAN_COLUMNS,
)  # fmt: skip
SUMMARY_COLUMNS = (
    "study", "level", "masks", "segmenter", "found_on", "dataset", "scale", "patch", "images",
    "masks_mean", "masks_median", "masks_min", "masks_max", "images_without_masks",
    *(f"area_q{round(100 * q)}" for q in AREA_QUANTILES),
    "uncovered", "overlapped", "uninformative_patches", "images_with_annotations", *HUMAN_COLUMNS[1:],
)  # fmt: skip


def mask_statistics(
    labels: str | Path,
    out: str | Path,
    summary: str | Path,
    recipe: StatisticsRecipe,
    *,
    humans: str | Path | None = None,
) -> None:
    """Statistics of one region store: a row per image into `out`, their summary (one row) into `summary`.

    Args:
        labels: the region store.
        humans: a folder that holds BSDS500's `groundTruth`, where the images are BSDS500's.

    Columns: IMAGE_COLUMNS and SUMMARY_COLUMNS. Areas and shares are in 0..1 of the image; the summary's area
    quantiles are over all masks of all images, everything else is a mean over images. `covering`, `vi` (bits)
    and `boundary_f` are empty without annotations.
    """
    store = RegionStore(labels)
    people = None if humans is None else Annotations(Path(humans))
    rows, areas = [], []
    for i, name in each_image("statistics", store.names):
        regions = store[i]
        truths = [] if people is None else people(name, regions.shape)
        area = mask_areas(regions) / regions.labels.size
        areas.append(area)
        rows.append(
            {
                "image": as_cell(name),
                "height": regions.shape[0],
                "width": regions.shape[1],
                "masks": regions.n_masks,
                "atoms": regions.n_atoms,
                "area_median": float(np.median(area)) if len(area) else math.nan,
                "uncovered": float(np.mean(regions.labels == 0)),
                "overlapped": overlapped_share(regions),
                "uninformative_patches": uninformative_share(regions.labels, recipe.patch, recipe.scale),
                **agreement(regions, truths),
            }
        )
    segmenter = {k: v for k, v in store.meta.get("segmenter", {}).items() if k not in ("weights", "files")}
    total = {
        **recipe.model_dump(),
        "segmenter": " ".join(f"{k}={v}" for k, v in segmenter.items()),
        "found_on": store.meta.get("on", ""),
        **summarise(rows, np.concatenate([np.empty(0), *areas])),
    }
    write_csv(out, IMAGE_COLUMNS, map(_cells, rows))
    write_csv(summary, SUMMARY_COLUMNS, [_cells(total)])


def summarise(rows: Sequence[Mapping[str, Any]], areas: np.ndarray) -> dict[str, Any]:
    """One row of SUMMARY_COLUMNS, without what names it, from rows of IMAGE_COLUMNS and all masks' areas."""
    counts = np.array([row["masks"] for row in rows])

    def mean(column: str) -> float:
        values = [row[column] for row in rows if not math.isnan(row[column])]
        return float(np.mean(values)) if values else math.nan

    return {
        "images": len(rows),
        "masks_mean": float(counts.mean()) if len(rows) else math.nan,
        "masks_median": float(np.median(counts)) if len(rows) else math.nan,
        "masks_min": int(counts.min(initial=np.iinfo(np.int64).max)) if len(rows) else "",
        "masks_max": int(counts.max(initial=0)) if len(rows) else "",
        "images_without_masks": int((counts == 0).sum()),
        **{
            f"area_q{round(100 * q)}": float(np.quantile(areas, q)) if len(areas) else math.nan
            for q in AREA_QUANTILES
        },
        **{key: mean(key) for key in ("uncovered", "overlapped", "uninformative_patches")},
        "images_with_annotations": sum(row["annotators"] > 0 for row in rows),
        **{key: mean(key) for key in HUMAN_COLUMNS[1:]},
    }


def gather_statistics(parts: Iterable[str | Path], out: str | Path) -> None:
    """Join summaries of `mask_statistics`, in the order given, into one CSV."""
    rows = []
    for part in parts:
        with open(part, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if tuple(reader.fieldnames or ()) != SUMMARY_COLUMNS:
                raise UserError(f"{part}: no summary of mask statistics; delete it and run again")
            rows += list(reader)
    write_csv(out, SUMMARY_COLUMNS, map(_cells, rows))


# ---- of the masks alone ----


def mask_areas(regions: Regions) -> np.ndarray:
    """Pixels in each mask, (K,) int64."""
    return regions.pixels()[1:]


def overlapped_share(regions: Regions) -> float:
    """Share of the pixels that lie in two masks or more."""
    atoms = np.concatenate([np.empty(0, np.int64), *regions.members])
    masks_over = np.bincount(atoms, minlength=regions.n_atoms + 1)
    return float(np.mean(masks_over[regions.labels] > 1))


def uninformative_share(labels: np.ndarray, patch: int, scale: int) -> float:
    """Share of all places of a training patch, on the LR grid, at which it holds a single label.

    Exact, from a summed-area table of label borders: a patch is uniform if no border runs through it.
    Returns NaN for an image smaller than a patch.

    Args:
        labels: (H, W) integers. patch: side in HR pixels. scale: places are multiples of it, in the part that
            LR covers (a multiple of 2 * scale, see data/prepare.py).
    """
    height, width = (side - side % (2 * scale) for side in labels.shape)
    if min(height, width) < patch:
        return math.nan
    labels = labels[:height, :width]
    rows, columns = (np.arange(0, side - patch + 1, scale) for side in (height, width))
    borders = np.zeros((len(rows), len(columns)), np.int64)
    # borders between vertical neighbours in a patch: patch - 1 rows of them, patch columns; and transposed
    for edges, tall, wide in (
        (labels[1:] != labels[:-1], patch - 1, patch),
        (labels[:, 1:] != labels[:, :-1], patch, patch - 1),
    ):
        table = np.zeros((edges.shape[0] + 1, edges.shape[1] + 1), np.int32)
        table[1:, 1:] = edges.cumsum(0, dtype=np.int32).cumsum(1, dtype=np.int32)
        borders += (
            table[np.ix_(rows + tall, columns + wide)]
            - table[np.ix_(rows, columns + wide)]
            - table[np.ix_(rows + tall, columns)]
            + table[np.ix_(rows, columns)]
        )
    return float(np.mean(borders == 0))


# ---- against people ----


def agreement(regions: Regions, truths: Sequence[np.ndarray]) -> dict[str, float]:
    """HUMAN_COLUMNS: the means over annotators; NaN without any.

    An annotator whose segmentation the masks themselves are is left out: agreeing with oneself says nothing.
    """
    from skimage.metrics import variation_of_information

    others = [truth for truth in truths if not _same_partition(regions.labels, truth)]
    if not others:
        return {"annotators": 0, **dict.fromkeys(HUMAN_COLUMNS[1:], math.nan)}
    labels = regions.labels.astype(np.int64)
    # the two entropies are of one map given the other: of the truth given the masks first (what masks merge)
    entropies = np.mean([variation_of_information(truth, labels)[::-1] for truth in others], axis=0)
    return {
        "annotators": len(others),
        "covering": float(np.mean([covering(regions, truth) for truth in others])),
        "vi": float(entropies.sum()),
        "vi_merges": float(entropies[0]),
        "vi_splits": float(entropies[1]),
        "boundary_f": boundary_f(labels, others),
    }


def covering(regions: Regions, truth: np.ndarray) -> float:
    """How well masks cover the regions of `truth`: each region's best intersection over union, by its area.

    Masks may overlap; uncovered pixels are no mask. (H, W) integer labels -> 0..1.
    """
    from scipy.sparse import csr_array

    if not regions.n_masks:
        return 0.0
    _, truth = np.unique(truth, return_inverse=True)
    truth = truth.reshape(regions.shape)
    n = regions.n_atoms + 1
    joint = np.bincount(
        (truth.astype(np.int64) * n + regions.labels).ravel(), minlength=(truth.max() + 1) * n
    )
    joint = joint.reshape(-1, n)  # truth region x atom
    lengths = [len(atoms) for atoms in regions.members]
    starts = np.cumsum([0, *lengths])
    member = csr_array(
        (np.ones(starts[-1], np.int64), np.concatenate(regions.members), starts), shape=(regions.n_masks, n)
    )
    both = member @ joint.T  # mask x truth region
    area, wanted = member @ joint.sum(0), joint.sum(1)
    union = area[:, None] + wanted[None] - both
    return float((wanted * (both / union).max(axis=0)).sum() / wanted.sum())


def boundary_f(labels: np.ndarray, truths: Sequence[np.ndarray]) -> float:
    """F-measure of the borders between labels against those of all annotators.

    A border pixel counts as found if the other side has one within BOUNDARY_TOLERANCE of the diagonal:
    precision against any annotator, recall over all of them. The BSDS500 benchmark also pairs the pixels one
    to one, which needs a bipartite matching; without it values are a little higher.
    """
    from scipy.ndimage import distance_transform_edt

    reach = BOUNDARY_TOLERANCE * math.hypot(*labels.shape)
    found, wanted = borders(labels), [borders(truth) for truth in truths]

    def near(other: np.ndarray) -> np.ndarray:
        return distance_transform_edt(~other) <= reach if other.any() else np.zeros(other.shape, np.bool_)

    n_found, n_wanted = np.count_nonzero(found), sum(np.count_nonzero(each) for each in wanted)
    if not n_found or not n_wanted:
        return float(n_found == n_wanted)
    close = near(found)
    precision = np.count_nonzero(found & near(np.logical_or.reduce(wanted))) / n_found
    recall = sum(np.count_nonzero(each & close) for each in wanted) / n_wanted
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def borders(labels: np.ndarray) -> np.ndarray:
    """Pixels whose right or lower neighbour has another label, (H, W) bool: borders one pixel wide."""
    edge = np.zeros(labels.shape, np.bool_)
    edge[:-1] |= labels[1:] != labels[:-1]
    edge[:, :-1] |= labels[:, 1:] != labels[:, :-1]
    return edge


def _same_partition(a: np.ndarray, b: np.ndarray) -> bool:
    n = int(b.max()) + 1
    pairs = np.unique(a.astype(np.int64) * n + b)
    return len(pairs) == len(np.unique(a)) == len(np.unique(b))


def _cells(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row for CSV: NaN is an empty cell, other floats have six digits."""

    def cell(value: Any) -> Any:
        if not isinstance(value, float):
            return value
        return "" if math.isnan(value) else f"{value:.6g}"

    return {key: cell(value) for key, value in row.items()}
