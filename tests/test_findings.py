"""The committed results behind docs/findings.md: the workflow's own tables of the committed scores."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.workflow import ROOT, Workflow

TABLES = ("tables2", "tables3")


@pytest.mark.workflow
@pytest.mark.parametrize("study", ["small", "small_full"])
def test_the_committed_tables_are_those_of_the_committed_scores(study: str, tmp_path: Path) -> None:
    (overlay := tmp_path / "study.yaml").write_text(f"study: {study}\n")
    workflow = Workflow.new(tmp_path / "clone", overlay)
    kept, made = ROOT / "results/kept" / study, workflow.folder / "results" / study
    shutil.copytree(kept / "scores", made / "scores")
    targets = [f"results/{study}/{table}.csv" for table in TABLES]
    result = workflow(*targets, "--allowed-rules", "gather", cores=1)
    assert result.code == 0, result.text
    for table in TABLES:
        files = sorted(kept.glob(f"{table}*"))
        assert len(files) == 5
        for path in files:
            assert path.read_bytes() == (made / path.name).read_bytes(), path.name
