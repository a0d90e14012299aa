"""Published against measured: the differences that the tables claim, with their intervals, and the values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from samdiffsr.evaluation.compare import CLAIM_FROM
from samdiffsr.evaluation.metrics import METRICS
from samdiffsr.reporting.figures.recipe import ClaimedPair, PublishedRecipe
from samdiffsr.reporting.figures.style import Inputs, Page, intervals, key, looks, message, page
from samdiffsr.reporting.frames import read
from samdiffsr.reporting.tables.differences import COLUMNS
from samdiffsr.reporting.tables.gather import TIDY_COLUMNS, summary
from samdiffsr.reporting.tables.published import read_published

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OTHER = "published (other data, masks, networks)"
POINT = ["pair", "dataset", "mean", "ci_low", "ci_high"]  # of a difference; NaN where there is no interval


def draw(recipe: PublishedRecipe, inputs: Inputs) -> Page:
    """Measured differences, published ones, and measured over published values for the paper's data sets.

    Both kinds of differences share a panel only where the study is comparable; else each has its own.

    inputs: differences and tables (CSVs of the tables' stage), published (paper/published_tables.csv).
    """
    metric, column = recipe.metric, METRICS[recipe.metric]
    differences = read(inputs["differences"], COLUMNS, "a table's differences")
    claimed = measured_differences(differences, recipe.pairs, metric)
    printed = published_differences(read_published(inputs["published"][0]), recipe.pairs, metric)
    values = values_of_both(read(inputs["tables"], TIDY_COLUMNS, "a tidy table"), metric)
    both = pd.concat([claimed, printed])
    if both.empty:
        return message([f"No {column.heading} difference is claimed."])
    names = [name for name in dict.fromkeys(map(pair_name, recipe.pairs)) if name in set(both["pair"])]
    datasets = list(both["dataset"].unique())
    if recipe.comparable:
        panels = [("measured and published", [(claimed, True), (printed, False)])]
    else:
        panels = [("measured", [(claimed, True)]), (OTHER, [(printed, False)])]
    beside = len(values) > 0
    width = 2.6 * (len(panels) + beside) + 2.0
    figure = page(width, 0.3 * len(names) + 1.9)
    grid = figure.subplots(1, len(panels) + beside, squeeze=False)[0]
    for axes, (title, layers) in zip(grid, panels, strict=False):
        _differences(axes, layers, names, datasets)
        axes.set(title=title, xlabel=f"difference in {column.heading}", ylabel="")
        axes.set_yticks(range(len(names)), names if axes is grid[0] else [])
    if beside:
        _values(grid[-1], values, datasets)
        grid[-1].set(
            title="values, a point a method", xlabel=f"published {column.heading}", ylabel="measured"
        )
    handles = key(datasets)
    figure.legend(handles=handles, loc="outside lower center", ncols=min(int(width / 1.2), len(handles)))
    notes = [
        "Filled: measured; open: published, which has no interval. Bars: 95 %, seeds and images both random."
    ]
    if claimed["ci_low"].isna().any():
        notes.append(f"No bar: one seed, or fewer than {CLAIM_FROM} images, so nothing is claimed.")
    if not beside:
        notes.append("This study has none of the paper's data sets: values cannot be laid beside each other.")
    if printed.empty:
        notes.append(f"The paper prints no {column.heading} for these pairs.")
    return Page(figure, notes)


def pair_name(pair: ClaimedPair) -> str:
    """How a pair is called on the axis."""
    return f"{pair.of} − {pair.minus}, x{pair.scale}"


def measured_differences(
    differences: pd.DataFrame, pairs: Iterable[ClaimedPair], metric: str
) -> pd.DataFrame:
    """What the difference files say, in POINT's columns; a pair that several tables claim counts once."""
    named = ["pair", "table", "scale", "of", "minus"]
    asked = pd.DataFrame(
        [(pair_name(pair), pair.table, str(pair.scale), pair.of, pair.minus) for pair in pairs], columns=named
    )
    kept = (differences["metric"] == metric) & (differences["kind"] == "difference")
    found = asked.merge(differences[kept & (differences["mean"] != "")], on=named[1:])
    return _points(found)


def published_differences(printed: pd.DataFrame, pairs: Iterable[ClaimedPair], metric: str) -> pd.DataFrame:
    """The same out of the paper's tables, for all its data sets."""
    mine = printed[printed["metric"] == METRICS[metric].published].astype({"published": float})
    parts = []
    for pair in pairs:
        here = mine[(mine["table"] == pair.table.removeprefix("table")) & (mine["scale"] == str(pair.scale))]
        of, minus = (
            here[here["method"] == name].set_index("dataset")["published"]
            for name in (pair.published_of, pair.published_minus)
        )
        part = (of - minus.reindex(of.index)).dropna().rename("mean").reset_index()
        parts.append(part.assign(pair=pair_name(pair), ci_low="", ci_high=""))
    return _points(pd.concat(parts) if parts else pd.DataFrame(columns=POINT))


def _points(found: pd.DataFrame) -> pd.DataFrame:
    once = found.drop_duplicates(["pair", "dataset"])[POINT].reset_index(drop=True)
    return once.assign(**{name: pd.to_numeric(once[name]) for name in POINT[2:]})


def values_of_both(tidy: pd.DataFrame, metric: str) -> pd.DataFrame:
    """What both the paper and this study have a value for: dataset, published, mean, ci_low, ci_high.

    The interval is Student's over images, from the standard deviation's mean over seeds.
    """
    from scipy.stats import t

    mine = tidy[(tidy["metric"] == metric) & (tidy["mean"] != "") & (tidy["published"] != "")]
    if mine.empty:
        return pd.DataFrame(columns=["dataset", "published", "mean", "ci_low", "ci_high"])
    mine = mine.assign(method=mine["table"] + " " + mine["method"])
    values = summary(mine).droplevel("metric").reset_index()
    by = mine.groupby(["method", "dataset"], sort=False)
    headline = mine[mine["weights"] == by["weights"].transform("first")].astype({"std": float, "n": int})
    by = headline.groupby(["method", "dataset"], sort=False)
    n, sd = by["n"].first().to_numpy(), by["std"].mean().to_numpy()
    half = np.where(n >= CLAIM_FROM, t.ppf(0.975, np.maximum(n - 1, 1)) * sd / np.sqrt(n), np.nan)
    return values.assign(ci_low=values["mean"] - half, ci_high=values["mean"] + half)


def _differences(
    axes: Axes, layers: list[tuple[pd.DataFrame, bool]], names: list[str], datasets: list[str]
) -> None:
    """A line a pair, a point a data set; filled is measured."""
    axes.axvline(0, color="black", linewidth=0.8)
    together = pd.concat([layer for layer, _ in layers])
    shown = [name for name in datasets if name in set(together["dataset"])]
    for layer, filled in layers:
        lower = layer["dataset"].map(shown.index) + 0.5
        y = layer["pair"].map(names.index) + 0.7 * (lower / max(len(shown), 1) - 0.5)
        _dots(axes, layer.assign(line=y), datasets, filled, x="mean", y="line")
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.margins(x=0.12)


def _values(axes: Axes, values: pd.DataFrame, datasets: list[str]) -> None:
    """Measured over published, the line of equality."""
    both = values[["published", "mean"]].to_numpy()
    axes.plot([both.min(), both.max()], [both.min(), both.max()], color="black", linewidth=0.8, zorder=1)
    _dots(axes, values[values["dataset"].isin(datasets)], datasets, True, x="published", y="mean")


def _dots(axes: Axes, points: pd.DataFrame, datasets: list[str], filled: bool, x: str, y: str) -> None:
    import seaborn as sns

    intervals(axes, points, datasets, x=x, y=y)
    before = len(axes.collections)
    sns.scatterplot(
        points, x=x, y=y, hue="dataset", style="dataset", legend=False, ax=axes, s=30, zorder=3,
        **looks(datasets),
    )  # fmt: skip
    for dots in axes.collections[before:]:
        colours = dots.get_facecolor()
        dots.set(edgecolor=colours, linewidth=1.2)
        if not filled:
            dots.set_facecolor("white")
