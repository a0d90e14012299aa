"""The benchmark of a GPU machine runs anywhere, at a tiny size, without what such a machine often lacks."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

ABSENT = ("snakemake", "pyiqa", "dvc", "torch_fidelity", "matplotlib", "seaborn", "pandas", "scipy.spatial")


def test_the_gpu_benchmark_runs_on_the_cpu_without_the_workflow(tmp_path: Path, root: Path) -> None:
    program = (
        f"import runpy, sys\nfor name in {ABSENT!r}: sys.modules[name] = None\n"
        "sys.argv[0] = 'benchmarks'\nrunpy.run_module('benchmarks', run_name='__main__')"
    )
    options = ["--gpu", str(tmp_path), "--device", "cpu", "--threads", "1"]
    done = subprocess.run(
        [sys.executable, "-c", program, *options],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root / "src")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("gpu_*.csv")
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    found = {(row["what"], row["how"].split(", ")[-1]) for row in rows}
    for what in ("encoder step", "training step", "sampling"):
        assert {(what, "eager"), (what, "recorded")} <= found
    exact = [row for row in rows if row["what"] == "largest difference, weights"]
    assert [float(row["value"]) for row in exact] == [0, 0]  # repeated, and resumed
    again = [row for row in rows if row["how"].endswith(", again")]
    assert again
    assert all(float(row["value"]) == 0 for row in again)
    banded = [row for row in rows if row["how"].endswith("in bands")]
    assert len(banded) == 2
    assert all(float(row["value"]) <= 1 for row in banded)
