"""What a file says beside its pixels, EXIF and a colour profile: what is whole is kept, the rest is named."""

from __future__ import annotations

import struct
import warnings
from dataclasses import dataclass, field
from typing import IO, Any

from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

Tags = dict[int, Any]  # of an EXIF directory; an inner directory is a mapping under its tag

ORIENTATION, UNIT = 0x0112, 0x0128  # the latter of the resolution; readers of TIFF complain of other values
FIELDS, GPS, INTEROP = 0x8769, 0x8825, 0xA005  # inner directories; the last lies in the first
FIELDS_SIZE = (0xA002, 0xA003)  # width, height
# What describes how TIFF lays out the old pixels, points into the old file, or repeats it: previews, XMP.
LAYOUT = frozenset(
    {254, 255, 256, 257, 258, 259, 262, 263, 266, 273, 277, 278, 279, 284, 317, 320, 322, 323, 324, 325, 330}
    | {338, 339, 347, *range(512, 522), 530, 531, 532, 700, 34675, INTEROP}
)
PROFILES = {"L": b"GRAY", "LA": b"GRAY", "RGB": b"RGB ", "RGBA": b"RGB "}  # mode -> an ICC profile's space


@dataclass(frozen=True)
class Metadata:
    """orientation: EXIF's, 1 to 8. exif: all its other tags, each of which can be written. icc_profile."""

    orientation: int = 1
    exif: Tags = field(default_factory=dict)
    icc_profile: bytes | None = None


def read_metadata(image: Image.Image) -> tuple[Metadata, list[str]]:
    """The metadata of an opened image, and what is dropped, with its reason."""
    dropped: list[str] = []
    tags, whole = _read_tags(image)
    orientation = tags.pop(ORIENTATION, 1)
    orientation = orientation or 1  # 0: the camera did not know
    if orientation not in range(1, 9) or not isinstance(orientation, int):
        orientation, whole = 1, False
    if tags.get(UNIT, 1) not in (1, 2, 3):
        del tags[UNIT]
        whole = False
    kept = _writable_part(tags)
    if not whole or _count(kept) < _count(tags):
        dropped.append("EXIF" + (" tags" if kept else "") + " that cannot be read")
    profile = image.info.get("icc_profile", b"")  # None: Pillow could not unpack it, or a part is missing
    if profile is None or (profile and (len(profile) < 128 or profile[36:40] != b"acsp")):
        dropped.append("a colour profile that cannot be read")
        profile = None
    return Metadata(orientation, kept, profile or None), dropped


def _read_tags(image: Image.Image) -> tuple[Tags, bool]:
    """All that can be read, and whether that is all."""
    tags: Tags = {}
    with warnings.catch_warnings(record=True) as skipped:  # Pillow warns of tags that it leaves out
        warnings.simplefilter("always")
        try:
            # anew: a decoder may have tried before, and then nothing is raised again
            Image.Exif().load(image.info.get("exif") or b"")
            exif = image.getexif()
            present = set(exif) - LAYOUT
        except Exception:
            return {}, False
    whole = not skipped
    for tag in sorted(present):
        try:
            value = exif.get_ifd(tag) if tag in (FIELDS, GPS) else exif[tag]
            if tag in (FIELDS, GPS):
                value = {key: _exact(inner) for key, inner in value.items()}
                if INTEROP in value:
                    value[INTEROP] = dict(exif.get_ifd(INTEROP))
                whole &= bool(value)
            if value != {}:
                tags[tag] = _exact(value)
        except Exception:  # Pillow raises a dozen different types on broken tags
            whole = False
    return tags, whole


def _exact(value: Any) -> Any:
    """Text as the bytes that it was, if it is not ASCII: Pillow reads Latin-1 and would write `?`."""
    return value.encode("latin-1") if isinstance(value, str) and not value.isascii() else value


def _count(tags: Tags) -> int:
    return sum(_count(value) if isinstance(value, dict) else 1 for value in tags.values())


def _writable_part(tags: Tags) -> Tags:
    """The tags that can be written and read again, each tried alone if they cannot be all at once."""
    if _writable(tags):
        return tags
    kept: Tags = {}
    for tag, value in tags.items():
        if tag in (FIELDS, GPS):
            inner = {key: each for key, each in value.items() if _writable({tag: {key: each}})}
            if inner:
                kept[tag] = inner
        elif _writable({tag: value}):
            kept[tag] = value
    return kept if _writable(kept) else {}


def _writable(tags: Tags) -> bool:
    try:
        back = Image.Exif()
        back.load(exif_bytes(tags))
        inner = {tag: value for tag, value in tags.items() if isinstance(value, dict)}
        return set(back) == set(tags) and all(set(back.get_ifd(t)) == set(v) for t, v in inner.items())
    except Exception:
        return False


def exif_bytes(tags: Tags) -> bytes:
    """The tags as EXIF's block of bytes."""
    exif = Image.Exif()
    exif.update(tags)
    return exif.tobytes()


def append_exif(file: IO[bytes], tags: Tags) -> None:
    """Add the tags to a little-endian TIFF of one page; libtiff writes no inner directories.

    A new first directory is put at the end, which has the old one's entries; strips stay where they are.
    """
    file.seek(4)
    file.seek(struct.unpack("<L", file.read(4))[0])
    (count,) = struct.unpack("<H", file.read(2))
    entries = [file.read(12) for _ in range(count)]
    present = {struct.unpack("<H", entry[:2])[0] for entry in entries}
    added = ImageFileDirectory_v2(b"II*\0\x08\0\0\0")
    for tag, value in tags.items():
        if tag not in present:
            added[tag] = value
    end = file.seek(0, 2)
    file.write(bytes(end % 2))  # directories start at even places
    block = added.tobytes(end + end % 2)
    file.write(block)
    entries += [block[2 + 12 * i : 14 + 12 * i] for i in range(struct.unpack("<H", block[:2])[0])]
    entries.sort(key=lambda entry: struct.unpack("<H", entry[:2]))
    first = file.tell()
    file.write(struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4))
    file.seek(4)
    file.write(struct.pack("<L", first))
    file.seek(0, 2)
