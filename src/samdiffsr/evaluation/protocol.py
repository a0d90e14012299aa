"""What exactly is compared with what: the part of a score that is easy to get silently wrong.

The default is the protocol of the paper's released script: Y of BT.601 in studio range (16..235, MATLAB's
`rgb2ycbcr`), no border crop, and the ground truth cropped at its top-left corner to a multiple of 2 x scale.
The older literature removes `scale` pixels at each border instead; on Set14 that alone is worth 0.20 dB.
PROTOCOLS is the registry of protocols that Table S2 sets side by side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from samdiffsr.core.errors import UserError
from samdiffsr.core.registry import Registry, load
from samdiffsr.data.resize import crop_to_multiple

PROTOCOL_METRICS = ("psnr_y", "ssim_y")  # what protocols are compared by

_LUMA = {"ycbcr": "Y(BT.601 studio)", "yiq": "Y(full range)"}


@dataclass(frozen=True)
class Protocol:
    """How a restored image (SR) is laid against its ground truth (HR).

    Args:
        border: pixels removed at each side of both images before PSNR and SSIM (the paper: 0).
        multiple: HR is cropped at its top-left corner to a multiple of this (the paper: 2 x scale).
        color: the luma of `psnr_y` and `ssim_y`: "ycbcr" (BT.601, 16..235) or "yiq" (0..255). "yiq" reads
            20 log10(255/219) = 1.32 dB lower for the very same images; it is here only to reproduce such
            numbers.
        gray_full_range: score images whose HR has R = G = B on 0..255 whatever `color` says, as MATLAB
            scripts do with one-channel files. Published Set14 numbers do so for one image (0.09 dB on the
            mean).

    Raises UserError for a value that means nothing.
    """

    border: int = 0
    multiple: int = 8
    color: str = "ycbcr"
    gray_full_range: bool = False

    def __post_init__(self) -> None:
        # bool is an int in Python, and pyiqa accepts float borders only to fail on them later
        if type(self.border) is not int or self.border < 0:
            raise UserError(
                f"protocol: border is {self.border!r}; it must be a whole number of pixels, 0 or more"
            )
        if type(self.multiple) is not int or self.multiple < 1:
            raise UserError(f"protocol: multiple is {self.multiple!r}; it must be a whole number, 1 or more")
        if self.color not in _LUMA:
            raise UserError(f"protocol: color is {self.color!r}; it must be one of {', '.join(_LUMA)}")

    @classmethod
    def for_scale(cls, scale: int, border: int = 0) -> Protocol:
        """The paper's protocol for one scale factor: HR cropped to a multiple of 2 x scale."""
        return cls(border=border, multiple=2 * scale)

    @property
    def name(self) -> str:
        """A short stable text for every table, e.g. "Y(BT.601 studio), crop 0, HR mod 8"."""
        gray = ", gray full range" if self.gray_full_range else ""
        return f"{_LUMA[self.color]}, crop {self.border}, HR mod {self.multiple}{gray}"

    def crop(self, hr: np.ndarray) -> np.ndarray:
        """The top-left part of HR, (H, W, ...), whose sides are multiples of `multiple`: a view."""
        return crop_to_multiple(hr, self.multiple)

    def align(self, sr: np.ndarray, hr: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Crop HR to the protocol's multiple and check that SR has that size; borders stay.

        Args:
            sr, hr: uint8 (H, W, 3), 0..255.

        Returns the pair, views of equal shape. Nothing is ever resized: the released script stretches SR to
        HR, and a perfect image whose truth is one pixel larger then scores 27 dB.
        Raises UserError naming both sizes if they differ.
        """
        for label, image in (("SR", sr), ("HR", hr)):
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
                raise UserError(
                    f"{label} is {image.dtype} {image.shape}; it must be uint8 (height, width, 3)"
                )
        cropped = self.crop(hr)
        if not cropped.size:
            raise UserError(
                f"HR is {_size(hr)}, smaller than the multiple {self.multiple} that it is cropped to"
            )
        if sr.shape != cropped.shape:
            raise UserError(
                f"SR is {_size(sr)} but HR is {_size(hr)}, {_size(cropped)} after cropping to a multiple of "
                f"{self.multiple}; make SR from the LR image of the cropped HR (SR is never resized to fit)"
            )
        return sr, cropped

    def inside(self, sr: np.ndarray, hr: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Both images, of equal shape, without `border` pixels at each side; UserError if nothing is left."""
        if not self.border:
            return sr, hr
        if min(sr.shape[:2]) <= 2 * self.border:
            raise UserError(
                f"SR is {_size(sr)}; nothing is left after removing {self.border} pixels at each side"
            )
        inner = slice(self.border, -self.border)
        return sr[inner, inner], hr[inner, inner]


def _size(image: np.ndarray) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"


@dataclass(frozen=True)
class Way:
    """One way of laying SR on its truth, for tables that compare protocols.

    Args:
        label: what it is, in a table's heading.
        code: "module:function"; function(sr, cropped, hr, scale) -> (SR, HR, Protocol) of what is compared.
            sr: uint8 (H, W, 3); cropped: the truth of that size; hr: the truth as it is.
        published: whether the paper's values were taken under it.
        note: added to the protocol's name in score files.
    """

    label: str
    code: str
    published: bool = False
    note: str = ""

    @property
    def function(self) -> Callable[..., Any]:
        """The function, its module imported."""
        return load(self.code)


_WAYS = {
    name: Way(label, f"{__name__}:{function}", **more)
    for name, label, function, more in (
        ("authors", "as the authors' script", "_authors", {"published": True}),
        ("border", "without a border of the scale factor", "_border", {}),
        ("mod8", "cropped to multiples of 8", "_mod8", {}),
        ("yiq", "pyiqa's own Y", "_yiq", {}),
        ("stretch", "SR stretched to the uncropped truth", "_stretch", {"note": ", SR stretched"}),
    )
}
PROTOCOLS: Registry[Way] = Registry("protocol", _WAYS)


def lay(name: str, sr: np.ndarray, hr: np.ndarray, scale: int) -> tuple[np.ndarray, np.ndarray, Protocol]:
    """The pair that a protocol compares, and the protocol that compares it.

    Args:
        name: a key of PROTOCOLS. sr: uint8 (H, W, 3). hr: uint8, uncropped truth.

    Raises UserError where the sizes do not belong together.
    """
    sr, cropped = Protocol.for_scale(scale).align(sr, hr)
    sr, hr, protocol = PROTOCOLS[name].function(sr, cropped, hr, scale)
    return np.ascontiguousarray(sr), np.ascontiguousarray(hr), protocol


def _authors(sr: np.ndarray, cropped: np.ndarray, hr: np.ndarray, scale: int) -> Any:
    return sr, cropped, Protocol.for_scale(scale)


def _border(sr: np.ndarray, cropped: np.ndarray, hr: np.ndarray, scale: int) -> Any:
    """The older literature's."""
    return sr, cropped, Protocol.for_scale(scale, border=scale)


def _mod8(sr: np.ndarray, cropped: np.ndarray, hr: np.ndarray, scale: int) -> Any:
    """Differs from the authors' at x2 only."""
    protocol = Protocol(multiple=8)
    return protocol.crop(sr), protocol.crop(cropped), protocol


def _yiq(sr: np.ndarray, cropped: np.ndarray, hr: np.ndarray, scale: int) -> Any:
    """Full-range luma: 1.32 dB lower for the same images."""
    return sr, cropped, Protocol(multiple=2 * scale, color="yiq")


def _stretch(sr: np.ndarray, cropped: np.ndarray, hr: np.ndarray, scale: int) -> Any:
    """SR enlarged by LANCZOS where the truth is larger, as the authors' script does with such images."""
    if sr.shape != hr.shape:
        from PIL import Image

        size = (hr.shape[1], hr.shape[0])
        sr = np.asarray(Image.fromarray(sr).resize(size, Image.Resampling.LANCZOS))
    return sr, hr, Protocol(multiple=1)
