"""Recipes of the scores."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from samdiffsr.core.recipe import NotNegative, Positive, Recipe
from samdiffsr.data.resize import Rounding
from samdiffsr.evaluation.metrics import ImageMetric, SamplesMetric, SetMetric, known
from samdiffsr.evaluation.named import Defining
from samdiffsr.evaluation.protocol import PROTOCOLS

MetricOfImages = Annotated[str, AfterValidator(lambda name: known(name, ImageMetric))]
MetricOfSamples = Annotated[str, AfterValidator(lambda name: known(name, SamplesMetric))]
MetricOfSets = Annotated[str, AfterValidator(lambda name: known(name, SetMetric))]
ProtocolName = Annotated[str, AfterValidator(PROTOCOLS.known)]
MissingWeights = Literal["skip", "fail"]


class ScoreRecipe(Defining):
    """Scores of the images of one run on one data set.

    Attributes:
        metrics: of images.
        rounding: of the LR image that `lr_psnr` makes of the restored one.
        missing_weights: whether a metric whose network is not there is left out or stops all.
        stop_below_bicubic: dB of PSNR; images worse than bicubic by more stop all. None: score anything.
        border: pixels that PSNR and SSIM leave out on each side.
    """

    scale: Positive
    metrics: tuple[MetricOfImages, ...]
    rounding: Rounding = "each_axis"
    missing_weights: MissingWeights = "skip"
    stop_below_bicubic: Annotated[float, Field(gt=0)] | None = None
    border: NotNegative = 0


class SamplesRecipe(Recipe):
    """Scores of several images of each LR image of one data set, of one run; see `ScoreRecipe`."""

    scale: Positive
    metrics: tuple[MetricOfSamples, ...]
    border: NotNegative = 0


class SetScoreRecipe(Recipe):
    """Scores of one run on one data set as a whole; see `ScoreRecipe`."""

    scale: Positive
    metrics: tuple[MetricOfSets, ...]
    missing_weights: MissingWeights = "skip"


class ProtocolRecipe(Recipe):
    """The images of one run on one data set under several protocols."""

    scale: Positive
    protocols: tuple[ProtocolName, ...]
