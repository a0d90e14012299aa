"""Inference for methods: training seeds and test images are crossed, and both are random samples.

A method is more than the trainings at hand, and a data set is more than its images. So the mean of
d[s, i], the difference with seed s on image i, varies with both. The model is the two-way layout
without replication (Scheffé, The Analysis of Variance, 1959, chapter 7; Searle, Casella and McCulloch,
Variance Components, 1992, section 4.4):

    d[s, i] = mu + seed_s + image_i + residual_si

With MS the mean squares of that layout's table, S seeds and I images,

    V = (MS_seed + MS_image - MS_residual) / (S I)

estimates the variance of the mean, and its degrees of freedom are Satterthwaite's (Biometrics Bulletin 2,
1946). Divided by S I the mean squares are the variance of the mean over seeds alone, over images alone,
and the residual that both contain; that is how they are written here.

How well the interval covers is measured by `benchmarks/coverage.py`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from samdiffsr.evaluation.over_images import LEVEL

POWER = 0.8  # of what a study is said to be able to detect
MOST_SEEDS = 1000  # no more are proposed
_QUANTILES = (np.arange(1000) + 0.5) / 1000


class Spread(NamedTuple):
    """Standard deviations of the model's three random terms, in the metric's unit; 0 or more."""

    seed: float
    image: float
    residual: float


class Estimate(NamedTuple):
    """Mean, variance of the mean, degrees of freedom; arrays of the tables' leading shape.

    floor: "" where V is as above; "seeds" or "images" where V came out below the variance over seeds or
        over images alone (a component is estimated negative), and the larger of these two is used instead.
    """

    mean: np.ndarray
    variance: np.ndarray
    df: np.ndarray
    floor: np.ndarray


class Layout(NamedTuple):
    """The variance of a mean that is over seeds alone, over images alone, and the residual's; their df."""

    mean: np.ndarray
    seeds: np.ndarray
    images: np.ndarray
    residual: np.ndarray
    df_seeds: np.ndarray
    df_images: int
    df_residual: np.ndarray


def layout(a: np.ndarray, b: np.ndarray | None = None) -> Layout:
    """The layout of paired differences `a`, or of a minus b where the seeds of a and b do not pair.

    Args:
        a: (..., S, I), S and I at least 2. b: (..., S', I), the same images.

    Unpaired, the images still pair: seeds and residuals of both count, each over its own number of seeds.
    """
    tables = [a] if b is None else [a, b]
    mean, by_image = a.mean(axis=(-2, -1)), a.mean(axis=-2)
    if b is not None:
        mean, by_image = mean - b.mean(axis=(-2, -1)), by_image - b.mean(axis=-2)
    images = a.shape[-1]
    seeds = [table.mean(axis=-1).var(axis=-1, ddof=1) / table.shape[-2] for table in tables]
    residual = [_residual(table) / (table.shape[-2] * images) for table in tables]
    freedom = [table.shape[-2] - 1 for table in tables]
    return Layout(
        mean,
        sum(seeds),
        by_image.var(axis=-1, ddof=1) / images,
        sum(residual),
        _satterthwaite(seeds, freedom),
        images - 1,
        _satterthwaite(residual, [f * (images - 1) for f in freedom]),
    )


def estimate(a: np.ndarray, b: np.ndarray | None = None) -> Estimate:
    """Mean of paired differences `a` (or of a minus b) with seeds and images random; as `layout`."""
    of = layout(a, b)
    variance = of.seeds + of.images - of.residual
    df = variance**2 / (
        _over(of.seeds**2, of.df_seeds)
        + _over(of.images**2, of.df_images)
        + _over(of.residual**2, of.df_residual)
    ).clip(1e-300)
    floor = np.where(
        (variance >= of.seeds) & (variance >= of.images),
        "",
        np.where(of.seeds > of.images, "seeds", "images"),
    )
    alone = np.where(floor == "seeds", of.seeds, of.images)
    return Estimate(
        of.mean,
        np.where(floor == "", variance, alone),
        np.where(floor == "", df, np.where(floor == "seeds", of.df_seeds, of.df_images)).clip(1),
        floor,
    )


def spread(a: np.ndarray, b: np.ndarray | None = None) -> Spread:
    """The components of one layout (no leading axes); a negative estimate is 0 (Searle et al., 4.4).

    Unpaired, `seed` and `residual` are those that a difference of one seed of a and one of b would have.
    """
    tables = [a] if b is None else [a, b]
    images = a.shape[-1]
    residual = [float(_residual(table)) for table in tables]
    by_seed = [float(table.mean(axis=-1).var(ddof=1)) for table in tables]
    by_image = a.mean(axis=-2) if b is None else a.mean(axis=-2) - b.mean(axis=-2)
    seed = sum(max(0.0, s - r / images) for s, r in zip(by_seed, residual, strict=True))
    shared = sum(r / table.shape[-2] for r, table in zip(residual, tables, strict=True))
    image = max(0.0, float(by_image.var(ddof=1)) - shared)
    return Spread(seed**0.5, image**0.5, sum(residual) ** 0.5)


def power(effect: float, of: Spread, seeds: int, images: int) -> float:
    """Probability that a two-sided test at 5 % finds a true `effect` (unit of `of`), seeds paired.

    The test is `estimate`'s at the expected mean squares; the distribution is the noncentral t (Cohen,
    Statistical Power Analysis, 1988, chapter 2). Where nothing varies, its limit: every effect is found.
    """
    residual = of.residual**2 / (seeds * images)
    by_seed, by_image = of.seed**2 / seeds + residual, of.image**2 / images + residual
    variance = by_seed + by_image - residual
    if variance**2 == 0:  # also of rounding alone, whose square underflows
        return 1.0 if effect else 1 - LEVEL
    df = variance**2 / (
        by_seed**2 / (seeds - 1)
        + by_image**2 / (images - 1)
        + residual**2 / ((seeds - 1) * (images - 1))
    )  # fmt: skip
    return _power(effect / variance**0.5, df)


def detectable(variance: float, df: float, at: float = POWER) -> float:
    """The smallest true effect that is found with probability `at`, for a mean of this variance and df."""
    from scipy import optimize

    return float(variance**0.5 * optimize.brentq(lambda effect: _power(effect, df) - at, 0.0, 1e4))


def seeds_needed(effect: float, of: Spread, images: int, at: float = POWER, least: int = 3) -> int | None:
    """The fewest paired seeds, `least` or more, that find `effect` with probability `at`.

    None where 1000 seeds would not do: what images differ by is left, whatever the number of seeds.
    """
    if power(effect, of, MOST_SEEDS, images) < at:
        return None
    low, high = least, MOST_SEEDS
    while low < high:  # power rises with the number of seeds
        middle = (low + high) // 2
        low, high = (low, middle) if power(effect, of, middle, images) >= at else (middle + 1, high)
    return low


def _residual(table: np.ndarray) -> np.ndarray:
    """MS_residual of (..., S, I)."""
    rest = table - table.mean(axis=-1, keepdims=True) - table.mean(axis=-2, keepdims=True)
    rest = rest + table.mean(axis=(-2, -1), keepdims=True)
    seeds, images = table.shape[-2:]
    return np.asarray((rest**2).sum(axis=(-2, -1)) / ((seeds - 1) * (images - 1)))


def _satterthwaite(variances: list[np.ndarray], freedom: list[int]) -> np.ndarray:
    """Degrees of freedom of a sum of independent variances; those of a single one are its own."""
    squares = sum(_over(v**2, f) for v, f in zip(variances, freedom, strict=True))
    return np.where(squares > 0, sum(variances) ** 2 / np.maximum(squares, 1e-300), min(freedom))


def _over(square: np.ndarray, df: np.ndarray | int) -> np.ndarray:
    return np.asarray(square / df)


def _power(effect: float, df: float) -> float:
    """Of a two-sided t test of an effect in standard errors.

    Integrated over the quantiles of the variance's chi-square: scipy's noncentral t is NaN for large effects.
    """
    from scipy import stats

    bound = stats.t.ppf(0.5 + LEVEL / 2, df) * np.sqrt(stats.chi2.ppf(_QUANTILES, df) / df)
    return float((stats.norm.sf(bound - effect) + stats.norm.cdf(-bound - effect)).mean())
