"""The training loop, for the encoder and the denoiser alike.

Everything random is a pure function of (seed, global sample index), and the learning rate one of the step,
so a state is {net, ema, optimizer, step} and nothing else: a resumed training equals an uninterrupted one,
bit for bit on the CPU, and the number of processes changes nothing but the order of summation.
"""

from __future__ import annotations

import contextlib
import csv
import logging
import platform
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from samdiffsr.core.device import resolve_device, resolve_precision, set_precision
from samdiffsr.core.errors import UserError
from samdiffsr.core.files import atomic_path, no_room, write_json
from samdiffsr.core.machine import device_name, peak_bytes
from samdiffsr.core.progress import Progress, progress_bar
from samdiffsr.core.randomness import prepare_torch
from samdiffsr.models.model_file import save_model
from samdiffsr.training.batches import ahead, on_device
from samdiffsr.training.job import Interrupted, Job, learning_rate, side_files, too_slow
from samdiffsr.training.launch import launch, stop_signals
from samdiffsr.training.state import KEEP, StateFolder
from samdiffsr.training.step import Batch, Step, Task, compiles
from samdiffsr.training.watch import Watch
from samdiffsr.training.watching import WatchRecipe

log = logging.getLogger(__name__)

POINTS = 100  # of the training curve
# Steps: those not timed, and after how many the speed is judged. On a GPU the first ones choose algorithms
# and record the graph, which takes a hundred times as long as a step.
PACE = {"cpu": (1, 4), "cuda": (20, 40)}


class Trainer:
    """Trains a task, going on from the newest state in `job.state`, and writes the model file.

    Args:
        on_step: called after every step, with the number of steps done.

    Raises:
        UserError: a non-finite loss, naming the step; a batch that the processes cannot share evenly; a
            training that would take longer than `job.slow_hours`.
        Interrupted: after SIGTERM, SIGINT or SIGUSR1, with the state saved.
    """

    def __init__(
        self,
        job: Job,
        task: Task,
        on_step: Callable[[int], None] = lambda step: None,
    ) -> None:
        self.job, self.task, self.on_step = job, task, on_step
        self.name, self.training = task.name, task.recipe.training
        prepare_torch(job.threads)
        device = resolve_device(job.device)
        self.precision = resolve_precision(job.precision, device)
        set_precision(self.precision)
        self.fabric = launch(device, self.precision, self.name)
        self.world = self.fabric.world_size
        if self.training.batch % self.world:
            raise UserError(
                f"{self.name}: batch {self.training.batch} cannot be shared by {self.world} processes evenly"
            )
        self.compiled = compiles(job.compile, device, self.training.steps, self.name)
        told = job.watch if self.fabric.is_global_zero else WatchRecipe()
        self.watch = Watch(told, task, self.fabric.device, self.fabric.autocast, job.state.name)
        self.step = Step(task, self.fabric, self.precision, self.compiled)
        if self.compiled and job.compile == "auto" and self.world == 1:
            self.compiled = self.try_to_compile()
        identity = {
            "recipe": task.recipe.model_dump(mode="json"),
            "digests": task.digests,
            "precision": self.precision,
            "code": job.code,
        }
        self.states = StateFolder(job.state, identity | ({"compiled": True} if self.compiled else {}))
        self.done = 0  # steps
        self.seconds = 0.0  # of earlier processes
        self.curve: list[tuple[int, float, float]] = []  # (step, mean loss since the last point, lr)
        self.validated: list[tuple[int, float]] = []  # (step, PSNR in dB)
        self.window: list[Tensor] = []  # losses since then; they stay on the device until `settle`

    def run(self) -> None:
        """All steps that are left, then the model file."""
        self.restore()
        self.check_room()
        last, every = self.training.steps, max(1, self.training.steps // POINTS)
        self.first, self.began = self.done, time.perf_counter()
        self.watch.begin(self.done)
        steps = range(self.done, last)
        with (
            stop_signals() as stopped,
            contextlib.closing(self.watch),
            ahead(self.task.cut, self.samples, steps, self.job.workers) as batches,
            progress_bar(
                self.name, unit="step", start=self.done, quiet=not self.fabric.is_global_zero
            ) as show,
        ):
            for batch in on_device(batches, self.fabric.device):
                self.advance(batch)
                self.judge_pace()
                if self.done % every == 0 or self.done == last:
                    self.settle()
                    self.log(show)
                if self.watch.due(self.done, last):
                    self.validated.append((self.done, self.watch.validate(self.done, self.step.mean)))
                show.at(self.done, last)
                self.on_step(self.done)
                if self.done == last:
                    break
                stop = self.any_process(bool(stopped))
                if stop or self.done % self.job.save_every == 0:
                    self.save()
                if stop:
                    reason = stopped[0] if stopped else "a signal to another process"
                    raise Interrupted(
                        f"{self.name}: stopped by {reason} after step {self.done}; the state is saved, "
                        "run the same command to go on"
                    )
        self.check()
        if self.fabric.is_global_zero:
            self.finish()

    def try_to_compile(self) -> bool:
        """Whether the network can be compiled, by its first batch; if not, say why and take the plain step.

        This is found out before the states are looked for, since those of the two kinds are apart.
        """
        samples = self.samples(0)
        batch = next(on_device(iter([self.task.cut(samples.start, len(samples))]), self.fabric.device))
        try:
            self.step.tried(batch, samples)
        except Exception as error:  # whatever its compilers raise
            why = str(error).strip().splitlines()[0]
            log.warning(f"{self.name}: trains without torch.compile ({why})")
            self.step = self.step.uncompiled()
            return False
        return True

    def check_room(self) -> None:
        """Refuse to begin what the disk cannot hold: the states (weights, mean, two moments), the model."""
        size = sum(tensor.nbytes for tensor in self.step.mean.values())
        need = 4 * size * (KEEP + 1) + 2 * size
        if (
            self.done == 0
            and self.fabric.is_global_zero
            and (why := no_room(need, self.job.state, self.name))
        ):
            raise UserError(why)

    def samples(self, step: int) -> range:
        """The global sample indices of this process's share of the step after `step` steps."""
        share = self.training.batch // self.world
        first = step * self.training.batch + self.fabric.global_rank * share
        return range(first, first + share)

    def advance(self, arrays: Batch) -> None:
        """One step."""
        self.window.append(self.step(self.done, arrays, self.samples(self.done)))
        self.done += 1

    def any_process(self, here: bool) -> bool:
        """Whether it is so in any of the processes: all stop, or none."""
        if self.world == 1:
            return here
        return bool(self.fabric.all_reduce(torch.tensor(float(here)), reduce_op="sum"))

    def mean_of_all(self, values: Tensor) -> Tensor:
        """The mean over all processes."""
        mean = self.fabric.all_reduce(values, reduce_op="mean")
        assert isinstance(mean, Tensor)
        return mean

    def judge_pace(self) -> None:
        """Refuse a training that would take too long, as soon as that can be told."""
        if self.job.slow_hours is None:
            return
        taken = self.done - self.first
        warm_up, timed = PACE[self.fabric.device.type]
        if taken in (warm_up, timed) and self.fabric.device.type == "cuda":
            torch.cuda.synchronize(self.fabric.device)
        if taken == warm_up:
            self.warm = time.perf_counter()
        elif taken == timed:
            pace = (time.perf_counter() - self.warm) / (timed - warm_up)
            hours = (self.training.steps - self.done) * pace / 3600
            if float(self.mean_of_all(torch.tensor(hours))) > self.job.slow_hours:
                raise too_slow(self.name, hours, device_name(self.fabric.device))

    def settle(self) -> None:
        """Stop at a loss that is not finite; let every process hold the mean over all of them."""
        if not self.window:
            return
        values = self.mean_of_all(torch.stack(self.window))
        bad = (~torch.isfinite(values)).nonzero()
        if len(bad):
            raise UserError(
                f"{self.name}: the loss is not finite at step {self.done - len(values) + int(bad[0]) + 1}; "
                "lower its training.lr or set precision: float32"
            )
        self.window = list(values)

    def log(self, show: Progress) -> None:
        """One more point of the curve."""
        mean = float(torch.stack(self.window).mean())
        self.window = []
        self.curve.append((self.done, mean, learning_rate(self.done - 1, self.training)))
        speed = (self.done - self.first) / (time.perf_counter() - self.began - self.watch.seconds)
        self.watch.point(*self.curve[-1], speed)
        last, loss = self.training.steps, f"loss {mean:.5f}"
        line = f"{self.name}: step {self.done}/{last}  {loss}  {speed:.1f} steps/s"
        show.at(self.done, last, note=loss, line=line)

    def restore(self) -> None:
        """Go on from the newest state, if there is one: in every process from the one that the first has."""
        found = None
        if self.fabric.is_global_zero:
            self.states.claim()
            found = self.states.load()
        if self.world > 1:  # their folders may differ
            found = self.fabric.broadcast(found)
        if found is None:
            return
        self.done, state = found
        self.step.load(state)
        self.curve = [tuple(point) for point in state["curve"]]
        self.validated = [tuple(point) for point in state.get("validated", ())]
        self.window = list(state["window"].to(self.fabric.device))
        self.seconds = state["seconds"]
        log.info(f"{self.name}: goes on after {self.done} of {self.training.steps} steps")

    def save(self) -> None:
        """Keep the state, from which the same command goes on."""
        self.settle()
        self.check()
        if not self.fabric.is_global_zero:
            return
        state = self.step.state() | {
            "curve": self.curve,
            "window": torch.stack(self.window) if self.window else torch.empty(0),
            "validated": self.validated,
            "seconds": self.trained_for(),
        }
        self.states.save(self.done, state)

    def trained_for(self) -> float:
        """Seconds, of this process and earlier ones, without those of validations."""
        return self.seconds + time.perf_counter() - self.began - self.watch.seconds

    def check(self) -> None:
        """Stop before what this process holds is written, if it is worth nothing or another's to write."""
        # the losses up to here were finite: what is not came with the last gradient
        if self.any_process(not self.step.finite()):
            raise UserError(
                f"{self.name}: the weights are not finite after step {self.done}; lower its "
                "training.lr or set precision: float32"
            )
        other = self.states.other_writer() if self.fabric.is_global_zero else None
        if self.any_process(other is not None):
            raise UserError(
                f"{self.name}: {other or 'another process'} began the same training later; this one stops "
                f"after step {self.done} and leaves all files to it"
            )

    def finish(self) -> None:
        """Write the curve, the timing, and last the model file; nothing is left to resume."""
        device, out = self.fabric.device, self.job.out
        curve_path, timing_path = side_files(out)
        with atomic_path(curve_path) as part, open(part, "w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerows(curve_rows(self.curve, self.validated))
        write_json(
            timing_path,
            {
                "steps": self.training.steps,
                "seconds": round(self.trained_for(), 3),
                "device": device_name(device),
                "processes": self.world,
                "threads": torch.get_num_threads(),
                "peak_bytes": peak_bytes(device),
            },
        )
        info = {
            "recipe": self.task.recipe.model_dump(mode="json"),
            "digests": self.task.digests,
            **self.task.facts,
            "precision": self.precision,
            "compiled": self.compiled,
            "device": device_name(device),
            "versions": {"torch": torch.__version__, "python": platform.python_version()},
        }
        save_model(out, self.step.net.state_dict(), self.step.mean, info)
        self.states.clear()


def curve_rows(
    curve: Sequence[tuple[int, float, float]], validated: Sequence[tuple[int, float]]
) -> list[list[Any]]:
    """The training curve as CSV rows with a head; `psnr` is a column only where something was validated."""
    losses = {step: [f"{loss:.6g}", f"{lr:.6g}"] for step, loss, lr in curve}
    if not validated:
        return [["step", "loss", "lr"], *([step, *values] for step, values in losses.items())]
    psnr = {step: f"{value:.6g}" for step, value in validated}
    steps = sorted(losses.keys() | psnr.keys())
    rows = ([step, *losses.get(step, ["", ""]), psnr.get(step, "")] for step in steps)
    return [["step", "loss", "lr", "psnr"], *rows]
