"""Training of the denoiser, plain (SRDiff) and structure-modulated (SAM-DiffSR)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from samdiffsr.core.errors import UserError
from samdiffsr.core.files import sha256_file
from samdiffsr.core.philox import integers, normals
from samdiffsr.core.randomness import sample_generator, seed_weights
from samdiffsr.data.resize import upsampled
from samdiffsr.data.store import Store
from samdiffsr.diffusion.process import Process, residual
from samdiffsr.diffusion.registry import FORMULATIONS
from samdiffsr.masks.encode import load_values
from samdiffsr.masks.store import RegionStore
from samdiffsr.models.denoiser import build_denoiser, build_formulation
from samdiffsr.models.encoder import load_encoder
from samdiffsr.models.rrdb import RRDBEncoder
from samdiffsr.models.unet import Denoiser
from samdiffsr.training.encoder import pixel_loss
from samdiffsr.training.job import Job
from samdiffsr.training.patches import PatchSource
from samdiffsr.training.recipe import DenoiserRecipe
from samdiffsr.training.step import Batch, Task
from samdiffsr.training.trainer import Trainer

NOISE = 1  # keeps the noise's random numbers apart from those of the patches
STREAMS = {"t": 0, "epsilon": 1}  # of the counter-based generator


class Conditioned(nn.Module):
    """U-Net and the projection of its condition as one call, which DistributedDataParallel needs."""

    def __init__(self, unet: Denoiser) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, x_t: Tensor, t: Tensor, features: Tensor, mask: Tensor | None) -> Tensor:
        return self.unet(x_t, t, self.unet.project(features, mask))


class NoiseLoss:
    """What a denoiser is trained by: the distance of its output from the target, at one t a sample.

    On the CPU each sample's t and noise come from a generator of its own; on a GPU those of the whole batch
    are drawn at once, by counter (`philox`). Either way they depend on the seed and the sample alone.

    Args:
        frozen: the encoder whose features condition the denoiser.
    """

    def __init__(self, recipe: DenoiserRecipe, process: Process, frozen: RRDBEncoder) -> None:
        self.recipe, self.process, self.frozen = recipe, process, frozen
        self.features = frozen.features
        self.by_counter = False

    def prepare(self, device: torch.device, dtype: torch.dtype, compiled: bool) -> None:
        """Everything to where it is used, once: the encoder in the type of its maps, the tables too."""
        self.frozen.to(device, dtype)
        if device.type == "cuda":
            self.frozen.to(memory_format=torch.channels_last)
            self.process = self.process.to(device)
            self.by_counter = True
        features = self.frozen.features
        self.features = torch.compile(features, fullgraph=True, dynamic=False) if compiled else features

    def draw(self, samples: range, device: torch.device) -> Batch:
        """What the loss draws from: t, int64 (B,), and epsilon, float32 (B, 3, patch, patch); or `sample`."""
        recipe, patch = self.recipe, self.recipe.training.patch
        if self.by_counter:
            return {"sample": torch.arange(samples.start, samples.stop, device=device)}
        # t is drawn where the tables are, epsilon where it is used
        t = [
            torch.randint(self.process.schedule.T, (), generator=sample_generator(recipe.seed, i))
            for i in samples
        ]
        epsilon = [
            torch.randn(
                (3, patch, patch),
                generator=sample_generator(recipe.seed ^ NOISE << 32, i, device),
                device=device,
            )
            for i in samples
        ]
        return {"t": torch.stack(t), "epsilon": torch.stack(epsilon)}

    def drawn(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """t and epsilon of a batch."""
        if "sample" not in batch:
            return batch["t"], batch["epsilon"]
        seed, sample, patch = self.recipe.seed, batch["sample"], self.recipe.training.patch
        t = integers(seed, STREAMS["t"], sample, self.process.schedule.T)
        return t, normals(seed, STREAMS["epsilon"], sample, (3, patch, patch))

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """Mean loss of a batch: uint8 `lr` and `hr`, float `e_sam` if there are masks, and what was drawn."""
        recipe, process = self.recipe, self.process
        t, epsilon = self.drawn(batch)
        e_sam = batch.get("e_sam")
        with torch.no_grad():
            features = self.features(batch["lr"].float() / 255)
            up = upsampled(batch["lr"], recipe.scale, recipe.lr_divisor)
            x_0 = residual(batch["hr"].float() / 255, up, recipe.diffusion.residual_scale)
        x_t = process.noisy(x_0, e_sam, epsilon, t)
        if x_t.is_cuda:  # once, rather than at every layer
            x_t = x_t.contiguous(memory_format=torch.channels_last)
        mask = e_sam if FORMULATIONS[recipe.formulation].e_sam == "network" else None
        prediction = model(x_t, t.to(x_t.device), features, mask)
        return pixel_loss(recipe.training.loss, prediction, process.target(e_sam, epsilon, t))


def denoiser_task(
    recipe: DenoiserRecipe,
    hr: Path,
    lr: Path,
    encoder: Path,
    labels: Path | None = None,
    values: Path | None = None,
    name: str = "denoiser",
) -> Task:
    """The training of `recipe`; arguments as of `train_denoiser`."""
    training = recipe.training
    hr_store, lr_store = Store(hr), Store(lr)
    process = build_formulation(recipe.formulation, recipe.diffusion, recipe.options)
    digests = {
        "hr": hr_store.digest,
        "lr": lr_store.digest,
        "images": hr_store.meta.get("images_digest"),
    }
    options: dict[str, Any] = {"labels": None, "values": None}
    e_max = 0.0
    if recipe.structure is not None:
        if labels is None or values is None:
            raise UserError(f"{name}: its recipe has a structure; give --labels and --values")
        regions = RegionStore(labels)
        source = regions.meta.get("source", {}).get("digest")
        if source not in (None, digests["lr" if regions.meta.get("on") == "lr" else "hr"]):
            raise UserError(f"{labels}: regions of other images than {hr}; delete its files and run again")
        e_values = load_values(values, regions)
        e_max = max(bound(process, v) for v in e_values)
        options = {
            "labels": regions.labels,
            "values": e_values,
            "reduce": recipe.structure.reduce,
            "mask_crop": recipe.structure.mask_crop,
        }
        digests |= {"labels": regions.digest, "values": sha256_file(values)}
    patches = PatchSource(
        hr_store,
        lr_store,
        scale=recipe.scale,
        patch=training.patch,
        seed=recipe.seed,
        augment=training.augment,
        **options,
    )
    frozen, encoder_file = load_encoder(encoder)
    digests["encoder"] = encoder_file.sha256
    seed_weights(recipe.seed)
    net = build_denoiser(recipe, frozen.cond_channels)
    loss = NoiseLoss(recipe, process, frozen)
    return Task(
        name,
        recipe,
        digests,
        net,
        patches.batch,
        loss,
        loss.draw,
        module=Conditioned(net),
        prepare=loss.prepare,
        facts={"e_max": e_max},
    )


def bound(process: Process, values: np.ndarray) -> float:
    """The largest absolute value of the mean map; values: of the atoms of one image, (n,) or (n, C)."""
    atoms = torch.from_numpy(np.atleast_2d(values.T)[None, :, None])
    return float(process.u(atoms).abs().max())


def train_denoiser(
    job: Job,
    recipe: DenoiserRecipe,
    hr: Path,
    lr: Path,
    encoder: Path,
    labels: Path | None = None,
    values: Path | None = None,
    name: str = "denoiser",
    on_step: Callable[[int], None] = lambda step: None,
) -> None:
    """Train the denoiser of `recipe`; writes `job.out`.

    Args:
        hr, lr: stores of the training set. encoder: a trained encoder's model file; its EMA weights are
        used, frozen.
        labels, values: region maps and values per region, where the recipe has a structure.
    """
    Trainer(job, denoiser_task(recipe, hr, lr, encoder, labels, values, name), on_step).run()
