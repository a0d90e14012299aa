"""Gain over the control against what the masks are like: does a better mask restore a better image?"""

from __future__ import annotations

from samdiffsr.evaluation.metrics import METRICS
from samdiffsr.masks.statistics import SUMMARY_COLUMNS
from samdiffsr.reporting.figures.readers import read_rows
from samdiffsr.reporting.figures.recipe import MaskGainRecipe
from samdiffsr.reporting.figures.style import Inputs, Page, look, message, page
from samdiffsr.reporting.tables.differences import difference
from samdiffsr.reporting.tables.gather import read_scores

QUALITIES = {
    "masks_mean": "masks an image",
    "area_q50": "median area of a mask (share)",
    "uncovered": "share of pixels in no mask",
    "uninformative_patches": "share of patches with one region",
    "covering": "covering of people's regions",
    "vi": "variation of information (bits)",
    "boundary_f": "boundary F-measure",
}


def draw(recipe: MaskGainRecipe, inputs: Inputs) -> Page:
    """A panel for each statistic of the masks; a point a data set and quality level, with its 95 % interval.

    Args:
        recipe: rows (the levels' variants, each with its `level`); control (a row); metric; qualities
            (keys of QUALITIES); datasets; scale.
        inputs: scores (CSVs of the score stage), statistics (of the masks).
    """
    scores = read_scores(inputs["scores"])
    statistics = read_rows(inputs["statistics"], SUMMARY_COLUMNS)
    metric, control = recipe.metric, recipe.control
    gains, notes = {}, []
    for dataset in recipe.datasets:
        for row in recipe.rows:
            found = difference(scores, row, control, dataset.name, metric)
            if found and "mean" in found:
                gains[dataset.label, row.label] = found
    described = {row.label: _statistics(statistics, row.level, recipe.scale) for row in recipe.rows}
    values = {q: {row.get(q, "") for row in described.values()} for q in recipe.qualities}
    columns = [q for q in recipe.qualities if len(values[q] - {""}) > 1]
    for text, few in (("Not known for these images", 0), ("The same at all levels", 1)):
        left_out = [QUALITIES[q] for q in recipe.qualities if len(values[q] - {""}) == few]
        if left_out:
            notes.append(f"{text}: {'; '.join(left_out)}.")
    if not gains or not columns:
        return message([*notes, "No scores, or no masks described."])
    if any(found["ci_low"] is None for found in gains.values()):
        notes.append("No interval: one training seed, or too few images; a point alone claims nothing.")
    if any(found["ci_low"] is not None for found in gains.values()):
        notes.append("Intervals: 95 %, seeds and images both random.")
    figure = page(max(5.0, 2.3 * len(columns) + 0.3), 3.5)
    grid = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    datasets = [d.label for d in recipe.datasets]
    levels = {row.label: row.level for row in recipe.rows}
    for axes, quality in zip(grid, columns, strict=True):
        axes.axhline(0, color="black", linewidth=0.8)
        for (dataset, label), found in gains.items():
            x = described[label].get(quality, "")
            if not x:
                continue
            style = look(datasets.index(dataset))
            low, high = found.get("ci_low"), found.get("ci_high")
            bars = None if low is None else [[found["mean"] - low], [high - found["mean"]]]
            axes.errorbar(
                float(x), found["mean"], yerr=bars, linestyle="none", capsize=2,
                label=dataset, **style,
            )  # fmt: skip
            if dataset == datasets[0]:
                axes.annotate(
                    levels[label], (float(x), found["mean"]), xytext=(5, 5), textcoords="offset points"
                )
        axes.set_xlabel(QUALITIES[quality])
        axes.margins(0.25)
    name, unit = METRICS[metric].label, METRICS[metric].unit
    grid[0].set_ylabel(f"{name} minus {control.label}'s{f' ({unit})' if unit else ''}")
    handles, labels = grid[0].get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    figure.legend(once.values(), once, loc="outside lower center", ncols=max(1, len(once)))
    return Page(figure, notes)


def _statistics(rows: list[dict[str, str]], level: str, scale: int) -> dict[str, str]:
    """The row of a level's masks; those found on LR images have one a scale factor."""
    mine = [r for r in rows if level in r["level"].split()]
    return next((r for r in mine if r["found_on"] != "lr" or r["scale"] == str(scale)), {})
