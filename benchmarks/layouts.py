"""How many maps a program copies from one layout of memory to another, as torch's profiler sees it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from torch.profiler import ProfilerActivity, profile


class Layouts:
    """Counts between `start` and `stop`: 4-dimensional maps whose copy has its axes in another order.

    It sees each operation, those inside others and those of a gradient too, and no recorded graph.
    """

    def start(self) -> None:
        self.profile = profile(activities=[ProfilerActivity.CPU], record_shapes=True)
        self.profile.start()

    def stop(self) -> int:
        """How many there were."""
        self.profile.stop()
        results = self.profile.profiler
        assert results is not None
        assert results.kineto_results is not None
        events = _all(results.kineto_results.experimental_event_tree())
        return sum(
            _differs(*event.extra_fields.inputs[:2]) for event in events if event.name == "aten::copy_"
        )


def _all(events: Iterable[Any]) -> Iterator[Any]:
    waiting = list(events)
    while waiting:
        event = waiting.pop()
        yield event
        waiting += event.children


def _differs(to: Any, given: Any) -> bool:
    if len(to.sizes) != 4 or list(to.sizes) != list(given.sizes):
        return False
    return _order(to.sizes, to.strides) != _order(to.sizes, given.strides)


def _order(sizes: Sequence[int], strides: Sequence[int]) -> list[int]:
    """The axes of more than one place, from the one with the longest way between two."""
    return sorted((axis for axis in range(4) if sizes[axis] > 1), key=lambda axis: -strides[axis])
