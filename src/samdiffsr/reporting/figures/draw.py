"""The draw stage: one figure out of CSVs, images and small files; no network is run and no GPU is used."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from samdiffsr.core.errors import UserError
from samdiffsr.reporting.figures.style import RC, Inputs, save

# kind of figure -> module with draw(recipe, inputs) -> Page
KINDS = {
    "noise": "noise",
    "modulation": "modulation",
    "crops": "crops",
    "artifacts": "artifacts",
    "masks": "masks",
    "metrics": "metrics",
    "published": "published",
    "mask_gain": "gain",
    "steps": "steps",
    "curves": "curves",
    "rules": "rules",
}


def figure_module(kind: str) -> str:
    """The module that draws a kind of figure."""
    return f"samdiffsr.reporting.figures.{KINDS[kind]}"


def draw(recipe: dict[str, Any], inputs: Inputs, outs: list[Path]) -> None:
    """Draw one figure.

    Args:
        recipe: Config.figure_recipe. inputs: what the kind's module names. outs: .png, .pdf, drawn alike.

    Raises:
        UserError: an unknown kind, an input that the kind needs and did not get, and what the modules say.
    """
    import matplotlib

    kind = recipe.get("kind")
    if kind not in KINDS:
        raise UserError(f"no kind of figure {kind!r}; there are {', '.join(KINDS)}")
    with matplotlib.rc_context(RC):
        save(import_module(figure_module(kind)).draw(recipe, inputs), recipe, outs)
