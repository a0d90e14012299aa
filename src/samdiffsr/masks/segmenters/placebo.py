"""Placebos: regions that look like an image's own and say nothing about it.

If SAM-DiffSR gains with them as much as with the image's own regions, any shifted noise does it, and the
paper's title is wrong. Both are made of the regions that they stand in for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from samdiffsr.core.errors import UserError
from samdiffsr.masks.regions import Regions
from samdiffsr.masks.segmenters import registry
from samdiffsr.masks.store import RegionStore

COARSE = 10_000  # points on which cells are fitted to their areas before the pixels are
ROUNDS, LAST_ROUNDS = 80, 6  # of fitting, on the coarse points and on the pixels
CLOSE = 0.02  # of its area: a cell so near to it is left alone


class Placebo:
    """Another image's regions, or random convex ones. The image itself is not looked at."""

    def __init__(self, settings: registry.Placebo, places: registry.Places) -> None:
        if places.regions is None:
            raise UserError(
                f"segmenter placebo: it needs the regions of {settings.of!r}; give their store (--regions)"
            )
        self.settings = settings
        self.store = RegionStore(places.regions)
        shapes = {name: self.store.labels.shape(i)[:2] for i, name in enumerate(self.store.names)}
        self.donors = derangement(shapes) if settings.regions == "other_image" else {}

    def __call__(self, image: np.ndarray, name: str) -> Regions:
        own = self.store[self.store.index(name)]
        if own.shape != image.shape[:2]:
            raise UserError(
                f"{self.store.path}: regions of {name} are {own.shape}, the image is {image.shape[:2]}"
            )
        if self.settings.regions == "voronoi":
            return convex(own, np.random.default_rng(_number(name)))
        return self.store[self.store.index(self.donors[name])].resize_to(*own.shape)

    def describe(self) -> dict[str, Any]:
        return {"kind": "placebo", "regions": self.settings.regions, "source": self.store.digest}


def derangement(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, str]:
    """Each image's donor, never itself: the next one of its size, in an order that the names alone decide.

    The order is that of the names' hashes, so that photographs taken one after another are not neighbours.
    Images of a size that no other has take turns among themselves; one that is alone even then takes the
    first of all others. UserError for a single image.
    """
    if len(shapes) < 2:
        raise UserError("segmenter placebo: another image's regions need two images or more")
    order = sorted(shapes, key=_number)
    groups: dict[tuple[int, ...] | None, list[str]] = {}
    sizes = list(shapes.values())
    for name in order:
        alone = sizes.count(shapes[name]) == 1
        groups.setdefault(None if alone else shapes[name], []).append(name)
    donors = {name: group[(k + 1) % len(group)] for group in groups.values() for k, name in enumerate(group)}
    for name, donor in donors.items():
        if name == donor:
            donors[name] = next(other for other in order if other != name)
    return donors


def convex(own: Regions, rng: np.random.Generator) -> Regions:
    """A random partition into convex regions, as many as `own` has masks with a pixel, of their areas.

    They are the cells of a power diagram (a Voronoi diagram with a weight a site; Aurenhammer, SIAM Journal
    on Computing 16, 1987) of random sites. Masks that overlap are scaled to the pixels that they cover
    together; the pixels that no mask covers are one convex region too, which stays uncovered.
    """
    pixels = np.bincount(own.labels.ravel(), minlength=own.n_atoms + 1)
    areas = np.array([pixels[atoms].sum() for atoms in own.members if len(atoms)], dtype=np.float64)
    if not len(areas):
        return Regions.from_masks([], shape=own.shape)
    areas *= pixels[1:].sum() / areas.sum()
    bare = pixels[0]
    cells = power_cells(own.shape, np.append(areas, bare) if bare else areas, rng)
    return Regions.from_partition(np.where(cells == len(areas), 0, cells + 1) if bare else cells + 1)


def power_cells(shape: tuple[int, int], areas: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(H, W) numbers 0..K-1: each pixel's convex cell. areas: (K,), their sum H W; they are met nearly.

    Each round gives a cell that is too small more weight and moves its site to its centre; a cell that has
    vanished begins anew inside one that is too large. First on a coarse grid, then on the pixels.
    """
    sites = rng.random((len(areas), 2)) * shape
    fair = areas / np.pi  # of a disc of this area its squared radius
    weights = fair.copy()
    size = shape[0] * shape[1]
    coarse = max(1, round(min(size / COARSE, areas.min() / 4) ** 0.5))
    for stride, rounds in ((coarse, ROUNDS), (1, LAST_ROUNDS)):
        points = _points(shape, stride)
        each = size / len(points)
        for _ in range(rounds):
            cells = _nearest(points, sites, weights)
            found = np.bincount(cells, minlength=len(areas)) * each
            error = areas - found
            if (abs(error) <= np.maximum(CLOSE * areas, each)).all():
                break
            there = found > 0
            for axis in range(2):
                sums = np.bincount(cells, points[:, axis], minlength=len(areas)) * each
                sites[there, axis] = sums[there] / found[there]
            gone = np.flatnonzero(~there)
            if len(gone):
                spare = np.maximum(-error, 0)[cells]
                sites[gone] = points[rng.choice(len(points), len(gone), p=spare / spare.sum())]
                weights[gone] = fair[gone] + np.median(weights - fair)
            weights = weights + error / 2
    cells = _nearest(_points(shape, 1), sites, weights)
    for cell in np.flatnonzero(np.bincount(cells, minlength=len(areas)) == 0):  # smaller than a pixel
        row, column = sites[cell].astype(int)
        cells[row * shape[1] + column] = cell
    return cells.reshape(shape)


def _points(shape: tuple[int, int], stride: int) -> np.ndarray:
    """(N, 2) centres of the pixels, or of every stride-th one."""
    rows, columns = (np.arange(stride / 2, n, stride) for n in shape)
    return np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)


def _nearest(points: np.ndarray, sites: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Of each point the site of the least power distance |x - s|^2 - w.

    That is the nearest one in three dimensions, where a site lies sqrt(w_max - w) above the plane.
    """
    from scipy.spatial import cKDTree

    above = np.sqrt(weights.max() - weights)
    tree = cKDTree(np.column_stack([sites, above]))
    cells: np.ndarray = tree.query(np.column_stack([points, np.zeros(len(points))]))[1]
    return cells


def _number(name: str) -> int:
    """A number that the name alone decides."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
