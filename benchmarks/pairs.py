"""The stages of the work beside the released code's: same architecture, same weights, same input, in turns.

Each function prepares its input, runs the programs asked for ("ours", "released") and says what it measured.
What is compared, and what each side is spared, stands in its docstring.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.measure import Timings, clock, take_turns
from benchmarks.released import Released, normalised, weights_of
from PIL import Image
from pycocotools import mask as coco
from torch.utils.flop_counter import FlopCounterMode

from samdiffsr.config.config import Config
from samdiffsr.config.recipes.stages import denoiser_recipe, encoder_recipe
from samdiffsr.config.schema import Run
from samdiffsr.core.randomness import image_index, sample_generator
from samdiffsr.core.recipe import Scale
from samdiffsr.data.prepare import build_lr_store
from samdiffsr.data.resize import crop_to_multiple, downscale
from samdiffsr.data.store import Store, StoreWriter
from samdiffsr.masks.encode import encode, load_values, region_values
from samdiffsr.masks.positions import position_map
from samdiffsr.masks.recipe import Encoding
from samdiffsr.masks.reduce import structure_map
from samdiffsr.masks.regions import Regions
from samdiffsr.masks.rle import records_from_regions, regions_from_records
from samdiffsr.masks.store import RegionStore, RegionStoreWriter
from samdiffsr.models.captured import WARM_UP
from samdiffsr.models.denoiser import build_denoiser
from samdiffsr.models.encoder import build_encoder, load_encoder
from samdiffsr.models.foreign import load_foreign_rrdb, load_foreign_unet
from samdiffsr.models.model_file import save_model
from samdiffsr.models.unet import DenoisingUNet
from samdiffsr.sampling.recipe import Draw
from samdiffsr.sampling.restorers import DenoiserRestorer
from samdiffsr.training.denoiser import train_denoiser
from samdiffsr.training.job import Job
from samdiffsr.training.patches import PatchSource
from samdiffsr.training.recipe import DenoiserRecipe, Structure

SCALE: Scale = 4
MASKS = 100  # of an image
SIZE = (1356, 2040)  # of a DIV2K image, rows x columns
ENCODING = Encoding(rope_axis="height", mean_over="image", overlap="overwrite")  # the released code's


@dataclass(frozen=True)
class Bench:
    """What the stages share: the released code, our configuration, the device, and how often to measure."""

    released: Released
    config: Config
    device: torch.device
    precision: str
    repeat: int
    folder: Path
    compile: bool = False  # our training

    @property
    def large(self) -> bool:
        """Whether the device is one for the paper's own sizes."""
        return self.device.type == "cuda"


@dataclass(frozen=True)
class Result:
    """One comparison.

    work: what was done. agreement: how the two results compare, and what else is to be said; "" where it was
    not looked at. flops: of our program, where the machine's rate of matrix products bounds it.
    """

    work: str
    timings: Timings
    agreement: str = ""
    flops: float | None = None


def training_step(bench: Bench, programs: Sequence[str]) -> Result:
    """One step of training the paper's network.

    Ours is the real training loop, with cutting its patches, its exponential mean of the weights and its log;
    theirs is forward, backward and optimizer on a batch that lies ready.
    """
    batch = 16 if bench.large else 4
    released = bench.released.model(bench.device)
    recipe, encoder, _ = _models(bench, released)
    patch = recipe.training.patch
    # a GPU's first steps are not yet recorded, and one is the recording
    skipped = WARM_UP + 2 if bench.large else 2
    recipe = recipe.but(training__batch=batch, training__steps=bench.repeat + skipped + 1)
    _stores(bench)
    rng = np.random.default_rng(0)
    hr, up = (rng.random((patch, patch, 3), dtype=np.float32) for _ in range(2))
    lr = rng.random((patch // SCALE, patch // SCALE, 3), dtype=np.float32)
    images = {"img_hr": hr, "img_lr": lr, "img_lr_up": up}
    tensors = {k: normalised(v, bench.device).repeat(batch, 1, 1, 1) for k, v in images.items()}
    tensors["sam_mask"] = torch.rand(batch, 1, patch, patch, device=bench.device)
    step = bench.released.training_step(released, tensors)
    timings, began, warm_up = Timings(), clock(bench.device), ""

    def between(_: int) -> None:
        nonlocal began
        timings.add("ours", clock(bench.device) - began)
        if "released" in programs:
            began = clock(bench.device)
            with _their_settings():
                step()
            timings.add("released", clock(bench.device) - began)
        began = clock(bench.device)

    if "ours" in programs:
        job = Job(
            bench.folder / "state",
            bench.folder / "trained.safetensors",
            bench.device.type,
            bench.precision,
            torch.get_num_threads(),
            workers=4 if bench.large else 0,
            compile="true" if bench.compile else "false",
        )
        hr_store, lr_store, masks, values = (
            bench.folder / name for name in ("hr", "lr", "masks", "values.npz")
        )
        train_denoiser(job, recipe, hr_store, lr_store, encoder, masks, values, on_step=between)
        if bench.compile:
            warm_up = f"compiled, which took {timings.seconds['ours'][0]:.0f} s with the first step"
        for name, seconds in timings.seconds.items():
            start = skipped if name == "ours" else skipped - 1
            timings.seconds[name] = seconds[start:-1]  # the last one saves
    else:
        timings = take_turns({"released": step}, bench.repeat, bench.device)
    return Result(
        f"a training step of the paper's network, batch {batch}, patch {patch}",
        timings,
        warm_up,
        flops=_training_flops(recipe, encoder, patch) * batch,
    )


def sampling(bench: Bench, programs: Sequence[str]) -> Result:
    """Restoring one image, the encoder included, by the same weights and the same noise."""
    steps = 100 if bench.large else 10
    height, width = (1352, 2040) if bench.large else (256, 256)
    settings = bench.released.hparams.hparams
    settings["timesteps"] = steps
    released = bench.released.model(bench.device)
    settings["timesteps"] = 100
    recipe, encoder, denoiser = _models(bench, released, {"steps": steps})
    lr = downscale(_photograph(height, width), SCALE, "each_axis")
    drawn = Draw(start=steps, weights="raw")
    restorers = {
        precision: DenoiserRestorer(denoiser, encoder, drawn, bench.device, precision)
        for precision in ("float32", bench.precision)
    }
    key = image_index("it") * 1024

    def noise(i: int) -> torch.Tensor:
        generator = sample_generator(0, key + i, bench.device)
        return torch.randn(1, 3, height, width, generator=generator, device=bench.device)

    small = normalised(lr, bench.device)
    up = normalised(bench.released.imresize(lr / 256, SCALE), bench.device)

    def theirs() -> torch.Tensor:
        with _their_settings():
            return bench.released.sampled(released, small, up, noise(steps), noise)

    both = {"ours": lambda: restorers[bench.precision](lr, "it"), "released": theirs}
    timings = take_turns({k: both[k] for k in programs}, bench.repeat, bench.device)
    agreement = ""
    if len(programs) == 2:
        image = (
            ((theirs()[0].permute(1, 2, 0).clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu().numpy()
        )
        for precision, restore in restorers.items():
            difference = np.abs(restore(lr, "it").astype(int) - image)
            agreement += f"; in {precision} {_apart(difference)}"
    return Result(
        f"an image of {width}x{height} in {steps} steps by the paper's network",
        timings,
        "the same noise" + agreement if agreement else "",
        flops=_sampling_flops(recipe, encoder, height, width, steps),
    )


def mask_encoding(bench: Bench, programs: Sequence[str]) -> Result:
    """From an image's masks, as each side keeps them, to its structure map.

    Theirs has them as dense arrays, ours as the label map that the mask stage stores once for all schemes.
    """
    records = mask_records(MASKS)
    regions = regions_from_records(records)
    masks = [coco.decode(record["segmentation"]) for record in records]
    return _masks(programs, bench, lambda: regions, lambda: masks, "to its structure map")


def masks_from_files(bench: Bench, programs: Sequence[str]) -> Result:
    """The same from the run lengths that SAM's script writes: with the label map made, the masks decoded."""
    records = mask_records(MASKS)

    def decoded() -> list[np.ndarray]:
        return [coco.decode(record["segmentation"]) for record in records]

    words = "as run lengths to its structure map"
    return _masks(programs, bench, lambda: regions_from_records(records), decoded, words)


def _masks(
    programs: Sequence[str],
    bench: Bench,
    ours: Callable[[], Regions],
    theirs: Callable[[], list[np.ndarray]],
    words: str,
) -> Result:
    our_map = partial(map_of, ours, released_position())

    def their_map() -> np.ndarray:
        return bench.released.merge.merge_all_mask_to_one_RoPE(theirs())

    both: dict[str, Callable[[], np.ndarray]] = {"ours": our_map, "released": their_map}
    timings = take_turns({k: both[k] for k in programs}, bench.repeat, torch.device("cpu"))
    agreement = ""
    if len(programs) == 2:
        a, b = our_map(), their_map()
        agreement = f"values differ by {np.abs(a - b).max():.0e} at most, of {np.abs(b).max():.2g}"
    return Result(f"{MASKS} masks of a {SIZE[1]}x{SIZE[0]} image {words}", timings, agreement)


def map_of(regions_of: Callable[[], Regions], position: np.ndarray) -> np.ndarray:
    """E_SAM of an image's regions as the released code has it."""
    regions = regions_of()
    return structure_map(regions.labels, region_values(regions, position, ENCODING))


def released_position() -> np.ndarray:
    """The position map of a large image; the same for all images of a size."""
    return position_map(ENCODING.position, *SIZE, rope_axis=ENCODING.rope_axis)


def mask_records(count: int) -> list[dict[str, Any]]:
    """Masks of a large image as run lengths."""
    return records_from_regions(Regions.from_masks(some_masks(count, *SIZE)))


def lr_generation(bench: Bench, programs: Sequence[str]) -> Result:
    """The LR image of one HR image."""
    hr = crop_to_multiple(_photograph(*SIZE), SCALE)
    both = {
        "ours": lambda: downscale(hr, SCALE, "each_axis"),
        "released": lambda: bench.released.imresize(hr, 1 / SCALE),
    }
    timings = take_turns({k: both[k] for k in programs}, 2 * bench.repeat, torch.device("cpu"), loops=3)
    agreement = _apart(np.abs(both["ours"]().astype(int) - both["released"]())) if len(programs) == 2 else ""
    return Result(f"x1/{SCALE} of a {SIZE[1]}x{SIZE[0]} image", timings, agreement)


def batch_loading(bench: Bench, programs: Sequence[str]) -> Result:
    """One training patch with its structure map, LR and HR, from disk to arrays, on one thread.

    Theirs includes the up-sampling of LR, which ours does on the device, in the training step's time.
    """
    images = _stores(bench)
    dataset = bench.released.dataset(bench.folder, images)
    patches = _patches(bench)
    places = itertools.count()
    both: dict[str, Callable[[], Any]] = {
        "ours": lambda: patches.batch(16 * next(places), 16),
        "released": lambda: [dataset[i % len(dataset)] for i in range(16)],
    }
    timings = take_turns({k: both[k] for k in programs}, 3 * bench.repeat, torch.device("cpu"), loops=3)
    side = patches.patch_size
    return Result(f"a batch of 16 patches of {side}x{side}", timings)


STAGES: dict[str, Callable[[Bench, Sequence[str]], Result]] = {
    "training": training_step,
    "sampling": sampling,
    "masks": mask_encoding,
    "files": masks_from_files,
    "lr": lr_generation,
    "batch": batch_loading,
}


def some_masks(k: int, height: int, width: int) -> Iterator[np.ndarray]:
    """k overlapping masks like SAM's: half of them cells of a partition, half ellipses, large and small."""
    from scipy.spatial import cKDTree

    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    seeds = rng.random((k // 2, 2)) * (height, width)
    cell = cKDTree(seeds).query(np.stack([y.ravel(), x.ravel()], 1))[1].reshape(height, width)
    ellipses = []
    for _ in range(k - k // 2):
        cy, cx = rng.random(2) * (height, width)
        ellipses.append((cy, cx, *np.exp(rng.uniform(np.log(15), np.log(0.2 * height), 2))))
    for i in rng.permutation(k):
        if i < k // 2:
            yield cell == i
        else:
            cy, cx, ry, rx = ellipses[i - k // 2]
            yield ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 <= 1


def paper_recipe(config: Config) -> DenoiserRecipe:
    """The recipe of SAM-DiffSR as it was released, at the paper's size."""
    recipe = denoiser_recipe(config, Run(variant="released", scale=SCALE, seed=0))
    return recipe.but(structure=Structure(reduce=False))


def fresh_models(config: Config, folder: Path, changes: dict[str, Any] | None = None) -> tuple[Path, Path]:
    """Encoder and denoiser files of the paper's size with random weights; `changes` to the diffusion."""
    return _saved(config, folder, changes, None)[1:]


def _models(
    bench: Bench, released: Any, changes: dict[str, Any] | None = None
) -> tuple[DenoiserRecipe, Path, Path]:
    """(denoiser recipe, encoder file, denoiser file) with the weights of their model."""
    return _saved(bench.config, bench.folder, changes, weights_of(released, bench.folder))


def _saved(
    config: Config, folder: Path, changes: dict[str, Any] | None, checkpoint: Path | None
) -> tuple[DenoiserRecipe, Path, Path]:
    recipe = paper_recipe(config)
    recipe = recipe.but(diffusion=recipe.diffusion.but(**changes or {}))
    coder = encoder_recipe(config, recipe.encoder, SCALE, 0)
    encoder, denoiser = folder / "encoder.safetensors", folder / "denoiser.safetensors"
    net = build_encoder(coder)
    unet = build_denoiser(recipe, net.cond_channels)
    state = load_foreign_rrdb(checkpoint, net) if checkpoint else net.state_dict()
    save_model(encoder, state, state, {"recipe": coder.model_dump(mode="json"), "digests": {}})
    assert isinstance(unet, DenoisingUNet)
    state = load_foreign_unet(checkpoint, unet) if checkpoint else unet.state_dict()
    digests = {"encoder": load_encoder(encoder)[1].sha256}
    save_model(
        denoiser, state, state, {"recipe": recipe.model_dump(mode="json"), "digests": digests, "e_max": 1.0}
    )
    return recipe, encoder, denoiser


def _stores(bench: Bench) -> list[tuple[str, Path, Path]]:
    """Two images with masks: our stores, and the files that the released code packs its own from."""
    images = [(f"im{i}", _photograph(*SIZE, seed=i)) for i in range(2)]
    regions = Regions.from_masks(some_masks(MASKS, *SIZE))
    with StoreWriter(bench.folder / "hr", kind="hr") as store:
        for name, image in images:
            store.add(name, image)
    build_lr_store(bench.folder / "hr", bench.folder / "lr", SCALE)
    with RegionStoreWriter(bench.folder / "masks", on="hr") as writer:
        for name, _ in images:
            writer.add(name, regions)
    encode(bench.folder / "masks", bench.folder / "values.npz", ENCODING)
    stored = RegionStore(bench.folder / "masks")
    map_ = load_values(bench.folder / "values.npz", stored)[0][regions.labels]
    files = []
    for name, image in images:
        png, npy = (bench.folder / f"{name}{suffix}" for suffix in (".png", ".npy"))
        Image.fromarray(image).save(png, compress_level=1)
        np.save(npy, map_)
        files.append((name, png, npy))
    return files


def _patches(bench: Bench) -> PatchSource:
    regions = RegionStore(bench.folder / "masks")
    hr, lr = (Store(bench.folder / name) for name in ("hr", "lr"))
    values = load_values(bench.folder / "values.npz", regions)
    patch = paper_recipe(bench.config).training.patch
    return PatchSource(hr, lr, regions.labels, values, scale=SCALE, patch=patch, seed=0)


def _photograph(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A made-up image with structure at all sizes, uint8 (height, width, 3): speed does not depend on it."""
    rng = np.random.default_rng(seed)
    image = np.zeros((height, width, 3))
    for cell in (4, 16, 64, 256):
        coarse = rng.random((-(-height // cell), -(-width // cell), 3))
        image += coarse.repeat(cell, 0).repeat(cell, 1)[:height, :width]
    return (image * 63).astype(np.uint8)


@contextlib.contextmanager
def _their_settings() -> Iterator[None]:
    """Torch as the released code leaves it: without our deterministic algorithms."""
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(True, warn_only=True)


def _apart(difference: np.ndarray) -> str:
    share = 100 * float((difference > 0).mean())
    return f"{share:.2g} % of the values differ, by {int(difference.max())} of 255 at most"


def _training_flops(recipe: DenoiserRecipe, encoder: Path, side: int) -> float:
    """Of one sample: the frozen encoder forward, the denoiser forward and backward."""
    coder, _ = load_encoder(encoder)
    unet = build_denoiser(recipe, coder.cond_channels)
    with FlopCounterMode(display=False) as counted:
        features = coder.features(torch.zeros(1, 3, side // SCALE, side // SCALE))
        x_t = torch.zeros(1, 3, side, side)
        unet(x_t, torch.zeros(1), unet.project(features)).sum().backward()
    return float(counted.get_total_flops())


def _sampling_flops(recipe: DenoiserRecipe, encoder: Path, height: int, width: int, steps: int) -> float:
    """Counted on the meta device, where nothing is computed."""
    coder, _ = load_encoder(encoder)
    with torch.device("meta"), torch.no_grad():
        coder = coder.to("meta")
        unet = build_denoiser(recipe, coder.cond_channels)
        with FlopCounterMode(display=False) as counted:
            cond = unet.project(coder.features(torch.zeros(1, 3, height // SCALE, width // SCALE)))
        once = counted.get_total_flops()
        with FlopCounterMode(display=False) as counted:
            unet(torch.zeros(1, 3, height, width), torch.zeros(1), cond)
    return float(once + steps * counted.get_total_flops())
