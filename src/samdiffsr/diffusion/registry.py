"""The arms of the study: what of e_sam each uses, and where its tables are. No torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from samdiffsr.core.registry import Registry

Clip = Literal["srdiff", "wide"]


class Range(NamedTuple):
    """The values that an option may have, in words and as a test."""

    words: str
    holds: Callable[[float], bool]


@dataclass(frozen=True)
class Arm:
    """One formulation; the general form is in diffusion/process.py.

    Attributes:
        code: "module:name" of what gives `process.Maps`, or (m_t, k_t), for a schedule and its own options.
        e_sam: where e_sam enters: "" (nowhere), "noise" or "network".
        clip: the clipping rule that is valid for it; "wide" needs the largest |e_sam| of the training.
        biased: what is wrong with its samples although the network is perfect and knows e_sam, in a few
            words; empty: nothing is (`toy.check` finds out, and refuses a bias that is not declared).
        features: how many numbers a region may have; empty: any number.
        known: e_sam is known at inference too, from masks of the LR image, and the sampler uses it.
        options: range of each option of its function; None: only the function knows, once it is loaded.
    """

    code: str
    e_sam: Literal["", "noise", "network"] = "noise"
    clip: Clip = "srdiff"
    biased: str = ""
    features: tuple[int, ...] = (1, 3)
    known: bool = False
    options: Mapping[str, Range] | None = None

    @property
    def needs_masks(self) -> bool:
        """Whether images cannot be drawn without masks."""
        return self.known or self.e_sam == "network"

    def against(self, options: Mapping[str, float]) -> str:
        """What is wrong with these options, as the end of a sentence; empty: nothing that is declared."""
        if self.options is None:
            return ""
        if unknown := sorted(set(options) - set(self.options)):
            return f"has no option {', '.join(unknown)}"
        for option, value in options.items():
            if not self.options[option].holds(value):
                return f"needs {self.options[option].words}, got {option}={value:g}"
        return ""

    def first_t(self, steps: int) -> int:
        """The t of T = `steps` at which sampling is best begun (`process.Process.first_t`)."""
        return first_t(self.clip, steps)


def first_t(clip: str, steps: int) -> int:
    """T, or T - 1 where no clamp tames the step at T."""
    return steps - (clip == "wide" and steps > 1)


_HERE = "samdiffsr.diffusion.process"
_UNSCALED = "the sampler's noise is not scaled by region"
_GAMMA = {"gamma": Range("0 < |gamma| <= 1", lambda gamma: 0 < abs(gamma) <= 1)}
_SHIFT = {
    "strength": Range("a finite strength", math.isfinite),
    "power": Range("a finite power of 0 or more", lambda power: 0 <= power < math.inf),
}
FORMULATIONS = Registry(
    "formulation",
    {
        "none": Arm(f"{_HERE}:plain", e_sam="", options={}),
        "condition": Arm(f"{_HERE}:plain", e_sam="network", features=(), options={}),
        "published": Arm(f"{_HERE}:published", clip="wide", options={}),
        "released": Arm(f"{_HERE}:released", options={}),
        "released_nocoef": Arm(f"{_HERE}:released_nocoef", biased="mean is off by -0.27 e_sam", options={}),
        "coefficient_fix": Arm(f"{_HERE}:coefficient_fix", biased="mean is off by -0.54 e_sam", options={}),
        "consistent": Arm(f"{_HERE}:consistent", clip="wide", options=_SHIFT),
        "scaled": Arm(f"{_HERE}:scaled", biased=_UNSCALED, options=_GAMMA),
        "shift_and_scale": Arm(f"{_HERE}:shift_and_scale", clip="wide", biased=_UNSCALED, options=_GAMMA),
        "scaled_known": Arm(f"{_HERE}:scaled", known=True, options=_GAMMA),
    },
)
