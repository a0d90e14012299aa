"""Pretraining of the RRDB encoder as a super-resolution network (L1), as SRDiff and SAM-DiffSR do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from samdiffsr.data.patches import PatchSource
from samdiffsr.data.store import Store
from samdiffsr.determinism import seed_weights
from samdiffsr.models.rrdb import RRDBEncoder
from samdiffsr.training.checkpoint import ModelFile, open_model
from samdiffsr.training.loop import Job, train


def build_encoder(recipe: dict[str, Any]) -> RRDBEncoder:
    """The network of an encoder recipe, with fresh weights."""
    return RRDBEncoder(recipe["blocks"], recipe["features"], recipe["growth"], recipe["scale"])


def load_encoder(path: str | Path, weights: str = "ema") -> tuple[RRDBEncoder, ModelFile]:
    """A trained encoder, frozen, in evaluation mode."""
    file = open_model(path, "encoder")
    encoder = build_encoder(file.info["recipe"])
    encoder.load_state_dict(file.weights(weights))
    return encoder.eval().requires_grad_(False), file


def pixel_loss(kind: str, prediction: Tensor, target: Tensor) -> Tensor:
    """Mean absolute (l1) or squared (l2) difference, in float32."""
    difference = prediction.float() - target
    return difference.abs().mean() if kind == "l1" else difference.square().mean()


def train_encoder(
    job: Job,
    recipe: dict[str, Any],
    hr: Path,
    lr: Path,
    name: str = "encoder",
    say: Callable[[str], None] = print,
) -> None:
    """Train the encoder of `recipe` on the stores `hr` and `lr`; writes `job.out`."""
    training, seed = recipe["training"], recipe["seed"]
    hr_store, lr_store = Store(hr), Store(lr)
    patches = PatchSource(
        hr_store,
        lr_store,
        None,
        None,
        scale=recipe["scale"],
        patch=training["patch"],
        seed=seed,
        augment=training["augment"],
    )
    seed_weights(seed)
    net = build_encoder(recipe)

    def loss(model: nn.Module, batch: dict[str, Tensor], indices: list[int]) -> Tensor:
        return pixel_loss(training["loss"], model(batch["lr"].float() / 255), batch["hr"].float() / 255)

    digests = {
        "hr": hr_store.digest,
        "lr": lr_store.digest,
        "images": hr_store.meta.get("images_digest"),
    }
    train(job, name, recipe, digests, net, patches.batch, loss, say=say)
