"""Figures 2, 8 and 9: metric against metric, a point a method, an arrow to the better corner."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations
from typing import Any

from samdiffsr.evaluation.metrics import METRICS
from samdiffsr.reporting.figures.readers import read_rows
from samdiffsr.reporting.figures.recipe import MetricsRecipe
from samdiffsr.reporting.figures.style import ARROW, Inputs, Page, look, message, page
from samdiffsr.reporting.tables.gather import TIDY_COLUMNS, read_published

INCHES = (2.15, 1.9)  # of a panel
ACROSS = (3, 6)  # panels: with few data sets, with many
Points = dict[str, dict[str, float]]  # method -> metric -> value, in the column's unit


def draw(recipe: MetricsRecipe, inputs: Inputs) -> Page:
    """Panels for each data set, one a pair of metrics; then the paper's values in panels of their own.

    Measured and published values share no axes: the scale of the paper's artifact score is not known.

    Args:
        recipe: metrics; `against`, one that is on every vertical axis, or "" for all pairs; datasets; scale;
            published ({dataset, tables}): the paper's data sets to show, "" for none.
        inputs: tables (the tidy tables), published (paper/published_tables.csv).
    """
    rows = read_rows(inputs["tables"], TIDY_COLUMNS)
    printed = read_published(inputs["published"][0])
    metrics, against = recipe.metrics, recipe.against
    pairs = [(m, against) for m in metrics] if against else list(combinations(metrics, 2))
    asked = [*([against] if against else []), *metrics]
    groups = [(d.label, measured(rows, d.label)) for d in recipe.datasets]
    other = "published" if recipe.comparable else "published (other data, masks, networks)"
    groups += [
        (f"{name}, {other}", published(printed, recipe.tables, str(recipe.scale), name, asked))
        for name in recipe.published
    ]
    groups = [(title, points, [p for p in pairs if _both(points, p)]) for title, points in groups]
    groups = [group for group in groups if group[2]]
    notes = absent(rows, asked, [d.label for d in recipe.datasets])
    if not groups:
        return message(notes)
    methods = list(dict.fromkeys(m for _, points, kept in groups for p in kept for m in _both(points, p)))
    columns = ACROSS[len(groups) > 2]
    lines = [-(-len(kept) // columns) for _, _, kept in groups]
    words = int(columns * INCHES[0] / 1.3)  # of a line of the legend
    height = INCHES[1] * sum(lines) + 0.25 * len(groups) + 0.17 * -(-len(methods) // words) + 0.9
    figure = page(INCHES[0] * columns, height)
    bands = figure.subfigures(len(groups), 1, height_ratios=lines, squeeze=False)[:, 0]
    handles: dict[str, Any] = {}
    for band, line, (title, points, kept) in zip(bands, lines, groups, strict=True):
        band.suptitle(title, fontsize=8)
        grid = band.subplots(line, columns, squeeze=False).ravel()
        for axes in grid[len(kept) :]:
            axes.set_axis_off()
        for axes, pair in zip(grid, kept, strict=False):
            handles |= _panel(axes, points, pair, methods)
    figure.legend([handles[m] for m in methods], methods, loc="outside lower center", ncols=words)
    return Page(figure, notes)


def measured(rows: list[dict[str, str]], dataset: str) -> Points:
    """What the tidy tables have for a data set (its label): means over seeds of the headline weights."""
    found: dict[tuple[str, str], list[dict[str, str]]] = {}
    for row in rows:
        if row["dataset"] == dataset and row["mean"]:
            found.setdefault((row["method"], row["metric"]), []).append(row)
    points: Points = {}
    for (method, metric), cells in found.items():
        means = [float(r["mean"]) for r in cells if r["weights"] == cells[0]["weights"]]
        points.setdefault(method, {})[metric] = METRICS[metric].factor * sum(means) / len(means)
    return points


def published(
    printed: Any, tables: Iterable[str], scale: str, dataset: str, metrics: Iterable[str]
) -> Points:
    """The paper's values for one of its data sets."""
    points: Points = {}
    for metric in metrics:
        column = METRICS[metric]
        for (table, method, x, name, printed_metric), value in printed.values.items():
            if (
                f"table{table}" in tables
                and x == scale
                and name == dataset
                and printed_metric == column.published
            ):
                points.setdefault(method, {})[metric] = float(value) * column.factor
    return points


def absent(rows: list[dict[str, str]], metrics: Iterable[str], datasets: Iterable[str]) -> list[str]:
    """A sentence for each metric and each data set that has no value at all, with the tables' reason."""
    here = {(r["dataset"], r["metric"]) for r in rows if r["mean"]}
    notes = []
    for metric in metrics:
        if any(m == metric for _, m in here):
            continue
        why = {r["why_empty"] for r in rows if r["metric"] == metric and r["why_empty"] and r["variant"]}
        notes.append(sentence_absent(metric, why))
    known = {r["dataset"] for r in rows}
    for dataset in known:
        why = {r["why_empty"] for r in rows if r["dataset"] == dataset and "left out" in r["why_empty"]}
        if why and not any(d == dataset for d, _ in here):
            notes.append(f"{dataset}: {min(why)}.")
    return notes


def sentence_absent(metric: str, reasons: Iterable[str]) -> str:
    """That a metric has no value, and why."""
    why = "; ".join(sorted(set(reasons) - {"not scored"})) or "not scored"
    return f"{METRICS[metric].heading} is not measured: {why}."


def _both(points: Points, pair: tuple[str, str]) -> list[str]:
    return [method for method, values in points.items() if all(metric in values for metric in pair)]


def _panel(axes: Any, points: Points, pair: tuple[str, str], methods: list[str]) -> dict[str, Any]:
    """One pair of metrics; returns the points' handles."""
    import numpy as np

    across, up = (METRICS[metric] for metric in pair)
    handles = {}
    for method in _both(points, pair):
        values = [points[method][metric] for metric in pair]
        style = {"s": 30, "edgecolors": "black", "linewidths": 0.4, "zorder": 3}
        handles[method] = axes.scatter(*values, label=method, **style, **look(methods.index(method)))
    axes.set(xlabel=across.heading, ylabel=up.heading)
    axes.margins(0.12)
    axes.locator_params(nbins=5)
    toward = np.array([across.better, up.better])
    arrow = {"arrowstyle": "-|>,head_width=0.5,head_length=0.7", "color": ARROW, "alpha": 0.4, "lw": 2.5}
    axes.annotate(
        "better", xy=0.5 + 0.47 * toward, xytext=0.5 - 0.36 * toward, xycoords="axes fraction",
        ha="center", va="center", fontsize=6, color=ARROW, arrowprops=arrow, zorder=0,
        bbox={"boxstyle": "square,pad=0.15", "facecolor": "white", "edgecolor": "none"},
    )  # fmt: skip
    return handles
