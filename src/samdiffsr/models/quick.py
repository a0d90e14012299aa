"""The denoiser a tenth faster for inference of one image on the CPU; the same but for rounding."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from samdiffsr.models.mish import mish
from samdiffsr.models.reflect import reflected
from samdiffsr.models.unet import ResnetBlock


class QuickBlock(ResnetBlock):
    """The layers of another block; it puts the step's embedding into the bias of the second convolution.

    What is the same for all pixels of a channel stays so at a reflected border.
    """

    def __init__(self, block: ResnetBlock) -> None:
        nn.Module.__init__(self)
        self.conv1, self.time, self.conv2 = block.conv1, block.time, block.conv2
        self.shortcut = block.shortcut

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """`ResnetBlock.forward` of one image."""
        h = mish(self.conv1(x))
        bias = bias_with_step(self, emb)
        return mish(F.conv2d(reflected(h), self.conv2.weight, bias)).add_(self.shortcut(x))


def quicken(unet: nn.Module) -> None:
    """Put a `QuickBlock` in the place of every block of `unet`, which keeps its weights and their names."""
    for parent in list(unet.modules()):
        for name, block in parent.named_children():
            if type(block) is ResnetBlock:
                setattr(parent, name, QuickBlock(block))


def bias_with_step(block: ResnetBlock, emb: Tensor) -> Tensor:
    """The second convolution's bias, (C,), with what the step's embedding (1, dim) would add to its input."""
    conv = block.conv2
    return conv.bias + conv.weight.sum((2, 3)) @ block.time(emb)[0].to(conv.weight.dtype)
