"""Training of the denoiser, plain (SRDiff) and structure-modulated (SAM-DiffSR)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from samdiffsr.core.errors import UserError
from samdiffsr.core.files import sha256_file
from samdiffsr.core.randomness import sample_generator, seed_weights
from samdiffsr.data.resize import upsampled
from samdiffsr.data.store import Store
from samdiffsr.diffusion.process import residual
from samdiffsr.masks.encode import load_values
from samdiffsr.masks.store import RegionStore
from samdiffsr.models.denoiser import build_denoiser, build_formulation
from samdiffsr.models.encoder import load_encoder
from samdiffsr.models.unet import DenoisingUNet
from samdiffsr.training.encoder import pixel_loss
from samdiffsr.training.patches import PatchSource
from samdiffsr.training.trainer import Job, train

NOISE = 1  # keeps the noise's random numbers apart from those of the patches


class Conditioned(nn.Module):
    """U-Net and the projection of its condition as one call, which DistributedDataParallel needs."""

    def __init__(self, unet: DenoisingUNet) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, x_t: Tensor, t: Tensor, features: Tensor, mask: Tensor | None) -> Tensor:
        return self.unet(x_t, t, self.unet.project(features, mask))


def train_denoiser(
    job: Job,
    recipe: dict[str, Any],
    hr: Path,
    lr: Path,
    encoder: Path,
    labels: Path | None = None,
    values: Path | None = None,
    name: str = "denoiser",
    say: Callable[[str], None] = print,
) -> None:
    """Train the denoiser of `recipe`; writes `job.out`.

    Args:
        hr, lr: stores of the training set. encoder: a trained encoder's model file; its EMA weights are
        used, frozen.
        labels, values: region maps and values per region, where the recipe has a structure.
    """
    training, seed, structure = recipe["training"], recipe["seed"], recipe["structure"]
    hr_store, lr_store = Store(hr), Store(lr)
    digests = {
        "hr": hr_store.digest,
        "lr": lr_store.digest,
        "images": hr_store.meta.get("images_digest"),
    }
    options: dict[str, Any] = {"labels": None, "values": None}
    e_max = 0.0
    if structure is not None:
        if labels is None or values is None:
            raise UserError(f"{name}: its recipe has a structure; give --labels and --values")
        regions = RegionStore(labels)
        source = regions.meta.get("source", {}).get("digest")
        if source not in (None, digests["lr" if regions.meta.get("on") == "lr" else "hr"]):
            raise UserError(f"{labels}: regions of other images than {hr}; delete its files and run again")
        e_values = load_values(values, regions)
        e_max = max(float(abs(v).max()) for v in e_values)
        options = {
            "labels": regions.labels,
            "values": e_values,
            "reduce": structure["reduce"],
            "mask_crop": structure["mask_crop"],
        }
        digests |= {"labels": regions.digest, "values": sha256_file(values)}
    patches = PatchSource(
        hr_store,
        lr_store,
        scale=recipe["scale"],
        patch=training["patch"],
        seed=seed,
        augment=training["augment"],
        **options,
    )
    frozen, encoder_file = load_encoder(encoder)
    digests["encoder"] = encoder_file.sha256
    seed_weights(seed)
    net = build_denoiser(recipe, frozen.cond_channels)
    process = build_formulation(recipe)
    T = process.schedule.T
    residual_scale = recipe["diffusion"]["residual_scale"]

    def loss(model: nn.Module, batch: dict[str, Tensor], indices: list[int]) -> Tensor:
        device = batch["lr"].device
        mixed = torch.is_autocast_enabled(device.type)  # then cast once, not every weight in every step
        frozen.to(device, torch.get_autocast_dtype(device.type) if mixed else None)
        with torch.no_grad():
            features = frozen.features(batch["lr"].float() / 255)
            up = upsampled(batch["lr"], recipe["scale"], recipe["lr_divisor"])
            x_0 = residual(batch["hr"].float() / 255, up, residual_scale)
        # t is drawn where the tables are, epsilon where it is used
        t = torch.stack([torch.randint(T, (), generator=sample_generator(seed, i)) for i in indices])
        epsilon = torch.stack(
            [
                torch.randn(
                    x_0.shape[1:],
                    generator=sample_generator(seed ^ NOISE << 32, i, x_0.device),
                    device=x_0.device,
                )
                for i in indices
            ]
        )
        e_sam = batch.get("e_sam")
        x_t = process.noisy(x_0, e_sam, epsilon, t)
        mask = e_sam if recipe["formulation"] == "condition" else None
        prediction = model(x_t, t.to(x_t.device), features, mask)
        return pixel_loss(training["loss"], prediction, process.target(e_sam, epsilon, t))

    module = Conditioned(net)
    train(job, name, recipe, digests, net, patches.batch, loss, module, {"e_max": e_max}, say)
