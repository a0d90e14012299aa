"""The device that a stage runs on: which one, in which precision, its name and its memory."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import torch

from samdiffsr.core.errors import UserError


def resolve_precision(precision: str, device: torch.device) -> str:
    """bf16 where it was asked for, or where `auto` finds hardware for it; else float32."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    return "bf16" if "amx_bf16" in flags or "avx512_bf16" in flags else "float32"


def resolve_device(device: str) -> torch.device:
    """The device asked for; UserError if it is not there."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device: cuda was asked for, but torch sees no GPU; set device: cpu or auto")
    return torch.device(device)


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
