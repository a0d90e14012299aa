"""What a target will cost in this study on this device, before anything runs.

Snakemake says which jobs will run; the seconds of a step come from a short calibration of the study's own
networks, kept in work/calibration/ by device, networks and code. Masks, scores and tables are not timed.
"""

from __future__ import annotations

import logging
import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from samdiffsr.checkpoints.dvc import runs_named
from samdiffsr.config.config import Config
from samdiffsr.config.recipes.stages import denoiser_recipe, encoder_recipe
from samdiffsr.core import layout
from samdiffsr.core.errors import UserError
from samdiffsr.core.files import read_json, sha256_json
from samdiffsr.core.layout import Kind, Layout
from samdiffsr.data.catalogue import sources, weights
from samdiffsr.evaluation.decision import needed_words
from samdiffsr.training.job import COMPILING, too_slow, worth_compiling
from samdiffsr.training.recipe import CalibrationRecipe, DenoiserRecipe, EncoderRecipe
from samdiffsr.training.state import saved_steps
from samdiffsr.workflow.beforehand import PNG_BYTES, image_sizes, unfit
from samdiffsr.workflow.fingerprint import fingerprint, training_fingerprint
from samdiffsr.workflow.jobs import PlannedFile, jobs_of

log = logging.getLogger(__name__)

Costly = TypeVar("Costly", EncoderRecipe, DenoiserRecipe)
# A training that shows the network fewer pixels in `slow_hours` than at this speed is not slow anywhere, so
# it needs no calibration: the paper's networks do 25 000 pixels a second on two cores.
PIXELS_PER_SECOND = 4_000
KINDS: dict[str, Kind] = {"train_encoder": "encoders", "train_denoiser": "runs"}  # by the rules that train


@dataclass(frozen=True)
class PendingTraining:
    """One training that is yet to run; `recipe` is that of its calibration."""

    name: str
    recipe: CalibrationRecipe
    steps: int  # that are left

    @property
    def pixels(self) -> int:
        training = self.recipe.timed.training
        return self.steps * training.batch * training.patch**2


# ---- trainings ----


def training_of(config: Config, kind: str, name: str, root: Path = Path()) -> PendingTraining:
    """The training that the rule `train_<kind>` runs for the model folder `name`."""
    if kind == "encoder":
        found = layout.read_run(name)
        assert found is not None, name
        denoiser = None
        sizes = encoder_recipe(config, *found)
    else:
        (run,) = runs_named(config, name)
        denoiser = denoiser_recipe(config, run)
        sizes = encoder_recipe(config, denoiser.encoder, run.scale, run.seed)
    folder = Layout(config.study).training_state("encoders" if kind == "encoder" else "runs", name)
    done = saved_steps(root / folder, denoiser or sizes, training_fingerprint(denoiser))
    recipe = CalibrationRecipe(encoder=_costly(sizes), denoiser=denoiser and _costly(denoiser))
    return PendingTraining(name, recipe, (denoiser or sizes).training.steps - done)


def training_at(config: Config, rule: str, path: str, root: Path = Path()) -> PendingTraining | None:
    """The training whose model `rule` makes at `path`; None for other rules and files."""
    if rule not in KINDS:
        return None
    found = layout.read(path, Layout(config.study).model, kind=KINDS[rule])
    return None if found is None else training_of(config, rule.removeprefix("train_"), found["name"], root)


def _costly(recipe: Costly) -> Costly:
    """A training recipe without what decides nothing about its cost, so that variants share a calibration."""
    training = recipe.training
    plain = type(training)(steps=1, batch=training.batch, patch=training.patch)
    recipe = recipe.but(seed=0, train_set="", training=plain)
    if isinstance(recipe, DenoiserRecipe):
        recipe = recipe.but(
            encoder="", formulation="none", options={}, region_features=1, lr_divisor=255, structure=None
        )
    return recipe


def calibration(config: Config, recipe: CalibrationRecipe, root: Path) -> dict[str, Any]:
    """What `calibration.calibrate` found for a recipe on this device; measured if it is not known yet."""
    from samdiffsr.core.device import resolve_device
    from samdiffsr.core.machine import device_name

    device, threads = resolve_device(config.device), config.chosen.threads
    place = [device_name(device), threads if device.type == "cpu" else None]
    key = sha256_json([recipe.text(), place, fingerprint("samdiffsr.workflow.calibration")])[:16]
    path = root / layout.calibration(key)
    if not path.exists() and not os.access(root, os.W_OK):
        path = Path(_scratch().name) / path.name
    if not path.exists():
        what = "encoder" if recipe.denoiser is None else "denoiser"
        log.info(f"timing a few steps of the {what}'s training ...")
        command = [sys.executable, "-m", "samdiffsr", "calibrate", "--out", str(path.resolve())]
        command += ["--recipe", recipe.text(), "--device", device.type, "--threads", str(threads)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
            raise UserError(f"calibration of the {what} failed: {last[:300]}")
    found: dict[str, Any] = read_json(path)
    return found


@cache
def _scratch() -> tempfile.TemporaryDirectory[str]:
    """This process's own, where the repository is read-only."""
    return tempfile.TemporaryDirectory(prefix="samdiffsr-")


def refuse_slow(config: Config, made: Iterable[tuple[str, str]], root: Path) -> None:
    """UserError with the estimate if a training would take longer than `slow_hours`, unless `allow_slow`.

    Args:
        made: rule and path of every file that is to be made; what is no trained model is passed over.
    """
    if config.allow_slow:
        return
    trainings = [t for rule, path in made if (t := training_at(config, rule, path, root))]
    for training in sorted(trainings, key=lambda t: t.pixels, reverse=True):
        if training.pixels < config.slow_hours * 3600 * PIXELS_PER_SECOND:
            break
        found = calibration(config, training.recipe, root)
        hours = training.steps * found["step_seconds"] / 3600
        if hours > config.slow_hours:
            among = f" (one of {len(trainings)} trainings)" if len(trainings) > 1 else ""
            raise too_slow(training.name + among, hours, found["device"])


# ---- the plan ----


def dataset_pixels(config: Config, name: str, root: Path) -> tuple[int, int]:
    """(number of images, HR pixels) of a data set.

    The pixels are guessed from its size on the disk where it is not here and has no manifest; of LR images
    without a truth, as of scale factor 4.
    """
    if (sizes := image_sizes(config, name, root)) is not None:
        return len(sizes), sum(height * width for _, height, width in sizes)
    dataset = config.datasets[name]
    rows = [sources()[key] for key in dataset.source]
    count = sum(take.count or 0 for row in rows for take in row.take)
    return count, int(sum(row.unpacked for row in rows) / PNG_BYTES)


@dataclass(frozen=True)
class TrainingCost:
    """A training that is yet to run, and what the calibration of its networks found."""

    training: PendingTraining
    found: dict[str, Any]
    compiling: float
    """Seconds before the first step."""

    @property
    def seconds(self) -> float:
        return self.training.steps * float(self.found["step_seconds"]) + self.compiling


@dataclass(frozen=True)
class Estimate:
    """What a target takes. Each list of files holds those that are there, too."""

    trained: list[PlannedFile]
    sampled: list[PlannedFile]
    masks: list[tuple[PlannedFile, str]]
    """With what is found, and in which data set."""
    trainings: list[TrainingCost]
    lacking: list[str]
    """What is to be fetched."""
    download: int
    """Bytes."""
    images: int
    """To sample."""
    drawing: float
    """Seconds that they take."""
    disk: int
    """Bytes, with the download."""

    @property
    def seconds(self) -> float:
        """Of trainings and sampling, one after the other."""
        return sum(cost.seconds for cost in self.trainings) + self.drawing


def estimate(config: Config, jobs: list[PlannedFile], root: Path) -> Estimate:
    """What these jobs take; networks that were never timed on this device are timed."""
    places = Layout(config.study)
    trained = [(job, found) for job in jobs if (found := training_at(config, job.rule, job.path, root))]
    trainings = [
        TrainingCost(found, calibration(config, found.recipe, root), _compiling(config, found))
        for job, found in trained
        if job.pending
    ]
    sampled = [
        found for spell in (places.samples, places.draws) for found in _made(jobs, spell, layout.SAMPLES[0])
    ]
    pending = [(found["run"], found["dataset"]) for job, found in sampled if job.pending]
    images, drawing, png = _sampling(config, pending, root)
    download, lacking = _downloads(jobs)
    models = [int(cost.found["model_bytes"]) for cost in trainings]
    return Estimate(
        trained=[job for job, _ in trained],
        sampled=[job for job, _ in sampled],
        masks=[
            (job, f"{found['masks']} of {config.dataset_label(found['dataset'])}")
            for job, found in _made(jobs, layout.regions, layout.REGIONS[0])
        ],
        trainings=trainings,
        lacking=lacking,
        download=download,
        images=images,
        drawing=drawing,
        disk=download + png + _disk(config, jobs, models, root),
    )


def plan(config: Config, targets: Sequence[str], options: Sequence[str], root: Path) -> list[str]:
    """The plan as lines for people.

    Args:
        config: with the test sets that can be had (availability.with_present_test_sets).
        options: what makes Snakemake see the same configuration.
    """
    found = estimate(config, jobs_of(targets, options, root), root)
    lines = [f"{' '.join(targets)} in study {config.study}: {config.chosen.about}"]
    if found.trainings:
        timed = found.trainings[0].found
        threads = "" if config.device == "cuda" else f", {timed['threads']} CPU thread(s) a process"
        lines.append(f"on {timed['device']}{threads}, {timed['precision']}")
    lines += [f"left out: test set {name}: {why}" for name, why in config.left_out.items()]
    what = f"{_size(found.download)}: {', '.join(found.lacking)}" if found.lacking else "nothing"
    lines.append(f"downloads  {what}")
    lines.append(f"trainings  {_count(found.trained)}")
    lines += _training_lines(config, found.trainings)
    drawing = _time(found.drawing)
    lines.append(f"sampling   {_count(found.sampled)}: {found.images} images, about {drawing}")
    names = ", ".join(name for job, name in found.masks if job.pending)
    lines.append(f"masks      {_count([job for job, _ in found.masks])}{names and f': {names}'}")
    free = shutil.disk_usage(root).free
    little = ": TOO LITTLE" if found.disk > free else ""
    lines.append(f"disk       about {_size(found.disk)}; {_size(free)} are free{little}")
    if found.trainings:
        lines += [f"refused    test set {name}: {why}" for name, why in unfit(config, root).items()]
        peak = max(cost.found["peak_bytes"] for cost in found.trainings)
        has = _size(found.trainings[0].found["memory_bytes"])
        lines.append(f"memory     about {_size(peak)} a process; the device has {has}")
    lines.append(f"seeds      {needed_words(len(config.chosen.seeds))}")
    lines.append(f"in all     {_time(found.seconds)} of one process; masks, scores and tables are not timed")
    return lines


def _training_lines(config: Config, trainings: list[TrainingCost]) -> list[str]:
    """A line a training, and the limit that would be enough for each."""
    lines = []
    width = max((len(cost.training.name) for cost in trainings), default=0)
    for cost in trainings:
        found = cost.found
        warnings = "  slow: needs allow_slow: true" if _slow(config, cost.seconds) else ""
        warnings += "  more memory than there is" if found["peak_bytes"] > found["memory_bytes"] else ""
        lines.append(
            f"  {cost.training.name:<{width}}  {cost.training.steps:>7} steps  "
            f"{found['step_seconds']:8.3f} s/step  {_time(cost.seconds):>9}  "
            f"{_size(found['peak_bytes']):>8}{warnings}"
        )
    if trainings:
        enough = math.ceil(1.5 * max(cost.seconds for cost in trainings) / 3600)
        lines.append(
            f"limit      a cluster ends a training after {config.chosen.hours:g} h (`hours` of the study); "
            f"{enough} h would be enough here"
        )
    return lines


def _made(
    jobs: list[PlannedFile], spell: Callable[..., str], suffix: str
) -> list[tuple[PlannedFile, dict[str, str]]]:
    """Those whose file is a stem of the layout and `suffix`, with what the stem is made of."""
    return [
        (job, found)
        for job in jobs
        if job.path.endswith(suffix) and (found := layout.read(job.path.removesuffix(suffix), spell))
    ]


def _compiling(config: Config, training: PendingTraining) -> float:
    """Seconds that compiling takes before the first step, where the training will be compiled."""
    from samdiffsr.core.device import resolve_device

    auto = worth_compiling(resolve_device(config.device).type, training.recipe.timed.training.steps)
    return COMPILING if config.compile is True or (config.compile == "auto" and auto) else 0.0


def _slow(config: Config, seconds: float) -> bool:
    return not config.allow_slow and seconds / 3600 > config.slow_hours


def _downloads(jobs: list[PlannedFile]) -> tuple[int, list[str]]:
    """Bytes to fetch, and of what."""
    by_file = {layout.weight(row.file): row for row in weights().values()}
    by_stamp = {str(source.stamp): source for source in sources().values()}
    total, names = 0, []
    for job in jobs:
        if not job.pending:
            continue
        if job.rule == "fetch_source":
            source = by_stamp[job.path]
            total += source.disk
            names.append(source.key)
        elif job.rule == "fetch_weights":
            total += by_file[job.path].bytes or 0
            names.append(by_file[job.path].key)
    return total, names


def _sampling(config: Config, pending: list[tuple[str, str]], root: Path) -> tuple[int, float, int]:
    """(images, seconds, bytes of their files) of (run, data set) to sample."""
    images, seconds, size = 0, 0.0, 0.0
    for name, dataset in pending:
        (run,) = runs_named(config, name)
        number, pixels = dataset_pixels(config, dataset, root)
        images, size = images + number, size + PNG_BYTES * pixels
        variant = config.variants[run.variant]
        if variant.kind == "denoiser" and variant.foreign is None:
            calls = config.calls(run.variant)
            found = calibration(config, training_of(config, "denoiser", name, root).recipe, root)
            seconds += pixels * (found["image_seconds"] + calls * found["call_seconds"])
    return images, seconds, int(size)


def _disk(config: Config, jobs: list[PlannedFile], models: list[int], root: Path) -> int:
    """Bytes of stores, models, and the resume states of one training at a time."""
    # a model file holds the weights and their average; a state those and Adam's two moments; two are kept
    total = sum(models) + 4 * max(models, default=0)
    for spell in (layout.hr, layout.lr):
        for job, found in _made(jobs, spell, layout.STORE[0]):
            if job.pending:
                scale = int(found.get("scale", 1))
                total += 3 * dataset_pixels(config, found["dataset"], root)[1] // scale**2
    return total


def _count(jobs: list[PlannedFile]) -> str:
    pending = [job.pending for job in jobs]
    return f"{sum(pending)} to do, {len(pending) - sum(pending)} there"


def _size(number: float) -> str:
    return f"{number / 1e9:.1f} GB" if number >= 1e8 else f"{number / 1e6:.0f} MB"


def _time(seconds: float) -> str:
    if seconds < 3600:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 100 * 3600 else f"{seconds / 86400:.0f} days"
