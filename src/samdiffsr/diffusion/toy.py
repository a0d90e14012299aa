"""A problem whose answer is known, and the gate that every formulation has to pass on it.

x_0 ~ N(MU, STD^2), pixel by pixel, and a network that predicts the target as well as can be. All is affine
then, so that the mean and the standard deviation of what the sampler gives are computed exactly, without a
random number: the sampler is fed one unit at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from samdiffsr.core.errors import UserError
from samdiffsr.diffusion.process import Process, formulation
from samdiffsr.diffusion.recipe import Diffusion
from samdiffsr.diffusion.registry import FORMULATIONS
from samdiffsr.diffusion.sampler import chain, sample
from samdiffsr.diffusion.schedule import cosine_schedule

MU, STD = 0.1, 0.2
E_SAM = (-0.8, -0.3, 0.05, 0.3, 0.8)  # of the pixels of the gate's image
FEW = 20  # steps
BIAS, RATIO = 5e-3, 1e-2  # what the gate lets pass; `published` from t = 99 has 1.3e-3 and 0

# Who knows e_sam at inference: the sampler and the network; the network, which can learn it from the LR
# image; nobody.
Knows = Literal["sampler", "network", "nobody"]
Network = Callable[[Tensor, Tensor], Tensor]


class Moments(NamedTuple):
    """Of the sampled x_0, pixel by pixel: (C, n) float64, C the channels of the process, 1 or 3."""

    mean: Tensor
    std: Tensor


def pixels(*e_sam: float, features: int = 1) -> Tensor:
    """An image of one row, (1, features, 1, n) float64, with these e_sam; each feature has another order."""
    row = torch.tensor(e_sam, dtype=torch.float64)
    return torch.stack([row.roll(c) for c in range(features)])[None, :, None, :]


def perfect(process: Process, e_sam: Tensor) -> Network:
    """E[target | x_t, e_sam]: the network knows e_sam."""
    u, r = _maps(process, e_sam)
    return _affine(process, u, torch.zeros_like(u), r)


def guessing(process: Process, e_sam: Tensor) -> Network:
    """The best affine guess of the target from x_t alone: any of the pixels' e_sam may be the one."""
    u, r = _maps(process, e_sam)
    mean = u.mean(-1, keepdim=True)
    return _affine(process, mean, (u - mean).square().mean(-1, keepdim=True).sqrt(), r.square().mean().sqrt())


def _affine(process: Process, u: Tensor, spread: Tensor, r: Tensor) -> Network:
    """The best affine estimate where the mean map has mean `u` and standard deviation `spread`."""
    alpha_bar = process.schedule.alpha_bar.tolist()
    m_of, k_of = process.m.tolist(), process.k.tolist()

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        i = int(t[0])
        a, s, m, k = math.sqrt(alpha_bar[i]), math.sqrt(1 - alpha_bar[i]), m_of[i], k_of[i]
        covariance = k * m * spread**2 + s * r**2
        variance = a**2 * STD**2 + m**2 * spread**2 + s**2 * r**2
        estimate: Tensor = k * u + covariance / variance * (x_t - a * MU - m * u)
        return estimate

    return denoise


def _maps(process: Process, e_sam: Tensor) -> tuple[Tensor, Tensor]:
    """u and r, (1, 1 or 3, 1, n) each."""
    u = process.u(e_sam) if process.shifted else torch.zeros_like(e_sam[:, :1])
    r = torch.ones_like(e_sam[:, :1]) if process.scale is None else process.scale(e_sam)
    for what, found in (("mean", u), ("scale", r)):
        if found.shape[1] not in (1, 3) or found.shape[2:] != e_sam.shape[2:] or not found.isfinite().all():
            raise UserError(
                f"formulation {process.name!r}: its {what} map is {tuple(found.shape)} for e_sam "
                f"{tuple(e_sam.shape)}, or not finite; give (B, 1, H, W) or (B, 3, H, W)"
            )
    if not (r > 0).all():
        raise UserError(
            f"formulation {process.name!r}: its scale map must be above 0, got {float(r.min()):g}"
        )
    return u, r


def moments(process: Process, e_sam: Tensor, knows: Knows = "network", **options: Any) -> Moments:
    """Mean and standard deviation of the sampled x_0; options: of `sample`."""
    T, (u, r) = process.schedule.T, _maps(process, e_sam)
    channels = max(u.shape[1], r.shape[1])
    x_T = torch.zeros(T + 2, channels, *e_sam.shape[2:], dtype=torch.float64)
    x_T[1] = 1  # image 0 gets no noise, image 1 a unit x_T, image 2 + i a unit of the noise at index i

    def noise(i: int) -> Tensor:
        z = torch.zeros_like(x_T)
        z[2 + i] = 1
        return z

    network = guessing(process, e_sam) if knows == "nobody" else perfect(process, e_sam)
    given = e_sam if knows == "sampler" else None
    x_0 = sample(network, x_T, process.schedule, process, noise, clip=False, e_sam=given, **options)[:, :, 0]
    return Moments(x_0[0], (x_0[1:] - x_0[0]).norm(dim=0))


def unbiased_std(process: Process, e_sam: Tensor, **options: Any) -> Tensor:
    """What the same steps would give if all noise in them had its right standard deviation, r.

    It is below STD, for plain diffusion too: a chain of finite steps loses variance. options: of `chain`.
    """
    _, r = _maps(process, e_sam)
    alpha_bar = [1.0, *process.schedule.alpha_bar.tolist()]
    variance = r**2
    for step in chain(process, **options):
        a = math.sqrt(alpha_bar[step.t])
        gain = a * STD**2 / (a**2 * STD**2 + (1 - alpha_bar[step.t]) * r**2)  # of x0_hat
        variance = (step.c1 * gain + step.c2) ** 2 * variance + step.sigma**2 * r**2
    return variance.sqrt()[0, :, 0]


@dataclass(frozen=True)
class Finding:
    """What sampling does to the toy.

    Attributes:
        bias: of the mean of x_0, where it is largest over e_sam in -0.8..0.8.
        ratio: standard deviation over that of the same chain with the right noise, where it is farthest from
            1. Where nobody knows e_sam: over STD.
        refused: why there is no such chain; empty if there is. Of few steps that is no fault.
    """

    knows: Knows
    steps: int | None  # None: all
    bias: float = 0.0
    ratio: float = 1.0
    refused: str = ""

    @property
    def fair(self) -> bool:
        if self.refused:
            return self.steps is not None
        return abs(self.bias) <= BIAS and abs(self.ratio - 1) <= RATIO

    def __str__(self) -> str:
        steps = "all steps" if self.steps is None else f"{self.steps} steps"
        who = {"sampler": "sampler and network know e_sam", "network": "the network knows e_sam"}
        numbers = self.refused or f"bias {self.bias:+.4f}, standard deviation x {self.ratio:.3f}"
        return f"{steps}, {who.get(self.knows, 'nobody knows e_sam')}: {numbers}"


def examine(process: Process, features: int = 1) -> tuple[Finding, ...]:
    """All steps and few, whoever knows e_sam."""
    e_sam = pixels(*E_SAM, features=features)
    _maps(process, e_sam)
    findings = []
    for knows in ("sampler", "network", "nobody"):
        for steps in (None, FEW):
            options = {"steps": steps, "start": process.first_t}
            known = knows == "sampler" and process.modulated
            try:
                right = unbiased_std(process, e_sam, known=known, **options)
                found = moments(process, e_sam, knows, **options)
            except UserError as error:
                findings.append(Finding(knows, steps, refused=str(error)))
                continue
            ratio = found.std / (right if knows != "nobody" else STD)
            findings.append(Finding(knows, steps, _worst(found.mean - MU), 1 + _worst(ratio - 1)))
    return tuple(findings)


def _worst(off: Tensor) -> float:
    return float(off.flatten()[off.abs().argmax()])


def check(name: str, features: int = 1, **options: Any) -> tuple[Finding, ...]:
    """The gate of the formulation called `name`, on the paper's schedule; options: its own.

    Raises:
        UserError: images drawn as it is used are biased although the network is perfect, and its entry does
            not declare it; or it declares a bias that it has not.
    """
    arm, told = FORMULATIONS[name], Diffusion()
    process = formulation(name, cosine_schedule(told.steps, told.s, told.beta_max), options)
    findings = examine(process, features)
    used = [finding for finding in findings if finding.knows == ("sampler" if arm.known else "network")]
    worst = next((finding for finding in used if not finding.fair), None)
    if worst is not None and not arm.biased:
        raise UserError(
            f"formulation {name!r} is biased even if the network is perfect ({worst}); derive k_t from m_t as"
            " docs/method/formulations.md does, or declare it: Arm(..., biased='what is wrong')"
        )
    if worst is None and arm.biased:
        raise UserError(f"formulation {name!r} declares a bias ({arm.biased}) that it has not; leave it out")
    return findings
