"""Lists of layers of one class: torch says of its own lists only that they hold modules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from torch import nn

Layer = TypeVar("Layer", bound=nn.Module)

if TYPE_CHECKING:

    class Layers(nn.ModuleList, Generic[Layer]):
        """`nn.ModuleList`."""

        def __init__(self, layers: Iterable[Layer]) -> None: ...
        def __iter__(self) -> Iterator[Layer]: ...
        @overload
        def __getitem__(self, place: slice) -> Layers[Layer]: ...
        @overload
        def __getitem__(self, place: int) -> Layer: ...
        def __getitem__(self, place: int | slice) -> Any: ...

    class Chain(nn.Sequential, Generic[Layer]):
        """`nn.Sequential`."""

        def __init__(self, *layers: Layer) -> None: ...
        def __iter__(self) -> Iterator[Layer]: ...
        @overload
        def __getitem__(self, place: slice) -> Chain[Layer]: ...
        @overload
        def __getitem__(self, place: int) -> Layer: ...
        def __getitem__(self, place: int | slice) -> Any: ...

else:
    Layers, Chain = nn.ModuleList, nn.Sequential
