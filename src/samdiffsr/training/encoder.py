"""Pretraining of the RRDB encoder as a super-resolution network (L1), as SRDiff and SAM-DiffSR do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn

from samdiffsr.core.randomness import seed_weights
from samdiffsr.data.store import Store
from samdiffsr.models.encoder import build_encoder
from samdiffsr.training.job import Job
from samdiffsr.training.patches import PatchSource
from samdiffsr.training.recipe import EncoderRecipe
from samdiffsr.training.step import Batch, Task
from samdiffsr.training.trainer import Trainer


def pixel_loss(kind: str, prediction: Tensor, target: Tensor) -> Tensor:
    """Mean absolute (l1) or squared (l2) difference, in float32."""
    difference = prediction.float() - target
    return difference.abs().mean() if kind == "l1" else difference.square().mean()


def encoder_task(recipe: EncoderRecipe, hr: Path, lr: Path, name: str = "encoder") -> Task:
    """The training of `recipe` on the stores `hr` and `lr`."""
    training = recipe.training
    hr_store, lr_store = Store(hr), Store(lr)
    patches = PatchSource(
        hr_store,
        lr_store,
        None,
        None,
        scale=recipe.scale,
        patch=training.patch,
        seed=recipe.seed,
        augment=training.augment,
    )
    seed_weights(recipe.seed)

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        return pixel_loss(training.loss, model(batch["lr"].float() / 255), batch["hr"].float() / 255)

    digests = {
        "hr": hr_store.digest,
        "lr": lr_store.digest,
        "images": hr_store.meta.get("images_digest"),
    }
    return Task(name, recipe, digests, build_encoder(recipe), patches.batch, loss)


def train_encoder(
    job: Job,
    recipe: EncoderRecipe,
    hr: Path,
    lr: Path,
    name: str = "encoder",
    on_step: Callable[[int], None] = lambda step: None,
) -> None:
    """Train the encoder of `recipe` on the stores `hr` and `lr`; writes `job.out`."""
    Trainer(job, encoder_task(recipe, hr, lr, name), on_step).run()
