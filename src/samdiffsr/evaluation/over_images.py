"""Inference for these very trainings: images are a random sample, seeds are as given.

From 30 images on the interval is a bias-corrected and accelerated bootstrap over images (BCa; Efron, Journal
of the American Statistical Association 82, 1987), below that Student's t.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypedDict

import numpy as np

LEVEL = 0.95  # of intervals; tests are two-sided at 1 - LEVEL
BOOTSTRAP_FROM = 30  # images


class Interval(TypedDict):
    """A 95 % interval in the unit of the mean and how it was made; None, None where there is none."""

    low: float | None
    high: float | None
    method: str


class Bootstrap(NamedTuple):
    """A BCa bootstrap: arrays (..., images), resampled together along images, and the statistic of them."""

    data: tuple[np.ndarray, ...]
    statistic: Callable[..., np.ndarray]
    rng_seed: int
    n_resamples: int

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Of the 95 % interval, in the unit of the statistic; arrays of the leading shape."""
        from scipy import stats

        found = stats.bootstrap(
            self.data,
            self.statistic,
            axis=-1,
            paired=len(self.data) > 1,
            vectorized=True,
            method="BCa",
            confidence_level=LEVEL,
            n_resamples=self.n_resamples,
            rng=np.random.default_rng(self.rng_seed),
        ).confidence_interval
        return found.low, found.high


def student(d: np.ndarray) -> np.ndarray:
    """Half the width of the t interval of the mean of d (..., images)."""
    from scipy import stats

    images = d.shape[-1]
    bound: float = stats.t.ppf(0.5 + LEVEL / 2, images - 1)
    return np.asarray(bound * d.std(axis=-1, ddof=1) / images**0.5)


def over_images(
    d: np.ndarray, rounding: float, at: Callable[[float], float], bootstrap: Bootstrap
) -> Interval:
    """The interval over images.

    Args:
        d: (images,), 2 or more, of which t is made. rounding: if they are no further apart than this, the
            interval is the mean alone ("constant"), since BCa would be 0/0.
        at: an offset from the mean of d -> the bound in the unit of the result.
        bootstrap: gives its bounds in that unit.
    """
    if np.ptp(d) <= rounding:
        return Interval(low=at(0.0), high=at(0.0), method="constant")
    if d.size < BOOTSTRAP_FROM:
        half = float(student(d))
        return Interval(low=at(-half), high=at(half), method="t")
    low, high = bootstrap.bounds()
    return Interval(low=float(low), high=float(high), method="bca")
