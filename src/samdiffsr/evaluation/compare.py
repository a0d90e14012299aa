"""Is a difference between two methods more than chance?

Two intervals answer two questions. `methods`: would other trainings, on other images, differ so too? Seeds
and images are both random (`samdiffsr.evaluation.crossed`). This one is claimed. `trainings`: do these very
trainings differ on other images? It takes the seeds as given. For methods it is far too narrow: with the
spread over seeds that was measured here, it holds the true difference in 4 of 10 studies with three seeds
(benchmarks/results/coverage.md).

Both are paired over images: two methods restore the same images, so their difference per image is far
less spread than either's score.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypedDict

import numpy as np

from samdiffsr.core.errors import UserError
from samdiffsr.evaluation.crossed import Spread, detectable, estimate, spread
from samdiffsr.evaluation.over_images import LEVEL, Bootstrap, Interval, over_images

CLAIM_FROM = 6  # images; fewer do not show how skewed their differences are
CLAIM_SEEDS = 3  # of each method; with two the interval covers less than it says
Verdict = Literal["higher", "lower", "not decided"]


class Difference(TypedDict):
    """A paired comparison; JSON-ready (None where a value does not exist).

    kind: "difference" (a minus b, in the metric's unit) or "ratio" (mean of a over mean of b).
    ci_low, ci_high, method: those of `methods`.
    methods: "crossed"; "seeds" or "images" where the variance over these alone is larger (the floor of
        `crossed.estimate`); these three end in ", unpaired" where the seeds do not pair. "constant": the same
        difference everywhere. "one seed", "few images": no claim.
    trainings: "bca", "t", "constant" or "few images".
    se, df, p: of `methods`: standard error (ratio: of its logarithm), degrees of freedom, and the p of the
        two-sided t test of no difference.
    seed_sd, seed_sd_base: sd over seeds of a's and of b's mean over images. seed_sd_difference: of the mean
        paired difference (ratio: of its logarithm); None where seeds do not pair.
    spread: sd of seeds, images and residual, from which `crossed.seeds_needed` plans (ratio: as se).
    detectable: the smallest true difference that so many seeds and images find with 80 % probability (ratio:
        its factor).
    rng_seed, n_resamples: of the bootstrap over images.
    """

    kind: Literal["difference", "ratio"]
    mean: float
    ci_low: float | None
    ci_high: float | None
    method: str
    methods: Interval
    trainings: Interval
    se: float | None
    df: float | None
    p: float | None
    n_images: int
    n_seeds: int
    n_seeds_base: int
    seed_sd: float | None
    seed_sd_base: float | None
    seed_sd_difference: float | None
    spread: Spread | None
    detectable: float | None
    rng_seed: int
    n_resamples: int


def paired_difference(
    a: np.ndarray,
    b: np.ndarray,
    rng_seed: int = 1,
    n_resamples: int = 9999,
    *,
    seeds_pair: bool | None = None,
) -> Difference:
    """How much a is above b, image by image and seed by seed.

    Args:
        a, b: (seeds, images) or (images,), the same images in the same order. A method that is not trained
            (bicubic) has no seeds: repeat its row as often as the other has seeds.
        rng_seed, n_resamples: of the bootstrap over images; stored in the result.
        seeds_pair: whether row s of a and row s of b are of one seed; None: if both have as many rows.

    Raises UserError if the images do not match, if seeds are to pair and their numbers differ, or if a value
    is not finite.
    """
    a, b, pair = _checked(a, b, seeds_pair)
    by_image = a.mean(axis=0) - b.mean(axis=0)
    mean = float(by_image.mean())
    bootstrap = Bootstrap((by_image,), np.mean, rng_seed, n_resamples)
    return _Comparison("difference", mean, a, b, a, b, pair, lambda off: mean + off, bootstrap).result()


def paired_ratio(
    a: np.ndarray,
    b: np.ndarray,
    rng_seed: int = 1,
    n_resamples: int = 9999,
    *,
    seeds_pair: bool | None = None,
) -> Difference:
    """Mean of a over mean of b, for metrics whose scale means nothing (the artifact score).

    Arguments and errors as in `paired_difference`. Intervals are those of the ratio's logarithm, to first
    order (delta method): of a[s, i] / mean(a) - b[s, i] / mean(b), around log(mean(a) / mean(b)). Raises
    UserError if a mean is not positive.
    """
    a, b, pair = _checked(a, b, seeds_pair)
    for mean in (a.mean(), b.mean()):
        if not mean > 0:
            raise UserError(f"ratio with a mean of {mean:g}; use a difference for this metric")
    ratio = float(a.mean() / b.mean())
    bootstrap = Bootstrap((a.mean(axis=0), b.mean(axis=0)), _ratio_of_means, rng_seed, n_resamples)
    x, y = a / a.mean(), b / b.mean()
    return _Comparison(
        "ratio", ratio, a, b, x, y, pair, lambda off: ratio * math.exp(off), bootstrap
    ).result()


def verdict(difference: Difference) -> Verdict:
    """What may be said of the methods: it takes three seeds, and an interval without 0 (of a ratio: 1)."""
    low, high = difference["ci_low"], difference["ci_high"]
    if low is None or high is None or min(_seeds(difference)) < CLAIM_SEEDS:
        return "not decided"
    null = 1.0 if difference["kind"] == "ratio" else 0.0
    return "higher" if low > null else "lower" if high < null else "not decided"


def equivalence(difference: Difference, margin: float) -> float | None:
    """p of two one-sided t tests against "the methods differ by `margin` or more"; None: nothing is claimed.

    At 0.05 or less they are equivalent within the margin: the 90 % interval lies inside it (Schuirmann,
    Journal of Pharmacokinetics and Biopharmaceutics 15, 1987). margin: above 0, in the unit of the mean; of
    a ratio the factor, above 1.
    """
    from scipy import stats

    offset = difference["mean"]
    if difference["kind"] == "ratio":
        offset, margin = math.log(offset), math.log(margin)
    if not margin > 0:
        raise UserError("an equivalence margin must be above 0, of a ratio above 1")
    se, df = difference["se"], difference["df"]
    if se is None or df is None or min(_seeds(difference)) < CLAIM_SEEDS:
        return None
    if se == 0:
        return 0.0 if abs(offset) < margin else 1.0
    return float(stats.t.sf((margin - abs(offset)) / se, df))


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
    """The comparison in words, what may be claimed of the methods first.

    For example "+0.12 dB, 95 % CI [-0.02, 0.26], 3 seeds, 100 images: not decided; these trainings alone
    [0.05, 0.19]".
    """

    def bounds(of: Interval) -> str:
        return f"[{of['low']:.{digits}f}, {of['high']:.{digits}f}]"

    ratio = difference["kind"] == "ratio"
    value = f"ratio {difference['mean']:.{digits}f}" if ratio else f"{difference['mean']:+.{digits}f}"
    head = f"{value} {unit}" if unit else value
    seeds, images = _seeds(difference), difference["n_images"]
    counts = f"{' and '.join(map(str, seeds))} seed{'s' * (max(seeds) > 1)}, "
    counts += f"{images} image{'s' * (images != 1)}"
    methods = difference["methods"]
    if methods["method"] == "few images":
        also = ", and too few seeds to decide" if min(seeds) < CLAIM_SEEDS else ""
        return f"{head}, {counts}: too few images to claim anything{also}"
    alone = f"these trainings alone {bounds(difference['trainings'])}"
    if methods["method"] == "one seed":
        return f"{head}, {counts}: too few seeds to decide (one training is no claim about methods); {alone}"
    if methods["method"] == "constant":
        return f"{head} on every image with every seed, {counts}"
    claim = (
        verdict(difference)
        if min(seeds) >= CLAIM_SEEDS
        else f"too few seeds to decide (a claim takes {CLAIM_SEEDS})"
    )
    return f"{head}, 95 % CI {bounds(methods)}, {counts}: {claim}; {alone}"


class _Test(NamedTuple):
    """What seeds and images, both random, say of the methods beside the interval."""

    se: float | None = None
    df: float | None = None
    p: float | None = None
    detectable: float | None = None


@dataclass(frozen=True)
class _Comparison:
    """Two methods' scores a and b, (seeds, images).

    x, y: the tables whose difference is inferred about. pair: whether their rows pair by seed. at: an offset
    from the mean, in their unit -> a bound.
    """

    kind: Literal["difference", "ratio"]
    mean: float
    a: np.ndarray
    b: np.ndarray
    x: np.ndarray
    y: np.ndarray
    pair: bool
    at: Callable[[float], float]
    bootstrap: Bootstrap

    def result(self) -> Difference:
        a, b, x, y = self.a, self.b, self.x, self.y
        methods, test = self._methods()
        return Difference(
            kind=self.kind,
            mean=self.mean,
            ci_low=methods["low"],
            ci_high=methods["high"],
            method=methods["method"],
            methods=methods,
            trainings=self._trainings(),
            se=test.se,
            df=test.df,
            p=test.p,
            n_images=a.shape[1],
            n_seeds=len(a),
            n_seeds_base=len(b),
            seed_sd=_seed_sd(a),
            seed_sd_base=_seed_sd(b),
            seed_sd_difference=_seed_sd(x - y) if self.pair else None,
            spread=spread(*self._tables) if min(len(a), len(b), a.shape[1] - 1) > 1 else None,
            detectable=test.detectable,
            rng_seed=self.bootstrap.rng_seed,
            n_resamples=self.bootstrap.n_resamples,
        )

    def _trainings(self) -> Interval:
        """Over images, of these trainings alone."""
        if self._few_images:
            return Interval(low=None, high=None, method="few images")
        by_image = self.x.mean(axis=0) - self.y.mean(axis=0)
        return over_images(by_image, self._rounding, self.at, self.bootstrap)

    def _methods(self) -> tuple[Interval, _Test]:
        """Over seeds and images."""
        from scipy import stats

        if self._few_images or min(len(self.a), len(self.b)) == 1:
            why = "few images" if self._few_images else "one seed"
            return Interval(low=None, high=None, method=why), _Test()
        found = estimate(*self._tables)
        se, df = float(found.variance) ** 0.5, float(found.df)
        offset = self.mean if self.kind == "difference" else math.log(self.mean)
        if se <= self._rounding:  # the same everywhere: no test
            same = Interval(low=self.at(0.0), high=self.at(0.0), method="constant")
            return same, _Test(se=0.0, df=df, p=1.0 if abs(offset) <= self._rounding else 0.0)
        half = float(stats.t.ppf(0.5 + LEVEL / 2, df)) * se
        method = (str(found.floor) or "crossed") + ("" if self.pair else ", unpaired")
        p, least = float(2 * stats.t.sf(abs(offset) / se, df)), detectable(se**2, df)
        test = _Test(se=se, df=df, p=p, detectable=math.exp(least) if self.kind == "ratio" else least)
        return Interval(low=self.at(-half), high=self.at(half), method=method), test

    @property
    def _few_images(self) -> bool:
        return self.a.shape[1] < CLAIM_FROM

    @property
    def _tables(self) -> tuple[np.ndarray, np.ndarray | None]:
        """What `crossed` takes: one table where seeds pair, else two."""
        return (self.x - self.y, None) if self.pair else (self.x, self.y)

    @property
    def _rounding(self) -> float:
        """What differences of these values differ by through rounding alone."""
        return 1e-12 * max(float(np.abs(self.x).max()), float(np.abs(self.y).max()), 1e-300)


def _checked(a: np.ndarray, b: np.ndarray, seeds_pair: bool | None) -> tuple[np.ndarray, np.ndarray, bool]:
    a, b = _scores(a, "a"), _scores(b, "b")
    if a.shape[1] != b.shape[1]:
        raise UserError(f"{a.shape[1]} images against {b.shape[1]}; score both methods on the same images")
    pair = len(a) == len(b) if seeds_pair is None else seeds_pair
    if pair and len(a) != len(b):
        raise UserError(f"{len(a)} seeds against {len(b)} do not pair; compare them with seeds_pair=False")
    return a, b, pair


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


def _seeds(difference: Difference) -> list[int]:
    """The numbers of seeds of the two methods; one number if they are the same."""
    return list(dict.fromkeys((difference["n_seeds"], difference["n_seeds_base"])))


def _ratio_of_means(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
    return np.asarray(x.mean(axis=axis) / y.mean(axis=axis))


def _seed_sd(x: np.ndarray) -> float | None:
    return float(x.mean(axis=1).std(ddof=1)) if len(x) > 1 else None
