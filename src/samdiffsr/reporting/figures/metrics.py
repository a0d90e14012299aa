"""Figures 2, 8 and 9: metric against metric, a point a method, an arrow to the better corner."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations
from typing import TYPE_CHECKING

import pandas as pd

from samdiffsr.evaluation.metrics import METRICS
from samdiffsr.reporting.figures.recipe import MetricsRecipe
from samdiffsr.reporting.figures.style import ARROW, Inputs, Page, key, looks, message, page
from samdiffsr.reporting.frames import read
from samdiffsr.reporting.tables.gather import TIDY_COLUMNS, summary
from samdiffsr.reporting.tables.published import read_published

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INCHES = (2.15, 1.9)  # of a panel
ACROSS = (3, 6)  # panels: with few data sets, with many
ROOM = 0.22  # share of a panel's width and height that is kept free beyond the best values, for the word


def draw(recipe: MetricsRecipe, inputs: Inputs) -> Page:
    """Panels for each data set, one a pair of metrics; then the paper's values in panels of their own.

    Measured and published values share no axes: the scale of the paper's artifact score is not known.

    Args:
        inputs: tables (the tidy tables), published (paper/published_tables.csv).
    """
    rows = read(inputs["tables"], TIDY_COLUMNS, "a tidy table")
    printed = read_published(inputs["published"][0])
    metrics, against = recipe.metrics, recipe.against
    pairs = [(m, against) for m in metrics] if against else list(combinations(metrics, 2))
    asked = [*([against] if against else []), *metrics]
    groups = [(d.label, measured(rows, d.label)) for d in recipe.datasets]
    other = "published" if recipe.comparable else "published (other data, masks, networks)"
    groups += [(f"{name}, {other}", published(printed, recipe, name, asked)) for name in recipe.published]
    panels = [(title, values, [p for p in pairs if len(_both(values, p))]) for title, values in groups]
    panels = [panel for panel in panels if panel[2]]
    notes = absent(rows, asked, [d.label for d in recipe.datasets])
    if not panels:
        return message(notes)
    shown = [_both(values, pair) for _, values, kept in panels for pair in kept]
    methods = list(dict.fromkeys(method for frame in shown for method in frame.index))
    columns = ACROSS[len(panels) > 2]
    lines = [-(-len(kept) // columns) for _, _, kept in panels]
    words = int(columns * INCHES[0] / 1.3)  # of a line of the legend
    height = INCHES[1] * sum(lines) + 0.25 * len(panels) + 0.17 * -(-len(methods) // words) + 0.9
    figure = page(INCHES[0] * columns, height)
    bands = figure.subfigures(len(panels), 1, height_ratios=lines, squeeze=False)[:, 0]
    for band, line, (title, values, kept) in zip(bands, lines, panels, strict=True):
        band.suptitle(title, fontsize=8)
        grid = band.subplots(line, columns, squeeze=False).ravel()
        for axes in grid[len(kept) :]:
            axes.set_axis_off()
        for axes, pair in zip(grid, kept, strict=False):
            _panel(axes, _both(values, pair), methods)
    figure.legend(handles=key(methods), loc="outside lower center", ncols=words)
    return Page(figure, notes)


def measured(rows: pd.DataFrame, dataset: str) -> pd.DataFrame:
    """What the tidy tables have for a data set (its label): methods x metrics, in the columns' units."""
    mine = rows[rows["dataset"] == dataset].drop_duplicates(["method", "metric", "run", "weights"])
    return _in_units(summary(mine)["mean"].droplevel("dataset"))


def published(
    printed: pd.DataFrame, recipe: MetricsRecipe, dataset: str, metrics: Iterable[str]
) -> pd.DataFrame:
    """The paper's values for one of its data sets: methods x metrics, in the columns' units."""
    mine = printed[
        ("table" + printed["table"]).isin(recipe.tables)
        & (printed["scale"] == str(recipe.scale))
        & (printed["dataset"] == dataset)
    ]
    found = {}
    for metric in metrics:
        named = mine[mine["metric"] == METRICS[metric].published]
        found[metric] = named.drop_duplicates("method").set_index("method")["published"].astype(float)
    return _in_units(pd.concat(found, names=["metric"]).swaplevel())


def _in_units(values: pd.Series) -> pd.DataFrame:
    """(method, metric) -> value as methods x metrics, methods in their order."""
    wide = values.dropna().unstack("metric").reindex(values.index.unique("method"))
    return wide.mul([METRICS[str(metric)].factor for metric in wide])


def absent(rows: pd.DataFrame, metrics: Iterable[str], datasets: Iterable[str]) -> list[str]:
    """A sentence for each metric and each data set that has no value at all, with the tables' reason."""
    here = rows[rows["mean"] != ""]
    here = here[here["dataset"].isin(list(datasets))]
    notes = []
    for metric in metrics:
        if metric not in set(here["metric"]):
            mine = rows[(rows["metric"] == metric) & (rows["variant"] != "")]
            notes.append(sentence_absent(metric, mine["why_empty"]))
    for dataset, reasons in rows.groupby("dataset", sort=False)["why_empty"]:
        left_out = reasons[reasons.str.contains("left out")]
        if len(left_out) and dataset not in set(here["dataset"]):
            notes.append(f"{dataset}: {min(left_out)}.")
    return notes


def sentence_absent(metric: str, reasons: Iterable[str]) -> str:
    """That a metric has no value, and why."""
    why = "; ".join(sorted(set(reasons) - {"not scored", ""})) or "not scored"
    return f"{METRICS[metric].heading} is not measured: {why}."


def _both(values: pd.DataFrame, pair: tuple[str, str]) -> pd.DataFrame:
    """The methods that have both metrics; those alone are the columns, the horizontal one first."""
    return values.reindex(columns=list(pair)).dropna()


def _panel(axes: Axes, values: pd.DataFrame, methods: list[str]) -> None:
    """One pair of metrics."""
    import seaborn as sns

    across, up = values.columns
    named = values.rename_axis("method").reset_index()
    sns.scatterplot(
        named, x=across, y=up, hue="method", style="method", legend=False, ax=axes, s=30,
        edgecolor="black", linewidth=0.4, zorder=3, **looks(methods),
    )  # fmt: skip
    axes.set(xlabel=METRICS[across].heading, ylabel=METRICS[up].heading)
    axes.margins(0.08)
    axes.locator_params(nbins=5)
    _point_to_better(axes, METRICS[across].better, METRICS[up].better)


def _point_to_better(axes: Axes, across: int, up: int) -> None:
    """An arrow to the better corner with the word at its head, beyond the best values of both metrics."""
    for better, limits, widen in ((across, axes.get_xlim, axes.set_xlim), (up, axes.get_ylim, axes.set_ylim)):
        low, high = limits()
        room = ROOM / (1 - ROOM) * (high - low)
        widen(low - room * (better < 0), high + room * (better > 0))
    arrow = {"arrowstyle": "-|>,head_width=0.35,head_length=0.5", "color": ARROW, "alpha": 0.4, "lw": 2}
    head, tail = (0.5 + 0.36 * across, 0.5 + 0.4 * up), (0.5 - 0.3 * across, 0.5 - 0.3 * up)
    axes.annotate("", xy=head, xytext=tail, xycoords="axes fraction", arrowprops=arrow, zorder=0)
    sides = {-1: ("left", "bottom"), 0: ("center", "center"), 1: ("right", "top")}
    axes.text(
        0.5 + 0.48 * across, 0.5 + 0.48 * up, "better", ha=sides[across][0], va=sides[up][1], fontsize=6,
        color=ARROW, transform=axes.transAxes,
    )  # fmt: skip
