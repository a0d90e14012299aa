"""What a diffusion process is told: its schedule, the residual that it diffuses, and how e_sam enters."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from samdiffsr.core.recipe import Positive, Strict
from samdiffsr.diffusion.registry import FORMULATIONS

FormulationName = Annotated[str, AfterValidator(FORMULATIONS.known)]


class Diffusion(Strict):
    """The schedule (paper 5.1, after Nichol & Dhariwal) and the residual that is diffused (after SRDiff)."""

    steps: Positive = 100
    """T, the number of diffusion steps in training."""
    s: float = 0.008
    """Offset s of the cosine schedule."""
    beta_max: float = 0.999
    """Upper limit of beta_t."""
    residual_scale: float = 2.0
    """x_0 = residual_scale * (HR - upsampled LR), with images in [-1, 1]."""
