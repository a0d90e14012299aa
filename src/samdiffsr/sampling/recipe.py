"""Recipes of the sampling, one a kind of method."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from samdiffsr.core.errors import UserError
from samdiffsr.core.recipe import NotNegative, Positive, Precision, Recipe, Scale, Strict, problem
from samdiffsr.sampling.adapters import ADAPTERS

Weights = Literal["ema", "raw"]
Adapter = Annotated[str, AfterValidator(ADAPTERS.known)]


class Chain(Strict):
    """How images are sampled from a trained denoiser."""

    steps: Positive | None = None
    """Network calls for one image. `null`: T, the steps of the diffusion."""
    start: Positive | None = None
    """Step t at which sampling begins. `null`: T, or T - 1 where the formulation needs it."""
    pad: NotNegative = 0
    """LR pixels reflected around an image while it is sampled (docs/method/formulations.md, Border)."""


class Draw(Chain):
    """What decides an image that a given denoiser draws of a given LR image.

    Attributes:
        seed: the training's. Two methods trained from one seed draw from one noise.
        sample: the sampling seed, apart from the training's: which of the images of this LR image.
    """

    weights: Weights = "ema"
    seed: int = 0
    sample: NotNegative = 0


class BicubicRecipe(Recipe):
    """MATLAB's bicubic."""

    kind: Literal["bicubic"] = "bicubic"
    scale: Scale
    weights: Literal["none"] = "none"


class EncoderRecipe(Recipe):
    """The encoder as the super-resolution network that it was pretrained as."""

    kind: Literal["encoder"] = "encoder"
    scale: Scale
    weights: Weights = "ema"
    precision: Precision = "auto"


class DenoiserRecipe(Recipe, Draw):
    """A denoiser."""

    kind: Literal["denoiser"] = "denoiser"
    scale: Scale
    precision: Precision = "auto"


class BaselineRecipe(Recipe):
    """Another method.

    Attributes:
        adapter: where its images come from.
        command: `command`: the command line, with {lr} and {sr}, two folders, and {scale}.
        sha256: of its file, or its first digits; `diffusers`: of files in its folder.
        url: where it can be had.
        steps: `diffusers`: network calls an image; no part of the other adapters' recipes.
    """

    kind: Literal["baseline"] = "baseline"
    scale: Scale
    weights: Literal["none"] = "none"
    adapter: Adapter
    command: str = ""
    sha256: str | dict[str, str] = ""
    url: str = ""
    steps: Positive | None = None

    later = ("steps",)


SamplingRecipe = BicubicRecipe | EncoderRecipe | DenoiserRecipe | BaselineRecipe
_ANY: TypeAdapter[SamplingRecipe] = TypeAdapter(Annotated[SamplingRecipe, Field(discriminator="kind")])


def parse(text: str, origin: str = "--recipe") -> SamplingRecipe:
    """The recipe that `text` holds; UserError names what is unknown, missing or wrong."""
    try:
        return _ANY.validate_json(text)
    except ValidationError as error:
        raise UserError(f"{origin}: {problem(error)}") from None
