"""The arms of the study: how the structure map e_sam enters the noise.

Derivations: docs/method/formulations.md.

One general form serves them all:

    x_t    = sqrt(alpha_bar_t) x_0 + m_t e_sam + sqrt(1 - alpha_bar_t) epsilon        (network input)
    target = k_t e_sam + epsilon                                                      (network output)

and an arm is a pair of tables (m_t, k_t), with the clipping rule that is valid for it.
"""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass, replace
from typing import get_args

import torch
from torch import Tensor

from samdiffsr.core.errors import UserError
from samdiffsr.core.registry import load
from samdiffsr.diffusion.registry import FORMULATIONS, Clip, first_t
from samdiffsr.diffusion.schedule import Schedule

CLIPS = get_args(Clip)


@dataclass(frozen=True, eq=False)
class Formulation:
    """One arm. m and k are (T,) float64 CPU tables; index i holds step t = i + 1.

    clip: what the sampler may do to the predicted x_0 + b_t e_sam: "srdiff" clamps to [-1, 1] (right where
    b_t = 0), "wide" to +-(1 + |b_t| e_max), which never cuts a true value.
    """

    name: str
    schedule: Schedule
    m: Tensor
    k: Tensor
    clip: Clip

    @property
    def modulated(self) -> bool:
        """Whether e_sam enters the noise at all."""
        return bool(self.m.any() or self.k.any())

    @property
    def start(self) -> int:
        """The t at which its sampling is best begun: T, or T - 1 where no clamp tames the step at T.

        That step multiplies an error of the network by 1 / sqrt(alpha_T) = 31.6 (cosine schedule). "srdiff"
        cuts the result to [-1, 1]; the "wide" bound is past 100 there, and the error stays in the image.
        """
        return first_t(self.clip, self.schedule.T)

    @property
    def b(self) -> Tensor:
        """b_t, (T,) float64: (x_t - sqrt(1-abar_t) target) / sqrt(abar_t) = x_0 + b_t e_sam."""
        alpha_bar = self.schedule.alpha_bar
        return (self.m - (1 - alpha_bar).sqrt() * self.k) / alpha_bar.sqrt()

    def to(self, device: torch.device) -> Formulation:
        """The same arm with its tables on another device, where t is then best too."""
        return replace(self, schedule=self.schedule.to(device), m=self.m.to(device), k=self.k.to(device))

    def noisy(self, x_0: Tensor, e_sam: Tensor | None, epsilon: Tensor, t: Tensor) -> Tensor:
        """The network's input x_t, paper eq. (3) for `published`.

        x_0, epsilon: (B, 3, H, W) float, x_0 in [-1, 1]. e_sam: (B, 1, H, W), unused (may be None) where the
        arm is not modulated. t: (B,) int64 in 0..T-1, best where the tables are. Returns x_0's dtype.
        ValueError for a negative t, IndexError for one beyond T - 1, where t is on the CPU.
        """
        alpha_bar = self.schedule.alpha_bar
        x_t = _at(alpha_bar.sqrt(), t, x_0) * x_0 + _at((1 - alpha_bar).sqrt(), t, x_0) * epsilon
        return x_t + _at(self.m, t, x_0) * _given(e_sam) if self.modulated else x_t

    def target(self, e_sam: Tensor | None, epsilon: Tensor, t: Tensor) -> Tensor:
        """What the network is trained to predict, paper eq. (5) for `published`. Shapes as in `noisy`."""
        return epsilon + _at(self.k, t, epsilon) * _given(e_sam) if self.modulated else epsilon


def _given(e_sam: Tensor | None) -> Tensor:
    if e_sam is None:
        raise ValueError("e_sam is needed: this arm modulates the noise")
    return e_sam


def _at(table: Tensor, t: Tensor, like: Tensor) -> Tensor:
    """table[t] as (B, 1, 1, 1) in the dtype and on the device of `like`."""
    t = t.to(table.device)
    if t.device.type == "cpu" and t.min() < 0:  # would silently count from the end; a GPU is not waited for
        raise ValueError(f"t must be in 0..{len(table) - 1}, got {int(t.min())}")
    return table[t].to(like.device, like.dtype).reshape(-1, *[1] * (like.ndim - 1))


def formulation(name: str, schedule: Schedule, *, clip: Clip | None = None, **options: float) -> Formulation:
    """The arm called `name`, one of FORMULATIONS; `clip` (one of CLIPS) overrides its clipping rule.

    options: `strength`, `power` for `consistent`, none for the others. UserError for an unknown name, option
    or clip.
    """
    arm = FORMULATIONS[name]
    tables = load(arm.code)
    unknown = set(options) - set(inspect.signature(tables).parameters)
    if unknown:
        raise UserError(f"formulation {name!r} has no option {', '.join(sorted(unknown))}")
    if clip not in (None, *CLIPS):
        raise UserError(f"unknown clip {clip!r} for formulation {name!r}: choose one of {', '.join(CLIPS)}")
    m, k = tables(schedule, **options)
    return Formulation(name, schedule, m, k, clip or arm.clip)


def plain(schedule: Schedule) -> tuple[Tensor, Tensor]:
    """SRDiff: no modulation (`condition` gives e_sam to the network instead: SAM+SRDiff, paper Table 1)."""
    return torch.zeros_like(schedule.beta), torch.zeros_like(schedule.beta)


def published(schedule: Schedule) -> tuple[Tensor, Tensor]:
    """Paper eqs. (3) and (5)."""
    return schedule.phi, ((1 - schedule.alpha_bar) / schedule.beta).sqrt()


def _as_noise(schedule: Schedule, k: Tensor) -> tuple[Tensor, Tensor]:
    """e_sam added to the noise itself, so that input and target share one coefficient: m = sqrt(1-abar) k."""
    return (1 - schedule.alpha_bar).sqrt() * k, k


def released(schedule: Schedule) -> tuple[Tensor, Tensor]:
    """The authors' code: the noise is epsilon + sqrt(1-abar_t) beta_t e_sam."""
    return _as_noise(schedule, (1 - schedule.alpha_bar).sqrt() * schedule.beta)


def released_nocoef(schedule: Schedule) -> tuple[Tensor, Tensor]:
    """The authors' code with its switch `mask_coefficient` off: epsilon + e_sam. Sampling is biased."""
    return _as_noise(schedule, torch.ones_like(schedule.beta))


def coefficient_fix(schedule: Schedule) -> tuple[Tensor, Tensor]:
    """The authors' code with only its coefficient put as in eq. (5): a third process. Sampling is biased."""
    return _as_noise(schedule, ((1 - schedule.alpha_bar) / schedule.beta).sqrt())


def consistent(schedule: Schedule, strength: float = 1.0, power: float = 1.0) -> tuple[Tensor, Tensor]:
    """A shift m_t = strength sqrt(1-abar_t)^power, and the k_t that makes eq. (4)'s mean exact without e_sam.

    With power = 1 the shift is `strength` noise standard deviations at every t. With power = 2 it fades
    towards t = 0 and so does b_t: few-step sampling is then nearly that of plain diffusion. UserError for a
    negative power: the shift would grow where the noise fades.
    """
    if not 0 <= power < math.inf or not math.isfinite(strength):
        raise UserError(
            "formulation 'consistent': need a power of 0 or more and a finite strength,"
            f" got {power=}, {strength=}"
        )
    sigma = (1 - schedule.alpha_bar).sqrt()
    m = strength * sigma**power
    m_prev = torch.cat([torch.zeros_like(m[:1]), m[:-1]])  # x_0 is not shifted, whatever the power
    return m, (m - schedule.alpha.sqrt() * m_prev) * sigma / schedule.beta


def residual(hr: Tensor, up: Tensor, residual_scale: float) -> Tensor:
    """x_0, the image that is diffused: HR minus up-sampled LR in [-1, 1] units, scaled, clamped to [-1, 1].

    Args:
        hr, up: (B, 3, H, W) float in [0, 1].
    """
    return (2 * residual_scale * (hr - up)).clamp(-1, 1)
