"""Paired differences: what is claimed, and with how many images."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samdiffsr.core.errors import UserError
from samdiffsr.evaluation.compare import holm, paired_difference, paired_ratio, sentence


def scores(
    n_images: int, n_seeds: int = 3, gain: float = 0.3, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """A method and its baseline on images that differ far more than the methods do."""
    rng = np.random.default_rng(seed)
    base = rng.normal(26, 4, n_images) + rng.normal(0, 0.05, (n_seeds, n_images))
    method = base.mean(axis=0) + rng.normal(gain, 0.4, n_images) + rng.normal(0, 0.05, (n_seeds, n_images))
    return method, base


@pytest.mark.parametrize(
    ("n", "method"), [(1, "none"), (5, "none"), (6, "t"), (14, "t"), (29, "t"), (30, "bca")]
)
def test_what_is_claimed_depends_on_the_number_of_images(n: int, method: str) -> None:
    result = paired_difference(*scores(n), n_resamples=999)
    assert result["method"] == method
    assert (result["n_images"], result["n_seeds"], result["n_seeds_base"]) == (n, 3, 3)
    if method == "none":
        assert result["ci_low"] is result["ci_high"] is result["p"] is None
    else:
        assert result["ci_low"] < result["mean"] < result["ci_high"]
        assert 0 < result["p"] <= 1
    json.dumps(result, allow_nan=False)


def test_mean_is_a_minus_b_over_images_of_seed_means() -> None:
    a, b = scores(40)
    result = paired_difference(a, b, n_resamples=99)
    assert result["mean"] == pytest.approx(a.mean() - b.mean())
    assert result["seed_sd"] == pytest.approx(np.std([a[k].mean() for k in range(3)], ddof=1))
    assert result["seed_sd_base"] == pytest.approx(np.std([b[k].mean() for k in range(3)], ddof=1))
    assert paired_difference(a[0], b, n_resamples=99)["seed_sd"] is None


def test_the_t_interval_by_hand() -> None:
    d = np.array([0.1, 0.3, 0.2, 0.5, 0.4, 0.0, 0.6])
    result = paired_difference(d + 30, np.full(7, 30.0))
    half = 2.446912 * d.std(ddof=1) / math.sqrt(7)  # t(0.975, 6) from a printed table
    assert result["ci_low"] == pytest.approx(0.3 - half, abs=1e-6)
    assert result["ci_high"] == pytest.approx(0.3 + half, abs=1e-6)


def test_the_sign_flip_p_by_hand() -> None:
    """Six positive differences: of the 2^6 sign patterns only the two extreme ones reach that mean."""
    d = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    assert paired_difference(d, np.zeros(6))["p"] == pytest.approx(2 / 64)


def test_the_bootstrap_interval_agrees_with_a_plain_one_and_pairing_matters() -> None:
    a, b = scores(100)
    result = paired_difference(a, b)
    d = a.mean(axis=0) - b.mean(axis=0)
    rng = np.random.default_rng(5)
    draws = d[rng.integers(0, 100, (9999, 100))].mean(axis=1)
    low, high = np.quantile(draws, [0.025, 0.975])
    assert result["ci_low"] == pytest.approx(low, abs=0.01)
    assert result["ci_high"] == pytest.approx(high, abs=0.01)
    unpaired = 2 * 1.96 * math.sqrt((a.mean(0).var(ddof=1) + b.mean(0).var(ddof=1)) / 100)
    assert result["ci_high"] - result["ci_low"] < unpaired / 5
    assert result["p"] < 0.001


def test_the_result_is_the_same_every_time_and_knows_its_seed() -> None:
    a, b = scores(40)
    first = paired_difference(a, b, rng_seed=3, n_resamples=999)
    assert paired_difference(a, b, rng_seed=3, n_resamples=999) == first
    assert (first["rng_seed"], first["n_resamples"]) == (3, 999)
    assert paired_difference(a, b, rng_seed=4, n_resamples=999)["ci_low"] != first["ci_low"]


@pytest.mark.parametrize("n", [6, 50])
@pytest.mark.parametrize("shift", [0.0, 0.1])
def test_constant_differences_give_no_nan(n: int, shift: float) -> None:
    """BCa is 0/0 there."""
    _, b = scores(n)
    result = paired_difference(b + shift, b)
    assert result["method"] == "constant"
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
    b = rng.gamma(2, 0.5, (2, 60))
    a = 0.8 * b.mean(axis=0) * rng.lognormal(0, 0.05, (2, 60))
    result = paired_ratio(a, b, n_resamples=1999)
    assert result["mean"] == pytest.approx(a.mean() / b.mean())
    assert result["ci_low"] < result["mean"] < result["ci_high"]
    assert result["ci_high"] - result["ci_low"] < 0.1  # pairing again: b alone varies by a factor
    assert paired_ratio(a[:, :14], b[:, :14])["method"] == "none"
    assert paired_ratio(0.5 * b, b)["method"] == "constant"
    with pytest.raises(UserError, match="ratio to a mean of 0"):
        paired_ratio(a, 0 * b)


def test_holm_by_hand() -> None:
    assert holm([0.01, None, 0.04, 0.03]) == pytest.approx([0.03, None, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_sentences() -> None:
    base = paired_difference(*scores(100), n_resamples=99)
    claim = {**base, "mean": 0.12, "ci_low": 0.05, "ci_high": 0.19}
    assert sentence(claim, "dB") == "+0.12 dB, 95 % CI [0.05, 0.19], 3 seeds, 100 images"
    none = paired_difference(np.full((1, 5), 1.0), np.full((1, 5), 1.5))
    assert sentence(none) == "-0.50, 1 seed, 5 images: too few images to claim anything"
    constant = paired_difference(np.full((1, 8), 1.0), np.full((1, 8), 1.5))
    assert sentence(constant, digits=1) == "-0.5 on every image, 1 seed, 8 images"
