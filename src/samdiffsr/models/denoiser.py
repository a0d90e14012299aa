"""The denoiser and the diffusion process of a recipe or of a model file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from samdiffsr.core.errors import UserError
from samdiffsr.core.registry import load
from samdiffsr.diffusion.process import Process, formulation
from samdiffsr.diffusion.recipe import Diffusion, FormulationName
from samdiffsr.diffusion.registry import FORMULATIONS
from samdiffsr.diffusion.schedule import cosine_schedule
from samdiffsr.models.model_file import ModelFile, open_model
from samdiffsr.models.recipe import DenoiserNetwork
from samdiffsr.models.registry import BACKBONES, SRDiffUNet
from samdiffsr.models.unet import Denoiser


def build_denoiser(network: DenoiserNetwork, cond_channels: int) -> Denoiser:
    """The network with fresh weights; `cond_channels` is the encoder's."""
    settings = network.backbone or SRDiffUNet(**dict(network.unet))
    made: Denoiser = load(BACKBONES[settings.kind].code)(
        settings,
        cond_channels,
        network.scale,
        mask_channels=network.region_features * (FORMULATIONS[network.formulation].e_sam == "network"),
    )
    return made


def build_formulation(
    name: FormulationName, diffusion: Diffusion, options: Mapping[str, float] | None = None
) -> Process:
    """The diffusion process; options: of the formulation's function."""
    schedule = cosine_schedule(diffusion.steps, diffusion.s, diffusion.beta_max)
    return formulation(name, schedule, options)


def load_denoiser(
    path: str | Path, encoder: ModelFile, cond_channels: int, weights: str
) -> tuple[Denoiser, ModelFile]:
    """A trained denoiser, frozen, in evaluation mode.

    Raises:
        UserError: it was trained with another encoder than `encoder`.
    """
    file = open_model(path, "denoiser")
    if file.info["digests"]["encoder"] != encoder.sha256:
        raise UserError(
            f"{path}: was trained with another encoder than {encoder.path}; use the one it belongs to"
        )
    unet = build_denoiser(file.network(DenoiserNetwork), cond_channels)
    unet.load_state_dict(file.weights(weights))
    return unet.eval().requires_grad_(False), file
