"""An image file, opened whatever is odd about it: what it is says its content, and what fails says why.

Pillow reads more formats than are named here. These are the ones of which it gives every pixel exactly, and
whose depth can be told before 8 bits are made of it.
"""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

from PIL import ExifTags, Image, PngImagePlugin

from samdiffsr.core.compat import turn_as_told
from samdiffsr.core.errors import UserError

READ = {  # Pillow's name of a format -> its suffixes
    "PNG": (".png", ".apng"),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "BMP": (".bmp",),
    "DIB": (".dib",),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "JPEG2000": (".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
    "TGA": (".tga", ".icb", ".vda", ".vst"),  # last: nothing but its suffix tells it from other bytes
}
SUFFIXES = frozenset(suffix for suffixes in READ.values() for suffix in suffixes)
# Images by their suffix that are not read: other depths or layers, cameras' raw data, or no exact decoder.
REFUSED = frozenset(
    {
        ".3fr", ".ai", ".arw", ".avif", ".avifs", ".bw", ".cr2", ".cr3", ".cur", ".dcm", ".dcx", ".dds",
        ".dng", ".eps", ".exr", ".fit", ".fits", ".flc", ".fli", ".hdr", ".heic", ".heif", ".hif",
        ".icns", ".ico", ".jls", ".jng", ".jxl", ".jxr", ".kra", ".mng", ".nef", ".orf", ".pam", ".pcx",
        ".pdf", ".pef", ".pfm", ".psb", ".psd", ".qoi", ".raf", ".ras", ".raw", ".rgb", ".rgba", ".rw2",
        ".sgi", ".srw", ".svg", ".svgz", ".wdp", ".wmf", ".xbm", ".xcf", ".xpm",
    }
)  # fmt: skip
WANTED = "PNG, JPEG, BMP, TIFF, WebP, GIF, PPM, JPEG 2000 or TGA image"
ADVICE = "convert it to 8-bit gray or RGB PNG"
MODES = ("RGB", "RGBA", "L", "LA", "P", "PA", "1")
# Text and profiles of a PNG, unpacked: Pillow's own limit, 1 MB, refuses the picture for them.
PngImagePlugin.MAX_TEXT_CHUNK = 1 << 26


@contextlib.contextmanager
def opened(path: Path, *, limited: bool = True) -> Iterator[Image.Image]:
    """An image file of one picture with 8 bits a channel; nothing is decoded yet (`decode`).

    Args:
        limited: refuse more than 179 megapixels, as Pillow does.

    Raises:
        UserError: names the file, and says the true reason: not an image, broken (also while the block
            decodes it), another depth, CMYK, animated, several pages.
    """
    limit = Image.MAX_IMAGE_PIXELS
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata, and of a size that is large but not absurd
            Image.MAX_IMAGE_PIXELS = limit if limited else None
            data = path.read_bytes()
            with _identified(data, path) as image:
                _check(image, data, path)
                yield image
    except (UserError, MemoryError):
        raise
    except Exception as error:  # decoders raise a dozen different types on broken files
        raise _undecodable(path, error) from error
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def decode(image: Image.Image, orientation: int = 1) -> None:
    """Decode the pixels in place and turn them upright; no metadata is looked at, so none can be in the way.

    A TIFF's own orientation is part of its layout and always applied.

    Args:
        orientation: EXIF's, 1 to 8.
    """
    exif = Image.Exif()
    if image.format == "TIFF":
        orientation = image.tag_v2.get(ExifTags.Base.Orientation, 1)  # type: ignore[attr-defined]
    if orientation in range(2, 9):
        exif[ExifTags.Base.Orientation] = orientation
    turn_as_told(image, exif)


def has_more_channels(image: Image.Image) -> bool:
    """Whether a TIFF holds channels that Pillow leaves out: neither colour nor called transparency."""
    return image.format == "TIFF" and image.tag_v2.get(277, 1) > len(image.getbands())  # type: ignore[attr-defined]


def _identified(data: bytes, path: Path) -> Image.Image:
    """As Image.open, but what a decoder has against a file that it takes for its own is raised as it is."""
    Image.init()
    head = data[:16].ljust(16, b"\0")
    for name, suffixes in READ.items():
        factory, accept = Image.OPEN[name]
        if path.suffix.lower() in suffixes if accept is None else accept(head) is True:
            file = io.BytesIO(without_bad_chunks(data) if name == "PNG" else data)
            image = factory(file, str(path))
            if Image.MAX_IMAGE_PIXELS and image.width * image.height > 2 * Image.MAX_IMAGE_PIXELS:
                raise Image.DecompressionBombError(f"{image.width}x{image.height}")
            return image
    raise Image.UnidentifiedImageError


def without_bad_chunks(data: bytes) -> bytes:
    """A PNG with its pixels, transparency, frames, profile, EXIF and XMP whose checksums are right.

    Whatever else it says (text, gamma, resolution) is in the way at most, broken or large as it may be.
    Raises SyntaxError for a wrong checksum of the pixels, which Pillow does not look at. What is no PNG of
    whole chunks is left for the decoder to refuse.
    """
    kept, at = [data[:8]], 8
    while at + 12 <= len(data):
        (length,), kind = struct.unpack_from(">I", data, at), data[at + 4 : at + 8]
        end = at + 12 + length
        content = data[at + 8 : end - 4]
        whole = end <= len(data) and zlib.crc32(kind + content) == struct.unpack_from(">I", data, end - 4)[0]
        if kind[0] & 0x20 == 0:  # one that a decoder must know
            if end <= len(data) and not whole:
                raise SyntaxError(f"the checksum of its chunk {kind.decode('latin-1')} is wrong")
            kept.append(data[at:end])
        elif whole and _wanted(kind, content):
            kept.append(data[at:end])
        at = end
        if kind == b"IEND":
            return b"".join(kept)
    return b"".join([*kept, data[at:]])


def _wanted(kind: bytes, content: bytes) -> bool:
    if kind in (b"tEXt", b"zTXt", b"iTXt"):
        return content.startswith((b"XML:com.adobe.xmp\0", b"Raw profile type exif\0"))
    if kind == b"iCCP":
        return content.partition(b"\0")[2][:1] == b"\0"  # deflated; there is no other way
    return kind in (b"tRNS", b"fcTL", b"fdAT", b"eXIf") or (kind == b"acTL" and len(content) == 8)


def _check(image: Image.Image, data: bytes, path: Path) -> None:
    """Refuse what would lose pages or precision in silence: Pillow halves the depth of 16-bit colour."""
    # behind a phone's photograph (MPO) lies a preview or the other eye's view
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
        raise UserError(f"{path}: animated, or of several pages; save one of them as a file of its own")
    if (bits := _bits(image, data)) != 8:
        raise UserError(f"{path}: {bits} bits per channel; {ADVICE}")
    if image.format == "TIFF" and set(image.tag_v2.get(339, (1,))) != {1}:  # type: ignore[attr-defined]
        raise UserError(f"{path}: signed numbers for its pixels; {ADVICE}")
    if image.mode not in MODES:
        raise UserError(f"{path}: pixel format {image.mode}; {ADVICE}")


def _bits(image: Image.Image, data: bytes) -> int:
    """Bits of a channel in the file; 8 also for fewer, where they are widened exactly."""
    bits = 8
    if image.format == "PNG":
        bits = data[24]
    elif image.format == "TIFF":
        bits = max(image.tag_v2.get(258, (1,)))  # type: ignore[attr-defined]
    elif image.format == "JPEG2000":
        at = data.index(b"\xff\x4f\xff\x51")  # start of the codestream, then its marker SIZ
        (channels,) = struct.unpack_from(">H", data, at + 40)
        depths = {(data[at + 42 + 3 * i] & 0x7F) + 1 for i in range(channels)}
        return max(depths)
    elif image.format == "PPM":
        codec, arguments = image.tile[0].codec_name, image.tile[0].args  # type: ignore[attr-defined]
        bits = {"I": 16, "F": 32}.get(image.mode, 8)
        if codec.startswith("ppm"):  # its last argument is the largest value
            bits = int(arguments[-1]).bit_length()
    return max(8, bits)


def _undecodable(path: Path, error: Exception) -> UserError:
    """What Pillow raised on a file, as one line."""
    if isinstance(error, FileNotFoundError):
        return UserError(f"{path}: no such file")
    if isinstance(error, Image.DecompressionBombError):
        return UserError(f"{path}: too large an image ({error} pixels); cut it into parts")
    if isinstance(error, Image.UnidentifiedImageError):
        return UserError(f"{path}: not a {WANTED}; {ADVICE}")
    reason = " ".join(str(error).split()) or type(error).__name__
    return UserError(f"{path}: cannot be decoded ({reason}); fetch or save it again")
