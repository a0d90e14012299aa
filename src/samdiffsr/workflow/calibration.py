"""What one step costs here: a few steps of the real training stages on made-up images, timed.

Time is linear in the batch once the device is busy, and memory is linear in it, so a small batch is enough
where a whole one would take minutes. On the CPU it is the process's own time on one thread, divided by the
threads that the stage will have: what others do on the machine does not count. Run each calibration in a
process of its own (`samdiffsr calibrate`), since the peak memory is the process's too.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from samdiffsr.core.device import resolve_device, resolve_precision
from samdiffsr.core.files import read_json, write_json
from samdiffsr.core.machine import device_name
from samdiffsr.data.prepare import build_lr_store
from samdiffsr.data.store import Store, StoreWriter
from samdiffsr.models.captured import WARM_UP
from samdiffsr.models.encoder import build_encoder
from samdiffsr.models.model_file import save_model
from samdiffsr.sampling.recipe import Draw
from samdiffsr.sampling.restorers import DenoiserRestorer
from samdiffsr.training.denoiser import train_denoiser
from samdiffsr.training.encoder import train_encoder
from samdiffsr.training.job import Job, side_files
from samdiffsr.training.recipe import CalibrationRecipe, DenoiserRecipe, EncoderRecipe

Trained = EncoderRecipe | DenoiserRecipe
STEPS = 5  # at the largest batch; the first is a warm-up
BUDGET = 2.0  # seconds that a step may take for there to be a larger batch to try
SAMPLE = 256  # side of the sampled image, HR pixels


def calibrate(recipe: CalibrationRecipe, out: Path, device: str = "auto", threads: int = 1) -> None:
    """Time one kind of training, and of a denoiser the sampling too, into the JSON file `out`.

    Region masks are left out: they cost nothing beside the networks.

    Writes: device, threads, precision; `step_seconds` and `peak_bytes` at the recipe's batch, extrapolated
    from `measured_batch`; `model_bytes` of the file; `memory_bytes` that the device has. Of a denoiser also
    `image_seconds` and `call_seconds` for an HR pixel: drawing it takes image_seconds + calls x call_seconds.
    """
    trained = recipe.timed
    if isinstance(trained, DenoiserRecipe):
        trained = trained.but(structure=None, formulation="none", options={}, region_features=1)
    where, wanted = resolve_device(device), trained.training.batch
    with tempfile.TemporaryDirectory(prefix="samdiffsr-") as name:
        folder = Path(name)
        _images(folder, trained.training.patch, trained.scale)
        encoder = folder / "encoder.safetensors"
        if recipe.denoiser is not None:
            _fresh_encoder(recipe.encoder, encoder)

        def train(job: Job, measured: Trained, on_step: Callable[[int], None]) -> None:
            stores = folder / "hr", folder / "lr"
            if isinstance(measured, EncoderRecipe):
                train_encoder(job, measured, *stores, on_step=on_step)
            else:
                train_denoiser(job, measured, *stores, encoder, on_step=on_step)

        job = Job(folder / "state", folder / "model.safetensors", device, trained.precision)
        clock = _clock(where, threads)
        found = [_measure(train, job, trained, clock, batch, 2) for batch in (1, 2) if batch <= wanted]
        most = min(wanted, int(BUDGET * found[-1][0] / found[-1][1]))
        if most > found[-1][0]:
            with contextlib.suppress(torch.OutOfMemoryError):  # then the smaller ones say how much it needs
                found.append(_measure(train, job, trained, clock, most, STEPS))
        batch, seconds, peak = found[-1]
        slope = (peak - found[0][2]) / (batch - 1) if batch > 1 else 0.0
        precision = resolve_precision(trained.precision, where)
        result: dict[str, Any] = {
            "device": device_name(where),
            "threads": threads,
            "precision": precision,
            "measured_batch": batch,
            "step_seconds": seconds * wanted / batch,
            "peak_bytes": int(peak + slope * (wanted - batch)),
            "model_bytes": job.out.stat().st_size,
            "memory_bytes": _memory(where),
        }
        if recipe.denoiser is not None:
            result |= _sampling(job.out, encoder, trained.scale, folder, where, precision, clock)
    write_json(out, result)


def _measure(
    train: Callable[[Job, Trained, Callable[[int], None]], None],
    job: Job,
    recipe: Trained,
    clock: Callable[[], float],
    batch: int,
    steps: int,
) -> tuple[int, float, int]:
    """(batch, seconds a step, peak bytes)."""
    ticks: list[float] = []
    train(job, recipe.but(training__batch=batch, training__steps=steps), lambda step: ticks.append(clock()))
    pace = min(b - a for a, b in pairwise(ticks))
    return batch, pace, read_json(side_files(job.out)[1])["peak_bytes"]


def _memory(where: torch.device) -> int:
    if where.type == "cuda":
        return torch.cuda.get_device_properties(where).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _clock(where: torch.device, threads: int) -> Callable[[], float]:
    def on_gpu() -> float:
        torch.cuda.synchronize(where)
        return time.perf_counter()

    return on_gpu if where.type == "cuda" else lambda: time.process_time() / threads


def _images(folder: Path, patch: int, scale: int) -> None:
    rng = np.random.default_rng(0)
    with StoreWriter(folder / "hr", kind="hr") as store:
        for name in "ab":
            store.add(name, rng.integers(0, 256, (2 * patch, 2 * patch, 3), dtype=np.uint8))
    build_lr_store(folder / "hr", folder / "lr", scale)


def _fresh_encoder(recipe: EncoderRecipe, path: Path) -> None:
    state = build_encoder(recipe).state_dict()
    save_model(path, state, state, {"recipe": recipe.model_dump(mode="json"), "digests": {}})


def _sampling(
    model: Path,
    encoder: Path,
    scale: int,
    folder: Path,
    where: torch.device,
    precision: str,
    clock: Callable[[], float],
) -> dict[str, float]:
    lr = Store(folder / "lr")[0]
    reach = -(-SAMPLE // scale)
    lr = np.pad(lr, [(0, max(0, reach - n)) for n in lr.shape[:2]] + [(0, 0)], mode="wrap")[:reach, :reach]

    def seconds(steps: int) -> float:
        drawn = Draw(steps=steps)
        restore = DenoiserRestorer(model, encoder, drawn, where, precision)
        for _ in range(WARM_UP + 1 if where.type == "cuda" else 1):  # until it is recorded, whatever `steps`
            restore(lr, "warm-up")
        began = clock()
        restore(lr, "timed")
        return (clock() - began) / float(lr.shape[0] * lr.shape[1] * scale**2)

    one, three = seconds(1), seconds(3)
    call = max(0.0, (three - one) / 2)
    return {"call_seconds": call, "image_seconds": max(0.0, one - call)}
