"""The one place that decides about chance: seeds, and the state of torch in which equals give equals.

What is equal to which tolerance, measured: docs/method/reproducibility.md.
"""

from __future__ import annotations

import hashlib
import os

import torch


def prepare_torch(threads: int) -> None:
    """Bring torch into its deterministic state; every stage that computes with it calls this first.

    Args:
        threads: of the CPU. At most as many are used as this process may use: more make torch slower by
            orders of magnitude.

    An operation without a deterministic form on a GPU warns and goes on. No network of this package has one.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(max(1, min(threads, cores)))
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when a GPU is first used
    # as use_deterministic_algorithms, without importing the compiler, which takes longer than torch itself
    torch.set_deterministic_debug_mode("warn")
    # costs time, and nothing reads such memory; its stubs do not know it
    setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)  # noqa: B010
    torch.backends.cudnn.benchmark = False


def prepare_compiler() -> None:
    """Bring torch.compile into its deterministic state too; whoever compiles calls this first."""
    torch.use_deterministic_algorithms(True, warn_only=True)


def seed_weights(seed: int) -> None:
    """Fix the initial weights of the networks that are built next; all else has a generator of its own."""
    torch.manual_seed(seed)


def sample_generator(seed: int, index: int, device: torch.device | str = "cpu") -> torch.Generator:
    """The random numbers of one training sample, whatever batch, process or resumption it falls into."""
    # An odd multiplier mixes the two without collisions for fewer than 2^32 samples and seeds.
    key = (seed * 0x9E3779B97F4A7C15 + index * 0xD1B54A32D192ED03 + 0x2545F4914F6CDD1D) % 2**63
    return torch.Generator(device).manual_seed(key)


def image_index(name: str, sample: int = 0) -> int:
    """An index for `sample_generator` from an image's name: its noise depends on no order and no folder.

    sample: which of the images drawn of it; each has noise of its own. No file's name holds the NUL between.
    """
    text = f"{name}\0{sample}" if sample else name
    return int.from_bytes(hashlib.sha256(text.encode(errors="surrogateescape")).digest()[:6])
