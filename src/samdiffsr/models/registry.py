"""The denoisers' architectures by name: their arguments, and where their code is. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    SerializeAsAny,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from samdiffsr.core.recipe import Positive, Strict, problem
from samdiffsr.core.registry import Registry


class Settings(Strict):
    """The arguments of one architecture. Subclasses set `kind`."""

    kind: str

    @property
    def size_multiple(self) -> int:
        """Height and width of x_t must be multiples of this, and twice it at least."""
        return 1


def _from_one(mults: tuple[int, ...]) -> tuple[int, ...]:
    if mults[:1] != (1,):
        raise ValueError("the first of them must be 1")
    return mults


class UNet(Strict):
    """Size of SRDiff's U-Net."""

    dim: Annotated[int, Field(ge=4, multiple_of=2)] = 64
    """Channels at full resolution, and length of the time embedding."""
    mults: Annotated[tuple[Positive, ...], AfterValidator(_from_one)] = (1, 2, 3, 4)
    """Channels of each level, in multiples of `dim`. Each level has half the resolution of the one before."""


class SRDiffUNet(Settings, UNet):
    """SRDiff's U-Net, of a size of its own."""

    kind: Literal["unet"] = "unet"
    """Name of the architecture."""

    @property
    def size_multiple(self) -> int:
        return 2 ** (len(self.mults) - 1)


class DiffusersUNet(Settings):
    """`UNet2DModel` of the library diffusers, with group normalisation and, where wanted, attention."""

    kind: Literal["diffusers_unet"] = "diffusers_unet"
    """Name of the architecture."""
    channels: Annotated[tuple[Positive, ...], Field(min_length=1)] = (64, 128, 192, 256)
    """Channels of each level (`block_out_channels`). Each level has half the resolution of the one before."""
    layers: Positive = 2
    """Residual blocks of a level (`layers_per_block`)."""
    groups: Positive = 8
    """Groups of each normalisation (`norm_num_groups`). Divides all channels."""
    attention: bool = False
    """Attention at the coarsest level."""

    @property
    def size_multiple(self) -> int:
        return 2 ** (len(self.channels) - 1)

    @model_validator(mode="after")
    def _divisible(self) -> DiffusersUNet:
        if any(n % self.groups for n in self.channels):
            raise ValueError(f"groups: {self.groups} does not divide all channels {list(self.channels)}")
        return self


@dataclass(frozen=True)
class Backbone:
    """An architecture.

    Attributes:
        settings: its arguments.
        code: "module:name" of what is called with (settings, cond_channels, scale, mask_channels) and gives a
            `unet.Denoiser`.
    """

    settings: type[Settings]
    code: str


BACKBONES = Registry(
    "backbone",
    {
        "unet": Backbone(SRDiffUNet, "samdiffsr.models.unet:from_settings"),
        "diffusers_unet": Backbone(DiffusersUNet, "samdiffsr.models.diffusers_unet:DiffusersDenoiser"),
    },
)


def _any_kind(value: Any, validate: ValidatorFunctionWrapHandler) -> Settings:
    if not isinstance(value, Mapping):
        return validate(value)
    kind = BACKBONES.known(value.get("kind"))
    try:
        return BACKBONES[kind].settings.model_validate(value)
    except ValidationError as error:
        raise ValueError(f"backbone {kind}: {problem(error)}") from None


AnyBackbone = Annotated[SerializeAsAny[Settings], WrapValidator(_any_kind)]
