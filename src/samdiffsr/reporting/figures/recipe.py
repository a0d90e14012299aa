"""What each kind of figure is drawn from, beside the files that it shows.

`config.recipes.figures` fills a recipe by the names of its fields: a new kind that needs nothing new of the
configuration needs a class of fields and no builder.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from samdiffsr.core.recipe import Strict
from samdiffsr.diffusion.recipe import Diffusion
from samdiffsr.evaluation.named import Defining
from samdiffsr.reporting.figures.spec import Crop
from samdiffsr.reporting.tables.recipe import Pair, Row


class FigureRow(Row):
    """A method; level: the quality level of its masks."""

    kind: str
    level: str | None
    formulation: str


class Shown(Strict):
    """A data set that is tested on."""

    name: str
    label: str


class FigureRecipe(Defining):
    """What every figure knows. The class variables decide what its conditions name (`style.conditions`)."""

    kind: str
    title: str
    study: str
    comparable: bool
    checkpoints: str
    notes: tuple[str, ...] = ()

    first_seed: ClassVar[bool] = False  # images are those of the first seed alone
    own_steps: ClassVar[bool] = False  # the figure itself says in how many steps images were sampled
    of_results: ClassVar[bool] = False  # it shows scores or images


class OfRuns(FigureRecipe):
    """Of some methods at one scale factor."""

    scale: int
    rows: tuple[FigureRow, ...]


class OfImages(OfRuns):
    """Of what they do to test images."""

    of_results = True
    datasets: tuple[Shown, ...]


class NoiseRecipe(FigureRecipe):
    scale: int
    rows: tuple[FigureRow, ...]  # one
    train_set: str
    diffusion: Diffusion
    image: str  # its name; "" is the first
    times: tuple[int, ...]
    formulation_options: dict[str, float] = Field(default_factory=dict)

    later = (*FigureRecipe.later, "formulation_options")


class ModulationRecipe(FigureRecipe):
    diffusion: Diffusion
    formulations: tuple[str, ...]


class CropsRecipe(OfImages):
    first_seed = True
    crops: tuple[Crop, ...]  # if none, `count` of `size` are found
    size: int
    count: int


class ArtifactsRecipe(OfImages):
    first_seed = True
    images: tuple[str, ...]  # if none, `count` whose scores differ most
    count: int


class LevelOfMasks(Strict):
    heading: str
    masks: str


class MasksRecipe(FigureRecipe):
    train_set: str
    levels: tuple[LevelOfMasks, ...]  # from left to right
    images: tuple[str, ...]  # if none, `count` of them, evenly spread over the data set
    count: int


class MetricsRecipe(OfImages):
    metrics: tuple[str, ...]
    against: str  # the metric on every vertical axis; "": all pairs of `metrics`
    tables: tuple[str, ...]
    published: tuple[str, ...]  # the paper's data sets to show


class ClaimedPair(Strict):
    """A difference that a table claims, by the labels of its rows here and in the paper."""

    table: str
    scale: int
    of: str
    minus: str
    published_of: str
    published_minus: str


class PublishedRecipe(OfRuns):
    of_results = True
    metric: str
    pairs: tuple[ClaimedPair, ...]


class SplitRecipe(OfImages):
    """Rows and scores are a table's."""


class SeedsRecipe(OfImages):
    """Rows and scores are a table's."""

    metric: str
    differences: tuple[Pair, ...]


class MaskGainRecipe(OfImages):
    metric: str
    qualities: tuple[str, ...]
    control: FigureRow


class Point(Strict):
    """One number of network calls of the row of this number."""

    row: int
    steps: int


class StepsRecipe(OfImages):
    first_seed = True
    own_steps = True
    steps: tuple[int, ...]
    metrics: tuple[str, ...]
    points: tuple[Point, ...]  # in the order of the inputs


class Curve(Strict):
    """One training: its folder and name below the results, its line's label, its panel's title."""

    folder: Literal["encoders", "runs"]
    name: str
    label: str
    panel: str


class CurvesRecipe(OfRuns):
    train_set: str
    curves: tuple[Curve, ...]  # in the order of the inputs
