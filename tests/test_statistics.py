"""Paired differences: what is claimed, and with how many images."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from samdiffsr.core.errors import UserError
from samdiffsr.evaluation.compare import (
    equivalence,
    holm,
    paired_difference,
    paired_ratio,
    sentence,
    verdict,
)


def scores(
    n_images: int, n_seeds: int = 3, gain: float = 0.3, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """A method and its baseline on images that differ far more than the methods do."""
    rng = np.random.default_rng(seed)
    base = rng.normal(26, 4, n_images) + rng.normal(0, 0.05, (n_seeds, n_images))
    method = base.mean(axis=0) + rng.normal(gain, 0.4, n_images) + rng.normal(0, 0.05, (n_seeds, n_images))
    return method, base


@pytest.mark.parametrize(
    ("n", "trainings"), [(1, "few images"), (5, "few images"), (6, "t"), (14, "t"), (29, "t"), (30, "bca")]
)
def test_what_is_claimed_depends_on_the_number_of_images(n: int, trainings: str) -> None:
    result = paired_difference(*scores(n), n_resamples=999)
    assert result["trainings"]["method"] == trainings
    assert (result["n_images"], result["n_seeds"], result["n_seeds_base"]) == (n, 3, 3)
    if n < 6:
        assert result["method"] == "few images"
        assert result["ci_low"] is result["ci_high"] is result["p"] is result["trainings"]["low"] is None
        assert verdict(result) == "not decided"
    else:
        assert result["ci_low"] < result["mean"] < result["ci_high"]
        assert result["trainings"]["low"] < result["mean"] < result["trainings"]["high"]
        assert 0 < result["p"] <= 1
    json.dumps(result, allow_nan=False)


def test_one_training_is_no_claim_about_methods() -> None:
    a, b = scores(100, gain=5)
    one = paired_difference(a[:1], b[:1], n_resamples=999)
    assert (one["method"], one["ci_low"], one["ci_high"], one["p"]) == ("one seed", None, None, None)
    assert one["detectable"] is None
    assert one["trainings"]["low"] > 4  # those of this training are sure
    assert verdict(one) == "not decided"
    two = paired_difference(a[:2], b[:2], n_resamples=999)
    assert two["ci_low"] > 0
    assert verdict(two) == "not decided"  # a claim takes three
    assert verdict(paired_difference(a, b, n_resamples=999)) == "higher"
    assert verdict(paired_difference(b, a, n_resamples=999)) == "lower"
    assert paired_difference(a, b[:1], n_resamples=99)["method"] == "one seed"


def test_the_interval_of_methods_by_hand() -> None:
    """Seeds differ by 0.1, 0.2, 0.3 on every image: the t interval over the three."""
    base = np.random.default_rng(0).normal(26, 4, (3, 8))
    result = paired_difference(base + np.array([[0.1], [0.2], [0.3]]), base)
    assert result["ci_low"] == pytest.approx(0.2 - 4.302653 * 0.1 / math.sqrt(3), abs=1e-6)
    assert result["ci_high"] == pytest.approx(0.2 + 4.302653 * 0.1 / math.sqrt(3), abs=1e-6)
    assert result["seed_sd_difference"] == pytest.approx(0.1)
    assert result["p"] == pytest.approx(2 * stats.t.sf(2 * math.sqrt(3), 2))


def test_seeds_that_do_not_pair() -> None:
    a, b = scores(40)
    apart = paired_difference(a, b, n_resamples=99, seeds_pair=False)
    assert apart["method"] == "crossed, unpaired"
    assert apart["seed_sd_difference"] is None
    assert apart["mean"] == paired_difference(a, b, n_resamples=99)["mean"]
    assert paired_difference(a, b[:2], n_resamples=99)["method"].endswith(", unpaired")
    with pytest.raises(UserError, match="3 seeds against 2 do not pair"):
        paired_difference(a, b[:2], seeds_pair=True)
    with_order = paired_difference(a, b[::-1], n_resamples=99, seeds_pair=False)
    assert with_order["ci_low"] == pytest.approx(apart["ci_low"])


def test_mean_is_a_minus_b_over_images_of_seed_means() -> None:
    a, b = scores(40)
    result = paired_difference(a, b, n_resamples=99)
    assert result["mean"] == pytest.approx(a.mean() - b.mean())
    assert result["seed_sd"] == pytest.approx(np.std([a[k].mean() for k in range(3)], ddof=1))
    assert result["seed_sd_base"] == pytest.approx(np.std([b[k].mean() for k in range(3)], ddof=1))
    assert paired_difference(a[0], b, n_resamples=99)["seed_sd"] is None


def test_the_t_interval_by_hand() -> None:
    d = np.array([0.1, 0.3, 0.2, 0.5, 0.4, 0.0, 0.6])
    result = paired_difference(d + 30, np.full(7, 30.0))["trainings"]
    half = 2.446912 * d.std(ddof=1) / math.sqrt(7)  # t(0.975, 6) from a printed table
    assert result["low"] == pytest.approx(0.3 - half, abs=1e-6)
    assert result["high"] == pytest.approx(0.3 + half, abs=1e-6)


def test_the_bootstrap_interval_agrees_with_a_plain_one_and_pairing_matters() -> None:
    a, b = scores(100)
    result = paired_difference(a, b)["trainings"]
    d = a.mean(axis=0) - b.mean(axis=0)
    rng = np.random.default_rng(5)
    draws = d[rng.integers(0, 100, (9999, 100))].mean(axis=1)
    low, high = np.quantile(draws, [0.025, 0.975])
    assert result["low"] == pytest.approx(low, abs=0.01)
    assert result["high"] == pytest.approx(high, abs=0.01)
    unpaired = 2 * 1.96 * math.sqrt((a.mean(0).var(ddof=1) + b.mean(0).var(ddof=1)) / 100)
    assert result["high"] - result["low"] < unpaired / 5


def test_the_result_is_the_same_every_time_and_knows_its_seed() -> None:
    a, b = scores(40)
    first = paired_difference(a, b, rng_seed=3, n_resamples=999)
    assert paired_difference(a, b, rng_seed=3, n_resamples=999) == first
    assert (first["rng_seed"], first["n_resamples"]) == (3, 999)
    assert paired_difference(a, b, rng_seed=4, n_resamples=999)["trainings"] != first["trainings"]


@pytest.mark.parametrize("n", [6, 50])
@pytest.mark.parametrize("shift", [0.0, 0.1])
def test_constant_differences_give_no_nan(n: int, shift: float) -> None:
    """BCa is 0/0 there."""
    _, b = scores(n)
    result = paired_difference(b + shift, b)
    assert result["method"] == result["trainings"]["method"] == "constant"
    assert result["p"] == (0 if shift else 1)
    assert result["ci_low"] == result["ci_high"] == pytest.approx(shift, abs=1e-9)
    json.dumps(result, allow_nan=False)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(6, 20), st.floats(-50, 50))
def test_swapping_the_methods_mirrors_the_result(seed: int, n: int, offset: float) -> None:
    a, b = scores(n, seed=seed)
    forth, back = (
        paired_difference(a + offset, b, n_resamples=99),
        paired_difference(b, a + offset, n_resamples=99),
    )
    assert forth["mean"] == pytest.approx(-back["mean"], abs=1e-9)
    assert forth["ci_low"] == pytest.approx(-back["ci_high"], abs=1e-9)
    assert forth["trainings"]["low"] == pytest.approx(-back["trainings"]["high"], abs=1e-9)
    assert forth["p"] == pytest.approx(back["p"])


def test_other_images_or_values_that_are_not_finite_are_refused() -> None:
    a, b = scores(10)
    with pytest.raises(UserError, match="10 images against 9"):
        paired_difference(a, b[:, 1:])
    a[1, 4] = np.nan
    with pytest.raises(UserError, match="scores a: image 4, seed 1 is nan"):
        paired_difference(a, b)
    with pytest.raises(UserError, match="expected"):
        paired_difference(np.empty((0, 3)), b)


def test_ratio_of_means_and_its_interval() -> None:
    rng = np.random.default_rng(0)
    b = rng.gamma(2, 0.5, (1, 60)) * rng.lognormal(0, 0.02, (3, 60))
    a = 0.8 * b * rng.lognormal(0, 0.05, (3, 60))
    result = paired_ratio(a, b, n_resamples=1999)
    assert result["mean"] == pytest.approx(a.mean() / b.mean())
    for low, high in ((result["ci_low"], result["ci_high"]), list(result["trainings"].values())[:2]):
        assert low < result["mean"] < high
        assert high - low < 0.1  # pairing again: b alone varies by a factor
    assert result["p"] < 1e-3
    assert verdict(result) == "lower"
    assert result["detectable"] > 1
    few = paired_ratio(a[:, :14], b[:, :14])
    assert few["trainings"]["method"] == "t"
    assert few["trainings"]["low"] < few["mean"] < few["trainings"]["high"]
    assert paired_ratio(0.5 * b, b)["method"] == "constant"
    for x, y in ((a, 0 * b), (0 * a, b)):
        with pytest.raises(UserError, match="ratio with a mean of 0"):
            paired_ratio(x, y)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(0.01, 100))
def test_a_ratio_is_inferred_on_logarithms(seed: int, unit: float) -> None:
    """Swapping gives the reciprocal, and neither method's unit matters."""
    rng = np.random.default_rng(seed)
    a, b = rng.gamma(3, 0.5, (2, 3, 12))
    forth, back = paired_ratio(a, b), paired_ratio(b, a)
    assert forth["mean"] == pytest.approx(1 / back["mean"])
    assert forth["ci_low"] == pytest.approx(1 / back["ci_high"])
    scaled = paired_ratio(unit * a, b)
    assert scaled["ci_low"] == pytest.approx(unit * forth["ci_low"])
    if np.ptp(a.mean(1) / b.mean(1)) < 0.05:  # small effects: the logarithm of 1 + x is x
        wanted = paired_difference(a / a.mean(), b / b.mean())["ci_high"]
        assert math.log(forth["ci_high"] / forth["mean"]) == pytest.approx(wanted)


def test_equivalence_is_two_one_sided_tests() -> None:
    a, b = scores(100, gain=0.02)
    result = paired_difference(a, b, n_resamples=99)
    half = stats.t.ppf(0.95, result["df"]) * result["se"]  # the 90 % interval
    reach = abs(result["mean"]) + half
    assert equivalence(result, reach) == pytest.approx(0.05)
    assert equivalence(result, 1.5 * reach) < 0.05 < equivalence(result, 0.8 * reach)
    one_sided = [stats.t.cdf((sign * result["mean"] - 0.2) / result["se"], result["df"]) for sign in (1, -1)]
    assert equivalence(result, 0.2) == pytest.approx(max(one_sided))
    assert equivalence(paired_difference(a[:2], b[:2]), 0.2) is None
    same = paired_difference(b + 0.1, b)
    assert (equivalence(same, 0.2), equivalence(same, 0.05)) == (0, 1)
    ratio = paired_ratio(a, b, n_resamples=99)
    assert equivalence(ratio, 1.2) == pytest.approx(equivalence(paired_ratio(b, a, n_resamples=99), 1.2))
    for margin, of in ((0.0, result), (1.0, ratio)):
        with pytest.raises(UserError, match="margin"):
            equivalence(of, margin)


def test_holm_by_hand() -> None:
    assert holm([0.01, None, 0.04, 0.03]) == pytest.approx([0.03, None, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_sentences() -> None:
    base = paired_difference(*scores(100), n_resamples=99)
    claim = {**base, "mean": 0.12, "ci_low": 0.05, "ci_high": 0.19} | {
        "methods": {"low": 0.05, "high": 0.19, "method": "crossed"},
        "trainings": {"low": 0.1, "high": 0.14, "method": "bca"},
    }
    alone = "these trainings alone [0.10, 0.14]"
    said = sentence(claim, "dB")
    assert said == f"+0.12 dB, 95 % CI [0.05, 0.19], 3 seeds, 100 images: higher; {alone}"
    assert "2 seeds, 100 images: too few seeds to decide (a claim takes 3); " in sentence(
        {**claim, "n_seeds": 2, "n_seeds_base": 2}
    )
    assert "2 and 3 seeds, 100 images: too few seeds to decide (a claim takes" in sentence(
        {**claim, "n_seeds": 2}
    )
    none = paired_difference(np.full((1, 5), 1.0), np.full((1, 5), 1.5))
    assert (
        sentence(none)
        == "-0.50, 1 seed, 5 images: too few images to claim anything, and too few seeds to decide"
    )
    d = np.linspace(0.4, 0.6, 8)
    one = sentence(paired_difference(d, np.zeros(8)))
    assert one.startswith(
        "+0.50, 1 seed, 8 images: too few seeds to decide (one training is no claim about methods); "
        "these trainings alone ["
    )
    constant = paired_difference(np.full((2, 8), 1.0), np.full((2, 8), 1.5))
    assert sentence(constant, digits=1) == "-0.5 on every image with every seed, 2 seeds, 8 images"
    rng = np.random.default_rng(0)
    ratio = sentence(paired_ratio(*(1 + rng.random((2, 3, 8)))))
    assert ratio.startswith("ratio ")
    assert ": not decided; these trainings alone [" in ratio
