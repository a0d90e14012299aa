"""What a table is made from, beside the scores."""

from __future__ import annotations

from pydantic import Field

from samdiffsr.core.recipe import Strict
from samdiffsr.evaluation.named import Defining


class Row(Strict):
    """One method. Without a `variant` it is one of the paper's that is not run here.

    published: its row in paper/published_tables.csv. masks: which masks it saw, in words. runs: one a seed.
    weights: the headline first. absent: data set -> why its images cannot be had here.
    """

    variant: str | None
    label: str
    published: str
    masks: str | None
    runs: tuple[str, ...]
    weights: tuple[str, ...]
    sampling: str
    absent: dict[str, str] = Field(default_factory=dict)


class Column(Strict):
    """One data set; published: its name in paper/published_tables.csv, or ""."""

    name: str
    label: str
    published: str


class LeftOut(Column):
    """A data set that is not here, and why."""

    why: str


class Pair(Strict):
    """A difference that the table claims: variant `of` minus variant `minus`."""

    of: str
    minus: str


class TableRecipe(Defining):
    """One table. comparable: whether the paper's numbers may be compared with the study's."""

    name: str
    study: str
    about: str
    comparable: bool
    train_set: str
    checkpoints: str
    title: str
    scale: int
    metrics: tuple[str, ...]
    datasets: tuple[Column, ...]
    left_out: tuple[LeftOut, ...] = ()
    rows: tuple[Row, ...]
    differences: tuple[Pair, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def number(self) -> str:
        """ "2", "S1"."""
        return self.name.removeprefix("table").upper()

    def row(self, variant: str) -> Row:
        """The row of a variant."""
        return next(row for row in self.rows if row.variant == variant)
