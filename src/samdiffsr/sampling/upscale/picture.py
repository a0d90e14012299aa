"""One image file in, one out: any common mode, upright, with its transparency, profile and EXIF."""

from __future__ import annotations

import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from samdiffsr.core.errors import UserError
from samdiffsr.core.files import atomic_path
from samdiffsr.data.images import undecodable

READ = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF")
MODES = ("RGB", "RGBA", "L", "LA", "P", "PA", "1")
ADVICE = "convert it to 8-bit gray or RGB"
# EXIF tags that describe how TIFF lays out the old pixels; 274 is the orientation
LAYOUT = frozenset(
    {254, 255, 256, 257, 258, 259, 262, 263, 266, 273, 274, 277, 278, 279, 284, 317, 320}
    | {322, 323, 324, 325, 338, 339, 530, 531, 532, 34675}
)
EXIF_FIELDS, EXIF_SIZE = 0x8769, (0xA002, 0xA003)  # the tag of EXIF's own fields; width, height among them


@dataclass(frozen=True)
class Format:
    """A kind of file: Pillow's name, the modes that it holds, how it is written."""

    name: str
    modes: tuple[str, ...]
    options: dict[str, Any]


PNG = Format("PNG", ("L", "LA", "RGB", "RGBA"), {})
JPEG = Format("JPEG", ("L", "RGB"), {"quality": 95, "subsampling": 0})
TIFF = Format("TIFF", ("L", "LA", "RGB", "RGBA"), {"compression": "tiff_lzw"})
WEBP = Format("WEBP", ("RGB", "RGBA"), {"lossless": True})
BMP = Format("BMP", ("L", "RGB"), {})
FORMATS = {
    ".png": PNG, ".jpg": JPEG, ".jpeg": JPEG, ".tif": TIFF, ".tiff": TIFF, ".webp": WEBP, ".bmp": BMP,
}  # fmt: skip


@dataclass(frozen=True)
class Picture:
    """An upright image.

    pixels: uint8 (H, W, 1 or 3). alpha: uint8 (H, W), or None. said: what else the file said of it, as
    arguments of Pillow's `save`: icc_profile, exif.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None
    said: dict[str, Any]


def read_picture(path: Path) -> Picture:
    """Decode an image file; palettes become RGB, EXIF's orientation is applied and dropped.

    Raises UserError naming the file: not an image, broken, more than 8 bits, CMYK, animated, several pages.
    """
    try:
        with warnings.catch_warnings(), Image.open(path, formats=READ) as image:
            warnings.simplefilter("ignore")  # of odd metadata, and of a size that is large but not absurd
            _check(image, path)
            image.load()
            upright = ImageOps.exif_transpose(image)
    except UserError:
        raise
    except Exception as error:
        raise undecodable(path, error, f"PNG, JPEG, WebP, TIFF or BMP image; {ADVICE} PNG") from error
    exif = upright.getexif()
    for tag in LAYOUT & set(exif):
        del exif[tag]
    alpha = "A" in upright.mode or "transparency" in upright.info
    mode = ("L" if upright.mode in ("1", "L", "LA") else "RGB") + "A" * alpha
    planes = np.atleast_3d(np.array(upright.convert(mode)))
    return Picture(
        planes[:, :, :-1] if alpha else planes,
        planes[:, :, -1] if alpha else None,
        {"icc_profile": upright.info.get("icc_profile"), "exif": exif},
    )


def _check(image: Image.Image, path: Path) -> None:
    """Refuse what would lose pages or precision in silence: Pillow halves the depth of 16-bit colour."""
    # behind a phone's photograph (MPO) lies a preview or the other eye's view
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
        raise UserError(f"{path}: animated, or of several pages; save one of them as a file of its own")
    layout = image.tile[0].args if image.tile else ""
    deep = ";16" in str(layout if isinstance(layout, str) else layout[0])
    if image.mode not in MODES or deep:
        what = "16 bits per channel" if deep or image.mode.startswith("I") else f"pixel format {image.mode}"
        raise UserError(f"{path}: {what}; {ADVICE}")


def write_picture(path: Path, picture: Picture) -> None:
    """Write it in the format of the path's suffix; UserError if it is too large for that."""
    kind = FORMATS[path.suffix.lower()]
    planes = picture.pixels
    if planes.shape[2] == 1 and "L" not in kind.modes:
        planes = planes.repeat(3, axis=2)
    if picture.alpha is not None:
        planes = np.dstack([planes, picture.alpha])
    if EXIF_FIELDS in picture.said["exif"]:
        fields = picture.said["exif"].get_ifd(EXIF_FIELDS)
        fields |= {k: n for k, n in zip(EXIF_SIZE, planes.shape[1::-1], strict=True) if k in fields}
    with atomic_path(path) as part:
        try:
            Image.fromarray(planes.squeeze(2) if planes.shape[2] == 1 else planes).save(
                part, format=kind.name, **kind.options, **picture.said
            )
        except (ValueError, struct.error, SyntaxError) as error:  # too large for the format
            raise UserError(f"{path}: cannot be written as {kind.name} ({error}); take PNG or TIFF") from None


def fits(path: Path, picture: Picture) -> None:
    if picture.alpha is not None and "RGBA" not in (kind := FORMATS[path.suffix.lower()]).modes:
        raise UserError(f"{path}: {kind.name} holds no transparency; take PNG, TIFF or WebP")
