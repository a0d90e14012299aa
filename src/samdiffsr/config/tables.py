"""The blocks of config.yaml that say what is shown and how it is compared: tables, protocol, report."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field, field_validator, model_validator

from samdiffsr.core.recipe import Name, NotNegative, Positive, Scale, Strict
from samdiffsr.evaluation.metrics import METRICS, SamplesMetric
from samdiffsr.evaluation.protocol import PROTOCOL_METRICS, PROTOCOLS

FigureName = Annotated[str, Field(pattern=r"^figure[a-z0-9_]+$")]


class Row(Strict):
    """One row of a table; a bare name in config.yaml means the variant of that name.

    Without a variant it is a method of the paper that is not run here: its published values alone.
    """

    variant: Name | None = None
    """Variant to show. `null`: a method of the paper that is not run here."""
    label: str = ""
    """Name of the row. Empty: the variant's."""
    published: str = ""
    """Row in the published tables. Empty: what the variant says, or the label."""

    @model_validator(mode="after")
    def _something(self) -> Row:
        if self.variant is None and not self.published:
            raise ValueError("needs a `variant`, or `published` for a method that is not run here")
        return self


class Pair(Strict):
    """A difference that a table claims: `of` minus `minus`, both rows of it."""

    of: Name
    """Variant whose gain is claimed."""
    minus: Name
    """Variant that it is compared with."""


class Table(Strict):
    """One table of the paper: which rows, which data sets, which metrics, in the paper's order."""

    title: str
    """Heading of the table."""
    scale: Scale = 4
    """Scale factor."""
    datasets: tuple[Name, ...] = ()
    """Data sets to show, of those that the study tests on. If it tests on none of them: all its test sets."""
    metrics: tuple[Annotated[str, AfterValidator(METRICS.known)], ...] = Field(min_length=1)
    """Metrics to show, in this order: see docs/study/tables.md."""
    rows: tuple[Row, ...] = Field(min_length=1)
    """Variants to show, in this order. A bare name means the variant of that name."""
    differences: tuple[Pair, ...] = ()
    """Differences that the table claims, each printed with its interval."""
    protocols: tuple[Annotated[str, AfterValidator(PROTOCOLS.known)], ...] = ()
    """Protocols under which the same images are scored, side by side."""
    samples: Positive = 1
    """Images sampled from each LR image. With 2 or more, every metric is one of samples."""
    notes: tuple[str, ...] = ()
    """Sentences under the table."""

    @property
    def scores(self) -> str:
        """The kind of scores that it shows of images (`Layout.scores`)."""
        return "protocols" if self.protocols else f"samples{self.samples}" if self.samples > 1 else ""

    @model_validator(mode="after")
    def _of_samples(self) -> Table:
        for name in self.metrics:
            if isinstance(METRICS[name], SamplesMetric) != (self.samples > 1):
                takes = "two or more, as of every metric of samples" if self.samples == 1 else "1"
                raise ValueError(f"samples: {name!r} takes {takes}, not {self.samples}")
        if self.samples > 1 and self.protocols:
            raise ValueError("samples: not together with `protocols`")
        return self

    @model_validator(mode="after")
    def _under_protocols(self) -> Table:
        unscored = [name for name in self.metrics if name not in PROTOCOL_METRICS]
        if self.protocols and unscored:
            scored = ", ".join(PROTOCOL_METRICS)
            raise ValueError(f"metrics: under `protocols` {scored} are scored, and not {unscored[0]!r}")
        return self

    @property
    def variants(self) -> tuple[str, ...]:
        """The variants that it shows, each once."""
        return tuple(dict.fromkeys(row.variant for row in self.rows if row.variant))

    @field_validator("rows", mode="before", json_schema_input_type=tuple[Name | Row, ...])
    @classmethod
    def _bare_names(cls, value: Any) -> Any:
        if isinstance(value, list):
            return [{"variant": row} if isinstance(row, str) else row for row in value]
        return value


class Protocol(Strict):
    """What is compared with what: see docs/method/protocols.md."""

    border: NotNegative = 0
    """Pixels left out on each side before PSNR and SSIM."""


class Report(Strict):
    """How much of the images results/report.html carries (docs/study/report.md)."""

    images: Positive = 12
    """Images of one data set at most: those on which the methods' PSNR-Y differs most."""
    side: Annotated[int, Field(ge=32)] = 384
    """Pixels a side. Larger images are cut to where the methods differ most."""
    megabytes: Annotated[float, Field(gt=0)] = 40
    """Limit for all image comparisons together."""
