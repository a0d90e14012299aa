"""A denoiser out of the library diffusers: `UNet2DModel`, given x_t and the condition side by side."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from samdiffsr.core.extras import optional
from samdiffsr.models.registry import DiffusersUNet
from samdiffsr.models.unet import IMAGE_CHANNELS, Denoiser


class DiffusersDenoiser(Denoiser):
    """The network eps_theta(x_t, x_LR, t), called as `unet.DenoisingUNet` is.

    Its group normalisation and attention see the whole image, so that it cannot be sampled in bands.

    Raises:
        UserError: diffusers is not installed.
    """

    def __init__(self, settings: DiffusersUNet, cond_channels: int, scale: int, mask_channels: int) -> None:
        super().__init__()
        self.dim, self.scale, self.mask_channels = settings.channels[0], scale, mask_channels
        self.settings = settings
        levels = len(settings.channels)
        kinds = ["DownBlock2D"] * (levels - 1) + ["AttnDownBlock2D" if settings.attention else "DownBlock2D"]
        self.cond_proj = nn.ConvTranspose2d(
            cond_channels, self.dim, 2 * scale, stride=scale, padding=scale // 2
        )
        made = optional("diffusers", "baselines").UNet2DModel(
            in_channels=IMAGE_CHANNELS + self.dim + mask_channels,
            out_channels=IMAGE_CHANNELS,
            block_out_channels=settings.channels,
            layers_per_block=settings.layers,
            norm_num_groups=settings.groups,
            down_block_types=kinds,
            up_block_types=[kind.replace("Down", "Up") for kind in kinds[::-1]],
            add_attention=settings.attention,
        )
        self.net = cast(nn.Module, made)

    @property
    def size_multiple(self) -> int:
        """The settings'."""
        return self.settings.size_multiple

    def project(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """The condition at the image's size, (B, dim + mask_channels, H, W); arguments as in `unet`."""
        cond = self.cond_proj(features)
        if (mask is not None) != bool(self.mask_channels):
            state = "is missing" if mask is None else "was given"
            raise ValueError(f"the denoiser has mask_channels={self.mask_channels}, but a mask {state}")
        return cond if mask is None else torch.cat([cond, mask.to(cond.dtype)], dim=1)

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        """Predict the training target; shapes as in `unet`."""
        whole = torch.cat([x_t, cond.expand(len(x_t), -1, -1, -1)], dim=1)
        return self.net(whole, t, return_dict=False)[0]
