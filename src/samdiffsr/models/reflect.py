"""Reflection padding by one pixel, in the form that each device is quick at.

On a GPU torch's own pads in its one layout, so that a channels-last map is transposed before and after, and
its gradient adds up in no fixed order. Slices put together keep the layout, and so does their gradient, which
is deterministic. The copied numbers are the same.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def reflected(x: Tensor, top: int = 1, bottom: int = 1) -> Tensor:
    """(B, C, H, W) to (B, C, H + top + bottom, W + 2), float, same dtype and layout.

    Args:
        top, bottom: rows that are added, 0 or 1; H and W are at least 2.
    """
    if x.device.type != "cpu":
        return by_slices(x, top, bottom)
    # Autocast on the CPU pads in float32, for nothing: a padded copy is exact (costs 6 % of a step).
    with torch.autocast("cpu", enabled=False):
        return F.pad(x, (1, 1, top, bottom), mode="reflect")


def by_slices(x: Tensor, top: int = 1, bottom: int = 1) -> Tensor:
    """As `reflected`, in the layout that `x` has, with a deterministic gradient in the same layout."""
    padded: Tensor = _Slices.apply(x, top, bottom)
    return padded


class _Slices(torch.autograd.Function):
    """The gradient is written by hand: torch's own of a slice is a full map of zeros, never channels-last."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, top: int, bottom: int) -> Tensor:
        ctx.rows = top, bottom
        rows = [x[:, :, 1:2]] * top + [x] + [x[:, :, -2:-1]] * bottom
        if len(rows) > 1:
            x = torch.cat(rows, dim=2)
        return torch.cat([x[:, :, :, 1:2], x, x[:, :, :, -2:-1]], dim=3)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        top, bottom = ctx.rows
        given = _folded(gradient[:, :, top : gradient.shape[2] - bottom])
        if top:
            given[:, :, 1] += _folded(gradient[:, :, 0])
        if bottom:
            given[:, :, -2] += _folded(gradient[:, :, -1])
        return given, None, None


def _folded(gradient: Tensor) -> Tensor:
    """Without its first and last column, which are added to those that they are copies of."""
    inner = gradient[..., 1:-1].clone()  # keeps the order of the strides
    inner[..., 1] += gradient[..., 0]
    inner[..., -2] += gradient[..., -1]
    return inner
