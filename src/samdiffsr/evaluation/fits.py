"""Whether images are large enough to be scored, and metrics whole: found out before anything is trained."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from samdiffsr.evaluation.metrics import METRICS, ImageMetric, NamedMetric
from samdiffsr.evaluation.protocol import Protocol
from samdiffsr.evaluation.recipe import ScoreRecipe

Sized = tuple[str, int, int]  # an image's name, its height and width in pixels


def too_small(images: Iterable[Sized], recipe: ScoreRecipe) -> str:
    """Which of the images of a test set a metric of `recipe` cannot score, and what to do; empty if none."""
    protocol = Protocol.for_scale(recipe.scale, recipe.border)
    needs = {name: METRICS[name] for name in recipe.metrics}
    for image, height, width in images:
        side = min(protocol.crop(np.empty((height, width), bool)).shape)
        for name, metric in needs.items():
            assert isinstance(metric, ImageMetric)
            removed = protocol.border if metric.bordered else 0
            if side < metric.least + 2 * removed:
                border = f" inside a border of {removed}" if removed else ""
                return (
                    f"image {image!r} is {width}x{height}, too small for {name}, which needs {metric.least} "
                    f"pixels a side{border} after the crop to multiples of {protocol.multiple}; leave the "
                    "image out (`exclude`) or the metric"
                )
    return ""


def try_named(recipes: Iterable[ScoreRecipe], weights: Path | None = None) -> None:
    """Build each metric of pyiqa that the configuration defines, from the files in the folder `weights`.

    A metric of which a listed file is not there yet is passed over. Raises UserError naming the file that a
    metric needs and its definition does not list.
    """
    wanted = {name: METRICS[name] for recipe in recipes for name in recipe.metrics}
    for name, metric in wanted.items():
        if isinstance(metric, NamedMetric):
            from samdiffsr.evaluation.image import ImageMetrics, build_named

            usable, absent = ImageMetrics.available([name], weights)
            if not absent:
                build_named(metric, usable)
