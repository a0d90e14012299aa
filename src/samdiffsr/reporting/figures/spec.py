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


def _subtracted(name: str) -> str:
    if METRICS[known(name, ImageMetric)].ratio:
        raise ValueError(f"{name} is compared by ratios, and this figure shows differences")
    return name


Subtracted = Annotated[str, AfterValidator(_subtracted)]
Quality = Literal[
    "masks_mean", "area_q50", "uncovered", "uninformative_patches", "covering", "vi", "boundary_f"
]  # columns of the mask statistics


class Crop(Strict):
    """A part of a test image that is shown enlarged."""

    dataset: Name
    """Test set."""
    image: str
    """Name of the image, without suffix."""
    box: tuple[NotNegative, NotNegative, Positive, Positive]
    """Left, top, width, height in HR pixels."""


class Figure(Strict):
    """One figure. `kind` is a key of the registry of kinds; docs/study/figures.md says what each shows."""

    kind: str
    """What the figure shows: see docs/study/figures.md."""
    title: str
    """Heading of the figure."""
    masked: ClassVar[tuple[str, ...]] = ()  # fields whose variants must have masks
    denoisers: ClassVar[bool] = False  # whether its variants must be denoisers
    trained: ClassVar[bool] = False  # whether they must be trained here
    with_truth: ClassVar[bool] = False  # whether it leaves out data sets without truth
    one_dataset: ClassVar[bool] = False  # whether it shows the first of its data sets alone

    @property
    def shown_metrics(self) -> set[str]:
        """The metrics that it names."""
        named = {*getattr(self, "metrics", ()), getattr(self, "metric", ""), getattr(self, "against", "")}
        return named - {""}


class OfRuns(Figure):
    """A figure of some variants' runs."""

    variants: tuple[Name, ...] = Field(min_length=1)
    """Variants to show, in this order."""
    scale: Scale = 4
    """Scale factor."""


class OfImages(OfRuns):
    """A figure of what they do to test images."""

    datasets: tuple[Name, ...] = ()
    """Data sets to show, of those that the study tests on. If it tests on none of them: all its test sets."""


class OfTables(Figure):
    """A figure of what tables show."""

    tables: tuple[Name, ...] = Field(min_length=1)
    """Tables whose methods and scores are shown. All must have the same scale factor."""
    datasets: tuple[Name, ...] = ()
    """Data sets to show, of those that the study tests on. If it tests on none of them: all its test sets."""


class Noise(Figure):
    """The noise of the forward process, plain and modulated by the masks of one image."""

    masked = ("variant",)
    variant: Name
    """Variant whose masks and formulation are shown."""
    image: str = ""
    """Image of the training set. Empty: the first."""
    times: tuple[Positive, ...] = Field((5, 25, 50, 75), min_length=1)
    """Steps t to show."""


class Modulation(Figure):
    """Strength of the modulation over t."""

    formulations: tuple[Modulating, ...] = Field(min_length=1)
    """Formulations to show."""


class Crops(OfImages):
    """Restored images, enlarged at chosen places."""

    crops: tuple[Crop, ...] = ()
    """Places to show. Empty: `count` places where the methods differ most."""
    size: Positive = 64
    """Side of places that are found, in HR pixels."""
    count: Positive = 2
    """Number of places to find."""


class Artifacts(OfImages):
    """Artifact maps."""

    with_truth = True
    images: tuple[str, ...] = ()
    """Test images. Empty: the `count` images whose scores differ most."""
    count: Positive = 2
    """Number of images to find."""


class Masks(Figure):
    """Masks over training images, at each level of quality."""

    images: tuple[str, ...] = ()
    """Training images. Empty: `count` images, evenly spread over the data set."""
    count: Positive = 4
    """Number of images to choose."""


class Metrics(OfTables):
    """Metric against metric."""

    tables: tuple[Name, ...] = Field(min_length=1)
    """Tables that hold the metrics. All must have the same scale factor."""
    metrics: tuple[MetricName, ...] = Field(min_length=1)
    """Metrics to show."""
    against: Literal[""] | MetricName = ""
    """Metric on every vertical axis. Empty: every pair of `metrics`."""
    published: bool = True
    """Show the paper's values too, in panels of their own."""


class Published(Figure):
    """Differences as measured and as published."""

    tables: tuple[Name, ...] = Field(min_length=1)
    """Tables whose `differences` are shown."""
    metric: Subtracted = "psnr_y"
    """Metric to show."""


class Seeds(OfTables):
    """The difference with each seed, the interval of methods, and what so many seeds can find."""

    tables: tuple[Name, ...] = Field(min_length=1, max_length=1)
    """The table whose `differences` are shown."""
    metric: Subtracted = "psnr_y"
    """Metric to show."""


SPLIT = ("mean_error", "sample_variance")  # the parts of a sample's squared error


class Split(OfTables):
    """The squared error of several samples, split into that of their mean and their variance."""

    tables: tuple[Name, ...] = Field(min_length=1, max_length=1)
    """The table with `samples` whose scores are shown; it must ask for `mean_error` and `sample_variance`."""


class MaskGain(OfImages):
    """Gain over a control, against properties of the masks."""

    masked = ("variants",)
    with_truth = True
    control: Name
    """Variant to compare with."""
    metric: Subtracted = "psnr_y"
    """Metric whose gain is shown."""
    qualities: tuple[Quality, ...] = Field(get_args(Quality), min_length=1)
    """Properties of the masks: columns of `masks/statistics.csv`."""


class Steps(OfImages):
    """Quality against sampling steps and time."""

    denoisers = True
    one_dataset = True
    steps: tuple[Positive, ...] = Field(min_length=1)
    """Network calls for one image, sampled for it. What tables show of a variant is always there too."""
    metrics: tuple[MetricName, ...] = ("psnr_y",)
    """Metrics to show."""


class Curves(OfRuns):
    """Training curves."""

    denoisers = True
    trained = True


class Rules(Figure):
    """The workflow's rules and what each needs."""
