"""pyiqa's metrics: PSNR, SSIM, LPIPS and MANIQA, called as the paper's released script calls them.

Of pyiqa only what a metric needs is imported, and only when it is built. Networks are loaded from local files
that were checked before, never from a hub.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from samdiffsr.core import compat
from samdiffsr.core.errors import UserError

if TYPE_CHECKING:
    import torch


Measure = Callable[..., Any]  # one image or two, float (1, 3, H, W) in [0, 1] -> a tensor of one value


def build_psnr(device: str, color: str | None) -> Measure:
    """pyiqa's PSNR on one luma ("ycbcr", "yiq"), or over RGB if `color` is None."""
    psnr = compat.pyiqa_arch("psnr_arch").PSNR
    if color is None:
        return _on(device, psnr(test_y_channel=False))
    # color_space is not optional: pyiqa's default is full-range yiq, 1.32 dB lower
    return _on(device, psnr(test_y_channel=True, color_space=color))


def build_ssim(device: str, color: str) -> Measure:
    """pyiqa's SSIM on one luma."""
    arch = compat.pyiqa_arch("ssim_arch")
    compat.filter_by_axis(arch)
    return _on(device, arch.SSIM(color_space=color))


def _on(device: str, metric: Measure) -> Measure:
    """The metric of images on any device, computed on this one."""
    return lambda *images: metric(*(image.to(_device(device)) for image in images))


def build_lpips(alexnet: Path, heads: Path, device: str = "cpu") -> Any:
    """pyiqa's LPIPS (AlexNet, v0.1) from two local files.

    Args:
        alexnet: torchvision's AlexNet state dict.
        heads: the linear heads (`lin0.model.1.weight` .. `lin4.model.1.weight`).

    pyiqa loads the heads with strict=False and would keep random ones if the file held something else; here
    every tensor must arrive. Raises UserError naming the file that does not fit.
    """
    import torchvision

    backbone = torchvision.models.alexnet(weights=None)
    _load_strictly(backbone, _read_state(alexnet), alexnet)

    with compat.given_alexnet(backbone):
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

    Raises UserError if the checkpoint does not fit.
    """
    with compat.random_vit():
        metric = create(name, device, pretrained=False)
    _load_strictly(metric.net, _read_state(checkpoint), checkpoint)
    return metric


def build_named(name: str, files: Mapping[str, Path], device: str = "cpu", **options: Any) -> Any:
    """Any metric of pyiqa, from local files alone.

    Args:
        files: checked weight files, by the names that pyiqa, torchvision or CLIP give them.
        options: of pyiqa's metric.

    Raises UserError naming the file that it needs beside them, or what pyiqa has against the options.
    """
    try:
        with compat.only_files(files):
            metric = create(name, device, **options)
    except Exception as error:  # pyiqa asserts, and raises what its files raise
        raise UserError(f"pyiqa's {name} cannot be built: {_line(error)}") from error
    if blank := [key for key, tensor in metric.state_dict().items() if tensor.isnan().any()]:
        raise UserError(
            f"pyiqa's {name} cannot be built: it takes a network of timm's whose weights no file under "
            f"`weights` holds ({blank[0]})"
        )
    return metric


def judge(name: str, metric: Any, *images: np.ndarray) -> float:
    """`value`, in whose errors `name` is named: an image may be too small for a metric."""
    try:
        return value(metric, *images)
    except Exception as error:
        raise UserError(f"pyiqa's {name} fails: {_line(error)}") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def create(name: str, device: str, **options: Any) -> Any:
    with compat.offline():
        from pyiqa import create_metric

        return create_metric(name, device=_device(device), **options)


def _device(device: str) -> torch.device:
    import torch

    return torch.device(device)


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
