"""The noise schedule, equation by equation."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from samdiffsr.core.errors import UserError
from samdiffsr.diffusion.schedule import cosine_schedule, schedule_from_betas


def test_alpha_bar_is_nichols_cosine():
    schedule = cosine_schedule(T=100, s=0.008)
    f = [math.cos((t / 100 + 0.008) / 1.008 * math.pi / 2) ** 2 for t in range(101)]
    expected = torch.tensor([f[t] / f[0] for t in range(1, 100)], dtype=torch.float64)
    assert_close(schedule.alpha_bar[:99], expected, rtol=0, atol=1e-14)  # the last beta is clipped
    assert schedule.beta[-1] == 0.999
    assert_close(schedule.alpha_bar[-1], schedule.alpha_bar[-2] * (1 - schedule.beta[-1]))
    assert (schedule.beta < 0.999).sum() == 99


def test_golden_values():
    """Computed independently of this code, per unit of e_sam; columns t, beta, sqrt(1 - alpha_bar), phi."""
    rows = [
        (1, 6.31e-4, 0.0251, 0.0251),
        (10, 5.03e-3, 0.167, 0.508),
        (30, 0.0158, 0.462, 2.377),
        (50, 0.0306, 0.711, 4.577),
        (80, 0.0899, 0.952, 6.557),
        (99, 0.750, 0.99988, 2.576),
        (100, 0.999, 1.000, 1.081),
    ]
    schedule = cosine_schedule()
    for t, *expected in rows:
        i = t - 1
        got = (schedule.beta[i], (1 - schedule.alpha_bar[i]).sqrt(), schedule.phi[i])
        for value, reference in zip(got, expected, strict=True):
            assert float(value) == pytest.approx(reference, rel=5e-3), t
    assert int(schedule.phi.argmax()) + 1 == 79


def test_tables_are_float64_of_length_T():
    schedule = cosine_schedule(T=7)
    for name, table in vars(schedule).items():
        assert table.dtype == torch.float64, name
        assert table.shape == (7,), name
    assert schedule.T == 7


@settings(max_examples=30, deadline=None)
@given(beta=st.lists(st.floats(1e-5, 0.999), min_size=1, max_size=40))
def test_phi_recursion_is_the_sum(beta: list[float]):
    """phi_t = sqrt(1 - beta_t) phi_{t-1} + sqrt(beta_t) is eq. (3)'s sum_i sqrt(abar_t beta_i / abar_i)."""
    schedule = schedule_from_betas(torch.tensor(beta, dtype=torch.float64))
    phi, alpha_bar = 0.0, 1.0
    for i, b in enumerate(beta):
        assert float(schedule.phi_prev[i]) == pytest.approx(phi, rel=1e-9)
        assert float(schedule.alpha_bar_prev[i]) == pytest.approx(alpha_bar, rel=1e-9)
        phi, alpha_bar = math.sqrt(1 - b) * phi + math.sqrt(b), alpha_bar * (1 - b)
        assert float(schedule.phi[i]) == pytest.approx(phi, rel=1e-9)
        assert float(schedule.alpha_bar[i]) == pytest.approx(alpha_bar, rel=1e-9)


def test_chain_of_eq_2_has_the_marginal_of_eq_3():
    """Mean and variance of x_t = sqrt(1-beta) x_{t-1} + sqrt(beta) (e_sam + epsilon), propagated exactly."""
    schedule = cosine_schedule()
    x_0, e_sam = 0.3, -0.8
    mean, variance = x_0, 0.0
    for i in range(schedule.T):
        beta = float(schedule.beta[i])
        mean, variance = math.sqrt(1 - beta) * mean + math.sqrt(beta) * e_sam, (1 - beta) * variance + beta
        closed = schedule.alpha_bar[i].sqrt() * x_0 + schedule.phi[i] * e_sam
        assert mean == pytest.approx(float(closed), abs=1e-12)
        assert variance == pytest.approx(float(1 - schedule.alpha_bar[i]), abs=1e-12)


def test_chain_of_eq_2_by_simulation():
    schedule = cosine_schedule()
    generator = torch.Generator().manual_seed(0)
    x = torch.full((100_000,), 0.3, dtype=torch.float64)
    for i in range(50):
        epsilon = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        x = schedule.alpha[i].sqrt() * x + schedule.beta[i].sqrt() * (epsilon - 0.8)
    assert float(x.mean()) == pytest.approx(
        float(schedule.alpha_bar[49].sqrt() * 0.3 - schedule.phi[49] * 0.8), abs=0.01
    )
    assert float(x.var()) == pytest.approx(float(1 - schedule.alpha_bar[49]), rel=0.02)


def grid_posterior(schedule, t: int, x_0: float, x_t: float, e_sam: float) -> tuple[float, float]:
    """Mean and variance of x_{t-1} given x_t, x_0, e_sam: Bayes' rule (paper eq. 15, line 1) on a grid."""
    i = t - 1
    x = torch.linspace(-20, 20, 400_001, dtype=torch.float64)
    prior_mean = schedule.alpha_bar_prev[i].sqrt() * x_0 + schedule.phi_prev[i] * e_sam
    prior = -((x - prior_mean) ** 2) / (2 * (1 - schedule.alpha_bar_prev[i]))
    step_mean = schedule.alpha[i].sqrt() * x + schedule.beta[i].sqrt() * e_sam
    likelihood = -((x_t - step_mean) ** 2) / (2 * schedule.beta[i])
    weight = torch.softmax(prior + likelihood, 0)
    mean = (weight * x).sum()
    return float(mean), float((weight * (x - mean) ** 2).sum())


@pytest.mark.parametrize("t", [2, 17, 51, 90, 99, 100])
def test_posterior_is_bayes_rule(t: int):
    schedule, i = cosine_schedule(), t - 1
    mean, variance = grid_posterior(schedule, t, x_0=-0.4, x_t=0.7, e_sam=0.0)
    assert mean == pytest.approx(float(schedule.c1[i] * -0.4 + schedule.c2[i] * 0.7), abs=1e-8)
    assert variance == pytest.approx(float(schedule.posterior_variance[i]), rel=1e-7)


@pytest.mark.parametrize("t", [2, 17, 51, 90, 99])
def test_eq_4_is_bayes_rule(t: int):
    """Paper eq. (4): the posterior mean from the target alone, with the same epsilon as in x_t."""
    schedule, i = cosine_schedule(), t - 1
    x_0, e_sam, epsilon = -0.4, 0.8, 1.3
    sigma, beta = float((1 - schedule.alpha_bar[i]).sqrt()), float(schedule.beta[i])
    x_t = float(schedule.alpha_bar[i].sqrt()) * x_0 + float(schedule.phi[i]) * e_sam + sigma * epsilon
    eq_4 = (x_t - beta / sigma * (sigma / math.sqrt(beta) * e_sam + epsilon)) / math.sqrt(1 - beta)
    mean, variance = grid_posterior(schedule, t, x_0, x_t, e_sam)
    assert mean == pytest.approx(eq_4, abs=1e-7)
    assert variance == pytest.approx(float(schedule.posterior_variance[i]), rel=1e-6)  # eq. (16)


def test_first_step_has_no_posterior_spread():
    schedule = cosine_schedule()
    assert schedule.posterior_variance[0] == 0
    assert schedule.c2[0] == 0
    assert float(schedule.c1[0]) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("options", [{"T": 0}, {"s": -0.1}, {"beta_max": 1.0}, {"beta_max": 0.0}])
def test_bad_arguments(options: dict):
    with pytest.raises(UserError, match="cosine schedule"):
        cosine_schedule(**options)


@pytest.mark.parametrize("beta", [[], [0.1, 0.0], [0.1, 1.0], [float("nan")], [[0.1]]])
def test_bad_betas(beta: list):
    with pytest.raises(UserError, match="strictly between 0 and 1"):
        schedule_from_betas(torch.tensor(beta, dtype=torch.float64))


def test_a_schedule_that_leaves_nothing_of_the_image_is_refused_by_name():
    """phi was NaN there, silently: it divides by alpha_bar."""
    beta = torch.full((200,), 0.999, dtype=torch.float64)
    with pytest.raises(UserError, match=r"alpha_bar underflows at t = 103, nothing of the image is left"):
        schedule_from_betas(beta)
    assert bool(torch.isfinite(schedule_from_betas(beta[:100]).phi).all())
