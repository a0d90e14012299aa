"""The benchmark of a GPU machine runs anywhere, at a tiny size, with only what such a machine has."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks import gpu, pairs
from benchmarks.layouts import Layouts
from benchmarks.measure import Timings

# Refuses every package that a bare machine lacks, and that the page on performance does not add to it.
ONLY_WHAT_IS_THERE = """
import importlib.abc, importlib.machinery, importlib.metadata, re, runpy, sys

THERE = '''torch torchvision triton lightning-fabric timm pandas seaborn scikit-image safetensors einops
opencv-python-headless pydantic pycocotools rotary-embedding-torch samdiffsr'''
plain = lambda name: re.sub('[-_.]+', '-', name).lower()
found, waiting = set(), THERE.split()
while waiting:
    name = plain(waiting.pop())
    if name in found:
        continue
    try:
        needs = importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
        continue
    found.add(name)
    if name != 'samdiffsr':
        waiting += [re.match('[A-Za-z0-9._-]+', need)[0] for need in needs if 'extra ==' not in need]
owners = importlib.metadata.packages_distributions()

finders = list(sys.meta_path)

class There(importlib.abc.MetaPathFinder):
    find_distributions = staticmethod(importlib.machinery.PathFinder.find_distributions)

    def find_spec(self, name, path=None, target=None):
        owner = {plain(one) for one in owners.get(name.partition('.')[0], ())}
        if owner and not owner & found:
            return None
        specs = (finder.find_spec(name, path, target) for finder in finders)
        return next((spec for spec in specs if spec is not None), None)

sys.meta_path[:] = [There()]
sys.argv[0] = 'benchmarks'
for name in ('snakemake', 'dvc', 'pyiqa'):
    try:
        __import__(name)
    except ModuleNotFoundError:
        continue
    sys.exit(f'{name} was not refused')
runpy.run_module('benchmarks', run_name='__main__')
"""


def test_the_gpu_benchmark_runs_on_the_cpu_with_what_a_bare_machine_has(tmp_path: Path, root: Path) -> None:
    options = ["--gpu", str(tmp_path), "--device", "cpu", "--threads", "1"]
    done = subprocess.run(
        [sys.executable, "-c", ONLY_WHAT_IS_THERE, *options],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root / "src")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("gpu_*.csv")
    rows = _rows(path)
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
    layouts = {row["what"]: float(row["value"]) for row in rows if row["unit"] == "copies"}
    assert list(layouts) == ["encoder step, layouts", "training step, layouts"]


def test_it_measures_beside_a_checkout_of_the_released_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def stage(bench: pairs.Bench, programs: Any) -> pairs.Result:
        asked.append((bench.released, bench.config.study, bench.device.type, programs))
        return pairs.Result(
            "a step", Timings({"released": [6.0, 5.0, 9.0], "ours": [1.0, 2.0, 3.0]}), "alike"
        )

    for name in ("steps", "resume", "images"):
        monkeypatch.setattr(gpu.Bench, name, lambda bench: None)
    monkeypatch.setattr(gpu, "Released", lambda checkout: checkout)
    monkeypatch.setattr(pairs, "STAGES", {"training": stage, "sampling": stage})
    gpu.measure(tmp_path, "cpu", released=Path("their/code"))
    assert asked == [(Path("their/code"), "paper", "cpu", ("released", "ours"))] * 2
    (path,) = tmp_path.glob("gpu_*.csv")
    rows = [(row["what"], row["value"]) for row in _rows(path)]
    assert rows[:3] == [
        ("training, released", "6"),
        ("training, ours", "2"),
        ("training, released over ours", "3"),
    ]
    assert len(rows) == 6


def test_copies_between_layouts_are_counted_and_no_others() -> None:
    x = torch.randn(2, 3, 8, 8)
    layouts = Layouts()
    layouts.start()
    last = x.to(memory_format=torch.channels_last).requires_grad_()  # one
    kept = last.clone().double().float()
    torch.autograd.grad(last[:, :, 1:3], last, kept[:, :, 1:3].detach())  # torch's gradient of a slice
    last.detach().contiguous()
    assert layouts.stop() == 3
    layouts.start()
    x.flatten(2).transpose(1, 2).contiguous()  # no map
    assert layouts.stop() == 0


def _rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))
