"""Batches of a training in their order, cut ahead of their use."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np

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
