"""Whether a source's files are the right ones: every file against the manifest (data/manifest.py).

Sources whose bytes nobody has checked yet have no manifest: for them the numbers of files are all that is
known, and what is found says so.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any

from samdiffsr.core.errors import UserError
from samdiffsr.core.files import read_json, sha256_file, sync, write_json
from samdiffsr.data.catalogue import Source
from samdiffsr.data.decode import SUFFIXES
from samdiffsr.data.images import read_rgb
from samdiffsr.data.manifest import Entry, images_digest, pixels_sha256, read_manifest

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Verified:
    """What `verify_source` found: every file, and how much of it could be compared."""

    entries: tuple[Entry, ...]
    against: str  # "manifest" or "count"

    @property
    def images(self) -> str:
        """Digest over names, sizes and pixels of the images; see `images_digest`."""
        return images_digest(self.entries)


def scan(file: Path, name: str) -> Entry:
    """The manifest row of a file; UserError if an image cannot be read."""
    if file.suffix.lower() in SUFFIXES:
        image = read_rgb(file)
        return Entry(name, image.shape[1], image.shape[0], pixels_sha256(image))
    return Entry(name, 0, 0, sha256_file(file))


# ---- sources ----


def taken_files(source: Source, folder: Path) -> list[tuple[Path, str]]:
    """The files of a source that lie in `folder`, as (path, manifest name), sorted; others are not looked at.

    Thumbs.db, hidden files and whatever else is no part of the source are passed over.
    """
    found: dict[str, Path] = {}
    for take in source.take:
        place = folder / take.to
        pattern = PurePosixPath(take.pattern).name
        if place.is_dir():
            for path in place.iterdir():
                if path.is_file() and _matches(path.name, pattern):
                    found[path.relative_to(folder).as_posix()] = path
    return [(found[name], name) for name in sorted(found)]


def _matches(name: str, pattern: str) -> bool:
    return not name.startswith(".") and fnmatch(name.lower(), pattern.lower())


def verify_source(
    source: Source,
    folder: Path,
    manifest: Sequence[Entry] | None = None,
) -> Verified:
    """Compare the files of `folder` with the source's manifest, or their numbers with the table.

    Args:
        manifest: another one than the packaged.

    Raises:
        UserError: names the first file, in the order of names, that is missing, extra, unreadable or
        different.
    """
    manifest = read_manifest(source.key) if manifest is None else manifest
    files = {name: path for path, name in taken_files(source, folder)}
    again = f"delete it and run `samdiffsr fetch {source.key}`"
    if manifest is None:
        _check_counts(source, folder, files)
        entries = []
        for i, (name, path) in enumerate(files.items(), start=1):
            entries.append(scan(path, name))
            _tell(source.key, i, len(files))
        return Verified(tuple(entries), "count")
    wanted = {entry.file: entry for entry in manifest}
    for i, name in enumerate(sorted(wanted.keys() | files.keys()), start=1):
        if name not in files:
            raise UserError(f"{folder / name}: missing; run `samdiffsr fetch {source.key}`")
        if name not in wanted:
            raise UserError(f"{folder / name}: no part of {source.title}; move it elsewhere")
        found, entry = scan(files[name], name), wanted[name]
        if found[1:3] != entry[1:3]:
            raise UserError(
                f"{folder / name}: {found.width}x{found.height} pixels, "
                f"must be {entry.width}x{entry.height}; {again}"
            )
        if found.sha256 != entry.sha256:
            what = "pixels" if entry.is_image else "bytes"
            raise UserError(
                f"{folder / name}: its {what} have SHA-256 {found.sha256[:12]}, "
                f"must be {entry.sha256[:12]}; {again}"
            )
        _tell(source.key, i, len(wanted))
    return Verified(tuple(manifest), "manifest")


def _tell(key: str, done: int, total: int) -> None:
    if done % 200 == 0:
        log.info(f"{key}: {done} of {total} files checked")


def _check_counts(source: Source, folder: Path, files: dict[str, Path]) -> None:
    for take in source.take:
        pattern = (PurePosixPath(take.to) / PurePosixPath(take.pattern).name).as_posix()
        n = sum(fnmatch(name.lower(), pattern.lower()) for name in files)
        if n == 0 or (take.count is not None and n != take.count):
            wanted = "some" if take.count is None else take.count
            raise UserError(
                f"{folder / take.to}: {n} files {PurePosixPath(take.pattern).name}, {wanted} are expected; "
                f"run `samdiffsr fetch {source.key}`"
            )


def write_stamp(source: Source, verified: Verified, root: Path) -> None:
    """Leave SOURCE.json beside the files, for the workflow to look at. Equal files, equal bytes.

    The files are on the disk before it is, so a power failure cannot leave a stamp without them.
    """
    sync(root / source.folder / entry.file for entry in verified.entries)
    images = sum(entry.is_image for entry in verified.entries)
    write_json(
        root / source.stamp,
        {
            "source": source.key,
            "title": source.title,
            "terms": source.terms,
            "images": images,
            "other_files": len(verified.entries) - images,
            "images_digest": verified.images,
            "verified_against": verified.against,
        },
    )


def read_stamp(source: Source, root: Path) -> dict[str, Any] | None:
    """What `write_stamp` left, or None; UserError if it is damaged."""
    path = root / source.stamp
    return read_json(path) if path.exists() else None
