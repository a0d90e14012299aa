"""What the report is made from, beside tables, figures and images."""

from __future__ import annotations

from samdiffsr.core.recipe import Recipe, Strict
from samdiffsr.reporting.tables.recipe import TableRecipe


class Limits(Strict):
    """How much of the images the page carries; see `report` in config.yaml."""

    images: int
    side: int
    megabytes: float


class Method(Strict):
    """One variant's first run and its headline weights; structured: trained with masks."""

    label: str
    run: str
    weights: str
    structured: bool


class ComparisonRecipe(Strict):
    """The images that are set side by side of one data set at one scale factor."""

    dataset: str
    label: str
    scale: int
    methods: tuple[Method, ...]


class ReportRecipe(Recipe):
    """The page. figures: name -> title. left_out: test set -> why it is not here."""

    study: str
    about: str
    comparable: bool
    checkpoints: str
    train_set: str
    test_sets: tuple[str, ...]
    left_out: dict[str, str]
    masks: dict[str, str]
    seeds: tuple[int, ...]
    sampling: str
    limits: Limits
    tables: tuple[TableRecipe, ...]
    figures: dict[str, str]
    comparisons: tuple[ComparisonRecipe, ...]
