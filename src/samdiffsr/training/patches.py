"""Training patches out of the stores: LR crop, HR crop and structure map of one and the same place.

Everything random is a pure function of (seed, global sample index). Nothing is remembered between calls, so a
resumed run, another number of workers or another batch size sees the very same patches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from samdiffsr.core.errors import UserError
from samdiffsr.data.store import Store
from samdiffsr.masks.reduce import reduced, structure_map

MaskCrop = Literal["aligned", "released"]

# Streams of the hash, so that e.g. the crop of sample 5 tells nothing about the order of epoch 5.
_ORDER, _ROW, _COLUMN, _FLIP = 0, 2, 3, 4
_UINT64 = 2**64


class Place(NamedTuple):
    """Where a patch is cut: image number, top-left corner in LR pixels, and which symmetry (0..7) it gets."""

    image: int
    row: int
    column: int
    symmetry: int


class PatchSource:
    """Reads training patches by their global sample index.

    Args:
        hr: uint8 (H, W, 3) images.
        lr: uint8 (h, w, 3) images with the same names in the same order; image i covers `hr[i]`
            up to (h * scale, w * scale).
        labels: region labels (H', W') over the same images, at least as large as what LR covers (the rest,
            right and below, is not used); None for patches without a structure map.
        values: for each image the float32 structure values of every label, (number of labels,) or (number of
            labels, C); None with no labels.
        scale: HR pixels per LR pixel.
        patch: side of the HR patch, a multiple of `scale`.
        seed: with the sample index it decides everything.
        augment: draw one of the 8 symmetries of the square; the paper trains without (False).
        mask_crop: "aligned", or "released" for the misplaced masks of the authors' preprocessing: the label
            map, at HR size, is cut at the LR coordinates and enlarged by `scale` (nearest neighbour), which
            shows another place, magnified.
        reduce: set the structure map to zero where it shows a single area (paper, appendix B; Table 6).

    Raises UserError naming the image that is smaller than a patch or whose stores do not fit together.
    """

    def __init__(
        self,
        hr: Store,
        lr: Store,
        labels: Store | None,
        values: Sequence[np.ndarray] | None,
        *,
        scale: int,
        patch: int,
        seed: int,
        augment: bool = False,
        mask_crop: MaskCrop = "aligned",
        reduce: bool = False,
    ) -> None:
        if patch <= 0 or patch % scale:
            raise UserError(f"patch size {patch} is not a multiple of the scale factor {scale}")
        if mask_crop not in ("aligned", "released"):
            raise UserError(f"unknown mask_crop {mask_crop!r}")
        if (labels is None) != (values is None):
            raise ValueError("labels and values come together or not at all")
        self.hr, self.lr, self.labels, self.scale, self.patch_size = hr, lr, labels, scale, patch
        self.values = None if values is None else [np.ascontiguousarray(v, np.float32) for v in values]
        self._channels = 1 if not self.values or self.values[0].ndim == 1 else self.values[0].shape[1]
        self.seed, self.augment = seed, augment
        self.mask_crop, self.reduce = mask_crop, reduce
        self._check()
        self._sizes = [lr.shape(i)[:2] for i in range(len(lr))]
        self._latest = (0, self._epoch_order(0))  # spares a sort per sample and changes no result

    def __len__(self) -> int:
        """Samples in an epoch: the number of images."""
        return len(self.lr)

    def place(self, index: int) -> Place:
        """The place of sample `index` (0, 1, ...)."""
        epoch, position = divmod(index, len(self.lr))
        latest = self._latest
        if latest[0] != epoch:
            latest = self._latest = (epoch, self._epoch_order(epoch))
        image = int(latest[1][position])
        height, width = self._sizes[image]
        side = self.patch_size // self.scale
        row = _below(height - side + 1, self.seed, _ROW, index)
        column = _below(width - side + 1, self.seed, _COLUMN, index)
        symmetry = _below(8, self.seed, _FLIP, index) if self.augment else 0
        return Place(image, row, column, symmetry)

    def batch(self, start: int, size: int) -> dict[str, np.ndarray]:
        """Samples start .. start + size - 1.

        Returns:
            "lr": uint8 (size, 3, patch / scale, patch / scale); "hr": uint8 (size, 3, patch, patch); and, if
            there are labels, "e_sam": float32 (size, C, patch, patch). The caller's own; the images lie in
            memory channels last, as the stores and the networks have them.
        """
        p, s = self.patch_size, self.scale
        lr = np.empty((size, p // s, p // s, 3), np.uint8)
        hr = np.empty((size, p, p, 3), np.uint8)
        e_sam = None if self.labels is None else np.empty((size, self._channels, p, p), np.float32)
        for b in range(size):
            place = self.place(start + b)
            i, y, x, symmetry = place
            lr[b] = _turn(self.lr[i][y : y + p // s, x : x + p // s], symmetry)
            y, x = y * s, x * s
            hr[b] = _turn(self.hr[i][y : y + p, x : x + p], symmetry)
            if e_sam is not None:
                structure = _turn(self._structure(place), symmetry)
                e_sam[b] = structure if structure.ndim == 2 else structure.transpose(2, 0, 1)
        out = {"lr": lr.transpose(0, 3, 1, 2), "hr": hr.transpose(0, 3, 1, 2)}
        return out if e_sam is None else out | {"e_sam": e_sam}

    def _structure(self, place: Place) -> np.ndarray:
        """Structure map of a place before the symmetry: float32 (patch, patch) or (patch, patch, C)."""
        assert self.labels is not None
        assert self.values is not None
        i, y, x, _ = place
        p, s = self.patch_size, self.scale
        if self.mask_crop == "aligned":
            labels = self.labels[i][y * s : y * s + p, x * s : x * s + p]
        else:
            # The authors cut 320x320 sub-images on a grid of 320 first and patches out of those; both offsets
            # are multiples of the scale, so cutting once at the patch's LR corner is the same.
            labels = self.labels[i][y : y + p // s, x : x + p // s]
        try:
            e_sam = structure_map(labels, self.values[i])
        except IndexError:
            raise UserError(
                f"{self.labels.path}: image {self.labels.names[i]!r} has label {int(labels.max())}, its "
                f"values end at {len(self.values[i]) - 1}; encode the masks again"
            ) from None
        if self.mask_crop == "released":
            e_sam = e_sam.repeat(s, 0).repeat(s, 1)
        return reduced(e_sam, labels) if self.reduce else e_sam

    def _epoch_order(self, epoch: int) -> np.ndarray:
        """Image numbers of an epoch's samples, int64 (len,): every image once, in an order of its own."""
        return np.argsort(_hash_array(self.seed, _ORDER, epoch, len(self.lr)), kind="stable")

    def _check(self) -> None:
        if not len(self.lr):
            raise UserError(f"{self.lr.path}: holds no image; prepare the data set again")
        if self.lr.meta.get("scale", self.scale) != self.scale:
            raise UserError(
                f"{self.lr.path}: made for scale factor {self.lr.meta['scale']}, not {self.scale}"
            )
        stores = [self.hr] if self.labels is None else [self.hr, self.labels]
        for store in stores:
            if store.names != self.lr.names:
                raise UserError(f"{store.path} and {self.lr.path} hold different images; rebuild both")
        if self.values is not None and len(self.values) != len(self.lr):
            raise UserError(
                f"{len(self.values)} value vectors for the {len(self.lr)} images of {self.lr.path}"
            )
        for i, name in enumerate(self.lr.names):
            height, width = (side * self.scale for side in self.lr.shape(i)[:2])
            if min(height, width) < self.patch_size:
                raise UserError(
                    f"{self.lr.path}: image {name!r} covers {width}x{height} HR pixels, less than a patch of "
                    f"{self.patch_size}; leave it out or train on smaller patches"
                )
            for store in stores:
                if store.shape(i)[0] < height or store.shape(i)[1] < width:
                    raise UserError(
                        f"{store.path}: image {name!r} is {store.shape(i)[1]}x{store.shape(i)[0]}, the LR "
                        f"image covers {width}x{height}; rebuild both stores"
                    )


def _turn(image: np.ndarray, symmetry: int) -> np.ndarray:
    """A symmetry of the square on the first two axes, as a view: bit 0 flips rows, 1 columns, 2 swaps."""
    if symmetry & 1:
        image = image[::-1]
    if symmetry & 2:
        image = image[:, ::-1]
    return image.swapaxes(0, 1) if symmetry & 4 else image


def _mix(z: int) -> int:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014): a bijection that mixes all 64 bits."""
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % _UINT64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % _UINT64
    return z ^ (z >> 31)


def _hash(*words: int) -> int:
    """64 random-looking bits from integers; unlike numpy's generators, the same in every version."""
    state = 0
    for word in words:
        state = _mix((state + 0x9E3779B97F4A7C15 + word) % _UINT64)
    return state


def _below(n: int, *words: int) -> int:
    """A uniform integer in 0 .. n - 1."""
    return _hash(*words) * n >> 64


def _hash_array(seed: int, stream: int, epoch: int, n: int) -> np.ndarray:
    """`[_hash(seed, stream, epoch, i) for i in range(n)]`, uint64."""
    state = (_hash(seed, stream, epoch) + 0x9E3779B97F4A7C15) % _UINT64
    z = np.arange(n, dtype=np.uint64) + np.uint64(state)  # wraps, as it should
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
