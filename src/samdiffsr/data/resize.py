"""MATLAB's `imresize(..., 'bicubic')`, the degradation that every bicubic super-resolution benchmark assumes.

The cubic kernel of Keys (1981) with a = -1/2, widened by the scale factor when shrinking (antialiasing),
applied along the height and then the width. The "MATLAB bicubic" LR sets in
circulation differ in three things:

- `rounding`: MATLAB on uint8 rounds after each axis, on double (`im2double` first) not at all until saved.
  The two differ in 10 to 24 % of the pixels, by 1 grey level at x1/4, up to 6 at x1/2 and 20 at x4.
- `border`: "symmetric" (today's MATLAB mirrors the image) or "replicate" (older MATLAB; with "each_axis" it
  gives SelfExSR's LR files bit for bit).
- the grid, where a side is no multiple of the scale: libraries disagree by 58 grey levels and more, so crop
  first (`crop_to_multiple`).

Half-way values round up, as MATLAB does for positive numbers; numpy's `round` would go to even.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    import torch

Rounding = Literal["end", "each_axis"]
Border = Literal["symmetric", "replicate"]

BLOCK = 16  # output rows per matrix product: long enough for BLAS, short enough that the band fills it
PAD = 4  # LR pixels; the kernel reaches 2


def imresize(
    image: np.ndarray,
    scale: Fraction | float,
    rounding: Rounding | None = "end",
    border: Border = "symmetric",
) -> np.ndarray:
    """Resize by `scale` (below 1 shrinks) with MATLAB's antialiased bicubic kernel.

    Args:
        image: (H, W) or (H, W, C); uint8, float32 or float64.
        scale: positive; the result has ceil(H * scale) rows and ceil(W * scale) columns.
        rounding: of uint8 images only: "end" (once), "each_axis" (after the height and after the width, as
            MATLAB does on uint8), or None for the raw float64 result, which overshoots [0, 255].
        border: "symmetric" or "replicate".

    Returns:
        uint8 for uint8 (unless rounding is None); float images keep their dtype and are neither rounded nor
        clipped. All arithmetic is float64, or float32 where that is exact (`_exact_in_float32`).
    """
    if image.dtype not in (np.uint8, np.float32, np.float64) or image.ndim not in (2, 3):
        raise ValueError(f"imresize wants uint8 or float (H, W[, C]), got {image.dtype} {image.shape}")
    if rounding not in ("end", "each_axis", None) or border not in ("symmetric", "replicate"):
        raise ValueError(f"imresize: unknown rounding {rounding!r} or border {border!r}")
    if not scale > 0 or 0 in image.shape:
        raise ValueError(f"imresize: scale {scale} of an image of shape {image.shape}")
    is_uint8 = image.dtype == np.uint8
    x = image.reshape(*image.shape[:2], -1)
    x = _resize_rows(x, Fraction(scale), border)
    if is_uint8 and rounding == "each_axis":
        x = _round_half_up(x).astype(np.uint8)
    x = _resize_rows(np.ascontiguousarray(x.swapaxes(0, 1)), Fraction(scale), border).swapaxes(0, 1)
    if is_uint8 and rounding is not None:
        x = _round_half_up(x)
    dtype = image.dtype if rounding is not None or not is_uint8 else np.float64
    return np.ascontiguousarray(x, dtype).reshape(*x.shape[:2], *image.shape[2:])


def crop_to_multiple(image: np.ndarray, multiple: int) -> np.ndarray:
    """The top-left part of `image` whose height and width are multiples of `multiple` (a view)."""
    height, width = (side - side % multiple for side in image.shape[:2])
    return image[:height, :width]


def downscale(
    hr: np.ndarray, scale: int, rounding: Rounding | None = "end", border: Border = "symmetric"
) -> np.ndarray:
    """LR image of `hr`, whose sides must be multiples of `scale`: (H, W, C) -> (H / scale, W / scale, C)."""
    if hr.shape[0] % scale or hr.shape[1] % scale:
        raise ValueError(
            f"downscale: {hr.shape[:2]} is not a multiple of {scale}; crop_to_multiple comes first"
        )
    return imresize(hr, Fraction(1, scale), rounding, border)


def upscale(
    lr: np.ndarray, scale: int, rounding: Rounding | None = "end", border: Border = "symmetric"
) -> np.ndarray:
    """Bicubic enlargement: (h, w, C) -> (h * scale, w * scale, C); the "bicubic" row of every table."""
    return imresize(lr, Fraction(scale), rounding, border)


def upscale_batch(lr: torch.Tensor, scale: int) -> torch.Tensor:
    """`imresize` on a batch, on its device: float (B, C, h, w) -> (B, C, h * scale, w * scale), unclipped.

    torch's antialiased bicubic has MATLAB's kernel and grid but renormalises at the border; a symmetric
    margin that is cut off again leaves only the inside, where they agree (to 1e-6 in float32). Gradients
    pass.
    """
    from torch.nn.functional import interpolate

    if lr.ndim != 4 or not lr.is_floating_point():
        raise ValueError(f"upscale_batch wants float (B, C, h, w), got {lr.dtype} {tuple(lr.shape)}")
    height, width = lr.shape[2:]
    rows, columns = (_with_margin(n, lr.device) for n in (height, width))
    padded = lr.index_select(2, rows).index_select(3, columns)
    size = [(height + 2 * PAD) * scale, (width + 2 * PAD) * scale]
    large = interpolate(padded, size=size, mode="bicubic", antialias=True, align_corners=False)
    margin = PAD * scale
    return large[:, :, margin : margin + height * scale, margin : margin + width * scale]


@lru_cache(maxsize=32)
def _with_margin(n: int, device: torch.device) -> torch.Tensor:
    """Where the pixels of a line of n and its mirrored margins come from; on the device, where it stays."""
    import torch

    with torch.inference_mode(False):  # whoever asks first
        return torch.from_numpy(_into_image(np.arange(-PAD, n + PAD), n, "symmetric")).to(device)


def _round_half_up(x: np.ndarray) -> np.ndarray:
    """Clip to [0, 255] and round halves up, in place."""
    np.clip(x, 0, 255, out=x)
    x += 0.5
    return np.floor(x, out=x)


def _cubic(x: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution kernel with a = -1/2; zero for |x| >= 2."""
    x = np.abs(x)
    inner = ((1.5 * x - 2.5) * x) * x + 1
    outer = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x <= 1, inner, np.where(x < 2, outer, 0.0))


def _into_image(index: np.ndarray, n: int, border: Border) -> np.ndarray:
    """Map indices outside 0..n-1 back into the image."""
    if border == "replicate":
        return np.clip(index, 0, n - 1)
    index = np.mod(index, 2 * n)  # ... 1 0 | 0 1 ... n-1 | n-1 n-2 ...
    return np.where(index < n, index, 2 * n - 1 - index)


@lru_cache(maxsize=32)
def _bands(n: int, scale: Fraction, border: Border) -> tuple[tuple[int, int, np.ndarray], ...]:
    """The resizing matrix of one axis, cut into blocks of BLOCK output rows.

    Each block is (first, last + 1, weights), weights float64: its output is `weights @ x[first:last + 1]`.
    """
    factor = float(scale)
    n_out = math.ceil(n * scale)
    antialias = min(factor, 1.0)
    support = 4.0 / antialias
    taps = math.ceil(support) + 2
    centre = (np.arange(n_out) + 0.5) / factor - 0.5  # input coordinate of each output pixel's centre
    index = np.floor(centre - support / 2).astype(np.int64)[:, None] + np.arange(taps)
    weights = _cubic((centre[:, None] - index) * antialias)
    weights /= weights.sum(1, keepdims=True)
    index = _into_image(index, n, border)
    blocks = []
    for start in range(0, n_out, BLOCK):
        rows, values = index[start : start + BLOCK], weights[start : start + BLOCK]
        used = rows[values != 0]
        first, stop = int(used.min()), int(used.max()) + 1
        block = np.zeros((len(rows), stop - first))
        line = np.broadcast_to(np.arange(len(rows))[:, None], rows.shape)
        keep = values != 0
        np.add.at(block, (line[keep], rows[keep] - first), values[keep])
        block.setflags(write=False)  # cached, hence shared
        blocks.append((first, stop, block))
    return tuple(blocks)


def _resize_rows(x: np.ndarray, scale: Fraction, border: Border) -> np.ndarray:
    """Resize (n, m, C) along its first axis; float64, or float32 with the same values."""
    flat = x.reshape(len(x), -1)
    bands = _bands(len(x), scale, border)
    dtype = np.float32 if x.dtype == np.uint8 and _exact_in_float32(len(x), scale, border) else np.float64
    out = np.empty((math.ceil(len(x) * scale), flat.shape[1]), dtype)
    start = 0
    for first, stop, weights in bands:
        rows = flat[first:stop].astype(dtype, copy=False)
        np.matmul(weights.astype(dtype, copy=False), rows, out=out[start : start + len(weights)])
        start += len(weights)
    return out.reshape(len(out), *x.shape[1:])


@lru_cache(maxsize=32)
def _exact_in_float32(n: int, scale: Fraction, border: Border) -> bool:
    """Whether float32 loses nothing for uint8 input: a resize is then twice as fast.

    At scales of a power of two the weights are multiples of a 2^-k, and so is every sum of them times a byte;
    it is below 2^(24 - k), so that the 24 bits of float32 hold it, in whatever order it is added up.
    """
    for k in range(17):
        scaled = [weights * 2.0**k for _, _, weights in _bands(n, scale, border)]
        if all((w == np.rint(w)).all() for w in scaled):
            return all(255 * np.abs(w).sum(1).max() < 2**24 for w in scaled)
    return False


def upsampled(lr: torch.Tensor, scale: int, divisor: int) -> torch.Tensor:
    """Bicubic up-sampling of LR to HR size, float32 in about [0, 1].

    Args:
        lr: (B, 3, h, w) uint8.
        divisor: 255; the released code divides by 256 here and by 255 elsewhere.
    """
    return upscale_batch(lr.float() / divisor, scale)
