"""Sampling with and without e_sam: the full ancestral chain of every process, and few-step chains.

Derivations: docs/method/formulations.md.

Every step is one formula. With x0_hat = (x_t - sqrt(1-abar_t) y) / sqrt(abar_t), y the network's output,

    x_s = c1 x0_hat + c2 x_t + sigma z,   c2 = h / sqrt(1-abar_t),   c1 = sqrt(abar_s) - c2 sqrt(abar_t),
    h^2 + sigma^2 = 1 - abar_s.

The split between h and sigma is free in plain diffusion (DDIM's eta). With modulation the mean is off by
(sqrt(abar_s) b_t + h k_t - m_s) u, the *residual*, and just one h makes it vanish. Where b_t = 0 it is
small or the process's own flaw, and plain sampling is kept; where not, it explodes with a step's length.

Fresh noise should be r z and is z. Where e_sam is known at inference, u and r are: then the step is plain
diffusion's on any grid, with b_t u taken off x0_hat, (m_s - c2 m_t) u added to x_s, and sigma r z.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from samdiffsr.core.errors import UserError
from samdiffsr.diffusion.process import Process
from samdiffsr.diffusion.schedule import Schedule

TOLERANCE = 1e-8  # of a residual per unit of e_sam; rounding leaves 1e-14


@dataclass(frozen=True)
class Step:
    """One step, from the paper's t to s, 0 <= s < t <= T; coefficients as in the module's header."""

    t: int
    s: int
    c1: float
    c2: float
    sigma: float  # standard deviation of the fresh noise; 0 at the last step
    residual: float  # error of the mean of x_s per unit of e_sam, 0 where the step is exact


def sample(
    denoise: Callable[[Tensor, Tensor], Tensor],
    x_T: Tensor,
    schedule: Schedule,
    process: Process,
    noise: Callable[[int], Tensor],
    *,
    steps: int | Sequence[int] | None = None,
    eta: float | None = None,
    start: int | None = None,
    clip: bool = True,
    e_max: float = math.sqrt(2),
    approximate: bool = False,
    e_sam: Tensor | None = None,
) -> Tensor:
    """x_0 (B, 3, H, W), by the reverse process; float32, or float64 where x_T is.

    denoise(x_t, i) -> the predicted target; i: (B,) int64 on x_T's device, the network's index t - 1.
    x_T: (B, 3, H, W), standard normal. It stands for x at `start`.
    noise(i) -> standard normal of x_T's shape, used in the step that leaves index i. Asked for at most once
        per i, and not where sigma = 0; one image and i should give one noise, whatever the batch.
    steps: how many network calls; None takes all of them, as the paper does. Or the visited t, descending.
    eta: DDIM's (1 ancestral, 0 deterministic). None: ancestral on the full grid and where b_t = 0, else the
        noise level without a residual, on a grid where it exists.
    start: the paper's t of the first call, default T. T - 1 leaves out the step that multiplies the network's
        error by 1 / sqrt(alpha_T) = 31.6 (cosine schedule).
    clip: apply the process's clipping rule; e_max bounds |e_sam| in it (sqrt 2: RoPE's range).
    approximate: take a chain whose mean is wrong by a multiple of e_sam (`chain` says by how much).
    e_sam: (B, C, H, W), if it is known at inference. Every chain is then exact, and the clamp SRDiff's.

    UserError as in `chain`; ValueError for noise or a prediction of a wrong shape, or another schedule.
    """
    if schedule is not process.schedule and not torch.equal(schedule.beta, process.schedule.beta):
        raise ValueError(f"formulation {process.name!r} was made for another schedule")
    known = e_sam is not None and process.modulated
    plan = chain(process, steps=steps, eta=eta, start=start, approximate=approximate, known=known)
    m = [0.0, *process.m.tolist()]
    with torch.no_grad():
        x = x_T if x_T.dtype == torch.float64 else x_T.float()
        u = process.u(e_sam).to(x) if e_sam is not None and process.shifted else None
        r = process.scale(e_sam).to(x) if e_sam is not None and process.scale is not None else None
        x = process.start(x, e_sam, plan[0].t)
        for step in plan:
            i = step.t - 1
            y = denoise(x, torch.full((len(x),), i, dtype=torch.int64, device=x.device)).to(x.dtype)
            alpha_bar, b = float(schedule.alpha_bar[i]), float(process.b[i])
            x0_hat = (x - math.sqrt(1 - alpha_bar) * _same_shape(y, x)) / math.sqrt(alpha_bar)
            if u is not None:
                x0_hat = x0_hat - b * u
            if clip:
                bound = 1 + abs(b) * e_max if process.clip == "wide" and u is None else 1.0
                x0_hat = x0_hat.clamp(-bound, bound)
            x = step.c1 * x0_hat + step.c2 * x
            if u is not None:
                x = x + (m[step.s] - step.c2 * m[step.t]) * u
            if step.sigma > 0:
                z = _same_shape(noise(i).to(x), x)
                x = x + step.sigma * (z if r is None else r * z)
    return x


def _same_shape(tensor: Tensor, x: Tensor) -> Tensor:
    """`tensor`, refused where broadcasting would hide that images share it."""
    if tensor.shape != x.shape:
        raise ValueError(f"expected a tensor of shape {tuple(x.shape)}, got {tuple(tensor.shape)}")
    return tensor


def chain(
    process: Process,
    *,
    steps: int | Sequence[int] | None = None,
    eta: float | None = None,
    start: int | None = None,
    approximate: bool = False,
    known: bool = False,
) -> tuple[Step, ...]:
    """The steps that `sample` takes, arguments as there; the place to read the residuals.

    known: e_sam is, so that the steps are plain diffusion's and nothing is left of it.

    UserError for arguments out of range, and for a residual where b_t != 0, unless `approximate` is set.
    """
    tables = _Tables.of(process, known)
    T = process.schedule.T
    start = T if start is None else start
    if not 1 <= start <= T:
        raise UserError(f"sampling: start must be in 1..{T}, got {start}")
    if eta is not None and not 0 <= eta <= 1:
        raise UserError(f"sampling: eta must be in 0..1, got {eta}")
    grid = _grid(tables, start, start if steps is None else steps, eta, approximate)
    carries = any(tables.b)
    if eta is None and (not carries or grid == list(range(len(grid), 0, -1))):
        eta = 1.0
    plan = tuple(_step(tables, t, s, eta) for t, s in zip(grid, [*grid[1:], 0], strict=True))
    worst = max(abs(step.residual) for step in plan)
    if carries and worst > TOLERANCE and not approximate:
        cure = ("" if eta is None else "leave eta unset, or ") + "take another number of steps, or all"
        raise UserError(
            f"sampling {process.name!r} in these {len(plan)} steps is off by {worst:.2g} e_sam in a step:"
            f" {cure}"
        )
    return plan


class _Tables(NamedTuple):
    """Plain lists with t = 0 in front, so that the paper's t is the index."""

    alpha_bar: list[float]
    m: list[float]
    k: list[float]
    b: list[float]

    @classmethod
    def of(cls, process: Process, known: bool) -> _Tables:
        alpha_bar = [1.0, *process.schedule.alpha_bar.tolist()]
        if known:
            return cls(alpha_bar, *[[0.0] * len(alpha_bar)] * 3)
        return cls(alpha_bar, *([0.0, *table.tolist()] for table in (process.m, process.k, process.b)))


def _step(tables: _Tables, t: int, s: int, eta: float | None) -> Step:
    """eta None: the h nearest to the exact one. Else DDIM (Song et al. 2021, eq. 16); 1 is ancestral."""
    alpha_bar_t, alpha_bar_s = tables.alpha_bar[t], tables.alpha_bar[s]
    variance_t, variance_s = 1 - alpha_bar_t, 1 - alpha_bar_s
    if eta is None and tables.k[t] != 0:
        h = (tables.m[s] - math.sqrt(alpha_bar_s) * tables.b[t]) / tables.k[t]
        h = min(max(h, 0.0), math.sqrt(variance_s))
        sigma = math.sqrt(max(variance_s - h**2, 0.0))
    else:
        eta = 1.0 if eta is None else eta
        sigma = eta * math.sqrt(variance_s * (1 - alpha_bar_t / alpha_bar_s) / variance_t)
        h = math.sqrt(max(variance_s - sigma**2, 0.0))
    c2 = h / math.sqrt(variance_t)
    residual = math.sqrt(alpha_bar_s) * tables.b[t] + h * tables.k[t] - tables.m[s]
    return Step(t, s, math.sqrt(alpha_bar_s) - c2 * math.sqrt(alpha_bar_t), c2, sigma, residual)


def _grid(
    tables: _Tables, start: int, steps: int | Sequence[int], eta: float | None, approximate: bool
) -> list[int]:
    """The visited t, descending, each once."""
    if not isinstance(steps, int):
        grid = list(steps)
        if not grid or grid[0] > start or grid[-1] < 1 or any(s >= t for t, s in pairwise(grid)):
            raise UserError(f"sampling: a list of steps must descend strictly within {start}..1, got {grid}")
        return grid
    if not 1 <= steps <= start:
        raise UserError(f"sampling: steps must be in 1..{start}, got {steps}")
    if any(tables.b) and eta is None and steps < start:
        grid = _exact_grid(tables, start, steps)
        if len(grid) == steps:
            return grid
        if not approximate:
            raise UserError(
                f"sampling without e_sam is exact in {len(grid)} steps or more from t = {start}, not"
                f" in {steps}: take more"
            )
    return [-(-start * (steps - j) // steps) for j in range(steps)]  # even, ends above 0 ("trailing")


def _exact_grid(tables: _Tables, start: int, steps: int) -> list[int]:
    """`steps` values of t from start to 1, every jump an exact one; more where so few cannot do."""
    exact = {
        t: [s for s in range(1, t) if s == t - 1 or abs(_step(tables, t, s, None).residual) <= TOLERANCE]
        for t in range(1, start + 1)
    }

    def enough(longest: int) -> bool:
        return len(_fewest(exact, start, longest)) <= steps

    lengths = range(1, start + 1)
    longest = bisect_left(lengths, True, key=enough)  # as even as can be: the least bound on a jump that does
    grid = _fewest(exact, start, lengths[min(longest, start - 1)])
    while len(grid) < steps:  # halve the longest jump whose parts are exact
        halves = [
            (grid[j] - grid[j + 1], -j, -abs(2 * s - grid[j] - grid[j + 1]), -s)
            for j in range(len(grid) - 1)
            for s in exact[grid[j]]
            if s > grid[j + 1] and grid[j + 1] in exact[s]
        ]
        if not halves:
            break
        _, j, _, s = max(halves)
        grid.insert(1 - j, -s)
    return grid


def _fewest(exact: dict[int, list[int]], start: int, longest: int) -> list[int]:
    """The shortest way from start to 1 by exact jumps of at most `longest`, the far ones tried first."""
    came = {start: 0}
    queue = deque([start])
    while 1 not in came:
        t = queue.popleft()
        for s in exact[t]:  # ascending: farthest first
            if s >= t - longest and s not in came:
                came[s] = t
                queue.append(s)
    way = [1]
    while came[way[-1]]:
        way.append(came[way[-1]])
    return way[::-1]
