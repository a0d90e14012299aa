"""The position maps and the rules for overlaps by name, each with where its code is.

The names alone are imported by every recipe; a changed formula concerns only the stages that use it.
"""

from __future__ import annotations

from samdiffsr.core.registry import Registry

# name -> function of (height, width, rope_axis) that gives a (height, width) float64 map
POSITIONS: Registry[str] = Registry(
    "position encoding",
    {name: f"samdiffsr.masks.positions:{name}" for name in ("rope", "cosine", "linear")},
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
