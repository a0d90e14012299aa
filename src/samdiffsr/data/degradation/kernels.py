"""Blur kernels as integers: Gaussian, generalised Gaussian, plateau-shaped, and sinc."""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from functools import lru_cache

import numpy as np

from samdiffsr.data.degradation.exact import DIGITS, PI, bessel_j1, cosine, sine

BITS = 15  # a kernel's weights add up to 2^BITS


@lru_cache(maxsize=8)
def bell(kind: str, size: int, sigma_x: float, sigma_y: float, degrees: float, beta: float) -> np.ndarray:
    """A bell-shaped kernel (paper, equations 2 to 4 and the plateau shape of its reference).

    With q the squared distance from the centre, in units of the two standard deviations along axes turned by
    `degrees`: gaussian exp(-q / 2), generalised exp(-q^beta / 2), plateau 1 / (1 + q^beta).

    Args:
        size: odd. sigma_x, sigma_y: in pixels. beta: the shape; of no meaning to a Gaussian.

    Returns int32 (size, size), adding up to 2^BITS.
    """
    with localcontext(Context(prec=DIGITS)):
        angle = Decimal(str(degrees)) * PI / 180
        cos, sin = cosine(angle), sine(angle)
        a, b, shape = (Decimal(str(value)) for value in (sigma_x, sigma_y, beta))

        def weight(x: int, y: int) -> Decimal:
            q = ((x * cos + y * sin) / a) ** 2 + ((y * cos - x * sin) / b) ** 2
            if kind == "gaussian":
                return (-q / 2).exp()
            power = (shape * q.ln()).exp() if q else Decimal(0)
            return (-power / 2).exp() if kind == "generalised" else 1 / (1 + power)

        return _quantised(size, weight)


@lru_cache(maxsize=8)
def sinc(size: int, cutoff: float) -> np.ndarray:
    """The low-pass filter that is 1 below a circle of frequencies: it rings (paper, equation 6).

    w / (2 pi r) J1(w r) at distance r, with w = `cutoff` x pi.

    Returns int32 (size, size), adding up to 2^BITS.
    """
    with localcontext(Context(prec=DIGITS)):
        w = Decimal(str(cutoff)) * PI
        values: dict[int, Decimal] = {0: w * w / (4 * PI)}

        def weight(x: int, y: int) -> Decimal:
            square = x * x + y * y
            if square not in values:
                r = Decimal(square).sqrt()
                values[square] = w * bessel_j1(w * r) / (2 * PI * r)
            return values[square]

        return _quantised(size, weight)


def _quantised(size: int, weight: Callable[[int, int], Decimal]) -> np.ndarray:
    """Point-symmetric weights, rounded; what rounding leaves over goes to the centre."""
    radius = size // 2
    half = {(x, y): weight(x, y) for y in range(radius + 1) for x in range(-radius, radius + 1)}
    every = [
        half[x, y] if y >= 0 else half[-x, -y]
        for y in range(-radius, radius + 1)
        for x in range(-radius, radius + 1)
    ]
    total = sum(every, Decimal(0))
    scaled = [int((w * 2**BITS / total).to_integral_value(ROUND_HALF_EVEN)) for w in every]
    kernel = np.array(scaled, np.int32).reshape(size, size)
    kernel[radius, radius] += 2**BITS - int(kernel.sum())
    return kernel
