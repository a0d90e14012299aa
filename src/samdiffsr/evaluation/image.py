"""Metrics of one image: PSNR, SSIM, consistency with the LR image, the artifact map, LPIPS and MANIQA.

Each metric of images in the registry (`evaluation.metrics`) is a function here of a `Pair` and of the job's
`ImageMetrics`, which holds checked weight files and networks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from samdiffsr.core.errors import UserError
from samdiffsr.data import catalogue
from samdiffsr.data.catalogue import WeightFile
from samdiffsr.data.resize import Rounding
from samdiffsr.data.weights import MissingWeights, verify
from samdiffsr.evaluation import artifact as ldl
from samdiffsr.evaluation import networks
from samdiffsr.evaluation.metrics import METRICS, ImageMetric, NamedMetric, known
from samdiffsr.evaluation.protocol import Protocol
from samdiffsr.evaluation.scores import NO_TRUTH

SSIM_WINDOW = 11
_EPS = 1e-8  # pyiqa's: identical images score 80 dB, not infinity


@dataclass(frozen=True)
class Pair:
    """A restored image on its truth.

    Args:
        sr, hr: uint8 (H, W, 3) of equal shape, HR cropped by the protocol; None where there is no truth, for
            metrics that do without.
        protocol: luma and border.
        lr: uint8 (H/scale, W/scale, 3), the image SR was made from; None if no metric asks for it.
        rounding: how LR was made from HR (`imresize`), so that lr_psnr repeats it.
    """

    sr: np.ndarray
    hr: np.ndarray | None
    protocol: Protocol
    lr: np.ndarray | None = None
    scale: int = 1
    rounding: Rounding = "end"

    @property
    def truth(self) -> np.ndarray:
        """HR, which metrics that compare with it are given always."""
        assert self.hr is not None
        return self.hr

    @cached_property
    def color(self) -> str:
        """The luma of this pair: gray images may have their own (`Protocol.gray_full_range`)."""
        return "yiq" if self.protocol.gray_full_range and _is_gray(self.truth) else self.protocol.color

    @cached_property
    def inner(self) -> tuple[np.ndarray, np.ndarray]:
        """Both images without the protocol's border."""
        return self.protocol.inside(self.sr, self.truth)

    @cached_property
    def artifact(self) -> float:
        """`artifact.artifact_score`, computed once for the two metrics that use it."""
        return ldl.artifact_score(self.sr, self.truth)


class ImageMetrics:
    """The metrics of one scoring job, built once and used for many images.

    Args:
        names: metrics wanted, metrics of images in `METRICS`.
        weights: folder of the weight files; needed by metrics that have some.
        device: where networks run, e.g. "cpu", "cuda".
        table: the weight table to check files against; the packaged one if None.

    Raises, before anything is scored: UserError for an unknown name, MissingWeights for a file that is
    absent, WrongWeights for one that is not the pinned one.
    """

    def __init__(
        self,
        names: Iterable[str],
        weights: str | Path | None = None,
        device: str = "cpu",
        table: Mapping[str, WeightFile] | None = None,
    ) -> None:
        self.names = tuple(dict.fromkeys(names))
        self.table = catalogue.weights() if table is None else table
        self.device = device
        self.files: dict[str, Path] = {}
        self._built: dict[str, Any] = {}
        for name in self.names:
            try:
                known(name, ImageMetric)
            except ValueError as error:
                raise UserError(f"metric of images {error}") from None
            for key in METRICS[name].weights:
                if weights is None:
                    raise MissingWeights(
                        f"metric {name!r} needs weights ({key}); say in which folder they are"
                    )
                if key not in self.files:
                    self.files[key] = verify(key, weights, self.table).path

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

    def once(self, key: str, build: Callable[[], Any]) -> Any:
        """What `build` makes, built at the first use of `key` and kept for the job."""
        if key not in self._built:
            self._built[key] = build()
        return self._built[key]

    def measure(self, name: str, pair: Pair) -> float:
        """One metric of one pair."""
        return METRICS[name].function(pair, self)


def score_image(
    sr: np.ndarray,
    hr: np.ndarray | None,
    lr: np.ndarray,
    scale: int,
    protocol: Protocol,
    metrics: ImageMetrics | Iterable[str],
    rounding: Rounding | None = "end",
) -> dict[str, float]:
    """Score one restored image: metric -> value, as the functions below define it.

    Args:
        sr: uint8 (H, W, 3), the restored image.
        hr: uint8, the ground truth, (H, W, 3) after the protocol's crop; None: there is none, and the
            metrics that need it are left out.
        lr: uint8 (H/scale, W/scale, 3), the image SR was made from.
        scale: the SR factor.
        protocol: luma, border and crop. The border is removed for psnr_y, ssim_y and psnr_rgb only.
        metrics: an `ImageMetrics`; or names of weight-free metrics (built anew at each call: for one image).
        rounding: how LR was made from HR (`imresize`), so that lr_psnr repeats it; None: in another way, and
            lr_psnr is left out.

    Raises UserError if the sizes do not fit each other.
    """
    if not isinstance(metrics, ImageMetrics):
        metrics = ImageMetrics(metrics)
    if hr is not None:
        sr, hr = protocol.align(sr, hr)
    if tuple(n * scale for n in lr.shape[:2]) != sr.shape[:2]:
        raise UserError(
            f"{_size(sr)} and LR is {lr.shape[1]}x{lr.shape[0]}: not {scale} times "
            "larger; check that both belong to the same image and scale"
        )
    pair = Pair(sr, hr, protocol, lr, scale, rounding or "end")
    left_out = unfit(metrics.names, hr is not None, rounding is not None)
    return {name: metrics.measure(name, pair) for name in metrics.names if name not in left_out}


def unfit(names: Iterable[str], truth: bool, bicubic: bool) -> dict[str, str]:
    """Those of these metrics that say nothing of an image, and why.

    truth: whether its truth is known. bicubic: whether its LR image was made by MATLAB's bicubic.
    """
    found = {}
    for name in names:
        metric = METRICS[name]
        assert isinstance(metric, ImageMetric)
        if metric.truth and not truth:
            found[name] = NO_TRUTH
        elif metric.bicubic and not bicubic:
            found[name] = "the LR image was not made by MATLAB's bicubic"
    return found


# ---- the metrics ----


def psnr_y(pair: Pair, metrics: ImageMetrics) -> float:
    """PSNR of the luma in dB; 80.0 for identical images (pyiqa adds 1e-8 to the MSE on [0, 1])."""
    color = pair.color
    metric = metrics.once(f"psnr_y {color}", lambda: networks.build_psnr(metrics.device, color))
    return networks.value(metric, *pair.inner)


def ssim_y(pair: Pair, metrics: ImageMetrics) -> float:
    """SSIM of the rounded luma, 0..1: 11x11 Gaussian window, "valid", L = 255.

    Raises UserError for fewer than 11 pixels a side.
    """
    if min(pair.inner[0].shape[:2]) < SSIM_WINDOW:
        raise UserError(f"{_size(pair.sr)}: SSIM's window needs 11 pixels a side inside the border")
    color = pair.color
    metric = metrics.once(f"ssim_y {color}", lambda: networks.build_ssim(metrics.device, color))
    return networks.value(metric, *pair.inner)


def psnr_rgb(pair: Pair, metrics: ImageMetrics) -> float:
    """PSNR over RGB in dB."""
    metric = metrics.once("psnr_rgb", lambda: networks.build_psnr(metrics.device, None))
    return networks.value(metric, *pair.inner)


def consistency(pair: Pair, metrics: ImageMetrics) -> float:
    """`lr_psnr` of the pair; 80.0 is perfect."""
    if pair.lr is None:
        raise UserError("consistency with the LR image: there is no LR image")
    return lr_psnr(pair.sr, pair.lr, pair.scale, pair.rounding)


def artifact(pair: Pair, metrics: ImageMetrics) -> float:
    """`artifact.artifact_score`."""
    return pair.artifact


def artifact_excess(pair: Pair, metrics: ImageMetrics) -> float:
    """`artifact.artifact_excess`: NaN for identical images."""
    return ldl.artifact_excess(pair.artifact, mse_rgb(pair.sr, pair.truth))


def lpips(pair: Pair, metrics: ImageMetrics) -> float:
    """LPIPS with AlexNet, v0.1; 0 is best."""
    files = metrics.files
    metric = metrics.once(
        "lpips", lambda: networks.build_lpips(files["alexnet"], files["lpips_alex"], metrics.device)
    )
    return networks.value(metric, pair.sr, pair.truth)


def maniqa_pipal(pair: Pair, metrics: ImageMetrics) -> float:
    """MANIQA of the NTIRE 2022 model: about 0..1, more is better, no reference; minutes an image on a CPU.

    The checkpoint is part of the name because the two differ by 0.1 and more.
    """
    return _maniqa("maniqa-pipal", "maniqa_pipal", pair, metrics)


def maniqa_koniq(pair: Pair, metrics: ImageMetrics) -> float:
    """MANIQA of pyiqa's default model, trained on KonIQ-10k; as `maniqa_pipal` otherwise."""
    return _maniqa("maniqa", "maniqa_koniq", pair, metrics)


def _maniqa(name: str, key: str, pair: Pair, metrics: ImageMetrics) -> float:
    metric = metrics.once(key, lambda: networks.build_maniqa(name, metrics.files[key], metrics.device))
    return networks.value(metric, pair.sr)


def named(pair: Pair, metrics: ImageMetrics, metric: NamedMetric) -> float:
    """A metric of pyiqa that the configuration defines, of whole images in RGB; the border stays."""
    built = metrics.once(metric.identity, lambda: build_named(metric, metrics))
    return networks.judge(metric.pyiqa, built, *((pair.sr, pair.hr) if metric.truth else (pair.sr,)))


def build_named(metric: NamedMetric, metrics: ImageMetrics) -> Any:
    """pyiqa's metric from the files that its definition lists; UserError naming one that it needs besides."""
    files = {metrics.table[key].file: metrics.files[key] for key in metric.weights}
    return networks.build_named(metric.pyiqa, files, metrics.device, **dict(metric.options))


def mse_rgb(a: np.ndarray, b: np.ndarray) -> float:
    """Mean squared error over pixels and channels on [0, 1]; a, b uint8 of equal shape."""
    return float(np.square(a.astype(np.int32) - b).mean(dtype=np.float64)) / 255**2


def lr_psnr(sr: np.ndarray, lr: np.ndarray, scale: int, rounding: Rounding = "end") -> float:
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


def _size(sr: np.ndarray) -> str:
    return f"SR is {sr.shape[1]}x{sr.shape[0]}"


def _is_gray(image: np.ndarray) -> bool:
    return bool((image[..., 0] == image[..., 1]).all() and (image[..., 1] == image[..., 2]).all())
