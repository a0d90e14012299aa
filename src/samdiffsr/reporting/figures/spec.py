"""What config.yaml may say of each kind of figure."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, get_args

from pydantic import AfterValidator, Field

from samdiffsr.core.recipe import Name, NotNegative, Positive, Scale, Strict
from samdiffsr.diffusion.registry import FORMULATIONS
from samdiffsr.evaluation.metrics import METRICS, ImageMetric, known

MetricName = Annotated[str, AfterValidator(METRICS.known)]


def _modulating(name: str) -> str:
    if FORMULATIONS[FORMULATIONS.known(name)].e_sam != "noise":
        raise ValueError(f"formulation {name!r} modulates no noise")
    return name


Modulating = Annotated[str, AfterValidator(_modulating)]
MetricOfImages = Annotated[str, AfterValidator(lambda name: known(name, ImageMetric))]
Quality = Literal[
    "masks_mean", "area_q50", "uncovered", "uninformative_patches", "covering", "vi", "boundary_f"
]  # columns of the mask statistics


class Crop(Strict):
    """A part of a test image that is shown enlarged."""

    dataset: Name
    image: str
    box: tuple[NotNegative, NotNegative, Positive, Positive]  # left, top, width, height in HR pixels


class Figure(Strict):
    """One figure. `kind` is a key of the registry of kinds; docs/study/figures.md says what each shows."""

    kind: str
    title: str
    masked: ClassVar[tuple[str, ...]] = ()  # fields whose variants must have masks
    denoisers: ClassVar[bool] = False  # whether its variants must be trained denoisers


class OfRuns(Figure):
    """A figure of some variants' runs."""

    variants: tuple[Name, ...] = Field(min_length=1)
    scale: Scale = 4


class OfImages(OfRuns):
    """A figure of what they do to test images."""

    datasets: tuple[Name, ...] = ()  # those the study has; if it has none of them, the study's test sets


class Noise(Figure):
    masked = ("variant",)
    variant: Name
    image: str = ""  # of the training set; empty: the first
    times: tuple[Positive, ...] = Field((5, 25, 50, 75), min_length=1)


class Modulation(Figure):
    formulations: tuple[Modulating, ...] = Field(min_length=1)


class Crops(OfImages):
    crops: tuple[Crop, ...] = ()  # empty: found where the methods differ most
    size: Positive = 64  # of crops that are found
    count: Positive = 2


class Artifacts(OfImages):
    images: tuple[str, ...] = ()  # empty: those whose scores differ most
    count: Positive = 2


class Masks(Figure):
    images: tuple[str, ...] = ()  # of the training set; empty: some, evenly spread
    count: Positive = 4


class Metrics(Figure):
    tables: tuple[Name, ...] = Field(min_length=1)  # whose tidy CSVs hold the metrics; of one scale factor
    datasets: tuple[Name, ...] = ()
    metrics: tuple[MetricName, ...] = Field(min_length=1)
    against: Literal[""] | MetricName = ""  # empty: every pair of `metrics`
    published: bool = True  # the paper's values too, in panels of their own


class Published(Figure):
    tables: tuple[Name, ...] = Field(min_length=1)  # whose `differences` are shown
    metric: MetricOfImages = "psnr_y"


class MaskGain(OfImages):
    masked = ("variants",)
    control: Name
    metric: MetricOfImages = "psnr_y"
    qualities: tuple[Quality, ...] = Field(get_args(Quality), min_length=1)


class Steps(OfImages):
    denoisers = True
    # network calls an image; the study's own number is shown too, all others are sampled for this figure
    steps: tuple[Positive, ...] = Field(min_length=1)
    metrics: tuple[MetricName, ...] = ("psnr_y",)


class Curves(OfRuns):
    denoisers = True


class Rules(Figure):
    pass
