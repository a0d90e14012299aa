"""Findings in words that the kept scores decide: a template whose numbers and verbs are filled in here.

A sentence about a difference takes its verb ("higher", "lower", "not decided") and its interval from the same
comparison of scores, so that prose cannot say more than they do.
"""

from __future__ import annotations

import csv
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from samdiffsr.core.errors import UserError
from samdiffsr.core.layout import read_run
from samdiffsr.evaluation import decision
from samdiffsr.evaluation.metrics import METRICS
from samdiffsr.reporting.frames import read_scores
from samdiffsr.reporting.tables.differences import difference
from samdiffsr.reporting.tables.recipe import Row


class Finding:
    """One comparison, as the template uses it."""

    def __init__(self, found: dict[str, Any], metric: str) -> None:
        self._found, self._digits = found, _digits(metric)

    @property
    def verb(self) -> str:
        """ "higher", "lower" or "not decided"; of one training "no claim (one training)"."""
        if self._found["method"] == "one seed":
            return "no claim (one training)"
        return str(self._found["verdict"])

    @property
    def text(self) -> str:
        """The mean and the interval of methods, or of these trainings where there is none."""
        if self._found["ci_low"] is None:
            return f"{self.mean} (these trainings alone {self.trainings})"
        return f"{self.mean} [{self._signed('ci_low')}, {self._signed('ci_high')}]"

    @property
    def mean(self) -> str:
        return self._signed("mean")

    @property
    def trainings(self) -> str:
        """The interval over images."""
        if self._found["trainings_low"] is None:
            return "too few images"
        return f"[{self._signed('trainings_low')}, {self._signed('trainings_high')}]"

    @property
    def detectable(self) -> str:
        value = self._found["detectable"]
        return "–" if value is None else f"{value:.{self._digits}f}"

    @property
    def seed_sd(self) -> str:
        value = self._found["seed_sd_difference"]
        return "–" if value is None else f"{value:.{self._digits}f}"

    @property
    def counts(self) -> str:
        """Images, seeds."""
        return f"{self._found['n_images']}, {self._found['n_seeds']}"

    def _signed(self, key: str) -> str:
        sign = "" if self._found["kind"] == "ratio" else "+"
        return f"{self._found[key]:{sign}.{self._digits}f}"


class Kept:
    """The scores of one kept study, `folder`/scores/<run>/*.csv."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def _scores(self) -> pd.DataFrame:
        files = sorted(self.folder.glob("scores/*/*.csv"))
        if not files:
            raise UserError(f"{self.folder}: no scores of a study in it")
        return read_scores(files)

    def minus(self, of: str, minus: str, dataset: str, metric: str = "psnr_y") -> Finding:
        """Variant `of` minus variant `minus` (of the artifact score: over) on one data set or protocol."""
        found = difference(self._scores, self._row(of), self._row(minus), dataset, metric)
        if found is None or found["why_empty"]:
            raise UserError(f"{self.folder}: nothing to compare {of} and {minus} on in {metric} of {dataset}")
        return Finding(found, metric)

    def seeds(self, variant: str, dataset: str, metric: str = "psnr_y") -> str:
        """A variant's mean over images with each seed."""
        return ", ".join(f"{mean:.{_digits(metric)}f}" for mean in self._means(variant, dataset, metric))

    def mean(self, variant: str, dataset: str, metric: str = "psnr_y") -> str:
        """A variant's mean over images and seeds."""
        means = self._means(variant, dataset, metric)
        return f"{sum(means) / len(means):.{_digits(metric)}f}"

    def _means(self, variant: str, dataset: str, metric: str) -> list[float]:
        row = self._row(variant)
        scores = self._scores[self._scores["weights"] == row.weights[0]]
        mine = scores[(scores["dataset"] == dataset) & (scores["metric"] == metric)]
        means = mine.groupby("run")["number"].mean().reindex(list(row.runs))
        if means.isna().any():
            raise UserError(f"{self.folder}: {variant} was not scored by {metric} on {dataset}")
        return list(means)

    def _row(self, variant: str) -> Row:
        """The variant's runs; averaged weights where there are some."""
        scored = {*self._scores[["run", "weights"]].itertuples(index=False, name=None)}
        found = sorted((run, weights) for run, weights in scored if (read_run(run) or ("",))[0] == variant)
        if not found:
            raise UserError(f"{self.folder}: no scores of {variant}")
        weights = found[0][1]
        runs = tuple(dict.fromkeys(run for run, _ in found))
        return Row(
            variant=variant,
            label=variant,
            published="",
            masks=None,
            runs=runs,
            weights=(weights,),
            sampling="",
        )


def render(template: str, kept: Path, others: Path) -> str:
    """The findings.

    Args:
        template: Jinja; it knows every study under `kept` by its name, `others` (rows of that CSV: what other
            people measured) and `decision` (the decision rule).
        kept: results/kept.

    Raises:
        UserError: the template asks for what the kept scores do not hold.
    """
    from jinja2 import Environment, StrictUndefined, TemplateError

    studies = {path.name: Kept(path) for path in sorted(kept.iterdir()) if path.is_dir()}
    with open(others, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, trim_blocks=True)
    try:
        return environment.from_string(template).render(studies, others=rows, decision=decision)
    except TemplateError as error:
        raise UserError(f"the template of the findings: {error}") from None


def _digits(metric: str) -> int:
    """Of a metric in running text: enough to tell the seeds apart."""
    return min(METRICS[metric].decimals, 3) if metric in METRICS else 2
