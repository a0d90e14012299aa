"""The arms of the study: what of e_sam each uses, and where its tables are. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from samdiffsr.core.registry import Registry

Clip = Literal["srdiff", "wide"]


@dataclass(frozen=True)
class Arm:
    """One formulation; the general form is in diffusion/process.py.

    Attributes:
        code: "module:name" of what gives (m_t, k_t) for a schedule and the arm's options.
        e_sam: where e_sam enters: "" (nowhere), "noise" or "network".
        clip: the clipping rule that is valid for it; "wide" needs the largest |e_sam| of the training.
    """

    code: str
    e_sam: Literal["", "noise", "network"] = "noise"
    clip: Clip = "srdiff"

    def start(self, steps: int) -> int:
        """The t of T = `steps` at which sampling is best begun (`process.Formulation.start`)."""
        return first_t(self.clip, steps)


def first_t(clip: str, steps: int) -> int:
    """T, or T - 1 where no clamp tames the step at T."""
    return steps - (clip == "wide" and steps > 1)


_HERE = "samdiffsr.diffusion.process"
FORMULATIONS = Registry(
    "formulation",
    {
        "none": Arm(f"{_HERE}:plain", e_sam=""),
        "condition": Arm(f"{_HERE}:plain", e_sam="network"),
        "published": Arm(f"{_HERE}:published", clip="wide"),
        "released": Arm(f"{_HERE}:released"),
        "released_nocoef": Arm(f"{_HERE}:released_nocoef"),
        "coefficient_fix": Arm(f"{_HERE}:coefficient_fix"),
        "consistent": Arm(f"{_HERE}:consistent", clip="wide"),
    },
)
