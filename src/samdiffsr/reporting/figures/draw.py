"""The draw stage: one figure out of CSVs, images and small files; no network is run and no GPU is used."""

from __future__ import annotations

from pathlib import Path

from samdiffsr.core.registry import load
from samdiffsr.reporting.figures.recipe import FigureRecipe
from samdiffsr.reporting.figures.registry import KINDS
from samdiffsr.reporting.figures.style import RC, Inputs, save


def draw(recipe: FigureRecipe, inputs: Inputs, outs: list[Path]) -> None:
    """Draw one figure.

    Args:
        inputs: what the kind's function names. outs: .png, .pdf, drawn alike.

    Raises:
        UserError: an unknown kind, an input that the kind needs and did not get, and what its function says.
    """
    import matplotlib

    drawn = load(KINDS[recipe.kind].code)
    with matplotlib.rc_context(RC):
        save(drawn(recipe, inputs), recipe, outs)
