"""The differences that a table claims, seed by seed: do trainings agree, and what could so many find?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from samdiffsr.evaluation.compare import Difference
from samdiffsr.evaluation.crossed import POWER, power
from samdiffsr.evaluation.metrics import METRICS
from samdiffsr.reporting.figures.recipe import SeedsRecipe
from samdiffsr.reporting.figures.style import Inputs, Page, intervals, line, look, message, page
from samdiffsr.reporting.frames import read_scores
from samdiffsr.reporting.tables.differences import compared, paired_scores

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Claim(NamedTuple):
    """One difference on one data set. by_seed: its mean over images with each seed; empty if unpaired."""

    dataset: str
    pair: str
    found: Difference
    by_seed: np.ndarray


def draw(recipe: SeedsRecipe, inputs: Inputs) -> Page:
    """A panel for each data set, then one of power on the data set that has most images.

    inputs: scores (CSVs of the score stage).
    """
    claims = _claims(recipe, read_scores(inputs["scores"]))
    if not claims:
        return message(["No two methods of the table were scored on the same images."])
    pairs = list(dict.fromkeys(claim.pair for claim in claims))
    datasets = list(dict.fromkeys(claim.dataset for claim in claims))
    largest = max(claims, key=lambda claim: claim.found["n_images"]).dataset
    planned = [claim for claim in claims if claim.dataset == largest and claim.found["spread"]]
    figure = page(2.2 + 2.1 * (len(datasets) + bool(planned)), 1.9 + 0.45 * len(pairs))
    grid = figure.subplots(1, len(datasets) + bool(planned), squeeze=False)[0]
    entry = METRICS[recipe.metric]
    unit = f" ({entry.unit})" if entry.unit else ""
    for axes, dataset in zip(grid, datasets, strict=False):
        _differences(axes, [claim for claim in claims if claim.dataset == dataset], pairs)
        axes.set(title=dataset, xlabel=f"difference in {entry.label}{unit}")
        axes.set_yticks(range(len(pairs)), pairs if axes is grid[0] else [])
    notes = [
        "Small: the mean over images with one seed. Large: the mean over seeds.",
        "Bars: 95 %, seeds and images both random.",
    ]
    if planned:
        _power(grid[-1], planned, pairs)
        found = planned[0].found
        grid[-1].set(
            title=f"power on {largest}", xlabel=f"true difference{unit}", ylabel="probability of finding it"
        )
        notes.append(
            f"Power: of a two-sided test at 5 % with {found['n_seeds']} seeds and {found['n_images']} images,"
            " given the spread measured here. Dashes: 80 %."
        )
    if any(claim.found["ci_low"] is None for claim in claims):
        notes.append("No interval: one training seed, or too few images; a point alone claims nothing.")
    return Page(figure, notes)


def _claims(recipe: SeedsRecipe, scores: pd.DataFrame) -> list[Claim]:
    rows = {row.variant: row for row in recipe.rows}
    claims = []
    for dataset in recipe.datasets:
        for asked in recipe.differences:
            of, minus = rows[asked.of], rows[asked.minus]
            sides = paired_scores(scores, of, minus, dataset.name, recipe.metric)
            if sides is None or sides[0].empty or sides[1].empty:
                continue
            a, b = (side.to_numpy() for side in sides)
            by_seed = a.mean(axis=1) - b.mean(axis=1) if len(a) == len(b) else np.empty(0)
            found = compared(*sides, recipe.metric)
            claims.append(Claim(dataset.label, f"{of.label}\n− {minus.label}", found, by_seed))
    return claims


def _differences(axes: Axes, claims: Sequence[Claim], pairs: Sequence[str]) -> None:
    """A line a pair: a dot a seed, and the mean with its interval."""
    axes.axvline(0, color="black", linewidth=0.8)
    for claim in claims:
        place, found = pairs.index(claim.pair), claim.found
        style = look(place)
        axes.plot(
            claim.by_seed, np.full(len(claim.by_seed), place - 0.22), linestyle="none", alpha=0.6,
            markersize=3.5, **style,
        )  # fmt: skip
        points = pd.DataFrame([{**found, "dataset": claim.pair, "place": place}])
        intervals(axes, points, pairs, x="mean", y="place")
        axes.plot(found["mean"], place, linestyle="none", markersize=7, **style)
    axes.set_ylim(len(pairs) - 0.5, -0.6)


def _power(axes: Axes, claims: Sequence[Claim], pairs: Sequence[str]) -> None:
    """The probability of finding a true difference, a curve a pair."""
    most = max(2 * (claim.found["detectable"] or 0) for claim in claims) or 1.0
    effects = np.linspace(0, most, 61)
    axes.axhline(POWER, color="black", linewidth=0.8, linestyle="--")
    for claim in claims:
        found = claim.found
        assert found["spread"] is not None
        found_at = [power(effect, found["spread"], found["n_seeds"], found["n_images"]) for effect in effects]
        style = line(pairs.index(claim.pair))
        axes.plot(effects, found_at, color=style["color"], dashes=style["dashes"] or (None, None))
    axes.set(ylim=(0, 1.02), xlim=(0, most))
