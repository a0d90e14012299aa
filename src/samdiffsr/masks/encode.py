"""One value per region, and the structure map E_SAM that it makes (paper, equation (6) and appendix B)."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np

from samdiffsr.core.errors import UserError
from samdiffsr.core.files import atomic_path
from samdiffsr.core.progress import each_image
from samdiffsr.masks.overlaps import overlap_rule
from samdiffsr.masks.positions import position_map
from samdiffsr.masks.recipe import Encoding
from samdiffsr.masks.regions import Regions, run_starts
from samdiffsr.masks.store import RegionStore


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
    over_region = encoding.mean_over == "region"
    mean = mask_sum / (np.maximum(mask_size, 1) if over_region else image_size)
    values = overlap_rule(encoding.overlap)(regions.n_atoms + 1, atoms, masks, mean, mask_size)
    if encoding.uncovered == "own_region":
        values[0] = atom_sum[0] / (max(atom_size[0], 1) if over_region else image_size)
    return values.astype(np.float32)


def e_sam(regions: Regions, values: np.ndarray) -> np.ndarray:
    """The structure map E_SAM, (H, W) float32, of values (n_atoms + 1,)."""
    return values[regions.labels]


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
) -> None:
    """Compute every image's values into one .npz: {values, offsets, meta}.

    values is float32, the images' vectors (n_atoms + 1 each) one after the other; offsets is int64
    (images + 1,); meta is a JSON string: the encoding, the region store's digest and its meta data.
    """
    store = RegionStore(region_store)
    position_of = functools.lru_cache(maxsize=4)(position_map)  # few image sizes; 22 MB a map
    vectors = []
    for i, _ in each_image("values", store.names):
        regions = store[i]
        position = position_of(encoding.position, *regions.shape, rope_axis=encoding.rope_axis)
        vectors.append(region_values(regions, position, encoding))
    meta = {"encoding": encoding.model_dump(), "regions": store.digest, **store.meta}
    with atomic_path(out) as part:
        np.savez(
            part,
            values=np.concatenate([np.empty(0, np.float32), *vectors]),
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
