"""Is a difference between two methods more than chance? Paired over images, seeds averaged first.

The unit is the image: two methods restore the same images, so their difference per image is far less spread
    than
either's score (on 100 images the unpaired interval was 5.8 times wider). Sampling seeds are averaged per
image first; their noise is reported by itself. What is claimed depends on the number of images, after a
coverage study of nominal 95 % intervals with skewed effects: BCa bootstrap 0.93 at n = 100 but 0.82 at n =
5; t 0.93 at n = 14.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypedDict

import numpy as np

from samdiffsr.core.errors import UserError

BOOTSTRAP_FROM = 30  # images
CLAIM_FROM = 6  # images; with fewer the sign-flip p-value cannot reach 0.05 (2 / 2^5 = 0.0625)


class Difference(TypedDict):
    """A paired comparison; JSON-ready (None where a value does not exist).

    mean: of a minus b (or the ratio of the means), in the metric's unit. ci_low, ci_high: 95 % interval over
        images.
    method: "bca", "t", "none" (too few images: no claim), "constant" (the same difference on every image).
    seed_sd, seed_sd_base: sd over seeds of a's and b's mean over images. p: sign-flip test of mean = 0.
    """

    mean: float
    ci_low: float | None
    ci_high: float | None
    method: str
    n_images: int
    n_seeds: int
    n_seeds_base: int
    seed_sd: float | None
    seed_sd_base: float | None
    p: float | None
    rng_seed: int
    n_resamples: int


def paired_difference(a: np.ndarray, b: np.ndarray, rng_seed: int = 1, n_resamples: int = 9999) -> Difference:
    """How much a is above b, image by image.

    Args:
        a, b: (seeds, images) or (images,), the same images in the same order; the number of seeds may differ.
        rng_seed, n_resamples: of the bootstrap and of the sign-flip test; stored in the result.

    From 30 images on the interval is a BCa bootstrap over images, from 6 on Student's t, below there is none.
    Raises UserError if the images do not match or a value is not finite.
    """
    a, b = _scores(a, "a"), _scores(b, "b")
    _same_images(a, b)
    d = a.mean(axis=0) - b.mean(axis=0)
    n = d.size
    low: float | None = None
    high: float | None = None
    p: float | None = None
    if n < CLAIM_FROM:
        method = "none"
    elif _constant(d, a, b):
        method, low, high = "constant", float(d.mean()), float(d.mean())
    elif n < BOOTSTRAP_FROM:
        method, (low, high) = "t", _t_interval(d)
    else:
        method, (low, high) = "bca", _bootstrap((d,), np.mean, rng_seed, n_resamples)
    if n >= CLAIM_FROM:
        p = _sign_flip(d, rng_seed, n_resamples)
    return _result(float(d.mean()), low, high, method, a, b, p, rng_seed, n_resamples)


def paired_ratio(a: np.ndarray, b: np.ndarray, rng_seed: int = 1, n_resamples: int = 9999) -> Difference:
    """Mean of a over mean of b, for metrics whose scale means nothing (the artifact score).

    Arguments and errors as in `paired_difference`; the interval is a BCa bootstrap over images from 30
    images on, else none; there is no p. `mean` is the ratio. Raises UserError if b's mean is not positive.
    """
    a, b = _scores(a, "a"), _scores(b, "b")
    _same_images(a, b)
    top, bottom = a.mean(axis=0), b.mean(axis=0)
    if not bottom.mean() > 0:
        raise UserError(f"ratio to a mean of {bottom.mean():g}; use a difference for this metric")
    ratio = float(top.mean() / bottom.mean())
    low: float | None = None
    high: float | None = None
    method = "none"
    if top.size >= BOOTSTRAP_FROM:
        if np.allclose(top, ratio * bottom, rtol=1e-12, atol=0):  # the same ratio on every image
            method, low, high = "constant", ratio, ratio
        else:
            method = "bca"
            low, high = _bootstrap((top, bottom), _ratio_of_means, rng_seed, n_resamples)
    return _result(ratio, low, high, method, a, b, None, rng_seed, n_resamples)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction of a family of p-values (Holm, 1979); None stays None."""
    order = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    running = 0.0
    for rank, (p, i) in enumerate(order):
        running = max(running, min(1.0, (len(order) - rank) * p))
        adjusted[i] = running
    return adjusted


def sentence(difference: Difference, unit: str = "", digits: int = 2) -> str:
    """The comparison in words, e.g. "+0.12 dB, 95 % CI [0.05, 0.19], 3 seeds, 100 images"."""
    n, seeds = difference["n_images"], difference["n_seeds"]
    head = f"{difference['mean']:+.{digits}f}{' ' + unit if unit else ''}"
    tail = f"{seeds} seed{'s' * (seeds != 1)}, {n} image{'s' * (n != 1)}"
    if difference["method"] == "none":
        return f"{head}, {tail}: too few images to claim anything"
    if difference["method"] == "constant":
        return f"{head} on every image, {tail}"
    return f"{head}, 95 % CI [{difference['ci_low']:.{digits}f}, {difference['ci_high']:.{digits}f}], {tail}"


def _scores(x: np.ndarray, label: str) -> np.ndarray:
    x = np.atleast_2d(np.asarray(x, dtype=np.float64))
    if x.ndim != 2 or 0 in x.shape:
        raise UserError(f"scores {label} have shape {x.shape}; expected (seeds, images), both 1 or more")
    if not np.isfinite(x).all():
        seed, image = np.argwhere(~np.isfinite(x))[0]
        raise UserError(
            f"scores {label}: image {image}, seed {seed} is {x[seed, image]}; leave the image out"
        )
    return x


def _same_images(a: np.ndarray, b: np.ndarray) -> None:
    if a.shape[1] != b.shape[1]:
        raise UserError(f"{a.shape[1]} images against {b.shape[1]}; score both methods on the same images")


def _constant(d: np.ndarray, a: np.ndarray, b: np.ndarray) -> bool:
    """Whether d differs by rounding only, where BCa is 0/0."""
    return bool(np.ptp(d) <= 1e-12 * max(np.abs(a).max(), np.abs(b).max(), 1e-300))


def _t_interval(d: np.ndarray) -> tuple[float, float]:
    from scipy import stats

    half = stats.t.ppf(0.975, d.size - 1) * d.std(ddof=1) / math.sqrt(d.size)
    return float(d.mean() - half), float(d.mean() + half)


def _ratio_of_means(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
    return x.mean(axis=axis) / y.mean(axis=axis)


def _bootstrap(data: tuple, statistic, rng_seed: int, n_resamples: int) -> tuple[float, float]:
    from scipy import stats

    interval = stats.bootstrap(
        data,
        statistic,
        paired=len(data) > 1,
        vectorized=True,
        method="BCa",
        n_resamples=n_resamples,
        rng=np.random.default_rng(rng_seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def _sign_flip(d: np.ndarray, rng_seed: int, n_resamples: int) -> float:
    """Two-sided p of "the sign of each image's difference is chance"; exact where 2^n <= n_resamples."""
    from scipy import stats

    result = stats.permutation_test(
        (d,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=n_resamples,
        rng=np.random.default_rng(rng_seed),
    )
    return float(min(1.0, result.pvalue))


def _seed_sd(x: np.ndarray) -> float | None:
    return float(x.mean(axis=1).std(ddof=1)) if len(x) > 1 else None


def _result(mean, low, high, method, a, b, p, rng_seed, n_resamples) -> Difference:
    return Difference(
        mean=mean,
        ci_low=low,
        ci_high=high,
        method=method,
        n_images=a.shape[1],
        n_seeds=a.shape[0],
        n_seeds_base=b.shape[0],
        seed_sd=_seed_sd(a),
        seed_sd_base=_seed_sd(b),
        p=p,
        rng_seed=rng_seed,
        n_resamples=n_resamples,
    )
