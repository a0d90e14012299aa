"""Masks from files: COCO run lengths, as of amg.py and the authors' released masks, label maps, npz."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from samdiffsr.core.errors import UserError
from samdiffsr.core.files import sha256_file, sha256_json
from samdiffsr.masks.label_files import read_label_map, read_npz
from samdiffsr.masks.regions import Regions
from samdiffsr.masks.rle import read_rle
from samdiffsr.masks.segmenters import registry

READERS: dict[str, Callable[[Path, tuple[int, int]], Regions]] = {
    ".json": read_rle,
    ".png": read_label_map,
    ".npz": read_npz,
}


class Imported:
    """Masks out of one file an image: `<image>.json`, `<image>.png` or `<image>.npz`.

    Attributes:
        digest: SHA-256 over the files' names and contents.
    """

    def __init__(self, settings: registry.Imported, places: registry.Places) -> None:
        self.folder = Path(settings.folder)
        self.files: dict[str, Path] = {}
        found = self.folder.iterdir() if self.folder.is_dir() else ()
        for path in sorted(path for path in found if path.suffix in READERS):
            if path.stem in self.files:
                raise UserError(f"{self.files[path.stem]} and {path}: two files of one image; remove one")
            self.files[path.stem] = path
        if not self.files:
            raise UserError(f"{self.folder}: no .json, .png or .npz file in it; put one there for each image")
        hashes = {_key(path): sha256_file(path) for path in self.files.values()}
        self.digest = sha256_json(hashes)

    def __call__(self, image: np.ndarray, name: str) -> Regions:
        if name not in self.files:
            path = self.folder / f"{name}.json"
            raise UserError(f"image {name!r}: {path} is missing; an image without masks has a file with []")
        path, shape = self.files[name], image.shape[:2]
        regions = READERS[path.suffix](path, (shape[0], shape[1]))
        return regions if regions.shape == shape else regions.crop(*shape)

    def describe(self) -> dict[str, Any]:
        return {"kind": "imported", "files": self.digest}


def _key(path: Path) -> str:
    """Of JSON files the stem alone, as when there were no others."""
    return path.stem if path.suffix == ".json" else path.name
