"""The registry of metrics: what each is called, how it is shown and compared, where its code is.

One entry here and one function make a metric: the schema, the scoring stages, tables, differences, figures
and the workflow read the entry. Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from samdiffsr.core.registry import Registry, load, module_of, similar


@dataclass(frozen=True)
class Metric:
    """One metric. `value * factor` is shown with `decimals` decimals in `unit`.

    Args:
        label: what it is called in tables, without the unit.
        code: "module:function"; the kinds below say what the function takes and returns.
        better: +1 if more is better, -1 if less is, 0 if neither.
        ratio: compare two methods by the ratio of their means, because the scale means nothing.
        published: its column in paper/published_tables.csv; empty if the paper does not print it.
        weights: keys of the weight files that it needs (data/sources/weights.yaml).
        digits: decimals in the score files.
    """

    label: str
    code: str
    decimals: int
    better: Literal[-1, 0, 1]
    unit: str = ""
    factor: float = 1.0
    ratio: bool = False
    published: str = ""
    weights: tuple[str, ...] = ()
    digits: int = 6

    @property
    def heading(self) -> str:
        """Label and unit, as a table's column is headed."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    @property
    def module(self) -> str:
        """The module that holds the function."""
        return module_of(self.code)

    @property
    def function(self) -> Callable[..., Any]:
        """The function, its module imported."""
        return load(self.code)

    @property
    def identity(self) -> str:
        """What decides its values, beside the code of the function."""
        return f"{self.code} {' '.join(self.weights)} {self.digits}"


@dataclass(frozen=True)
class ImageMetric(Metric):
    """A metric of one image: function(pair: image.Pair, metrics: image.ImageMetrics) -> float.

    truth: whether it compares with the ground truth; the others do without.
    least: pixels a side that it needs.
    bordered: whether it leaves out the protocol's border (`Pair.inner`); the others see the whole image.
    bicubic: whether it says something only of LR images that MATLAB's bicubic made.
    """

    truth: bool = True
    least: int = 1
    bordered: bool = False
    bicubic: bool = False


@dataclass(frozen=True)
class NamedMetric(ImageMetric):
    """A metric of pyiqa that a configuration defines (`evaluation.named`).

    pyiqa: its name there. options: what is handed to it.
    """

    pyiqa: str = ""
    options: tuple[tuple[str, Any], ...] = ()

    @property
    def function(self) -> Callable[..., Any]:
        return partial(load(self.code), metric=self)

    @property
    def identity(self) -> str:
        return f"{super().identity} {self.pyiqa} {self.options}"


@dataclass(frozen=True)
class SamplesMetric(Metric):
    """A metric of several images drawn of one LR image: function(drawn: samples.Drawn) -> float."""


@dataclass(frozen=True)
class SetMetric(Metric):
    """A metric of a set of images: function(sr, hr: features.Features) -> (value, its sd or None).

    extractor: how images are brought to Inception's size (`features.EXTRACTORS`).
    """

    extractor: str = "clean"

    @property
    def identity(self) -> str:
        return f"{super().identity} {self.extractor}"


@dataclass(frozen=True)
class CostMetric(Metric):
    """What a run costs: function(records: cost.Records) -> cost.Cost.

    machine: the value is the machine's too, so methods are not ranked by it: "time" or "memory".
    """

    machine: Literal["", "time", "memory"] = ""


_IMAGE, _SAMPLES, _SET, _COST = (
    f"samdiffsr.evaluation.{room}" for room in ("image", "samples", "set", "cost")
)

_ENTRIES: dict[str, Metric] = {
    "psnr_y": ImageMetric("PSNR-Y", f"{_IMAGE}:psnr_y", 2, +1, "dB", published="psnr", bordered=True),
    "ssim_y": ImageMetric("SSIM-Y", f"{_IMAGE}:ssim_y", 4, +1, published="ssim", least=11, bordered=True),
    "psnr_rgb": ImageMetric("PSNR-RGB", f"{_IMAGE}:psnr_rgb", 2, +1, "dB", bordered=True),
    "lr_psnr": ImageMetric("LR-PSNR", f"{_IMAGE}:consistency", 2, +1, "dB", truth=False, bicubic=True),
    # the paper does not say which of the two it used
    "maniqa_pipal": ImageMetric(
        "MANIQA (PIPAL)", f"{_IMAGE}:maniqa_pipal", 4, +1, published="maniqa", weights=("maniqa_pipal",),
        truth=False,
    ),
    "maniqa_koniq": ImageMetric(
        "MANIQA (KonIQ)", f"{_IMAGE}:maniqa_koniq", 4, +1, published="maniqa", weights=("maniqa_koniq",),
        truth=False,
    ),
    "lpips": ImageMetric("LPIPS", f"{_IMAGE}:lpips", 4, -1, weights=("alexnet", "lpips_alex"), least=31),
    "artifact": ImageMetric(
        "Artifact", f"{_IMAGE}:artifact", 4, -1, ratio=True, published="artifact", least=4
    ),
    "artifact_excess": ImageMetric("Artifact excess", f"{_IMAGE}:artifact_excess", 1, -1, least=4),
    "sample_error": SamplesMetric("Error of a sample", f"{_SAMPLES}:sample_error", 2, -1, "grey levels^2"),
    "mean_error": SamplesMetric("Error of the mean", f"{_SAMPLES}:mean_error", 2, -1, "grey levels^2"),
    "sample_variance": SamplesMetric(
        "Variance of a sample", f"{_SAMPLES}:sample_variance", 2, 0, "grey levels^2"
    ),
    "mean_psnr": SamplesMetric("PSNR-Y of the mean", f"{_SAMPLES}:mean_psnr", 2, +1, "dB"),
    "sample_psnr_sd": SamplesMetric("PSNR-Y, sd over samples", f"{_SAMPLES}:sample_psnr_sd", 3, 0, "dB"),
    "sample_excess": SamplesMetric("Artifact excess of a sample", f"{_SAMPLES}:sample_excess", 1, -1),
    "mean_excess": SamplesMetric("Artifact excess of the mean", f"{_SAMPLES}:mean_excess", 1, -1),
    "fid_clean": SetMetric("FID (clean)", f"{_SET}:fid", 4, -1, published="fid", weights=("inception",)),
    "fid_tf": SetMetric("FID (TF)", f"{_SET}:fid", 4, -1, weights=("inception",), extractor="tf"),
    "fid_patch299": SetMetric(
        "FID (patches)", f"{_SET}:fid", 4, -1, weights=("inception",), extractor="patch299"
    ),
    "kid_clean": SetMetric(
        "KID x 1000 (clean)", f"{_SET}:kid", 4, -1, factor=1e3, weights=("inception",), digits=8
    ),
    "parameters": CostMetric(
        "Parameters", f"{_COST}:parameters", 2, -1, "M", factor=1e-6, published="parameters"
    ),
    "encoder_parameters": CostMetric(
        "Encoder parameters", f"{_COST}:encoder_parameters", 2, -1, "M", factor=1e-6
    ),
    "train_seconds": CostMetric(
        "Training", f"{_COST}:train_seconds", 2, -1, "h per 100 k steps", factor=1 / 3600,
        published="train_seconds_per_100k_steps", machine="time",
    ),
    "train_memory": CostMetric(
        "Training memory", f"{_COST}:train_memory", 2, -1, "GB", factor=1e-9, machine="memory"
    ),
    "image_seconds": CostMetric(
        "Inference", f"{_COST}:image_seconds", 2, -1, "s per image",
        published="inference_seconds_per_image", machine="time",
    ),
    "image_memory": CostMetric(
        "Inference memory", f"{_COST}:image_memory", 2, -1, "GB", factor=1e-9, machine="memory"
    ),
}  # fmt: skip
METRICS: Registry[Metric] = Registry("metric", _ENTRIES)


def of_kind(names: Iterable[str], kind: type[Metric]) -> list[str]:
    """Those of `names` that are metrics of this kind, sorted, each once."""
    return sorted({name for name in names if isinstance(METRICS[name], kind)})


def known(name: str, kind: type[Metric]) -> str:
    """`name`, if it is a metric of this kind; else ValueError lists those that are."""
    names = of_kind(METRICS, kind)
    if name not in names:
        raise ValueError(f"{name!r} is none of {', '.join(names)}{similar(name, names)}")
    return name


def weight_keys(names: Iterable[str]) -> list[str]:
    """Keys of the weight files that these metrics need, sorted."""
    return sorted({key for name in names for key in METRICS[name].weights})
