"""Figure 6: artifact maps after LDL, all with one colour scale."""

from __future__ import annotations

import numpy as np

from samdiffsr.evaluation.artifact import artifact_map
from samdiffsr.reporting.figures.readers import Samples
from samdiffsr.reporting.figures.recipe import ArtifactsRecipe
from samdiffsr.reporting.figures.style import Inputs, Page, message, page, picture

INCHES = 1.5
TOP = 99.0  # percentile of all maps that has the brightest colour


def draw(recipe: ArtifactsRecipe, inputs: Inputs) -> Page:
    """A row an image: the truth, then each method's map; bright is strong.

    Args:
        recipe: rows, datasets, scale; images (names), or none: the `count` whose scores differ most by ratio.
        inputs: manifests, hr.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import PowerNorm
    from matplotlib.ticker import MaxNLocator

    samples = Samples(recipe, inputs["manifests"], inputs["hr"])
    places = [
        (dataset.name, name)
        for dataset in recipe.datasets
        if samples.known(dataset.name)
        for name in samples.names(dataset.name)
        if not recipe.images or name in recipe.images
    ]
    if not recipe.images:
        places = sorted(places, key=lambda place: _contrast(_maps(samples, *place)))[: recipe.count]
    maps = {place: each for place in places if (each := _maps(samples, *place))}
    if not maps:
        wanted = f" of {', '.join(recipe.images)}" if recipe.images else ""
        return message([f"No method has restored an image{wanted} in the data sets tested on."])
    labels = [row.label for row in samples.rows]
    top = float(
        np.percentile(np.concatenate([m.ravel() for each in maps.values() for m in each.values()]), TOP)
    )
    norm = PowerNorm(0.5, vmin=0, vmax=top or 1.0, clip=True)  # the root: weak artifacts are seen too
    truths = [samples.truth(*place) for place in maps]
    ratios = [truth.shape[0] / truth.shape[1] for truth in truths]
    figure = page(INCHES * (1 + len(labels)) + 0.5, sum(INCHES * r + 0.35 for r in ratios) + 0.9)
    axes = figure.subplots(len(maps), 1 + len(labels), squeeze=False, height_ratios=ratios)
    missing = []
    for row, ((_, name), each) in enumerate(maps.items()):
        picture(axes[row, 0], truths[row], f"HR: {name}\n")
        for axis, label in zip(axes[row, 1:], labels, strict=True):
            if label not in each:
                axis.set_axis_off()
                axis.text(0.5, 0.5, f"{label}:\nno image", ha="center", va="center", transform=axis.transAxes)
                missing.append(label)
                continue
            picture(axis, each[label], f"{label}\n{100 * each[label].mean():.3f}", cmap="inferno", norm=norm)
    bar = figure.colorbar(
        ScalarMappable(norm, "inferno"), ax=axes, shrink=0.8, aspect=30, pad=0.01, extend="max"
    )
    bar.locator = MaxNLocator(4)
    bar.set_label("artifact strength (one scale for all)")
    notes = [
        "Over each map its score, 100 x the mean, as in Table 3: compare ratios between methods, not values."
    ]
    if missing:
        notes.append(f"Without an image here: {', '.join(dict.fromkeys(missing))}.")
    return Page(figure, notes)


def _maps(samples: Samples, dataset: str, name: str) -> dict[str, np.ndarray]:
    """Label -> artifact map, of the methods that have this image."""
    truth = samples.truth(dataset, name)
    images = {row.label: samples.restored(row, dataset, name) for row in samples.rows}
    return {label: artifact_map(image, truth) for label, image in images.items() if image is not None}


def _contrast(maps: dict[str, np.ndarray]) -> float:
    """Ranks images: the smaller, the more the methods' scores differ."""
    scores = [each.mean() for each in maps.values()] or [1.0]
    return -max(scores) / (min(scores) or 1e-12)
