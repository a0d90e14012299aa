"""What a training is told: everything that decides the weights."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from samdiffsr.core.recipe import NotNegative, Positive, Precision, Recipe, Strict
from samdiffsr.masks.recipe import Encoding
from samdiffsr.models.recipe import DenoiserNetwork, EncoderNetwork


class Training(Strict):
    """One optimisation. The defaults are the paper's (section 5.1)."""

    steps: Positive = 400_000
    """Number of optimiser steps."""
    batch: Positive = 16
    """Patches in a step."""
    patch: Positive = 160
    """Side of a training patch in HR pixels."""
    lr: Annotated[float, Field(gt=0)] = 2e-4
    """Highest learning rate."""
    lr_schedule: Literal["cosine", "step", "constant"] = "cosine"
    """How the learning rate falls: to 0 along a cosine, halved every `lr_step` steps, or not at all."""
    lr_step: Positive = 200_000
    """For `lr_schedule: step`: steps between two halvings."""
    warmup: NotNegative = 0
    """Steps over which the learning rate rises from 0."""
    loss: Literal["l2", "l1"] = "l2"
    """Squared (`l2`) or absolute (`l1`) error."""
    augment: bool = False
    """Flip and turn patches at random."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Decay of the averaged weights."""
    clip_grad: Annotated[float, Field(ge=0)] = 0.0
    """Largest norm of the gradient. 0: no limit."""


class Structure(Encoding):
    """The region masks of a training, and how they become e_sam (paper 4.2)."""

    mask_set: str = ""
    reduce: bool = True  # paper appendix B
    mask_crop: Literal["aligned", "released"] = "aligned"  # the released script cuts the mask elsewhere


class EncoderRecipe(EncoderNetwork):
    """L1 pretraining of the RRDB encoder."""

    training: Training = Training(steps=100_000, batch=64, loss="l1")
    seed: int = 0
    train_set: str = ""
    precision: Precision = "auto"


class DenoiserRecipe(DenoiserNetwork):
    """Training of one variant's denoiser."""

    training: Training = Training()
    structure: Structure | None = None  # None: no masks take part
    encoder: str = "default"
    seed: int = 0
    train_set: str = ""
    precision: Precision = "auto"


class CalibrationRecipe(Recipe):
    """A training whose cost is to be measured: the denoiser's if there is one, else the encoder's."""

    encoder: EncoderRecipe
    denoiser: DenoiserRecipe | None = None

    @property
    def timed(self) -> EncoderRecipe | DenoiserRecipe:
        return self.denoiser or self.encoder
