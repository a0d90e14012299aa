"""Figures 1B and 5: crops of every method's image beside the whole image, with PSNR-Y of each crop."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from samdiffsr.core.errors import UserError
from samdiffsr.reporting.figures.readers import Samples, luma, psnr_y
from samdiffsr.reporting.figures.recipe import CropsRecipe, Shown
from samdiffsr.reporting.figures.style import Inputs, Page, page, picture

COLUMNS = 4  # crops in a row at most
INCHES = 1.15  # side of a crop
BOX = "#ffd400"
EDGE = 8  # HR pixels at the border that crops found automatically keep away from
Box = tuple[int, int, int, int]  # left, top, width, height in HR pixels


def draw(recipe: CropsRecipe, inputs: Inputs) -> Page:
    """One band a crop: the truth with the crop's box, and the crop of the truth and of each method.

    Args:
        recipe: rows, datasets, scale; crops ({dataset, image, box}); if none, `count` of `size` are found.
        inputs: manifests, hr.

    Raises:
        UserError: a crop outside its image, an unknown image.
    """
    from matplotlib.patches import Rectangle

    samples = Samples(recipe, inputs["manifests"], inputs["hr"])
    chosen: list[tuple[str, str, Box]] = [(c.dataset, c.image, c.box) for c in recipe.crops]
    notes = []
    if not chosen:
        chosen = find_crops(samples, recipe.datasets, recipe.size, recipe.count)
        notes.append("Crops were found automatically: where the methods' brightness differs most.")
    cells = 1 + len(samples.rows)
    lines = -(-cells // COLUMNS)
    columns = -(-cells // lines)
    height = lines * (INCHES + 0.32)
    figure = page(INCHES * columns + 1.35 * height, height * len(chosen) + 0.7)
    bands = figure.subfigures(len(chosen), 1, squeeze=False)[:, 0]
    missing = []
    for band, (dataset, name, box) in zip(bands, chosen, strict=True):
        known = samples.known(dataset)
        images = [samples.restored(row, dataset, name) for row in samples.rows]
        whole = samples.truth(dataset, name) if known else _first(images, f"{dataset}/{name}")
        check_box(box, whole, f"{dataset}/{name}")
        left, right = band.subfigures(1, 2, width_ratios=[1.35 * height, INCHES * columns])
        axes = left.subplots()
        picture(axes, whole, f"{'HR' if known else 'No truth'}: {name}")
        x, y, w, h = box
        for colour, wide in (("black", 2.6), (BOX, 1.3)):  # seen on any background
            axes.add_patch(Rectangle((x, y), w, h, fill=False, edgecolor=colour, linewidth=wide))
        grid = right.subplots(lines, columns, squeeze=False).ravel()
        for axis in grid[cells:]:
            axis.set_axis_off()
        if known:
            picture(grid[0], cut(whole, box), "HR\n")
        else:
            grid[0].set_axis_off()
        for axis, row, image in zip(grid[1:], samples.rows, images, strict=False):
            if image is None:
                picture(axis, np.full((h, w, 3), 255, np.uint8), f"{row.label}\n")
                axis.text(0.5, 0.5, "no image", ha="center", va="center", transform=axis.transAxes)
                missing.append(row.label)
                continue
            crop = cut(image, box)
            picture(
                axis, crop, f"{row.label}\n" + (f"{psnr_y(crop, cut(whole, box)):.2f} dB" if known else "")
            )
    if any(samples.known(dataset) for dataset, _, _ in chosen):
        notes.append("In dB: PSNR-Y of the crop, not of the image.")
    if missing:
        notes.append(f"Without an image here: {', '.join(dict.fromkeys(missing))}.")
    return Page(figure, notes)


def _first(images: Iterable[np.ndarray | None], name: str) -> np.ndarray:
    """The first image that there is."""
    for image in images:
        if image is not None:
            return image
    raise UserError(f"{name}: no method has restored it, and its truth is not known: nothing to show")


def check_box(box: Box, image: np.ndarray, name: str) -> None:
    """UserError unless the box lies in the image."""
    x, y, w, h = box
    height, width = image.shape[:2]
    if x + w > width or y + h > height:
        raise UserError(
            f"crop {list(box)} (left, top, width, height) reaches outside {name}: {width} x {height} pixels"
        )


def cut(image: np.ndarray, box: Box) -> np.ndarray:
    """The box's part of an image."""
    x, y, w, h = box
    return image[y : y + h, x : x + w]


def find_crops(
    samples: Samples, datasets: Iterable[Shown], size: int, count: int
) -> list[tuple[str, str, Box]]:
    """The `count` places, of different images as far as there are as many, where the methods differ most.

    That is where the standard deviation of luma over methods, averaged over the crop, is largest. Bicubic has
    no vote: it differs from everything along every edge. UserError if no image has two methods.
    """
    found: dict[tuple[str, str], list[tuple[float, Box]]] = {}
    for dataset in (d.name for d in datasets):
        for name in samples.names(dataset):
            images = [samples.restored(r, dataset, name) for r in samples.rows if r.kind != "bicubic"]
            lumas = [luma(image) for image in images if image is not None]
            if len(lumas) > 1:
                found[dataset, name] = _places(np.std(lumas, axis=0), size, count)
    if not found:
        raise UserError("no test image has been restored by two methods: nothing to compare in crops")
    # the best of each image first, then the second best, ...
    ranked = sorted(
        (nth, -score, key, box) for key, places in found.items() for nth, (score, box) in enumerate(places)
    )
    return [(*key, box) for _, _, key, box in ranked[:count]]


def _places(difference: np.ndarray, size: int, count: int) -> list[tuple[float, Box]]:
    """Up to `count` boxes that do not overlap, with the mean of `difference` in each, best first.

    They keep away from the image's border where they can: methods differ there as nowhere else.
    """
    height, width = difference.shape
    w, h = min(size, width), min(size, height)
    table = np.pad(difference, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    mean = (table[h:, w:] - table[:-h, w:] - table[h:, :-w] + table[:-h, :-w]) / (w * h)
    top, left = min(EDGE, (height - h) // 2), min(EDGE, (width - w) // 2)
    inside = np.full_like(mean, -np.inf)
    inside[top : len(mean) - top, left : mean.shape[1] - left] = 0
    mean = mean + inside
    places: list[tuple[float, Box]] = []
    while len(places) < count and (mean > -np.inf).any():
        y, x = (int(n) for n in np.unravel_index(mean.argmax(), mean.shape))
        places.append((float(mean[y, x]), (x, y, w, h)))
        mean[max(0, y - h + 1) : y + h, max(0, x - w + 1) : x + w] = -np.inf
    return places
