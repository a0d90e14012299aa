"""What a source holds, as a table under version control: one row a file, images by their decoded pixels.

A manifest, `manifests/<key>.csv`, has a row for each file of data/<key>/: its path there, width, height and
the SHA-256 of the decoded RGB bytes (mirrors recompress PNGs). For a file that is no image, width and height
are empty and the hash is that of its bytes.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from samdiffsr.core.errors import UserError
from samdiffsr.core.files import atomic_path, sha256_json
from samdiffsr.core.layout import DATA

COLUMNS = ("file", "width", "height", "sha256")


class Entry(NamedTuple):
    """One file of a manifest; width and height are 0 for a file that is no image."""

    file: str
    width: int
    height: int
    sha256: str

    @property
    def is_image(self) -> bool:
        return self.width > 0


def pixels_sha256(image: Any) -> str:
    """SHA-256 of a uint8 (H, W, 3) array's bytes."""
    return hashlib.sha256(image.tobytes()).hexdigest()


def images_digest(entries: Iterable[Entry]) -> str:
    """One hash over a set of images: their stems, sizes and pixels, in the order of the stems.

    It can be had from a manifest alone, so what a network was trained on can be compared without the images.
    """
    rows = sorted([PurePosixPath(e.file).stem, e.width, e.height, e.sha256] for e in entries if e.is_image)
    return sha256_json(rows)


def read_manifest(key: str, path: str | Path | None = None) -> tuple[Entry, ...] | None:
    """The manifest of a source (the packaged one if `path` is None), or None if it has none yet.

    Raises UserError naming a damaged row.
    """
    if path is None:
        packaged = resources.files("samdiffsr.data") / "manifests" / f"{key}.csv"
        if not packaged.is_file():
            return None
        label, text = f"manifests/{key}.csv", packaged.read_text(encoding="utf-8")
    else:
        label, text = str(path), Path(path).read_text(encoding="utf-8")
    reader = csv.reader(io.StringIO(text))
    if tuple(next(reader, ())) != COLUMNS:
        raise UserError(f"{label}: the columns must be {', '.join(COLUMNS)}")
    entries = []
    for row in reader:
        try:
            file, width, height, sha256 = row
            entry = Entry(file, int(width or 0), int(height or 0), sha256)
            if len(entry.sha256) != 64:
                raise ValueError
        except ValueError:
            raise UserError(f"{label}: line {reader.line_num} is damaged") from None
        entries.append(entry)
    return tuple(entries)


def write_manifest(path: str | Path, entries: Iterable[Entry]) -> None:
    """Write a manifest, sorted by file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((e.file, e.width or "", e.height or "", e.sha256) for e in sorted(entries))
    with atomic_path(path) as part:
        part.write_text(text.getvalue(), encoding="utf-8")


def expected_images(folders: Sequence[str], exclude: Sequence[str] = ()) -> tuple[Entry, ...] | None:
    """What manifests say a data set of these folders holds, or None if a folder's source has no manifest.

    Args:
        folders: as in config.yaml, e.g. "data/bsds500/images/train". exclude: stems that are left out.
    """
    found: list[Entry] = []
    for folder in folders:
        parts = PurePosixPath(folder).parts
        if len(parts) < 2 or parts[0] != DATA or (manifest := read_manifest(parts[1])) is None:
            return None
        place = PurePosixPath(*parts[2:])
        found += [e for e in manifest if e.is_image and PurePosixPath(e.file).parent == place]
    return tuple(e for e in found if PurePosixPath(e.file).stem not in set(exclude))
