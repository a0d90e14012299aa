"""How often intervals hold the true difference, in a few of the cells of benchmarks/coverage.py."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from benchmarks import coverage

from samdiffsr.evaluation.compare import paired_difference, paired_ratio

STUDIES = 1000  # a coverage of .95 comes out within .02 in 99 of 100 runs


@pytest.fixture(scope="module")
def draws(root: Path) -> dict[str, coverage.Draw]:
    return coverage.effects(sorted((root / "results/kept/pilot/scores").glob("*/bsds100.csv")))


@pytest.mark.parametrize(
    "name", ["normal", "skewed (gamma)", "real images, PSNR", "real images, artifact ratio"]
)
@pytest.mark.parametrize(("seeds", "images"), [(3, 14), (5, 100)])
def test_the_claimed_interval_covers_and_that_of_these_trainings_does_not(
    draws: dict[str, coverage.Draw], name: str, seeds: int, images: int
) -> None:
    found = coverage.cell(draws[name], seeds, images, STUDIES, np.random.default_rng(7))
    assert found.methods >= 0.90
    assert found.trainings < 0.88
    assert found.methods_half_width > found.trainings_half_width


def test_without_an_effect_of_seeds_the_claimed_interval_is_hardly_wider(
    draws: dict[str, coverage.Draw],
) -> None:
    still = draws["normal, seeds do not differ"]
    found = coverage.cell(still, 3, 100, STUDIES, np.random.default_rng(7))
    assert 0.90 <= found.methods <= 0.98
    assert found.methods_half_width < 1.3 * found.trainings_half_width
    assert found.floor > 0.1


def test_the_studies_simulated_have_the_spread_of_the_kept_one(draws: dict[str, coverage.Draw]) -> None:
    for name in ("normal", "skewed (gamma)", "real images, PSNR"):
        d = draws[name](np.random.default_rng(0), 400, 5, 50)
        assert d.mean() == pytest.approx(0, abs=0.02)
        assert d.mean(axis=2).std(axis=1, ddof=1).mean() / 0.94 == pytest.approx(0.225, abs=0.02)
        assert d.mean(axis=1).std(axis=1, ddof=1).mean() == pytest.approx(0.34, abs=0.03)


@pytest.mark.parametrize("images", [14, 40])
def test_what_is_simulated_is_what_the_tables_compute(images: int) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.gamma(9, 0.1, (2, 3, images)) + rng.normal(0, 0.05, (2, 3, 1))
    tables = paired_difference(a, b, rng_seed=0, n_resamples=coverage.RESAMPLES)
    low, high = coverage.over_images_many((a - b).mean(axis=0)[None])
    assert (low[0], high[0]) == pytest.approx(tuple(tables["trainings"].values())[:2])
    ratio = paired_ratio(a, b)
    assert coverage.log_ratio(a, b).mean() == pytest.approx(0)
    assert ratio["se"] == pytest.approx(float(coverage.estimate(coverage.log_ratio(a, b)).variance) ** 0.5)


def test_the_committed_table_is_what_the_documentation_shows(root: Path) -> None:
    """And it keeps what it promises: .90 with three seeds and 14 images."""
    rows = list(csv.DictReader((root / "benchmarks/results/coverage.csv").read_text().splitlines()))
    text = (root / "benchmarks/results/coverage.md").read_text()
    assert coverage.markdown(rows) == text
    assert text in (root / "docs/study/statistics.md").read_text()
    kept = [row for row in rows if int(row["seeds"]) >= 3 and int(row["images"]) >= 14]
    assert len(kept) == 5 * 3 * 3
    assert min(float(row["methods"]) for row in kept) >= 0.90
