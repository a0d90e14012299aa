"""The device that a stage runs on: which one, and in which precision."""

from __future__ import annotations

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
