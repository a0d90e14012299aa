"""The whole paper study as a plan: every job, in little memory, with nothing of it here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.workflow import Result, Workflow

pytestmark = pytest.mark.workflow


def test_the_whole_paper_study_is_planned(tmp_path: Path) -> None:
    workflow = Workflow.new(tmp_path / "repository")
    told = tmp_path / "plan.txt"
    with open(told, "w") as out:
        process = workflow.start("-n", "all", "--config", "study=paper", stdout=out)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    text = told.read_text()
    assert process.returncode == 0, text
    jobs = Result(0, text).jobs
    assert jobs["train_denoiser"] >= 12
    assert jobs["fetch_source"] >= 7
    # masks and samples are shared by several jobs, bicubic enlargement is not
    assert jobs["segment_shard"] == 8 * jobs["merge_masks"] > 0
    assert 1.5 * jobs["merge_samples"] < jobs["sample_shard"] < 2 * jobs["merge_samples"]
    assert usage.ru_maxrss < 500 * 1024  # kB
