"""The squared error of a sample, split into that of the mean image and the variance: structure and noise."""

from __future__ import annotations

import pandas as pd

from samdiffsr.evaluation.metrics import METRICS
from samdiffsr.reporting.figures.recipe import SplitRecipe
from samdiffsr.reporting.figures.spec import SPLIT
from samdiffsr.reporting.figures.style import COLOURS, Inputs, Page, message, page
from samdiffsr.reporting.frames import read_scores

PARTS = dict(zip(SPLIT, ("", "////"), strict=True))  # metric -> hatch, for grey


def draw(recipe: SplitRecipe, inputs: Inputs) -> Page:
    """A panel for each data set, a bar for each method; both parts are means over images, then over seeds.

    inputs: scores (CSVs of several images of each LR image).
    """
    means = _means(recipe, read_scores(inputs["scores"]))
    if means.empty:
        return message(["No scores of several samples."])
    datasets = [dataset for dataset in recipe.datasets if dataset.label in set(means["dataset"])]
    labels = [row.label for row in recipe.rows if row.label in set(means["method"])]
    figure = page(max(4.5, 3.2 * len(datasets)), 1.3 + 0.32 * len(labels))
    grid = figure.subplots(1, len(datasets), sharey=True, squeeze=False)[0]
    for axes, dataset in zip(grid, datasets, strict=True):
        shown = means[means["dataset"] == dataset.label].set_index("method").reindex(labels)
        left = pd.Series(0.0, index=labels)
        for number, (metric, hatch) in enumerate(PARTS.items()):
            axes.barh(
                labels, shown[metric], left=left, label=METRICS[metric].label, color=COLOURS[number],
                hatch=hatch, edgecolor="white", height=0.7,
            )  # fmt: skip
            left = left + shown[metric]
        for label, total in left.dropna().items():
            axes.annotate(
                f"{total:.1f}", (total, label), xytext=(3, 0), textcoords="offset points", va="center"
            )
        axes.set(title=dataset.label, xlabel="grey levels$^2$")
        axes.set_xlim(right=1.3 * left.max())  # room for the numbers
    grid[0].invert_yaxis()
    handles, names = grid[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names))
    notes = [
        "A whole bar is the error of one sample, which PSNR-Y measures.",
        "The mean of infinitely many samples has the first part alone.",
    ]
    return Page(figure, notes)


def _means(recipe: SplitRecipe, scores: pd.DataFrame) -> pd.DataFrame:
    """A row a data set and method: the mean of each part over images, then over seeds."""
    rows = []
    for dataset in recipe.datasets:
        for row in recipe.rows:
            own = scores[
                (scores["dataset"] == dataset.name)
                & scores["run"].isin(row.runs)
                & (scores["weights"] == row.weights[0])
                & scores["metric"].isin(PARTS)
            ].dropna(subset=["number"])
            found = own.groupby(["metric", "run"])["number"].mean().groupby("metric").mean()
            if set(found.index) == set(PARTS):
                rows.append({"dataset": dataset.label, "method": row.label, **found})
    return pd.DataFrame(rows, columns=["dataset", "method", *PARTS])
