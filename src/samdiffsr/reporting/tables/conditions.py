"""What is said around a table: under which conditions it was made, and the differences that it claims."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from samdiffsr.evaluation.metrics import METRICS, CostMetric, ImageMetric, SetMetric, of_kind
from samdiffsr.reporting.tables.recipe import TableRecipe


def machine(metric: str) -> str:
    """ "time" or "memory" of a machine, or "" where a value belongs to none."""
    entry = METRICS[metric]
    return entry.machine if isinstance(entry, CostMetric) else ""


def conditions(recipe: TableRecipe, tidy: pd.DataFrame) -> list[str]:
    """Under which conditions the table was made: sentences. tidy: its rows, as `gather` writes them."""
    ours = [row for row in recipe.rows if row.runs]
    measured = tidy[tidy["mean"] != ""]
    masks = _several(f"{row.label}: {row.masks}" for row in ours if row.masks)
    lines = [f"Study {recipe.study}: {recipe.about}."]
    lines.append(
        f"Training set {recipe.train_set}; checkpoints {recipe.checkpoints}; "
        f"masks {masks or 'none'}; seeds {_several(measured['seed']) or 'none'}; "
        f"sampling {_several(row.sampling for row in ours)}; "
        f"weights {_several(row.weights[0] for row in ours)}."
    )
    if protocols := _several(_of(measured, ImageMetric)["protocol"]):
        lines.append(f"PSNR and SSIM: {protocols}.")
    whole = _of(measured, SetMetric)
    if not whole.empty:
        sizes = _several(whole["dataset"] + ": " + whole["n"])
        lines.append(
            f"FID and KID of whole images against the truth, number of images {sizes}. An FID of so few "
            "images is comparable only with one of the same images; images are shrunk to 299 x 299, and "
            "with them what super-resolution adds to large ones ('patches' are not)."
        )
    for metric in filter(machine, METRICS):
        if devices := _several(measured["protocol"][measured["metric"] == metric]):
            beside = "; by the clock, beside whatever else ran" if machine(metric) == "time" else ""
            lines.append(f"{METRICS[metric].heading}: {devices}{beside}.")
    lines += _comparability(recipe, bool((tidy["published"] != "").any()))
    errata = tidy.loc[tidy["erratum"] != "", ["dataset", "erratum"]].drop_duplicates()
    lines += [f"{dataset}: {text}." for dataset, text in errata.itertuples(index=False)]
    lines += [f"Left out: {dataset.label} ({dataset.why})." for dataset in recipe.left_out]
    return [*lines, *_unmeasured(recipe, tidy, measured), *recipe.notes]


def _comparability(recipe: TableRecipe, published: bool) -> list[str]:
    if not published:
        return [] if recipe.comparable else ["These numbers are not comparable with the paper's."]
    note = "Published: the paper's values (arXiv 2402.17133v2)."
    if recipe.comparable:
        return [note]
    return [
        f"{note} They are not comparable with the measured ones beside them: other training data, masks "
        "or length of training."
    ]


def _unmeasured(recipe: TableRecipe, tidy: pd.DataFrame, measured: pd.DataFrame) -> list[str]:
    """Which metrics have no value, or not everywhere, and why."""
    lines: list[str] = []
    nowhere: dict[str, list[str]] = {}  # reason -> headings
    mine = tidy[tidy["variant"] != ""]
    for metric in recipe.metrics:
        reasons = _several(mine["why_empty"][mine["metric"] == metric])
        if reasons and not (measured["metric"] == metric).any():
            nowhere.setdefault(reasons, []).append(METRICS[metric].heading)
        elif reasons and not isinstance(METRICS[metric], CostMetric):
            lines.append(f"{METRICS[metric].heading}, partly empty: {reasons}.")
    return lines + [f"Not measured: {', '.join(names)} ({reason})." for reason, names in nowhere.items()]


def claims(differences: list[dict[str, Any]]) -> list[str]:
    """The table's differences as sentences."""
    return [
        f"{row['of']} {'over' if row['kind'] == 'ratio' else 'minus'} {row['minus']}, {row['dataset']}, "
        f"{METRICS[row['metric']].label}: {row['words']}"
        for row in differences
        if row.get("words")  # why the others are empty stands in the CSV
    ]


def _of(rows: pd.DataFrame, kind: type) -> pd.DataFrame:
    return rows[rows["metric"].isin(of_kind(METRICS, kind))]


def _several(values: Iterable[str]) -> str:
    """Each once, as they come, without the empty ones."""
    return ", ".join(dict.fromkeys(value for value in values if value))
