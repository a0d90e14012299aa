"""Clocks and rates: two programs timed in turns, and what this machine can do at most."""

from __future__ import annotations

import gc
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

from samdiffsr.core.machine import device_name

Device = torch.device  # a machine has a field `torch`


@dataclass
class Timings:
    """Seconds of each repetition, by program."""

    seconds: dict[str, list[float]] = field(default_factory=dict)

    def add(self, program: str, seconds: float) -> None:
        self.seconds.setdefault(program, []).append(seconds)

    def median(self, program: str) -> float:
        return statistics.median(self.seconds[program])

    def spread(self, program: str) -> str:
        """'0.10 (0.09-0.12)': median, least and most."""
        values = self.seconds[program]
        return f"{_digits(self.median(program))} ({_digits(min(values))}-{_digits(max(values))})"

    def ratio(self) -> float:
        """How many times faster `ours` is than `released`, by medians."""
        return self.median("released") / self.median("ours")


def _digits(seconds: float) -> str:
    return f"{seconds:.3g}" if seconds < 100 else f"{seconds:.0f}"


def clock(device: torch.device) -> float:
    """Now, once the device has done all that it was asked to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def take_turns(
    programs: Mapping[str, Callable[[], object]], repeat: int, device: torch.device, loops: int = 1
) -> Timings:
    """Run the programs in turns, after one call of each to warm up; a repetition is `loops` calls."""
    timings = Timings()
    for program in programs.values():
        program()
    gc.collect()
    for _ in range(repeat):
        for name, program in programs.items():
            began = clock(device)
            for _ in range(loops):
                program()
            timings.add(name, (clock(device) - began) / loops)
    return timings


def least(program: Callable[[], object], repeat: int, device: torch.device) -> float:
    """Seconds of the fastest of `repeat` calls, after one to warm up."""
    return min(take_turns({"": program}, repeat, device).seconds[""])


@dataclass(frozen=True)
class Machine:
    """What was measured on, and its rates: matrix products (FLOP/s) by precision, and copying (bytes/s)."""

    device: str
    threads: int
    torch: str
    python: str
    flops: dict[str, float]
    copy: float

    @classmethod
    def measured(cls, device: Device) -> Machine:
        kinds = {"float32": torch.float32, "bf16": torch.bfloat16}
        return cls(
            device_name(device),
            torch.get_num_threads(),
            torch.__version__,
            platform.python_version(),
            {name: _matmul(device, dtype) for name, dtype in kinds.items()},
            _copy(device),
        )

    def __str__(self) -> str:
        rates = ", ".join(f"{name} {rate / 1e9:.0f} GFLOP/s" for name, rate in self.flops.items())
        return (
            f"{self.device}, {self.threads} CPU threads, torch {self.torch}, Python {self.python}; matrix "
            f"products measured at {rates}, copying at {self.copy / 1e9:.1f} GB/s (read and written)"
        )


def _matmul(device: torch.device, dtype: torch.dtype) -> float:
    n = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
    return 2 * n**3 / least(lambda: a @ b, 7, device)


def _copy(device: torch.device) -> float:
    a = torch.zeros(1 << (30 if device.type == "cuda" else 27), dtype=torch.uint8, device=device)
    b = torch.empty_like(a)
    return 2 * a.nbytes / least(lambda: b.copy_(a), 7, device)
