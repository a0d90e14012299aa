"""Features of regions other than their position. What each gives: `registry.Feature`."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import uniform_filter

from samdiffsr.core.errors import UserError
from samdiffsr.masks.regions import Regions

LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
STEEP = 0.25  # gradient of luma, per pixel, from which `texture` is 1
CATEGORIES = 256


def area(regions: Regions) -> np.ndarray:
    """The share of the image's pixels, (K + 1,) float64."""
    return regions.pixels() / regions.labels.size


def colour(image: np.ndarray) -> np.ndarray:
    """R, G and B from -1 to 1, (H, W, 3) float64."""
    return image / 127.5 - 1


def contrast(image: np.ndarray) -> np.ndarray:
    """Distance of luma from its mean over 7 x 7 pixels, (H, W) float64; 1 is black beside white."""
    luma = _luma(image)
    return np.abs(luma - uniform_filter(luma, 7, mode="reflect"))


def texture(image: np.ndarray) -> np.ndarray:
    """Steepness of luma, (H, W) float64: 0 is flat, 1 a gradient of STEEP or more a pixel."""
    luma = np.pad(_luma(image), 1, mode="edge")
    down, right = (luma[2:, 1:-1] - luma[:-2, 1:-1]) / 2, (luma[1:-1, 2:] - luma[1:-1, :-2]) / 2
    return np.minimum(np.hypot(down, right) / STEEP, 1)


def category(regions: Regions) -> np.ndarray:
    """The number of an imported label's class, over CATEGORIES; pixels without a mask have class 0.

    Raises:
        UserError: the regions say no class, or one beyond CATEGORIES - 1.
    """
    if not regions.n_masks:
        return np.zeros(1)
    if "category" not in regions.per_mask:
        raise UserError("feature 'category': these regions have no class (`category`); import masks that do")
    numbers = np.asarray(regions.per_mask["category"], np.float64)
    if not ((numbers >= 0) & (numbers < CATEGORIES)).all():
        raise UserError(f"feature 'category': a class is {numbers.max():g}; give numbers below {CATEGORIES}")
    return np.concatenate([[0.0], numbers]) / CATEGORIES


def _luma(image: np.ndarray) -> np.ndarray:
    luma: np.ndarray = image @ LUMA / 255
    return luma
