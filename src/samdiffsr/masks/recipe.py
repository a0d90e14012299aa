"""Recipes of the mask stages, and the choices of config.yaml that they hold."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator

from samdiffsr.core.recipe import Positive, Recipe
from samdiffsr.masks.registry import FEATURES, OVERLAPS, Feature, known_position
from samdiffsr.masks.segmenters.registry import AnySegmenter

Position = Annotated[str, AfterValidator(known_position)]
FeatureName = Annotated[str, AfterValidator(FEATURES.known)]
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
        features: what is known of a region, one after the other; empty: its position alone.
    """

    position: Position = "rope"
    rope_axis: Literal["width", "height"] = "width"  # the sequence axis; the released code: height
    mean_over: Literal["region", "image"] = "region"  # the released code: image
    overlap: Overlap = "sum"  # the released code: overwrite
    uncovered: Literal["zero", "own_region"] = "zero"
    features: tuple[FeatureName, ...] = ()

    later = ("features",)

    @property
    def named(self) -> dict[str, Feature]:
        """The features by name, in their order."""
        return {name: FEATURES[name] for name in self.features or (self.position,)}

    @property
    def channels(self) -> int:
        """Numbers a region."""
        return sum(feature.channels for feature in self.named.values())

    @property
    def sees_images(self) -> bool:
        """Whether a feature is one of the HR image's pixels."""
        return any(feature.of == "pixels" for feature in self.named.values())

    @property
    def codes(self) -> list[str]:
        """Where the code of its choices is."""
        return [*(feature.code for feature in self.named.values()), OVERLAPS[self.overlap]]


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
