"""One process, or several under torchrun or Slurm: Lightning Fabric reads the launcher's environment."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def launch(device: torch.device, precision: str) -> Fabric:
    """The processes that share this training, each knowing its rank."""
    from lightning_fabric import Fabric

    world = int(os.environ.get("WORLD_SIZE", os.environ.get("SLURM_NTASKS", 1)))
    with warnings.catch_warnings():  # a machine on which srun is installed need not be used through it
        warnings.filterwarnings("ignore", message="The `srun` command")
        fabric = Fabric(
            accelerator=device.type,
            devices=int(os.environ.get("LOCAL_WORLD_SIZE", os.environ.get("SLURM_NTASKS_PER_NODE", world))),
            num_nodes=int(os.environ.get("GROUP_WORLD_SIZE", os.environ.get("SLURM_NNODES", 1))),
            strategy="ddp" if world > 1 else "auto",
            precision="bf16-mixed" if precision == "bf16" else "32-true",
        )
    fabric.launch()
    return fabric


@contextmanager
def stop_signals() -> Iterator[list[str]]:
    """Collect the names of stop signals instead of dying of them."""
    seen: list[str] = []
    numbers = [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1]
    before = {
        n: signal.signal(n, lambda number, _: seen.append(signal.Signals(number).name)) for n in numbers
    }
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
