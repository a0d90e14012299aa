"""Position maps: one number per pixel, to be averaged over regions (paper, section 4.2 and Table 5)."""

from __future__ import annotations

import numpy as np

from samdiffsr.core.registry import load
from samdiffsr.masks.registry import FEATURES


def position_map(kind: str, height: int, width: int, *, rope_axis: str = "width") -> np.ndarray:
    """Position embedding map x_PE of an image.

    Args:
        kind: a position among FEATURES: "rope" (the paper's), "cosine" or "linear" (its Table 5).
        height, width: of the image, in pixels.
        rope_axis: which image axis is RoPE's sequence; the other is its embedding. "width" is the paper's
            text, "height" what the released code computes. The other kinds have no such choice.

    Returns:
        (height, width) float64, `centre` (height, width, 2). Ranges: as the entry declares.

    Raises:
        UserError: an unknown kind.
    """
    if height < 1 or width < 1:
        raise ValueError(f"a position map of {height} x {width} pixels")
    made: np.ndarray = load(FEATURES[kind].code)(height, width, rope_axis)
    return made


def rope(height: int, width: int, axis: str) -> np.ndarray:
    """RoPE over the rows or the columns of an image."""
    return np.ascontiguousarray(rope_map(width, height).T) if axis == "width" else rope_map(height, width)


def rope_map(length: int, dim: int) -> np.ndarray:
    """Rotary position embedding (Su et al., 2021) of an all-ones sequence: (length, dim) float64.

    The closed form: with theta_k = 10000^(-2k/dim), each pair (1, 1) turned by the angle p theta_k:
    map[p, 2k] = cos(p theta_k) - sin(p theta_k), map[p, 2k+1] = cos(p theta_k) + sin(p theta_k).

    An odd `dim` leaves the last entry without a partner to turn with: it keeps its 1 (rotary_embedding_torch
    refuses odd dimensions).
    """
    theta = 10000.0 ** (-2.0 * np.arange(dim // 2) / dim)
    angle = np.outer(np.arange(length), theta)
    cos, sin = np.cos(angle), np.sin(angle)
    result = np.ones((length, dim))
    result[:, 0 : 2 * len(theta) : 2] = cos - sin
    result[:, 1 : 2 * len(theta) : 2] = cos + sin
    return result


def linear(height: int, width: int, axis: str = "") -> np.ndarray:
    """Mean of two ramps, (y + x) / 2 with y, x from 0 to 1 along each axis: 0 top left, 1 bottom right.

    The paper says only "a linear function whose output value ranges from 0 to 1"; the authors' code under
    that name draws unseeded random numbers. This reading is ours.
    """
    return (_unit(height)[:, None] + _unit(width)) / 2


def cosine(height: int, width: int, axis: str = "") -> np.ndarray:
    """Mean of two half waves, (cos(pi y) + cos(pi x)) / 2: 1 top left, -1 bottom right.

    The paper says only "a cosine function to generate a 2D grid"; the authors' code holds two candidates, and
    neither works on ordinary images. This reading is ours: the linear map with the cosine in place of the
    ramp (y and x as there), so that Table 5 compares functions and nothing else.
    """
    return (np.cos(np.pi * _unit(height))[:, None] + np.cos(np.pi * _unit(width))) / 2


def centre(height: int, width: int, axis: str = "") -> np.ndarray:
    """y and x from -1 to 1, (height, width, 2): their means are a region's centre of mass."""
    y, x = np.meshgrid(2 * _unit(height) - 1, 2 * _unit(width) - 1, indexing="ij")
    return np.stack([y, x], axis=-1)


def _unit(n: int) -> np.ndarray:
    """n points from 0 to 1; a single one lies at 0."""
    return np.linspace(0.0, 1.0, n)
