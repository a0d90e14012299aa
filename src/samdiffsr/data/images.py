"""Image files in and out: 8-bit RGB and nothing else, so no stage ever guesses a range or a channel order."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from samdiffsr.core.errors import UserError, shown
from samdiffsr.core.files import atomic_path
from samdiffsr.data.decode import ADVICE, REFUSED, SUFFIXES, decode, has_more_channels, opened


@dataclass(frozen=True)
class Found:
    """What lies in a folder.

    images: files that are read, by their suffix, sorted. refused: images that are not read -> why. left_out:
    lines that name all the rest, with its reason.
    """

    images: tuple[Path, ...]
    refused: dict[Path, str]
    left_out: tuple[str, ...]


def look_into(
    folder: Path,
    *,
    recursive: bool = False,
    beside: Path | None = None,
    folders: str = "a folder, not entered",
) -> Found:
    """Every file of a folder, sorted by name: none is passed over without a word.

    Args:
        recursive: its folders too; links to folders are not entered.
        beside: a folder that is not entered, e.g. the output.
        folders: why folders are left out without `recursive`.
    """
    images: list[Path] = []
    refused: dict[Path, str] = {}
    rest: dict[str, list[str]] = {}
    inner: list[Found] = []
    for path in sorted(folder.iterdir()):
        image = path.suffix.lower() in SUFFIXES | REFUSED
        reason = ""
        if path.name.startswith("."):
            reason, image = "hidden", False
        elif path.is_dir():
            image = False
            if not recursive:
                reason = folders
            elif path.is_symlink():
                reason = "a link to a folder"
            elif beside is not None and beside.exists() and path.samefile(beside):
                reason = "the output"
            else:
                inner.append(look_into(path, recursive=True, beside=beside))
        elif not path.exists():
            reason = "a link to nowhere"
        elif not path.is_file():
            reason = "no regular file"
        elif path.suffix.lower() in REFUSED:
            reason = f"{path.suffix} is not read"
        elif image:
            images.append(path)
        else:
            reason = "no image by its name"
        if reason and image:
            refused[path] = reason
        elif reason:
            rest.setdefault(reason, []).append(shown(path.name))
    lines = [f"{shown(folder)}: left out, {reason}: {_some(names)}" for reason, names in rest.items()]
    for found in inner:
        images += found.images
        refused |= found.refused
        lines += found.left_out
    return Found(tuple(images), refused, tuple(lines))


def _some(names: Sequence[str], most: int = 20) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def list_images(folder: str | Path) -> list[Path]:
    """The images of one folder of a data set, sorted by name; its folders are not entered.

    What is no image (Thumbs.db, a README) is left out; `look_into` names it. Raises UserError if the folder
    is missing or holds no image, and names what would shrink the set in silence: an image of another
    format, a link to nowhere; and a name that the workflow cannot carry.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder of images")
    found = look_into(folder)
    for path, reason in found.refused.items():
        more = f" ({len(found.refused)} such files)" if len(found.refused) > 1 else ""
        raise UserError(f"{shown(path)}: {reason}; {ADVICE} or move it elsewhere{more}")
    for path in found.images:
        if "{" in path.name or "}" in path.name or shown(path.name) != path.name:
            raise UserError(f"{shown(path)}: braces and unprintable characters cannot be carried; rename it")
    if not found.images:
        raise UserError(f"{folder}: holds no image")
    return list(found.images)


def chosen_images(folders: Sequence[str | Path], exclude: Sequence[str] = ()) -> list[Path]:
    """The files that a data set's HR store holds, in its order: by their stems, which name the images.

    Raises UserError for two images of one name, a name in `exclude` that no image has, and as `list_images`.
    """
    paths = sorted((path for folder in folders for path in list_images(folder)), key=lambda p: (p.stem, p))
    if absent := sorted(set(exclude) - {path.stem for path in paths}):
        raise UserError(
            f"exclude: no image {absent[0]!r} in {', '.join(map(str, folders))}; correct its name"
        )
    paths = [path for path in paths if path.stem not in exclude]
    for one, other in pairwise(paths):
        if one.stem == other.stem:
            raise UserError(f"{one} and {other}: two images are called {one.stem!r}; rename one")
    return paths


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) out of the file's head; UserError as for `read_rgb`."""
    with opened(path) as image:
        return image.size


def read_rgb(path: str | Path) -> np.ndarray:
    """Decode an image file (formats: data/decode.py) to uint8 (H, W, 3) in RGB order.

    Gray, bilevel and palette images become RGB (Set14 holds a gray one); an alpha channel is dropped if
    opaque everywhere. The EXIF orientation and colour profiles are ignored on purpose: benchmarks score the
    stored pixels. Raises UserError naming the file for anything else: no such file, not an image, truncated,
    animated, 16-bit, CMYK, transparent, absurdly large.
    """
    path = Path(path)
    with opened(path) as image:
        if has_more_channels(image):
            raise UserError(f"{path}: has channels that are neither colour nor transparency; {ADVICE}")
        decode(image)
        return _to_rgb(image, path)


def _to_rgb(image: Image.Image, path: Path) -> np.ndarray:
    if "A" in image.mode or "transparency" in image.info:
        image = image.convert("RGBA")
        if np.asarray(image.getchannel("A")).min() < 255:
            raise UserError(f"{path}: has transparent pixels; flatten it onto a background")
    return np.array(image.convert("RGB"), dtype=np.uint8)


def write_png(path: str | Path, image: np.ndarray, *, portable: bool = False) -> None:
    """Write uint8 (H, W, 3) as an RGB PNG without metadata: the same pixels give the same bytes.

    With `portable` the same bytes on every machine: the pixels are stored instead of deflated (twice as
    large), since deflate's output differs between zlib and the zlib-ng that newer Pillow wheels carry.
    Raises ValueError for any other dtype or shape.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(f"{path}: a PNG wants uint8 (H, W, 3), got {image.dtype} {image.shape}")
    image = np.ascontiguousarray(image)
    with atomic_path(path) as part:
        if portable:
            part.write_bytes(_stored_png(image))
        else:
            Image.fromarray(image).save(part, format="PNG", compress_level=6, optimize=False)


def _stored_png(image: np.ndarray) -> bytes:
    """A PNG whose deflate stream holds only stored blocks (RFC 1951, 3.2.4): no compressor is involved."""
    height, width, _ = image.shape
    rows = np.zeros((height, 1 + 3 * width), np.uint8)  # filter byte 0, then the row
    rows[:, 1:] = image.reshape(height, -1)
    raw = rows.tobytes()
    blocks = [raw[i : i + 0xFFFF] for i in range(0, len(raw), 0xFFFF)]
    stream = bytearray(b"\x78\x01")  # zlib header: deflate, 32 KiB window, no dictionary
    for i, block in enumerate(blocks):
        stream += struct.pack("<BHH", i == len(blocks) - 1, len(block), len(block) ^ 0xFFFF) + block
    stream += struct.pack(">I", zlib.adler32(raw))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits, RGB, no interlace
    chunks = ((b"IHDR", header), (b"IDAT", bytes(stream)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
