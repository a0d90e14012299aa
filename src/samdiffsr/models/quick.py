"""The denoiser's activation, faster on the CPU: torch's Mish takes 40 % of a step there.

For inference alone; the result is torch's but for rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

BAND = 1 << 17  # numbers that stay in a core's cache through all passes


class QuickMish(TorchFunctionMode):
    """Within this context `torch.nn.functional.mish` is `quick_mish`."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        return quick_mish(*args) if func is F.mish else func(*args, **(kwargs or {}))


def quick_mish(x: Tensor) -> Tensor:
    """Mish, x tanh(log(1 + e^x)), written as 2x / (1 + sigmoid(-x)^2) - x: one exponential, no overflow.

    Any float dtype, computed in float32. Images, (B, C, H, W), are worked through a few rows at a time.
    """
    if x.ndim < 4:
        return _mish(x)
    rows = max(1, BAND // (x.shape[1] * x.shape[3]))
    y = torch.empty_like(x)
    for i in range(0, x.shape[2], rows):
        y[:, :, i : i + rows] = _mish(x[:, :, i : i + rows])
    return y


def _mish(x: Tensor) -> Tensor:
    wide = x.float()
    negative = -wide
    quotient = torch.sigmoid(negative).square_().add_(1)
    return negative.addcdiv_(wide, quotient, value=2)
