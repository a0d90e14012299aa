"""Figure 7: masks over images, one column per quality level."""

from __future__ import annotations

import numpy as np

from samdiffsr.core.errors import UserError
from samdiffsr.data.store import Store
from samdiffsr.masks.regions import Regions
from samdiffsr.masks.statistics import borders
from samdiffsr.masks.store import RegionStore
from samdiffsr.reporting.figures.recipe import MasksRecipe
from samdiffsr.reporting.figures.style import Inputs, Page, page, picture

OPACITY = 0.55
COLUMN_INCHES = 2.4
GOLDEN = (5**0.5 - 1) / 2


def draw(recipe: MasksRecipe, inputs: Inputs) -> Page:
    """A row an image: the image, then its masks at each level.

    Args:
        recipe: levels ({heading, masks}, from left to right); images (names); if empty, `count` of them,
            evenly spread over the data set.
        inputs: hr, and labels: the region store of each level. Paths of the stores' indices (.json).

    Raises:
        UserError: an image or its masks are missing.
    """
    hr = inputs["hr"][0].with_suffix("")
    store = Store(hr)
    regions = [
        (level.heading, level.masks, RegionStore(path.with_suffix("")))
        for level, path in zip(recipe.levels, inputs["labels"], strict=True)
    ]
    if not len(store):
        raise UserError(f"{hr}: holds no image; prepare the data set again")
    chosen = [store.index(name) for name in recipe.images] or _spread(len(store), recipe.count)
    # rows as high as their images: a portrait beside a landscape would leave holes
    shapes = [store.shape(i)[:2] for i in chosen]
    ratios = [height / width for height, width in shapes]
    columns = 1 + len(regions)
    height = COLUMN_INCHES * sum(ratios) + 0.2 * len(chosen) + 0.7
    figure = page(COLUMN_INCHES * columns, height)
    axes = figure.subplots(len(chosen), columns, squeeze=False, height_ratios=ratios)
    for row, i in enumerate(chosen):
        name = store.names[i]
        picture(axes[row, 0], store[i], name if row else f"Image\n{name}")
        for axis, (heading, mask_set, labels) in zip(axes[row, 1:], regions, strict=True):
            masks = labels[labels.index(name)]
            tall, wide = masks.shape
            shown = overlay(store[i][:tall, :wide], masks)
            count_text = f"{masks.n_masks} masks"
            picture(axis, shown, count_text if row else f"{heading}: {mask_set}\n{count_text}")
    return Page(figure, [])


def overlay(image: np.ndarray, regions: Regions) -> np.ndarray:
    """The image under its atoms' colours, their borders white on black; uncovered pixels stay as they are.

    (H, W, 3) uint8 -> the same. Neighbouring labels differ in hue and in lightness, so grey shows them too.
    """
    colours = np.concatenate([np.zeros((1, 3)), _palette(regions.n_atoms)])
    opacity = np.where(regions.labels > 0, OPACITY, 0.0)[..., None]
    out = image * (1 - opacity) + 255 * colours[regions.labels] * opacity
    edge = borders(regions.labels)
    wide = edge.copy()
    wide[1:] |= edge[:-1]
    wide[:, 1:] |= edge[:, :-1]
    out[wide] = 0
    out[edge] = 255
    return np.rint(out).astype(np.uint8)


def _palette(n: int) -> np.ndarray:
    """n colours, (n, 3) in 0..1; successive ones far apart."""
    from matplotlib.colors import hsv_to_rgb

    k = np.arange(n)
    hsv = np.stack([k * GOLDEN % 1, 0.55 + 0.35 * (k % 2), np.array([1.0, 0.75, 0.5])[k % 3]], axis=1)
    return hsv_to_rgb(hsv).reshape(n, 3)


def _spread(n: int, count: int) -> list[int]:
    """At most `count` of n positions, evenly spread."""
    count = min(n, count)
    return [(2 * k + 1) * n // (2 * count) for k in range(count)]
