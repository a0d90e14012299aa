"""The faster forms of the denoiser's parts give what torch's give."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from samdiffsr.models.quick import BAND, QuickMish, quick_mish, quicken
from samdiffsr.models.unet import DenoisingUNet


@pytest.mark.parametrize("shape", [(7,), (2, 16), (1, 3, 2, 5), (2, 40, 30, BAND // 256)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_mish(shape: tuple[int, ...], layout: torch.memory_format) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 10
    if len(shape) == 4:
        x = x.contiguous(memory_format=layout)
    with QuickMish():
        y = F.mish(x)
    torch.testing.assert_close(y, F.mish(x), rtol=1e-6, atol=3e-6)
    assert torch.equal(y, quick_mish(x))
    assert not torch.equal(y, F.mish(x)) or x.numel() < 100  # it is another formula
    assert y.stride() == x.stride()


def test_mish_at_the_ends_of_the_range() -> None:
    x = torch.tensor([-1e30, -200.0, -20.0, 0.0, 20.0, 200.0, 1e30])
    torch.testing.assert_close(quick_mish(x), F.mish(x), rtol=1e-6, atol=2e-6 * 20)
    half = x.bfloat16()
    assert quick_mish(half).dtype == torch.bfloat16


@pytest.mark.parametrize("bf16", [False, True])
def test_a_quick_denoiser_is_the_denoiser(bf16: bool) -> None:
    torch.manual_seed(0)
    unet = DenoisingUNet(dim=8, mults=(1, 2, 3), cond_channels=4, scale=2).eval().requires_grad_(False)
    for p in unet.parameters():
        p.mul_(2)
    x_t, cond = torch.randn(1, 3, 24, 32), torch.randn(1, 8, 24, 32)
    plain = unet(x_t, torch.tensor([40]), cond)
    other = unet(x_t, torch.tensor([41]), cond)
    quicken(unet)
    with QuickMish(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        quick = unet(x_t, torch.tensor([40]), cond)
    error = (quick.float() - plain).abs().max()
    assert error < (0.05 if bf16 else 1e-5) * plain.abs().max()
    if not bf16:
        assert (other - plain).abs().max() > 100 * error  # t matters
