"""The device that a stage runs on: which one, and in which precision."""

from __future__ import annotations

from pathlib import Path

import torch

from samdiffsr.core.errors import UserError


def resolve_precision(precision: str, device: torch.device) -> str:
    """bf16 where it was asked for, or where `auto` finds hardware for it; else float32.

    Raises:
        UserError: tf32 was asked for on the CPU, which has none.
    """
    if precision == "tf32" and device.type != "cuda":
        raise UserError("precision: tf32 is for GPUs; set precision: float32 or auto")
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    return "bf16" if "amx_bf16" in flags or "avx512_bf16" in flags else "float32"


def set_precision(precision: str) -> None:
    """Let float32 be float32 everywhere, or on a GPU, for `tf32`, 10 bits of it in products.

    Torch's own default is neither: exact matrix products, and convolutions in tf32.
    """
    rounded = precision == "tf32"
    torch.set_float32_matmul_precision("high" if rounded else "highest")
    torch.backends.cudnn.allow_tf32 = rounded


def resolve_device(device: str) -> torch.device:
    """The device asked for; UserError if it is not there."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device: cuda was asked for, but torch sees no GPU; set device: cpu or auto")
    return torch.device(device)
