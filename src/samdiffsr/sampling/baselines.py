"""Other methods' images, brought under the same scores: a folder of results, any program, or networks.

A baseline that cannot run here leaves its images out, with one line that says why and what to do: its row
stays in the tables, with the published value.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from samdiffsr.core.errors import NotHere, UserError
from samdiffsr.core.files import sha256_file
from samdiffsr.data.images import read_rgb, write_png
from samdiffsr.data.store import Store
from samdiffsr.sampling.recipe import BaselineRecipe

if TYPE_CHECKING:
    import torch

Restorer = Callable[[np.ndarray, str], np.ndarray]

# What another program needs to know of the machine.
PASSED_ON = re.compile(
    "PATH|HOME|USER|LOGNAME|SHELL|LANG|LC_.*|TZ|TMPDIR|LD_LIBRARY_PATH|(CUDA|NVIDIA|ROCR|HIP|OMP|MKL)_.*"
)


def images(recipe: BaselineRecipe, folder: Path, lr: Store, device: torch.device, hours: float) -> Restorer:
    """Images that were made elsewhere: `folder/<name>.png` (or another suffix that holds exact pixels)."""
    return images_in(folder)


def images_in(folder: Path) -> Restorer:
    """The images of a folder, by their names; NotHere if it or one of them is not there."""
    if not folder.is_dir():
        raise NotHere(f"{folder}: no such folder; put the method's SR images there, named as the LR images")

    def restore(lr: np.ndarray, name: str) -> np.ndarray:
        for suffix in (".png", ".bmp", ".tif", ".tiff"):
            if (path := folder / f"{name}{suffix}").exists():
                return read_rgb(path)
        raise NotHere(f"{folder / name}.png: no such image")

    return restore


def command(
    recipe: BaselineRecipe, source: Path | None, lr: Store, device: torch.device, hours: float
) -> Restorer:
    """What a program makes of all LR images at once."""
    scratch = tempfile.TemporaryDirectory(prefix="samdiffsr-")
    inner = images_in(run_command(recipe.command, lr, recipe.scale, Path(scratch.name), hours))

    def restore(image: np.ndarray, name: str, _keep: object = scratch) -> np.ndarray:
        return inner(image, name)

    return restore


def run_command(template: str, lr: Store, scale: int, folder: Path, hours: float = float("inf")) -> Path:
    """Run a program on a folder of LR images; returns the folder of its SR images.

    It sees of the environment what `PASSED_ON` names: neither this program's paths nor anybody's tokens.

    Args:
        template: a command line with {lr} and {sr}, the two folders, and if wanted {scale}; no shell is used.
        folder: scratch space.
        hours: after so many the program, and what it started, is killed.

    Raises:
        NotHere: there is no such program.
        UserError: it failed, it did not end in time, or the template lacks a folder.
    """
    for part in ("{lr}", "{sr}"):
        if part not in template:
            raise UserError(f"command {template!r}: must hold {part}")
    source, target = folder / "lr", folder / "sr"
    target.mkdir(parents=True)
    for i, name in enumerate(lr.names):
        write_png(source / f"{name}.png", np.ascontiguousarray(lr[i]))
    places = {"lr": str(source), "sr": str(target), "scale": str(scale)}
    try:
        command = [part.format(**places) for part in shlex.split(template)]
    except (ValueError, KeyError, IndexError) as error:
        raise UserError(f"command {template!r}: {error} not understood; see docs/study/tables.md") from None
    status, printed = _run(command, hours)
    if status:
        last = (printed.strip().splitlines() or ["it printed nothing"])[-1]
        raise UserError(f"command {command[0]!r} ended with status {status}: {last[:200]}")
    return target


def _run(command: list[str], hours: float) -> tuple[int, str]:
    """Exit status and output of a program; none of its processes outlives this."""
    environment = {name: value for name, value in os.environ.items() if PASSED_ON.fullmatch(name)}
    # the program is in a session of its own, so that a SIGTERM to this process alone would leave it running
    with _ending_on_sigterm():
        return _waited_for(command, environment, hours)


@contextlib.contextmanager
def _ending_on_sigterm() -> Iterator[None]:
    """SIGTERM as SystemExit, which cleans up; only the main thread can ask for that."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _waited_for(command: list[str], environment: dict[str, str], hours: float) -> tuple[int, str]:
    try:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        raise NotHere(f"command {command[0]!r} cannot be run ({error.strerror})") from None
    try:
        printed, _ = process.communicate(timeout=None if math.isinf(hours) else hours * 3600)
    except subprocess.TimeoutExpired:
        raise UserError(
            f"command {command[0]!r} was not done after {hours:g} h; give it more `command_hours`"
        ) from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return process.returncode, printed


def spandrel_network(
    recipe: BaselineRecipe, path: Path, lr: Store, device: torch.device, hours: float
) -> Restorer:
    """A network file of an architecture that spandrel knows (ESRGAN, BSRGAN, ...); run whole, in float32."""
    if not path.exists():
        raise NotHere(f"{path}: no such file; get it from {recipe.url or 'its authors'}")
    _check(path, str(recipe.sha256))
    try:
        import spandrel
    except ImportError:
        raise NotHere("the package spandrel is not installed; `pip install spandrel`") from None
    import torch

    try:
        model = spandrel.ModelLoader(device).load_from_file(path)
    except Exception as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"{path}: spandrel cannot load it ({reason})") from None
    if not isinstance(model, spandrel.ImageModelDescriptor) or model.scale != recipe.scale:
        raise UserError(f"{path}: a network of scale {model.scale}, the table's is {recipe.scale}")
    model.eval()

    def restore(lr: np.ndarray, name: str) -> np.ndarray:
        x = torch.from_numpy(np.ascontiguousarray(lr.transpose(2, 0, 1))[None]).to(device).float() / 255
        with torch.inference_mode():
            y = model(x)
        if not torch.isfinite(y).all():
            raise UserError(f"{path}: gives values that are not finite for {name}")
        return (y[0].clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()

    return restore


def _check(path: Path, sha256: str) -> None:
    """UserError unless the file's SHA-256 begins as it should."""
    if sha256 and not sha256_file(path).startswith(sha256):
        raise UserError(f"{path}: its SHA-256 is not {sha256[:16]}...; delete it and get it again")


def diffusers_pipeline(
    recipe: BaselineRecipe, folder: Path, lr: Store, device: torch.device, hours: float
) -> Restorer:
    """A latent-diffusion upscaler in diffusers' folder layout (LDM x4), sampled by DDIM with eta 0.

    It is given tensors: a PIL image it would shrink to a multiple of 32 first. LR is padded by reflection
    instead and SR cropped. The image's name seeds the noise. Nothing is ever downloaded.
    """
    if not folder.is_dir():
        raise NotHere(f"{folder}: no such folder; get it from {recipe.url or 'its authors'}")
    for file, sha256 in (recipe.sha256 if isinstance(recipe.sha256, dict) else {}).items():
        if not (folder / file).exists():
            raise UserError(f"{folder / file}: no such file; get it from {recipe.url or 'its authors'}")
        _check(folder / file, sha256)
    try:
        from diffusers import LDMSuperResolutionPipeline
    except ImportError:
        raise NotHere("the package diffusers is not installed; `pip install diffusers`") from None
    import torch

    from samdiffsr.core.randomness import image_index, sample_generator

    try:
        pipeline = LDMSuperResolutionPipeline.from_pretrained(folder, local_files_only=True).to(device)
    except Exception as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"{folder}: diffusers cannot load it ({reason})") from None
    pipeline.set_progress_bar_config(disable=True)

    def restore(lr: np.ndarray, name: str) -> np.ndarray:
        height, width = lr.shape[:2]
        padded = np.pad(lr, [(0, -height % 32), (0, -width % 32), (0, 0)], mode="reflect")
        x = torch.from_numpy(padded.transpose(2, 0, 1)[None].copy()).float() / 127.5 - 1
        generator = sample_generator(0, image_index(name))  # on the CPU: the same noise on every device
        made = pipeline(x, num_inference_steps=recipe.steps, generator=generator, output_type="np")
        y = made.images[0]
        if y.shape[0] != recipe.scale * padded.shape[0]:
            factor = y.shape[0] / padded.shape[0]
            raise UserError(f"{folder}: a pipeline of scale {factor:g}, the table's is {recipe.scale}")
        if not np.isfinite(y).all():
            raise UserError(f"{folder}: gives values that are not finite for {name}")
        y = y[: height * recipe.scale, : width * recipe.scale]
        return (y * 255).round().astype(np.uint8)

    return restore
