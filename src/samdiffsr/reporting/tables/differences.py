"""The differences that tables claim: paired over images, seeds averaged first, with interval and in words."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from samdiffsr.core.errors import UserError
from samdiffsr.core.files import write_csv
from samdiffsr.evaluation.compare import holm, paired_difference, paired_ratio, sentence
from samdiffsr.evaluation.metrics import METRICS
from samdiffsr.reporting.tables.gather import Scores, read_scores
from samdiffsr.reporting.tables.recipe import Row, TableRecipe

COLUMNS = (
    "table", "of", "minus", "scale", "dataset", "metric", "weights", "kind", "mean", "ci_low", "ci_high",
    "method", "n_images", "n_seeds", "n_seeds_minus", "seed_sd", "seed_sd_minus", "p", "p_holm", "rng_seed",
    "n_resamples", "words", "why_empty", "study",
)  # fmt: skip


def differences(recipe: TableRecipe, scores: list[Path], out: Path) -> list[dict[str, Any]]:
    """Every difference of one table into the CSV `out` (columns: COLUMNS); returns its rows.

    scores: the CSVs of the score stage.

    `of` minus `minus`, per data set and image metric, of the headline weights; kind "ratio" where the
    scale of the metric means nothing. p_holm is Holm's correction over the rows of this table. An image that
    either lacks in any seed is left out of both.
    """
    measured = read_scores(scores)
    found: list[dict[str, Any]] = []
    for pair in recipe.differences:
        of, minus = recipe.row(pair.of), recipe.row(pair.minus)
        for dataset in recipe.datasets:
            for metric in recipe.metrics:
                result = difference(measured, of, minus, dataset.name, metric)
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


def difference(measured: Scores, of: Row, minus: Row, dataset: str, metric: str) -> dict[str, Any] | None:
    """One row of a recipe minus another, from `kind` to `why_empty` of COLUMNS; None: no metric of images."""
    sides = [_images(measured, row, dataset, metric) for row in (of, minus)]
    most = max(len(side or ()) for side in sides)
    for k, row in enumerate((of, minus)):  # what is not trained here has no seeds: one run stands for all
        side = sides[k]
        if side and len(side) == 1 and row.weights == ("none",):
            sides[k] = side * most
    return None if all(side is None for side in sides) else _compare(sides, metric)


def join(parts: Iterable[Path], out: Path) -> None:
    """The differences of several tables in one CSV."""
    rows: list[dict[str, Any]] = []
    for path in parts:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise UserError(f"{path}: its columns are not those of differences; delete it and run again")
            rows += reader
    write_csv(out, COLUMNS, rows)


def _images(measured: Scores, row: Row, dataset: str, metric: str) -> list[dict[str, float]] | None:
    """For each seed: image -> value. None if the metric is not one of images."""
    seeds = [measured.get((run, row.weights[0], dataset, metric)) for run in row.runs]
    if not any(seeds):
        return None
    return [{r["image"]: float(r["value"]) for r in seed or () if r["value"]} for seed in seeds]


def _compare(sides: list[list[dict[str, float]] | None], metric: str) -> dict[str, Any]:
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
    words = sentence(result, entry.unit, max(entry.decimals, 2))
    return {
        **{k: v for k, v in result.items() if k in COLUMNS},
        "n_seeds_minus": result["n_seeds_base"],
        "seed_sd_minus": result["seed_sd_base"],
        "words": words,
        "why_empty": "",
    }


def _text(value: Any) -> Any:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else value
