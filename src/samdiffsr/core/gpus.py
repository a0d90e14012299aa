"""Which of a machine's GPUs a process uses where no scheduler decides it, and how many processes train."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from samdiffsr.core.ranks import ranks

DRIVER = Path("/proc/driver/nvidia/gpus")
DECIDED = ("CUDA_VISIBLE_DEVICES", "LOCAL_RANK", "SLURM_JOB_ID")  # by the user, torchrun, Slurm


def gpus_here(driver: Path = DRIVER) -> int:
    """How many GPUs the machine has, whoever uses them; found out without torch."""
    return len(_entries(driver))


def _entries(driver: Path) -> list[Path]:
    """The driver's entries of the machine's GPUs, in their order."""
    return sorted(driver.iterdir()) if driver.is_dir() else []


def take_gpus(wanted: int, driver: Path = DRIVER) -> None:
    """Make `wanted` GPUs that no other process has taken the only ones that torch sees.

    They are taken until this process (or what it becomes by exec) ends, by locks on the driver's own entries:
    every user can open these and no setting moves them. Where the environment says which GPUs to use, where
    there is one at most, or where too few are free, nothing is done: all are seen.

    Args:
        driver: a folder with an entry a GPU.
    """
    entries = _entries(driver)
    if len(entries) < 2 or any(name in os.environ for name in DECIDED):
        return
    taken: dict[int, int] = {}
    for gpu, entry in enumerate(entries):
        if len(taken) == wanted:
            break
        file = os.open(entry, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            taken[gpu] = file
        except BlockingIOError:
            os.close(file)
    if len(taken) < wanted:
        for file in taken.values():
            os.close(file)
        return
    for file in taken.values():
        os.set_inheritable(file, True)
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # as the driver's entries are named
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, taken))


def become_several(processes: int, arguments: Sequence[str]) -> None:
    """Start `samdiffsr ARGUMENTS` over as so many processes under torchrun; returns where that is done."""
    if processes < 2 or "WORLD_SIZE" in os.environ or ranks().world > 1:
        return
    # by number, since a laptop's own name may resolve to no address, which torchrun waits for
    launch = ["-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
    launch += ["--nproc-per-node", str(processes)]
    os.execv(sys.executable, [sys.executable, *launch, "-m", "samdiffsr", *arguments])
