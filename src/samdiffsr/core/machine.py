"""What a machine calls its device, and how much memory was in use: for records, which decide no number."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import torch


def device_name(device: torch.device) -> str:
    """The GPU's or the processor's name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if Path("/proc/cpuinfo").exists():
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return "CPU"


def peak_bytes(device: torch.device) -> int:
    """The most memory in use so far: a GPU's allocated tensors, or the whole process."""
    import resource

    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if Path("/proc/self/status").exists():
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):  # unlike getrusage's, not inherited from what started the process
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def free_memory() -> int | None:
    """Bytes that this process may still take, of the machine's memory and of its control group's.

    None where the system does not say (anything but Linux).
    """
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        return None
    fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    free = [sum(1024 * int(fields.get(key, "0").split()[0]) for key in ("MemAvailable", "SwapFree"))]
    group = Path("/sys/fs/cgroup")
    with contextlib.suppress(OSError, ValueError):  # without a limit it is "max"
        limit, used = (int((group / f"memory.{what}").read_text()) for what in ("max", "current"))
        cache = re.search(r"^inactive_file (\d+)", (group / "memory.stat").read_text(), re.M)
        free.append(limit - used + int(cache[1] if cache else 0))
    return min(free)
