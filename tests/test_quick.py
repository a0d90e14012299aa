"""The faster forms of the denoiser's parts give what torch's give."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from samdiffsr.models.mish import mish
from samdiffsr.models.quick import quicken
from samdiffsr.models.unet import DenoisingUNet


@pytest.mark.parametrize("shape", [(7,), (2, 16), (1, 3, 2, 5), (2, 40, 30, 256)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_mish_and_its_gradient_are_torchs(shape: tuple[int, ...], layout: torch.memory_format) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 10
    if len(shape) == 4:
        x = x.contiguous(memory_format=layout)
    ends = torch.tensor([-1e30, -200.0, -20.0, 0.0, 20.0, 200.0, 1e30])
    for values in (x, ends):
        plain, quick = (values.clone(memory_format=torch.preserve_format).requires_grad_() for _ in range(2))
        y, found = F.mish(plain), mish(quick)
        upstream = torch.randn_like(y)
        (expected,) = torch.autograd.grad(y, plain, upstream)
        (gradient,) = torch.autograd.grad(found, quick, upstream)
        torch.testing.assert_close(found, y, rtol=1e-6, atol=4e-6)
        torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(mish(values), F.mish(values), rtol=1e-6, atol=4e-6)
        assert found.stride() == gradient.stride() == values.stride()


def test_mish_of_every_bf16_number_is_torchs() -> None:
    x = torch.arange(1 << 16, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)
    plain, quick = (x.clone().requires_grad_() for _ in range(2))
    torch.testing.assert_close(mish(quick), F.mish(plain), rtol=0, atol=0, equal_nan=True)
    (expected,) = torch.autograd.grad(F.mish(plain).sum(), plain)
    (gradient,) = torch.autograd.grad(mish(quick).sum(), quick)
    torch.testing.assert_close(gradient, expected, rtol=2**-7, atol=0, equal_nan=True)


def test_mish_takes_what_is_not_dense() -> None:
    x = torch.randn(4, 6, 8)[:, ::2, 1:]
    torch.testing.assert_close(mish(x), F.mish(x), rtol=1e-6, atol=4e-6)
    assert mish(x.double()).dtype == torch.float64


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
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        quick = unet(x_t, torch.tensor([40]), cond)
    error = (quick.float() - plain).abs().max()
    assert error < (0.05 if bf16 else 1e-5) * plain.abs().max()
    if not bf16:
        assert (other - plain).abs().max() > 100 * error  # t matters
