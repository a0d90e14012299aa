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
    """The batches as tensors on the device; on a GPU each is copied there while the one before is in use.

    There a batch's memory is used again: it holds the batch until the next one is asked for.
    """
    if device.type != "cuda":
        for arrays in batches:
            yield {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
        return
    copying = torch.cuda.Stream(device)
    places = _Place(device), _Place(device)
    waiting: _Place | None = None
    for number, arrays in enumerate(batches):
        place = places[number % 2]
        place.fill(arrays, copying)
        if waiting is not None:
            yield waiting.ready()
            waiting.used.record(torch.cuda.current_stream(device))
        waiting = place
    if waiting is not None:
        yield waiting.ready()


class _Place:
    """Memory for one batch: pages that the GPU can read by itself, and its own."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.pinned: dict[str, Tensor] = {}
        self.there: dict[str, Tensor] = {}
        self.copied, self.used = torch.cuda.Event(), torch.cuda.Event()

    def fill(self, arrays: Arrays, copying: torch.cuda.Stream) -> None:
        """Begin to copy a batch, once the one before in this place has been copied, and has been used."""
        self.copied.synchronize()
        copying.wait_event(self.used)
        with torch.cuda.stream(copying):
            for name, array in arrays.items():
                given = torch.from_numpy(array)
                if name not in self.there:
                    self.pinned[name], self.there[name] = _memory(given, self.device)
                self.pinned[name].copy_(given)
                self.there[name].copy_(self.pinned[name], non_blocking=True)
            self.copied.record(copying)

    def ready(self) -> dict[str, Tensor]:
        """The batch; what is computed next waits until it is there."""
        torch.cuda.current_stream(self.device).wait_event(self.copied)
        return self.there


def _memory(like: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    return torch.empty_like(like, pin_memory=True), torch.empty_like(like, device=device)
