"""Training curves, with the spread over seeds."""

from __future__ import annotations

import numpy as np

from samdiffsr.reporting.figures.readers import read_rows
from samdiffsr.reporting.figures.recipe import CurvesRecipe
from samdiffsr.reporting.figures.style import Inputs, Page, line, message, page

SMOOTH = 7  # points of the running mean


def draw(recipe: CurvesRecipe, inputs: Inputs) -> Page:
    """A panel for each kind of loss; a line a variant, running mean over seeds; a band from least to largest.

    Args:
        recipe: curves: {label, panel, run} in the order of the inputs. inputs: curves (CSV: step, loss, lr).
    """
    from matplotlib.ticker import LogLocator

    panels: dict[str, dict[str, list[tuple[np.ndarray, np.ndarray]]]] = {}
    for curve, path in zip(recipe.curves, inputs.get("curves", []), strict=True):
        rows = read_rows([path], ("step", "loss"))
        steps, losses = (np.array([float(row[key]) for row in rows]) for key in ("step", "loss"))
        panels.setdefault(curve.panel, {}).setdefault(curve.label, []).append((steps, losses))
    if not panels:
        return message(["Released checkpoints were used; nothing was trained here."])
    figure = page(max(6.0, 2.9 * len(panels)), 3.6)
    grid = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (panel, lines) in zip(grid, panels.items(), strict=True):
        for number, (label, seeds) in enumerate(lines.items()):
            style = line(number)
            for steps, losses in seeds:
                axes.plot(steps, losses, color=style["color"], linewidth=0.5, alpha=0.35)
            smooth = np.array([running_mean(losses, SMOOTH) for _, losses in seeds])
            axes.plot(seeds[0][0], smooth.mean(axis=0), label=label, **style)
            if len(seeds) > 1:
                axes.fill_between(
                    seeds[0][0], smooth.min(0), smooth.max(0), color=style["color"], alpha=0.2, linewidth=0
                )
        axes.set(title=panel, xlabel="step", yscale="log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("{x:g}")
        axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
        axes.legend()
    grid[0].set_ylabel("training loss")
    counts = {len(seeds) for lines in panels.values() for seeds in lines.values()}
    spread = "One seed: no spread to show." if counts == {1} else "Bands: least to largest seed."
    notes = [f"Thin: as recorded; thick: running mean over {SMOOTH} points. {spread}"]
    notes.append(
        "Targets of formulations differ in size, so losses of different formulations are not comparable."
    )
    return Page(figure, notes)


def running_mean(values: np.ndarray, width: int) -> np.ndarray:
    """Mean over `width` neighbours, fewer at the ends; (n,) -> (n,)."""
    ones = np.ones(min(width, len(values)))
    return np.convolve(values, ones, "same") / np.convolve(np.ones(len(values)), ones, "same")
