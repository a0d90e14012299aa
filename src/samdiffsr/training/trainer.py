"""The training loop, for the encoder and the denoiser alike.

Everything random is a pure function of (seed, global sample index), and the learning rate one of the step,
so a state is {net, ema, optimizer, step} and nothing else: a resumed training equals an uninterrupted one,
bit for bit on the CPU, and the number of processes changes nothing but the order of summation.

One process, or several under torchrun or Slurm: Lightning Fabric reads the launcher's environment.
"""

from __future__ import annotations

import csv
import math
import os
import signal
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from samdiffsr.core.device import device_name, peak_bytes, resolve_device, resolve_precision
from samdiffsr.core.errors import UserError
from samdiffsr.core.files import atomic_path, write_json
from samdiffsr.core.randomness import prepare_torch
from samdiffsr.models.model_file import save_model
from samdiffsr.training.state import StateFolder

Batch = dict[str, Tensor]
Loss = Callable[[nn.Module, Batch, list[int]], Tensor]
POINTS = 100  # of the training curve
WARM_UP, TIMED = 1, 4  # steps: those not timed, and after how many the speed is judged


class Interrupted(UserError):
    """A signal asked the training to stop; its state is saved."""


@dataclass(frozen=True)
class Job:
    """Where a training runs and what it may touch.

    Args:
        state: folder of the resume state.
        out: model file, written last. `<out stem>.curve.csv` and `.timing.json` are written beside it.
        device: auto | cpu | cuda. precision: auto | bf16 | float32.
        threads: CPU threads of this process. workers: threads that cut patches ahead; 0 cuts them in line.
        save_every: steps between two states.
        slow_hours: a training that would take longer is refused after its first steps; None: never.
        compile: let torch.compile turn the network into code for this device: the same up to rounding.
    """

    state: Path
    out: Path
    device: str = "auto"
    precision: str = "auto"
    threads: int = 1
    workers: int = 0
    save_every: int = 500
    slow_hours: float | None = None
    compile: bool = False


def learning_rate(step: int, training: dict[str, Any]) -> float:
    """Learning rate of the step after `step` steps: warm-up, then cosine to 0, halving steps, or constant."""
    lr, steps, warmup = training["lr"], training["steps"], training["warmup"]
    if step < warmup:
        return lr * (step + 1) / warmup
    if training["lr_schedule"] == "cosine":
        return lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
    if training["lr_schedule"] == "step":
        return lr * 0.5 ** (step // training["lr_step"])
    return lr


def train(
    job: Job,
    name: str,
    recipe: dict[str, Any],
    digests: dict[str, str | None],
    net: nn.Module,
    batch: Callable[[int, int], dict[str, Any]],
    loss: Loss,
    module: nn.Module | None = None,
    facts: dict[str, Any] | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Train `net`, going on from the newest state in `job.state`, and write the model file.

    Args:
        name: what messages call this training.
        recipe: kept with the model; recipe["training"] holds steps, batch, lr, ema ...
        digests: hashes of the inputs (stores, encoder), kept with the model.
        batch: (first global sample index, number of samples) -> their numpy arrays, a pure function.
        loss: (module, batch on the device, indices) -> mean loss over the samples.
        module: what the loss calls, if not `net` itself: a module around it, with no weights of its own.
        facts: further JSON to keep with the model.

    Raises:
        UserError: a non-finite loss, naming the step; a batch that the processes cannot share evenly; a
            training that would take longer than `job.slow_hours`.
        Interrupted: after SIGTERM, SIGINT or SIGUSR1, with the state saved.
    """
    from lightning_fabric import Fabric

    training = recipe["training"]
    prepare_torch(job.threads)
    device = resolve_device(job.device)
    precision = resolve_precision(job.precision, device)
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
    rank, world = fabric.global_rank, fabric.world_size
    if training["batch"] % world:
        raise UserError(f"{name}: batch {training['batch']} cannot be shared by {world} processes evenly")

    net = net.to(memory_format=torch.channels_last)  # 1.2 times faster on the CPU too
    ema = {k: v.detach().to(fabric.device, copy=True) for k, v in net.state_dict().items()}
    optimizer = torch.optim.Adam(net.parameters(), lr=training["lr"], betas=(0.9, 0.999), fused=True)
    called = net if module is None else module
    if job.compile:
        called.compile(fullgraph=True, dynamic=False)
    model, optimizer = fabric.setup(called, optimizer)

    identity = {"recipe": recipe, "digests": digests, "precision": precision}
    states = StateFolder(job.state, identity | ({"compiled": True} if job.compile else {}))
    curve: list[tuple[int, float, float]] = []  # (step, mean loss since the last point, learning rate)
    window: list[Tensor] = []  # losses since then; they stay on the device until `settle`
    seconds, done = 0.0, 0
    if (found := states.load(say)) is not None:
        done, state = found
        net.load_state_dict(state["net"])
        ema = {k: v.to(fabric.device) for k, v in state["ema"].items()}
        optimizer.load_state_dict(state["optimizer"])
        curve, seconds = [tuple(point) for point in state["curve"]], state["seconds"]
        window = list(state["window"].to(fabric.device))
        say(f"{name}: goes on after {done} of {training['steps']} steps")

    ema_keys = list(ema)
    ema_list = [ema[k] for k in ema_keys]
    net_list = [net.state_dict()[k] for k in ema_keys]  # shares memory with the parameters

    def settle(step: int) -> None:
        """Stop at a loss that is not finite; let every process hold the mean over all of them."""
        if not window:
            return
        values = fabric.all_reduce(torch.stack(window), reduce_op="mean")
        bad = (~torch.isfinite(values)).nonzero()
        if len(bad):
            raise UserError(
                f"{name}: the loss is not finite at step {step - len(values) + int(bad[0]) + 1}; "
                "lower its training.lr or set precision: float32"
            )
        window[:] = list(values)

    def save(step: int) -> None:
        settle(step)
        if fabric.is_global_zero:
            state = {
                "net": net.state_dict(),
                "ema": dict(zip(ema_keys, ema_list, strict=True)),
                "optimizer": optimizer.state_dict(),
                "curve": curve,
                "window": torch.stack(window) if window else torch.empty(0),
                "seconds": seconds + time.perf_counter() - began,
            }
            states.save(step, state)

    log_every = max(1, training["steps"] // POINTS)

    def local(step: int) -> list[int]:
        share = training["batch"] // world
        first = step * training["batch"] + rank * share
        return list(range(first, first + share))

    net.train()
    ticks: list[float] = []
    began = time.perf_counter()
    with _stop_signals() as stopped, _ahead(batch, local, done, training["steps"], job.workers) as batches:
        for step in range(done, training["steps"]):
            indices, arrays = next(batches)
            tensors = {k: torch.from_numpy(v).to(fabric.device, non_blocking=True) for k, v in arrays.items()}
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, training)
            optimizer.zero_grad(set_to_none=True)
            with _compiling(name, job.compile):
                with fabric.autocast():
                    value = loss(model, tensors, indices)
                fabric.backward(value)
            if training["clip_grad"]:
                torch.nn.utils.clip_grad_norm_(net.parameters(), training["clip_grad"])
            optimizer.step()
            # a short memory at first leaves no trace of the start
            decay = min(training["ema"], (1 + step) / (10 + step))
            torch._foreach_lerp_(ema_list, net_list, 1 - decay)
            window.append(value.detach().float())

            step += 1
            if job.slow_hours is not None and step - done in (WARM_UP, TIMED):
                if fabric.device.type == "cuda":
                    torch.cuda.synchronize(fabric.device)
                ticks.append(time.perf_counter())
                if len(ticks) == 2:
                    pace = (ticks[1] - ticks[0]) / (TIMED - WARM_UP)
                    hours = (training["steps"] - step) * pace / 3600
                    if float(fabric.all_reduce(torch.tensor(hours), reduce_op="mean")) > job.slow_hours:
                        raise too_slow(name, hours, device_name(fabric.device))
            if step % log_every == 0 or step == training["steps"]:
                settle(step)
                mean = float(torch.stack(window).mean())
                window.clear()
                curve.append((step, mean, learning_rate(step - 1, training)))
                speed = (step - done) / (time.perf_counter() - began)
                say(f"{name}: step {step}/{training['steps']}  loss {mean:.5f}  {speed:.1f} steps/s")
            if step == training["steps"]:
                break
            stop = bool(stopped)
            if world > 1:  # all or none
                stop = bool(fabric.all_reduce(torch.tensor(float(stop)), reduce_op="sum"))
            if stop or step % job.save_every == 0:
                save(step)
            if stop:
                reason = stopped[0] if stopped else "a signal to another process"
                raise Interrupted(
                    f"{name}: stopped by {reason} after step {step}; the state is saved, "
                    "run the same command to go on"
                )
    seconds += time.perf_counter() - began

    if not fabric.is_global_zero:
        return
    import platform

    curve_path, timing_path = side_files(job.out)
    with atomic_path(curve_path) as part, open(part, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["step", "loss", "lr"])
        writer.writerows((s, f"{m:.6g}", f"{r:.6g}") for s, m, r in curve)
    write_json(
        timing_path,
        {
            "steps": training["steps"],
            "seconds": round(seconds, 3),
            "device": device_name(fabric.device),
            "processes": world,
            "threads": torch.get_num_threads(),
            "peak_bytes": peak_bytes(fabric.device),
        },
    )
    info = {
        "recipe": recipe,
        "digests": digests,
        **(facts or {}),
        "precision": precision,
        "compiled": job.compile,
        "device": device_name(fabric.device),
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
    }
    save_model(job.out, net.state_dict(), dict(zip(ema_keys, ema_list, strict=True)), info)
    states.clear()


def side_files(model: Path) -> tuple[Path, Path]:
    """Where the training curve (CSV) and the timing (JSON) of a model file lie."""
    return model.with_name(f"{model.stem}.curve.csv"), model.with_name(f"{model.stem}.timing.json")


def too_slow(name: str, hours: float, device: str) -> UserError:
    """Why a training is not begun."""
    days = f" ({hours / 24:.0f} days)" if hours >= 48 else ""
    return UserError(
        f"{name}: the training would take about {hours:.3g} hours{days} on {device}; choose a smaller study "
        "or a faster device, or allow it with allow_slow: true"
    )


@contextmanager
def _compiling(name: str, compiled: bool) -> Iterator[None]:
    """Say in one line that the network, or its gradient, could not be compiled."""
    try:
        yield
    except Exception as error:
        if compiled and type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            why = str(error).strip().splitlines()[0]
            raise UserError(
                f"{name}: torch.compile failed ({why}); it needs a C++ compiler such as g++, on a GPU triton "
                "too; set compile: false"
            ) from error
        raise


@contextmanager
def _stop_signals() -> Iterator[list[str]]:
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


@contextmanager
def _ahead(
    batch: Callable[[int, int], dict[str, Any]],
    indices: Callable[[int], list[int]],
    first: int,
    last: int,
    workers: int,
) -> Iterator[Iterator[tuple[list[int], dict[str, Any]]]]:
    """Batches of steps first..last-1 in order, cut by `workers` threads ahead of their use."""

    def cut(step: int) -> tuple[list[int], dict[str, Any]]:
        chosen = indices(step)
        return chosen, batch(chosen[0], len(chosen))

    if workers == 0:
        yield map(cut, range(first, last))
        return
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[tuple[list[int], dict[str, Any]]]] = deque()

        def generate() -> Iterator[tuple[list[int], dict[str, Any]]]:
            for step in range(first, last):
                waiting.append(pool.submit(cut, step))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

        try:
            yield generate()
        finally:
            pool.shutdown(cancel_futures=True)
