"""The denoiser: SRDiff's conditional U-Net, which SAM-DiffSR keeps unchanged.

No normalisation and no attention: an image's result does not depend on its batch, and a block of output
pixels depends only on inputs within a fixed distance (`receptive_radius`), so large images can be denoised in
parts exactly (bands.py).

References: SRDiff, arXiv 2104.14951, section 3.3 and figure 3; SAM-DiffSR, arXiv 2402.17133, section 5.1;
time embedding: DDPM, arXiv 2006.11239, appendix B; Mish, arXiv 1908.08681.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from samdiffsr.core.errors import UserError
from samdiffsr.models.layers import Layers
from samdiffsr.models.mish import mish
from samdiffsr.models.reflect import reflected
from samdiffsr.models.registry import SRDiffUNet

IMAGE_CHANNELS = 3


def time_embedding(t: Tensor, dim: int) -> Tensor:
    """Sinusoidal embedding of the diffusion step.

    Args:
        t: (B,) integer or float; the network is fed 0 for the paper's t = 1, up to T - 1.
        dim: length of the embedding, even and at least 4.

    Returns:
        (B, dim) float32: sin(t w_k) for all k, then cos(t w_k);
        w_k = 10000^(-k / (dim/2 - 1)), k = 0 .. dim/2 - 1.
    """
    half = dim // 2
    k = torch.arange(half, device=t.device, dtype=torch.float32)
    angle = t.float()[:, None] * torch.exp(k * (-math.log(10_000) / (half - 1)))
    return torch.cat([angle.sin(), angle.cos()], dim=1)


class ReflectConv(nn.Conv2d):
    """3x3 convolution of an image reflected by one pixel; (B, in_channels, H, W), H and W at least 2."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__(in_channels, out_channels, kernel_size=3, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(reflected(x))


class ResnetBlock(nn.Module):
    """Two 3x3 convolutions with Mish, the step's embedding added between them, and a shortcut.

    (B, in_channels, H, W) and (B, time_dim) to (B, out_channels, H, W).
    """

    def __init__(self, in_channels: int, out_channels: int, time_dim: int) -> None:
        super().__init__()
        self.conv1 = ReflectConv(in_channels, out_channels)
        self.time = nn.Linear(time_dim, out_channels)
        self.conv2 = ReflectConv(out_channels, out_channels)
        same = in_channels == out_channels
        self.shortcut = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = mish(self.conv1(x)) + self.time(emb)[:, :, None, None]
        return mish(self.conv2(h)) + self.shortcut(x)


class Level(nn.Module):
    """Two ResnetBlocks at one resolution, and the layer (`resize`) that leads to the next one, if any."""

    def __init__(self, in_channels: int, out_channels: int, time_dim: int, resize: nn.Module | None) -> None:
        super().__init__()
        self.block1 = ResnetBlock(in_channels, out_channels, time_dim)
        self.block2 = ResnetBlock(out_channels, out_channels, time_dim)
        self.resize = nn.Identity() if resize is None else resize

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        return self.block2(self.block1(x, emb), emb)


class Denoiser(nn.Module):
    """What any architecture is called by; `DenoisingUNet` says it of each method.

    Attributes:
        dim: channels of its largest maps.
        scale: size of the image over size of the encoder's features.
        mask_channels: 0, or the channels of the structure map that `project` wants.
    """

    dim: int
    scale: int
    mask_channels: int

    @property
    def size_multiple(self) -> int:
        """Height and width of x_t must be multiples of this, and twice it at least."""
        raise NotImplementedError

    def project(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """The condition, at the image's size."""
        raise NotImplementedError

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        """The prediction of the training target."""
        raise NotImplementedError


class DenoisingUNet(Denoiser):
    """The network eps_theta(x_t, x_LR, t).

    Args:
        dim: channels at full resolution and length of the time embedding; even, at least 4 (the paper: 64).
        mults: channels of each level in units of `dim`, one level per halving (1, 2, 3, 4).
        cond_channels: channels of the encoder's features (384).
        scale: size of the image over size of the encoder's features: 2, 4 or 8.
        mask_channels: 0, or the channels of a structure map that `project` merges into the condition
            (SAM+SRDiff of Table 1: 1).

    Raises:
        UserError: an argument is out of range.
    """

    def __init__(
        self,
        dim: int = 64,
        mults: Sequence[int] = (1, 2, 3, 4),
        cond_channels: int = 384,
        scale: int = 4,
        mask_channels: int = 0,
    ) -> None:
        super().__init__()
        if dim < 4 or dim % 2:
            raise UserError(f"denoiser: dim is {dim}; choose an even number of at least 4")
        if not mults or min(mults) < 1 or mults[0] != 1:
            raise UserError(f"denoiser: mults is {list(mults)}; give positive numbers, the first of them 1")
        if scale not in (2, 4, 8):
            raise UserError(f"denoiser: scale is {scale}; choose 2, 4 or 8")
        if cond_channels < 1 or mask_channels < 0:
            raise UserError(
                f"denoiser: cond_channels is {cond_channels} and mask_channels {mask_channels}; "
                "give at least 1 and at least 0"
            )
        self.dim = dim
        self.levels = len(mults)
        self.scale = scale
        self.mask_channels = mask_channels
        widths = [dim * m for m in mults]

        # Overlapping kernels of twice the stride: every output pixel sees two features per axis.
        self.cond_proj = nn.ConvTranspose2d(cond_channels, dim, 2 * scale, stride=scale, padding=scale // 2)
        if mask_channels:
            # No activation in between, as in the authors' network: one linear map in three factors.
            self.mask_proj = nn.Sequential(
                nn.Conv2d(dim + mask_channels, dim, 1), nn.Conv2d(dim, dim, 1), nn.Conv2d(dim, dim, 1)
            )
        self.time_mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.Mish(), nn.Linear(4 * dim, dim))
        self.downs = Layers(
            Level(before, here, dim, ReflectConv(here, here, stride=2) if i < self.levels - 1 else None)
            for i, (before, here) in enumerate(zip([IMAGE_CHANNELS, *widths], widths, strict=False))
        )
        self.mid = Layers(ResnetBlock(widths[-1], widths[-1], dim) for _ in range(2))
        self.ups = Layers(
            Level(2 * here, above, dim, nn.ConvTranspose2d(above, above, 4, stride=2, padding=1))
            for here, above in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.conv_last = ReflectConv(dim, dim)
        self.conv_out = nn.Conv2d(dim, IMAGE_CHANNELS, 1)

    @property
    def size_multiple(self) -> int:
        """Height and width of x_t must be multiples of this (8 at four levels)."""
        return 2 ** (self.levels - 1)

    def project(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """Bring the encoder's features to the image's size. The result holds for every t: compute it once.

        Args:
            features: (B, cond_channels, h, w) float, from the encoder.
            mask: (B, mask_channels, scale*h, scale*w) float structure map e_sam, if `mask_channels`.

        Returns:
            cond, (B, dim, scale*h, scale*w).

        Raises:
            ValueError: a mask is missing, not wanted, or of another size.
        """
        cond = self.cond_proj(features)
        if (mask is not None) != bool(self.mask_channels):
            state = "is missing" if mask is None else "was given"
            raise ValueError(f"the denoiser has mask_channels={self.mask_channels}, but a mask {state}")
        if mask is None:
            return cond
        if mask.shape[1] != self.mask_channels or mask.shape[2:] != cond.shape[2:]:
            wanted = (cond.shape[0], self.mask_channels, *cond.shape[2:])
            raise ValueError(f"the mask is {tuple(mask.shape)}; the features need {wanted}")
        return self.mask_proj(torch.cat([cond, mask.to(cond.dtype)], dim=1))

    def embed(self, t: Tensor) -> Tensor:
        """The step, (B,) integer, as all blocks are given it: (B, dim)."""
        emb = time_embedding(t, self.dim).to(self.conv_out.weight.dtype)
        return mish(self.time_mlp(emb))

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        """Predict the training target: the noise, shifted by e_sam where the formulation says so.

        Args:
            x_t: (B, 3, H, W) float, the noisy residual image.
            t: (B,) integer, the step counted from 0.
            cond: (B, dim, H, W) or (1, dim, H, W), from `project`.

        Returns:
            (B, 3, H, W).

        Raises:
            ValueError: H or W is no multiple of `size_multiple`, is below twice it, or differs from cond's.
        """
        self._check_size(x_t, cond)
        emb = self.embed(t)
        skips: list[
            Tensor
        ] = []  # of all levels but the first: the structure of SRDiff uses no full-size skip
        x = x_t
        for i, level in enumerate(self.downs):
            x = level(x, emb)
            if i == 0:
                x = x + cond
            else:
                skips.append(x)
            x = level.resize(x)
        for block in self.mid:
            x = block(x, emb)
        for level in self.ups:
            x = level.resize(level(torch.cat([x, skips.pop()], dim=1), emb))
        return self.conv_out(mish(self.conv_last(x)))

    def _check_size(self, x_t: Tensor, cond: Tensor) -> None:
        height, width = x_t.shape[-2:]
        multiple = self.size_multiple
        least = 2 * multiple  # reflection needs two pixels on the coarsest grid
        if height % multiple or width % multiple or min(height, width) < least:
            raise ValueError(
                f"x_t is {height}x{width}; with {self.levels} levels both sides must be multiples "
                f"of {multiple}, {least} or more"
            )
        if cond.shape[-2:] != x_t.shape[-2:]:
            raise ValueError(f"x_t is {height}x{width}, but cond is {cond.shape[-2]}x{cond.shape[-1]}")


def from_settings(settings: SRDiffUNet, cond_channels: int, scale: int, mask_channels: int) -> DenoisingUNet:
    """The network of these sizes."""
    return DenoisingUNet(settings.dim, settings.mults, cond_channels, scale, mask_channels)


def receptive_radius(levels: int) -> int:
    """How far beyond an aligned block of output pixels its inputs reach, in pixels along one axis.

    An aligned block starts and ends at multiples of 2^(levels-1), the grid of the coarsest level. 163 for the
    paper's four levels: a part with a margin of 163 rounded up to that grid, 168, gives its inner part
    exactly.
    (Counted from the single pixel at the far end of a block, it is up to 2^(levels-1) - 1 more: 170.)

    Follows the interval of inputs back through the deepest path of a `DenoisingUNet`.
    """
    first, last = 0, 2 ** (levels - 1) - 1
    low, high = first - 1, last + 1  # conv_last
    for _ in range(levels - 1):  # ups: a transposed convolution (4, stride 2, padding 1), then four 3x3
        low, high = -((2 - low) // 2) - 4, (high + 1) // 2 + 4
    low, high = low - 4, high + 4  # mid: four 3x3
    low, high = low - 4, high + 4  # downs, coarsest level: four 3x3
    for _ in range(levels - 1):  # downs: a 3x3 of stride 2, before it four 3x3
        low, high = 2 * low - 1 - 4, 2 * high + 1 + 4
    return max(first - low, high - last)
