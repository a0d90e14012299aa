"""What precision means on which device."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from samdiffsr.core.device import resolve_precision, set_precision
from samdiffsr.core.errors import UserError


@pytest.fixture
def _exact_again() -> Iterator[None]:
    yield
    set_precision("float32")


@pytest.mark.usefixtures("_exact_again")
def test_float32_is_exact_on_a_gpu_unless_tf32_is_asked_for() -> None:
    """Torch's own default is tf32 in convolutions."""
    for precision, kind, rounded in (
        ("tf32", "high", True),
        ("float32", "highest", False),
        ("bf16", "highest", False),
    ):
        set_precision(precision)
        assert torch.get_float32_matmul_precision() == kind
        assert torch.backends.cudnn.allow_tf32 is rounded


def test_tf32_on_the_cpu_is_refused() -> None:
    with pytest.raises(UserError, match="tf32 is for GPUs"):
        resolve_precision("tf32", torch.device("cpu"))
