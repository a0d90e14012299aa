"""Region features and the rules for overlaps by name, each with where its code is.

The names alone are imported by every recipe; a changed formula concerns only the stages that use it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from samdiffsr.core.registry import Registry


@dataclass(frozen=True)
class Feature:
    """A number, or several, of each region.

    Attributes:
        code: "module:name" of its function.
        of: what the function is given, and gives. "position": height, width and the RoPE axis; a map (H, W)
            or (H, W, C) that does not depend on the image. "pixels": the HR image, (H, W, 3) uint8; such a
            map too. The mean of a map over a region is the region's number. "regions": the `Regions`;
            (K + 1,) or (K + 1, C), of the uncovered pixels and of each mask.
        low, high: between which every number lies. It is for the entry to choose a scale of about 1.
        channels: C, how many numbers.
    """

    code: str
    of: Literal["position", "pixels", "regions"]
    low: float
    high: float
    channels: int = 1


_HERE = "samdiffsr.masks"
FEATURES: Registry[Feature] = Registry(
    "region feature",
    {
        "rope": Feature(f"{_HERE}.positions:rope", "position", -math.sqrt(2), math.sqrt(2)),
        "cosine": Feature(f"{_HERE}.positions:cosine", "position", -1, 1),
        "linear": Feature(f"{_HERE}.positions:linear", "position", 0, 1),
        "centre": Feature(f"{_HERE}.positions:centre", "position", -1, 1, channels=2),
        "area": Feature(f"{_HERE}.features:area", "regions", 0, 1),
        "colour": Feature(f"{_HERE}.features:colour", "pixels", -1, 1, channels=3),
        "contrast": Feature(f"{_HERE}.features:contrast", "pixels", 0, 1),
        "texture": Feature(f"{_HERE}.features:texture", "pixels", 0, 1),
        "category": Feature(f"{_HERE}.features:category", "regions", 0, 1),
    },
)
# name -> an `overlaps.OverlapRule`
OVERLAPS: Registry[str] = Registry(
    "overlap rule",
    {
        "sum": "samdiffsr.masks.overlaps:total",
        "overwrite": "samdiffsr.masks.overlaps:overwrite",
        "smallest": "samdiffsr.masks.overlaps:smallest",
    },
)


def known_position(name: str) -> str:
    """The name of a feature that is a position map; ValueError for another."""
    if FEATURES[FEATURES.known(name)].of != "position" or FEATURES[name].channels != 1:
        raise ValueError(f"{name!r} is no position map; name it among the `features`")
    return name
