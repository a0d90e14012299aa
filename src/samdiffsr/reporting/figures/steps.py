"""Quality against the number of sampling steps, and against the time that they take."""

from __future__ import annotations

from statistics import fmean

from samdiffsr.core.files import read_json
from samdiffsr.evaluation.metrics import METRICS
from samdiffsr.reporting.figures.metrics import sentence_absent
from samdiffsr.reporting.figures.recipe import StepsRecipe
from samdiffsr.reporting.figures.style import Inputs, Page, line, look, message, page
from samdiffsr.reporting.tables.gather import read_scores, read_sets


def draw(recipe: StepsRecipe, inputs: Inputs) -> Page:
    """A line of panels a metric: left over network calls, right over seconds an image.

    Args:
        recipe: rows, datasets (one), metrics; points: {row (its number), steps}, in the order of the inputs.
        inputs: a file for each point: scores, timings; sets, if a metric is one of sets.
    """
    dataset = recipe.datasets[0]
    curves: dict[
        tuple[int, str], list[tuple[int, float, float]]
    ] = {}  # (row, metric) -> (steps, seconds, value)
    reasons: dict[str, set[str]] = {}
    devices = set()
    for number, point in enumerate(recipe.points):
        row = recipe.rows[point.row]
        found = read_scores([inputs["scores"][number]])
        if "sets" in inputs:
            found |= read_sets([inputs["sets"][number]])
        timing = read_json(inputs["timings"][number])
        devices.add(timing["device"])
        for metric in recipe.metrics:
            cells = found.get((row.runs[0], row.weights[0], dataset.name, metric), [])
            values = [float(cell["value"]) for cell in cells if cell["value"]]
            if values:
                value = fmean(values) * METRICS[metric].factor
                curves.setdefault((point.row, metric), []).append(
                    (point.steps, fmean(timing["seconds"].values()), value)
                )
            else:
                reasons.setdefault(metric, set()).update(
                    cell["why_empty"] for cell in cells if cell["why_empty"]
                )
    metrics = [m for m in recipe.metrics if any(key[1] == m for key in curves)]
    notes = [
        sentence_absent(metric, reasons.get(metric, set()))
        for metric in recipe.metrics
        if metric not in metrics
    ]
    if not metrics:
        return message(notes)
    figure = page(6.8, 2.3 * len(metrics) + 0.9)
    grid = figure.subplots(len(metrics), 2, squeeze=False, sharey="row")
    for (number, metric), points in curves.items():
        points = sorted(points)
        style = line(number) | look(number)
        for axes, place in zip(grid[metrics.index(metric)], (0, 1), strict=True):
            axes.plot(
                [p[place] for p in points],
                [p[2] for p in points],
                label=recipe.rows[number].label,
                **style,
            )
    steps = sorted({point.steps for point in recipe.points})
    for metric, (left, right) in zip(metrics, grid, strict=True):
        left.set(ylabel=METRICS[metric].heading, xlabel="network calls an image", xscale="log")
        left.set_xticks(steps, [str(n) for n in steps])
        left.minorticks_off()
        right.set(xlabel="seconds an image")
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)))
    notes.append(
        f"First seed alone. Times on {', '.join(sorted(devices))}; other work on the machine adds to them."
    )
    return Page(figure, notes)
