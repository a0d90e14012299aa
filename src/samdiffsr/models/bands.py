"""Large images through the networks in bands of rows: the whole image's result, and nothing computed twice.

The image goes in from top to bottom. A convolution gives the rows for which it has seen the row below, and
keeps those that it needs again; what a residual adds, or a skip connection, waits until the path around it
has come as far. So the work does not depend on the height of the bands, and neither a band nor what waits
depends on the height of the image.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samdiffsr.core.errors import UserError
from samdiffsr.models.mish import mish
from samdiffsr.models.quick import bias_with_step
from samdiffsr.models.reflect import reflected
from samdiffsr.models.rrdb import RESIDUAL_SCALE, RRDB, TAP_EVERY, DenseBlock, RRDBEncoder, activate
from samdiffsr.models.unet import Denoiser, DenoisingUNet, Level, ReflectConv, ResnetBlock, receptive_radius

MAPS = 7  # full-size maps of `dim` channels that a U-Net holds at once, and what convolutions add
QUICK = 16_000_000  # bytes of a map in a band on the CPU: larger ones leave its caches and malloc's arena

# The next rows of a map, (1, C, rows, W), to the next rows of what is made of it; None: not enough seen yet.
Stage = Callable[[Tensor], Tensor | None]


class Waiting:
    """The rows of a map that a longer path has not reached yet."""

    def __init__(self) -> None:
        self.parts: deque[Tensor] = deque()

    def keep(self, x: Tensor) -> Tensor:
        self.parts.append(x)
        return x

    def take(self, rows: int) -> Tensor:
        """The oldest `rows` rows."""
        taken = []
        while rows:
            part = self.parts.popleft()
            if part.shape[2] > rows:
                self.parts.appendleft(part[:, :, rows:].clone())  # a view would hold all of the memory
                part = part[:, :, :rows]
            taken.append(part)
            rows -= part.shape[2]
        return taken[0] if len(taken) == 1 else torch.cat(taken, dim=2)


class _Layer:
    """What a layer keeps of a map of this height that comes in bands."""

    def __init__(self, height: int) -> None:
        self.missing = height
        self.begun = False
        self.kept: Tensor | None = None

    def join(self, x: Tensor) -> Tensor:
        """The next rows, below those that were kept."""
        self.missing -= x.shape[2]
        return x if self.kept is None else torch.cat([self.kept, x], dim=2)


class Conv(_Layer):
    """A 3x3 convolution, padded by zeros or (`ReflectConv`) by reflection.

    Args:
        height: of the whole map that comes in; at least 2.
        bias: instead of the layer's own.
    """

    def __init__(self, layer: nn.Conv2d, height: int, bias: Tensor | None = None) -> None:
        super().__init__(height)
        self.weight, self.stride = layer.weight, layer.stride[0]
        self.bias = layer.bias if bias is None else bias
        self.reflects = isinstance(layer, ReflectConv)

    def __call__(self, x: Tensor) -> Tensor | None:
        x = self.join(x)
        top, bottom = int(not self.begun), int(self.missing == 0)
        rows = (x.shape[2] + top + bottom - 3) // self.stride + 1
        if rows < 1:
            self.kept = x
            return None
        used = self.stride * rows - top
        self.kept, self.begun = x[:, :, used:].clone(), True
        if self.reflects:
            x = reflected(x, top, bottom)
        else:
            with torch.autocast(x.device.type, enabled=False):  # as in `reflected`
                x = F.pad(x, (1, 1, top, bottom))
        return F.conv2d(x, self.weight, self.bias, self.stride)


class Doubled(_Layer):
    """The U-Net's transposed convolution: 4x4, stride 2, padding 1. `height`: of the map that comes in."""

    def __init__(self, layer: nn.ConvTranspose2d, height: int) -> None:
        super().__init__(height)
        self.layer = layer

    def __call__(self, x: Tensor) -> Tensor | None:
        x = self.join(x)
        self.kept = x[:, :, -2:].clone()
        # What the outer rows give also depends on the row beyond, unless they are the map's outermost.
        first, last = int(self.begun), x.shape[2] - int(self.missing > 0)
        if last <= first:
            return None
        self.begun = True
        return self.layer(x)[:, :, 2 * first : 2 * last]


def around(stages: Sequence[Stage], merge: Callable[[Tensor, Tensor], Tensor]) -> list[Stage]:
    """`stages`, and what they give merged with the same rows of what they were given: merge(given, found)."""
    waiting = Waiting()
    return [waiting.keep, *stages, lambda y: merge(waiting.take(y.shape[2]), y)]


def run(stages: Sequence[Stage], bands: Iterable[Tensor]) -> Iterator[Tensor]:
    """Bands of a map through stages, made for it."""
    for band in bands:
        x: Tensor | None = band
        for stage in stages:
            if x is not None:
                x = stage(x)
        if x is not None:
            yield x


def empty(like: Tensor, channels: int, height: int) -> Tensor:
    """A map of one image in the networks' own layout, which is 1.5 times faster on the CPU."""
    form = torch.channels_last
    size = (1, channels, height, like.shape[3])
    return torch.empty(size, dtype=like.dtype, device=like.device, memory_format=form)


def stack(bands: Iterable[Tensor], height: int) -> Tensor:
    """One map of bands, without holding them twice."""
    whole: Tensor | None = None
    row = 0
    for band in bands:
        if band.shape[2] == height:
            return band
        if whole is None:
            whole = empty(band, band.shape[1], height)
        whole[:, :, row : row + band.shape[2]] = band
        row += band.shape[2]
    assert whole is not None
    assert row == height
    return whole


def quick_rows(height: int, row: int, device: torch.device) -> int:
    """How many rows to take at once where memory is plenty: all on a GPU; on the CPU no more than are quick.

    Args:
        row: bytes of a row of the largest map.
    """
    if device.type != "cpu" or height * row <= QUICK:
        return height
    return max(1, QUICK // row)


# ---- the denoiser ----------------------------------------------------------------------------------------


def denoiser_stages(unet: DenoisingUNet, t: Tensor, condition: Stage, height: int) -> list[Stage]:
    """`DenoisingUNet.forward` of one image of this height.

    Args:
        t: (1,), the step.
        condition: adds cond to the rows of the first level's map.
    """
    emb = unet.embed(t)

    def block(layer: ResnetBlock, height: int) -> list[Stage]:
        first = Conv(layer.conv1, height)
        second = Conv(layer.conv2, height, bias_with_step(layer, emb))
        return around([first, mish, second, mish], lambda x, y: y.add_(layer.shortcut(x)))

    def level(layer: Level, height: int) -> list[Stage]:
        return [*block(layer.block1, height), *block(layer.block2, height)]

    def below(i: int, height: int) -> list[Stage]:
        """From level i to the coarsest and back, to twice this height."""
        down, up = unet.downs[i], unet.ups[unet.levels - 1 - i]
        deeper = smaller(i, height) if i < unet.levels - 1 else middle(height)
        joined = around(deeper, lambda skip, x: torch.cat([x, skip], dim=1))
        doubled = Doubled(cast(nn.ConvTranspose2d, up.resize), height)  # as all on the way up
        return [*level(down, height), *joined, *level(up, height), doubled]

    def smaller(i: int, height: int) -> list[Stage]:
        """From the end of level i, which is not the coarsest, to level i + 1 and back."""
        halved = Conv(cast(ReflectConv, unet.downs[i].resize), height)  # as all but the coarsest
        return [halved, *below(i + 1, height // 2)]

    def middle(height: int) -> list[Stage]:
        return [stage for layer in unet.mid for stage in block(layer, height)]

    inner = smaller(0, height) if unet.levels > 1 else middle(height)
    last: list[Stage] = [Conv(unet.conv_last, height), mish, unet.conv_out]
    return [*level(unet.downs[0], height), condition, *inner, *last]


def denoiser_rows(
    unet: Denoiser, height: int, width: int, memory: int | None, itemsize: int, device: torch.device
) -> int:
    """How many rows of x_t, (height, width), may go through the network at once.

    Args:
        memory: bytes for the network's maps and cond; None: enough.
        itemsize: bytes of one of their numbers.

    Raises:
        UserError: not even the lowest band fits, or the architecture knows no bands and the image does not.
    """
    row = width * unet.dim * itemsize  # bytes of one full-size map's row
    if not isinstance(unet, DenoisingUNet):
        if memory is not None and (MAPS + 1) * height * row > memory:
            raise UserError(
                f"backbone {type(unet).__name__} sees the image as a whole and cannot be sampled in bands: "
                f"{width}x{height} pixels need --memory {math.ceil((MAPS + 1) * height * row / 1e6)}"
            )
        return height
    most = quick_rows(height, row, device)
    if memory is None or (MAPS + 1) * height * row <= memory:
        return most
    # The rows of the skip connections that wait for the coarsest level, in units of `row`.
    widths = [layer.block1.conv1.out_channels for layer in unet.downs]
    waits = receptive_radius(unet.levels) * sum(w / unet.dim / 4**i for i, w in enumerate(widths) if i)
    left = memory - (height * row if keeps_condition(unet, height, width, memory, itemsize) else 0)
    rows = int((left / row - waits) / MAPS)
    if rows < unet.size_multiple:
        least = math.ceil((MAPS * unet.size_multiple + waits) * row / 1e6)
        raise UserError(
            f"{memory / 1e6:.3g} MB are too little memory for this network and an image {width} pixels wide; "
            f"it needs --memory {least}"
        )
    return min(rows, most)


def keeps_condition(unet: Denoiser, height: int, width: int, memory: int | None, itemsize: int) -> bool:
    """Whether cond of the whole image is kept; otherwise every step makes it anew, a band at a time."""
    return memory is None or 4 * height * width * unet.dim * itemsize <= memory


class BandedDenoiser:
    """A denoiser of one image that takes x_t in bands, where all of it does not fit or bands are quicker.

    Args:
        features: (1, cond_channels, h, w), of the encoder.
        mask: e_sam, (1, 1, scale * h, scale * w), or None.
        memory, itemsize: as for `denoiser_rows`.
        after: called after every band.
        whole: `unet` in another form, for an image that needs no bands.
    """

    def __init__(
        self,
        unet: Denoiser,
        features: Tensor,
        mask: Tensor | None,
        memory: int | None,
        itemsize: int,
        after: Callable[[], None],
        whole: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None,
    ) -> None:
        self.unet, self.features, self.mask, self.after = unet, features, mask, after
        self.whole = unet if whole is None else whole
        self.height, width = (unet.scale * n for n in features.shape[2:])
        most = denoiser_rows(unet, self.height, width, memory, itemsize, features.device)
        self.bands = math.ceil(self.height / most)  # a step
        self.rows = math.ceil(self.height / self.bands)
        self.kept: Tensor | None = None
        if self.rows == self.height or keeps_condition(unet, self.height, width, memory, itemsize):
            starts = range(0, self.height, self.rows)
            parts = (self.condition(a, min(a + self.rows, self.height)) for a in starts)
            self.kept = stack(parts, self.height)

    def condition(self, start: int, stop: int) -> Tensor:
        """cond of these rows; it depends on the features of their LR rows and the neighbours."""
        if self.kept is not None:
            return self.kept[:, :, start:stop]
        scale = self.unet.scale
        first, last = max(0, start // scale - 1), min(self.features.shape[2], -(-stop // scale) + 1)
        mask = self.mask
        if mask is not None:
            mask = mask[:, :, scale * first : scale * last]
        cond = self.unet.project(self.features[:, :, first:last], mask)
        return cond[:, :, start - scale * first : stop - scale * first]

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        """As the network: (1, 3, H, W) and (1,) to (1, 3, H, W)."""
        if self.rows == self.height:
            y = self.whole(x_t, t, self.condition(0, self.height))
            self.after()
            return y
        assert isinstance(self.unet, DenoisingUNet)  # `denoiser_rows` divides no other
        row = 0

        def add_condition(x: Tensor) -> Tensor:
            nonlocal row
            start, row = row, row + x.shape[2]
            return x + self.condition(start, row)

        def bands() -> Iterator[Tensor]:
            for band in x_t.split(self.rows, dim=2):
                yield band
                self.after()

        stages = denoiser_stages(self.unet, t, add_condition, self.height)
        return stack(run(stages, bands()), self.height)


# ---- the encoder -----------------------------------------------------------------------------------------


def rrdb_stages(block: RRDB, height: int) -> list[Stage]:
    """`RRDB.forward` of a map of this height."""

    def add(x: Tensor, y: Tensor) -> Tensor:
        return x + RESIDUAL_SCALE * y

    def dense(layer: DenseBlock) -> list[Stage]:
        *growing, last = (Conv(conv, height) for conv in layer.convs)
        stages: list[Stage] = [
            stage for conv in growing for stage in around([conv, activate], lambda x, y: torch.cat([x, y], 1))
        ]
        return around([*stages, last], add)

    return around([stage for layer in block.dense for stage in dense(layer)], add)


def encode(
    encoder: RRDBEncoder, lr: Tensor, memory: int | None, itemsize: int, *, tail: bool = False
) -> Tensor:
    """The encoder's features of an LR image, or its super-resolved image if `tail`.

    Args:
        lr: (1, 3, h, w) float in [0, 1].
        memory: bytes for the maps of one block; None: enough. What is given back comes on top of it.
        itemsize: bytes of one of their numbers.

    Raises:
        UserError: not even one row fits.
    """
    height, width = lr.shape[2:]
    block = encoder.conv_in.out_channels
    growth = encoder.trunk[0].dense[0].convs[0].out_channels
    largest = block + 4 * growth
    maps = 3 * largest + 4 * block
    if tail:
        largest = max(largest, block * encoder.scale**2)
        maps = max(maps, 4 * largest)
    row = width * maps * itemsize
    rows = quick_rows(height, width * largest * itemsize, lr.device)
    if memory is not None:
        rows = min(rows, memory // row)
    if rows >= height or height < 2:
        return encoder(lr) if tail else encoder.features(lr)
    if memory is not None and rows < 1:
        raise UserError(
            f"{memory / 1e6:.3g} MB are too little memory for this encoder and an image {width} LR pixels "
            f"wide; it needs --memory {math.ceil(row / 1e6)}"
        )

    def through(stages: Sequence[Stage], x: Tensor, factor: int = 1) -> Tensor:
        return stack(run(stages, x.split(rows, dim=2)), factor * height)

    first = x = through([Conv(encoder.conv_in, height)], lr)
    if not tail:
        features = empty(x, encoder.cond_channels, height)
        for n, taken in enumerate(features.split(block, dim=1)):  # written into: a cat would hold all twice
            for layer in encoder.trunk[TAP_EVERY * n : TAP_EVERY * (n + 1)]:
                x = through(rrdb_stages(layer, height), x)
            if TAP_EVERY * (n + 1) > len(encoder.trunk):  # the trunk's output
                x = through([Conv(encoder.conv_trunk, height)], x).add_(first)
            taken.copy_(x)
        return features
    for layer in encoder.trunk:
        x = through(rrdb_stages(layer, height), x)
    x = through([Conv(encoder.conv_trunk, height)], x).add_(first)
    stages: list[Stage] = []
    for number, conv in enumerate(encoder.upsample, start=1):
        stages += [nn.Upsample(scale_factor=2.0), Conv(conv, height * 2**number), activate]
    stages += [Conv(encoder.conv_hr, height * encoder.scale), activate]
    stages += [Conv(encoder.conv_out, height * encoder.scale)]
    return through(stages, x, encoder.scale)
