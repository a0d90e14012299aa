"""How our cost grows: with the image's size, the training images, the masks, and the runs in the graph.

Each point is a process of its own, so that its peak memory is its own.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from benchmarks.measure import Machine, least
from benchmarks.pairs import fresh_models, map_of, mask_records, released_position

from samdiffsr.config.load import load_config
from samdiffsr.config.reading import read_mapping
from samdiffsr.core.device import resolve_precision
from samdiffsr.core.files import write_csv
from samdiffsr.core.machine import peak_bytes
from samdiffsr.data.prepare import build_lr_store
from samdiffsr.data.store import Store, StoreWriter
from samdiffsr.masks.rle import regions_from_records
from samdiffsr.sampling.recipe import Draw
from samdiffsr.sampling.restorers import DenoiserRestorer
from samdiffsr.training.patches import PatchSource

BUDGET = 600_000_000  # bytes for the networks' maps in sampling
CPU = torch.device("cpu")


def image_size(side: int, folder: Path) -> dict[str, float]:
    """One step of the paper's network on a side x side image, in bands that fit into 600 MB."""
    config = load_config(read_mapping("config.yaml") | {"study": "paper"})
    encoder, denoiser = fresh_models(config, folder)
    drawn = Draw.model_construct(steps=[99], start=99, weights="raw", pad=0, seed=0)  # type: ignore[arg-type]
    precision = resolve_precision("auto", CPU)
    restore = DenoiserRestorer(denoiser, encoder, drawn, CPU, precision, memory=BUDGET)
    lr = np.random.default_rng(0).integers(0, 256, (side // 4, side // 4, 3), dtype=np.uint8)
    seconds = least(lambda: restore(lr, "it"), 1, CPU)
    return {"seconds": seconds, "seconds a megapixel": seconds / (side * side / 1e6)}


def training_images(count: int, folder: Path) -> dict[str, float]:
    """A batch of 16 patches out of `count` images."""
    rng = np.random.default_rng(0)
    with StoreWriter(folder / "hr", kind="hr") as store:
        for i in range(count):
            store.add(f"{i:05d}", rng.integers(0, 256, (480, 320, 3), dtype=np.uint8))
    build_lr_store(folder / "hr", folder / "lr", 4)
    before = _anonymous()
    source = PatchSource(Store(folder / "hr"), Store(folder / "lr"), None, None, scale=4, patch=160, seed=0)
    seconds = least(lambda: [source.batch(16 * i, 16) for i in range(50)], 5, CPU) / 50
    return {"seconds": seconds, "MB beyond the files' pages": (_anonymous() - before) / 1e6}


def masks(count: int, folder: Path) -> dict[str, float]:
    """A 2040x1356 image's masks, from run lengths to the structure map."""
    records, position = mask_records(count), released_position()
    program = partial(map_of, lambda: regions_from_records(records), position)
    return {"seconds": least(program, 5, CPU)}


def graph(target: str, folder: Path) -> dict[str, float]:
    """A dry run of the paper study's target, where nothing has been made yet."""
    tracked = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True).stdout
    for name in filter(os.path.exists, tracked.splitlines()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(name, folder / name)
    command = ["snakemake", "--dry-run", "--quiet", "rules", "--cores", "8"]
    command += [target, "--config", "study=paper"]
    path = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=os.environ | path)
    seconds = time.perf_counter() - began
    jobs = re.search(r"^total\s+(\d+)", done.stdout, re.MULTILINE)
    if done.returncode or not jobs:
        sys.exit(f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return {"jobs": float(jobs[1]), "seconds": seconds, "seconds a job": seconds / float(jobs[1])}


CURVES: dict[str, tuple[Callable[..., dict[str, float]], tuple[int | str, ...]]] = {
    "image_size": (image_size, (256, 512, 1024, 1536, 2048)),
    "training_images": (training_images, (10, 100, 1000)),
    "masks": (masks, (30, 100, 300, 1000)),
    "graph": (graph, ("results/table2.csv", "tables", "all")),
}


def curves(out: Path, threads: int) -> None:
    """Measure every point of CURVES; write scaling.csv and scaling.md."""
    out.mkdir(parents=True, exist_ok=True)
    machine = Machine.measured(CPU)
    rows, lines = [], []
    for name, (function, points) in CURVES.items():
        lines += [f"{name.replace('_', ' ')}: {(function.__doc__ or '').splitlines()[0]}", ""]
        for number, point in enumerate(points):
            command = [sys.executable, "-m", "benchmarks.scaling", name, str(point), str(threads)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"{' '.join(command)}\n{done.stderr}")
            found = json.loads(done.stdout.splitlines()[-1])
            rows += [{"curve": name, "at": point, "what": k, "value": v} for k, v in found.items()]
            if number == 0:
                lines += [f"| | {' | '.join(found)} |", "|---" * (len(found) + 1) + "|"]
            lines.append(f"| {point} | " + " | ".join(f"{v:.3g}" for v in found.values()) + " |")
            print(name, point, found, flush=True)
        lines.append("")
    write_csv(out / "scaling.csv", ["curve", "at", "what", "value"], rows)
    (out / "scaling.md").write_text("\n".join([*lines, f"{machine}."]) + "\n")


def _anonymous() -> int:
    """This process's memory without mapped files."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("this system does not tell a process's memory")


def main() -> None:
    from samdiffsr.core.randomness import prepare_torch

    name, point, threads = sys.argv[1:]
    prepare_torch(int(threads))
    function, _ = CURVES[name]
    with tempfile.TemporaryDirectory(prefix="samdiffsr-") as folder:
        found = function(int(point) if point.isdigit() else point, Path(folder))
    if name != "graph":
        found["peak MB"] = peak_bytes(CPU) / 1e6
    print(json.dumps(found))


if __name__ == "__main__":
    main()
