"""The arms: tables, forward process and target, one by one."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from samdiffsr.core.errors import UserError
from samdiffsr.diffusion.process import formulation
from samdiffsr.diffusion.registry import FORMULATIONS
from samdiffsr.diffusion.schedule import cosine_schedule, schedule_from_betas

SCHEDULE = cosine_schedule()


def batch(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, ...]:
    """x_0, e_sam, epsilon, t of four small images."""
    generator = torch.Generator().manual_seed(1)
    x_0 = torch.rand(4, 3, 5, 6, generator=generator, dtype=dtype) * 2 - 1
    e_sam = torch.rand(4, 1, 5, 6, generator=generator, dtype=dtype)
    epsilon = torch.randn(4, 3, 5, 6, generator=generator, dtype=dtype)
    return x_0, e_sam, epsilon, torch.tensor([0, 49, 98, 99])


# Per unit of e_sam, computed independently of this code: t -> (m_t, k_t).
GOLDEN = {
    "published": {
        1: (0.0251, 1.0),
        10: (0.508, 2.355),
        50: (4.577, 4.068),
        90: (5.929, 2.381),
        100: (1.081, 1.0005),
    },
    "released": {1: (3.99e-7, 1.59e-5), 10: (1.41e-4, 8.41e-4), 50: (0.0155, 0.0218), 99: (0.750, 0.750)},
    "released_nocoef": {1: (0.0251, 1.0), 50: (0.711, 1.0), 100: (1.0, 1.0)},
    "coefficient_fix": {1: (0.0251, 1.0), 10: (0.393, 2.355), 50: (2.894, 4.068), 80: (3.02, 3.174)},
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_tables(name: str):
    arm = formulation(name, SCHEDULE)
    for t, (m, k) in GOLDEN[name].items():
        assert float(arm.m[t - 1]) == pytest.approx(m, rel=5e-3), t
        assert float(arm.k[t - 1]) == pytest.approx(k, rel=5e-3), t


def test_golden_b():
    """What x_0's estimate carries of e_sam under `published`."""
    b = formulation("published", SCHEDULE).b
    golden = {10: 0.12, 30: 0.77, 50: 2.4, 70: 6.6, 90: 23, 99: 91, 100: 163}
    for t, expected in golden.items():
        assert float(b[t - 1]) == pytest.approx(expected, rel=0.03), t
    assert float(b[0]) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", FORMULATIONS)
def test_noisy_and_target_are_the_general_form(name: str):
    arm = formulation(name, SCHEDULE)
    x_0, e_sam, epsilon, t = batch(torch.float64)
    x_t, target = arm.noisy(x_0, e_sam, epsilon, t), arm.target(e_sam, epsilon, t)
    if arm.scale is not None:
        epsilon = arm.scale(e_sam) * epsilon
    for j, i in enumerate(t.tolist()):
        alpha_bar = SCHEDULE.alpha_bar[i]
        expected = alpha_bar.sqrt() * x_0[j] + arm.m[i] * e_sam[j] + (1 - alpha_bar).sqrt() * epsilon[j]
        assert_close(x_t[j], expected, rtol=0, atol=1e-14)
        assert_close(target[j], arm.k[i] * e_sam[j] + epsilon[j], rtol=0, atol=1e-14)
        carried = (x_t[j] - (1 - alpha_bar).sqrt() * target[j]) / alpha_bar.sqrt()
        assert_close(carried, x_0[j] + arm.b[i] * e_sam[j], rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", FORMULATIONS)
def test_without_structure_every_arm_is_the_plain_one(name: str):
    arm, plain = formulation(name, SCHEDULE), formulation("none", SCHEDULE)
    x_0, e_sam, epsilon, t = batch()
    zero = torch.zeros_like(e_sam)
    assert torch.equal(arm.noisy(x_0, zero, epsilon, t), plain.noisy(x_0, None, epsilon, t))
    assert torch.equal(arm.target(zero, epsilon, t), plain.target(None, epsilon, t))


def test_plain_arms_ignore_e_sam():
    x_0, e_sam, epsilon, t = batch()
    for name in ("none", "condition"):
        arm = formulation(name, SCHEDULE)
        assert not arm.modulated
        assert torch.equal(arm.noisy(x_0, e_sam, epsilon, t), arm.noisy(x_0, None, epsilon, t))
        assert torch.equal(arm.target(e_sam, epsilon, t), epsilon)
    assert all(formulation(name, SCHEDULE).modulated for name in set(FORMULATIONS) - {"none", "condition"})


@pytest.mark.parametrize("name", ["released", "released_nocoef", "coefficient_fix"])
def test_one_modulated_noise_serves_input_and_target(name: str):
    """The authors' code: x_t = sqrt(abar) x_0 + sqrt(1-abar) target, so x_0 comes out clean."""
    arm = formulation(name, SCHEDULE)
    x_0, e_sam, epsilon, t = batch(torch.float64)
    alpha_bar = SCHEDULE.alpha_bar[t].reshape(-1, 1, 1, 1)
    expected = alpha_bar.sqrt() * x_0 + (1 - alpha_bar).sqrt() * arm.target(e_sam, epsilon, t)
    assert_close(arm.noisy(x_0, e_sam, epsilon, t), expected, rtol=0, atol=1e-14)
    assert not arm.b.any()


def test_released_coefficient():
    arm = formulation("released", SCHEDULE)
    assert_close(arm.k, (1 - SCHEDULE.alpha_bar).sqrt() * SCHEDULE.beta, rtol=0, atol=0)


@settings(max_examples=30, deadline=None)
@given(
    beta=st.lists(st.floats(1e-4, 0.99), min_size=1, max_size=20),
    strength=st.floats(-3, 3),
    power=st.floats(0.5, 3),
)
def test_self_consistency(beta: list[float], strength: float, power: float):
    """eq. (4)'s mean needs no e_sam: k_t = (m_t - sqrt(alpha_t) m_{t-1}) sqrt(1-abar_t) / beta_t."""
    schedule = schedule_from_betas(torch.tensor(beta, dtype=torch.float64))
    for arm in (
        formulation("published", schedule),
        formulation("consistent", schedule, {"strength": strength, "power": power}),
    ):
        m_prev = torch.cat([torch.zeros(1, dtype=torch.float64), arm.m[:-1]])
        # E-aware posterior mean: c1 x_0 + c2 x_t + (m_{t-1} - c2 m_t) e_sam; eq. (4) carries c1 b_t of e_sam.
        assert_close(schedule.c1 * arm.b, m_prev - schedule.c2 * arm.m, rtol=1e-7, atol=1e-9)


def test_consistent_shift_is_strength_noise_deviations():
    arm = formulation("consistent", SCHEDULE, {"strength": 0.5})
    assert_close(arm.m, 0.5 * (1 - SCHEDULE.alpha_bar).sqrt())
    squared = formulation("consistent", SCHEDULE, {"power": 2})
    assert_close(squared.m, 1 - SCHEDULE.alpha_bar)
    assert bool((squared.b[1:30] < 0.3 * arm.b[1:30] / 0.5).all())  # b_t fades towards t = 0


def test_dtype_follows_the_image():
    x_0, e_sam, epsilon, t = batch()
    arm = formulation("published", SCHEDULE)
    assert arm.noisy(x_0, e_sam, epsilon, t).dtype == torch.float32
    assert arm.target(e_sam, epsilon, t).dtype == torch.float32


def test_clip_rules():
    assert {name: formulation(name, SCHEDULE).clip for name in FORMULATIONS} == {
        "none": "srdiff",
        "condition": "srdiff",
        "published": "wide",
        "released": "srdiff",
        "released_nocoef": "srdiff",
        "coefficient_fix": "srdiff",
        "consistent": "wide",
        "scaled": "srdiff",
        "shift_and_scale": "wide",
        "scaled_known": "srdiff",
    }


def test_mistakes_are_named():
    with pytest.raises(UserError, match=r"'publisched'.*published"):
        formulation("publisched", SCHEDULE)
    with pytest.raises(UserError, match="'published' has no option strength"):
        formulation("published", SCHEDULE, {"strength": 2.0})


@pytest.mark.parametrize(("t", "error"), [(-1, ValueError), (100, IndexError)])
def test_t_out_of_range(t: int, error: type):
    x_0, e_sam, epsilon, _ = batch()
    with pytest.raises(error):
        formulation("published", SCHEDULE).noisy(x_0, e_sam, epsilon, torch.full((4,), t))


def test_only_arms_without_a_taming_clamp_skip_the_first_step():
    schedule = cosine_schedule(100)
    assert {name for name in FORMULATIONS if FORMULATIONS[name].clip == "wide"} >= {"published", "consistent"}
    starts = {name: formulation(name, schedule).first_t for name in FORMULATIONS}
    assert starts == {name: 99 if FORMULATIONS[name].clip == "wide" else 100 for name in FORMULATIONS}
