"""Reflection padding by slices: torch's numbers, the map's own layout, and the right gradient."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from samdiffsr.models.reflect import by_slices, reflected


@pytest.mark.parametrize("size", [(2, 2), (2, 5), (7, 3)])
@pytest.mark.parametrize("rows", [(1, 1), (0, 1), (1, 0), (0, 0)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_slices_pad_as_torch_does_and_keep_the_layout(
    size: tuple[int, int], rows: tuple[int, int], layout: torch.memory_format
) -> None:
    x = torch.randn(2, 3, *size).to(memory_format=layout)
    expected = F.pad(x, (1, 1, *rows), mode="reflect")
    for form in (by_slices, reflected):
        assert torch.equal(form(x, *rows), expected)
    assert by_slices(x, *rows).is_contiguous(memory_format=layout)
    assert by_slices(x.bfloat16(), *rows).dtype == torch.bfloat16


def test_the_gradient_of_the_slices_is_that_of_the_padding() -> None:
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(by_slices, (x,))
    weight = torch.randn(2, 3, 6, 7, dtype=torch.float64)
    (mine,) = torch.autograd.grad((by_slices(x) * weight).sum(), x)
    (torchs,) = torch.autograd.grad((F.pad(x, (1, 1, 1, 1), mode="reflect") * weight).sum(), x)
    assert torch.allclose(mine, torchs, rtol=1e-15, atol=1e-15)
