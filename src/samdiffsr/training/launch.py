"""The processes that train together, and the signals that stop them."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from samdiffsr.core.ranks import in_srun_step, ranks, unused_tasks

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def launch(device: torch.device, precision: str, name: str) -> Fabric:
    """The processes that share the training `name`, each knowing its rank."""
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments import LightningEnvironment

    here = ranks()
    if tasks := unused_tasks():
        log.warning(
            f"{name}: one process trains in a Slurm allocation of {tasks} tasks; srun would start more"
        )
    if in_srun_step() and here.world > 1:
        os.environ |= {
            "LOCAL_RANK": str(here.local_rank),
            "NODE_RANK": str(here.node),
            "MASTER_ADDR": os.environ.get("MASTER_ADDR", first_host()),
            "MASTER_PORT": os.environ.get("MASTER_PORT", port_of_step()),
        }
    fabric = Fabric(
        accelerator=device.type,
        devices=here.local_world,
        num_nodes=here.nodes,
        strategy="ddp" if here.world > 1 else "auto",
        precision="bf16-mixed" if precision == "bf16" else "32-true",
        # not what Fabric would guess: it takes every process of a Slurm allocation for a rank
        plugins=None if "TORCHELASTIC_RUN_ID" in os.environ else LightningEnvironment(),
    )
    fabric.launch()
    return fabric


def first_host() -> str:
    """The step's first node, where rank 0 listens."""
    from lightning_fabric.plugins.environments import SLURMEnvironment

    return SLURMEnvironment.resolve_root_node_address(os.environ.get("SLURM_STEP_NODELIST", "127.0.0.1"))


def port_of_step() -> str:
    """The same port in all processes of a step, another in the next step."""
    job, step = (int(os.environ.get(name, 0)) for name in ("SLURM_JOB_ID", "SLURM_STEP_ID"))
    return str(15_000 + (97 * job + step) % 10_000)


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
