"""Gain over the control against what the masks are like: does a better mask restore a better image?"""

from __future__ import annotations

import pandas as pd

from samdiffsr.evaluation.metrics import METRICS
from samdiffsr.masks.statistics import SUMMARY_COLUMNS
from samdiffsr.reporting.figures.recipe import MaskGainRecipe
from samdiffsr.reporting.figures.style import Inputs, Page, intervals, key, looks, message, page
from samdiffsr.reporting.frames import read, read_scores
from samdiffsr.reporting.tables.differences import difference

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

    inputs: scores (CSVs of the score stage), statistics (of the masks).
    """
    import seaborn as sns

    gains = _gains(recipe, read_scores(inputs["scores"]))
    described = _described(recipe, read(inputs["statistics"], SUMMARY_COLUMNS, "statistics of masks"))
    different = described.nunique()
    notes = [
        f"{text}: {'; '.join(QUALITIES[name] for name in recipe.qualities if different[name] == few)}."
        for text, few in (("Not known for these images", 0), ("The same at all levels", 1))
        if (different == few).any()
    ]
    shown = [quality for quality in recipe.qualities if different[quality] > 1]
    if gains.empty or not shown:
        return message([*notes, "No scores, or no masks described."])
    if gains["ci_low"].isna().any():
        notes.append("No interval: one training seed, or too few images; a point alone claims nothing.")
    if gains["ci_low"].notna().any():
        notes.append("Intervals: 95 %, seeds and images both random.")
    points = gains.join(described, on="level")
    datasets = [dataset.label for dataset in recipe.datasets]
    figure = page(max(5.0, 2.3 * len(shown) + 0.3), 3.5)
    grid = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for axes, quality in zip(grid, shown, strict=True):
        known = points.dropna(subset=[quality])
        axes.axhline(0, color="black", linewidth=0.8)
        intervals(axes, known, datasets, x=quality, y="mean")
        sns.scatterplot(
            known, x=quality, y="mean", hue="dataset", style="dataset", legend=False, ax=axes, s=30, zorder=3,
            linewidth=0, **looks(datasets),
        )  # fmt: skip
        for _, point in known[known["dataset"] == datasets[0]].iterrows():
            place = (point[quality], point["mean"])
            axes.annotate(point["level"], place, xytext=(5, 5), textcoords="offset points")
        axes.set_xlabel(QUALITIES[quality])
        axes.margins(0.25)
    entry = METRICS[recipe.metric]
    unit = f" ({entry.unit})" if entry.unit else ""
    grid[0].set_ylabel(f"{entry.label} minus {recipe.control.label}'s{unit}")
    seen = [name for name in datasets if name in set(points["dataset"])]
    handles = [handle for handle in key(datasets) if handle.get_label() in seen]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return Page(figure, notes)


def _gains(recipe: MaskGainRecipe, scores: pd.DataFrame) -> pd.DataFrame:
    """A row a data set and level: mean, ci_low and ci_high (NaN where nothing is claimed)."""
    rows = []
    for dataset in recipe.datasets:
        for row in recipe.rows:
            found = difference(scores, row, recipe.control, dataset.name, recipe.metric)
            if found and "mean" in found:
                kept = {name: found[name] for name in ("mean", "ci_low", "ci_high")}
                rows.append({"dataset": dataset.label, "level": row.level, **kept})
    columns = ["dataset", "level", "mean", "ci_low", "ci_high"]
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(columns[2:], float))


def _described(recipe: MaskGainRecipe, statistics: pd.DataFrame) -> pd.DataFrame:
    """Levels x qualities; masks that were found on LR images have one row a scale factor."""
    usable = statistics[(statistics["found_on"] != "lr") | (statistics["scale"] == str(recipe.scale))]
    rows = {level: _first(usable[usable["level"].map(str.split).map(lambda of: level in of)])  # noqa: B023
            for level in (row.level for row in recipe.rows)}  # fmt: skip
    frame = pd.DataFrame(rows, index=list(SUMMARY_COLUMNS)).T
    return frame[list(recipe.qualities)].apply(pd.to_numeric)


def _first(rows: pd.DataFrame) -> pd.Series:
    return rows.iloc[0] if len(rows) else pd.Series(dtype=str)
