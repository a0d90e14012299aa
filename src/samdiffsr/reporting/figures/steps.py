"""Quality against the number of sampling steps, and against the time that they take."""

from __future__ import annotations

from statistics import fmean

import pandas as pd

from samdiffsr.core.files import read_json
from samdiffsr.evaluation.metrics import METRICS
from samdiffsr.reporting.figures.metrics import sentence_absent
from samdiffsr.reporting.figures.recipe import StepsRecipe
from samdiffsr.reporting.figures.style import Inputs, Page, looks, message, page, strokes
from samdiffsr.reporting.frames import read_scores, read_sets


def draw(recipe: StepsRecipe, inputs: Inputs) -> Page:
    """A line of panels a metric: left over network calls, right over seconds an image.

    inputs: a file for each of the recipe's points: scores, timings; sets, if a metric is one of sets.
    """
    import seaborn as sns

    values, devices = _values(recipe, inputs)
    metrics = [metric for metric in recipe.metrics if values["value"][values["metric"] == metric].count()]
    notes = [
        sentence_absent(metric, values["why_empty"][values["metric"] == metric])
        for metric in recipe.metrics
        if metric not in metrics
    ]
    if not metrics:
        return message(notes)
    labels = [recipe.rows[k].label for k in sorted({point.row for point in recipe.points})]
    figure = page(6.8, 2.3 * len(metrics) + 0.9)
    grid = figure.subplots(len(metrics), 2, squeeze=False, sharey="row")
    for metric, pair in zip(metrics, grid, strict=True):
        mine = values[values["metric"] == metric]
        for axes, across in zip(pair, ("steps", "seconds"), strict=True):
            sns.lineplot(
                mine, x=across, y="value", hue="label", style="label", estimator=None, sort=True, ax=axes,
                legend="full" if axes is grid[0][0] else False, markeredgewidth=0,
                **looks(labels) | strokes(labels),
            )  # fmt: skip
        left, right = pair
        left.set(ylabel=METRICS[metric].heading, xlabel="network calls an image", xscale="log")
        steps = sorted(values["steps"].unique())
        left.set_xticks(steps, [str(n) for n in steps])
        left.minorticks_off()
        right.set(xlabel="seconds an image")
    handles, _ = grid[0][0].get_legend_handles_labels()
    grid[0][0].get_legend().remove()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)))
    notes.append(f"First seed alone. Times on {', '.join(devices)}; other work on the machine adds to them.")
    return Page(figure, notes)


def _values(recipe: StepsRecipe, inputs: Inputs) -> tuple[pd.DataFrame, list[str]]:
    """A row a point and metric (label, steps, seconds, metric, value or NaN, why_empty), and the devices."""
    rows, devices = [], set()
    for number, point in enumerate(recipe.points):
        row = recipe.rows[point.row]
        parts = [read_scores([inputs["scores"][number]])]
        if "sets" in inputs:
            parts.append(read_sets([inputs["sets"][number]]))
        timing = read_json(inputs["timings"][number])
        devices.add(timing["device"])
        scores = pd.concat(parts)
        mine = scores[(scores["weights"] == row.weights[0]) & (scores["dataset"] == recipe.datasets[0].name)]
        for metric in recipe.metrics:
            cells = mine[mine["metric"] == metric]
            rows.append(
                {
                    "label": row.label,
                    "steps": point.steps,
                    "seconds": fmean(timing["seconds"].values()),
                    "metric": metric,
                    "value": cells["number"].mean() * METRICS[metric].factor,
                    "why_empty": "; ".join(sorted({*cells["why_empty"]} - {""})),
                }
            )
    return pd.DataFrame(rows), sorted(devices)
