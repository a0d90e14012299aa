"""Regions: any set of masks of one image, overlapping or not, as one label map and a short list per mask.

K masks of a 2040 x 1356 image are K x 2.8 MB; the atoms of their overlaps (the classes of pixels that lie in
exactly the same masks) are one integer map. Every structure map of the paper is constant on atoms, so it is
`values[labels]` for one number per atom (`structure_map`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from samdiffsr.core.errors import UserError

# SR data sets crop their images, top left, to a multiple of twice the scale; a stored segmentation may be
# larger than its image by less than this
MAX_CROP = 16


def check_crop(found: tuple[int, ...], shape: tuple[int, ...], path: Path) -> None:
    """UserError unless a file's segmentation of size `found` is of an image of `shape`, maybe uncropped."""
    if not all(0 <= a - b < MAX_CROP for a, b in zip(found, shape, strict=True)):
        raise UserError(
            f"{path}: segments {found[0]} x {found[1]} pixels, the image has {shape[0]} x {shape[1]}"
        )


@dataclass(frozen=True, eq=False)
class Regions:
    """The masks M_SAM,i (i = 1..K) of one image, held as the atoms of their overlaps.

    Attributes:
        labels: (H, W) uint16, or uint32 where there are more than 65535 atoms. 0 = covered by no mask,
            1..n_atoms = atom, numbered by first appearance in raster order (equal masks, equal labels).
        members: per mask, in the segmenter's order, its atoms as an ascending int64 array (empty for a mask
            without a pixel). Every atom belongs to at least one mask.
        per_mask: what the segmenter says of each mask: name -> array whose first axis is K, for example
            "predicted_iou" and "stability_score", (K,) float64.
    """

    labels: np.ndarray
    members: tuple[np.ndarray, ...]
    per_mask: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.labels.ndim != 2 or self.labels.dtype not in (np.uint16, np.uint32):
            raise ValueError(f"labels {self.labels.shape} {self.labels.dtype}: not (H, W) uint16 or uint32")
        for name, column in self.per_mask.items():
            if len(column) != len(self.members):
                raise ValueError(f"per_mask[{name!r}]: {len(column)} entries for {len(self.members)} masks")

    @classmethod
    def from_masks(cls, masks: Iterable[np.ndarray], shape: tuple[int, int] | None = None) -> Regions:
        """The regions of `masks`, each (H, W) bool; they may overlap, leave holes, repeat, or be empty.

        Args:
            masks: consumed one at a time, so a generator keeps memory flat.
            shape: (H, W); needed only where `masks` may be empty.

        Raises:
            ValueError: masks of different shapes, or no mask and no shape.
        """
        masks = iter(masks)
        first = next(masks, None)
        if shape is None:
            if first is None:
                raise ValueError("no mask and no shape: pass shape=(height, width)")
            shape = first.shape
        refinement = _Refinement(shape)
        while first is not None:
            if first.shape != tuple(shape) or first.dtype != np.bool_:
                raise ValueError(f"a mask is {first.shape} {first.dtype}, expected {tuple(shape)} bool")
            refinement.add(np.flatnonzero(first))
            first = next(masks, None)
        return cls(*refinement.result("C"))

    @classmethod
    def from_pixels(
        cls, pixels: Iterable[np.ndarray], shape: tuple[int, int], order: Literal["C", "F"] = "C"
    ) -> Regions:
        """The same from each mask's flat pixel indices (unique, any order of visiting).

        Args:
            shape: (H, W).
            order: "C" if the indices run along rows, "F" along columns (as COCO's run lengths do).
        """
        refinement = _Refinement(shape)
        for mask in pixels:
            refinement.add(mask)
        return cls(*refinement.result(order))

    @classmethod
    def from_partition(cls, labels: np.ndarray) -> Regions:
        """Regions of a partition: (H, W) integers, 0 = covered by no mask, every other value one mask.

        The masks come in the order of their values; the labels are renumbered by first appearance.
        """
        if labels.ndim != 2 or labels.dtype.kind not in "ui" or (labels.size and labels.min() < 0):
            raise ValueError("a partition is an (H, W) array of integers >= 0")
        numbers = np.unique(labels)
        numbers = numbers[numbers > 0]
        compact = np.zeros(int(numbers.max(initial=0)) + 1, np.int64)
        compact[numbers] = np.arange(1, len(numbers) + 1)
        labels, atom_of = _by_first_appearance(compact[labels], len(numbers) + 1)
        return cls(labels, tuple(atom_of[1:, None]))

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W)."""
        return self.labels.shape

    @property
    def n_masks(self) -> int:
        """K."""
        return len(self.members)

    @property
    def n_atoms(self) -> int:
        """Number of atoms, the largest label."""
        return max((int(atoms[-1]) for atoms in self.members if len(atoms)), default=0)

    def pixels(self) -> np.ndarray:
        """Number of pixels that no mask covers, then of each mask, (K + 1,) int64."""
        atoms = np.bincount(self.labels.ravel(), minlength=self.n_atoms + 1)
        return np.array([atoms[0], *(atoms[members].sum() for members in self.members)], np.int64)

    def mask(self, i: int) -> np.ndarray:
        """Mask `i`, (H, W) bool."""
        inside = np.zeros(self.n_atoms + 1, np.bool_)
        inside[self.members[i]] = True
        return inside[self.labels]

    def masks(self) -> list[np.ndarray]:
        """All masks, in order: the exact inverse of `from_masks`. Dense: K arrays of the image's size."""
        return [self.mask(i) for i in range(self.n_masks)]

    def crop(self, height: int, width: int) -> Regions:
        """The top-left part. All masks stay, those outside become empty; atoms are renumbered."""
        if not (0 < height <= self.shape[0] and 0 < width <= self.shape[1]):
            raise ValueError(f"cannot crop {self.shape} to {(height, width)}")
        return self._with(self.labels[:height, :width])

    def resize_to(self, height: int, width: int) -> Regions:
        """Nearest neighbours, each side by itself. All masks stay, those that vanish become empty."""
        if (height, width) == self.shape:
            return self
        rows, columns = (
            (np.arange(new) * old + old // 2) // new
            for new, old in zip((height, width), self.shape, strict=True)
        )
        return self._with(self.labels[rows][:, columns])

    def _with(self, labels: np.ndarray) -> Regions:
        """The same masks on a map made of these labels; atoms are renumbered."""
        labels, atom_of = _by_first_appearance(labels, self.n_atoms + 1)
        moved = (atom_of[atoms] for atoms in self.members)
        return Regions(labels, tuple(np.sort(atoms[atoms > 0]) for atoms in moved), self.per_mask)

    def resize_nearest(self, scale: int) -> Regions:
        """Every pixel becomes scale x scale pixels: masks made on LR, brought to the size of HR."""
        if scale != int(scale) or scale < 1:
            raise ValueError(f"scale must be a whole number >= 1, not {scale}")
        labels = self.labels.repeat(int(scale), axis=0).repeat(int(scale), axis=1)
        return Regions(labels, self.members, self.per_mask)


class _Refinement:
    """Splits the atoms by one mask after another, touching only the mask's own pixels; exact, no hashing."""

    def __init__(self, shape: Sequence[int]) -> None:
        self.shape = (int(shape[0]), int(shape[1]))
        size = self.shape[0] * self.shape[1]
        self.labels = np.zeros(size, np.int32)
        self.sizes = np.array([size])
        self.masks_of: list[list[int]] = [[]]  # atom -> the masks that it lies in
        self.n_masks = 0

    def add(self, pixels: np.ndarray) -> None:
        old = self.labels[pixels]
        inside = np.bincount(old, minlength=len(self.sizes))
        touched = np.flatnonzero(inside)
        whole = inside[touched] == self.sizes[touched]
        for atom in touched[whole].tolist():
            self.masks_of[atom].append(self.n_masks)
        split = touched[~whole]
        if len(split):
            renumber = np.arange(len(self.sizes), dtype=np.int32)
            renumber[split] = np.arange(len(self.sizes), len(self.sizes) + len(split))
            self.labels[pixels] = renumber[old]
            self.masks_of += [[*self.masks_of[atom], self.n_masks] for atom in split.tolist()]
            self.sizes[split] -= inside[split]
            self.sizes = np.append(self.sizes, inside[split])
        self.n_masks += 1

    def result(self, order: Literal["C", "F"]) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
        """Labels and members, the labels' flat order being `order`."""
        labels = self.labels.reshape(self.shape, order=order)
        bare = next((atom for atom, masks in enumerate(self.masks_of) if not masks), None)
        labels, atom_of = _by_first_appearance(labels, len(self.masks_of), background=bare)
        lengths = [len(masks) for masks in self.masks_of]
        atoms = np.repeat(atom_of, lengths)
        masks = np.fromiter((mask for masks in self.masks_of for mask in masks), np.int64, sum(lengths))
        ascending = np.lexsort((atoms, masks))
        ends = np.cumsum(np.bincount(masks, minlength=self.n_masks))
        return labels, tuple(np.split(atoms[ascending], ends)[: self.n_masks])


def _by_first_appearance(
    labels: np.ndarray, n: int, background: int | None = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Renumber (H, W) labels 0..n-1 to 1, 2, ... by first appearance in raster order; `background` becomes 0.

    Returns:
        The new labels, uint16 or uint32, and each old label's new number, (n,) int64, 0 where it is absent.
    """
    labels = np.ascontiguousarray(labels)
    flat = labels.ravel()
    starts = run_starts(flat)
    first = np.full(n, flat.size)
    first[flat[starts][::-1]] = starts[::-1]  # of repeated indices the last assignment stays: the first run
    if background is not None:
        first[background] = flat.size
    present = np.flatnonzero(first < flat.size)
    new = np.zeros(n, np.int64)
    new[present[np.argsort(first[present])]] = np.arange(1, len(present) + 1)
    dtype = np.uint16 if len(present) <= np.iinfo(np.uint16).max else np.uint32
    return new.astype(dtype)[labels], new


def run_starts(flat: np.ndarray) -> np.ndarray:
    """Where the runs of equal neighbours begin in a flat array: ascending indices, the first of them 0."""
    if not flat.size:
        return np.empty(0, np.int64)
    return np.concatenate(([0], np.flatnonzero(flat[1:] != flat[:-1]) + 1))
