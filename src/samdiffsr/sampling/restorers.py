"""From an LR image to an SR image: bicubic, the encoder alone, or a denoiser sampled from noise.

A `Restorer` is called with one LR image and its name. The name seeds the noise, so neither the order of the
images nor what else is in the batch or the folder changes an image.
"""

from __future__ import annotations

import itertools
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from samdiffsr.core.device import resolve_device, resolve_precision, set_precision
from samdiffsr.core.errors import NotHere, UserError
from samdiffsr.core.files import sha256_file, sha256_json, write_json
from samdiffsr.core.machine import device_name, peak_bytes
from samdiffsr.core.progress import progress_bar
from samdiffsr.core.randomness import image_index, prepare_torch, sample_generator
from samdiffsr.data.images import write_png
from samdiffsr.data.resize import upsampled, upscale
from samdiffsr.data.store import Store
from samdiffsr.diffusion.registry import FORMULATIONS
from samdiffsr.diffusion.sampler import chain, sample
from samdiffsr.masks.encode import load_values
from samdiffsr.masks.reduce import structure_map
from samdiffsr.masks.store import RegionStore
from samdiffsr.models.bands import BandedDenoiser, encode
from samdiffsr.models.captured import Captured
from samdiffsr.models.denoiser import build_formulation, load_denoiser
from samdiffsr.models.encoder import load_encoder
from samdiffsr.models.quick import quicken
from samdiffsr.models.recipe import DenoiserNetwork
from samdiffsr.sampling.adapters import ADAPTERS, baseline_restorer
from samdiffsr.sampling.finished import finished_images
from samdiffsr.sampling.recipe import (
    BaselineRecipe,
    BicubicRecipe,
    DenoiserRecipe,
    Draw,
    EncoderRecipe,
    SamplingRecipe,
)
from samdiffsr.sampling.sample_set import timing_path

log = logging.getLogger(__name__)

# LR uint8 (h, w, 3), name -> SR uint8 (scale h, scale w, 3)
Restorer = Callable[[np.ndarray, str], np.ndarray]
Watch = Callable[[int, np.ndarray], None]  # t, x_t float32 (scale h, scale w, 3)
Structure = Callable[[str], np.ndarray]  # name -> e_sam float32 (scale h, scale w) or (..., C)


def bicubic_restorer(scale: int) -> Restorer:
    """MATLAB's bicubic enlargement."""
    return lambda lr, name: upscale(lr, scale)


def encoder_restorer(
    path: Path,
    weights: str,
    device: torch.device,
    precision: str,
    memory: int | None = None,
) -> Restorer:
    """The RRDB encoder as the super-resolution network it was pretrained as.

    Args:
        weights: ema | raw.
        memory: as for `DenoiserRestorer`.
    """
    set_precision(precision)
    encoder, _ = load_encoder(path, weights)
    maps = _maps(device, precision)
    encoder.to(device, maps).to(memory_format=torch.channels_last)

    def restore(lr: np.ndarray, name: str) -> np.ndarray:
        small = (_to_tensor(lr, device).float() / 255).to(maps)
        with torch.inference_mode(), _autocast(maps, precision):
            sr = encode(encoder, small, memory, _itemsize(precision), tail=True)
        return _to_image(sr)

    return restore


class DenoiserRestorer:
    """A trained denoiser, sampled as its formulation wants it.

    Args:
        path, encoder_path: the model files.
        structure: gives e_sam of an image, where the formulation needs it (`condition`, `scaled_known`).
        memory: bytes for the maps of the network, which is given the image in every step in bands of rows
            that fit; None: enough for all. What is sampled is the same but for rounding.
        progress: called after every band of every step, with how many are done, and in all.

    Raises:
        UserError: the two models do not belong together; a structure is missing; no such steps.
    """

    def __init__(
        self,
        path: Path,
        encoder_path: Path,
        draw: Draw,
        device: torch.device,
        precision: str,
        structure: Structure | None = None,
        memory: int | None = None,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        set_precision(precision)
        encoder, encoder_file = load_encoder(encoder_path)
        unet, self._file = load_denoiser(path, encoder_file, encoder.cond_channels, draw.weights)
        self._trained = trained = self._file.network(DenoiserNetwork)
        self._process = build_formulation(trained.formulation, trained.diffusion, trained.options)
        self._arm = FORMULATIONS[trained.formulation]
        if self._arm.needs_masks and structure is None:
            raise UserError(
                f"{path}: its images are not drawn without region masks; give --labels and --values"
            )
        self._draw, self._structure, self._memory, self._progress = draw, structure, memory, progress
        self._device, self._precision, self._maps = device, precision, _maps(device, precision)
        self._encoder = encoder.to(device, self._maps).to(memory_format=torch.channels_last)
        self._unet = unet.to(device, self._maps).to(memory_format=torch.channels_last)
        if device.type == "cpu":
            quicken(unet)
        most = torch.cuda.get_device_properties(device).total_memory // 2 if device.type == "cuda" else None
        self._whole = Captured(unet, str(path), memory=most)  # a graph for each size that is not banded
        self._start = draw.start or self._process.first_t
        self._calls = len(chain(self._process, steps=draw.steps, start=self._start, known=self._arm.known))

    def __call__(self, lr: np.ndarray, name: str, watch: Watch | None = None) -> np.ndarray:
        """The image `name`; `watch` is called before each network call and changes nothing."""
        process, scale = self._process, self._trained.scale
        padded = _pad(_reflect(lr, self._draw.pad), self._unet.size_multiple, scale)
        top = self._draw.pad * scale
        shown = np.s_[top : top + lr.shape[0] * scale, top : top + lr.shape[1] * scale]
        small = _to_tensor(padded, self._device)
        with torch.inference_mode():
            with _autocast(self._maps, self._precision):
                rgb = (small.float() / 255).to(self._maps)
                features = encode(self._encoder, rgb, self._memory, _itemsize(self._precision))
            e_sam = self._e_sam(name, [scale * n for n in padded.shape[:2]])
            up = upsampled(small, scale, self._trained.lr_divisor)
            noise = self._noise(name, up.shape)
            x_0 = sample(
                self._denoise(features, e_sam, watch, shown),
                noise(process.schedule.T),
                process.schedule,
                process,
                noise,
                steps=self._draw.steps,
                start=self._start,
                e_max=self._file.info["e_max"],
                e_sam=e_sam if self._arm.known else None,
            )
            sr = up + x_0 / (2 * self._trained.diffusion.residual_scale)
        return _to_image(sr)[shown]

    def _e_sam(self, name: str, size: list[int]) -> Tensor | None:
        """(1, C, *size), where the formulation needs it."""
        if not self._arm.needs_masks or self._structure is None:
            return None
        margin = self._draw.pad * self._trained.scale
        return _to_map(_reflect(self._structure(name), margin), size).to(self._device)

    def _noise(self, name: str, shape: torch.Size) -> Callable[[int], Tensor]:
        """The image's standard normal noise of each step, whatever is drawn beside it."""
        key = image_index(name, self._draw.sample) * 1024

        def noise(t: int) -> Tensor:
            generator = sample_generator(self._draw.seed, key + t, self._device)
            return torch.randn(shape, generator=generator, device=self._device)

        return noise

    def _denoise(
        self, features: Tensor, e_sam: Tensor | None, watch: Watch | None, shown: tuple[slice, slice]
    ) -> Callable[[Tensor, Tensor], Tensor]:
        """The network as a function of x_t and t, told of one image."""
        done = itertools.count(1)
        with _autocast(self._maps, self._precision):
            banded = BandedDenoiser(
                self._unet,
                features,
                e_sam if self._arm.e_sam == "network" else None,
                self._memory,
                _itemsize(self._precision),
                lambda: self._progress(next(done), self._calls * banded.bands),
                self._whole,
            )

        def denoise(x_t: Tensor, t: Tensor) -> Tensor:
            if watch is not None:
                watch(int(t[0]) + 1, x_t[0].float().permute(1, 2, 0).cpu().numpy()[shown])
            if self._maps != torch.float32:
                x_t = x_t.to(self._maps, memory_format=torch.channels_last)
            with _autocast(self._maps, self._precision):
                return banded(x_t, t)

        return denoise


def structure_reader(labels: Path, values: Path) -> Structure:
    """e_sam of the images of a region store."""
    regions = RegionStore(labels)
    vectors = load_values(values, regions)

    def read(name: str) -> np.ndarray:
        i = regions.index(name)
        return structure_map(regions.labels[i], vectors[i])

    return read


def restore_dataset(
    lr: Path,
    out: Path,
    manifest: Path,
    progress: Path,
    recipe: SamplingRecipe,
    models: dict[str, Path],
    *,
    labels: Path | None = None,
    values: Path | None = None,
    source: Path | None = None,
    command_hours: float = float("inf"),
    shard: tuple[int, int] = (0, 1),
    device: str = "auto",
    threads: int = 1,
    code: str = "",
) -> None:
    """Restore the images of one LR store (or one shard of them) into PNG files.

    Args:
        lr: the store. out: folder of the PNG files, `<name>.png`.
        manifest: JSON, written last: recipe, model hashes, and every image with its file's hash.
        progress: JSON lines, one a finished image; a rerun goes on from those made of the same, as here.
        models: {"encoder": ..., "denoiser": ...} as the kind needs them.
        source: another method's folder or file; an image that it has not is left out with a warning.
        command_hours: that another method's program may take.
        code: names the code; images that other code has made are made again.
    """
    store = Store(lr)
    prepare_torch(threads)
    where = resolve_device(device)
    precision = resolve_precision(getattr(recipe, "precision", "float32"), where)
    for kind in {"encoder": ("encoder",), "denoiser": ("encoder", "denoiser")}.get(recipe.kind, ()):
        if kind not in models:
            raise UserError(f"an image of kind {recipe.kind!r} needs a model: give --{kind}")
    hashes = {kind: sha256_file(path) for kind, path in models.items()}
    if isinstance(recipe, BaselineRecipe):
        restore = _baseline(recipe, source, store, where, command_hours)
    else:
        structure = structure_reader(labels, values) if labels and values else None
        restore = _own(recipe, models, where, precision, structure)

    told = recipe.model_dump(mode="json")
    masks = [RegionStore(labels).digest, sha256_file(values)] if labels and values else []
    identity = sha256_json([told, hashes, store.digest, precision, masks, device_name(where), code])
    # what others made may have changed without a trace in the recipe: taken anew each time
    finished = {} if isinstance(recipe, BaselineRecipe) else finished_images(progress, identity, out)
    part, parts = shard
    chosen = range(part * len(store) // parts, (part + 1) * len(store) // parts)
    images, seconds = [], []
    progress.parent.mkdir(parents=True, exist_ok=True)
    with progress_bar("images") as show:
        for number, i in enumerate(chosen, start=1):
            name = store.names[i]
            if name not in finished:
                began = time.perf_counter()
                try:
                    sr = restore(store[i], name)
                except NotHere as error:
                    log.warning(f"{name} is left out: {error}")
                    continue
                seconds.append(time.perf_counter() - began)
                write_png(out / f"{name}.png", sr)
                entry = {
                    "identity": identity,
                    "name": name,
                    "sha256": sha256_file(out / f"{name}.png"),
                    "s": seconds[-1],
                    "peak_bytes": peak_bytes(where),
                }
                with open(progress, "a", encoding="utf-8") as file:
                    file.write(json.dumps(entry) + "\n")
                finished[name] = entry
                show.image(number, len(chosen), name, f"{seconds[-1]:.1f} s")
            images.append({"name": name, "sha256": finished[name]["sha256"]})
    measured = not isinstance(recipe, BaselineRecipe) or ADAPTERS[recipe.adapter].measured
    timed = [finished[x["name"]] for x in images] if measured else []
    write_json(
        timing_path(manifest),
        {
            "device": device_name(where),
            "threads": torch.get_num_threads() if where.type == "cpu" else None,
            "weights": recipe.weights,
            "peak_bytes": max((entry.get("peak_bytes", 0) for entry in timed), default=0),
            "seconds": {entry["name"]: round(entry["s"], 3) for entry in timed},
        },
    )
    write_json(
        manifest,
        {"recipe": told, "models": hashes, "precision": precision, "lr": store.digest, "images": images},
    )


def _own(
    recipe: BicubicRecipe | EncoderRecipe | DenoiserRecipe,
    models: dict[str, Path],
    device: torch.device,
    precision: str,
    structure: Structure | None,
) -> Restorer:
    """What restores as the recipe says, of this project's own."""
    if isinstance(recipe, BicubicRecipe):
        return bicubic_restorer(recipe.scale)
    if isinstance(recipe, EncoderRecipe):
        return encoder_restorer(models["encoder"], recipe.weights, device, precision)
    return DenoiserRestorer(models["denoiser"], models["encoder"], recipe, device, precision, structure)


def _baseline(
    recipe: BaselineRecipe, source: Path | None, store: Store, device: torch.device, hours: float
) -> Restorer:
    """Another method; where it is not here, no image of it is."""
    try:
        return baseline_restorer(recipe, source, store, device, hours)
    except NotHere as error:
        why = str(error)

    def nothing(lr: np.ndarray, name: str) -> np.ndarray:
        raise NotHere(why)

    return nothing


def _reflect(image: np.ndarray, margin: int) -> np.ndarray:
    """`margin` pixels more on each side of (H, W) or (H, W, C), mirrored at the outermost ones."""
    return np.pad(image, [(margin, margin)] * 2 + [(0, 0)] * (image.ndim - 2), mode="reflect")


def _pad(lr: np.ndarray, multiple: int, scale: int) -> np.ndarray:
    """Repeat the last rows and columns until the HR size is a multiple of `multiple`, at least twice it."""
    step = max(1, multiple // scale)
    sides = [max(-(-n // step) * step, -(-2 * multiple // scale)) for n in lr.shape[:2]]
    return np.pad(lr, [(0, sides[0] - lr.shape[0]), (0, sides[1] - lr.shape[1]), (0, 0)], mode="edge")


def _maps(device: torch.device, precision: str) -> torch.dtype:
    """The type of the networks' weights and maps: on a GPU they are cast once, on the CPU by autocast."""
    return torch.bfloat16 if precision == "bf16" and device.type == "cuda" else torch.float32


def _autocast(maps: torch.dtype, precision: str) -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16" and maps == torch.float32)


def _itemsize(precision: str) -> int:
    """Bytes of a number in the networks' maps."""
    return 2 if precision == "bf16" else 4


def _to_tensor(image: np.ndarray, device: torch.device) -> Tensor:
    """uint8 (H, W, 3) -> uint8 (1, 3, H, W) on the device."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))[None]).to(device)


def _to_map(e_sam: np.ndarray, size: list[int]) -> Tensor:
    """float32 (H, W) or (H, W, C) -> (1, C, *size), the last rows and columns repeated."""
    grow = [(0, size[i] - e_sam.shape[i]) for i in range(2)] + [(0, 0)] * (e_sam.ndim - 2)
    padded = np.atleast_3d(np.pad(e_sam, grow, mode="edge"))
    return torch.from_numpy(np.ascontiguousarray(padded.transpose(2, 0, 1))[None])


def _to_image(x: Tensor) -> np.ndarray:
    """(1, 3, H, W) float in [0, 1] -> uint8 (H, W, 3), rounded; UserError if it holds NaN."""
    if not torch.isfinite(x).all():
        raise UserError(
            "the network gave values that are not finite; set precision: float32 or train it again"
        )
    return (x[0].float().clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
