"""What a model file says of its network, enough to build it again. The paper's sizes are the defaults."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from samdiffsr.core.recipe import Positive, Precision, Recipe, Scale, Strict
from samdiffsr.diffusion.recipe import Diffusion, FormulationName
from samdiffsr.models.registry import AnyBackbone, UNet


class EncoderSize(Strict):
    """RRDB size."""

    blocks: Annotated[int, Field(ge=2)] = 17
    """Number of residual-in-residual dense blocks."""
    features: Positive = 64
    """Channels between the blocks."""
    growth: Positive = 32
    """Channels that each convolution inside a dense block adds."""


class EncoderNetwork(Recipe, EncoderSize):
    """An encoder, as part of its training's recipe."""

    kind: Literal["encoder"] = "encoder"
    scale: Scale


class DenoiserNetwork(Recipe):
    """A denoiser and the diffusion process that it belongs to, as part of its training's recipe."""

    kind: Literal["denoiser"] = "denoiser"
    scale: Scale
    formulation: FormulationName
    lr_divisor: Literal[255, 256] = 255  # the released code up-samples LR / 256
    unet: UNet = UNet()
    diffusion: Diffusion = Diffusion()
    options: dict[str, float] = Field(default_factory=dict)  # of the formulation's function

    region_features: Positive = 1  # numbers a region
    backbone: AnyBackbone | None = None  # None: SRDiff's U-Net of the size `unet`

    later = ("options", "region_features", "backbone")


class ImportRecipe(Recipe):
    """What cannot be read off a file that others trained."""

    scale: Scale
    formulation: FormulationName
    lr_divisor: Literal[255, 256] = 255
    diffusion: Diffusion = Diffusion()
    precision: Precision = "auto"
