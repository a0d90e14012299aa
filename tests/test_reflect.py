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


@pytest.mark.parametrize("size", [(2, 2), (4, 5)])
@pytest.mark.parametrize("rows", [(1, 1), (0, 1), (1, 0), (0, 0)])
def test_the_gradient_of_the_slices_is_that_of_the_padding(
    size: tuple[int, int], rows: tuple[int, int]
) -> None:
    x = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: by_slices(x, *rows), (x,))
    padded = F.pad(x, (1, 1, *rows), mode="reflect")
    weight = torch.randn_like(padded)
    (mine,) = torch.autograd.grad((by_slices(x, *rows) * weight).sum(), x)
    (torchs,) = torch.autograd.grad((padded * weight).sum(), x)
    assert torch.allclose(mine, torchs, rtol=1e-15, atol=1e-15)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_gradient_has_the_layout_of_the_map(layout: torch.memory_format) -> None:
    x = torch.randn(2, 3, 4, 5).to(memory_format=layout).requires_grad_()
    y = by_slices(x)
    (gradient,) = torch.autograd.grad(y, x, torch.randn(y.shape).to(memory_format=layout))
    assert gradient.is_contiguous(memory_format=layout)


def test_the_slices_can_be_compiled_as_one_graph_with_their_gradient() -> None:
    x = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last).requires_grad_()
    compiled = torch.compile(by_slices, fullgraph=True, dynamic=False, backend="aot_eager")
    weight = torch.randn(2, 3, 6, 7)
    (expected,) = torch.autograd.grad((by_slices(x) * weight).sum(), x)
    (found,) = torch.autograd.grad((compiled(x) * weight).sum(), x)
    assert torch.equal(compiled(x), by_slices(x))
    assert torch.equal(found, expected)
