"""The mask stages: `segment` (images -> regions), `encode` (regions -> one value per atom), JSON export."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from samdiffsr.data.store import Store
from samdiffsr.errors import UserError
from samdiffsr.files import atomic_path, sha256_json
from samdiffsr.masks.regions import Regions
from samdiffsr.masks.rle import write_rle
from samdiffsr.masks.segmenters import make_segmenter
from samdiffsr.masks.store import RegionStore, RegionStoreWriter, read_regions, write_regions
from samdiffsr.progress import Progress
from samdiffsr.structure.positions import position_map
from samdiffsr.structure.values import Encoding, region_values


def segment(
    source: str | Path,
    out: str | Path,
    spec: Mapping[str, Any],
    *,
    on: str = "hr",
    scale: int = 1,
    shard: tuple[int, int] = (0, 1),
    label_dtype: str = "uint16",
    places: Mapping[str, Any] | None = None,
    state: str | Path | None = None,
    code: str = "",
    progress: Progress | None = None,
) -> None:
    """Segment the images of a store into a region store (both paths without suffix).

    Args:
        source: the HR store, or the LR store where `on` is "lr".
        spec: see `make_segmenter`.
        on: "hr", or "lr": labels found on LR are brought to HR's size, each pixel to scale x scale.
        scale: LR's scale factor; 1 with "hr".
        shard: (i, n) does the i-th (from 0) of n contiguous parts; `merge_shards` joins them to byte for byte
            the store of one part.
        label_dtype: "uint16", or "uint32" for more than 65535 atoms an image.
        places: see `make_segmenter`.
        state: a folder that keeps each image's regions until the store is written: the same call after a
            crash goes on where it stopped. Shards share it.
        code: names the code; images that other code has kept in `state` are done again.
        progress: called after each image.

    Raises:
        UserError: a wrong setting, or whatever the segmenter finds wrong with an image.
    """
    if on not in ("hr", "lr"):
        raise UserError(f"masks on {on!r}: must be hr or lr")
    if on == "hr" and scale != 1:
        raise UserError(f"masks on hr with scale {scale}: only masks on lr are scaled; drop the scale")
    part, parts = shard
    if not 0 <= part < parts:
        raise UserError(f"shard {part} of {parts}: must be 0 to {parts - 1}")
    images = Store(source)
    segmenter = make_segmenter(spec, places)
    meta = {
        "segmenter": segmenter.describe(),
        "on": on,
        "scale": scale,
        "source": {"digest": images.digest, "names": sha256_json(list(images.names))},
    }
    chosen = range(part * len(images) // parts, (part + 1) * len(images) // parts)
    kept = None if state is None else _Kept(Path(state), sha256_json([meta, code]))
    with RegionStoreWriter(out, label_dtype, **meta) as writer:
        for done, i in enumerate(chosen, start=1):
            name = images.names[i]
            regions = kept.get(i) if kept else None
            if regions is None:
                regions = segmenter(images[i], name)
                if kept:
                    kept.put(i, regions)
            writer.add(name, regions.resize_nearest(scale))
            if progress:
                progress(done, len(chosen), name)
    if kept:
        kept.drop(chosen)


def export_masks(region_store: str | Path, out: str | Path, *, progress: Progress | None = None) -> None:
    """Write a region store's masks into the folder `out`, one `<image>.json` an image (masks/rle.py).

    `segment` with {"kind": "imported", "folder": out} makes the same regions of them again.
    """
    store = RegionStore(region_store)
    for i, name in enumerate(store.names):
        write_rle(Path(out) / f"{name}.json", store[i])
        if progress:
            progress(i + 1, len(store), name)


class _Kept:
    """Finished images of an unfinished store: one file an image, all made with the settings of one hash."""

    def __init__(self, folder: Path, key: str) -> None:
        self.folder = folder / key[:16]

    def _path(self, i: int) -> Path:
        return self.folder / f"{i:06d}.npz"

    def get(self, i: int) -> Regions | None:
        return read_regions(self._path(i)) if self._path(i).exists() else None

    def put(self, i: int, regions: Regions) -> None:
        write_regions(self._path(i), regions)

    def drop(self, images: Iterable[int]) -> None:
        for i in images:
            self._path(i).unlink(missing_ok=True)
        for folder in (self.folder, self.folder.parent):
            with contextlib.suppress(OSError):  # another shard's images are in it
                folder.rmdir()


def encode(
    region_store: str | Path,
    out: str | Path,
    encoding: Encoding | Mapping[str, Any],
    *,
    progress: Progress | None = None,
) -> None:
    """Compute every image's values into one .npz: {values, offsets, meta}.

    values is float32, the images' vectors (n_atoms + 1 each) one after the other; offsets is int64
    (images + 1,); meta is a JSON string: the encoding, the region store's digest and its meta data.
    """
    if not isinstance(encoding, Encoding):
        encoding = Encoding.from_spec(encoding)
    store = RegionStore(region_store)
    position_of = functools.lru_cache(maxsize=4)(position_map)  # few image sizes; 22 MB a map
    vectors = []
    for i, name in enumerate(store.names):
        regions = store[i]
        position = position_of(encoding.position, *regions.shape, rope_axis=encoding.rope_axis)
        vectors.append(
            region_values(
                regions,
                position,
                mean_over=encoding.mean_over,
                overlap=encoding.overlap,
                uncovered=encoding.uncovered,
            )
        )
        if progress:
            progress(i + 1, len(store), name)
    meta = {"encoding": vars(encoding), "regions": store.digest, **store.meta}
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


def load_values_meta(path: str | Path) -> dict[str, Any]:
    """What lies beside the values: encoding, regions (the store's digest), segmenter, on, scale, source."""
    return json.loads(str(_load(path)["meta"]))


def _load(path: str | Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as data:
            return {key: data[key] for key in ("values", "offsets", "meta")}
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; the `encode` stage makes it") from None
    except Exception as error:  # zipfile and numpy raise many kinds for a damaged file
        raise UserError(f"{path}: damaged ({error}); run the `encode` stage again") from None
