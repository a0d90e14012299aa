"""Recipes of the image stores, and the setting of config.yaml that they hold."""

from __future__ import annotations

from samdiffsr.core.recipe import Positive, Recipe, Strict
from samdiffsr.data.resize import Rounding


class Degradation(Strict):
    """LR images: MATLAB's antialiased bicubic."""

    rounding: Rounding = "each_axis"
    """When pixels are rounded: after each axis, as MATLAB does with uint8 images, or once at the end."""


class HrRecipe(Recipe):
    """The HR images of one data set.

    Attributes:
        folder: folders of images; a set may be the union of several.
        exclude: names (stems) that are left out, e.g. of images that are test images too.
        images: digest of what the manifests say the set holds (data/manifest.py); None where they do not say.
    """

    folder: tuple[str, ...]
    exclude: tuple[str, ...] = ()
    images: str | None = None


class LrRecipe(Recipe, Degradation):
    """The LR images of one data set.

    Attributes:
        scale: factor by which each side shrinks.
    """

    scale: Positive
