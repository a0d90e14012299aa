"""Batches on their way to a GPU, with streams and events that only write down what they were told."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from samdiffsr.training import batches

GPU = torch.device("cuda")


class Told:
    """What the streams and events were told, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events = 0
        self.log: list[str] = []
        told = self

        class Stream:
            def __init__(self, device: torch.device, name: str = "copying") -> None:
                self.name = name

            def wait_event(self, event: Any) -> None:
                told.log.append(f"{self.name} waits for {event.name}")

        class Event:
            def __init__(self) -> None:
                place, kind = divmod(told.events, 2)
                self.name = f"{('copied', 'used')[kind]} {place}"
                told.events += 1

            def synchronize(self) -> None:
                told.log.append(f"we wait for {self.name}")

            def record(self, stream: Stream) -> None:
                told.log.append(f"{stream.name}: {self.name}")

        monkeypatch.setattr(torch.cuda, "Stream", Stream)
        monkeypatch.setattr(torch.cuda, "Event", Event)
        monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream(device, "computing"))
        monkeypatch.setattr(batches, "_memory", lambda x, device: (torch.empty_like(x), torch.empty_like(x)))


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_every_batch_arrives_in_order_in_two_places(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    Told(monkeypatch)
    given = iter([{"lr": np.full((2, 3), i, dtype=np.uint8)} for i in range(count)])
    found = [(int(x["lr"][0, 0]), x["lr"].data_ptr()) for x in batches.on_device(given, GPU)]
    assert [value for value, _ in found] == list(range(count))
    assert len({place for _, place in found}) == min(count, 2)


def test_a_place_is_filled_after_its_batch_was_used(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told(monkeypatch)

    def cut() -> Iterator[dict[str, np.ndarray]]:
        for i in range(3):
            told.log.append(f"cut {i}")
            yield {"lr": np.zeros(1, dtype=np.uint8)}

    for number, _ in enumerate(batches.on_device(cut(), GPU)):
        told.log.append(f"step {number}")

    def filled(number: int) -> list[str]:
        place = number % 2
        return [
            f"cut {number}",
            f"we wait for copied {place}",
            f"copying waits for used {place}",
            f"copying: copied {place}",
        ]

    assert told.log == [
        *filled(0), *filled(1),
        "computing waits for copied 0", "step 0", "computing: used 0", *filled(2),
        "computing waits for copied 1", "step 1", "computing: used 1",
        "computing waits for copied 0", "step 2",
    ]  # fmt: skip
