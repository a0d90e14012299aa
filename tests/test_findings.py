"""The findings and the committed results behind them: page and tables are those of the committed scores."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from samdiffsr.cli.app import main
from samdiffsr.core.errors import UserError
from samdiffsr.core.files import write_csv
from samdiffsr.evaluation.scores import IMAGE_COLUMNS
from samdiffsr.reporting.findings import Kept, render
from samdiffsr.reporting.tables.differences import PAIR
from tests.workflow import ROOT, Workflow

TABLES = ("tables2", "tables3", "tables4")  # of the pilots, the first two


@pytest.mark.workflow
@pytest.mark.parametrize(
    ("study", "asked"),
    [("pilot", "pilot"), ("pilot_full", "pilot"), ("small", "small"), ("small_border", "small_border")],
)
def test_the_committed_tables_are_those_of_the_committed_scores(
    study: str, asked: str, tmp_path: Path
) -> None:
    rows = (ROOT / f"results/kept/{asked}.yaml").read_text(encoding="utf-8")
    (overlay := tmp_path / "study.yaml").write_text(f"{rows}study: {study}\n")
    workflow = Workflow.new(tmp_path / "clone", overlay)
    kept, made = ROOT / "results/kept" / study, workflow.folder / "results" / study
    shutil.copytree(kept / "scores", made / "scores")
    tables = TABLES if study == "small" else TABLES[:2]
    targets = [f"results/{study}/{table}.csv" for table in tables]
    result = workflow(*targets, "--allowed-rules", "gather", cores=1)
    assert result.code == 0, result.text
    for table in tables:
        files = sorted(kept.glob(f"{table}*"))
        assert len(files) == 5
        for path in files:
            assert path.read_bytes() == (made / path.name).read_bytes(), path.name


def test_the_committed_findings_are_those_of_the_committed_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    main(["findings", "--out", str(tmp_path / "findings.md")])
    made = (tmp_path / "findings.md").read_text(encoding="utf-8")
    assert made == (ROOT / "docs/study/findings.md").read_text(encoding="utf-8"), (
        "run `python -m samdiffsr findings`"
    )


def _study(folder: Path, gain: float, seeds: int = 3, images: int = 20) -> Kept:
    """A kept study in which the method is `gain` above its control, give or take a seed and an image."""
    for method, more in (("sam_diffsr", gain), ("srdiff", 0.0)):
        for seed in range(seeds):
            rows = [
                {
                    "run": f"{method}-x4-s{seed}", "weights": "ema", "dataset": "set14", "image": f"i{i}",
                    "metric": "psnr_y", "value": f"{25 + i % 5 + more * (1 + 0.1 * seed + 0.01 * i)}",
                    "why_empty": "", "protocol": "P",
                }
                for i in range(images)
            ]  # fmt: skip
            path = folder / "scores" / f"{method}-x4-s{seed}" / "set14.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_csv(path, IMAGE_COLUMNS, rows)
    return Kept(folder)


@pytest.mark.parametrize(
    ("gain", "seeds", "images", "verb"),
    [
        (1.0, 3, 20, "higher"),
        (-1.0, 3, 20, "lower"),
        (0.0, 3, 20, "not decided"),
        (1.0, 2, 20, "not decided"),
        (1.0, 1, 20, "no claim (one training)"),
        (1.0, 3, 5, "not decided"),
    ],
)
def test_the_scores_choose_the_verb(gain: float, seeds: int, images: int, verb: str, tmp_path: Path) -> None:
    _study(tmp_path / "kept/some", gain, seeds, images)
    (others := tmp_path / "others.csv").write_text("dataset\nSet5\n")
    template = '{% set d = some.minus("sam_diffsr", "srdiff", "set14") %}PSNR is {{ d.verb }}: {{ d.text }}'
    text = render(template, tmp_path / "kept", others)
    assert text.startswith(f"PSNR is {verb}: ")
    assert float(text.split(": ")[1].split()[0]) == pytest.approx(1.15 * gain, abs=0.15)


def test_what_the_scores_do_not_hold_is_refused(tmp_path: Path) -> None:
    study = _study(tmp_path / "kept/some", 1.0)
    for ask in (
        lambda: study.minus("sam_diffsr", "srdiff", "set5"),
        lambda: study.minus("sam_diffsr", "bicubic", "set14"),
        lambda: study.mean("srdiff", "set14", "ssim_y"),
        lambda: Kept(tmp_path).seeds("srdiff", "set14"),
    ):
        with pytest.raises(UserError):
            ask()
    (others := tmp_path / "others.csv").write_text("dataset\n")
    with pytest.raises(UserError, match="template of the findings: 'other' is undefined"):
        render("{{ other.minus }}", tmp_path / "kept", others)


def test_the_rules_conclusion_takes_its_p_from_all_that_the_study_claims() -> None:
    pilot = Kept(ROOT / "results/kept/pilot")
    of, minus = "sam_diffsr", "srdiff"
    assert pilot.conclusion(of, minus, "bsds100", "BSDS100") == "not decided"
    assert pilot.p_study(of, minus, "BSDS100") == "1.000"
    assert pilot.p_study("srdiff", "rrdb", "BSDS100") == "below .001"
    parts = [pd.read_csv(path) for path in sorted(pilot.folder.glob("table*_differences.csv"))]
    assert pilot.family() == len(pd.concat(parts).drop_duplicates(PAIR)["p"].dropna())
    for a, b, shown, words in (
        (minus, of, "BSDS100", "no table claims srdiff minus sam_diffsr on BSDS100"),
        (of, minus, "Urban100", "no table claims sam_diffsr minus srdiff on Urban100"),
        (of, "consistent", "BSDS100", "no table shows consistent"),
    ):
        with pytest.raises(UserError, match=words):
            pilot.p_study(a, b, shown)


def test_the_readme_quotes_the_findings() -> None:
    """Each difference in its answer stands on the page, with the same interval."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    answer = text.split("## The answer so far")[1].split("\n## ")[0]
    page = (ROOT / "docs/study/findings.md").read_text(encoding="utf-8")
    quoted = re.findall(r"[+-]\d\.\d+ \[[+-]\d\.\d+, [+-]\d\.\d+\]", answer)
    assert len(quoted) >= 2
    quoted += re.findall(r"(?<=p = )\.\d+", answer)
    assert [one for one in quoted if one not in page] == []
    (claims,) = re.findall(r"p is Holm's, over (\d+) claims", answer)
    assert f"over the {claims} differences" in page
