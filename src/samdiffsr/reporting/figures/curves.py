"""Training curves, with the spread over seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from samdiffsr.reporting.figures.recipe import CurvesRecipe
from samdiffsr.reporting.figures.style import Inputs, Page, message, page, strokes
from samdiffsr.reporting.frames import read_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SMOOTH = 7  # points of the running mean


def draw(recipe: CurvesRecipe, inputs: Inputs) -> Page:
    """A panel for each kind of loss; a line a variant, running mean over seeds; a band from least to largest.

    One more panel shows the PSNR of validations, where there were any.

    inputs: curves (CSV: step, loss, lr, and psnr where it was validated), in the order of the recipe's.
    """
    import seaborn as sns
    from matplotlib.ticker import LogLocator

    parts, validated = [], []
    for curve, path in zip(recipe.curves, inputs.get("curves", []), strict=True):
        part = read_numbers(path, ("step", "loss"), "a training curve", optional=("psnr",))
        part = part.assign(panel=curve.panel, label=curve.label, name=curve.name)
        losses = part.dropna(subset="loss")
        parts.append(losses.assign(mean=running_mean(losses["loss"], SMOOTH)))
        validated.append(part.dropna(subset="psnr"))
    if not parts:
        return message(["Released checkpoints were used; nothing was trained here."])
    curves, quality = (pd.concat(rows, ignore_index=True) for rows in (parts, validated))
    panels = curves["panel"].unique()
    seeds = curves.groupby(["panel", "label"])["name"].nunique()
    columns = len(panels) + (not quality.empty)
    figure = page(max(6.0, 2.9 * columns), 3.6)
    grid = figure.subplots(1, columns, squeeze=False)[0]
    for axes, panel in zip(grid, panels, strict=False):
        mine = curves[curves["panel"] == panel]
        labels = list(mine["label"].unique())
        told = strokes(labels)
        band = ("pi", 100) if seeds[panel].max() > 1 else None
        colours = {name: told[name] for name in ("hue_order", "palette")}
        sns.lineplot(
            mine, x="step", y="loss", hue="label", units="name", estimator=None, linewidth=0.5, alpha=0.35,
            legend=False, ax=axes, **colours,
        )  # fmt: skip
        sns.lineplot(mine, x="step", y="mean", hue="label", style="label", errorbar=band, ax=axes, **told)
        axes.set(title=panel, xlabel="step", ylabel="", yscale="log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("{x:g}")
        axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
        axes.legend(title="")
    grid[0].set_ylabel("training loss")
    if not quality.empty:
        _validations(quality, grid[-1])
    spread = "One seed: no spread to show." if seeds.max() == 1 else "Bands: least to largest seed."
    notes = [f"Thin: as recorded; thick: running mean over {SMOOTH} points. {spread}"]
    notes.append(
        "Targets of formulations differ in size, so losses of different formulations are not comparable."
    )
    return Page(figure, notes)


def _validations(quality: pd.DataFrame, axes: Axes) -> None:
    """PSNR of the test patches against the step."""
    import seaborn as sns

    told = strokes(list(quality["label"].unique()))
    band = ("pi", 100) if quality.groupby("label")["name"].nunique().max() > 1 else None
    sns.lineplot(quality, x="step", y="psnr", hue="label", style="label", errorbar=band, ax=axes, **told)
    axes.set(title="Validation", xlabel="step", ylabel="PSNR of test patches (dB)")
    axes.legend(title="")


def running_mean(values: pd.Series, width: int) -> pd.Series:
    """Mean over `width` (odd) neighbours, fewer at the ends."""
    return values.rolling(width, center=True, min_periods=1).mean()
