"""The gather stage: per-image scores of many runs into one table, wide for people and tidy for programs.

The wide table has the paper's rows and columns. The tidy one has a row for each cell and seed, with the
spread over images, the published value where the paper has one, the masks, and the protocol: a number never
travels without it.
"""

from __future__ import annotations

import csv
import math
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

from samdiffsr.core.errors import UserError
from samdiffsr.core.files import write_csv
from samdiffsr.evaluation.metrics import METRICS
from samdiffsr.evaluation.scores import IMAGE_COLUMNS, SET_COLUMNS
from samdiffsr.reporting.tables.recipe import LeftOut, TableRecipe

TIDY_COLUMNS = (
    "table", "method", "variant", "run", "seed", "weights", "dataset", "scale", "metric", "n", "mean", "std",
    "published", "erratum", "why_empty", "masks", "sampling", "checkpoints", "study", "protocol",
)  # fmt: skip
Scores = dict[tuple[str, ...], list[dict[str, str]]]


class Published(NamedTuple):
    """The paper's tables, its errata applied."""

    values: dict[tuple[str, str, str, str, str], str]  # (table, method, scale, dataset, metric) -> as printed
    errata: dict[tuple[str, str], str]  # (table, dataset) -> what was changed, and why


def gather(
    recipe: TableRecipe, scores: list[Path], sets: list[Path], published: Path, wide: Path, tidy: Path
) -> list[dict[str, Any]]:
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
    measured, whole, printed = read_scores(scores), read_sets(sets), read_published(published)
    wide_rows, tidy_rows = [], []
    for row in recipe.rows:
        cells = {"Method": row.label}
        for dataset in [*recipe.datasets, *recipe.left_out]:
            for metric in recipe.metrics:
                column = METRICS[metric]
                number = recipe.name.removeprefix("table")
                key = (number, row.published, str(recipe.scale), dataset.published, column.published)
                value = printed.values.get(key, "")
                shared = {
                    "table": recipe.name,
                    "method": row.label,
                    "variant": row.variant or "",
                    "dataset": dataset.label,
                    "scale": recipe.scale,
                    "metric": metric,
                    "published": value,
                    "erratum": printed.errata.get((number, dataset.published), "") if value else "",
                    "masks": row.masks or "none",
                    "sampling": row.sampling,
                    "checkpoints": recipe.checkpoints,
                    "study": recipe.study,
                }
                made = [
                    shared
                    | (_cell(measured, run, weights, dataset.name, metric)
                       or _whole(whole, run, weights, dataset.name, metric))
                    for weights in row.weights
                    for run in row.runs
                ]  # fmt: skip
                why = row.absent.get(dataset.name.partition("/")[0])
                if why or not row.runs:
                    nothing = {"variant": "", "n": 0, "masks": "", "checkpoints": "", "sampling": ""}
                    made = [shared | nothing | {"why_empty": why or "not run here"}]
                tidy_rows += made
                if isinstance(dataset, LeftOut):  # named, lest it is taken for forgotten; it gets no column
                    for cell in made:
                        cell["why_empty"] = f"test set left out: {dataset.why}"
                    continue
                cells[f"{dataset.label} {column.heading}"] = headline(made, metric)
        wide_rows.append(cells)
    write_csv(tidy, TIDY_COLUMNS, tidy_rows)
    write_csv(wide, tuple(wide_rows[0]), wide_rows)
    return tidy_rows


def headline(rows: list[dict[str, Any]], metric: str) -> str:
    """A table's cell out of its tidy rows: mean over seeds of the weights named first, or ""."""
    means = [float(r["mean"]) for r in rows if r.get("mean") and r["weights"] == rows[0]["weights"]]
    return show(sum(means) / len(means), metric) if means else ""


def show(value: float, metric: str) -> str:
    """A value in the unit and with the decimals of its column; at least two digits of a small one."""
    column = METRICS[metric]
    shown = value * column.factor
    decimals = column.decimals
    while shown and abs(shown) < 10 ** (1 - decimals) and decimals < 6:
        decimals += 1
    return f"{shown:.{decimals}f}"


def _cell(measured: Scores, run: str, weights: str, dataset: str, metric: str) -> dict[str, Any]:
    """What one run and one kind of its weights give for one data set and metric of images, or {}."""
    images = measured.get((run, weights, dataset, metric), [])
    if not images:
        return {}
    values = [float(image["value"]) for image in images if image["value"]]
    reasons = sorted({image["why_empty"] for image in images if not image["value"]})
    protocols = sorted({image["protocol"] for image in images})
    if len(protocols) > 1:
        raise UserError(f"{run}: scored under different protocols ({'; '.join(protocols)}); score it again")
    return {
        "run": run,
        "seed": run.rsplit("-s", 1)[1],
        "weights": weights,
        "n": len(values),
        "mean": f"{statistics.fmean(values):.6f}" if values else "",
        "std": f"{statistics.stdev(values):.6f}" if len(values) > 1 else "",
        "why_empty": "; ".join(reasons),
        "protocol": protocols[0],
    }


def _whole(sets: Scores, run: str, weights: str, dataset: str, metric: str) -> dict[str, Any]:
    """What one run and one kind of its weights give for a data set as a whole."""
    rows = sets.get((run, weights, dataset, metric)) or [
        {"n": "0", "value": "", "sd": "", "why_empty": "not scored", "protocol": ""}
    ]
    return {
        "run": run,
        "seed": run.rsplit("-s", 1)[1],
        "weights": weights,
        "n": rows[0]["n"],
        "mean": rows[0]["value"],
        "std": rows[0]["sd"],
        "why_empty": rows[0]["why_empty"],
        "protocol": rows[0]["protocol"],
    }


def read_scores(paths: list[Path]) -> Scores:
    """(run, weights, data set, metric) -> rows, one an image."""
    return _read(paths, IMAGE_COLUMNS)


def read_sets(paths: list[Path]) -> Scores:
    """(run, weights, data set, metric) -> one row."""
    return _read(paths, SET_COLUMNS)


def _read(paths: list[Path], columns: tuple[str, ...]) -> Scores:
    found: Scores = defaultdict(list)
    for path in paths:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if tuple(reader.fieldnames or ()) != columns:
                raise UserError(f"{path}: not a score file (its columns differ); delete it and run again")
            for row in reader:
                if row["value"] and not _finite(row["value"]):
                    raise UserError(
                        f"{path}: {row['metric']} of {row.get('image', 'the set')} is {row['value']}; "
                        "score it again"
                    )
                found[row["run"], row["weights"], row["dataset"], row["metric"]].append(row)
    return found


def _finite(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def read_published(path: Path) -> Published:
    """The paper's values, with the errata of `errata.yaml` beside `path` applied.

    An erratum is {table, swap: [data set, data set], why}: their columns were exchanged in print.
    """
    import yaml

    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    errata: dict[tuple[str, str], str] = {}
    other: dict[tuple[str, str], str] = {}
    try:
        errata_rows = yaml.safe_load(path.with_name("errata.yaml").read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise UserError(f"{path.with_name('errata.yaml')}: not valid YAML ({error})") from None
    for erratum in errata_rows:
        first, second = erratum["swap"]
        for here, there in ((first, second), (second, first)):
            other[str(erratum["table"]), here] = there
            errata[str(erratum["table"]), here] = f"printed under {there}: {erratum['why']}"
    values = {
        (
            r["table"],
            r["method"],
            r["scale"],
            other.get((r["table"], r["dataset"]), r["dataset"]),
            r["metric"],
        ): r["value"]
        for r in rows
    }
    return Published(values, errata)
