"""One value per region, and the structure map E_SAM that it makes (paper, equation (6) and appendix B)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from samdiffsr.errors import UserError
from samdiffsr.masks.regions import Regions, run_starts
from samdiffsr.structure.positions import POSITIONS, ROPE_AXES

CHOICES: dict[str, tuple[str, ...]] = {
    "position": POSITIONS,
    "rope_axis": ROPE_AXES,
    "mean_over": ("region", "image"),
    "overlap": ("sum", "overwrite", "smallest"),
    "uncovered": ("zero", "own_region"),
}


@dataclass(frozen=True)
class Encoding:
    """How regions become values; the defaults are the paper's text.

    The released code is Encoding(rope_axis="height", mean_over="image", overlap="overwrite").

    Attributes:
        position, rope_axis: see `position_map`.
        mean_over, overlap, uncovered: see `region_values`.
    """

    position: str = "rope"
    rope_axis: str = "width"
    mean_over: str = "region"
    overlap: str = "sum"
    uncovered: str = "zero"

    def __post_init__(self) -> None:
        _check(asdict(self))

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Encoding:
        """From a block of the configuration; UserError names an unknown key or value."""
        unknown = sorted(set(spec) - {f.name for f in fields(cls)})
        if unknown:
            raise UserError(f"encoding: unknown key {unknown[0]!r}; known are {', '.join(CHOICES)}")
        return cls(**spec)


def region_values(
    regions: Regions,
    position: np.ndarray,
    *,
    mean_over: str = "region",
    overlap: str = "sum",
    uncovered: str = "zero",
) -> np.ndarray:
    """Value of E_SAM on each atom, equation (6): E_SAM = sum_i M_SAM,i mean(x_PE * M_SAM,i).

    Args:
        regions: K masks of an (H, W) image.
        position: the position map x_PE, (H, W) float64.
        mean_over: a mask's mean is its sum over "region" (its own pixels: "the average value ... to the i-th
            area") or over "image" (all H W pixels, zeros included: the released code).
        overlap: where masks overlap, their "sum" (equation (6)), or one of them: "overwrite" the later in the
            masks' order (the released code), "smallest" the one with fewest pixels (of equal ones the later).
        uncovered: pixels in no mask get "zero" (the paper's sum) or count as one more mask, "own_region".

    Returns:
        (n_atoms + 1,) float32; index 0 is the value of the uncovered pixels.

    Raises:
        UserError: an unknown option. ValueError: a map of another size.
    """
    _check({"mean_over": mean_over, "overlap": overlap, "uncovered": uncovered})
    if position.shape != regions.shape:
        raise ValueError(f"position map {position.shape} for labels {regions.shape}")
    atom_sum, atom_size = _atom_totals(regions.labels, position, regions.n_atoms + 1)

    lengths = np.array([len(atoms) for atoms in regions.members], np.int64)
    atoms = np.concatenate([np.empty(0, np.int64), *regions.members])
    masks = np.repeat(np.arange(regions.n_masks), lengths)
    mask_sum = np.bincount(masks, atom_sum[atoms], regions.n_masks)
    mask_size = np.bincount(masks, atom_size[atoms], regions.n_masks)
    image_size = regions.labels.size
    # an empty mask has no mean, and no pixel to give it to
    mean = mask_sum / (np.maximum(mask_size, 1) if mean_over == "region" else image_size)

    values = np.zeros(regions.n_atoms + 1)
    if overlap == "sum":
        values += np.bincount(atoms, mean[masks], len(values))
    else:
        if overlap == "smallest":
            rank = np.empty(regions.n_masks, np.int64)
            rank[np.argsort(-mask_size, kind="stable")] = np.arange(regions.n_masks)
            order = np.argsort(rank[masks], kind="stable")
            atoms, masks = atoms[order], masks[order]
        values[atoms] = mean[masks]  # of repeated indices the last assignment stays
    if uncovered == "own_region":
        values[0] = atom_sum[0] / (max(atom_size[0], 1) if mean_over == "region" else image_size)
    return values.astype(np.float32)


def e_sam(regions: Regions, values: np.ndarray) -> np.ndarray:
    """The structure map E_SAM, (H, W) float32, of values (n_atoms + 1,)."""
    return values[regions.labels]


def is_informative(e_sam: np.ndarray) -> bool:
    """Whether a patch of E_SAM, of any shape, holds more than one value (appendix B)."""
    return bool(e_sam.size) and bool((e_sam != e_sam.flat[0]).any())


def reduce_uninformative(e_sam: np.ndarray) -> np.ndarray:
    """The paper's "Reduce" (appendix B, Table 6): a patch with a single value becomes zero."""
    return e_sam if is_informative(e_sam) else np.zeros_like(e_sam)


def _atom_totals(labels: np.ndarray, position: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Per label 0..n-1 the sum of `position` and the number of pixels, (n,) float64 and int64."""
    flat = labels.ravel()
    starts = run_starts(flat)  # runs are a few percent of the pixels: half the time of bincount over pixels
    owner = flat[starts]
    sums = np.add.reduceat(np.ascontiguousarray(position).ravel(), starts)
    sizes = np.diff(np.append(starts, flat.size))
    return np.bincount(owner, sums, n), np.bincount(owner, sizes, n).astype(np.int64)


def _check(options: Mapping[str, str]) -> None:
    for key, value in options.items():
        if value not in CHOICES[key]:
            raise UserError(f"{key} {value!r}: must be one of {', '.join(CHOICES[key])}")
