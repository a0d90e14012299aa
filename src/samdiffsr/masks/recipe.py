"""Recipes of the mask stages, and the choices of config.yaml that they hold."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator

from samdiffsr.core.recipe import Positive, Recipe
from samdiffsr.masks.registry import OVERLAPS, POSITIONS
from samdiffsr.masks.segmenters.registry import AnySegmenter

Position = Annotated[str, AfterValidator(POSITIONS.known)]
Overlap = Annotated[str, AfterValidator(OVERLAPS.known)]


class MaskRecipe(Recipe):
    """The region maps of one mask set."""

    image: Literal["hr", "lr"]
    """The image to segment. Regions found on the LR image are enlarged to the size of the HR image."""
    segmenter: AnySegmenter
    """Kind and settings of the segmenter."""


class Encoding(Recipe):
    """How regions become values (paper, section 4.2); the defaults are the paper's text.

    The released code is Encoding(rope_axis="height", mean_over="image", overlap="overwrite").

    Attributes:
        position, rope_axis: see `masks.positions`.
        mean_over, overlap, uncovered: see `masks.encode.region_values`.
    """

    position: Position = "rope"
    rope_axis: Literal["width", "height"] = "width"  # the sequence axis; the released code: height
    mean_over: Literal["region", "image"] = "region"  # the released code: image
    overlap: Overlap = "sum"  # the released code: overwrite
    uncovered: Literal["zero", "own_region"] = "zero"

    @property
    def codes(self) -> list[str]:
        """Where the code of its choices is."""
        return [POSITIONS[self.position], OVERLAPS[self.overlap]]


class StatisticsRecipe(Recipe):
    """Statistics of one region store.

    Attributes:
        study, level, masks, dataset: text that names the summary's row.
        scale, patch: the training patches that are looked at: LR's scale factor, HR pixels a side.
    """

    study: str
    level: str
    masks: str
    dataset: str
    scale: Positive
    patch: Positive
