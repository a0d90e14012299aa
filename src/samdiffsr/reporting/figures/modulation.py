"""How strong the modulation is at each t, for every formulation: the tables m_t, k_t, b_t."""

from __future__ import annotations

import numpy as np

from samdiffsr.diffusion.process import formulation
from samdiffsr.diffusion.schedule import cosine_schedule
from samdiffsr.reporting.figures.recipe import ModulationRecipe
from samdiffsr.reporting.figures.style import Inputs, Page, line, page

ROUNDING = 1e-9  # b_t is 0 for the released family, and for all at t = 1, but for rounding


def draw(recipe: ModulationRecipe, inputs: Inputs) -> Page:
    """Three panels over t = 1..T: shift of x_t, of the target, and what stays of e_sam in the predicted x_0.

    Args:
        recipe: formulations (names), diffusion (steps, s, beta_max). inputs: none.
    """
    spec = recipe.diffusion
    schedule = cosine_schedule(spec.steps, spec.s, spec.beta_max)
    figure = page(7.5, 3.4)
    grid = figure.subplots(1, 3)
    t = np.arange(1, schedule.T + 1)
    for number, name in enumerate(recipe.formulations):
        process = formulation(name, schedule)
        tables = (process.m / (1 - schedule.alpha_bar).sqrt(), process.k, process.b.abs())
        for axes, table in zip(grid, tables, strict=True):
            values = table.numpy()
            if values.max() > ROUNDING:
                axes.plot(t, np.where(values > ROUNDING, values, np.nan), label=name, **line(number))
    titles = (
        (r"shift of $x_t$ in standard deviations", r"$m_t\,/\,\sqrt{1-\bar\alpha_t}$"),
        ("shift of the target", r"$k_t$"),
        (r"left in the predicted $x_0$", r"$|b_t|$"),
    )
    for axes, (title, label) in zip(grid, titles, strict=True):
        axes.set_yscale("log")
        axes.set(title=title, xlabel="t", ylabel=label)
    handles, names = grid[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=min(5, len(names)))
    notes = [
        f"Per unit of e_sam; cosine schedule, T = {schedule.T}.",
        "A formulation that is not in the third panel leaves nothing: its b_t is 0.",
    ]
    return Page(figure, notes)
