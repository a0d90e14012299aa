"""What a GPU makes of this code: steps, images, agreement, resume, bands and memory, in a few minutes.

    python -m benchmarks --gpu OUT [--released PATH] [--device cuda] [--tiny]

Needs neither Snakemake nor data: networks of the paper's size with fresh weights, on made-up images. On the
CPU, and with --tiny, everything is tiny: it shows that the command runs, and measures nothing. With a
checkout of the authors' code (`pairs.py`), a step and an image beside it, in turns, as large as ever.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml
from benchmarks import pairs
from benchmarks.layouts import Layouts
from benchmarks.measure import clock
from benchmarks.released import Released

from samdiffsr.config.config import Config
from samdiffsr.core.device import resolve_device, resolve_precision
from samdiffsr.core.errors import UserError
from samdiffsr.core.files import write_csv
from samdiffsr.core.machine import device_name, peak_bytes
from samdiffsr.data.prepare import build_lr_store
from samdiffsr.data.store import StoreWriter
from samdiffsr.models import captured
from samdiffsr.models.model_file import open_model
from samdiffsr.models.recipe import UNet
from samdiffsr.sampling.recipe import Draw
from samdiffsr.sampling.restorers import DenoiserRestorer, Restorer
from samdiffsr.training.denoiser import train_denoiser
from samdiffsr.training.encoder import train_encoder
from samdiffsr.training.job import Job
from samdiffsr.training.recipe import DenoiserRecipe, EncoderRecipe, Training

SCALE = 4
COLUMNS = ["what", "how", "value", "unit"]


class Size(NamedTuple):
    """How large everything is."""

    encoder: EncoderRecipe
    denoiser: DenoiserRecipe
    images: tuple[tuple[int, int], ...]  # height and width that are sampled
    calls: int  # of the denoiser, an image
    warm: int  # steps before timing
    steps: int  # that are timed


def paper() -> Size:
    training = Training(steps=1, ema=0.999, clip_grad=1.0)
    encoder = EncoderRecipe(scale=SCALE, training=training.but(batch=32, loss="l1"))
    denoiser = DenoiserRecipe(scale=SCALE, formulation="none", training=training)
    return Size(encoder, denoiser, ((320, 480), (1352, 2040)), 100, 10, 50)


def tiny() -> Size:
    training = Training(steps=1, batch=2, patch=32, clip_grad=1.0)
    encoder = EncoderRecipe(blocks=2, features=8, growth=4, scale=SCALE, training=training.but(loss="l1"))
    unet = UNet(dim=8, mults=(1, 2))
    denoiser = DenoiserRecipe(scale=SCALE, formulation="none", unet=unet, training=training)
    return Size(encoder, denoiser, ((32, 48), (48, 64)), 20, 4, 4)


class Bench:
    """One machine's measurements, row by row."""

    def __init__(self, folder: Path, device: torch.device, size: Size) -> None:
        self.folder, self.device, self.size = folder, device, size
        self.rows: list[dict[str, str]] = []
        rng = np.random.default_rng(0)
        patch = max(size.encoder.training.patch, size.denoiser.training.patch)
        with StoreWriter(folder / "hr", kind="hr") as store:
            for name in "abcd":
                store.add(name, rng.integers(0, 256, (2 * patch, 2 * patch, 3), dtype=np.uint8))
        build_lr_store(folder / "hr", folder / "lr", SCALE)
        self.encoder = folder / "encoder.safetensors"

    def add(self, what: str, how: str, value: float, unit: str) -> None:
        """One more row, printed as it comes."""
        self.rows.append({"what": what, "how": how, "value": f"{value:.4g}", "unit": unit})
        print(f"{what:<28}  {how:<34}  {value:10.4g} {unit}", flush=True)

    def train(
        self,
        recipe: EncoderRecipe | DenoiserRecipe,
        out: Path,
        steps: int,
        on_step: Callable[[int], None] = lambda step: None,
        **more: Any,
    ) -> None:
        """A training of so many steps, from its newest state on; `more` for its `Job`."""
        workers = 4 if self.device.type == "cuda" else 0
        told: dict[str, Any] = {"device": self.device.type, "precision": recipe.precision, "workers": workers}
        job = Job(out.with_suffix(".state"), out, **told | more)
        recipe = recipe.but(training__steps=steps)
        if isinstance(recipe, EncoderRecipe):
            train_encoder(job, recipe, self.folder / "hr", self.folder / "lr", on_step=on_step)
        else:
            train_denoiser(job, recipe, self.folder / "hr", self.folder / "lr", self.encoder, on_step=on_step)

    def step(
        self, recipe: EncoderRecipe | DenoiserRecipe, out: Path, compiled: str = "false"
    ) -> tuple[float, float, int]:
        """Seconds of a step, and of all before the first that is timed; copies between layouts in a step."""
        first, began = self.size.warm, time.perf_counter()
        last = first + self.size.steps
        ticks: dict[int, float] = {}
        copies, layouts = 0, Layouts()

        def on_step(step: int) -> None:
            nonlocal copies
            if step in (first, last):
                ticks[step] = clock(self.device)
            if step == last:
                layouts.start()
            elif step > last:
                copies = layouts.stop()

        self.train(recipe, out, last + 1, on_step, compile=compiled)
        return (ticks[last] - ticks[first]) / self.size.steps, ticks[first] - began, copies

    def steps(self) -> None:
        """A step of each training: as Python runs it, recorded, and compiled before that."""
        forms = {"eager": (False, "false"), "recorded": (True, "false")}
        if self.device.type == "cuda":
            forms["compiled, recorded"] = (True, "true")
        for what, recipe in (("encoder step", self.size.encoder), ("training step", self.size.denoiser)):
            for form, (graphs, compiled) in forms.items():
                out = self.encoder if what == "encoder step" else self.folder / f"{form}.safetensors"
                how = f"batch {recipe.training.batch}, patch {recipe.training.patch}, {form}"
                if self.device.type == "cuda":
                    torch.cuda.reset_peak_memory_stats(self.device)
                try:
                    with recording(graphs):
                        seconds, before, copies = self.step(recipe, out, compiled)
                except UserError as error:  # no compiler here
                    print(f"{what}, {how}: {error}", flush=True)
                    continue
                self.add(what, how, 1000 * seconds, "ms")
                self.add(f"{what}, before", how, before, "s")
                self.add(f"{what}, memory", how, peak_bytes(self.device) / 1e9, "GB")
                if form == "eager":  # of what is recorded, the profiler sees nothing
                    self.add(f"{what}, layouts", how, copies, "copies")

    def resume(self) -> None:
        """A training that is stopped half-way and goes on, beside one that is not; both twice as recorded."""
        recipe, half = self.size.denoiser, (self.size.warm + self.size.steps) // 2

        def die(step: int) -> None:
            if step == half + 1:
                raise _Killed

        steps = 2 * half
        for name in ("whole", "again"):
            self.train(recipe, self.folder / f"{name}.safetensors", steps, save_every=half)
        pieces = self.folder / "pieces.safetensors"
        with contextlib.suppress(_Killed):
            self.train(recipe, pieces, steps, die, save_every=half)
        self.train(recipe, pieces, steps, save_every=half)
        whole = open_model(self.folder / "whole.safetensors").weights("raw")
        for name, how in (("again", "the same training again"), ("pieces", f"killed after step {half + 1}")):
            other = open_model(self.folder / f"{name}.safetensors").weights("raw")
            apart = max(float((whole[key] - other[key]).abs().max()) for key in whole)
            self.add("largest difference, weights", how, apart, "")

    def images(self) -> None:
        """Images of each size: how far from exact float32 without graphs, and how long."""
        model, auto = self.folder / "whole.safetensors", resolve_precision("auto", self.device)
        rng = np.random.default_rng(1)

        def restorer(precision: str, calls: int, memory: int | None = None) -> Restorer:
            draw = Draw(steps=calls)
            return DenoiserRestorer(model, self.encoder, draw, self.device, precision, memory=memory)

        for height, width in self.size.images:
            lr = rng.integers(0, 256, (height // SCALE, width // SCALE, 3), dtype=np.uint8)
            few, calls = self.size.calls // 5, self.size.calls
            where = f"{width}x{height}, {few} steps"
            with recording(False):
                exact = restorer("float32", few)(lr, "a")
            for precision in dict.fromkeys(("float32", auto)):
                for form, graphs in (("eager", False), ("recorded", True)):
                    with recording(graphs):
                        restore = restorer(precision, few)
                        sr, again = restore(lr, "a"), restore(lr, "a")
                    self.apart(f"{where}, {precision}, {form}", sr, exact)
                    self.apart(f"{where}, {precision}, {form}, again", again, sr)
            memory = 20 * height * width * self.size.denoiser.unet.dim
            self.apart(f"{where}, float32, in bands", restorer("float32", few, memory)(lr, "a"), exact)
            for form, graphs in (("eager", False), ("recorded", True)):
                with recording(graphs):
                    restore = restorer(auto, calls)
                    restore(lr, "warm")
                    began = clock(self.device)
                    restore(lr, "a")
                    how = f"{width}x{height}, {calls} steps, {auto}, {form}"
                    self.add("sampling", how, clock(self.device) - began, "s")

    def beside(self, checkout: Path, repeat: int = 3) -> None:
        """A step and an image of the paper's size, in turns with the authors' code."""
        # not `load_config`: it needs a package for YAML that such a machine has not
        value = yaml.safe_load(Path("config.yaml").read_text(encoding="utf-8")) | {"study": "paper"}
        config, released = Config.model_validate(value), Released(checkout)
        precision = resolve_precision("auto", self.device)
        for stage in ("training", "sampling"):
            folder = self.folder / stage
            folder.mkdir()
            bench = pairs.Bench(released, config, self.device, precision, repeat, folder)
            result = pairs.STAGES[stage](bench, ("released", "ours"))
            for program in result.timings.seconds:
                self.add(f"{stage}, {program}", result.work, result.timings.median(program), "s")
            self.add(f"{stage}, released over ours", result.work, result.timings.ratio(), "")
            if result.agreement:
                print(f"{result.work}: {result.agreement}", flush=True)

    def apart(self, how: str, a: np.ndarray, b: np.ndarray) -> None:
        """How many of 255 levels two images differ by at most."""
        self.add("largest difference, image", how, float(np.abs(a.astype(int) - b).max()), "of 255")


class _Killed(BaseException):
    pass


@contextlib.contextmanager
def recording(wanted: bool) -> Iterator[None]:
    """With graphs where the device has them, or without."""
    before = captured.records_on
    if not wanted:
        captured.records_on = lambda device: False
    try:
        yield
    finally:
        captured.records_on = before


def measure(out: Path, device: str = "auto", small: bool = False, released: Path | None = None) -> None:
    """Measure everything into `out`/gpu_<device>.csv, and print it as it comes.

    Args:
        released: a checkout of the authors' code, to measure beside it.
    """
    where = resolve_device(device)
    print(f"{device_name(where)}, torch {torch.__version__}, {resolve_precision('auto', where)}", flush=True)
    size = tiny() if small or where.type == "cpu" else paper()
    with tempfile.TemporaryDirectory(prefix="samdiffsr-") as name:
        bench = Bench(Path(name), where, size)
        bench.steps()
        bench.resume()
        bench.images()
        if released is not None:
            bench.beside(released)
    label = "".join(letter if letter.isalnum() else "_" for letter in device_name(where)).lower()
    write_csv(out / f"gpu_{label}.csv", COLUMNS, bench.rows)
