"""Masks from files: COCO run lengths, as amg.py and the authors' released masks have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from samdiffsr.core.errors import UserError
from samdiffsr.core.files import sha256_file, sha256_json
from samdiffsr.masks.regions import Regions
from samdiffsr.masks.rle import read_rle
from samdiffsr.masks.segmenters import registry


class Imported:
    """Masks out of one `<image>.json` an image.

    Attributes:
        digest: SHA-256 over the files' names and contents.
    """

    def __init__(self, settings: registry.Imported, places: registry.Places) -> None:
        self.folder = Path(settings.folder)
        files = sorted(self.folder.glob("*.json"))
        if not files:
            raise UserError(f"{self.folder}: no .json file in it; put the masks there, one file an image")
        self.digest = sha256_json({path.stem: sha256_file(path) for path in files})

    def __call__(self, image: np.ndarray, name: str) -> Regions:
        path = self.folder / f"{name}.json"
        if not path.is_file():
            raise UserError(f"image {name!r}: {path} is missing; an image without masks has a file with []")
        regions = read_rle(path, image.shape[:2])
        return regions if regions.shape == image.shape[:2] else regions.crop(*image.shape[:2])

    def describe(self) -> dict[str, Any]:
        return {"kind": "imported", "files": self.digest}
