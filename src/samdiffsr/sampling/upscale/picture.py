"""One image file in, one out: any common mode, upright, with its transparency, profile and EXIF."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image
from scipy import ndimage

from samdiffsr.core.errors import UserError, shown
from samdiffsr.data.decode import decode, has_more_channels, opened
from samdiffsr.sampling.upscale.metadata import (
    FIELDS,
    FIELDS_SIZE,
    PROFILES,
    Metadata,
    append_exif,
    exif_bytes,
    read_metadata,
)


@dataclass(frozen=True)
class Format:
    """A kind of file.

    name: Pillow's. modes: that it holds. options: of writing. side: most pixels in a row or column. packed:
    least bytes of the file for a byte of pixels, roughly. metadata: whether it holds EXIF and profiles.
    """

    name: str
    modes: tuple[str, ...]
    options: dict[str, Any]
    side: int
    packed: float
    metadata: bool = True


PNG = Format("PNG", ("L", "LA", "RGB", "RGBA"), {}, 2**31 - 1, 0.2)
JPEG = Format("JPEG", ("L", "RGB"), {"quality": 95, "subsampling": 0}, 65500, 0.05)  # libjpeg's limit
TIFF = Format("TIFF", ("L", "LA", "RGB", "RGBA"), {"compression": "tiff_lzw"}, 2**31 - 1, 0.3)
WEBP = Format("WEBP", ("RGB", "RGBA"), {"lossless": True}, 16383, 0.15)
BMP = Format("BMP", ("L", "RGB"), {}, 2**31 - 1, 1, metadata=False)
FORMATS = {
    ".png": PNG, ".jpg": JPEG, ".jpeg": JPEG, ".tif": TIFF, ".tiff": TIFF, ".webp": WEBP, ".bmp": BMP,
}  # fmt: skip
MOST_BYTES = 2**32 - 2**20  # of pixels in a TIFF or BMP, whose offsets have 32 bits


@dataclass(frozen=True)
class Outline:
    """What is known of an image file before its pixels are decoded.

    width, height: upright. mode: L, LA, RGB or RGBA. dropped: metadata that cannot be read.
    """

    width: int
    height: int
    mode: str
    metadata: Metadata
    dropped: list[str]


@dataclass(frozen=True)
class Picture:
    """An upright image. pixels: uint8 (H, W, 1 or 3). alpha: uint8 (H, W), or None."""

    pixels: np.ndarray
    alpha: np.ndarray | None
    metadata: Metadata

    @property
    def mode(self) -> str:
        return ("L" if self.pixels.shape[2] == 1 else "RGB") + "A" * (self.alpha is not None)


def outline(path: Path) -> Outline:
    """Look at an image file's head. Raises UserError as `opened`."""
    with opened(path, limited=False) as image:
        return _outline(image)


def _outline(image: Image.Image) -> Outline:
    metadata, dropped = read_metadata(image)
    alpha = "A" in image.mode or "transparency" in image.info
    mode = ("L" if image.mode in ("1", "L", "LA") else "RGB") + "A" * alpha
    if has_more_channels(image):
        dropped.append("channels that are neither colour nor transparency")
    width, height = image.size
    if metadata.orientation > 4 and image.format != "TIFF":  # of a TIFF Pillow tells the upright size
        width, height = height, width
    return Outline(width, height, mode, metadata, dropped)


def read_picture(path: Path) -> Picture:
    """Decode an image file; palettes become RGB, EXIF's orientation is applied and dropped.

    Raises UserError as `opened`.
    """
    with opened(path, limited=False) as image:
        found = _outline(image)
        decode(image, found.metadata.orientation)
        planes = np.atleast_3d(np.array(image.convert(found.mode)))
    if "A" not in found.mode:
        return Picture(planes, None, found.metadata)
    return Picture(_filled(planes[:, :, :-1], planes[:, :, -1]), planes[:, :, -1], found.metadata)


def _filled(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Under alpha 0 the nearest colour that is seen: a network would draw what hides there into the rest."""
    hidden = alpha == 0
    if not hidden.any() or hidden.all():
        return pixels
    nearest = ndimage.distance_transform_edt(hidden, return_distances=False, return_indices=True)
    return pixels[tuple(nearest)]


def write_picture(file: IO[bytes], picture: Picture, kind: Format) -> None:
    """Write it as this kind of file, whose modes it must fit (`fitted`)."""
    planes, metadata = picture.pixels, picture.metadata
    if kind.metadata and FIELDS in metadata.exif:
        fields = dict(metadata.exif[FIELDS])
        fields |= {k: n for k, n in zip(FIELDS_SIZE, planes.shape[1::-1], strict=True) if k in fields}
        metadata = replace(metadata, exif=metadata.exif | {FIELDS: fields})
    if planes.shape[2] == 1 and "L" not in kind.modes:
        planes = planes.repeat(3, axis=2)
    if picture.alpha is not None:
        planes = np.dstack([planes, picture.alpha])
    options = dict(kind.options)
    if kind.metadata and metadata.icc_profile:
        options["icc_profile"] = metadata.icc_profile
    if kind.metadata and metadata.exif and kind is not TIFF:
        options["exif"] = exif_bytes(metadata.exif)
    image = Image.fromarray(planes.squeeze(2) if planes.shape[2] == 1 else planes)
    image.save(file, format=kind.name, **options)
    if kind is TIFF and metadata.exif:
        append_exif(file, metadata.exif)


def fitted(metadata: Metadata, mode: str, kind: Format) -> tuple[Metadata, list[str]]:
    """The part of the metadata that a file of this kind takes, by trial, and what is dropped of it."""
    dropped: list[str] = []
    if not kind.metadata:
        if metadata.exif or metadata.icc_profile:
            dropped.append(f"EXIF and colour profile, which {kind.name} does not hold")
        return Metadata(), dropped
    written = mode if mode in kind.modes else mode.replace("L", "RGB")
    profile = metadata.icc_profile
    if profile and profile[16:20] != PROFILES[written]:
        space = profile[16:20].decode("latin-1").strip()
        dropped.append(f"a colour profile of {shown(space)}, which a file of {written} cannot have")
        metadata = replace(metadata, icc_profile=None)
    pixel = np.zeros((1, 1, 1 if mode[0] == "L" else 3), np.uint8)
    alpha = np.zeros((1, 1), np.uint8) if "A" in mode else None
    parts: dict[str, tuple[Any, Any]] = {
        "exif": (metadata.exif, {}),
        "icc_profile": (metadata.icc_profile, None),
    }
    for without in ([], ["icc_profile"], ["exif"], ["exif", "icc_profile"]):
        if any(parts[name][0] == parts[name][1] for name in without):
            continue
        left_out: dict[str, Any] = {name: parts[name][1] for name in without}
        tried = replace(metadata, **left_out)
        if _can_be_written(Picture(pixel, alpha, tried), kind):
            break
    names = {"exif": "EXIF", "icc_profile": "a colour profile"}
    dropped += [f"{names[name]} that cannot be written as {kind.name}" for name in without]
    return tried, dropped


def _can_be_written(picture: Picture, kind: Format) -> bool:
    try:
        with io.BytesIO() as file:
            write_picture(file, picture, kind)
            with Image.open(file) as image:
                image.load()
                image.getexif()
    except Exception:  # Pillow raises a dozen different types
        return False
    return True


def check_fit(found: Outline, scale: int, target: Path) -> None:
    """UserError if the target's format does not hold the image `scale` times as large."""
    kind = FORMATS[target.suffix.lower()]
    if "A" in found.mode and "RGBA" not in kind.modes:
        raise UserError(f"{shown(target)}: {kind.name} holds no transparency; take PNG, TIFF or WebP")
    width, height = found.width * scale, found.height * scale
    if max(width, height) > kind.side:
        raise UserError(
            f"{shown(target)}: {width}x{height} is more than {kind.name} holds, {kind.side} pixels a side; "
            "take PNG or TIFF"
        )
    if kind in (TIFF, BMP) and width * height * len(found.mode) > MOST_BYTES:
        raise UserError(f"{shown(target)}: {width}x{height} is more than {kind.name} holds, 4 GB; take PNG")
