"""Large images through a network in tiles, exactly: the result is that of the whole image.

A tile is shown to the network with a margin, the halo, of at least the network's receptive radius, and what
comes out for the margin is thrown away. At the image's border a tile ends where the image does, so that the
padding is the image's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from torch import Tensor

from samdiffsr.errors import UserError
from samdiffsr.models.rrdb import TAP_EVERY, RRDBEncoder
from samdiffsr.models.unet import DenoisingUNet, receptive_radius

DENOISER_MAPS = 7  # full-size maps of `dim` channels that a U-Net holds at once, and what convolutions add
Span = tuple[slice, slice]  # inner, outer, along one axis


@dataclass(frozen=True)
class Tile:
    """What a tile answers for (`inner`) and what the network sees for it (`outer`): rows and columns."""

    inner: tuple[slice, slice]
    outer: tuple[slice, slice]


def cut(
    height: int, width: int, *, halo: int, grid: int, memory: int | None = None, cost: int = 1
) -> list[Tile]:
    """Tiles that cover an image once, with the least work that the memory allows.

    Args:
        height, width: multiples of `grid`, on which tiles begin and end.
        halo: the network's receptive radius; rounded up to the grid.
        memory: bytes for one tile; None: the whole image is one. cost: bytes that a pixel takes.

    Raises:
        UserError: not even the smallest tile fits.
    """
    halo = -(-halo // grid) * grid
    best: tuple[int, list[Span], list[Span]] | None = None
    for rows in _divisions(height, halo, grid):
        for columns in _divisions(width, halo, grid):
            work = _work(rows) * _work(columns)
            fits = memory is None or _longest(rows) * _longest(columns) * cost <= memory
            if fits and (best is None or work < best[0]):
                best = (work, rows, columns)
    if best is None:
        least = min(height, grid + 2 * halo) * min(width, grid + 2 * halo)
        raise UserError(
            f"{memory / 1e6:.3g} MB are too little memory for a tile of this network; it needs --memory "
            f"{math.ceil(least * cost / 1e6)}"
        )
    return [Tile((r[0], c[0]), (r[1], c[1])) for r in best[1] for c in best[2]]


@cache
def _divisions(length: int, halo: int, grid: int) -> list[list[Span]]:
    """Every way to divide one axis into parts of one length, but for the last."""
    cells = length // grid
    sizes = dict.fromkeys(-(-cells // n) * grid for n in range(1, cells + 1))
    return [
        [
            (slice(a, min(a + size, length)), slice(max(0, a - halo), min(a + size + halo, length)))
            for a in range(0, length, size)
        ]
        for size in sizes
    ]


def _longest(spans: list[Span]) -> int:
    return max(outer.stop - outer.start for _, outer in spans)


def _work(spans: list[Span]) -> int:
    return sum(outer.stop - outer.start for _, outer in spans)


def assemble(tiles: list[Tile], run: Callable[[Tile], Tensor], scale: int = 1) -> Tensor:
    """The whole image's output, (B, C, scale * H, scale * W).

    Args:
        run: gives the network's output for a tile's `outer` part, `scale` times its size.
    """
    if len(tiles) == 1:
        return run(tiles[0])
    height, width = (scale * s.stop for s in tiles[-1].inner)
    whole: Tensor | None = None
    for tile in tiles:
        part = run(tile)
        if whole is None:
            whole = part.new_empty((*part.shape[:2], height, width))
        rows, columns = (slice(scale * s.start, scale * s.stop) for s in tile.inner)
        top, left = (scale * s.start for s in tile.outer)
        whole[:, :, rows, columns] = part[
            :, :, rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
        ]
    assert whole is not None
    return whole


class TiledDenoiser:
    """A denoiser on tiles of x_t. Its condition is made tile by tile: the whole would be the largest tensor.

    Args:
        features: (1, cond_channels, h, w), of the encoder.
        mask: e_sam, (1, 1, scale * h, scale * w), or None.
        tiles: of x_t.
        memory: bytes; conditions that fit into a quarter are kept, others made anew in every step. None: all.
        after: called after every tile.
    """

    def __init__(
        self,
        unet: DenoisingUNet,
        features: Tensor,
        mask: Tensor | None,
        tiles: list[Tile],
        memory: int | None,
        after: Callable[[], None],
    ) -> None:
        self.unet, self.features, self.mask, self.tiles, self.after = unet, features, mask, tiles, after
        pixels = sum(math.prod(s.stop - s.start for s in tile.outer) for tile in tiles)
        keep = memory is None or 4 * pixels * unet.dim * features.element_size() <= memory
        self.kept = {id(tile): self.condition(tile) for tile in tiles} if keep else {}

    def condition(self, tile: Tile) -> Tensor:
        """cond of a tile's outer part; it depends on the features of its LR pixels and their neighbours."""
        scale = self.unet.scale
        near = [
            slice(max(0, s.start // scale - 1), min(n, s.stop // scale + 1))
            for s, n in zip(tile.outer, self.features.shape[2:], strict=True)
        ]
        mask = self.mask
        if mask is not None:
            mask = mask[:, :, *(slice(scale * s.start, scale * s.stop) for s in near)]
        cond = self.unet.project(self.features[:, :, *near], mask)
        rows, columns = (
            slice(s.start - scale * n.start, s.stop - scale * n.start)
            for s, n in zip(tile.outer, near, strict=True)
        )
        return cond[:, :, rows, columns]

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        """As the network: (1, 3, H, W) and (1,) to (1, 3, H, W)."""

        def run(tile: Tile) -> Tensor:
            cond = self.kept[id(tile)] if self.kept else self.condition(tile)
            y = self.unet(x_t[:, :, *tile.outer], t, cond)
            self.after()
            return y

        return assemble(self.tiles, run)


def encoder_radius(encoder: RRDBEncoder, *, tail: bool) -> int:
    """How many LR pixels beyond an LR pixel its features reach, or its super-resolved block if `tail`.

    Every 3x3 convolution on the longest way counts one: 15 a block. 257 for the paper's features, 77 for the
    demo's.
    """
    blocks = len(encoder.trunk)
    last_tap = TAP_EVERY * encoder.cond_maps
    if not tail and last_tap <= blocks:
        return 1 + 15 * last_tap
    radius = 1 + 15 * blocks + 1
    if tail:
        reach = 2  # conv_hr, conv_out
        for _ in encoder.upsample:
            reach = -(-(reach + 1) // 2)  # a convolution, before it every pixel is doubled
        radius += reach
    return radius


def denoiser_tiles(
    unet: DenoisingUNet, height: int, width: int, memory: int | None, itemsize: int
) -> list[Tile]:
    """Tiles of x_t, (height, width).

    Args:
        memory: bytes for the network's maps of one tile; None: one tile.
        itemsize: bytes of one of their numbers.
    """
    return cut(
        height,
        width,
        halo=receptive_radius(unet.levels),
        grid=max(unet.size_multiple, unet.scale),
        memory=memory,
        cost=DENOISER_MAPS * unet.dim * itemsize * 4 // 3,  # a quarter is for conditions that are kept
    )


def encode(
    encoder: RRDBEncoder, lr: Tensor, memory: int | None, itemsize: int, *, tail: bool = False
) -> Tensor:
    """The encoder's features of an LR image, or its super-resolved image if `tail`, made in tiles.

    Args:
        lr: (1, 3, h, w) float in [0, 1]. memory, itemsize: as for `denoiser_tiles`.
    """
    block = encoder.conv_in.out_channels
    growth = encoder.trunk[0].dense[0].convs[0].out_channels
    maps = 2 * (block + 4 * growth) + 4 * block + encoder.cond_channels
    if tail:
        maps = max(maps, 4 * block * encoder.scale**2)
    tiles = cut(
        *lr.shape[2:],
        halo=encoder_radius(encoder, tail=tail),
        grid=1,
        memory=memory,
        cost=maps * itemsize,
    )
    network = encoder if tail else encoder.features
    return assemble(tiles, lambda tile: network(lr[:, :, *tile.outer]), encoder.scale if tail else 1)
