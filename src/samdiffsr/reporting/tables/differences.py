"""The differences that tables claim: between methods, with interval, in words, and what it would take."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from samdiffsr.core.errors import UserError
from samdiffsr.core.files import write_csv
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
from samdiffsr.reporting.tables.gather import Published, Scores, read_published, read_scores
from samdiffsr.reporting.tables.recipe import Row, TableRecipe

COLUMNS = (
    "table", "of", "minus", "scale", "dataset", "metric", "weights", "kind", "mean", "ci_low", "ci_high",
    "method", "df", "p", "p_holm", "p_study", "verdict", "trainings_low", "trainings_high",
    "trainings_method", "n_images", "n_seeds", "n_seeds_minus", "seed_sd", "seed_sd_minus",
    "seed_sd_difference", "detectable", "published", "seeds_to_decide", "rng_seed", "n_resamples", "words",
    "why_empty", "study",
)  # fmt: skip
PAIR = ("of", "minus", "scale", "dataset", "metric")  # what makes a claim; several tables may show one


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
    write_csv(out, COLUMNS, [{k: _text(v) for k, v in row.items()} for row in found])
    return found


def difference(
    measured: Scores, of: Row, minus: Row, dataset: str, metric: str, paper: float | None = None
) -> dict[str, Any] | None:
    """One row of a recipe minus another, from `kind` to `why_empty` of COLUMNS; None: no metric of images.

    paper: the published difference (of a ratio the ratio).
    """
    sides = [_images(measured, row, dataset, metric) for row in (of, minus)]
    most = max(len(side or ()) for side in sides)
    for k, row in enumerate((of, minus)):  # what is not trained here has no seeds: one run stands for all
        side = sides[k]
        if side and len(side) == 1 and row.weights == ("none",):
            sides[k] = side * most
    return None if all(side is None for side in sides) else _compare(sides, metric, paper)


def join(parts: Iterable[Path], out: Path) -> None:
    """The differences of several tables in one CSV; p_study is Holm's correction over all of them.

    A difference that several tables claim is one claim.
    """
    rows: list[dict[str, Any]] = []
    for path in parts:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise UserError(f"{path}: its columns are not those of differences; delete it and run again")
            rows += reader
    family = {tuple(row[key] for key in PAIR): float(row["p"]) for row in rows if row["p"]}
    corrected = dict(zip(family, holm(list(family.values())), strict=True))
    for row in rows:
        row["p_study"] = _text(corrected.get(tuple(row[key] for key in PAIR)))
    write_csv(out, COLUMNS, rows)


def _published(
    printed: Published, recipe: TableRecipe, pair: tuple[Row, Row], dataset: str, metric: str
) -> float | None:
    """What the paper prints of a pair: in this table, or in the first that has both."""
    name = METRICS[metric].published
    tables = dict.fromkeys([recipe.number, *(key[0] for key in printed.values)])
    for table in tables:
        keys = [(table, row.published, str(recipe.scale), dataset, name) for row in pair]
        if all(printed.values.get(key) for key in keys):
            a, b = (float(printed.values[key]) for key in keys)
            return a / b if getattr(METRICS[metric], "ratio", False) else a - b
    return None


def _images(measured: Scores, row: Row, dataset: str, metric: str) -> list[dict[str, float]] | None:
    """For each seed: image -> value. None if the metric is not one of images."""
    seeds = [measured.get((run, row.weights[0], dataset, metric)) for run in row.runs]
    if not any(seeds):
        return None
    return [{r["image"]: float(r["value"]) for r in seed or () if r["value"]} for seed in seeds]


def _compare(sides: list[list[dict[str, float]] | None], metric: str, paper: float | None) -> dict[str, Any]:
    entry = METRICS[metric]
    kind = "ratio" if entry.ratio else "difference"
    seeds = [seed for side in sides for seed in side or ()]
    common = sorted(set.intersection(*(set(seed) for seed in seeds))) if all(sides) else []
    if not common:
        return {"kind": kind, "why_empty": "no image that both were scored on"}
    a, b = (np.array([[seed[name] for name in common] for seed in side or ()]) for side in sides)
    if kind == "ratio" and not min(a.mean(), b.mean()) > 0:
        return {"kind": kind, "why_empty": "a ratio with 0"}
    result = (paired_ratio if kind == "ratio" else paired_difference)(a, b)
    digits = max(entry.decimals, 2)
    needed = _seeds_to_decide(result, paper)
    words = sentence(result, entry.unit, digits)
    if result["detectable"] is not None:
        least = f"{result['detectable']:.{digits}f}{f' {entry.unit}' if entry.unit else ''}"
        words += f"; {'a factor of ' if kind == 'ratio' else ''}{least} detectable"
    if needed and paper is not None:
        words += f"; the paper's {paper:{'' if kind == 'ratio' else '+'}.{digits}f} takes {needed} seeds"
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


def _seeds_to_decide(result: Difference, paper: float | None) -> str:
    """How many seeds would find the paper's difference, with this spread and these images; "": not known."""
    if not paper or result["spread"] is None or result["method"] == "constant":
        return ""
    effect = math.log(paper) if result["kind"] == "ratio" else paper
    needed = seeds_needed(abs(effect), result["spread"], result["n_images"]) if effect else None
    return str(needed or f"over {MOST_SEEDS}")


def _text(value: Any) -> Any:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else value
