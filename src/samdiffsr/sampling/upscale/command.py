"""The work of `samdiffsr upscale`: image by image through the network."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from samdiffsr.checkpoints.released import model_info
from samdiffsr.core.errors import UserError
from samdiffsr.data.resize import upscale
from samdiffsr.sampling.upscale.models import find_models
from samdiffsr.sampling.upscale.picture import Picture, fits, read_picture, write_picture
from samdiffsr.sampling.upscale.plan import targets

if TYPE_CHECKING:
    from samdiffsr.sampling.restorers import Restorer

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h


def upscale_images(
    inputs: Sequence[Path],
    out: Path,
    run: Path,
    *,
    encoder: Path | None = None,
    weights: str = "ema",
    steps: int | None = None,
    seed: int = 0,
    suffix: str | None = None,
    overwrite: bool = False,
    pad: int = 1,
    memory: int = 550,
    device: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Enlarge image files by a trained model. An image that fails is named, and the others are made.

    Args:
        inputs, out, suffix, overwrite: as for `targets`. run, encoder: as for `find_models`.
        weights: ema | raw. steps: of the sampling (None: all).
        seed: the noise depends on it and on the file's name without its suffix, as in the study.
        pad: LR pixels around a denoiser's image; without them SAM-DiffSR spoils its last row and column.
        memory: MB for the network's maps; see docs/upscale.md.
        threads: None: all.

    Raises:
        UserError: before anything is made, or at the end if some images failed.
    """
    made = targets(inputs, out, suffix, overwrite)
    models = find_models(run, encoder)
    _keep_pages()

    from samdiffsr.core.device import resolve_device, resolve_precision
    from samdiffsr.core.randomness import prepare_torch
    from samdiffsr.sampling.restorers import denoiser_restorer, encoder_restorer

    prepare_torch(threads or os.cpu_count() or 1)
    where = resolve_device(device)
    precision = resolve_precision(precision, where)
    budget = memory * 1_000_000
    with _bar() as progress:
        if "denoiser" in models:
            recipe = {"seed": seed, "steps": steps, "start": None, "weights": weights, "pad": pad}
            restore = denoiser_restorer(
                models["denoiser"],
                models["encoder"],
                recipe,
                where,
                precision,
                memory=budget,
                progress=progress,
            )
        else:
            restore = encoder_restorer(models["encoder"], weights, where, precision, budget)
        scale = model_info(models["encoder"])["recipe"]["scale"]
        failures = []
        for number, (source, target) in enumerate(made.items(), start=1):
            began = time.perf_counter()
            try:
                picture = read_picture(source)
                fits(target, picture)
                large = _enlarged(picture, scale, source.stem, restore)
                write_picture(target, large)
            except UserError as error:
                failures.append(str(error))
                if len(made) > 1:
                    say(f"failed: {error}")
                continue
            height, width = large.pixels.shape[:2]
            seconds = time.perf_counter() - began
            say(f"{target}: {number} of {len(made)}, {width}x{height}, {seconds:.1f} s")
    if failures:
        raise UserError(
            failures[0] if len(made) == 1 else f"{len(failures)} of {len(made)} images failed; see above"
        )


def _keep_pages() -> None:
    """Let glibc keep freed memory for the next map instead of clearing new pages: 20 % of the time."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # another C library
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)


def _enlarged(picture: Picture, scale: int, name: str, restore: Restorer) -> Picture:
    """Gray goes through the network as RGB and becomes its luma; alpha is enlarged as by MATLAB."""
    gray = picture.pixels.shape[2] == 1
    large = restore(picture.pixels.repeat(3 if gray else 1, axis=2), name)
    if gray:
        large = np.asarray(Image.fromarray(large).convert("L"))[:, :, None]
    alpha = None if picture.alpha is None else upscale(picture.alpha, scale)
    return Picture(large, alpha, picture.said)


@contextlib.contextmanager
def _bar() -> Iterator[Callable[[int, int], None]]:
    """On a terminal a bar over the bands of all steps of an image; elsewhere a line an image is enough."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from tqdm import tqdm

    with tqdm(unit="band", leave=False, dynamic_ncols=True) as bar:

        def show(done: int, total: int) -> None:
            if done == 1:
                bar.reset(total)
            bar.update(done - bar.n)
            if done == total:
                bar.clear()

        yield show
