"""The gather stage: per-image scores of many runs into one table, wide for people and tidy for programs.

The wide table has the paper's rows and columns. The tidy one has a row for each cell and seed, with the
spread over images, the published value where the paper has one, the masks, and the protocol: a number never
travels without it.
"""

from __future__ import annotations

import csv
import math
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
    "table", "method", "variant", "run", "seed", "dataset", "scale", "metric", "n", "mean", "std",
    "published", "why_empty", "masks", "checkpoints", "study", "protocol",
)  # fmt: skip


def gather(recipe: dict[str, Any], scores: list[Path], published: Path, wide: Path, tidy: Path) -> None:
    """Make one table.

    Args:
        recipe: Config.table_recipe. scores: the CSVs of the score stage, of all its runs and data sets.
        published: paper/published_tables.csv.
        wide: methods x (data set, metric), each the mean over images, then over seeds; empty if not measured.
        tidy: see TIDY_COLUMNS; `std` is the sample standard deviation over images.

    Raises:
        UserError: a score file that is not one, or scores of different protocols in one column.
    """
    measured = read_scores(scores)
    printed = read_published(published)
    tidy_rows, wide_rows = [], []
    for row in recipe["rows"]:
        cells = {"Method": row["label"]}
        for dataset in recipe["datasets"]:
            for metric in recipe["metrics"]:
                heading, decimals, paper_metric = METRICS[metric]
                key = (recipe["name"].removeprefix("table"), row["published"], str(recipe["scale"]))
                paper = printed.get((*key, dataset["published"], paper_metric), "")
                means = []
                for run in row["runs"]:
                    images = measured.get((run, dataset["name"], metric), [])
                    values = [float(r["value"]) for r in images if r["value"]]
                    mean = sum(values) / len(values) if values else None
                    means += [] if mean is None else [mean]
                    why = sorted(
                        {r["why_empty"] for r in images if r["why_empty"]} or ({"not measured"} - {""})
                    )
                    tidy_rows.append(
                        {
                            "table": recipe["name"],
                            "method": row["label"],
                            "variant": row["variant"],
                            "run": run,
                            "seed": run.rsplit("-s", 1)[1],
                            "dataset": dataset["label"],
                            "scale": recipe["scale"],
                            "metric": metric,
                            "n": len(values),
                            "mean": "" if mean is None else f"{mean:.6f}",
                            "std": "" if len(values) < 2 else f"{_std(values):.6f}",
                            "published": paper,
                            "why_empty": "; ".join(why) if len(values) < max(1, len(images)) else "",
                            "masks": row["masks"] or "none",
                            "checkpoints": recipe["checkpoints"],
                            "study": recipe["study"],
                            "protocol": _one_protocol(images, run),
                        }
                    )
                value = f"{sum(means) / len(means):.{decimals}f}" if means else ""
                cells[f"{dataset['label']} {heading}"] = value
        wide_rows.append(cells)
    write_csv(tidy, TIDY_COLUMNS, tidy_rows)
    write_csv(wide, tuple(wide_rows[0]), wide_rows)


def read_scores(paths: list[Path]) -> dict[tuple[str, str, str], list[dict[str, str]]]:
    """(run, data set, metric) -> rows, one an image."""
    found: dict[tuple[str, str, str], list[dict[str, str]]] = defaultdict(list)
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
                found[row["run"], row["dataset"], row["metric"]].append(row)
    return found


def read_published(path: Path) -> dict[tuple[str, str, str, str, str], str]:
    """(table, method, scale, dataset, metric) -> value as printed in the paper."""
    with open(path, newline="", encoding="utf-8") as file:
        return {
            (r["table"], r["method"], r["scale"], r["dataset"], r["metric"]): r["value"]
            for r in csv.DictReader(file)
        }


def _one_protocol(rows: list[dict[str, str]], run: str) -> str:
    names = sorted({row["protocol"] for row in rows})
    if len(names) > 1:
        raise UserError(
            f"{run}: its images were scored under different protocols ({', '.join(names)}); score it again"
        )
    return names[0] if names else ""


def _std(values: list[float]) -> float:
    mean = sum(values) / len(values)
    return math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))
