"""Findings in words that the kept scores decide: a template whose numbers and verbs are filled in here.

A sentence about a difference takes its verb ("higher", "lower", "not decided") and its interval from the same
comparison of scores, so that prose cannot say more than they do.
"""

from __future__ import annotations

import csv
from functools import cached_property
from pathlib import Path

import pandas as pd

from samdiffsr.core.errors import UserError
from samdiffsr.core.layout import TABLE, read_run
from samdiffsr.evaluation import decision
from samdiffsr.evaluation.compare import Difference, verdict
from samdiffsr.evaluation.metrics import METRICS
from samdiffsr.reporting.frames import read, read_scores
from samdiffsr.reporting.tables.differences import PAIR, compared, joined, paired_scores, seeds_to_decide
from samdiffsr.reporting.tables.gather import TIDY_COLUMNS
from samdiffsr.reporting.tables.recipe import Row


class Finding:
    """One comparison, as the template uses it."""

    def __init__(self, found: Difference, metric: str) -> None:
        self.found, self._digits = found, _digits(metric)

    @property
    def verb(self) -> str:
        """ "higher", "lower" or "not decided"; of one training "no claim (one training)"."""
        return "no claim (one training)" if self.found["method"] == "one seed" else verdict(self.found)

    @property
    def text(self) -> str:
        """The mean and the interval of methods, or of these trainings where there is none."""
        if self.found["ci_low"] is None:
            return f"{self.mean} (these trainings alone {self.trainings})"
        return f"{self.mean} {self._interval(self.found['ci_low'], self.found['ci_high'])}"

    @property
    def mean(self) -> str:
        return self._signed(self.found["mean"])

    @property
    def trainings(self) -> str:
        """The interval over images."""
        alone = self.found["trainings"]
        return self._interval(alone["low"], alone["high"])

    @property
    def detectable(self) -> str:
        return self._plain(self.found["detectable"])

    @property
    def seed_sd(self) -> str:
        return self._plain(self.found["seed_sd_difference"])

    @property
    def counts(self) -> str:
        """Images, seeds."""
        return f"{self.found['n_images']}, {self.found['n_seeds']}"

    def _interval(self, low: float | None, high: float | None) -> str:
        if low is None or high is None:
            return "too few images"
        return f"[{self._signed(low)}, {self._signed(high)}]"

    def _signed(self, value: float) -> str:
        return f"{value:{'' if self.found['kind'] == 'ratio' else '+'}.{self._digits}f}"

    def _plain(self, value: float | None) -> str:
        return "–" if value is None else f"{value:.{self._digits}f}"


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
        sides = paired_scores(self._scores, self._row(of), self._row(minus), dataset, metric)
        if sides is None or sides[0].empty:
            raise UserError(f"{self.folder}: nothing to compare {of} and {minus} on in {metric} of {dataset}")
        return Finding(compared(*sides, metric), metric)

    def seeds_to_decide(self, of: str, minus: str, dataset: str, effect: float) -> str:
        """How many seeds would find a difference of `effect` with 80 % power, with this study's spread."""
        needed = seeds_to_decide(self.minus(of, minus, dataset, decision.METRIC).found, effect)
        if not needed:
            raise UserError(f"{self.folder}: one training has no spread over seeds")
        return needed

    def conclusion(self, of: str, minus: str, dataset: str, shown: str) -> decision.Conclusion:
        """What the decision rule concludes of a primary comparison; shown: the data set's name in tables."""
        found = self.minus(of, minus, dataset, decision.METRIC).found
        return decision.conclusion(found, self._p_study(of, minus, shown))

    def p_study(self, of: str, minus: str, shown: str) -> str:
        """Its p after Holm's correction over the study."""
        value = self._p_study(of, minus, shown)
        return "below .001" if value < 0.001 else f"{value:.3f}".lstrip("0")

    def family(self) -> int:
        """How many differences are corrected for."""
        return int((self._differences["p"] != "").sum())

    def _p_study(self, of: str, minus: str, shown: str) -> float:
        labels = {"of": self._label(of), "minus": self._label(minus)}
        cell = labels | {"dataset": shown, "metric": decision.METRIC}
        rows = self._differences
        found = rows.loc[(rows[[*cell]] == pd.Series(cell)).all(axis="columns"), "p_study"]
        if found.empty or not found.iloc[0]:
            raise UserError(f"{self.folder}: no table claims {of} minus {minus} on {shown}")
        return float(found.iloc[0])

    def _label(self, variant: str) -> str:
        """How the tables call a variant."""
        found = self._cells.loc[self._cells["variant"] == variant, "method"]
        if found.empty:
            raise UserError(f"{self.folder}: no table shows {variant}")
        return str(found.iloc[0])

    @cached_property
    def _differences(self) -> pd.DataFrame:
        """What the tables claim, a row a claim."""
        return joined(sorted(self.folder.glob(f"table*{TABLE['differences']}"))).drop_duplicates(PAIR)

    @cached_property
    def _cells(self) -> pd.DataFrame:
        return read(sorted(self.folder.glob(f"table*{TABLE['tidy']}")), TIDY_COLUMNS, "a tidy table")

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
