"""Region stores: the regions of many images, label maps memory-mapped, members in one small file.

`<path>.bin` and `<path>.json` are an ordinary image store of the label maps (data/store.py); the masks'
members lie in `<path>.members.npz`. The index is written last: a store without it is unfinished.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from samdiffsr.core.errors import UserError
from samdiffsr.core.files import atomic_path, sha256_json
from samdiffsr.data.store import Store, StoreWriter
from samdiffsr.masks.regions import Regions

_COLUMN = "per_mask."


class RegionStoreWriter:
    """Writes a region store image by image; use as a context manager.

    Labels are uint16, or uint32 for the whole store once an image has more than 65535 atoms.

    Args:
        path: without suffix.
        meta: anything that JSON holds, kept in the index.
    """

    def __init__(self, path: str | Path, **meta: Any) -> None:
        self.path = Path(path)
        self._labels = StoreWriter(path, "uint16", **meta)
        self._members: list[tuple[np.ndarray, ...]] = []
        self._columns: dict[str, list[np.ndarray]] | None = None

    def __enter__(self) -> RegionStoreWriter:
        self._labels.__enter__()
        return self

    def add(self, name: str, regions: Regions) -> None:
        """Append one image's regions."""
        if regions.n_atoms > np.iinfo(self._labels.dtype).max:
            self._labels.widen("uint32")
        if regions.n_masks:  # an image without masks says nothing about the columns
            if self._columns is None:
                self._columns = {key: [] for key in sorted(regions.per_mask)}
            if set(self._columns) != set(regions.per_mask):
                raise ValueError(f"{name}: columns {sorted(regions.per_mask)}, before {list(self._columns)}")
            for key, column in self._columns.items():
                column.append(np.asarray(regions.per_mask[key]))
        self._labels.add(name, regions.labels.astype(self._labels.dtype, copy=False))
        self._members.append(regions.members)

    def __exit__(self, *error: Any) -> None:
        try:
            if error[0] is None:
                arrays = _pack(self._members, self._columns or {})
                with atomic_path(_members_path(self.path)) as part:
                    np.savez(part, **arrays)  # type: ignore[arg-type]
                self._labels.meta = {**self._labels.meta, "members": _digest(arrays)}
        except BaseException as failure:
            self._labels.__exit__(type(failure), failure, failure.__traceback__)
            raise
        self._labels.__exit__(*error)


class RegionStore:
    """Read-only view of a region store.

    Attributes:
        labels: the label maps as a `Store`; `labels[i]` is a memory-mapped (H, W) array.
        names: the images' names.
        meta: what the writer was given.
        digest: SHA-256 of all content, labels and members.

    Raises:
        UserError: the store is missing, unfinished, or its two parts do not belong together.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.labels = Store(path)
        self.names = self.labels.names
        self.meta = {key: value for key, value in self.labels.meta.items() if key != "members"}
        file = _members_path(self.path)
        try:
            with np.load(file, allow_pickle=False) as data:
                arrays = {key: data[key] for key in data.files}
        except FileNotFoundError:
            raise UserError(f"{file}: missing; run the `segment` stage again") from None
        except Exception as error:  # zipfile and numpy raise many kinds for a damaged file
            raise UserError(f"{file}: damaged ({error}); run the `segment` stage again") from None
        if _digest(arrays) != self.labels.meta.get("members"):
            raise UserError(f"{file}: does not belong to {self.path}.json; run the `segment` stage again")
        self._atoms, self._masks, self._images = (
            arrays.pop(key) for key in ("atoms", "mask_offsets", "image_offsets")
        )
        self._columns = {key.removeprefix(_COLUMN): column for key, column in arrays.items()}
        self.digest = sha256_json([self.labels.digest, self.labels.meta["members"]])

    def __len__(self) -> int:
        return len(self.labels)

    def index(self, name: str) -> int:
        """Position of the image called `name`; UserError if there is none."""
        return self.labels.index(name)

    def __getitem__(self, i: int) -> Regions:
        if not -len(self) <= i < len(self):
            raise IndexError(f"{self.path}: image {i} of {len(self)}")
        i %= len(self)
        start, stop = int(self._images[i]), int(self._images[i + 1])
        bounds = self._masks[start : stop + 1].tolist()
        members = tuple(self._atoms[a:b].astype(np.int64) for a, b in pairwise(bounds))
        columns = {key: column[start:stop] for key, column in self._columns.items()} if members else {}
        return Regions(self.labels[i], members, columns)


def merge_shards(paths: Sequence[str | Path], out: str | Path) -> None:
    """Join shards, in order, into one store, byte-identical to the store written without shards.

    Raises:
        UserError: shards made with different settings, or, where the meta data names the source's images
            (masks/segment.py), shards missing or out of order.
    """
    if not paths:
        raise UserError(f"{out}: no shard to merge")
    shards = [RegionStore(path) for path in paths]
    meta = shards[0].meta
    for shard in shards[1:]:
        if shard.meta != meta:
            raise UserError(f"{shard.path}: its settings differ from {shards[0].path}; segment both again")
    names = [name for shard in shards for name in shard.names]
    expected = meta.get("source", {}).get("names")
    if expected is not None and sha256_json(names) != expected:
        raise UserError(f"{out}: the {len(shards)} shards are not all of the source's images in their order")
    with RegionStoreWriter(out, **meta) as writer:
        for shard in shards:
            for i, name in enumerate(shard.names):
                writer.add(name, shard[i])


def write_regions(path: str | Path, regions: Regions) -> None:
    """One image's regions as one compressed .npz."""
    arrays = _pack([regions.members], {k: [np.asarray(v)] for k, v in sorted(regions.per_mask.items())})
    with atomic_path(path) as part:
        np.savez_compressed(part, labels=regions.labels, **arrays)  # type: ignore[arg-type]


def read_regions(path: str | Path) -> Regions | None:
    """What `write_regions` wrote, exactly; None if the file is damaged (its image is to be done again)."""
    try:
        with np.load(path, allow_pickle=False) as data:
            arrays = {key: data[key] for key in data.files}
        labels, atoms, masks = (arrays.pop(key) for key in ("labels", "atoms", "mask_offsets"))
    except Exception:  # zipfile and numpy raise many kinds for a damaged file
        return None
    members = tuple(atoms[a:b].astype(np.int64) for a, b in pairwise(masks.tolist()))
    columns = {k.removeprefix(_COLUMN): v for k, v in arrays.items() if k.startswith(_COLUMN)}
    return Regions(labels, members, columns)


def _pack(
    members: list[tuple[np.ndarray, ...]], columns: dict[str, list[np.ndarray]]
) -> dict[str, np.ndarray]:
    """Flat arrays: image i has masks image_offsets[i]:[i+1], mask m has atoms mask_offsets[m]:[m+1]."""
    masks = [atoms for image in members for atoms in image]
    return {
        "atoms": np.concatenate([np.empty(0, np.uint32), *masks]).astype(np.uint32),
        "mask_offsets": np.cumsum([0, *map(len, masks)], dtype=np.int64),
        "image_offsets": np.cumsum([0, *map(len, members)], dtype=np.int64),
        **{_COLUMN + key: np.concatenate(parts) for key, parts in columns.items()},
    }


def _digest(arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for key in sorted(arrays):
        digest.update(f"{key} {arrays[key].dtype.str} {arrays[key].shape};".encode())
        digest.update(np.ascontiguousarray(arrays[key]).data)
    return digest.hexdigest()


def _members_path(path: Path) -> Path:
    return path.with_name(path.name + ".members.npz")
