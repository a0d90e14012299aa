"""The denoiser and the diffusion process of a recipe or of a model file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from samdiffsr.core.errors import UserError
from samdiffsr.diffusion.process import Formulation, formulation
from samdiffsr.diffusion.schedule import cosine_schedule
from samdiffsr.models.model_file import ModelFile, open_model
from samdiffsr.models.unet import DenoisingUNet


def build_denoiser(recipe: dict[str, Any], cond_channels: int) -> DenoisingUNet:
    """The network of a denoiser recipe, with fresh weights; `cond_channels` is the encoder's."""
    return DenoisingUNet(
        recipe["unet"]["dim"],
        recipe["unet"]["mults"],
        cond_channels,
        recipe["scale"],
        mask_channels=1 if recipe["formulation"] == "condition" else 0,
    )


def build_formulation(recipe: dict[str, Any]) -> Formulation:
    """The diffusion process of a denoiser recipe."""
    process = recipe["diffusion"]
    schedule = cosine_schedule(process["steps"], process["s"], process["beta_max"])
    return formulation(recipe["formulation"], schedule)


def load_denoiser(
    path: str | Path, encoder: ModelFile, cond_channels: int, weights: str
) -> tuple[DenoisingUNet, ModelFile]:
    """A trained denoiser, frozen, in evaluation mode.

    Raises:
        UserError: it was trained with another encoder than `encoder`.
    """
    file = open_model(path, "denoiser")
    if file.info["digests"]["encoder"] != encoder.sha256:
        raise UserError(
            f"{path}: was trained with another encoder than {encoder.path}; use the one it belongs to"
        )
    unet = build_denoiser(file.info["recipe"], cond_channels)
    unet.load_state_dict(file.weights(weights))
    return unet.eval().requires_grad_(False), file
