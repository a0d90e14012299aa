"""The gather stage: means, spread, published values, empty cells."""

from __future__ import annotations

import csv
import statistics
from pathlib import Path
from typing import Any

import pytest

from samdiffsr.core.errors import UserError
from samdiffsr.core.files import write_csv
from samdiffsr.evaluation.scores import IMAGE_COLUMNS as COLUMNS
from samdiffsr.reporting.tables.gather import gather
from samdiffsr.reporting.tables.recipe import Column, Row, TableRecipe

VALUES = {
    "srdiff-x4-s0": [25.0, 26.0, 27.5],
    "srdiff-x4-s1": [25.5, 26.5, 28.5],
    "bicubic-x4-s0": [24.0, 25.0, 26.0],
}


def _recipe(**changes: Any) -> TableRecipe:
    row = {"masks": None, "sampling": "100 of 100 steps", "variant": "srdiff", "published": "SRDiff"}
    bicubic = {"label": "Bicubic", "published": "Bicubic", "runs": ("bicubic-x4-s0",), "weights": ("none",)}
    srdiff = {"label": "SRDiff", "runs": ("srdiff-x4-s0", "srdiff-x4-s1"), "weights": ("ema", "raw")}
    told = {
        "name": "table2", "study": "paper", "about": "", "comparable": True, "train_set": "some",
        "checkpoints": "trained", "title": "", "scale": 4, "metrics": ("psnr_y",),
        "datasets": (Column(name="urban100", label="Urban100", published="Urban100"),),
        "rows": (Row(**(row | bicubic)), Row(**(row | srdiff))),
    }  # fmt: skip
    return TableRecipe(**(told | changes))


def _scores(folder: Path, **changes: Any) -> list[Path]:
    paths = []
    for run, values in VALUES.items():
        rows = []
        for weights in ["none"] if run.startswith("bicubic") else ["ema", "raw"]:
            for i, value in enumerate(values):
                shift = -1 if weights == "raw" else 0
                rows.append(
                    {
                        "run": run, "weights": weights, "dataset": "urban100", "image": f"img{i}",
                        "metric": "psnr_y", "value": f"{value + shift:.6f}", "why_empty": "", "protocol": "P",
                    }
                    | changes.get(f"{run} {weights} {i}".replace("-", "_"), {})
                )  # fmt: skip
        write_csv(folder / f"{run}.csv", COLUMNS, rows)
        paths.append(folder / f"{run}.csv")
    return paths


def _gather(
    folder: Path, root: Path, recipe: TableRecipe, scores: list[Path]
) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    wide, tidy = folder / "wide.csv", folder / "tidy.csv"
    gather(recipe, scores, [], root / "paper/published_tables.csv", wide, tidy)
    return tuple(list(csv.DictReader(path.read_text().splitlines())) for path in (wide, tidy))  # type: ignore[return-value]


def test_a_cell_is_the_mean_over_images_then_seeds_of_the_headline_weights(
    tmp_path: Path, root: Path
) -> None:
    wide, tidy = _gather(tmp_path, root, _recipe(), _scores(tmp_path))
    seeds = [statistics.fmean(VALUES[run]) for run in ("srdiff-x4-s0", "srdiff-x4-s1")]
    assert [row["Urban100 PSNR-Y (dB)"] for row in wide] == ["25.00", f"{statistics.fmean(seeds):.2f}"]
    assert len(tidy) == 1 + 2 * 2
    by_run = {(row["run"], row["weights"]): row for row in tidy}
    row = by_run["srdiff-x4-s1", "raw"]
    assert float(row["mean"]) == pytest.approx(seeds[1] - 1, abs=1e-6)
    assert float(row["std"]) == pytest.approx(statistics.stdev(VALUES["srdiff-x4-s1"]), abs=1e-6)
    assert (row["n"], row["seed"], row["protocol"], row["study"]) == ("3", "1", "P", "paper")


def test_the_published_value_stands_beside_and_only_where_the_paper_has_one(
    tmp_path: Path, root: Path
) -> None:
    _, tidy = _gather(tmp_path, root, _recipe(), _scores(tmp_path))
    assert {(row["method"], row["published"]) for row in tidy} == {("Bicubic", ""), ("SRDiff", "25.08")}
    other = (Column(name="urban100", label="Demo", published=""),)
    _, tidy = _gather(tmp_path, root, _recipe(datasets=other), _scores(tmp_path))
    assert {row["published"] for row in tidy} == {""}


def test_what_was_not_measured_is_empty_and_says_why(tmp_path: Path, root: Path) -> None:
    gone = {f"srdiff_x4_s0 ema {i}": {"value": "", "why_empty": "no image"} for i in range(3)}
    gone["srdiff_x4_s1 ema 2"] = {"value": "", "why_empty": "no weights"}
    wide, tidy = _gather(tmp_path, root, _recipe(), _scores(tmp_path, **gone))
    by_run = {(row["run"], row["weights"]): row for row in tidy}
    assert [by_run["srdiff-x4-s0", "ema"][key] for key in ("mean", "std", "n", "why_empty")] == [
        "",
        "",
        "0",
        "no image",
    ]
    assert [by_run["srdiff-x4-s1", "ema"][key] for key in ("n", "why_empty")] == ["2", "no weights"]
    assert wide[1]["Urban100 PSNR-Y (dB)"] == "26.00"  # of what is there
    wide, tidy = _gather(tmp_path, root, _recipe(metrics=("ssim_y",)), _scores(tmp_path))
    assert [row["Urban100 SSIM-Y"] for row in wide] == ["", ""]
    assert {row["why_empty"] for row in tidy} == {"not scored"}


def test_scores_that_cannot_be_trusted_are_refused(tmp_path: Path, root: Path) -> None:
    mixed = {"srdiff_x4_s0 ema 1": {"protocol": "Q"}}
    with pytest.raises(UserError, match="srdiff-x4-s0: scored under different protocols"):
        _gather(tmp_path, root, _recipe(), _scores(tmp_path, **mixed))
    with pytest.raises(UserError, match=r"psnr_y of img1 is nan"):
        _gather(tmp_path, root, _recipe(), _scores(tmp_path, **{"srdiff_x4_s0 ema 1": {"value": "nan"}}))
    scores = _scores(tmp_path)
    scores[0].write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="not a score file"):
        _gather(tmp_path, root, _recipe(), scores)
