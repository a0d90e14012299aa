"""Image files in and out: 8-bit RGB and nothing else, so no stage ever guesses a range or a channel order."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from samdiffsr.core.errors import UserError
from samdiffsr.core.files import atomic_path

FORMATS = ("PNG", "JPEG", "BMP")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")
OTHER_SUFFIXES = (".tif", ".tiff", ".webp", ".gif", ".heic", ".avif", ".jp2", ".ppm")  # images, but not ours
ADVICE = "convert it to 8-bit RGB PNG"


def list_images(folder: str | Path) -> list[Path]:
    """The PNG, JPEG and BMP files of one folder, sorted by name; sub-folders are not entered.

    Hidden files and anything that is no image (Thumbs.db, a README) are passed over. Raises UserError if the
    folder is missing or holds no image, and for an image of another format: leaving it out in silence would
    shrink the set.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder of images")
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    for path in files:
        if path.suffix.lower() in OTHER_SUFFIXES:
            raise UserError(f"{path}: {path.suffix} is not read here; {ADVICE} or move it elsewhere")
    images = [path for path in files if path.suffix.lower() in SUFFIXES]
    if not images:
        raise UserError(f"{folder}: holds no PNG, JPEG or BMP image")
    return images


def read_rgb(path: str | Path) -> np.ndarray:
    """Decode a PNG, JPEG or BMP file to uint8 (H, W, 3) in RGB order.

    Gray, bilevel and palette images become RGB (Set14 holds a gray one); an alpha channel is dropped if
    opaque everywhere. The EXIF orientation and colour profiles are ignored on purpose: benchmarks score the
    stored pixels. Raises UserError naming the file for anything else: no such file, not an image, truncated,
    16-bit, CMYK, transparent, absurdly large.
    """
    path = Path(path)
    try:
        if _png_bit_depth(path) == 16:  # Pillow would halve the depth of 16-bit colour without a word
            raise UserError(f"{path}: 16 bits per channel; {ADVICE}")
        with Image.open(path, formats=FORMATS) as image:
            return _to_rgb(image, path)
    except (UserError, MemoryError):
        raise
    except Exception as error:  # Pillow's decoders raise a dozen different types on broken files
        raise undecodable(path, error, f"PNG, JPEG or BMP image; {ADVICE}") from error


def undecodable(path: str | Path, error: Exception, wanted: str) -> UserError:
    """What Pillow raised on a file, as one line; `wanted`: what the file should be, and what to do."""
    if isinstance(error, FileNotFoundError):
        return UserError(f"{path}: no such file")
    if isinstance(error, Image.DecompressionBombError):
        return UserError(f"{path}: too large an image ({error}); cut it into parts")
    if isinstance(error, Image.UnidentifiedImageError):
        return UserError(f"{path}: not a {wanted}")
    reason = " ".join(str(error).split()) or type(error).__name__
    return UserError(f"{path}: cannot be decoded ({reason}); fetch or save it again")


def _png_bit_depth(path: Path) -> int | None:
    """Bits per channel from a PNG's header (byte 24); None for any other file."""
    with open(path, "rb") as file:
        head = file.read(25)
    return head[24] if len(head) == 25 and head.startswith(b"\x89PNG\r\n\x1a\n") else None


def _to_rgb(image: Image.Image, path: Path) -> np.ndarray:
    if image.mode not in ("RGB", "L", "P", "1", "RGBA", "LA", "PA"):
        raise UserError(f"{path}: pixel format {image.mode} is not 8-bit gray or RGB; {ADVICE}")
    if "A" in image.mode or "transparency" in image.info:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema()[0] < 255:
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
