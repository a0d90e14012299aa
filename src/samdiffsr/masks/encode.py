"""Values of regions, and the structure map E_SAM that they make (paper, equation (6) and appendix B)."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from samdiffsr.core.errors import UserError
from samdiffsr.core.files import atomic_path
from samdiffsr.core.progress import each_image
from samdiffsr.core.registry import load
from samdiffsr.data.store import Store
from samdiffsr.masks.overlaps import overlap_rule
from samdiffsr.masks.positions import position_map
from samdiffsr.masks.recipe import Encoding
from samdiffsr.masks.regions import Regions, run_starts
from samdiffsr.masks.registry import Feature
from samdiffsr.masks.store import RegionStore

SLACK = 1e-9  # by which rounding may take a mean beyond its bound


def region_values(regions: Regions, position: np.ndarray, encoding: Encoding | None = None) -> np.ndarray:
    """Value of E_SAM on each atom, equation (6): E_SAM = sum_i M_SAM,i mean(x_PE * M_SAM,i).

    Args:
        regions: K masks of an (H, W) image.
        position: the position map x_PE, (H, W) float64.
        encoding: None is the paper's text.

    Of `encoding` count:
        mean_over: a mask's mean is its sum over "region" (its own pixels: "the average value ... to the i-th
            area") or over "image" (all H W pixels, zeros included: the released code).
        overlap: where masks overlap, their "sum" (equation (6)), or one of them: "overwrite" the later in the
            masks' order (the released code), "smallest" the one with fewest pixels (of equal ones the later).
        uncovered: pixels in no mask get "zero" (the paper's sum) or count as one more mask, "own_region".

    Returns:
        (n_atoms + 1,) float32; index 0 is the value of the uncovered pixels.

    Raises:
        ValueError: a map of another size.
    """
    encoding = encoding or Encoding()
    mean, uncovered, mask_size = _means(regions, position, encoding)
    return _on_atoms(regions, mean, uncovered, mask_size, encoding)


def _means(
    regions: Regions, position: np.ndarray, encoding: Encoding
) -> tuple[np.ndarray, float, np.ndarray]:
    """A map's mean over each mask, (K,) float64, and over the uncovered pixels; pixels of each mask."""
    if position.shape != regions.shape:
        raise ValueError(f"position map {position.shape} for labels {regions.shape}")
    atom_sum, atom_size = _atom_totals(regions.labels, position, regions.n_atoms + 1)

    atoms, masks = _pairs(regions)
    mask_sum = np.bincount(masks, atom_sum[atoms], regions.n_masks)
    mask_size = np.bincount(masks, atom_size[atoms], regions.n_masks)
    image_size = regions.labels.size
    # an empty mask has no mean, and no pixel to give it to
    over_region = encoding.mean_over == "region"
    mean = mask_sum / (np.maximum(mask_size, 1) if over_region else image_size)
    return mean, atom_sum[0] / (max(atom_size[0], 1) if over_region else image_size), mask_size


def _pairs(regions: Regions) -> tuple[np.ndarray, np.ndarray]:
    """(pairs,) int64 each: mask masks[j] holds atom atoms[j]; masks ascend."""
    lengths = np.array([len(atoms) for atoms in regions.members], np.int64)
    atoms = np.concatenate([np.empty(0, np.int64), *regions.members])
    return atoms, np.repeat(np.arange(regions.n_masks), lengths)


def _on_atoms(
    regions: Regions, of_mask: np.ndarray, uncovered: float, mask_size: np.ndarray, encoding: Encoding
) -> np.ndarray:
    """Numbers of masks as values of atoms, (n_atoms + 1,) float32."""
    atoms, masks = _pairs(regions)
    values = overlap_rule(encoding.overlap)(regions.n_atoms + 1, atoms, masks, of_mask, mask_size)
    if encoding.uncovered == "own_region":
        values[0] = uncovered
    return values.astype(np.float32)


def feature_values(
    regions: Regions,
    encoding: Encoding,
    image: np.ndarray | None = None,
    positions: Callable[..., np.ndarray] = position_map,
) -> np.ndarray:
    """Values of E_SAM on each atom, of all features: (n_atoms + 1,) float32, or (n_atoms + 1, C) if C > 1.

    Args:
        image: HR, uint8, at least as large as the regions; needed where `encoding.sees_images`.
        positions: `position_map`, or one that remembers.

    Raises:
        UserError: a feature gives what its entry does not declare.
    """
    columns = []
    for name, feature in encoding.named.items():
        if feature.of == "regions":
            found = load(feature.code)(regions)
            sizes = regions.pixels()[1:]
            parts = [(column[1:], column[0], sizes) for column in found.reshape(len(found), -1).T]
        else:
            if feature.of == "position":
                found = positions(name, *regions.shape, rope_axis=encoding.rope_axis)
            else:
                assert image is not None
                found = load(feature.code)(image[: regions.shape[0], : regions.shape[1]])
            maps = found.reshape(*found.shape[:2], -1).transpose(2, 0, 1)
            parts = [_means(regions, one, encoding) for one in maps]
        _check(name, feature, parts, regions, encoding)
        columns += [_on_atoms(regions, *part, encoding) for part in parts]
    return columns[0] if len(columns) == 1 else np.stack(columns, axis=1)


def _check(
    name: str,
    feature: Feature,
    parts: list[tuple[np.ndarray, float, np.ndarray]],
    regions: Regions,
    encoding: Encoding,
) -> None:
    """UserError unless a feature gives as many numbers, and within the bounds, as it declares.

    A mask without pixels has no number, nor have the uncovered pixels where there are none.
    """
    if len(parts) != feature.channels:
        raise UserError(
            f"feature {name!r}: gives {len(parts)} numbers a region and declares {feature.channels}"
        )
    low, high = feature.low, feature.high
    if feature.of != "regions" and encoding.mean_over == "image":  # zeros count in the mean
        low, high = min(low, 0), max(high, 0)
    bare = bool((regions.labels == 0).any())
    for mean, uncovered, sizes in parts:
        numbers = np.append(mean[sizes > 0], [uncovered] if bare else [])
        if not ((numbers >= low - SLACK) & (numbers <= high + SLACK)).all():
            worst = numbers[np.argmax(np.abs(numbers - (low + high) / 2))]
            raise UserError(
                f"feature {name!r}: gives {worst:g}, which is not within the declared {feature.low:g} to "
                f"{feature.high:g}"
            )


def _atom_totals(labels: np.ndarray, position: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Per label 0..n-1 the sum of `position` and the number of pixels, (n,) float64 and int64."""
    flat = labels.ravel()
    starts = run_starts(flat)  # runs are a few percent of the pixels: half the time of bincount over pixels
    owner = flat[starts]
    sums = np.add.reduceat(np.ascontiguousarray(position).ravel(), starts)
    sizes = np.diff(np.append(starts, flat.size))
    return np.bincount(owner, sums, n), np.bincount(owner, sizes, n).astype(np.int64)


def encode(
    region_store: str | Path,
    out: str | Path,
    encoding: Encoding,
    images: str | Path | None = None,
) -> None:
    """Compute every image's values into one .npz: {values, offsets, meta}.

    values is float32, the images' vectors (n_atoms + 1 rows each) one after the other; offsets is int64
    (images + 1,); meta is a JSON string: the encoding, the region store's digest and its meta data.

    Args:
        images: store of the HR images; UserError if it is missing and a feature needs it.
    """
    store = RegionStore(region_store)
    if encoding.sees_images and images is None:
        names = ", ".join(name for name, feature in encoding.named.items() if feature.of == "pixels")
        raise UserError(f"{region_store}: feature {names} is one of the image; give --images")
    pictures = Store(images) if encoding.sees_images and images is not None else None
    position_of = functools.lru_cache(maxsize=4)(position_map)  # few image sizes; 22 MB a map
    vectors = []
    for i, name in each_image("values", store.names):
        picture = None if pictures is None else pictures[pictures.index(name)]
        vectors.append(feature_values(store[i], encoding, picture, position_of))
    meta = {"encoding": encoding.model_dump(), "regions": store.digest, **store.meta}
    with atomic_path(out) as part:
        np.savez(
            part,
            values=np.concatenate(vectors or [np.empty(0, np.float32)]),
            offsets=np.cumsum([0, *map(len, vectors)], dtype=np.int64),
            meta=np.array(json.dumps(meta, sort_keys=True)),
        )


def load_values(path: str | Path, regions: RegionStore | None = None) -> list[np.ndarray]:
    """The vectors that `encode` wrote: values[i][store.labels[i]] is E_SAM of image i.

    Args:
        regions: the store that the values are for; UserError if they were made from another one.
    """
    data = _load(path)
    if regions is not None and json.loads(str(data["meta"]))["regions"] != regions.digest:
        raise UserError(f"{path}: made from other regions than {regions.path}; run the `encode` stage again")
    return np.split(data["values"], data["offsets"][1:-1]) if len(data["offsets"]) > 1 else []


def _load(path: str | Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as data:
            return {key: data[key] for key in ("values", "offsets", "meta")}
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; the `encode` stage makes it") from None
    except Exception as error:  # zipfile and numpy raise many kinds for a damaged file
        raise UserError(f"{path}: damaged ({error}); run the `encode` stage again") from None
