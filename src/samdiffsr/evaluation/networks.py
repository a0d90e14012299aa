"""pyiqa's metrics: PSNR, SSIM, LPIPS and MANIQA, called as the paper's released script calls them.

pyiqa is imported (seconds) only when one of its metrics is built. Networks are loaded from local files that
were checked before, never from a hub.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from samdiffsr.core.errors import UserError

if TYPE_CHECKING:
    import torch


def build_psnr(device: str, color: str | None) -> Any:
    """pyiqa's PSNR on one luma ("ycbcr", "yiq"), or over RGB if `color` is None."""
    if color is None:
        return create("psnr", device, test_y_channel=False)
    # color_space is not optional: pyiqa's default is full-range yiq, 1.32 dB lower
    return create("psnr", device, test_y_channel=True, color_space=color)


def build_ssim(device: str, color: str) -> Any:
    """pyiqa's SSIM on one luma."""
    metric = create("ssim", device, color_space=color)
    import pyiqa.archs.ssim_arch

    pyiqa.archs.ssim_arch.filter2 = _by_axis
    return metric


def build_lpips(alexnet: Path, heads: Path, device: str = "cpu") -> Any:
    """pyiqa's LPIPS (AlexNet, v0.1) from two local files.

    Args:
        alexnet: torchvision's AlexNet state dict.
        heads: the linear heads (`lin0.model.1.weight` .. `lin4.model.1.weight`).

    pyiqa loads the heads with strict=False and would keep random ones if the file held something else; here
    every tensor must arrive. Raises UserError naming the file that does not fit.
    """
    from unittest import mock

    import torchvision

    backbone = torchvision.models.alexnet(weights=None)
    _load_strictly(backbone, _read_state(alexnet), alexnet)

    with mock.patch("torchvision.models.alexnet", return_value=backbone):
        metric = create("lpips", device, pretrained=False)
    expected = {
        name for name in metric.net.state_dict() if name.startswith("lin") and not name.startswith("lins.")
    }
    state = _read_state(heads)
    if set(state) != expected:
        raise UserError(f"{heads}: does not hold LPIPS heads (its keys differ); delete it and fetch it again")
    try:
        metric.net.load_state_dict(state, strict=False)  # strict for the heads by the line above
    except RuntimeError:
        raise UserError(
            f"{heads}: LPIPS heads of another network (shapes differ); fetch the AlexNet ones"
        ) from None
    return metric


def build_maniqa(name: str, checkpoint: Path, device: str = "cpu") -> Any:
    """pyiqa's MANIQA from a local checkpoint, which holds the whole ViT.

    Args:
        name: "maniqa-pipal" (the NTIRE 2022 model) or "maniqa" (pyiqa's default, KonIQ-10k).

    MANIQA always asks timm for a pretrained ViT only to overwrite it: while it is built, timm is told not
        to. Raises UserError if the
    checkpoint does not fit.
    """
    from unittest import mock

    import timm

    create_model = timm.create_model

    def random_vit(architecture: str, pretrained: bool = True, **kwargs: Any) -> Any:
        return create_model(architecture, pretrained=False, **kwargs)

    with mock.patch("timm.create_model", random_vit):
        metric = create(name, device, pretrained=False)
    _load_strictly(metric.net, _read_state(checkpoint), checkpoint)
    return metric


def create(name: str, device: str, **options: Any) -> Any:
    with _offline():
        from pyiqa import create_metric

        return create_metric(name, device=_device(device), **options)


def _by_axis(image: torch.Tensor, window: torch.Tensor, shape: str) -> torch.Tensor:
    """pyiqa's `filter2` for SSIM's Gaussian window, an axis at a time: the same but for rounding.

    Torch convolves float64 on the CPU so slowly that SSIM took most of the time of scoring.
    """
    if shape != "valid":
        raise ValueError(f"SSIM filters 'valid', not {shape!r}")
    gauss = window[0, 0].sum(0).tolist()
    for dim in (2, 3):
        kept = image.shape[dim] - len(gauss) + 1
        image = sum(weight * image.narrow(dim, i, kept) for i, weight in enumerate(gauss))
    return image


def _device(device: str) -> torch.device:
    import torch

    return torch.device(device)


@contextmanager
def _offline() -> Iterator[None]:
    """Turn any attempt to download while a metric is built into an error."""
    from unittest import mock

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise UserError(
            "a metric tried to reach the network for weights; install the pinned versions of pyiqa and timm"
        )

    # Looked up at each call by every HTTP client; patching a download function instead would stay behind in
    # modules that import it by name in the meantime
    with mock.patch("socket.getaddrinfo", refuse):
        yield


def _read_state(path: Path) -> dict[str, torch.Tensor]:
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(
            f"{path}: cannot be read as weights ({type(error).__name__}); fetch it again"
        ) from error
    if not isinstance(state, dict):
        raise UserError(f"{path}: holds no state dict but a {type(state).__name__}; fetch it again")
    return state


def _load_strictly(net: torch.nn.Module, state: dict[str, torch.Tensor], path: Path) -> None:
    try:
        net.load_state_dict(state, strict=True)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise UserError(f"{path}: does not fit {type(net).__name__} ({first[:120]})") from None


def value(metric: Any, *images: np.ndarray) -> float:
    return float(metric(*(tensor(image) for image in images)))


def tensor(image: np.ndarray) -> torch.Tensor:
    """uint8 (H, W, 3) -> float32 (1, 3, H, W) in [0, 1]."""
    import torch

    return (
        torch.tensor(np.asarray(image)).permute(2, 0, 1)[None].float() / 255
    )  # a copy: stores are read-only
