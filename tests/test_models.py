"""The encoder and the denoiser: sizes as published, equations, reach, refusals."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from samdiffsr.core.errors import UserError
from samdiffsr.models.rrdb import RRDB, DenseBlock, RRDBEncoder
from samdiffsr.models.unet import DenoisingUNet, ReflectConv, ResnetBlock, receptive_radius, time_embedding


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def small_unet(**changes) -> DenoisingUNet:
    torch.manual_seed(0)
    return DenoisingUNet(**({"dim": 4, "mults": (1, 2), "cond_channels": 6, "scale": 2} | changes))


# ---- sizes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "parameters"),
    [
        ({}, 12_381_443),
        ({"scale": 2}, 12_381_443 - 36_928),
        ({"scale": 8}, 12_418_371),
        ({"blocks": 8, "features": 32, "growth": 16}, 1_478_755),
    ],
)
def test_encoder_has_the_published_number_of_parameters(arguments, parameters):
    assert count(RRDBEncoder(**arguments)) == parameters


@pytest.mark.parametrize(
    ("arguments", "parameters"),
    [
        ({}, 12_934_915),
        ({"scale": 2}, 11_755_267),
        ({"mask_channels": 1}, 12_947_459),
        ({"scale": 8}, 17_653_507),
        ({"cond_channels": 96}, 11_755_267),
        ({"cond_channels": 96, "mults": (1, 2, 2, 4)}, 9_366_147),
    ],
)
def test_denoiser_has_the_published_number_of_parameters(arguments, parameters):
    assert count(DenoisingUNet(**arguments)) == parameters


def test_denoiser_parameters_are_where_they_are_published():
    unet = DenoisingUNet(mask_channels=1)
    split = {name: count(part) for name, part in unet.named_children()}
    assert split["cond_proj"] == 1_572_928
    assert split["mask_proj"] == 12_544
    assert split["time_mlp"] == 33_088
    assert split["downs"] == 4_741_760
    assert split["mid"] == 2 * 1_196_800
    assert split["ups"] == 4_156_416
    assert split["conv_last"] + split["conv_out"] == 37_123


# ---- encoder ---------------------------------------------------------------------------------------------


@given(blocks=st.integers(2, 9), scale=st.sampled_from([2, 4, 8]), h=st.integers(1, 5), w=st.integers(1, 5))
@settings(max_examples=12, deadline=None)
def test_encoder_shapes(blocks, scale, h, w):
    encoder = RRDBEncoder(blocks, features=3, growth=2, scale=scale)
    lr = torch.rand(2, 3, h, w)
    assert encoder.cond_channels == 3 * len(range(blocks + 1)[2::3])
    assert encoder.features(lr).shape == (2, encoder.cond_channels, h, w)
    assert encoder(lr).shape == (2, 3, scale * h, scale * w)


@pytest.mark.parametrize("blocks", [2, 3, 4, 5, 8])
def test_features_are_every_third_map_of_blocks_and_trunk(blocks):
    torch.manual_seed(0)
    encoder = RRDBEncoder(blocks, features=4, growth=2)
    lr = torch.rand(1, 3, 5, 6)
    first = x = encoder.conv_in(lr)
    maps = []
    for block in encoder.trunk:
        x = block(x)
        maps.append(x)
    maps.append(first + encoder.conv_trunk(x))
    assert torch.equal(encoder.features(lr), torch.cat(maps[2::3], dim=1))


def test_features_never_run_the_upsampling_tail():
    encoder = RRDBEncoder(5, features=4, growth=2)
    encoder.features(torch.rand(1, 3, 4, 4)).sum().backward()
    idle = {name.split(".")[0] for name, p in encoder.named_parameters() if p.grad is None}
    assert idle == {"upsample", "conv_hr", "conv_out"}


def test_dense_block_and_rrdb_equations():
    torch.manual_seed(0)
    block = DenseBlock(features=4, growth=2).double()
    x = torch.randn(1, 4, 5, 5, dtype=torch.float64)
    maps = [x]
    for i, conv in enumerate(block.convs):
        y = F.conv2d(torch.cat(maps, 1), conv.weight, conv.bias, padding=1)
        maps.append(y if i == 4 else torch.where(y > 0, y, 0.2 * y))
    torch.testing.assert_close(block(x), x + 0.2 * maps[-1])

    rrdb = RRDB(features=4, growth=2).double()
    y = x
    for dense in rrdb.dense:
        y = dense(y)
    torch.testing.assert_close(rrdb(x), x + 0.2 * y)


def test_encoder_starts_with_small_dense_blocks():
    """ESRGAN's 0.1 x Kaiming: every block starts as nearly x + 0.2 x, however deep the trunk."""
    torch.manual_seed(0)
    rrdb = RRDB(features=64, growth=32)
    conv = rrdb.dense[0].convs[2]
    assert conv.weight.std().item() == pytest.approx(0.1 * math.sqrt(2 / (128 * 9)), rel=0.03)
    assert not conv.bias.any()
    x = torch.randn(1, 64, 8, 8)
    assert (rrdb(x) - 1.2 * x).std() < 0.05


def test_encoder_learns():
    torch.manual_seed(0)
    encoder = RRDBEncoder(2, features=8, growth=4, scale=2)
    hr = F.interpolate(torch.rand(4, 3, 4, 4), size=(16, 16), mode="bicubic").clamp(0, 1)
    lr = F.interpolate(hr, scale_factor=0.5, mode="area")
    adam = torch.optim.Adam(encoder.parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        loss = (encoder(lr) - hr).abs().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(loss.item())
    assert losses[-1] < 0.4 * losses[0]


@pytest.mark.parametrize(
    "arguments", [{"blocks": 1}, {"scale": 3}, {"scale": 1}, {"features": 0}, {"growth": 0}]
)
def test_encoder_refuses(arguments):
    with pytest.raises(UserError, match=rf"{next(iter(arguments))} (is )?{next(iter(arguments.values()))}"):
        RRDBEncoder(**({"blocks": 2, "features": 4, "growth": 2} | arguments))


# ---- denoiser --------------------------------------------------------------------------------------------


def test_time_embedding_formula():
    t = torch.tensor([0, 1, 57, 99])
    expected = [
        [f(step * 10_000 ** (-k / 3)) for f in (math.sin, math.cos) for k in range(4)] for step in t.tolist()
    ]
    embedded = time_embedding(t, 8)
    assert embedded.dtype == torch.float32
    torch.testing.assert_close(embedded, torch.tensor(expected), rtol=0, atol=1e-5)


def test_reflect_conv_pads_by_reflection():
    torch.manual_seed(0)
    conv = ReflectConv(2, 3, stride=2)
    x = torch.randn(1, 2, 6, 8)
    oracle = torch.nn.Sequential(torch.nn.ReflectionPad2d(1), torch.nn.Conv2d(2, 3, 3, stride=2))
    oracle[1].load_state_dict(conv.state_dict())
    assert torch.equal(conv(x), oracle(x))


def test_reflect_conv_pads_in_the_dtype_of_its_input_under_autocast(monkeypatch):
    seen = []
    pad = F.pad
    monkeypatch.setattr(F, "pad", lambda x, *a, **k: seen.append(pad(x, *a, **k)) or seen[-1])
    with torch.autocast("cpu", torch.bfloat16):
        assert ReflectConv(2, 3)(torch.randn(1, 2, 4, 4, dtype=torch.bfloat16)).dtype == torch.bfloat16
    assert seen[0].dtype == torch.bfloat16


@pytest.mark.parametrize("out_channels", [3, 5])
def test_resnet_block_equation(out_channels):
    torch.manual_seed(0)
    block = ResnetBlock(3, out_channels, time_dim=4)
    x, emb = torch.randn(2, 3, 6, 6), torch.randn(2, 4)

    def mish(z):
        return z * torch.tanh(torch.log1p(z.exp()))

    h = mish(block.conv1(x)) + F.linear(emb, block.time.weight, block.time.bias)[:, :, None, None]
    shortcut = x if out_channels == 3 else F.conv2d(x, block.shortcut.weight, block.shortcut.bias)
    torch.testing.assert_close(block(x, emb), mish(block.conv2(h)) + shortcut)


@given(levels=st.integers(1, 4), scale=st.sampled_from([2, 4, 8]), a=st.integers(2, 4), b=st.integers(2, 4))
@settings(max_examples=12, deadline=None)
def test_denoiser_shapes(levels, scale, a, b):
    unet = small_unet(mults=range(1, levels + 1), scale=scale)
    h, w = a * unet.size_multiple, b * unet.size_multiple  # of the features
    cond = unet.project(torch.randn(2, 6, h, w))
    assert cond.shape == (2, 4, scale * h, scale * w)
    x_t = torch.randn(2, 3, scale * h, scale * w)
    assert unet(x_t, torch.tensor([0, 99]), cond).shape == x_t.shape


def test_every_parameter_matters():
    """Each tensor gets a gradient: nothing is built and left out."""
    unet = small_unet(mults=(1, 2, 3), mask_channels=1)
    cond = unet.project(torch.randn(1, 6, 4, 4), torch.rand(1, 1, 8, 8))
    unet(torch.randn(1, 3, 8, 8), torch.tensor([5]), cond).square().sum().backward()
    assert [name for name, p in unet.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_skips_join_levels_of_equal_size():
    """The input of each ascending level is its own depth's skip: below level 0, which has none."""
    unet = small_unet(mults=(1, 2, 3, 4))
    assert [level.block1.conv1.in_channels for level in unet.ups] == [2 * 16, 2 * 12, 2 * 8]
    assert [level.block2.conv2.out_channels for level in unet.ups] == [12, 8, 4]


def test_condition_enters_after_the_first_level_and_depends_on_t():
    unet = small_unet()
    x_t, t = torch.randn(2, 3, 8, 8), torch.tensor([3, 3])
    cond = torch.randn(2, 4, 8, 8)
    outputs = {}
    unet.downs[0].resize.register_forward_pre_hook(lambda _, inputs: outputs.update(joined=inputs[0]))
    unet.downs[0].register_forward_hook(lambda _, __, output: outputs.update(level=output))
    y = unet(x_t, t, cond)
    torch.testing.assert_close(outputs["joined"], outputs["level"] + cond)
    assert not torch.allclose(y, unet(x_t, t + 40, cond))


def test_an_image_does_not_depend_on_its_batch():
    unet = small_unet(mults=(1, 2, 3)).double()
    x_t, t = torch.randn(3, 3, 8, 16).double(), torch.tensor([0, 50, 99])
    cond = unet.project(torch.randn(3, 6, 4, 8).double())
    whole = unet(x_t, t, cond)
    for i in range(3):
        alone = unet(x_t[i : i + 1], t[i : i + 1], cond[i : i + 1])
        torch.testing.assert_close(alone[0], whole[i], rtol=1e-12, atol=1e-12)


def test_one_condition_serves_a_whole_batch():
    unet = small_unet()
    x_t, t, cond = torch.randn(3, 3, 8, 8), torch.tensor([1, 2, 3]), torch.randn(1, 4, 8, 8)
    torch.testing.assert_close(unet(x_t, t, cond), unet(x_t, t, cond.expand(3, -1, -1, -1)))


def test_mask_is_merged_by_a_linear_map():
    unet = small_unet(mask_channels=1).double()
    features, mask = torch.randn(1, 6, 4, 4).double(), torch.rand(1, 1, 8, 8).double()
    x = torch.cat([unet.cond_proj(features), mask], dim=1)[0]
    for conv in unet.mask_proj:
        x = torch.einsum("oi,ihw->ohw", conv.weight[:, :, 0, 0], x) + conv.bias[:, None, None]
    torch.testing.assert_close(unet.project(features, mask)[0], x)


def test_projection_refuses_a_mask_that_does_not_belong():
    features, mask = torch.randn(1, 6, 4, 4), torch.rand(1, 1, 8, 8)
    with pytest.raises(ValueError, match="mask_channels=0, but a mask was given"):
        small_unet().project(features, mask)
    with pytest.raises(ValueError, match="mask_channels=1, but a mask is missing"):
        small_unet(mask_channels=1).project(features)
    with pytest.raises(ValueError, match=r"\(1, 1, 4, 4\); the features need \(1, 1, 8, 8\)"):
        small_unet(mask_channels=1).project(features, mask[:, :, :4, :4])


@pytest.mark.parametrize(("height", "width"), [(36, 48), (48, 44), (8, 16)])
def test_denoiser_refuses_sizes_it_cannot_halve(height, width):
    unet = small_unet(mults=(1, 1, 1, 1))
    message = f"x_t is {height}x{width}; with 4 levels both sides must be multiples of 8, 16 or more"
    with pytest.raises(ValueError, match=message):
        unet(torch.randn(1, 3, height, width), torch.tensor([0]), torch.randn(1, 4, height, width))


def test_denoiser_refuses_a_condition_of_another_size():
    with pytest.raises(ValueError, match="x_t is 8x8, but cond is 16x8"):
        small_unet()(torch.randn(1, 3, 8, 8), torch.tensor([0]), torch.randn(1, 4, 16, 8))


@pytest.mark.parametrize(
    "arguments",
    [
        {"dim": 5},
        {"dim": 2},
        {"mults": ()},
        {"mults": (2, 3)},
        {"mults": (1, 0)},
        {"scale": 3},
        {"cond_channels": 0},
    ],
)
def test_denoiser_refuses(arguments):
    with pytest.raises(UserError, match=f"denoiser: {next(iter(arguments))} is "):
        small_unet(**arguments)


# ---- reach -----------------------------------------------------------------------------------------------


def reach(unet: DenoisingUNet, block: slice, length: int) -> tuple[int, int]:
    """First and last row of x_t that a block of output rows depends on, by gradient."""
    width = 2 * unet.size_multiple
    x_t = torch.randn(1, 3, length, width, dtype=torch.float64, requires_grad=True)
    cond = torch.randn(1, 4, length, width, dtype=torch.float64)
    unet(x_t, torch.tensor([3]), cond)[:, :, block].abs().sum().backward()
    rows = x_t.grad.abs().sum(dim=(0, 1, 3)).nonzero()
    return int(rows[0]), int(rows[-1])


@pytest.mark.parametrize(("levels", "radius"), [(1, 9), (2, 31), (3, 75), (4, 163)])
def test_receptive_radius_is_the_support_of_the_gradient(levels, radius):
    assert receptive_radius(levels) == radius
    unet = small_unet(mults=(1,) * levels).double()
    for p in unet.parameters():  # one sign throughout: far paths cannot cancel, nor fade below float64
        p.data.abs_().add_(0.05)
    size = unet.size_multiple
    start = size * math.ceil((radius + size) / size)
    first, last = reach(unet, slice(start, start + size), length=2 * start + size)
    assert max(start - first, last - (start + size - 1)) == radius


def test_a_part_with_that_margin_is_exact():
    unet = small_unet(mults=(1, 2, 2)).double()
    size = unet.size_multiple
    halo = size * math.ceil(receptive_radius(3) / size)
    x_t, cond = torch.randn(1, 3, 320, 8).double(), torch.randn(1, 4, 320, 8).double()
    t = torch.tensor([42])
    inner = slice(halo + 8, halo + 8 + size)
    part = slice(inner.start - halo, inner.stop + halo)
    found = unet(x_t[:, :, part], t, cond[:, :, part])[:, :, halo : halo + size]
    torch.testing.assert_close(found, unet(x_t, t, cond)[:, :, inner], rtol=0, atol=1e-13)


# ---- devices' habits -------------------------------------------------------------------------------------


def test_channels_last_and_bfloat16_give_the_same_image():
    unet = small_unet(dim=16, mults=(1, 2, 3))
    x_t, t, cond = torch.randn(2, 3, 16, 16), torch.tensor([0, 99]), torch.randn(2, 16, 16, 16)
    y = unet(x_t, t, cond)
    unet.to(memory_format=torch.channels_last)
    last = unet(x_t.contiguous(memory_format=torch.channels_last), t, cond)
    torch.testing.assert_close(last, y, rtol=1e-4, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        half = unet(x_t, t, cond)
    assert (half.float() - y).abs().max() < 0.05 * y.abs().max()


@pytest.mark.slow  # torch.compile takes seconds to import
def test_the_denoiser_is_one_graph():
    """No Python-side surprise for torch.compile (traced here, run by the eager backend)."""
    unet = small_unet(mults=(1, 2, 3))
    x_t, t, cond = torch.randn(1, 3, 16, 16), torch.tensor([7]), torch.randn(1, 4, 16, 16)
    compiled = torch.compile(unet, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x_t, t, cond), unet(x_t, t, cond))
