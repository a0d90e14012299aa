"""The denoiser a tenth faster for inference of one image on the CPU; the same but for rounding."""

from __future__ import annotations

from functools import partial

import torch.nn.functional as F
from torch import Tensor

from samdiffsr.models.mish import mish
from samdiffsr.models.reflect import reflected
from samdiffsr.models.unet import DenoisingUNet, ResnetBlock


def quicken(unet: DenoisingUNet) -> None:
    """Let the blocks of `unet`, in place, put the step's embedding into the bias of their second convolution.

    What is the same for all pixels of a channel stays so at a reflected border.
    """
    for module in unet.modules():
        if isinstance(module, ResnetBlock):
            module.forward = partial(_block, module)


def bias_with_step(block: ResnetBlock, emb: Tensor) -> Tensor:
    """The second convolution's bias, (C,), with what the step's embedding (1, dim) would add to its input."""
    conv = block.conv2
    return conv.bias + conv.weight.sum((2, 3)) @ block.time(emb)[0].to(conv.weight.dtype)


def _block(block: ResnetBlock, x: Tensor, emb: Tensor) -> Tensor:
    """`ResnetBlock.forward` of one image."""
    conv, bias = block.conv2, bias_with_step(block, emb)
    h = mish(block.conv1(x))
    return mish(F.conv2d(reflected(h), conv.weight, bias)).add_(block.shortcut(x))
