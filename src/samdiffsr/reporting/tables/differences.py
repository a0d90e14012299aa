"""The differences that tables claim: between methods, with interval, in words, and what it would take."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from samdiffsr.core.errors import UserError
from samdiffsr.evaluation.compare import (
    Difference,
    holm,
    paired_difference,
    paired_ratio,
    sentence,
    verdict,
)
from samdiffsr.evaluation.crossed import MOST_SEEDS, seeds_needed
from samdiffsr.evaluation.metrics import METRICS
from samdiffsr.reporting.frames import read, read_scores, write
from samdiffsr.reporting.tables.published import read_published
from samdiffsr.reporting.tables.recipe import Row, TableRecipe

COLUMNS = (
    "table", "of", "minus", "scale", "dataset", "metric", "weights", "kind", "mean", "ci_low", "ci_high",
    "method", "df", "p", "p_holm", "p_study", "verdict", "trainings_low", "trainings_high",
    "trainings_method", "n_images", "n_seeds", "n_seeds_minus", "seed_sd", "seed_sd_minus",
    "seed_sd_difference", "detectable", "published", "seeds_to_decide", "rng_seed", "n_resamples", "words",
    "why_empty", "study",
)  # fmt: skip
PAIR = ["of", "minus", "scale", "dataset", "metric"]  # what makes a claim; several tables may show one


def differences(recipe: TableRecipe, scores: list[Path], published: Path, out: Path) -> list[dict[str, Any]]:
    """Every difference of one table into the CSV `out` (columns: COLUMNS); returns its rows.

    scores: the CSVs of the score stage. published: paper/published_tables.csv.

    `of` minus `minus`, per data set and image metric, of the headline weights; kind "ratio" where the
    scale of the metric means nothing. An image that either lacks in any seed is left out of both. ci, df, p
    and verdict are the methods'; p_holm is Holm's correction over the rows of this table (p_study: see
    `join`). published: the paper's difference; seeds_to_decide: how many seeds would find it with 80 % power,
    given this spread and these images.
    """
    measured, printed = read_scores(scores), read_published(published)
    found: list[dict[str, Any]] = []
    for pair in recipe.differences:
        of, minus = recipe.row(pair.of), recipe.row(pair.minus)
        for dataset in recipe.datasets:
            for metric in recipe.metrics:
                paper = _published(printed, recipe, (of, minus), dataset.published, metric)
                result = difference(measured, of, minus, dataset.name, metric, paper)
                if result is None:
                    continue
                found.append(
                    {
                        "table": recipe.name,
                        "of": of.label,
                        "minus": minus.label,
                        "scale": recipe.scale,
                        "dataset": dataset.label,
                        "metric": metric,
                        "weights": of.weights[0],
                        "study": recipe.study,
                        **result,
                    }
                )
    for row, p in zip(found, holm([row.get("p") for row in found]), strict=True):
        row["p_holm"] = p
    rows = [{key: _text(value) for key, value in row.items()} for row in found]
    write(out, pd.DataFrame(rows, columns=[*COLUMNS], dtype=object))
    return found


def difference(
    measured: pd.DataFrame, of: Row, minus: Row, dataset: str, metric: str, paper: float | None = None
) -> dict[str, Any] | None:
    """One row of a recipe minus another, from `kind` to `why_empty` of COLUMNS; None: no metric of images.

    measured: scores of single images (`frames.read_scores`). paper: the published difference (of a ratio the
    ratio).
    """
    sides = paired_scores(measured, of, minus, dataset, metric)
    if sides is None:
        return None
    try:
        result = compared(*sides, metric)
    except UserError as error:
        return {"kind": _kind(metric), "why_empty": str(error)}
    return _told(result, metric, paper)


def paired_scores(
    measured: pd.DataFrame, of: Row, minus: Row, dataset: str, metric: str
) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    """Scores of the images that both have with every seed: a row a seed, a column an image.

    None: neither has this metric of images.
    """
    sides = [_images(measured, row, dataset, metric) for row in (of, minus)]
    if all(side.empty for side in sides):
        return None
    most = max(len(side) for side in sides)
    for k, row in enumerate((of, minus)):  # what is not trained here has no seeds: one run stands for all
        if len(sides[k]) == 1 and row.weights == ("none",):
            sides[k] = pd.concat([sides[k]] * most)
    a, b = (side.dropna(axis="columns") for side in sides)
    common = sorted(set(a.columns) & set(b.columns))
    return a[common], b[common]


def compared(a: pd.DataFrame, b: pd.DataFrame, metric: str) -> Difference:
    """a minus b of `paired_scores`, or their ratio; UserError where there is none."""
    if a.empty or b.empty:
        raise UserError("no image that both were scored on")
    left, right = np.ascontiguousarray(a), np.ascontiguousarray(b)
    if _kind(metric) == "difference":
        return paired_difference(left, right)
    if not min(left.mean(), right.mean()) > 0:
        raise UserError("a ratio with 0")
    return paired_ratio(left, right)


def join(parts: Iterable[Path], out: Path) -> None:
    """The differences of several tables in one CSV."""
    write(out, joined(parts))


def joined(parts: Iterable[Path]) -> pd.DataFrame:
    """The differences of several tables; p_study is Holm's correction over all of them.

    A difference that several tables claim with the same labels is one claim. With other labels it is
    counted again, which makes p larger.
    """
    rows = read(parts, COLUMNS, "a table's differences")
    family = rows[rows["p"] != ""].drop_duplicates(PAIR, keep="last").set_index(PAIR)["p"].astype(float)
    corrected = dict(zip(family.index, holm(list(family)), strict=True))
    rows["p_study"] = [_text(corrected.get(pair)) for pair in rows[PAIR].itertuples(index=False, name=None)]
    return rows


def _published(
    printed: pd.DataFrame, recipe: TableRecipe, pair: tuple[Row, Row], dataset: str, metric: str
) -> float | None:
    """What the paper prints of a pair: in this table, or in the first that has both."""
    entry = METRICS[metric]
    mine = printed[(printed["scale"] == str(recipe.scale)) & (printed["dataset"] == dataset)]
    values = mine[mine["metric"] == entry.published].set_index(["table", "method"])["published"]
    for table in dict.fromkeys([recipe.number, *printed["table"]]):
        if all((table, row.published) in values.index for row in pair):
            a, b = (float(values[table, row.published]) for row in pair)
            return a / b if entry.ratio else a - b
    return None


def _images(measured: pd.DataFrame, row: Row, dataset: str, metric: str) -> pd.DataFrame:
    """A row a seed, a column an image, NaN where it has no value; empty if no image has this metric."""
    cell = (measured["dataset"] == dataset) & (measured["metric"] == metric)
    mine = measured[cell & (measured["weights"] == row.weights[0]) & measured["run"].isin(row.runs)]
    if mine.empty:
        return pd.DataFrame()
    return mine.pivot(index="run", columns="image", values="number").reindex(list(row.runs))


def _kind(metric: str) -> str:
    return "ratio" if METRICS[metric].ratio else "difference"


def _told(result: Difference, metric: str, paper: float | None) -> dict[str, Any]:
    """A comparison in COLUMNS."""
    entry = METRICS[metric]
    digits = max(entry.decimals, 2)
    ratio, needed = result["kind"] == "ratio", seeds_to_decide(result, paper)
    words = sentence(result, entry.unit, digits)
    if result["detectable"] is not None:
        least = f"{result['detectable']:.{digits}f}{f' {entry.unit}' if entry.unit else ''}"
        words += f"; {'a factor of ' if ratio else ''}{least} detectable"
    if needed and paper is not None:
        words += f"; the paper's {paper:{'' if ratio else '+'}.{digits}f} takes {needed} seeds"
    return {
        **{k: v for k, v in result.items() if k in COLUMNS},
        "verdict": verdict(result),
        "trainings_low": result["trainings"]["low"],
        "trainings_high": result["trainings"]["high"],
        "trainings_method": result["trainings"]["method"],
        "n_seeds_minus": result["n_seeds_base"],
        "seed_sd_minus": result["seed_sd_base"],
        "published": paper,
        "seeds_to_decide": needed,
        "words": words,
        "why_empty": "",
    }


def seeds_to_decide(result: Difference, effect: float | None) -> str:
    """How many seeds would find `effect` (of a ratio its factor) with 80 % power, with this spread and these
    images; "": not known."""
    if not effect or result["spread"] is None or result["method"] == "constant":
        return ""
    size = math.log(effect) if result["kind"] == "ratio" else effect
    needed = seeds_needed(abs(size), result["spread"], result["n_images"]) if size else None
    return str(needed or f"over {MOST_SEEDS}")


def _text(value: Any) -> Any:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else value
