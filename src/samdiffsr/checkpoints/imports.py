"""Networks that others trained, from their files into this project's model format, so that they are evaluated
like any run.

The files decide the networks' sizes; what cannot be read off them (the formulation, how LR is up-sampled) is
the variant's.
"""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from samdiffsr.core.errors import UserError
from samdiffsr.core.files import sha256_file
from samdiffsr.diffusion.registry import FORMULATIONS
from samdiffsr.models.denoiser import build_formulation
from samdiffsr.models.encoder import load_encoder
from samdiffsr.models.foreign import (
    load_foreign_betas,
    load_foreign_rrdb,
    load_foreign_unet,
    rrdb_arguments,
    unet_arguments,
)
from samdiffsr.models.model_file import save_model
from samdiffsr.models.recipe import DenoiserNetwork, EncoderNetwork, ImportRecipe, UNet

log = logging.getLogger(__name__)


def import_encoder(file: Path, out: Path) -> None:
    """Write the model file `out` of the RRDB encoder in `file`. UserError if it holds none."""
    state = load_foreign_rrdb(file)
    recipe = EncoderNetwork(**rrdb_arguments(state))
    # one kind of weights: the denoiser's stages ask for the averaged ones
    save_model(
        out, state, state, {"recipe": recipe.model_dump(mode="json"), "digests": {"file": sha256_file(file)}}
    )


def import_denoiser(file: Path, encoder: Path, out: Path, recipe: ImportRecipe) -> None:
    """Write the model file `out` of the denoiser in `file`.

    Args:
        encoder: the model file that `import_encoder` made.

    Raises:
        UserError: the file holds no denoiser, or one of another scale, another encoder, another schedule than
            config.yaml says, or with or without masks as an input unlike its formulation.
    """
    state = load_foreign_unet(file)
    sizes = unet_arguments(state)
    coder, model = load_encoder(encoder)
    expected = {
        "scale": recipe.scale,
        "cond_channels": coder.cond_channels,
        "mask_channels": int(FORMULATIONS[recipe.formulation].e_sam == "network"),
    }
    for what, value in expected.items():
        if sizes[what] != value:
            raise UserError(f"{file}: its denoiser has {what} {sizes[what]}, the run needs {value}")
    try:
        beta = load_foreign_betas(file)
    except UserError:
        log.info(f"{file}: holds no noise schedule; config.yaml's is taken")
    else:
        ours = build_formulation(recipe.formulation, recipe.diffusion).schedule.beta.float()
        if beta.shape != ours.shape or not torch.allclose(beta, ours, atol=1e-4):
            raise UserError(f"{file}: its noise schedule is not config.yaml's; correct `diffusion` there")
    network = DenoiserNetwork(
        unet=UNet(dim=sizes["dim"], mults=tuple(sizes["mults"])),
        **recipe.model_dump(exclude={"precision"}),
    )
    info = {
        "recipe": network.model_dump(mode="json") | {"precision": recipe.precision, "structure": None},
        "digests": {"encoder": model.sha256, "file": sha256_file(file)},
        "e_max": 0.0,  # unused by the formulations that can be imported
    }
    save_model(out, state, state, info)
