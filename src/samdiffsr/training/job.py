"""Where a training runs and what it leaves there; without torch, so that the workflow may plan with it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from samdiffsr.core.errors import UserError
from samdiffsr.core.layout import MODEL
from samdiffsr.training.recipe import Training
from samdiffsr.training.watching import WatchRecipe

COMPILED_FROM = 20_000  # steps: compiling takes about two minutes on a GPU and saves some ms a step
COMPILING = 111  # seconds, on an H200


class Interrupted(UserError):
    """A signal asked the training to stop; its state is saved."""


@dataclass(frozen=True)
class Job:
    """Where a training runs and what it may touch.

    Args:
        state: folder of the resume state.
        out: model file, written last. `<out stem>.curve.csv` and `.timing.json` are written beside it.
        device: auto | cpu | cuda. precision: auto | bf16 | float32 | tf32 (on a GPU).
        threads: CPU threads of this process. workers: threads that cut patches ahead; 0 cuts them in line.
        save_every: steps between two states.
        slow_hours: a training that would take longer is refused after its first steps; None: never.
        compile: let torch.compile turn the networks into code for this device: the same up to rounding.
            true | false | auto: on a GPU, where the training is long enough to pay for it.
        watch: what is shown of the training while it runs.
        code: names the code; states of other code are not gone on from.
    """

    state: Path
    out: Path
    device: str = "auto"
    precision: str = "auto"
    threads: int = 1
    workers: int = 0
    save_every: int = 500
    slow_hours: float | None = None
    compile: Literal["auto", "true", "false"] = "auto"
    watch: WatchRecipe = field(default_factory=WatchRecipe)
    code: str = ""


def learning_rate(step: int, training: Training) -> float:
    """Learning rate of the step after `step` steps: warm-up, then cosine to 0, halving steps, or constant."""
    lr, steps, warmup = training.lr, training.steps, training.warmup
    if step < warmup:
        return lr * (step + 1) / warmup
    if training.lr_schedule == "cosine":
        return lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
    if training.lr_schedule == "step":
        return lr * 0.5 ** (step // training.lr_step)
    return lr


def worth_compiling(device: str, steps: int) -> bool:
    """What `compile: auto` means for a training of so many steps on a device of this type."""
    return device == "cuda" and steps >= COMPILED_FROM


def averaging_decay(step: int, training: Training) -> float:
    """Decay of the weights' mean in the step after `step` steps: small at first, to forget the start."""
    return min(training.ema, (1 + step) / (10 + step))


def side_files(model: Path) -> tuple[Path, Path]:
    """Where the training curve (CSV) and the timing (JSON) of a model file lie."""
    _, curve, timing = MODEL
    return model.with_name(model.stem + curve), model.with_name(model.stem + timing)


def too_slow(name: str, hours: float, device: str) -> UserError:
    """Why a training is not begun."""
    days = f" ({hours / 24:.0f} days)" if hours >= 48 else ""
    return UserError(
        f"{name}: the training would take about {hours:.3g} hours{days} on {device}; choose a smaller study "
        "or a faster device, or allow it with allow_slow: true"
    )
