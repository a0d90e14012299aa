"""Committed results: their tables follow from their scores of single images, by the workflow's own rule."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.workflow import ROOT, Workflow

STUDIES = ["small"]


@pytest.mark.parametrize("study", STUDIES)
def test_committed_tables_follow_from_committed_scores(study: str, tmp_path: Path) -> None:
    committed = ROOT / "results" / study
    workflow = Workflow.new(tmp_path / "clone", ROOT / "config.yaml")
    made = workflow.folder / "results" / study
    shutil.copytree(committed / "scores", made / "scores")
    tables = sorted(path.name for path in committed.glob("table*.csv") if "_" not in path.stem)
    assert tables
    targets = [f"results/{study}/{name}" for name in tables]
    # every other rule's output counts as given: nothing is fetched, trained or drawn
    result = workflow(*targets, "--allowed-rules", "gather", "--config", f"study={study}", cores=1)
    assert result.code == 0, result.text
    for name in tables:
        for path in committed.glob(f"{Path(name).stem}[._]*"):
            assert (made / path.name).read_bytes() == path.read_bytes(), path
