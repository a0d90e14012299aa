"""Pretraining of the RRDB encoder as a super-resolution network (L1), as SRDiff and SAM-DiffSR do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from samdiffsr.core.randomness import seed_weights
from samdiffsr.data.store import Store
from samdiffsr.models.encoder import build_encoder
from samdiffsr.training.patches import PatchSource
from samdiffsr.training.trainer import Job, train


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
