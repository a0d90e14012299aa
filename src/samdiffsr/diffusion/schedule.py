"""The noise schedule: one float64 table per quantity, grouped by the distribution it serves."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from samdiffsr.core.errors import UserError


@dataclass(frozen=True, eq=False)
class Schedule:
    """Tables of the diffusion process, each a float64 tensor of length T, on the CPU unless moved.

    Index i holds the paper's step t = i + 1; i is also what the network is told (SRDiff's habit).
    The `_prev` tables hold the value at t - 1, with alpha_bar_0 = 1 and phi_0 = 0.
    """

    beta: Tensor  # variance added in one step, 0 < beta < 1
    alpha: Tensor  # 1 - beta
    alpha_bar: Tensor  # product of alpha up to t
    alpha_bar_prev: Tensor
    phi: Tensor  # paper eq. (3): shift of x_t per unit of e_sam
    phi_prev: Tensor
    c1: Tensor  # q(x_{t-1} | x_t, x_0): mean = c1 x_0 + c2 x_t (e_sam = 0; Ho et al. 2020, eq. 7)
    c2: Tensor
    posterior_variance: Tensor  # the same with e_sam, paper eq. (16); 0 at t = 1

    @property
    def T(self) -> int:
        """Number of steps."""
        return len(self.beta)

    def to(self, device: torch.device) -> Schedule:
        """The same tables on another device."""
        return Schedule(**{table.name: getattr(self, table.name).to(device) for table in fields(self)})


def schedule_from_betas(beta: Tensor) -> Schedule:
    """All tables from beta (T,), any float dtype.

    UserError unless T >= 1 and 0 < beta < 1 everywhere, and for an alpha_bar that float64 cannot hold, where
    phi and every prediction of x_0 would not be numbers.
    """
    beta = beta.detach().to("cpu", torch.float64)
    if beta.ndim != 1 or len(beta) == 0 or not bool(((beta > 0) & (beta < 1)).all()):
        raise UserError("noise schedule: beta must be a non-empty row of numbers strictly between 0 and 1")
    alpha = 1 - beta
    alpha_bar = alpha.cumprod(0)
    if alpha_bar[-1] < torch.finfo(torch.float64).tiny:
        t = int((alpha_bar < torch.finfo(torch.float64).tiny).nonzero()[0]) + 1
        raise UserError(
            f"noise schedule: alpha_bar underflows at t = {t}, nothing of the image is left there; use fewer"
            " steps or smaller betas"
        )
    alpha_bar_prev = torch.cat([torch.ones(1, dtype=torch.float64), alpha_bar[:-1]])
    phi = alpha_bar.sqrt() * (beta / alpha_bar).sqrt().cumsum(0)  # sum_i sqrt(abar_t beta_i / abar_i)
    return Schedule(
        beta=beta,
        alpha=alpha,
        alpha_bar=alpha_bar,
        alpha_bar_prev=alpha_bar_prev,
        phi=phi,
        phi_prev=torch.cat([torch.zeros(1, dtype=torch.float64), phi[:-1]]),
        c1=alpha_bar_prev.sqrt() * beta / (1 - alpha_bar),
        c2=alpha.sqrt() * (1 - alpha_bar_prev) / (1 - alpha_bar),
        posterior_variance=beta * (1 - alpha_bar_prev) / (1 - alpha_bar),
    )


def cosine_schedule(T: int = 100, s: float = 0.008, beta_max: float = 0.999) -> Schedule:
    """Nichol & Dhariwal 2021, eq. (17): alpha_bar_t = f(t) / f(0), f(t) = cos^2((t/T + s) / (1 + s) * pi/2).

    beta is clipped to beta_max (for T = 100 that touches the last step only) and alpha_bar is recomputed from
    the clipped betas, so that it stays their product. UserError for a T, s or beta_max out of range.
    """
    if T < 1 or s < 0 or not 0 < beta_max < 1:
        raise UserError(
            f"cosine schedule: need T >= 1, s >= 0, 0 < beta_max < 1; got {T=}, {s=}, {beta_max=}"
        )
    f = torch.cos((torch.arange(T + 1, dtype=torch.float64) / T + s) / (1 + s) * (math.pi / 2)) ** 2
    return schedule_from_betas((1 - f[1:] / f[:-1]).clamp(max=beta_max))
