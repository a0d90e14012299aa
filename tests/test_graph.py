"""The whole paper study as a plan: every job, in little memory, with nothing of it here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.workflow import TINY, Result, Workflow

pytestmark = pytest.mark.workflow

# The peak of a process counts what it was forked from, and pytest is large: a small process starts it.
MEASURE = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:], stderr=subprocess.STDOUT)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""


def test_the_whole_paper_study_is_planned(tmp_path: Path) -> None:
    workflow = Workflow.new(tmp_path / "repository")
    command = [sys.executable, "-m", "snakemake", "-n", "all", "--cores", "2", "--configfile", str(TINY)]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *command, "--config", "study=paper"],
        cwd=workflow.folder,
        text=True,
        stdout=subprocess.PIPE,
    )
    assert done.returncode == 0, done.stdout
    jobs = Result(0, done.stdout).jobs
    assert jobs["train_denoiser"] >= 12
    assert jobs["fetch_source"] >= 7
    # masks and samples are shared by several jobs, bicubic enlargement is not
    assert jobs["segment"] == 8 * jobs["merge_masks"] > 0
    assert 1.5 * jobs["merge_samples"] < jobs["sample"] < 2 * jobs["merge_samples"]
    assert int(done.stdout.split()[-1]) < 500 * 1024  # kB
