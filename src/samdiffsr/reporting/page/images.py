"""The images of the report's comparisons: which ones, which part of them, lossless and under a cap.

A comparison is one data set at one scale factor: bicubic, every variant (headline weights, first seed), HR.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from samdiffsr.core.files import from_cell
from samdiffsr.core.layout import SAMPLES, Layout, hr_in
from samdiffsr.data.store import Store
from samdiffsr.reporting.frames import read_scores
from samdiffsr.reporting.page.recipe import ComparisonRecipe, Limits
from samdiffsr.sampling.sample_set import SampleSet

TRUTH = "HR (truth)"


def data_uri(image: np.ndarray, kind: Literal["png", "webp"] = "png") -> str:
    """uint8 (H, W, 3) in a data URI. Lossless, since artefacts of a codec would be taken for the method's."""
    file = io.BytesIO()
    options = {"compress_level": 9} if kind == "png" else {"lossless": True}
    Image.fromarray(np.ascontiguousarray(image)).save(file, format=kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


def by_spread(names: Iterable[str], values: Sequence[dict[str, float]]) -> list[str]:
    """The names, that image first whose value differs most between methods (standard deviation).

    values: one a method, image -> value. An image without values comes last; ties keep their order.
    """

    def spread(name: str) -> float:
        found = [method[name] for method in values if name in method]
        return float(np.std(found)) if len(found) > 1 else -1.0

    return sorted(names, key=spread, reverse=True)


def window(images: Sequence[np.ndarray], side: int) -> tuple[slice, slice]:
    """Rows and columns of the part, `side` pixels or less on each side, where the images differ most.

    images: uint8 (H, W, 3) of one size. Differences are measured by the variance of the grey value over the
    images, summed over the part; the top-left one of equal parts.
    """
    total: np.ndarray = np.zeros(images[0].shape[:2])
    squares = np.zeros_like(total)
    for image in images:
        grey = image.mean(axis=2)
        total += grey
        squares += grey**2
    variance = squares / len(images) - (total / len(images)) ** 2
    height, width = min(side, total.shape[0]), min(side, total.shape[1])
    sums = np.pad(variance.round(6), ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    parts = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    top, left = np.unravel_index(np.argmax(parts.round(3)), parts.shape)
    return slice(int(top), int(top) + height), slice(int(left), int(left) + width)


class Comparison:
    """One data set at one scale factor, read from what the sample and score stages left.

    Args:
        results, stores: folders results/<study> and work/stores.
    """

    def __init__(self, recipe: ComparisonRecipe, results: Path, stores: Path) -> None:
        self.recipe, self.hr = recipe, Store(hr_in(stores, recipe.dataset))
        self.samples: list[SampleSet] = []  # of each method
        self.values: list[dict[str, float]] = []  # of each method: image -> PSNR-Y
        place = Layout("", home=str(results))  # of results alone
        for method in recipe.methods:
            run, weights = method.run, method.weights
            manifest = place.samples(run, weights, recipe.dataset) + SAMPLES[0]
            self.samples.append(SampleSet.open(Path(manifest)))
            scores = read_scores([Path(place.scores(run, recipe.dataset))])
            mine = scores[(scores["weights"] == weights) & (scores["metric"] == "psnr_y")].dropna()
            self.values.append(dict(zip(mine["image"].map(from_cell), mine["number"], strict=True)))
        every = self.hr.names or dict.fromkeys(name for samples in self.samples for name in samples.hashes)
        there = [name for name in every if any(samples.has(name) for samples in self.samples)]
        self.names = by_spread(there, self.values)

    def picture(self, name: str, side: int) -> dict[str, Any]:
        """One image by all methods, cut to at most `side` x `side` pixels.

        Raises UserError for a file that is not the one that was sampled.
        """
        images = [samples.read(name) for samples in self.samples]
        height, width = next(image.shape[:2] for image in images if image is not None)
        truth = self.hr[self.hr.index(name)][:height, :width] if name in self.hr.names else None
        images.append(truth)
        rows, columns = window([image for image in images if image is not None], side)
        cut_height, cut_width = rows.stop - rows.start, columns.stop - columns.start
        cut = ""
        if (cut_height, cut_width) != (height, width):
            cut = (
                f"{cut_width} x {cut_height} pixels of {width} x {height}, from column {columns.start}, "
                f"row {rows.start}: where the methods differ most"
            )
        return {
            "name": name,
            "width": cut_width,
            "height": cut_height,
            "cut": cut,
            "values": [f"{method[name]:.2f} dB" if name in method else "" for method in self.values] + [""],
            "files": [None if image is None else data_uri(image[rows, columns]) for image in images],
        }

    def view(self, pictures: list[dict[str, Any]], limits: Limits) -> dict[str, Any]:
        """What the page shows, with a line that says what is left out."""
        methods = self.recipe.methods
        right = next((i for i, method in enumerate(methods) if method.structured), len(methods))
        shown, there = len(pictures), len(self.names)
        why = []
        if there > limits.images:
            why.append(f"at most {limits.images} of a data set, those on which PSNR-Y differs most")
        if shown < min(there, limits.images):
            why.append(f"{limits.megabytes:g} MB for all comparisons")
        return {
            "id": f"{self.recipe.dataset}-x{self.recipe.scale}",
            "title": f"{self.recipe.label} x{self.recipe.scale}",
            "methods": [method.label for method in methods] + [TRUTH],
            "left": 0,
            "right": right,
            "images": pictures,
            "note": f"{shown} of {there} images" + (f" ({'; '.join(why)})" if why else "") + ".",
        }


def comparisons(
    recipes: Iterable[ComparisonRecipe], results: Path, stores: Path, limits: Limits
) -> list[dict[str, Any]]:
    """What the page shows of every data set and scale factor (`Comparison.view`).

    Images are taken in turn from each data set until the next one would
    exceed `megabytes` (of the page, so as base64).
    """
    sets = [Comparison(recipe, results, stores) for recipe in recipes]
    pictures: list[list[dict[str, Any]]] = [[] for _ in sets]
    left = limits.megabytes * 1_000_000
    turns = [
        (i, made.names[turn])
        for turn in range(limits.images)
        for i, made in enumerate(sets)
        if turn < len(made.names)
    ]
    for i, name in turns:
        picture = sets[i].picture(name, limits.side)
        left -= sum(len(uri) for uri in picture["files"] if uri)
        if left < 0:
            break
        pictures[i].append(picture)
    return [made.view(shown, limits) for made, shown in zip(sets, pictures, strict=True)]
