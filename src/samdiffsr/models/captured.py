"""A function of tensors that a GPU runs as one recorded graph; on any other device it is the function itself.

A network of many small layers keeps a GPU waiting for Python. A CUDA graph is recorded once for each shape of
the inputs and then launched as a whole: the same kernels on the same numbers.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

log = logging.getLogger(__name__)
WARM_UP = 3  # calls before a recording, in which libraries choose their algorithms and take their memory

Function = Callable[..., Tensor]


class Graph(NamedTuple):
    """A recorded call: copy into `inputs`, `replay`, read `output`."""

    inputs: tuple[Tensor, ...]
    output: Tensor
    replay: Callable[[], None]
    bytes: int


class Captured:
    """`function`, recorded where `wanted` says so.

    Args:
        function: tensors to one tensor. It must not read from the device nor depend on anything but the
            inputs and what it changes in place.
        what: what messages call it.
        wanted: None: on CUDA devices. False: never.
        memory: bytes that all graphs may hold; the least recently used make room. None: no limit.

    Where nothing can be recorded, a line says why and the function goes on by itself. The first `WARM_UP`
    calls of a shape are calls like any other. What is returned is the caller's own.
    """

    def __init__(
        self,
        function: Function,
        what: str,
        *,
        wanted: bool | None = None,
        memory: int | None = None,
    ) -> None:
        self.function, self.what, self.memory = function, what, memory
        self.wanted = wanted
        self.graphs: OrderedDict[Any, Graph] = OrderedDict()
        self.calls: dict[Any, int] = {}

    def __call__(self, *inputs: Tensor) -> Tensor:
        if not (records_on(inputs[0].device) if self.wanted is None else self.wanted):
            return self.function(*inputs)
        key = tuple((x.shape, x.stride(), x.dtype) for x in inputs)
        graph = self.graphs.get(key)
        if graph is None:
            self.calls[key] = self.calls.get(key, 0) + 1
            if self.calls[key] <= WARM_UP:
                return aside(self.function, inputs)
            try:
                graph = record(self.function, inputs)
            except RuntimeError as error:  # out of memory is one
                log.warning(f"{self.what}: no CUDA graph ({_first_line(error)}); it runs step by step")
                self.wanted = False
                self.graphs.clear()
                return self.function(*inputs)
            self.graphs[key] = graph
            self._make_room(key)
        self.graphs.move_to_end(key)
        for kept, given in zip(graph.inputs, inputs, strict=True):
            kept.copy_(given)
        graph.replay()
        return graph.output.clone()

    def _make_room(self, newest: Any) -> None:
        if self.memory is None:
            return
        for key in list(self.graphs):
            if sum(graph.bytes for graph in self.graphs.values()) <= self.memory or key == newest:
                return
            del self.graphs[key]
            torch.cuda.empty_cache()


def records_on(device: torch.device) -> bool:
    """Whether calls are recorded on this device."""
    return device.type == "cuda"


def aside(function: Function, inputs: tuple[Tensor, ...]) -> Tensor:
    """A call on the stream on which it will be recorded, as recordings want those before them to be."""
    stream = _side_stream(inputs[0].device)
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        output = function(*inputs)
    torch.cuda.current_stream().wait_stream(stream)
    return output.clone()


@cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    """One for all, since memory that was used on a stream is kept for that stream."""
    return torch.cuda.Stream(device)


def record(function: Function, inputs: tuple[Tensor, ...]) -> Graph:
    """Record a call with inputs like these; nothing is computed yet."""
    kept = tuple(torch.empty_like(x) for x in inputs)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=_side_stream(inputs[0].device)):
        before = torch.cuda.memory_reserved()  # here: what was cached has just been given back
        output = function(*kept)
        taken = torch.cuda.memory_reserved() - before
    return Graph(kept, output, graph.replay, taken + sum(x.nbytes for x in kept))


def _first_line(error: BaseException) -> str:
    """Of what was raised first: that a recording cannot be ended then is no news."""
    while error.__context__ is not None:
        error = error.__context__
    return (str(error).strip() or type(error).__name__).splitlines()[0]
