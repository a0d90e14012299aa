"""The activation Mish, x tanh(log(1 + e^x)) (arXiv 1908.08681), on the CPU in a fraction of torch's time.

Torch takes an exponential, a logarithm and a tanh for each number, and again for the gradient. There are only
65536 numbers in bf16: a table of them gives torch's own result in a sixth of the time. In float32, with
q = sigmoid(-x), one exponential is enough for both:

    tanh(log(1 + e^x)) = (1 - q^2) / (1 + q^2),    mish'(x) = that + 4 x q^2 (1 - q) / (1 + q^2)^2.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK = 1 << 17  # numbers that stay in a core's cache through all passes


def mish(x: Tensor) -> Tensor:
    """Mish of a float tensor of any shape; same dtype, device and layout. float32's error is below 2e-6."""
    if (
        x.device.type != "cpu"
        or x.dtype not in (torch.float32, torch.bfloat16)
        or torch.compiler.is_compiling()  # which makes one pass of torch's own
    ):
        return F.mish(x)
    return _Mish.apply(x if _dense(x) else x.contiguous())


class _Mish(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = torch.empty_like(x)
        if x.dtype == torch.bfloat16:
            ctx.save_for_backward(x)
            _look_up(x, _tables()[0], y)
            return y
        slope = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        for part, out, *slope_out in _chunks(x, y) if slope is None else _chunks(x, y, slope):
            q = torch.sigmoid(-part)
            square = q * q
            inverse = (square + 1).reciprocal_()
            tanh = inverse * 2 - 1
            torch.mul(part, tanh, out=out)
            if slope_out:
                square.mul_(inverse).mul_(inverse).mul_(part)
                torch.addcmul(tanh, square, q.neg_().add_(1), value=4, out=slope_out[0])
        ctx.save_for_backward(slope)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (kept,) = ctx.saved_tensors
        if kept.dtype == torch.bfloat16:
            slope = torch.empty_like(kept)
            _look_up(kept, _tables()[1], slope)
            return slope.mul_(gradient)
        return kept * gradient


@cache
def _tables() -> tuple[Tensor, Tensor]:
    """Mish and its slope of every bf16 number, at the place that the number's bits give; bf16."""
    with torch.inference_mode(False), torch.enable_grad():  # whoever asks first
        bits = torch.arange(1 << 16, dtype=torch.int32).to(torch.int16)
        x = bits.view(torch.bfloat16).float().requires_grad_()
        y = F.mish(x)
        (slope,) = torch.autograd.grad(y.sum(), x)
        return y.detach().bfloat16(), slope.bfloat16()


def _look_up(x: Tensor, table: Tensor, out: Tensor) -> None:
    for part, part_out in _chunks(x, out):
        place = part.view(torch.int16).int().bitwise_and_(0xFFFF)
        torch.index_select(table, 0, place, out=part_out)


def _dense(x: Tensor) -> bool:
    """Whether the numbers lie in memory without gaps."""
    return x.is_contiguous() or (x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last))


def _chunks(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Dense tensors of one layout in the order of their memory, a chunk of each at a time, as views."""
    return zip(*(x.as_strided((x.numel(),), (1,)).split(CHUNK) for x in tensors), strict=True)
