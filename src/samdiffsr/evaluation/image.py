"""Metrics of one image: PSNR, SSIM, consistency with the LR image, the artifact map, LPIPS and MANIQA.

PSNR, SSIM, LPIPS and MANIQA are pyiqa's, called as the paper's released script calls it. pyiqa is imported
(seconds) only when one of its metrics is built. Networks are loaded from local files that were checked
before, never from a hub.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from samdiffsr.core.errors import UserError
from samdiffsr.data.weights import MissingWeights, WeightFile, verify
from samdiffsr.evaluation.artifact import artifact_excess, artifact_score
from samdiffsr.evaluation.protocol import Protocol

if TYPE_CHECKING:
    import torch

# metric -> keys of the weight files it needs (data/sources/weights.yaml)
METRICS: Mapping[str, tuple[str, ...]] = {
    "psnr_y": (),
    "ssim_y": (),
    "psnr_rgb": (),
    "lr_psnr": (),
    "artifact": (),
    "artifact_excess": (),
    "lpips": ("alexnet", "lpips_alex"),
    "maniqa_pipal": ("maniqa_pipal",),
    "maniqa_koniq": ("maniqa_koniq",),
}
WEIGHT_FREE = tuple(metric for metric, keys in METRICS.items() if not keys)

_EPS = 1e-8  # pyiqa's: identical images score 80 dB, not infinity


class ImageMetrics:
    """The metrics of one scoring job, built once and used for many images.

    Args:
        names: metrics wanted, keys of `METRICS`.
        weights: folder of the weight files; needed by metrics that have some.
        device: where networks run, e.g. "cpu", "cuda".
        table: the weight table to check files against; the packaged one if None.

    Raises, before anything is scored: UserError for an unknown name, MissingWeights for a file that is
        absent,
    WrongWeights for one that is not the pinned one. `weights_sha256` maps each weight key in use to its
    file's hash: write it beside the scores.
    """

    def __init__(
        self,
        names: Iterable[str],
        weights: str | Path | None = None,
        device: str = "cpu",
        table: Mapping[str, WeightFile] | None = None,
    ) -> None:
        self.names = tuple(dict.fromkeys(names))
        self.device = device
        self.weights_sha256: dict[str, str] = {}
        self._files: dict[str, Path] = {}
        self._built: dict[str, Any] = {}
        for name in self.names:
            if name not in METRICS:
                raise UserError(f"unknown image metric {name!r}; known are {', '.join(METRICS)}")
            for key in METRICS[name]:
                if weights is None:
                    raise MissingWeights(
                        f"metric {name!r} needs weights ({key}); say in which folder they are"
                    )
                if key not in self._files:
                    found = verify(key, weights, table)
                    self._files[key], self.weights_sha256[key] = found.path, found.sha256

    @classmethod
    def available(
        cls,
        names: Iterable[str],
        weights: str | Path | None = None,
        device: str = "cpu",
        table: Mapping[str, WeightFile] | None = None,
    ) -> tuple[ImageMetrics, dict[str, str]]:
        """Those of `names` whose weights are at hand, and metric -> one-line reason for each of the others.

        A wrong file (as opposed to a missing one) is an error here too.
        """
        usable, reasons = [], {}
        for name in dict.fromkeys(names):
            try:
                cls([name], weights, device, table)
            except MissingWeights as error:
                reasons[name] = str(error)
            else:
                usable.append(name)
        return cls(usable, weights, device, table), reasons

    def pyiqa(self, name: str, color: str = "ycbcr") -> Any:
        """The pyiqa metric behind `name` for one luma (`Protocol.color`), built at its first use."""
        key = f"{name}/{color}" if name in ("psnr_y", "ssim_y") else name
        if key not in self._built:
            self._built[key] = self._build(name, color)
        return self._built[key]

    def measure(self, name: str, *images: np.ndarray, color: str = "ycbcr") -> float:
        """`name` of images that a protocol has prepared: uint8 (H, W, 3), SR first."""
        return _value(self.pyiqa(name, color), *images)

    def _build(self, name: str, color: str) -> Any:
        if name == "psnr_y":
            # color_space is not optional: pyiqa's default is full-range yiq, 1.32 dB lower
            return _create("psnr", self.device, test_y_channel=True, color_space=color)
        if name == "ssim_y":
            metric = _create("ssim", self.device, color_space=color)
            import pyiqa.archs.ssim_arch

            pyiqa.archs.ssim_arch.filter2 = _by_axis
            return metric
        if name == "psnr_rgb":
            return _create("psnr", self.device, test_y_channel=False)
        if name == "lpips":
            return build_lpips(self._files["alexnet"], self._files["lpips_alex"], self.device)
        checkpoint = {"maniqa_koniq": "maniqa", "maniqa_pipal": "maniqa-pipal"}[name]
        return build_maniqa(checkpoint, self._files[name], self.device)


def score_image(
    sr: np.ndarray,
    hr: np.ndarray,
    lr: np.ndarray,
    scale: int,
    protocol: Protocol,
    metrics: ImageMetrics | Iterable[str],
    rounding: str = "end",
) -> dict[str, float]:
    """Score one restored image.

    Args:
        sr: uint8 (H, W, 3), the restored image.
        hr: uint8, the ground truth, (H, W, 3) after the protocol's crop.
        lr: uint8 (H/scale, W/scale, 3), the image SR was made from.
        scale: the SR factor.
        protocol: luma, border and crop. The border is removed for psnr_y, ssim_y and psnr_rgb only.
        metrics: an `ImageMetrics`; or names of weight-free metrics (built anew at each call: for one image).
        rounding: how LR was made from HR (`imresize`), so that lr_psnr repeats it.

    Returns name -> value:
        psnr_y, psnr_rgb: dB; 80.0 for identical images (pyiqa adds 1e-8 to the MSE on [0, 1]).
        ssim_y: 0..1; 11x11 Gaussian window, "valid", L = 255 on rounded Y; 11 pixels a side or more.
        lr_psnr: dB over RGB between SR brought down to LR's size (uint8) and LR: consistency; 80.0 is
            perfect.
        artifact: see `artifact.artifact_score`; artifact_excess: NaN for identical images.
        lpips: AlexNet, v0.1, 0 is best.
        maniqa_pipal, maniqa_koniq: about 0..1, higher is better, no reference. The checkpoint is part of the
            name because the two differ by 0.1 and more. Minutes per image on one CPU core.
    Raises UserError if the sizes do not fit each other.
    """
    if not isinstance(metrics, ImageMetrics):
        metrics = ImageMetrics(metrics)
    sr, hr = protocol.align(sr, hr)
    size = f"SR is {sr.shape[1]}x{sr.shape[0]}"
    if tuple(n * scale for n in lr.shape[:2]) != sr.shape[:2]:
        raise UserError(
            f"{size} and LR is {lr.shape[1]}x{lr.shape[0]}: not {scale} times "
            "larger; check that both belong to the same image and scale"
        )
    if "ssim_y" in metrics.names and min(sr.shape[:2]) - 2 * protocol.border < 11:
        raise UserError(f"{size}: SSIM's window needs 11 pixels a side inside the border")
    color = "yiq" if protocol.gray_full_range and _is_gray(hr) else protocol.color
    scores: dict[str, float] = {}
    for name in metrics.names:
        if name in ("psnr_y", "ssim_y", "psnr_rgb"):
            scores[name] = _value(metrics.pyiqa(name, color), *protocol.prepare(sr, hr))
        elif name == "lpips":
            scores[name] = _value(metrics.pyiqa(name), sr, hr)
        elif name.startswith("maniqa"):
            scores[name] = _value(metrics.pyiqa(name), sr)
        elif name == "lr_psnr":
            scores[name] = lr_psnr(sr, lr, scale, rounding)
        elif name == "artifact":
            scores[name] = artifact_score(sr, hr)
        elif name == "artifact_excess":
            artifact = scores["artifact"] if "artifact" in scores else artifact_score(sr, hr)
            scores[name] = artifact_excess(artifact, mse_rgb(sr, hr))
    return scores


def mse_rgb(a: np.ndarray, b: np.ndarray) -> float:
    """Mean squared error over pixels and channels on [0, 1]; a, b uint8 of equal shape."""
    return float(np.square(a.astype(np.int32) - b).mean(dtype=np.float64)) / 255**2


def lr_psnr(sr: np.ndarray, lr: np.ndarray, scale: int, rounding: str = "end") -> float:
    """Consistency with the input: PSNR (dB, RGB) between SR made small again (MATLAB bicubic, uint8) and LR.

    SRDiff's "LR-PSNR". Same epsilon as pyiqa's PSNR, so a perfect match is 80.0 dB.
    """
    from samdiffsr.data.resize import imresize

    small = imresize(sr, Fraction(1, scale), rounding=rounding)
    if small.shape != lr.shape:
        raise UserError(
            f"SR brought down by {scale} is {small.shape[:2]}, LR is {lr.shape[:2]}: not of one image"
        )
    return float(-10 * np.log10(mse_rgb(small, lr) + _EPS))


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
        metric = _create("lpips", device, pretrained=False)
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
        metric = _create(name, device, pretrained=False)
    _load_strictly(metric.net, _read_state(checkpoint), checkpoint)
    return metric


def _create(name: str, device: str, **options: Any) -> Any:
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


def _value(metric: Any, *images: np.ndarray) -> float:
    return float(metric(*(_tensor(image) for image in images)))


def _tensor(image: np.ndarray) -> torch.Tensor:
    """uint8 (H, W, 3) -> float32 (1, 3, H, W) in [0, 1]."""
    import torch

    return (
        torch.tensor(np.asarray(image)).permute(2, 0, 1)[None].float() / 255
    )  # a copy: stores are read-only


def _is_gray(image: np.ndarray) -> bool:
    return bool((image[..., 0] == image[..., 1]).all() and (image[..., 1] == image[..., 2]).all())
