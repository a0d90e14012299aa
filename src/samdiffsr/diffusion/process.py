"""The diffusion processes of the study: how the structure map e_sam enters the noise.

Derivations: docs/method/formulations.md.

One general form serves them all:

    x_t    = sqrt(alpha_bar_t) x_0 + m_t u + sqrt(1 - alpha_bar_t) r epsilon        (network input)
    target = k_t u + r epsilon                                                      (network output)

u, the *mean map*, and r, the *scale map*, are functions of e_sam and the same at every t. In the paper u is
e_sam itself and r is 1: an arm is a pair of tables (m_t, k_t), with the clipping rule that is valid for it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from samdiffsr.core.errors import UserError
from samdiffsr.core.registry import load
from samdiffsr.diffusion.registry import FORMULATIONS, Clip, first_t
from samdiffsr.diffusion.schedule import Schedule

Map = Callable[[Tensor], Tensor]


class Maps(NamedTuple):
    """What a formulation's function gives; a bare pair (m, k) will do where the maps are the paper's.

    Attributes:
        m, k: (T,) float64 tables; index i holds step t = i + 1.
        mean: e_sam (B, C, H, W) to the mean map u, (B, 1 or 3, H, W); None: u is e_sam.
        scale: e_sam to the scale map r > 0, of the same shapes; None: r is 1.
    """

    m: Tensor
    k: Tensor
    mean: Map | None = None
    scale: Map | None = None


@dataclass(frozen=True, eq=False)
class Process:
    """One formulation on one schedule. m, k, mean, scale: as in `Maps`, on the CPU unless moved.

    clip: what the sampler may do to the predicted x_0 + b_t u: "srdiff" clamps to [-1, 1] (right where
    b_t = 0), "wide" to +-(1 + |b_t| e_max), which never cuts a true value.
    """

    name: str
    schedule: Schedule
    m: Tensor
    k: Tensor
    clip: Clip
    mean: Map | None = None
    scale: Map | None = None

    @cached_property  # read once: on a GPU it waits for the device, which no recording of a step may
    def shifted(self) -> bool:
        """Whether e_sam moves the noise's mean."""
        return bool(self.m.any() or self.k.any())

    @property
    def modulated(self) -> bool:
        """Whether e_sam enters the noise at all."""
        return self.shifted or self.scale is not None

    @property
    def first_t(self) -> int:
        """The t at which its sampling is best begun: T, or T - 1 where no clamp tames the step at T.

        That step multiplies an error of the network by 1 / sqrt(alpha_T) = 31.6 (cosine schedule). "srdiff"
        cuts the result to [-1, 1]; the "wide" bound is past 100 there, and the error stays in the image.
        """
        return first_t(self.clip, self.schedule.T)

    @cached_property
    def b(self) -> Tensor:
        """b_t, (T,) float64: (x_t - sqrt(1-abar_t) target) / sqrt(abar_t) = x_0 + b_t u."""
        alpha_bar = self.schedule.alpha_bar
        return (self.m - (1 - alpha_bar).sqrt() * self.k) / alpha_bar.sqrt()

    def to(self, device: torch.device) -> Process:
        """The same process with its tables on another device, where t is then best too."""
        return replace(self, schedule=self.schedule.to(device), m=self.m.to(device), k=self.k.to(device))

    def u(self, e_sam: Tensor) -> Tensor:
        """The mean map."""
        return e_sam if self.mean is None else self.mean(e_sam)

    def noise(self, e_sam: Tensor | None, epsilon: Tensor) -> Tensor:
        """r epsilon."""
        return epsilon if self.scale is None else self.scale(_given(e_sam)).to(epsilon.dtype) * epsilon

    def noisy(self, x_0: Tensor, e_sam: Tensor | None, epsilon: Tensor, t: Tensor) -> Tensor:
        """The network's input x_t, paper eq. (3) for `published`.

        x_0, epsilon: (B, 3, H, W) float, x_0 in [-1, 1]. e_sam: (B, C, H, W), unused (may be None) where the
        process is not modulated. t: (B,) int64 in 0..T-1, best where the tables are. Returns x_0's dtype.
        ValueError for a negative t, IndexError for one beyond T - 1, where t is on the CPU.
        """
        alpha_bar = self.schedule.alpha_bar
        noise = self.noise(e_sam, epsilon)
        x_t = _at(alpha_bar.sqrt(), t, x_0) * x_0 + _at((1 - alpha_bar).sqrt(), t, x_0) * noise
        return x_t + _at(self.m, t, x_0) * self.u(_given(e_sam)) if self.shifted else x_t

    def target(self, e_sam: Tensor | None, epsilon: Tensor, t: Tensor) -> Tensor:
        """What the network is trained to predict, paper eq. (5) for `published`. Shapes as in `noisy`."""
        noise = self.noise(e_sam, epsilon)
        return noise + _at(self.k, t, epsilon) * self.u(_given(e_sam)) if self.shifted else noise

    def start(self, z: Tensor, e_sam: Tensor | None, t: int) -> Tensor:
        """x_t from which sampling begins: standard normal z (paper, section 4.3) if e_sam is not known.

        If it is, the noise of the paper's t as training has it: mean m_t u, standard deviation r.
        """
        if e_sam is None or not self.modulated:
            return z
        x = self.noise(e_sam, z)
        return x + float(self.m[t - 1]) * self.u(e_sam) if self.shifted else x


def _given(e_sam: Tensor | None) -> Tensor:
    if e_sam is None:
        raise ValueError("e_sam is needed: this process modulates the noise")
    return e_sam


def _at(table: Tensor, t: Tensor, like: Tensor) -> Tensor:
    """table[t] as (B, 1, 1, 1) in the dtype and on the device of `like`."""
    t = t.to(table.device)
    if t.device.type == "cpu" and t.min() < 0:  # would silently count from the end; a GPU is not waited for
        raise ValueError(f"t must be in 0..{len(table) - 1}, got {int(t.min())}")
    return table[t].to(like.device, like.dtype).reshape(-1, *[1] * (like.ndim - 1))


def formulation(name: str, schedule: Schedule, options: Mapping[str, float] | None = None) -> Process:
    """The process called `name`, one of FORMULATIONS.

    options: further arguments of its function, such as `strength` of `consistent` and `gamma` of `scaled`.
    UserError for an unknown name or option, and for an option out of its range.
    """
    arm = FORMULATIONS[name]
    tables = load(arm.code)
    options = options or {}
    unknown = set(options) - set(inspect.signature(tables).parameters)
    if unknown:
        raise UserError(f"formulation {name!r} has no option {', '.join(sorted(unknown))}")
    if wrong := arm.against(options):
        raise UserError(f"formulation {name!r} {wrong}")
    maps = Maps(*tables(schedule, **options))
    return Process(name, schedule, maps.m, maps.k, arm.clip, maps.mean, maps.scale)


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
    towards t = 0 and so does b_t: few-step sampling is then nearly that of plain diffusion. The power is not
    negative: the shift would grow where the noise fades.
    """
    sigma = (1 - schedule.alpha_bar).sqrt()
    m = strength * sigma**power
    m_prev = torch.cat([torch.zeros_like(m[:1]), m[:-1]])  # x_0 is not shifted, whatever the power
    return m, (m - schedule.alpha.sqrt() * m_prev) * sigma / schedule.beta


def scaled(schedule: Schedule, gamma: float = 0.5) -> Maps:
    """Noise whose standard deviation differs from region to region, and whose mean does not.

    r = exp(gamma tanh(e_sam)), divided by its root mean square over the map, so that the noise is as strong
    as SRDiff's: r lies within exp(-2 |gamma|) and exp(2 |gamma|). The registry bounds gamma.
    """
    return Maps(*plain(schedule), scale=_relative(gamma))


def shift_and_scale(schedule: Schedule, gamma: float = 0.5) -> Maps:
    """The paper's shift, and the scale map of `scaled`."""
    return Maps(*published(schedule), scale=_relative(gamma))


def _relative(gamma: float) -> Map:
    def scale(e_sam: Tensor) -> Tensor:
        r = (gamma * e_sam.tanh()).exp()
        return r / r.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()

    return scale


def residual(hr: Tensor, up: Tensor, residual_scale: float) -> Tensor:
    """x_0, the image that is diffused: HR minus up-sampled LR in [-1, 1] units, scaled, clamped to [-1, 1].

    Args:
        hr, up: (B, 3, H, W) float in [0, 1].
    """
    return (2 * residual_scale * (hr - up)).clamp(-1, 1)
