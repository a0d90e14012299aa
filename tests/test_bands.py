"""Bands: they give the whole image's result, compute nothing twice, and hold no more for a higher image."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from samdiffsr.core.errors import UserError
from samdiffsr.models import bands
from samdiffsr.models.bands import (
    BandedDenoiser,
    Conv,
    Doubled,
    Waiting,
    around,
    denoiser_rows,
    encode,
    run,
    stack,
)
from samdiffsr.models.rrdb import RRDBEncoder
from samdiffsr.models.unet import DenoisingUNet, ReflectConv

CPU = torch.device("cpu")


def positive(network: nn.Module) -> nn.Module:
    """Weights of one sign, in float64: far paths neither cancel nor fade below the rounding."""
    for p in network.double().requires_grad_(False).parameters():
        p.abs_().add_(0.05).mul_(2 / p[0].sum() if p.ndim > 1 else 0)
    return network


def cuts(height: int) -> st.SearchStrategy[list[int]]:
    """Heights of bands, in all `height`."""
    inside = st.sets(st.integers(1, height - 1), max_size=height - 1)
    return inside.map(
        lambda at: [b - a for a, b in zip([0, *sorted(at)], [*sorted(at), height], strict=True)]
    )


# ---- the parts -------------------------------------------------------------------------------------------

LAYERS: dict[str, tuple[Callable[[], nn.Module], type[Conv] | type[Doubled]]] = {
    "reflected": (lambda: ReflectConv(2, 3), Conv),
    "halving": (lambda: ReflectConv(2, 3, stride=2), Conv),
    "padded by zeros": (lambda: nn.Conv2d(2, 3, 3, padding=1), Conv),
    "doubling": (lambda: nn.ConvTranspose2d(2, 3, 4, stride=2, padding=1), Doubled),
}


@pytest.mark.parametrize("name", LAYERS)
@settings(deadline=None, max_examples=60)
@given(data=st.data(), half=st.integers(1, 9))
def test_a_layer_in_bands_of_any_heights_is_the_layer(name: str, data: st.DataObject, half: int) -> None:
    torch.manual_seed(0)
    make, stage = LAYERS[name]
    layer, height = make().double(), 2 * half
    x = torch.randn(1, 2, height, 5, dtype=torch.float64)
    with torch.no_grad():
        whole = layer(x)
        parts = list(run([stage(layer, height)], x.split(data.draw(cuts(height)), dim=2)))
        found = stack(parts, whole.shape[2])
    torch.testing.assert_close(found, whole, rtol=1e-13, atol=1e-14)


@settings(deadline=None)
@given(cuts(12), cuts(12))
def test_what_waits_comes_in_order(given: list[int], taken: list[int]) -> None:
    x = torch.arange(24.0).reshape(1, 1, 12, 2)
    waiting = Waiting()
    for band in x.split(given, dim=2):
        assert waiting.keep(band) is band
    assert torch.equal(torch.cat([waiting.take(n) for n in taken], dim=2), x)


def test_around_merges_the_same_rows() -> None:
    late = Conv(ReflectConv(1, 1), 20)
    late.weight = torch.zeros(1, 1, 3, 3)
    late.weight[..., 1, 1] = 1  # gives what it gets, a row later
    late.bias = torch.zeros(1)
    x = torch.arange(40.0).reshape(1, 1, 20, 2)
    found = stack(run(around([late], lambda a, b: torch.cat([a, b], 1)), x.split(3, dim=2)), 20)
    assert torch.equal(found, x.expand(-1, 2, -1, -1))


# ---- the encoder -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 7, 40])
@pytest.mark.parametrize("tail", [False, True])
@pytest.mark.parametrize(("blocks", "scale"), [(2, 2), (3, 4), (4, 2), (5, 8)])
def test_an_encoder_in_bands_is_exact(blocks: int, scale: int, tail: bool, rows: int) -> None:
    encoder = positive(RRDBEncoder(blocks, features=2, growth=1, scale=scale))
    lr = torch.rand(1, 3, 41, 6, dtype=torch.float64)
    whole = encode(encoder, lr, None, 8, tail=tail)
    maps = 3 * 6 + 8
    if tail:
        maps = max(maps, 8 * scale**2)
    seen: list[int] = []
    encoder.register_forward_hook(lambda *_: seen.append(1))
    found = encode(encoder, lr, rows * 6 * maps * 8, 8, tail=tail)
    assert not seen  # it was not given the whole image
    torch.testing.assert_close(found, whole, rtol=1e-12, atol=0)


def test_an_encoder_without_memory_for_a_row_says_how_much_it_needs() -> None:
    with pytest.raises(UserError, match=r"0.001 MB .* 600 LR pixels wide; it needs --memory 1$"):
        encode(RRDBEncoder(2, features=2, growth=1), torch.zeros(1, 3, 9, 600), 1000, 4)


# ---- the denoiser ----------------------------------------------------------------------------------------


def denoiser(scale: int = 4, masks: int = 0, mults: tuple[int, ...] = (1, 2)) -> DenoisingUNet:
    torch.manual_seed(0)
    return positive(DenoisingUNet(dim=4, mults=mults, cond_channels=3, scale=scale, mask_channels=masks))


def inputs(unet: DenoisingUNet, side: tuple[int, int]) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
    """features, mask, x_t, t"""
    height, width = (n * unet.scale for n in side)
    features = torch.randn(1, 3, *side, dtype=torch.float64)
    mask = torch.randn(1, 1, height, width, dtype=torch.float64) if unet.mask_channels else None
    return features, mask, torch.randn(1, 3, height, width, dtype=torch.float64), torch.tensor([7])


def memory_for(unet: DenoisingUNet, side: tuple[int, int], rows: int) -> int:
    """The least memory with which so many rows go through at once."""
    height, width = (n * unet.scale for n in side)
    return next(
        m
        for m in range(0, 10**9, width * unet.dim * 4)
        if enough(unet, height, width, m) and denoiser_rows(unet, height, width, m, 8, CPU) >= rows
    )


def enough(unet: DenoisingUNet, height: int, width: int, memory: int) -> bool:
    try:
        return denoiser_rows(unet, height, width, memory, 8, CPU) > 0
    except UserError:
        return False


@pytest.mark.parametrize("masks", [0, 1])
@pytest.mark.parametrize(
    ("scale", "side", "mults"),
    [
        (2, (119, 7), (1, 2)),
        (4, (60, 3), (1, 2, 2)),
        (8, (40, 2), (1, 2, 3, 4)),
        (4, (100, 2), (1,)),
        (2, (60, 12), (1, 1, 1, 1)),
    ],
)
def test_a_denoiser_in_bands_is_exact(
    scale: int, side: tuple[int, int], mults: tuple[int, ...], masks: int
) -> None:
    unet = denoiser(scale, masks, mults)
    features, mask, x_t, t = inputs(unet, side)
    whole = unet(x_t, t, unet.project(features, mask))
    seen: list[int] = []
    unet.register_forward_hook(lambda *_: seen.append(1))
    for rows in (unet.size_multiple, 13, 50):
        rows = max(rows, unet.size_multiple)
        memory = memory_for(unet, side, rows)
        banded = BandedDenoiser(unet, features, mask, memory, 8, lambda: None)
        assert banded.rows < x_t.shape[2]
        assert banded.bands > 1
        for _ in range(2):  # a step leaves nothing behind for the next
            torch.testing.assert_close(banded(x_t, t), whole, rtol=1e-11, atol=1e-13)
    assert not seen


@settings(deadline=None, max_examples=25)
@given(rows=st.integers(1, 130))
def test_the_height_of_the_bands_changes_nothing(rows: int) -> None:
    unet = denoiser(4, 1, (1, 2, 2))
    features, mask, x_t, t = inputs(unet, (30, 4))
    banded = BandedDenoiser(unet, features, mask, None, 8, lambda: None)
    whole = banded(x_t, t)
    banded.kept, banded.rows = None, min(rows, 119)
    torch.testing.assert_close(banded(x_t, t), whole, rtol=1e-11, atol=1e-13)


def test_what_fits_goes_through_the_network_as_a_whole() -> None:
    unet = denoiser()
    features, mask, x_t, t = inputs(unet, (10, 8))
    seen: list[int] = []
    unet.register_forward_hook(lambda *_: seen.append(1))
    memory = (bands.MAPS + 1) * 40 * 32 * 4 * 8
    whole = BandedDenoiser(unet, features, mask, memory, 8, lambda: None)
    assert whole.bands == 1
    whole(x_t, t)
    assert seen == [1]
    assert BandedDenoiser(unet, features, mask, memory - 1, 8, lambda: None).bands > 1


def test_on_the_cpu_large_maps_go_in_bands_though_they_would_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    unet, encoder = denoiser(), positive(RRDBEncoder(2, features=2, growth=1))
    features, mask, x_t, t = inputs(unet, (30, 4))
    lr = torch.rand(1, 3, 30, 4, dtype=torch.float64)
    whole = BandedDenoiser(unet, features, mask, None, 8, lambda: None)
    found = whole(x_t, t), encode(encoder, lr, None, 8), encode(encoder, lr, None, 8, tail=True)
    assert whole.bands == 1
    monkeypatch.setattr(bands, "QUICK", 16 * 4 * 8 * 20)
    banded = BandedDenoiser(unet, features, mask, None, 8, lambda: None)
    assert (banded.rows, banded.bands) == (20, 6)
    assert banded.kept is not None
    for module in (unet, encoder):
        module.register_forward_pre_hook(lambda *_: pytest.fail("the whole image"))
    again = banded(x_t, t), encode(encoder, lr, None, 8), encode(encoder, lr, None, 8, tail=True)
    torch.testing.assert_close(again, found, rtol=1e-11, atol=1e-13)
    assert denoiser_rows(unet, 120, 16, None, 8, torch.device("cuda")) == 120


@pytest.mark.parametrize("masks", [0, 1])
@pytest.mark.parametrize("scale", [2, 4, 8])
def test_the_condition_of_a_band_is_a_part_of_the_whole(scale: int, masks: int) -> None:
    unet = denoiser(scale, masks)
    features, mask, _, _ = inputs(unet, (128 // scale, 4))
    banded = BandedDenoiser(unet, features, mask, None, 8, lambda: None)
    whole, banded.kept = banded.kept, None
    for start, stop in ((0, 1), (0, 9), (7, 64), (8, 16), (65, 66), (100, 128), (127, 128)):
        found = banded.condition(start, stop)
        torch.testing.assert_close(found, whole[:, :, start:stop], rtol=1e-12, atol=1e-14)


def test_every_band_is_reported() -> None:
    unet = denoiser()
    features, mask, x_t, t = inputs(unet, (60, 3))
    calls: list[int] = []
    memory = memory_for(unet, (60, 3), 20)
    banded = BandedDenoiser(unet, features, mask, memory, 8, lambda: calls.append(1))
    banded(x_t, t)
    assert len(calls) == banded.bands > 5


def test_a_higher_image_is_shown_in_the_same_bands_and_nothing_is_computed_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All that grows with the image are LR-sized features and three-channel images: no condition is kept."""
    conv2d, asked, seen = torch.nn.functional.conv2d, [], []

    def noting(x: Tensor, weight: Tensor, *others: object) -> Tensor:
        y = conv2d(x, weight, *others)
        seen.append((x.numel(), y[0, 0].numel() * weight.numel()))
        return y

    def project(self: DenoisingUNet, features: Tensor, mask: Tensor | None = None) -> Tensor:
        asked.append(features.shape[2])
        return self.cond_proj(features)

    unet = denoiser(4, 0, (1, 2, 2))
    side = (50, 20)
    memory = memory_for(unet, side, 40)
    monkeypatch.setattr(bands.F, "conv2d", noting)
    monkeypatch.setattr(DenoisingUNet, "project", project)
    largest, work = {}, {}
    for times in (1, 2, 4):
        features, mask, x_t, t = inputs(unet, (times * side[0], side[1]))
        banded = BandedDenoiser(unet, features, mask, memory, 8, lambda: None)
        assert banded.rows == 40
        assert banded.kept is None
        seen.clear()
        asked.clear()
        banded(x_t, t)
        largest[times], work[times] = max(numbers for numbers, _ in seen), sum(w for _, w in seen)
        assert max(asked) <= 40 // 4 + 4
    assert largest[1] == largest[2] == largest[4]
    assert work[2] == 2 * work[1]
    assert work[4] == 4 * work[1]


def test_too_little_memory_is_said() -> None:
    unet = denoiser()
    message = r"0.01 MB are too little memory .* an image 800 pixels wide; it needs --memory 1$"
    with pytest.raises(UserError, match=message):
        denoiser_rows(unet, 400, 800, 10_000, 4, CPU)
    assert denoiser_rows(unet, 400, 800, 1_000_000, 4, CPU) >= unet.size_multiple
