"""What baseline JPEG loses, without a codec: colour at half resolution, and rounded DCT coefficients.

Entropy coding loses nothing and is left out. The tables are those of the standard's annex K, scaled by the
quality as the IJG's library does; the chroma planes are averaged over 2 x 2 pixels and repeated.
"""

from __future__ import annotations

from decimal import Decimal
from functools import cache

import numpy as np

from samdiffsr.data.degradation.exact import PI, cosine

LUMA = (
    (16, 11, 10, 16, 24, 40, 51, 61), (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56), (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77), (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101), (72, 92, 95, 98, 112, 100, 103, 99),
)  # fmt: skip
CHROMA = (
    (17, 18, 24, 47, 99, 99, 99, 99), (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99), (47, 66, 99, 99, 99, 99, 99, 99),
) + 4 * ((99,) * 8,)  # fmt: skip
BITS = 13  # of the DCT's weights
# Y, Cb and Cr of R, G, B in 1/65536, and back; the offset of Cb and Cr is 128
TO_YCC = np.array([[19595, 38470, 7471], [-11059, -21709, 32768], [32768, -27439, -5329]], np.int64)
TO_RGB = np.array([[65536, 0, 91881], [65536, -22554, -46802], [65536, 116130, 0]], np.int64)


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """An image after JPEG of a quality from 1 to 100; uint8 (H, W, 3), and so the result."""
    height, width = image.shape[:2]
    padded = np.pad(image, ((0, -height % 16), (0, -width % 16), (0, 0)), mode="edge").astype(np.int64)
    ycc = (padded @ TO_YCC.T + 32768) >> 16  # without the offset, so that Y alone is shifted below
    luma = _coded(ycc[..., 0] - 128, _table(LUMA, quality)) + 128
    small = [_coded(_halved(ycc[..., k]), _table(CHROMA, quality)) for k in (1, 2)]
    planes = [luma.clip(0, 255), *(plane.clip(-128, 127).repeat(2, 0).repeat(2, 1) for plane in small)]
    rgb = (np.stack(planes, axis=-1) @ TO_RGB.T + 32768) >> 16
    return rgb[:height, :width].clip(0, 255).astype(np.uint8)


def _halved(plane: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 pixels."""
    height, width = plane.shape
    return (plane.reshape(height // 2, 2, width // 2, 2).sum(axis=(1, 3)) + 2) >> 2


def _table(base: tuple[tuple[int, ...], ...], quality: int) -> np.ndarray:
    """Quantisation steps, int64 (8, 8)."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    return ((np.array(base, np.int64) * percent + 50) // 100).clip(1, 255)


def _coded(plane: np.ndarray, table: np.ndarray) -> np.ndarray:
    """A plane of integers, sides multiples of 8, after its DCT coefficients were rounded to steps."""
    height, width = plane.shape
    blocks = plane.reshape(height // 8, 8, width // 8, 8).transpose(0, 2, 1, 3)
    basis = _basis()
    steps = table << (2 * BITS)
    levels = (_whole(basis @ blocks.astype(np.float64) @ basis.T) + steps // 2) // steps
    values = _whole(basis.T @ (levels * table).astype(np.float64) @ basis)
    rounded = (values + (1 << (2 * BITS - 1))) >> (2 * BITS)
    return rounded.transpose(0, 2, 1, 3).reshape(height, width)


def _whole(x: np.ndarray) -> np.ndarray:
    """Integers in float64; they are below 2^53, so products and sums of them were exact in any order."""
    return x.astype(np.int64)


@cache
def _basis() -> np.ndarray:
    """The orthonormal DCT-II of length 8 in 2^-BITS, whole numbers in float64."""
    rows = []
    for k in range(8):
        scale = (Decimal(1) / 8).sqrt() if k == 0 else Decimal(1) / 2
        rows.append([round(scale * cosine((2 * n + 1) * k * PI / 16) * 2**BITS) for n in range(8)])
    return np.array(rows, np.float64)
