"""Tiles: they cover an image once, see as much as they must, and give the whole image's result."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from samdiffsr import tiling
from samdiffsr.errors import UserError
from samdiffsr.models.rrdb import RRDBEncoder
from samdiffsr.models.unet import DenoisingUNet, receptive_radius
from samdiffsr.tiling import Tile, TiledDenoiser, assemble, cut, denoiser_tiles, encode, encoder_radius


def positive(network: nn.Module) -> nn.Module:
    """Weights of one sign, in float64: far paths neither cancel nor fade below the rounding."""
    for p in network.double().requires_grad_(False).parameters():
        p.abs_().add_(0.05).mul_(2 / p[0].sum() if p.ndim > 1 else 0)
    return network


@settings(deadline=None)
@given(
    grid=st.sampled_from([1, 2, 8]),
    rows=st.integers(1, 40),
    columns=st.integers(1, 40),
    halo=st.integers(0, 30),
    spare=st.integers(0, 2000),
)
def test_tiles_cover_the_image_once_and_see_their_halo(
    grid: int, rows: int, columns: int, halo: int, spare: int
) -> None:
    height, width = rows * grid, columns * grid
    most = (grid + 2 * (-(-halo // grid) * grid)) ** 2 + spare
    seen = torch.zeros(height, width)
    for tile in cut(height, width, halo=halo, grid=grid, memory=3 * most, cost=3):
        seen[tile.inner] += 1
        pixels = 1
        for inner, outer, length in zip(tile.inner, tile.outer, (height, width), strict=True):
            assert outer.start == 0 or inner.start - outer.start >= halo
            assert outer.stop == length or outer.stop - inner.stop >= halo
            assert outer.start % grid == outer.stop % grid == 0
            assert 0 <= outer.start <= inner.start < inner.stop <= outer.stop <= length
            pixels *= outer.stop - outer.start
        assert pixels <= most
    assert (seen == 1).all()


def test_what_fits_is_one_tile_and_what_cannot_is_refused() -> None:
    whole = (slice(0, 40), slice(0, 60))
    assert cut(40, 60, halo=9, grid=4, memory=2400) == [Tile(whole, whole)]
    assert len(cut(400, 600, halo=9, grid=4)) == 1
    with pytest.raises(UserError, match=r"7.83 MB are too little .* it needs --memory 8$"):
        cut(400, 600, halo=9, grid=4, memory=7_830_000, cost=10_000)


def test_the_division_with_the_least_work_is_taken() -> None:
    tiles = cut(100, 1000, halo=10, grid=1, memory=30_000)
    assert all(t.inner[0] == slice(0, 100) for t in tiles)  # across the long side only
    assert len(tiles) == 4


def test_assembled_with_a_scale() -> None:
    x = torch.arange(2 * 20 * 30.0).reshape(1, 2, 20, 30)
    tiles = cut(20, 30, halo=3, grid=2, memory=150)
    assert len(tiles) > 4
    double = assemble(tiles, lambda t: x[:, :, *t.outer].repeat_interleave(2, 2).repeat_interleave(2, 3), 2)
    assert torch.equal(double, x.repeat_interleave(2, 2).repeat_interleave(2, 3))


# ---- the encoder -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("tail", [False, True])
@pytest.mark.parametrize(("blocks", "scale"), [(2, 2), (2, 4), (3, 4), (2, 8)])
def test_encoder_radius_is_the_support_of_the_gradient(blocks: int, scale: int, tail: bool) -> None:
    encoder = positive(RRDBEncoder(blocks, features=2, growth=1, scale=scale))
    radius = encoder_radius(encoder, tail=tail)
    middle = radius + 3
    lr = torch.rand(1, 3, 2 * middle + 1, 3, dtype=torch.float64, requires_grad=True)
    factor = scale if tail else 1
    out = encoder(lr) if tail else encoder.features(lr)
    out[:, :, middle * factor : (middle + 1) * factor].sum().backward()
    rows = lr.grad.abs().sum(dim=(0, 1, 3)).nonzero()
    assert (middle - int(rows[0]), int(rows[-1]) - middle) == (radius, radius)


def test_encoder_radii_of_the_studies() -> None:
    assert encoder_radius(RRDBEncoder(17, 4, 2), tail=False) == 257
    assert encoder_radius(RRDBEncoder(5, 4, 2), tail=False) == 77


@pytest.mark.parametrize("tail", [False, True])
def test_an_encoder_in_tiles_is_exact(tail: bool) -> None:
    encoder = positive(RRDBEncoder(2, features=2, growth=1, scale=2))
    lr = torch.rand(1, 3, 90, 101, dtype=torch.float64)
    memory = 75 * 75 * 4 * (32 if tail else 22)
    whole = encode(encoder, lr, None, 4, tail=tail)
    seen: list[int] = []
    encoder.conv_in.register_forward_hook(lambda _, given, __: seen.append(given[0][0, 0].numel()))
    torch.testing.assert_close(encode(encoder, lr, memory, 4, tail=tail), whole, rtol=1e-13, atol=0)
    assert len(seen) > 4
    assert max(seen) <= 75 * 75


# ---- the denoiser ----------------------------------------------------------------------------------------


def denoiser(scale: int, masks: int = 0) -> DenoisingUNet:
    torch.manual_seed(0)
    return positive(DenoisingUNet(dim=4, mults=(1, 2), cond_channels=3, scale=scale, mask_channels=masks))


def tiled_and_whole(unet: DenoisingUNet, side: tuple[int, int], memory: int) -> tuple[Tensor, Tensor, int]:
    height, width = (n * unet.scale for n in side)
    features = torch.randn(1, 3, *side, dtype=torch.float64)
    mask = torch.randn(1, 1, height, width, dtype=torch.float64) if unet.mask_channels else None
    x_t, t = torch.randn(1, 3, height, width, dtype=torch.float64), torch.tensor([7])
    tiles = denoiser_tiles(unet, height, width, memory, 8)
    tiled = TiledDenoiser(unet, features, mask, tiles, memory, lambda: None)
    return tiled(x_t, t), unet(x_t, t, unet.project(features, mask)), len(tiles)


MEMORY = 84 * 84 * 8 * 4 * tiling.DENOISER_MAPS * 4 // 3  # a halo of 32 on each side leaves 20


@pytest.mark.parametrize("masks", [0, 1])
@pytest.mark.parametrize(("scale", "side"), [(2, (59, 63)), (4, (30, 33)), (8, (16, 18)), (4, (2, 260))])
def test_a_denoiser_in_tiles_is_exact(scale: int, side: tuple[int, int], masks: int) -> None:
    tiled, whole, n = tiled_and_whole(denoiser(scale, masks), side, MEMORY)
    assert n > 1
    torch.testing.assert_close(tiled, whole, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("masks", [0, 1])
@pytest.mark.parametrize("scale", [2, 4, 8])
def test_the_condition_of_a_tile_is_a_part_of_the_whole(scale: int, masks: int) -> None:
    unet = denoiser(scale, masks)
    features = torch.randn(1, 3, 128 // scale, 128 // scale, dtype=torch.float64)
    mask = torch.randn(1, 1, 128, 128, dtype=torch.float64) if masks else None
    tiles = denoiser_tiles(unet, 128, 128, MEMORY, 8)
    tiled = TiledDenoiser(unet, features, mask, tiles, MEMORY, lambda: None)
    whole = unet.project(features, mask)
    for tile in tiles:
        torch.testing.assert_close(tiled.condition(tile), whole[:, :, *tile.outer], rtol=1e-12, atol=1e-14)


def test_a_halo_one_step_of_the_grid_smaller_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    unet = denoiser(2)
    monkeypatch.setattr(tiling, "receptive_radius", lambda levels: receptive_radius(levels) - 2)
    tiled, whole, n = tiled_and_whole(unet, (59, 63), MEMORY)
    assert n > 1
    assert (tiled - whole).abs().max() > 1e-12 * whole.abs().max()


def test_a_large_image_shows_the_network_no_more_than_a_small_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that grows with the image are LR-sized features and three-channel images: no condition is kept."""
    made: list[int] = []
    project = DenoisingUNet.project

    def noting(self: DenoisingUNet, features: Tensor, mask: Tensor | None = None) -> Tensor:
        made.append(features.numel())
        return project(self, features, mask)

    monkeypatch.setattr(DenoisingUNet, "project", noting)
    largest = {}
    for height in (50, 200):
        unet, sizes = denoiser(4), []
        for module in unet.modules():
            module.register_forward_hook(lambda _, given, y, sizes=sizes: sizes.append(y.numel()))
        side = (height, 25)
        features = torch.randn(1, 3, *side, dtype=torch.float64)
        tiles = denoiser_tiles(unet, 4 * height, 100, MEMORY, 8)
        tiled = TiledDenoiser(unet, features, None, tiles, MEMORY, lambda: None)
        made.clear()
        for t in (3, 2):
            tiled(torch.zeros(1, 3, 4 * height, 100, dtype=torch.float64), torch.tensor([t]))
        assert len(made) == 2 * len(tiles)
        largest[height] = max(sizes)
    assert largest[200] <= largest[50] <= 84 * 84 * 8
