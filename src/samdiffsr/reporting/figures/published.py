"""Published against measured: the differences that the tables claim, with their intervals, and the values."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import fmean
from typing import Any

from samdiffsr.evaluation.compare import CLAIM_FROM
from samdiffsr.evaluation.metrics import METRICS
from samdiffsr.reporting.figures.readers import read_rows
from samdiffsr.reporting.figures.recipe import ClaimedPair, PublishedRecipe
from samdiffsr.reporting.figures.style import Inputs, Page, look, message, page
from samdiffsr.reporting.tables.differences import COLUMNS
from samdiffsr.reporting.tables.gather import TIDY_COLUMNS, read_published

# (name of the pair, data set) -> (difference, its interval or None)
Differences = dict[tuple[str, str], tuple[float, tuple[float, float] | None]]
# (table and method, data set) -> (published, measured, half of the measured mean's 95 % interval)
Values = dict[tuple[str, str], tuple[float, float, float | None]]
OTHER = "published (other data, masks, networks)"


def draw(recipe: PublishedRecipe, inputs: Inputs) -> Page:
    """Measured differences, published ones, and measured over published values for the paper's data sets.

    Both kinds of differences share a panel only where the study is comparable; else each has its own.

    Args:
        recipe: metric; pairs ({table, scale, of, minus, published_of, published_minus}: labels); comparable.
        inputs: differences and tables (CSVs of the tables' stage), published (paper/published_tables.csv).
    """
    metric, pairs = recipe.metric, recipe.pairs
    column = METRICS[metric]
    claimed = measured_differences(read_rows(inputs["differences"], COLUMNS), pairs, metric)
    printed = published_differences(read_published(inputs["published"][0]), pairs, metric)
    values = values_of_both(read_rows(inputs["tables"], TIDY_COLUMNS), metric)
    if not claimed and not printed:
        return message([f"No {column.heading} difference is claimed."])
    names = [n for n in dict.fromkeys(map(pair_name, pairs)) if any(n == k[0] for k in (*claimed, *printed))]
    datasets = list(dict.fromkeys(key[1] for key in (*claimed, *printed)))
    if recipe.comparable:
        panels = [("measured and published", [(claimed, True), (printed, False)])]
    else:
        panels = [("measured", [(claimed, True)]), (OTHER, [(printed, False)])]
    width = 2.6 * (len(panels) + bool(values)) + 2.0
    figure = page(width, 0.3 * len(names) + 1.9)
    grid = figure.subplots(1, len(panels) + bool(values), squeeze=False)[0]
    for axes, (title, layers) in zip(grid, panels, strict=False):
        _differences(axes, layers, names, datasets)
        axes.set(title=title, xlabel=f"difference in {column.heading}")
        axes.set_yticks(range(len(names)), names if axes is grid[0] else [])
    if values:
        _values(grid[-1], values, datasets)
        grid[-1].set(
            title="values, a point a method", xlabel=f"published {column.heading}", ylabel="measured"
        )
    handles = [_handle(number, name) for number, name in enumerate(datasets)]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(int(width / 1.2), len(handles)))
    notes = [
        "Filled: measured; open: published, which has no interval. Bars: 95 %, seeds and images both random."
    ]
    if any(interval is None for _, interval in claimed.values()):
        notes.append(f"No bar: one seed, or fewer than {CLAIM_FROM} images, so nothing is claimed.")
    if not values:
        notes.append("This study has none of the paper's data sets: values cannot be laid beside each other.")
    if not printed:
        notes.append(f"The paper prints no {column.heading} for these pairs.")
    return Page(figure, notes)


def pair_name(pair: ClaimedPair) -> str:
    """How a pair is called on the axis."""
    return f"{pair.of} − {pair.minus}, x{pair.scale}"


def measured_differences(
    rows: list[dict[str, str]], pairs: Iterable[ClaimedPair], metric: str
) -> Differences:
    """What the difference files say; a pair that several tables claim counts once."""
    found: Differences = {}
    for pair in pairs:
        for row in rows:
            same = all(row[key] == str(getattr(pair, key)) for key in ("table", "of", "minus", "scale"))
            if same and row["metric"] == metric and row["kind"] == "difference" and row["mean"]:
                interval = (float(row["ci_low"]), float(row["ci_high"])) if row["ci_low"] else None
                found.setdefault((pair_name(pair), row["dataset"]), (float(row["mean"]), interval))
    return found


def published_differences(printed: Any, pairs: Iterable[ClaimedPair], metric: str) -> Differences:
    """The same out of the paper's tables, for all its data sets."""
    found: Differences = {}
    for pair in pairs:
        number, scale = pair.table.removeprefix("table"), str(pair.scale)
        for table, method, x, dataset, name in printed.values:
            if (table, method, x, name) == (number, pair.published_of, scale, METRICS[metric].published):
                minus = printed.values.get((table, pair.published_minus, x, dataset, name))
                if minus:
                    value = float(printed.values[table, method, x, dataset, name]) - float(minus)
                    found.setdefault((pair_name(pair), dataset), (value, None))
    return found


def values_of_both(rows: list[dict[str, str]], metric: str) -> Values:
    """What both the paper and this study have a value for."""
    from scipy.stats import t

    cells: dict[tuple[str, str], list[dict[str, str]]] = {}
    for row in rows:
        if row["metric"] == metric and row["mean"] and row["published"]:
            cells.setdefault((f"{row['table']} {row['method']}", row["dataset"]), []).append(row)
    found: Values = {}
    for key, rows_of in cells.items():
        seeds = [r for r in rows_of if r["weights"] == rows_of[0]["weights"]]
        n = int(seeds[0]["n"])
        half = None
        if n >= CLAIM_FROM:
            half = float(t.ppf(0.975, n - 1)) * fmean(float(r["std"]) for r in seeds) / n**0.5
        found[key] = (float(seeds[0]["published"]), fmean(float(r["mean"]) for r in seeds), half)
    return found


def _differences(
    axes: Any, layers: list[tuple[Differences, bool]], names: list[str], datasets: list[str]
) -> None:
    """A line a pair, a point a data set; filled is measured."""
    axes.axvline(0, color="black", linewidth=0.8)
    shown = [name for name in datasets if any(name == key[1] for layer, _ in layers for key in layer)]
    for layer, filled in layers:
        for (name, dataset), (value, interval) in layer.items():
            y = names.index(name) + 0.7 * ((shown.index(dataset) + 0.5) / len(shown) - 0.5)
            bars = None if interval is None else [[value - interval[0]], [interval[1] - value]]
            style = _look(datasets.index(dataset), filled)
            axes.errorbar(value, y, xerr=bars, linestyle="none", capsize=2, **style)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.margins(x=0.12)


def _values(axes: Any, values: Values, datasets: list[str]) -> None:
    """Measured over published, the line of equality."""
    ends = [f(v for point in values.values() for v in point[:2]) for f in (min, max)]
    axes.plot(ends, ends, color="black", linewidth=0.8, zorder=1)
    for (_, dataset), (published, measured, half) in values.items():
        number = datasets.index(dataset) if dataset in datasets else 0
        axes.errorbar(published, measured, yerr=half, linestyle="none", capsize=2, **_look(number, True))


def _look(number: int, filled: bool) -> dict[str, Any]:
    style = look(number)
    return {**style, "markerfacecolor": style["color"] if filled else "white"}


def _handle(number: int, name: str) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], linestyle="none", label=name, **_look(number, True))
