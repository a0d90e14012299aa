"""The differences that a table claims, and its Markdown and LaTeX."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from samdiffsr.core.files import write_csv
from samdiffsr.evaluation.scores import IMAGE_COLUMNS as COLUMNS
from samdiffsr.reporting.tables.differences import COLUMNS as DIFFERENCE_COLUMNS
from samdiffsr.reporting.tables.differences import differences, join
from samdiffsr.reporting.tables.gather import gather, show
from samdiffsr.reporting.tables.published import PRINTED, read_published
from samdiffsr.reporting.tables.recipe import Column, Pair, Row, TableRecipe
from samdiffsr.reporting.tables.render import blocks, latex, markdown

SEEDS = (0, 1)
PUBLISHED = Path(__file__).parents[1] / "paper/published_tables.csv"


def _row(variant: str, label: str, **more: Any) -> Row:
    told = {
        "variant": variant, "label": label, "published": label, "masks": None, "weights": ("ema", "raw"),
        "sampling": "all 100 steps", "runs": tuple(f"{variant}-x4-s{seed}" for seed in SEEDS),
    }  # fmt: skip
    return Row(**(told | more))


QUOTED = Row(variant=None, label="SRGAN", published="SRGAN", masks=None, weights=(), sampling="", runs=())


def _recipe(**changes: Any) -> TableRecipe:
    told = {
        "name": "table2", "study": "reduced", "about": "a small one", "comparable": False,
        "train_set": "some", "checkpoints": "trained", "title": "Comparison", "scale": 4,
        "metrics": ("psnr_y", "artifact", "fid_clean"),
        "datasets": (Column(name="urban100", label="Urban100", published="Urban100"),),
        "rows": (QUOTED, _row("srdiff", "SRDiff"), _row("sam_diffsr", "SAM-DiffSR", masks="sam_vit_h")),
        "differences": (Pair(of="sam_diffsr", minus="srdiff"),), "notes": ("A remark.",),
    }  # fmt: skip
    return TableRecipe(**(told | changes))


def _scores(folder: Path, images: int = 40, missing: tuple[str, int] | None = None) -> list[Path]:
    paths = []
    for variant, more in (("srdiff", 0.0), ("sam_diffsr", 0.1)):
        for seed in SEEDS:
            rows = [
                {
                    "run": f"{variant}-x4-s{seed}", "weights": weights, "dataset": "urban100",
                    "image": f"i{i}", "metric": metric, "why_empty": "", "protocol": "P",
                    "value": "" if missing == (variant, i) else f"{value + i % 7 * more / 10:.6f}",
                }
                for weights in ("ema", "raw")
                for i in range(images)
                for metric, value in (
                    ("psnr_y", 25 + i % 5 + more + seed * 0.02), ("artifact", (1 + i % 3) * (1 - more)),
                )
            ]  # fmt: skip
            paths.append(folder / f"{variant}{seed}.csv")
            write_csv(paths[-1], COLUMNS, rows)
    return paths


def _all(folder: Path, root: Path, recipe: TableRecipe, scores: list[Path]) -> tuple[pd.DataFrame, list]:
    published = root / "paper/published_tables.csv"
    tidy = gather(recipe, scores, [], published, folder / "w.csv", folder / "t.csv")
    return tidy, differences(recipe, scores, published, folder / "d.csv")


def test_a_difference_is_paired_over_images_with_seeds_averaged_first(tmp_path: Path) -> None:
    rows = differences(_recipe(), _scores(tmp_path), PUBLISHED, tmp_path / "d.csv")
    by = {row["metric"]: row for row in rows}
    assert set(by) == {"psnr_y", "artifact"}  # FID belongs to no image
    row = by["psnr_y"]
    expected = 0.1 + sum(i % 7 for i in range(40)) * 0.01 / 40
    assert row["mean"] == pytest.approx(expected, abs=1e-6)
    assert row["ci_low"] < expected < row["ci_high"]
    assert (row["n_images"], row["n_seeds"], row["method"], row["kind"]) == (40, 2, "crossed", "difference")
    assert row["seed_sd"] == pytest.approx(0.02 / 2**0.5, abs=1e-6)
    assert row["words"].startswith("+0.13 dB, 95 % CI [0.1")
    assert (
        "2 seeds, 40 images: too few seeds to decide (a claim takes 3); these trainings alone [0.1"
        in row["words"]
    )
    assert row["p_holm"] >= row["p"]
    assert (row["trainings_low"], row["trainings_method"]) == (pytest.approx(0.12, abs=0.01), "bca")
    assert row["seed_sd_difference"] == pytest.approx(0, abs=1e-9)  # both methods gain the same with seed 1
    assert row["published"] == pytest.approx(25.54 - 25.08)
    assert row["seeds_to_decide"] == "3"
    assert f"; {row['detectable']:.2f} dB detectable; the paper's +0.46 takes 3 seeds" in row["words"]
    assert by["artifact"]["kind"] == "ratio"
    assert "; a factor of 1.0" in by["artifact"]["words"]
    assert 0.9 < by["artifact"]["mean"] < 1
    written = list(csv.DictReader((tmp_path / "d.csv").read_text().splitlines()))
    assert tuple(written[0]) == DIFFERENCE_COLUMNS
    assert float(written[0]["mean"]) == pytest.approx(expected, abs=1e-4)
    join([tmp_path / "d.csv", tmp_path / "d.csv"], tmp_path / "all.csv")
    joined = list(csv.DictReader((tmp_path / "all.csv").read_text().splitlines()))
    assert len(joined) == 2 * 2
    assert {r["p_study"] for r in written} == {""}
    for row in joined:  # two claims, though two tables make each
        assert float(row["p_study"]) == pytest.approx(float(row["p_holm"]), rel=1e-4)


def test_few_images_claim_nothing_and_an_image_that_one_lacks_counts_for_neither(tmp_path: Path) -> None:
    few = differences(_recipe(), _scores(tmp_path, images=5), PUBLISHED, tmp_path / "d.csv")
    assert {row["ci_low"] for row in few} == {None}
    assert all("too few images to claim anything" in row["words"] for row in few)
    less = differences(_recipe(), _scores(tmp_path, missing=("srdiff", 3)), PUBLISHED, tmp_path / "d.csv")
    assert {row["n_images"] for row in less} == {39}


def test_a_method_that_is_not_trained_has_no_seeds(tmp_path: Path) -> None:
    """Its one run is compared with each of the other's; the claim stands on the other's seeds."""
    one = [
        _row("srdiff", "SRDiff", weights=["none"], runs=["srdiff-x4-s0"]),
        _row("sam_diffsr", "SAM-DiffSR"),
    ]
    scores = _scores(tmp_path)
    rows = list(csv.DictReader(scores[0].read_text().splitlines()))
    write_csv(scores[0], COLUMNS, [row | {"weights": "none"} for row in rows if row["weights"] == "ema"])
    psnr = differences(_recipe(rows=one), [scores[0], *scores[2:]], PUBLISHED, tmp_path / "d.csv")[0]
    assert psnr["metric"] == "psnr_y"
    assert psnr["method"] in ("crossed", "seeds", "images")
    assert psnr["ci_low"] is not None
    assert psnr["seed_sd_minus"] == 0


def test_without_a_common_image_the_difference_says_so(tmp_path: Path) -> None:
    scores = _scores(tmp_path)
    rows = differences(_recipe(), scores[:2], PUBLISHED, tmp_path / "d.csv")
    assert {row["why_empty"] for row in rows} == {"no image that both were scored on"}


def test_the_best_two_are_marked_among_measured_and_among_published(tmp_path: Path, root: Path) -> None:
    tidy, claimed = _all(tmp_path, root, _recipe(), _scores(tmp_path))
    (block,) = blocks(_recipe(), tidy)
    assert block.headings == ["PSNR-Y (dB)", "published", "Artifact", "FID (clean)", "published"]

    def cells(method: str) -> list[tuple[str, int]]:
        return list(zip(block.text.loc[method], block.rank.loc[method], strict=True))

    assert cells("SRGAN")[:2] == [("", 0), ("22.85", 0)]
    assert cells("SRDiff")[:3] == [("27.01", 2), ("25.08", 2), ("1.9750", 2)]
    assert cells("SAM-DiffSR")[:2] == [("27.14", 1), ("25.54", 1)]
    assert cells("SAM-DiffSR")[2][1] == 1  # of the artifact less is better
    text = markdown(_recipe(), tidy, claimed)
    assert text.startswith("# Table 2: Comparison\n")
    for words in [
        "| **27.14** ± 0.014 | **25.54** |",
        "| <u>27.01</u> ± 0.014 | <u>25.08</u> |",
        "SAM-DiffSR minus SRDiff, Urban100, PSNR-Y: +0.13 dB, 95 % CI [",
        "Study reduced: a small one.",
        "SAM-DiffSR: sam\\_vit\\_h", "seeds 0, 1", "sampling all 100 steps", ": P.",
        "not comparable", "Not measured: FID (clean) (not scored).", "A remark.",
    ]:  # fmt: skip
        assert words in text, words


def test_what_was_not_measured_folds_into_a_line_of_the_markdown(tmp_path: Path, root: Path) -> None:
    tidy, _ = _all(tmp_path, root, _recipe(), _scores(tmp_path))
    table = markdown(_recipe(), tidy, []).partition("## Conditions")[0]
    assert "| Method | PSNR-Y (dB) | published | Artifact |" in table
    assert "In the paper and not run here (values in the tidy CSV): SRGAN. " in table
    assert "Without a value here: FID (clean)." in table
    tidy = gather(
        _recipe(), [], [], root / "paper/published_tables.csv", tmp_path / "w.csv", tmp_path / "t.csv"
    )
    table = markdown(_recipe(), tidy, []).partition("## Conditions")[0]
    assert "| Method | PSNR-Y (dB), published | FID (clean), published |" in table
    assert "| SRGAN | 22.85 |" in table  # nothing was measured: what the paper has is all there is


def test_the_latex_is_escaped_and_balanced(tmp_path: Path, root: Path) -> None:
    tidy, claimed = _all(tmp_path, root, _recipe(title="100 % of a_b & {c}"), _scores(tmp_path))
    text = latex(_recipe(title="100 % of a_b & {c}"), tidy, claimed)
    assert r"100 \% of a\_b \& \{c\}." in text
    assert r"\textbf{27.14} $\pm$ 0.014 & \textbf{25.54}" in text
    assert r"\underline{27.01}" in text
    plain = text.replace(r"\{", "").replace(r"\}", "")
    assert plain.count("{") == plain.count("}")
    for environment in ("table*", "tabular"):
        assert text.count(rf"\begin{{{environment}}}") == text.count(rf"\end{{{environment}}}") == 1


def test_images_that_the_paper_does_not_have_get_no_published_value(tmp_path: Path, root: Path) -> None:
    recipe = _recipe(datasets=(Column(name="urban100", label="Demo", published=""),), study="demo")
    tidy, claimed = _all(tmp_path, root, recipe, _scores(tmp_path))
    text = markdown(recipe, tidy, claimed)
    assert "published" not in blocks(recipe, tidy)[0].headings
    assert "25.54" not in text
    assert "These numbers are not comparable with the paper's." in text
    assert "Neither run here nor in the paper for these images: SRGAN." in text


def test_the_swapped_columns_of_table_7_are_put_right_and_said(tmp_path: Path, root: Path) -> None:
    published = read_published(root / "paper/published_tables.csv")
    values = published.set_index(PRINTED)["published"]
    assert values["7", "SRDiff", "2", "BSDS100", "psnr"] == "30.05"
    assert values["7", "SRDiff", "2", "Manga109", "psnr"] == "36.87"
    assert values["2", "SRDiff", "4", "BSDS100", "psnr"] == "25.86"
    recipe = _recipe(
        name="table7",
        scale=2,
        datasets=(Column(name="b", label="BSDS100", published="BSDS100"),),
        rows=(_row("srdiff", "SRDiff", runs=("srdiff-x2-s0",)),),
    )
    tidy = gather(recipe, [], [], root / "paper/published_tables.csv", tmp_path / "w.csv", tmp_path / "t.csv")
    assert {*tidy["published"]} == {"30.05", "", "10.2967"}
    assert ((tidy["erratum"] != "") == (tidy["published"] != "")).all()
    assert "BSDS100: printed under Manga109: the columns BSDS100 and Manga109 are exchanged" in markdown(
        recipe, tidy, []
    )


@pytest.mark.parametrize(
    ("value", "metric", "text"),
    [
        (25.5449, "psnr_y", "25.54"), (0.77207, "ssim_y", "0.7721"), (12934915, "parameters", "12.93"),
        (37260, "train_seconds", "10.35"), (0.0123, "image_seconds", "0.012"),
        (0.00123, "kid_clean", "1.2300"),
        (0, "artifact", "0.0000"),
    ],
)  # fmt: skip
def test_values_are_shown_in_their_columns_unit(value: float, metric: str, text: str) -> None:
    assert show(value, metric) == text
