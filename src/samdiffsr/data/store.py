"""Flat memory-mapped image stores: any number of images of any size, none of them loaded at once.

A store is two files: `<path>.bin`, the images' bytes one after the other, and `<path>.json`, the index. The
index is written last, so a store without one is unfinished and is never read. A crop out of a store costs a
memory-mapped slice (microseconds); decoding a 2K PNG costs 0.1 s.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

import numpy as np

from samdiffsr.core.errors import UserError
from samdiffsr.core.files import atomic_path, has_sha256, read_json, remember_sha256, write_json

FORMAT = 1


class StoreWriter:
    """Writes a store image by image; use as a context manager.

    Args:
        path: the store's path without suffix.
        dtype: of every image, e.g. "uint8" (images) or "uint16" (label maps).
        meta: anything that JSON holds, kept in the index.
    """

    def __init__(self, path: str | Path, dtype: str = "uint8", **meta: Any) -> None:
        self.path, self.dtype, self.meta = Path(path), np.dtype(dtype), meta

    def __enter__(self) -> StoreWriter:
        _index(self.path).unlink(missing_ok=True)  # from here on the old content is void
        self._entries: list[dict[str, Any]] = []
        self._names: set[str] = set()
        self._offset, self._hash = 0, hashlib.sha256()
        self._context = atomic_path(_data(self.path))
        self._file = open(self._context.__enter__(), "w+b")  # closed in __exit__
        return self

    def add(self, name: str, image: np.ndarray) -> None:
        """Append one image, (H, W) or (H, W, C), of exactly the store's dtype."""
        if image.dtype != self.dtype:
            raise TypeError(f"{name}: dtype {image.dtype}, the store holds {self.dtype}")
        if name in self._names:
            raise UserError(f"two images are called {name!r} in {self.path}; names must differ")
        data = np.ascontiguousarray(image)
        self._file.write(data.data)
        self._hash.update(data.data)
        self._entries.append({"name": name, "shape": list(image.shape), "offset": self._offset})
        self._names.add(name)
        self._offset += data.nbytes

    def widen(self, dtype: str) -> None:
        """Hold integers of a wider dtype from here on; the images that are there are widened, in place."""
        wider = np.dtype(dtype)
        factor = wider.itemsize // self.dtype.itemsize
        for entry in reversed(self._entries):  # what is not read yet lies before what is written
            self._file.seek(entry["offset"])
            data = self._file.read(math.prod(entry["shape"]) * self.dtype.itemsize)
            entry["offset"] *= factor
            self._file.seek(entry["offset"])
            self._file.write(np.frombuffer(data, self.dtype).astype(wider).data)
        self.dtype, self._offset = wider, self._offset * factor
        self._file.seek(0)
        self._hash = hashlib.file_digest(self._file, "sha256")
        self._file.seek(self._offset)

    def __exit__(self, *error: Any) -> None:
        try:
            self._file.close()
        except OSError as failure:  # a full disk may show itself only here
            if error[0] is None:
                # Raises the readable error, if there is one for it.
                self._context.__exit__(type(failure), failure, failure.__traceback__)
                raise
        self._context.__exit__(*error)
        if error[0] is None:
            index = {
                "format": FORMAT,
                "dtype": self.dtype.str,
                "bytes": self._offset,
                "digest": self._hash.hexdigest(),
                "images": self._entries,
                "meta": self.meta,
            }
            write_json(_index(self.path), index)
            remember_sha256(_data(self.path), self._hash.hexdigest())


class Store:
    """Read-only view of a store.

    `store[i]` is an array backed by the file: (H, W) or (H, W, C) of the store's dtype, not to be written to.
    Raises UserError if the store is missing, unfinished, of another format, or its data are not those of the
    index: their size is looked at each time, their hash once a change of the file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not _index(self.path).exists():
            raise UserError(
                f"{_index(self.path)}: no such store; the `prepare` and `segment` stages make them"
            )
        index = read_json(_index(self.path))
        if not isinstance(index, dict) or "format" not in index:
            raise UserError(f"{_index(self.path)}: not the index of a store; delete it and run again")
        if index["format"] != FORMAT:
            raise UserError(
                f"{_index(self.path)}: store format {index['format']}, expected {FORMAT}; rebuild it"
            )
        size = _data(self.path).stat().st_size if _data(self.path).exists() else -1
        if size != index["bytes"]:
            raise UserError(
                f"{_data(self.path)}: {size} bytes, the index says {index['bytes']}; rebuild the store"
            )
        if not has_sha256(_data(self.path), index["digest"]):
            raise UserError(f"{_data(self.path)}: its bytes are not those of the index; rebuild the store")
        self.dtype = np.dtype(index["dtype"])
        self.digest: str = index["digest"]
        self.meta: dict[str, Any] = index["meta"]
        self.names: tuple[str, ...] = tuple(entry["name"] for entry in index["images"])
        self._entries = index["images"]
        self._lookup = {name: i for i, name in enumerate(self.names)}
        # As a plain array: slicing np.memmap's own type costs several times as much.
        self._map = np.asarray(np.memmap(_data(self.path), np.uint8, "r")) if size else np.empty(0, np.uint8)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the path alone, not the images: what a worker process gets is opened there."""
        return Store, (self.path,)

    def __len__(self) -> int:
        return len(self.names)

    def shape(self, i: int) -> tuple[int, ...]:
        """Shape of image `i` without touching its data."""
        return tuple(self._entries[i]["shape"])

    def index(self, name: str) -> int:
        """Position of the image called `name`; UserError if there is none."""
        if name not in self._lookup:
            raise UserError(f"{self.path}: holds no image {name!r}")
        return self._lookup[name]

    def __getitem__(self, i: int) -> np.ndarray:
        shape, offset = self.shape(i), self._entries[i]["offset"]
        count = math.prod(shape) * self.dtype.itemsize
        return self._map[offset : offset + count].view(self.dtype).reshape(shape)


def _data(path: Path) -> Path:
    return path.with_name(path.name + ".bin")


def _index(path: Path) -> Path:
    return path.with_name(path.name + ".json")
