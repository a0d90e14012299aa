"""Whether images are large enough to be scored, and metrics whole: found out before anything is trained."""

from __future__ import annotations

from collections.abc import Iterable

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


def try_named(recipes: Iterable[ScoreRecipe]) -> None:
    """Build each metric of pyiqa that is defined without weight files.

    Raises UserError naming the file that a metric needs all the same.
    """
    wanted = (METRICS[name] for recipe in recipes for name in recipe.metrics)
    bare = {m.identity: m for m in wanted if isinstance(m, NamedMetric) and not m.weights}
    if bare:
        from samdiffsr.evaluation.networks import build_named
    for metric in bare.values():
        build_named(metric.pyiqa, {}, **dict(metric.options))
