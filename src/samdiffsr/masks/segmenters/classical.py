"""Segmenters that need nothing but the image."""

from __future__ import annotations

from typing import Any

import numpy as np

from samdiffsr.masks.regions import Regions
from samdiffsr.masks.segmenters import registry


class Felzenszwalb:
    """Graph-based segmentation, through scikit-image. A partition."""

    def __init__(self, settings: registry.Felzenszwalb, places: registry.Places) -> None:
        self.settings = settings

    def __call__(self, image: np.ndarray, name: str) -> Regions:
        from skimage.segmentation import felzenszwalb

        labels = felzenszwalb(
            image, scale=self.settings.scale, sigma=self.settings.sigma, min_size=self.settings.min_size
        )
        return Regions.from_partition(labels + 1)

    def describe(self) -> dict[str, Any]:
        return dict(self.settings)
