"""The steps of the degradation, each a record of its parameters that can be carried out again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from decimal import Context, Decimal, localcontext
from functools import cache
from statistics import NormalDist
from typing import Any

import numpy as np

from samdiffsr.core.errors import UserError
from samdiffsr.data.degradation.exact import DIGITS
from samdiffsr.data.degradation.jpeg import TO_YCC, jpeg
from samdiffsr.data.degradation.kernels import BITS, bell, sinc

UNIT = 10_000  # parameters have four decimals
ROWS = 16  # that are filtered at once: they stay in the processor's cache
QUANTILES = 1 << 16
NORMAL_BITS = 12
# of the table of normal numbers, which is made with the machine's own logarithm
NORMAL_SHA256 = "65adb44855f8b71385141d120e46bcbbe7ab553ca422fa6c389f204db6da226b"
GREY = TO_YCC[0]  # luma of RGB in 1/65536

Step = Mapping[str, Any]


def carried_out(image: np.ndarray, steps: Iterable[Step]) -> np.ndarray:
    """An image after `steps`, uint8 (H, W, 3); the image itself is not changed."""
    for step in steps:
        match step["step"]:
            case "blur":
                image = filtered(image, bell(*(step[key] for key in BELL)))
            case "sinc":
                image = filtered(image, sinc(step["size"], step["cutoff"]))
            case "resize":
                image = resized(image, step["method"], (step["height"], step["width"]))
            case "gaussian_noise":
                image = with_gaussian(image, step["sigma"], step["grey"], int(step["key"], 16))
            case "poisson_noise":
                image = with_poisson(image, step["scale"], step["grey"], int(step["key"], 16))
            case "jpeg":
                image = jpeg(image, step["quality"])
            case unknown:
                raise ValueError(f"no step {unknown!r}")
    return image


BELL = ("kernel", "size", "sigma_x", "sigma_y", "degrees", "beta")  # of a blur


def filtered(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3) filtered with an integer kernel that adds up to 2^BITS; borders are reflected."""
    size, (height, width) = len(kernel), image.shape[:2]
    padded = np.pad(image, ((size // 2,) * 2, (size // 2,) * 2, (0, 0)), mode="reflect").astype(np.int32)
    out = np.empty(image.shape, np.uint8)
    taps = [(dy, dx, int(kernel[dy, dx])) for dy, dx in np.argwhere(kernel)]
    for top in range(0, height, ROWS):
        rows = min(ROWS, height - top)
        total = np.full((rows, width, 3), 1 << (BITS - 1), np.int32)
        part = np.empty_like(total)
        for dy, dx, weight in taps:
            np.multiply(padded[top + dy : top + dy + rows, dx : dx + width], weight, out=part)
            total += part
        out[top : top + rows] = (total >> BITS).clip(0, 255)
    return out


# ---- resize ----

WEIGHT_BITS = 20


def resized(image: np.ndarray, method: str, size: tuple[int, int]) -> np.ndarray:
    """uint8 (H, W, 3) at another (height, width), without antialiasing but for `area`.

    area: the mean of the pixels that an output pixel touches. bilinear; bicubic: Keys' kernel with a = -3/4.
    Pixels are squares, borders are repeated.
    """
    values = image.astype(np.int64)
    for axis, wanted in enumerate(size):
        index, weights = _taps(method, image.shape[axis], wanted)
        shape = [1, 1, 1]
        shape[axis] = wanted
        values = sum(values.take(i, axis) * w.reshape(shape) for i, w in zip(index, weights, strict=True))
    return ((values + (1 << (2 * WEIGHT_BITS - 1))) >> 2 * WEIGHT_BITS).clip(0, 255).astype(np.uint8)


def _taps(method: str, n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    """For n pixels made m: which pixels an output pixel is made of, and their weights, (taps, m) int64 each.

    The weights of an output pixel add up to 2^WEIGHT_BITS.
    """
    i, one = np.arange(m, dtype=np.int64), 1 << WEIGHT_BITS
    if method == "area":
        first, stop = i * n // m, -(-(i + 1) * n // m)
        taps = int((stop - first).max())
        index = first + np.arange(taps)[:, None]
        inside = index < stop
        weights = np.where(inside, one // (stop - first), 0)
        index = np.where(inside, index, first)
        at = 0
    else:
        centre = (2 * i + 1) * n - m  # of the output pixel, in pixels / (2m), from the centre of the first
        start = centre // (2 * m)
        t = ((centre - start * 2 * m) << WEIGHT_BITS) // (2 * m)  # how far it lies beyond that pixel
        if method == "bilinear":
            index, weights = start + np.arange(2)[:, None], np.stack([one - t, t])
        else:
            index = start + np.arange(-1, 3)[:, None]
            weights = np.stack([_keys(one + t), _keys(t), _keys(one - t), _keys(2 * one - t)])
        at = 1
    weights[at] += one - weights.sum(axis=0)
    return index.clip(0, n - 1), weights


def _keys(x: np.ndarray) -> np.ndarray:
    """Keys' cubic kernel with a = -3/4 at x >= 0; both in 2^-WEIGHT_BITS."""
    one = 1 << WEIGHT_BITS
    square = x * x >> WEIGHT_BITS
    cube = square * x >> WEIGHT_BITS
    near = (5 * cube - 9 * square + 4 * one) >> 2  # (a + 2) x^3 - (a + 3) x^2 + 1
    far = 3 * (-cube + 5 * square - 8 * x + 4 * one) >> 2  # a x^3 - 5a x^2 + 8a x - 4a
    return np.where(x <= one, near, far)


# ---- noise ----


def with_gaussian(image: np.ndarray, sigma: float, grey: bool, key: int) -> np.ndarray:
    """uint8 (H, W, 3) with normal noise of standard deviation `sigma` (grey levels), one for all channels if
    `grey`."""
    height, width = image.shape[:2]
    numbers = normal_table()[_uniforms((height, width, 1 if grey else 3), key)]
    return _with(image, numbers * round(sigma * UNIT), UNIT << NORMAL_BITS)


def with_poisson(image: np.ndarray, scale: float, grey: bool, key: int) -> np.ndarray:
    """uint8 (H, W, 3) with the noise of photons, one a grey level, times `scale`; of the luma if `grey`."""
    level = ((image @ GREY + 32768) >> 16)[..., None] if grey else image
    photons = poisson_table()[level, _uniforms(level.shape, key)].astype(np.int64)
    return _with(image, (photons - level) * round(scale * UNIT), UNIT)


def _with(image: np.ndarray, noise: np.ndarray, unit: int) -> np.ndarray:
    return (image + (noise + unit // 2) // unit).clip(0, 255).astype(np.uint8)


def _uniforms(shape: tuple[int, ...], key: int) -> np.ndarray:
    """Random numbers of 16 bits, uint16 of a shape: Philox's of a key."""
    count = int(np.prod(shape))
    words = np.random.Philox(key=key).random_raw(-(-count // 4))
    return words.astype("<u8").view("<u2")[:count].reshape(shape)


@cache
def normal_table() -> np.ndarray:
    """Quantiles of the standard normal distribution in 2^-NORMAL_BITS, at the middles of 2^16 equal parts.

    Raises UserError where the machine's logarithm gives other numbers.
    """
    inverse = NormalDist().inv_cdf
    upper = [round(inverse((2 * i + 1) / (2 * QUANTILES)) * 2**NORMAL_BITS) for i in range(QUANTILES // 2)]
    table = np.array([*upper, *(-value for value in reversed(upper))], np.int64)
    if hashlib.sha256(table.astype("<i4").tobytes()).hexdigest() != NORMAL_SHA256:
        raise UserError("degradation: the logarithm of this machine's C library gives other normal numbers")
    return table


@cache
def poisson_table() -> np.ndarray:
    """Numbers of photons, int16 (256, 2^16): quantiles, as in `normal_table`, for a mean of 0 .. 255."""
    bits = 40
    middles = (2 * np.arange(QUANTILES, dtype=np.int64) + 1) << (bits - 17)
    rows = []
    with localcontext(Context(prec=DIGITS)):
        for mean in range(256):
            term = below = Decimal(-mean).exp()
            sums = [int(below * 2**bits)]
            while 2**bits - sums[-1] > 1 << (bits - 18):
                term *= Decimal(mean) / len(sums)
                below += term
                sums.append(int(below * 2**bits))
            rows.append(np.searchsorted(np.array(sums, np.int64), middles).astype(np.int16))
    return np.stack(rows)
