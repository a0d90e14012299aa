"""The work of `samdiffsr upscale`: image by image through the network."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from samdiffsr import __version__
from samdiffsr.core.batch import Batch
from samdiffsr.core.errors import UserError, shown
from samdiffsr.core.files import atomic_path, leftovers, remove, sha256_file, sha256_json
from samdiffsr.core.progress import progress_bar
from samdiffsr.data.resize import upscale
from samdiffsr.models.model_info import model_info
from samdiffsr.sampling.recipe import Draw, Weights
from samdiffsr.sampling.upscale.models import find_models
from samdiffsr.sampling.upscale.picture import (
    FORMATS,
    Outline,
    Picture,
    check_fit,
    fitted,
    outline,
    read_picture,
    write_picture,
)
from samdiffsr.sampling.upscale.plan import Plan, check_name, check_space, make_plan
from samdiffsr.sampling.upscale.record import Record

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    import torch

    from samdiffsr.sampling.restorers import Restorer

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
BYTES = {"denoiser": 84, "encoder": 24}  # of memory for a pixel of the result, without the network's maps


@dataclass(frozen=True)
class Task:
    """An image that is to be made. made_of: a hash over all that decides about the result."""

    source: Path
    target: Path
    made_of: str


def upscale_images(
    inputs: Sequence[Path],
    out: str | Path,
    run: Path | None = None,
    *,
    encoder: Path | None = None,
    weights: Weights = "ema",
    steps: int | None = None,
    seed: int = 0,
    suffix: str | None = None,
    overwrite: bool = False,
    recursive: bool = False,
    pad: int = 1,
    memory: int = 550,
    device: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
) -> None:
    """Enlarge image files by a trained model. An image that fails is named, and the others are made.

    What a folder holds of an earlier call, made of the same images with the same settings, is kept.

    Args:
        inputs, out, suffix, recursive: as for `make_plan`. run, encoder: as for `find_models`.
        weights: ema | raw. steps: of the sampling (None: all).
        seed: the noise depends on it and on the file's name without its suffix, as in the study.
        overwrite: replace what is there; never an input.
        pad: LR pixels around a denoiser's image; without them SAM-DiffSR spoils its last row and column.
        memory: MB for the network's maps; see docs/start/own-images.md.
        threads: None: all.

    Raises:
        UserError: before anything is made, or at the end if some images failed.
    """
    plan = make_plan(inputs, out, suffix, recursive)
    for line in plan.left_out:
        log.info(line)
    models = find_models(run, encoder)
    scale = model_info(models["encoder"])["recipe"]["scale"]
    _keep_pages()

    from samdiffsr.core.device import resolve_device, resolve_precision
    from samdiffsr.core.randomness import prepare_torch
    from samdiffsr.sampling.restorers import DenoiserRestorer, encoder_restorer

    prepare_torch(threads or os.cpu_count() or 1)
    where = resolve_device(device)
    precision = resolve_precision(precision, where)
    draw = Draw(seed=seed, steps=steps, weights=weights, pad=pad)
    batch = Batch(len(plan.targets) + len(plan.refused), "images")
    for source, reason in plan.refused.items():
        with batch.item(source):
            raise UserError(f"{shown(source)}: {reason}; convert it to PNG")
    record = Record(plan.folder) if plan.folder else None
    hashes = {kind: sha256_file(path) for kind, path in models.items()}
    tasks = _to_do(plan, record, [__version__, draw.model_dump(), hashes, precision], overwrite, batch)
    tasks = _possible(tasks, scale, next(k for k in BYTES if k in models), where, batch)
    if not tasks:
        batch.finish()
        return
    for part in leftovers([plan.folder] if plan.folder else []):
        remove(part)
    budget = memory * 1_000_000
    with progress_bar(unit="band", leave=False) as show:
        if "denoiser" in models:
            restore: Restorer = DenoiserRestorer(
                models["denoiser"],
                models["encoder"],
                draw,
                where,
                precision,
                memory=budget,
                progress=show.at,
            )
        else:
            restore = encoder_restorer(models["encoder"], weights, where, precision, budget)
        for number, task in enumerate(tasks, start=1):
            began = time.perf_counter()
            with batch.item(task.source):
                width, height = _make(task, scale, restore, record)
                seconds = time.perf_counter() - began
                log.info(f"{shown(task.target)}: {number} of {len(tasks)}, {width}x{height}, {seconds:.1f} s")
    batch.finish()


def _to_do(
    plan: Plan, record: Record | None, settings: list[Any], overwrite: bool, batch: Batch
) -> list[Task]:
    """The images that are not there yet; UserError if something else is in their place."""
    tasks, kept = [], 0
    for source, target in plan.targets.items():
        with batch.item(source):
            task = Task(
                source, target, sha256_json([*settings, target.suffix, source.stem, sha256_file(source)])
            )
            if record and record.holds(target, task.made_of):
                kept += 1
            else:
                check_name(target)
                tasks.append(task)
    for task in tasks:
        if task.target.exists() and not overwrite:
            raise UserError(f"{shown(task.target)}: exists; give --overwrite, or another -o")
    if kept:
        log.info(f"{kept} of {len(plan.targets)} images were made before, of the same with the same settings")
    return tasks


def _possible(tasks: list[Task], scale: int, kind: str, where: torch.device, batch: Batch) -> list[Task]:
    """The tasks that can be done, by all that can be known without the network; the others fail here."""
    outlines: dict[Task, Outline] = {}
    for task in tasks:
        with batch.item(task.source):
            found = outline(task.source)
            check_fit(found, scale, task.target)
            if where.type == "cpu":
                _check_memory(task.source, found, scale, BYTES[kind])
            _, lost = fitted(found.metadata, found.mode, FORMATS[task.target.suffix.lower()])
            if lost := found.dropped + lost:
                log.warning(f"{shown(task.source)}: dropped: {'; '.join(lost)}")
            outlines[task] = found
    check_space(((task.target, found) for task, found in outlines.items()), scale)
    return list(outlines)


def _check_memory(source: Path, found: Outline, scale: int, bytes_: int) -> None:
    """Refuse what the system would kill the whole batch for."""
    from samdiffsr.core.machine import free_memory

    needed, free = found.width * found.height * scale**2 * bytes_, free_memory()
    if free is not None and needed > free:
        raise UserError(
            f"{shown(source)}: {found.width}x{found.height} needs about {needed / 1e9:.1f} GB of memory, "
            f"{free / 1e9:.1f} GB are free; cut it into parts"
        )


def _make(task: Task, scale: int, restore: Restorer, record: Record | None) -> tuple[int, int]:
    """Make one image; its width and height."""
    picture = read_picture(task.source)
    large = _enlarged(picture, scale, task.source.stem, restore)
    kind = FORMATS[task.target.suffix.lower()]
    metadata, _ = fitted(picture.metadata, picture.mode, kind)
    with atomic_path(task.target) as part:
        with open(part, "w+b") as file:
            write_picture(file, Picture(large.pixels, large.alpha, metadata), kind)
        if record:
            record.add(task.target, task.made_of, sha256_file(part))
    height, width = large.pixels.shape[:2]
    return width, height


def _enlarged(picture: Picture, scale: int, name: str, restore: Restorer) -> Picture:
    """Gray goes through the network as RGB and becomes its luma; alpha is enlarged as by MATLAB."""
    gray = picture.pixels.shape[2] == 1
    large = restore(picture.pixels.repeat(3 if gray else 1, axis=2), name)
    if gray:
        large = np.asarray(Image.fromarray(large).convert("L"))[:, :, None]
    alpha = None if picture.alpha is None else upscale(picture.alpha, scale)
    return Picture(large, alpha, picture.metadata)


def _keep_pages() -> None:
    """Let glibc keep freed memory for the next map instead of clearing new pages: 20 % of the time."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # another C library
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)
