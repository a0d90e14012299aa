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
from typing import Any

from samdiffsr.errors import UserError
from samdiffsr.evaluation.stage import COLUMNS as SCORE_COLUMNS
from samdiffsr.evaluation.stage import write_csv

# metric -> (column heading, decimals, name in the published tables)
METRICS: dict[str, tuple[str, int, str]] = {
    "psnr_y": ("PSNR-Y (dB)", 2, "psnr"),
    "ssim_y": ("SSIM-Y", 4, "ssim"),
    "psnr_rgb": ("PSNR-RGB (dB)", 2, ""),
    "lr_psnr": ("LR-PSNR (dB)", 2, ""),
    "maniqa_pipal": ("MANIQA (PIPAL)", 4, "maniqa"),
    "maniqa_koniq": ("MANIQA (KonIQ)", 4, ""),
    "lpips": ("LPIPS", 4, ""),
    "artifact": ("Artifact", 4, "artifact"),
    "artifact_excess": ("Artifact excess", 4, ""),
}
TIDY_COLUMNS = (
    "table", "method", "variant", "run", "seed", "weights", "dataset", "scale", "metric", "n", "mean", "std",
    "published", "why_empty", "masks", "sampling", "checkpoints", "study", "protocol",
)  # fmt: skip
Scores = dict[tuple[str, ...], list[dict[str, str]]]


def gather(recipe: dict[str, Any], scores: list[Path], published: Path, wide: Path, tidy: Path) -> None:
    """Make one table.

    Args:
        recipe: Config.table_recipe. scores: the CSVs of the score stage, of all its runs and data sets.
        published: paper/published_tables.csv.
        wide: methods x (data set, metric), each the mean over images, then over seeds, of the headline
            weights; empty if not measured.
        tidy: see TIDY_COLUMNS; one row for each run and kind of weights. `std` is the sample standard
            deviation over images, `n` their number.

    Raises:
        UserError: a score file that is not one, or scores of different protocols in one cell.
    """
    measured, printed = read_scores(scores), read_published(published)
    wide_rows, tidy_rows = [], []
    for row in recipe["rows"]:
        cells = {"Method": row["label"]}
        for dataset in [*recipe["datasets"], *recipe.get("left_out", [])]:
            for metric in recipe["metrics"]:
                heading, decimals, in_paper = METRICS[metric]
                key = (recipe["name"].removeprefix("table"), row["published"], str(recipe["scale"]))
                shared = {
                    "table": recipe["name"],
                    "method": row["label"],
                    "variant": row["variant"],
                    "dataset": dataset["label"],
                    "scale": recipe["scale"],
                    "metric": metric,
                    "published": printed.get((*key, dataset["published"], in_paper), ""),
                    "masks": row["masks"] or "none",
                    "sampling": row["sampling"],
                    "checkpoints": recipe["checkpoints"],
                    "study": recipe["study"],
                }
                made = [
                    shared | _cell(measured, run, weights, dataset["name"], metric)
                    for weights in row["weights"]
                    for run in row["runs"]
                ]
                tidy_rows += made
                if "why" in dataset:  # named, so that nobody takes the set for forgotten; it gets no column
                    for cell in made:
                        cell["why_empty"] = f"test set left out: {dataset['why']}"
                    continue
                means = [float(r["mean"]) for r in made if r["mean"] and r["weights"] == row["weights"][0]]
                value = f"{sum(means) / len(means):.{decimals}f}" if means else ""
                cells[f"{dataset['label']} {heading}"] = value
        wide_rows.append(cells)
    write_csv(tidy, TIDY_COLUMNS, tidy_rows)
    write_csv(wide, tuple(wide_rows[0]), wide_rows)


def _cell(measured: Scores, run: str, weights: str, dataset: str, metric: str) -> dict[str, Any]:
    """What one run and one kind of its weights give for one data set and metric."""
    images = measured.get((run, weights, dataset, metric), [])
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
        "why_empty": "; ".join(reasons) if images else "not scored",
        "protocol": protocols[0] if protocols else "",
    }


def read_scores(paths: list[Path]) -> Scores:
    """(run, weights, data set, metric) -> rows, one an image."""
    found: Scores = defaultdict(list)
    for path in paths:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if tuple(reader.fieldnames or ()) != SCORE_COLUMNS:
                raise UserError(f"{path}: not a score file (its columns differ); delete it and run again")
            for row in reader:
                if row["value"] and not math.isfinite(float(row["value"])):
                    raise UserError(
                        f"{path}: {row['metric']} of {row['image']} is {row['value']}; score it again"
                    )
                found[row["run"], row["weights"], row["dataset"], row["metric"]].append(row)
    return found


def read_published(path: Path) -> dict[tuple[str, str, str, str, str], str]:
    """(table, method, scale, dataset, metric) -> value as printed in the paper."""
    with open(path, newline="", encoding="utf-8") as file:
        return {
            (r["table"], r["method"], r["scale"], r["dataset"], r["metric"]): r["value"]
            for r in csv.DictReader(file)
        }
