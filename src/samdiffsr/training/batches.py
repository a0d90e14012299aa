"""Batches of a training in their order, cut ahead of their use."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

Arrays = dict[str, np.ndarray]
Cut = Callable[[int, int], Arrays]  # first global sample index, number of samples -> their arrays


@contextmanager
def ahead(
    cut: Cut, samples: Callable[[int], range], steps: range, workers: int
) -> Iterator[Iterator[Arrays]]:
    """The batches of `steps` in order, cut by `workers` threads ahead of their use, or in line if 0.

    Args:
        samples: the global sample indices of a step, consecutive.
    """

    def of(step: int) -> Arrays:
        chosen = samples(step)
        return cut(chosen.start, len(chosen))

    if workers == 0:
        yield map(of, steps)
        return
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[Arrays]] = deque()

        def generate() -> Iterator[Arrays]:
            for step in steps:
                waiting.append(pool.submit(of, step))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

        try:
            yield generate()
        finally:
            pool.shutdown(cancel_futures=True)


def on_device(batches: Iterator[Arrays], device: torch.device) -> Iterator[dict[str, Tensor]]:
    """The batches as tensors on the device; on a GPU each is copied there while the one before is in use."""
    if device.type != "cuda":
        for arrays in batches:
            yield {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
        return
    copying = torch.cuda.Stream(device)
    pinned: list[dict[str, Tensor]] = [{}, {}]  # memory that a GPU can read by itself, used in turns
    copied = [torch.cuda.Event(), torch.cuda.Event()]

    def start(arrays: Arrays, turn: int) -> dict[str, Tensor]:
        copied[turn].synchronize()  # of two batches ago
        for name, array in arrays.items():
            given = torch.from_numpy(array)
            if name not in pinned[turn]:
                pinned[turn][name] = torch.empty_like(given, pin_memory=True)
            pinned[turn][name].copy_(given)
        with torch.cuda.stream(copying):
            tensors = {name: tensor.to(device, non_blocking=True) for name, tensor in pinned[turn].items()}
            copied[turn].record(copying)
        return tensors

    waiting: deque[tuple[dict[str, Tensor], int]] = deque()
    for number, arrays in enumerate(batches):
        waiting.append((start(arrays, number % 2), number % 2))
        if len(waiting) == 2:
            yield _ready(*waiting.popleft(), copied, device)
    while waiting:
        yield _ready(*waiting.popleft(), copied, device)


def _ready(
    tensors: dict[str, Tensor], turn: int, copied: list[torch.cuda.Event], device: torch.device
) -> dict[str, Tensor]:
    """What is computed next waits for the copy; its memory is not given away before that is done."""
    stream = torch.cuda.current_stream(device)
    stream.wait_event(copied[turn])
    for tensor in tensors.values():
        tensor.record_stream(stream)
    return tensors
