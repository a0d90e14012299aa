"""The gather stage: per-image scores of many runs into one table, wide for people and tidy for programs.

The wide table has the paper's rows and columns. The tidy one has a row for each cell and seed, with the
spread over images, the published value where the paper has one, the masks, and the protocol: a number never
travels without it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from samdiffsr.core.errors import UserError
from samdiffsr.core.layout import seed_of
from samdiffsr.evaluation.metrics import METRICS
from samdiffsr.reporting.frames import CELL, read_scores, read_sets, write
from samdiffsr.reporting.tables.published import PRINTED, read_published
from samdiffsr.reporting.tables.recipe import Column, LeftOut, Row, TableRecipe

TIDY_COLUMNS = (
    "table", "method", "variant", "run", "seed", "weights", "dataset", "scale", "metric", "n", "mean", "std",
    "published", "erratum", "why_empty", "masks", "sampling", "checkpoints", "study", "protocol",
)  # fmt: skip
KEY = ["method", "dataset", "metric"]  # of a cell of the wide table, by labels


def gather(
    recipe: TableRecipe, scores: list[Path], sets: list[Path], published: Path, wide: Path, tidy: Path
) -> pd.DataFrame:
    """Make one table.

    Args:
        scores: the CSVs of the score stage, of all its runs and data sets.
        sets: likewise of the stages of sets and costs.
        published: paper/published_tables.csv, with errata.yaml beside it.
        wide: methods x (data set, metric), each the mean over images, then over seeds, of the headline
            weights; empty if not measured.
        tidy: see TIDY_COLUMNS; one row for each run and kind of weights. `std` is the sample standard
            deviation over images (of KID: over its subsets), `n` their number. Its rows are also returned.

    Raises:
        UserError: a score file that is not one, or scores of different protocols in one cell.
    """
    asked = pd.DataFrame([cell for row in recipe.rows for cell in _asked(recipe, row)])
    measured = pd.concat([_over_images(read_scores(scores)), _whole(read_sets(sets))])
    rows = asked.merge(measured.drop_duplicates(CELL), "left", left_on=["run", "weights", "name", "metric"],
                       right_on=CELL, suffixes=("", "_measured"))  # fmt: skip
    rows = rows.merge(read_published(published), "left", left_on=[f"printed_{k}" for k in PRINTED],
                      right_on=PRINTED, suffixes=("", "_printed"))  # fmt: skip
    rows["n"] = rows["n"].fillna("0")
    rows["why_empty"] = rows["told"].where(rows["told"] != "", rows["why_empty"].fillna("not scored"))
    table = rows[list(TIDY_COLUMNS)].fillna("")
    write(tidy, table)
    write(wide, _wide(recipe, table))
    return table


def _asked(recipe: TableRecipe, row: Row) -> list[dict[str, Any]]:
    """What the table has of one method, a dictionary a cell, kind of weights and seed."""
    cells = []
    for dataset in [*recipe.datasets, *recipe.left_out]:
        why = row.absent.get(dataset.name.partition("/")[0], "" if row.runs else "not run here")
        for metric in recipe.metrics:
            shared = {
                "table": recipe.name,
                "method": row.label,
                "variant": row.variant or "",
                "name": dataset.name,
                "dataset": dataset.label,
                "scale": str(recipe.scale),
                "metric": metric,
                "masks": row.masks or "none",
                "sampling": row.sampling,
                "checkpoints": recipe.checkpoints,
                "study": recipe.study,
                # a test set that is left out is named, lest it is taken for forgotten; it gets no column
                "told": f"test set left out: {dataset.why}" if isinstance(dataset, LeftOut) else why,
                **_printed(recipe, row, dataset, metric),
            }
            if why:
                nothing = dict.fromkeys(
                    ("variant", "masks", "checkpoints", "sampling", "run", "seed", "weights"), ""
                )
                cells.append(shared | nothing)
                continue
            cells += [
                shared | {"run": run, "seed": str(seed_of(run)), "weights": weights}
                for weights in row.weights
                for run in row.runs
            ]
    return cells


def _printed(recipe: TableRecipe, row: Row, dataset: Column, metric: str) -> dict[str, str]:
    """Under which names the paper would print a cell."""
    names = (
        recipe.name.removeprefix("table"),
        row.published,
        str(recipe.scale),
        dataset.published,
        METRICS[metric].published,
    )
    return {f"printed_{key}": name for key, name in zip(PRINTED, names, strict=True)}


def _over_images(scores: pd.DataFrame) -> pd.DataFrame:
    """Number, mean and standard deviation over images of each cell and seed."""
    by = scores.groupby(CELL, sort=False)
    protocols = by["protocol"].unique()
    mixed = protocols[protocols.map(len) > 1].reset_index()
    for run, found in zip(mixed["run"], mixed["protocol"], strict=True):
        raise UserError(
            f"{run}: scored under different protocols ({'; '.join(sorted(found))}); score it again"
        )
    reasons = scores[scores["number"].isna()].groupby(CELL)["why_empty"]
    return pd.DataFrame(
        {
            "n": by["number"].count().astype(str),
            "mean": by["number"].mean().map(_six),
            "std": by["number"].std().map(_six),
            "why_empty": reasons.agg(lambda texts: "; ".join(sorted(set(texts)))),
            "protocol": by["protocol"].first(),
        }
    ).fillna("").reset_index()  # fmt: skip


def _whole(sets: pd.DataFrame) -> pd.DataFrame:
    """Scores of whole sets in the same columns, as they stand in their files."""
    return sets.rename(columns={"value": "mean", "sd": "std"}).drop(columns="number")


def _six(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.6f}"


def _wide(recipe: TableRecipe, tidy: pd.DataFrame) -> pd.DataFrame:
    cells = summary(tidy)["mean"].to_dict()
    methods = [row.label for row in recipe.rows]
    columns = {"Method": methods}
    for dataset in recipe.datasets:
        for metric in recipe.metrics:
            means = [cells[method, dataset.label, metric] for method in methods]
            columns[f"{dataset.label} {METRICS[metric].heading}"] = [show(mean, metric) for mean in means]
    return pd.DataFrame(columns)


def summary(tidy: pd.DataFrame) -> pd.DataFrame:
    """Each cell of the table by KEY: `mean` over seeds of the weights named first, `spread` (their standard
    deviation over seeds) and `published`; NaN where there is none.
    """
    by = tidy.groupby(KEY, sort=False)
    headline = tidy["weights"] == by["weights"].transform("first")
    seeds = pd.to_numeric(tidy["mean"].where(headline, "")).groupby([tidy[key] for key in KEY], sort=False)
    return pd.DataFrame(
        {
            "mean": seeds.mean(),
            "spread": seeds.std(),
            "published": pd.to_numeric(by["published"].first()),
        }
    )


def show(value: float, metric: str) -> str:
    """A value in the unit and decimals of its column, at least two digits of a small one; NaN: ""."""
    if pd.isna(value):
        return ""
    column = METRICS[metric]
    shown = value * column.factor
    decimals = column.decimals
    while shown and abs(shown) < 10 ** (1 - decimals) and decimals < 6:
        decimals += 1
    return f"{shown:.{decimals}f}"
