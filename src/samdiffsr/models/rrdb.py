"""The encoder of the low-resolution image: ESRGAN's residual-in-residual dense network.

SAM-DiffSR and SRDiff pretrain it with an L1 loss as a super-resolution network of its own, freeze it, and
condition the denoiser on feature maps taken along its trunk.

References: ESRGAN, arXiv 1809.00219, sections 3.1 (network) and 3.4 (small initialisation); SRDiff,
arXiv 2104.14951, section 3.3 (encoder).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samdiffsr.core.errors import UserError
from samdiffsr.models.layers import Chain, Layers

RESIDUAL_SCALE = 0.2  # ESRGAN, "residual scaling" beta
NEGATIVE_SLOPE = 0.2
INIT_SCALE = 0.1  # ESRGAN, "smaller initialization", on the dense blocks
TAP_EVERY = 3  # the condition is every third map along the trunk


def _conv(in_channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1)


def activate(x: Tensor) -> Tensor:
    """The network's leaky ReLU."""
    return F.leaky_relu(x, NEGATIVE_SLOPE)


class DenseBlock(nn.Module):
    """Five 3x3 convolutions, each reading the input and all outputs before it.

    (B, features, h, w) to the same.
    """

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        widths = [growth] * 4 + [features]
        self.convs = Layers(_conv(features + i * growth, width) for i, width in enumerate(widths))
        for conv in self.convs:
            nn.init.kaiming_normal_(conv.weight)
            conv.weight.data.mul_(INIT_SCALE)
            assert conv.bias is not None  # `_conv` gives it one
            nn.init.zeros_(conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        maps = [x]
        for conv in self.convs[:-1]:
            maps.append(activate(conv(torch.cat(maps, dim=1))))
        return x + RESIDUAL_SCALE * self.convs[-1](torch.cat(maps, dim=1))


class RRDB(nn.Module):
    """Three dense blocks inside one more scaled residual; (B, features, h, w) to the same."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.dense = Chain(*(DenseBlock(features, growth) for _ in range(3)))

    def forward(self, x: Tensor) -> Tensor:
        return x + RESIDUAL_SCALE * self.dense(x)


class RRDBEncoder(nn.Module):
    """Residual-in-residual dense network, as encoder (`features`) and as super-resolver (`forward`).

    Args:
        blocks: number of RRDB blocks, at least 2 (the paper: 17).
        features: channels of the trunk (64).
        growth: channels that each dense convolution adds (32; the authors take features // 2).
        scale: up-sampling factor of `forward`, 2, 4 or 8. `features` does not depend on it.

    Raises:
        UserError: an argument is out of range.
    """

    def __init__(self, blocks: int = 17, features: int = 64, growth: int = 32, scale: int = 4) -> None:
        super().__init__()
        if blocks < 2:
            raise UserError(
                f"encoder: blocks is {blocks}, but the first condition map needs at least 2; raise it"
            )
        if scale not in (2, 4, 8):
            raise UserError(f"encoder: scale is {scale}; choose 2, 4 or 8")
        if features < 1 or growth < 1:
            raise UserError(f"encoder: features is {features} and growth {growth}; both must be at least 1")
        self.scale = scale
        self.cond_maps = (blocks + 1) // TAP_EVERY
        self.cond_channels = self.cond_maps * features  # C_cond
        self.conv_in = _conv(3, features)
        self.trunk = Chain(*(RRDB(features, growth) for _ in range(blocks)))
        self.conv_trunk = _conv(features, features)
        self.upsample = Layers(_conv(features, features) for _ in range(scale.bit_length() - 1))
        self.conv_hr = _conv(features, features)
        self.conv_out = _conv(features, 3)

    def features(self, lr: Tensor) -> Tensor:
        """The denoiser's condition: every third of the blocks' outputs and the trunk's, concatenated.

        Args:
            lr: (B, 3, h, w) float, RGB in [0, 1].

        Returns:
            (B, cond_channels, h, w); at 17 blocks of 64 features, 6 maps = 384 channels. Layers that
            condition nothing (the up-sampling tail, blocks past the last map) do not run.
        """
        first = x = self.conv_in(lr)
        taps: list[Tensor] = []
        for number, block in enumerate(self.trunk[: TAP_EVERY * self.cond_maps], start=1):
            x = block(x)
            if number % TAP_EVERY == 0:
                taps.append(x)
        if len(taps) < self.cond_maps:  # the trunk's output counts as map blocks + 1
            taps.append(first + self.conv_trunk(x))
        return torch.cat(taps, dim=1)

    def forward(self, lr: Tensor) -> Tensor:
        """Super-resolve.

        Args:
            lr: (B, 3, h, w) float, RGB in [0, 1].

        Returns:
            (B, 3, scale*h, scale*w), RGB, not clipped to [0, 1].
        """
        first = self.conv_in(lr)
        x = first + self.conv_trunk(self.trunk(first))
        for conv in self.upsample:
            x = activate(conv(F.interpolate(x, scale_factor=2.0, mode="nearest")))
        return self.conv_out(activate(self.conv_hr(x)))
