"""The samplers: against the equations, against diffusers, and on a Gaussian toy solved exactly."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from samdiffsr.core.errors import UserError
from samdiffsr.diffusion.process import Process, formulation
from samdiffsr.diffusion.registry import FORMULATIONS
from samdiffsr.diffusion.sampler import chain, sample
from samdiffsr.diffusion.schedule import cosine_schedule
from samdiffsr.diffusion.toy import MU, STD, moments, perfect, pixels

SCHEDULE = cosine_schedule()


def toy(arm: Process, e_sam: float = 1.0, knows: str = "network", **options) -> tuple[float, float]:
    """Bias of the mean and ratio of the standard deviation of x_0, of an image of one pixel."""
    found = moments(arm, pixels(e_sam), knows, **options)
    return float(found.mean) - MU, float(found.std) / STD


def documented(root: Path) -> list[str]:
    return (root / "docs/method/formulations.md").read_text(encoding="utf-8").splitlines()


def seeded(shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> Callable[[int], Tensor]:
    """A noise source: image j's noise at index i depends on (i, j) only."""

    def noise(i: int) -> Tensor:
        rows = [torch.Generator().manual_seed(1000 * j + i) for j in range(shape[0])]
        return torch.stack([torch.randn(shape[1:], generator=g, dtype=dtype) for g in rows])

    return noise


def bent(x_t: Tensor, t: Tensor) -> Tensor:
    """Some smooth network: elementwise, non-linear, and of the size of noise."""
    return torch.sin(2 * x_t + 0.1 * t.reshape(-1, 1, 1, 1)) + 0.5 * x_t


# --- the coefficients -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMULATIONS)
def test_full_chain_is_the_posterior(name: str):
    """x0_hat -> c1 x0_hat + c2 x_t + posterior noise, none at the last step: SRDiff's sampler."""
    plan = chain(formulation(name, SCHEDULE))
    assert [step.t for step in plan] == list(range(100, 0, -1))
    for step in plan:
        i = step.t - 1
        assert step.s == i
        assert step.c1 == pytest.approx(float(SCHEDULE.c1[i]), abs=1e-13)
        assert step.c2 == pytest.approx(float(SCHEDULE.c2[i]), abs=1e-13)
        assert step.sigma**2 == pytest.approx(float(SCHEDULE.posterior_variance[i]), abs=1e-13)
    assert plan[-1].sigma == 0


@pytest.mark.parametrize("name", ["published", "consistent", "none"])
def test_full_chain_is_eq_4(name: str):
    """mean = (x_t - beta_t / sqrt(1 - abar_t) y) / sqrt(alpha_t), while no clamp is active."""
    arm = formulation(name, SCHEDULE)
    generator = torch.Generator().manual_seed(3)
    x_T, *ys = torch.randn(101, 1, 3, 2, 2, generator=generator, dtype=torch.float64)
    noise = seeded((1, 3, 2, 2))
    x = x_T
    for i in range(99, -1, -1):
        beta, sigma = SCHEDULE.beta[i], (1 - SCHEDULE.alpha_bar[i]).sqrt()
        x = (x - beta / sigma * ys[i]) / SCHEDULE.alpha[i].sqrt()
        x = x + SCHEDULE.posterior_variance[i].sqrt() * noise(i) if i else x
    ours = sample(lambda x_t, t: ys[int(t)], x_T, SCHEDULE, arm, noise, clip=False)
    assert_close(ours, x, rtol=1e-9, atol=1e-9)


CHAINS = [
    ("none", {"steps": 10}),
    ("none", {"steps": 10, "eta": 0.3}),
    ("published", {}),
    ("published", {"start": 99}),
    ("published", {"steps": 13}),
    ("published", {"steps": 20}),
    ("published", {"steps": 50}),
    ("published", {"steps": 12, "start": 99}),
    ("consistent", {}),
    ("consistent", {"steps": 15}),
    ("released_nocoef", {"steps": 20, "eta": 0.0}),
    ("released_nocoef", {"eta": 0.0}),
]


@pytest.mark.parametrize(("name", "options"), CHAINS)
def test_exact_chains_map_marginal_to_marginal(name: str, options: dict):
    """x_t ~ q(x_t | x_0, e_sam) and the true target give x_s ~ q(x_s | x_0, e_sam), term by term."""
    arm = formulation(name, SCHEDULE)
    alpha_bar = [1.0, *SCHEDULE.alpha_bar.tolist()]
    m, k = [0.0, *arm.m.tolist()], [0.0, *arm.k.tolist()]
    plan = chain(arm, **options)
    assert len(plan) == options.get("steps", options.get("start", 100))
    assert plan[0].t == options.get("start", 100)
    assert plan[-1].s == 0
    for step in plan:
        t, s = step.t, step.s
        a_t, sigma_t = math.sqrt(alpha_bar[t]), math.sqrt(1 - alpha_bar[t])
        # x0_hat = x_0 + (m_t - sigma_t k_t) / a_t e_sam, without epsilon
        assert step.c1 + step.c2 * a_t == pytest.approx(math.sqrt(alpha_bar[s]), abs=1e-12)
        e_sam = step.c1 * (m[t] - sigma_t * k[t]) / a_t + step.c2 * m[t]
        assert e_sam == pytest.approx(m[s], abs=1e-9)
        assert (step.c2 * sigma_t) ** 2 + step.sigma**2 == pytest.approx(1 - alpha_bar[s], abs=1e-12)
        assert step.residual == pytest.approx(0, abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(T=st.integers(2, 60), name=st.sampled_from(["published", "consistent"]), share=st.floats(0, 1))
def test_every_grid_that_is_offered_is_exact(T: int, name: str, share: float):
    arm = formulation(name, cosine_schedule(T))
    steps = 1 + round(share * (T - 1))
    try:
        plan = chain(arm, steps=steps)
    except UserError as error:
        fewest = int(str(error).split("exact in ")[1].split()[0])
        assert steps < fewest <= T
        plan, steps = chain(arm, steps=fewest), fewest
    assert len(plan) == steps
    assert max(abs(step.residual) for step in plan) < 1e-9


@pytest.mark.parametrize("name", FORMULATIONS)
def test_residual_is_the_error_of_the_mean(name: str):
    """Where no exact chain exists, `residual` says what each step is wrong by."""
    arm = formulation(name, SCHEDULE)
    for step in chain(arm, steps=7, eta=0.5, approximate=True):
        i = step.t - 1
        m_s = float(arm.m[step.s - 1]) if step.s else 0.0
        error = step.c1 * float(arm.b[i]) + step.c2 * float(arm.m[i]) - m_s
        assert step.residual == pytest.approx(error, abs=1e-9)


# --- the Gaussian toy -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["none", "condition", "published", "consistent"])
def test_full_chain_is_unbiased(name: str):
    plain = toy(formulation("none", SCHEDULE))
    bias, ratio = toy(formulation(name, SCHEDULE))
    assert abs(bias) < 1e-4
    assert ratio == pytest.approx(plain[1], abs=1e-6)
    assert ratio == pytest.approx(0.927, abs=1e-3)  # T = 100 steps of any such chain: 0.1854 instead of 0.2


@pytest.mark.parametrize("name", ["none", "published", "consistent"])
def test_std_is_right_for_many_steps(name: str):
    bias, ratio = toy(formulation(name, cosine_schedule(T=1000)))
    assert abs(bias) < 1e-4
    assert ratio == pytest.approx(1, abs=0.01)


def test_released_is_nearly_unbiased():
    bias, _ = toy(formulation("released", SCHEDULE))
    assert 1e-4 < abs(bias) < 5e-4


@pytest.mark.parametrize(("name", "bias"), [("released_nocoef", -0.266), ("coefficient_fix", -0.538)])
def test_biased_arms_are_biased_as_the_docs_say(name: str, bias: float, root: Path):
    for e_sam in (0.05, 0.3, 0.8):
        assert toy(formulation(name, SCHEDULE), e_sam)[0] == pytest.approx(bias * e_sam, abs=1e-3 * e_sam)
    rows = [line for line in documented(root) if f"`{name}`" in line]
    assert any(f"{bias} e_sam" in line and "biased" in line for line in rows)


@pytest.mark.parametrize(
    ("name", "steps"),
    [("published", 13), ("published", 20), ("published", 50), ("consistent", 20), ("released", 20)],
)
def test_few_steps_are_unbiased(name: str, steps: int):
    assert abs(toy(formulation(name, SCHEDULE), steps=steps)[0]) < 5e-4


def test_plain_ddim_on_published_is_badly_biased():
    """Why few-step formulas do not carry over: the estimate of x_0 carries b_t e_sam."""
    arm = formulation("published", SCHEDULE)
    assert toy(arm, steps=20, eta=0.0, approximate=True)[0] > 3
    assert toy(arm, steps=20, eta=1.0, approximate=True)[0] > 0.1


def test_start_at_99():
    arm = formulation("published", SCHEDULE)
    bias, ratio = toy(arm, start=99)
    assert abs(bias) < 2e-3  # x at t = 99 should have had a mean of 2.6 e_sam; the chain forgets it
    assert ratio == pytest.approx(0.927, abs=2e-3)


COLUMNS = [("none", {}, 1.0), ("none", {}, 0.0), ("published", {}, None), ("consistent", {}, None),
           ("consistent", {"power": 2}, None)]  # fmt: skip


@pytest.mark.parametrize("steps", [None, 50, 20, 13, 12, 10, 5])
def test_the_documented_table_of_few_steps(steps: int | None, root: Path):
    """Each arm from the t where its sampling begins."""
    (line,) = [line for line in documented(root) if line.startswith(f"| {steps or 'all'} |")]
    shown = [cell.strip() for cell in line.strip("|").split("|")[1:]]
    for cell, (name, options, eta) in zip(shown, COLUMNS, strict=True):
        arm = formulation(name, SCHEDULE, options)
        bias, ratio = toy(arm, steps=steps, start=arm.first_t, eta=eta, approximate=True)
        std, _, said = cell.partition(", bias ")
        assert float(std) == pytest.approx(ratio, abs=6e-4)
        assert float(said or 0) == pytest.approx(bias, abs=6e-3 if abs(bias) > 0.01 else 2e-3)


@pytest.mark.parametrize(
    ("name", "bias", "ratio"),
    [
        ("none", 0, 0.927),
        ("published", -0.054, 0.855),
        ("consistent", -0.0009, 0.925),
        ("released", 0, 0.927),
    ],
)
def test_what_happens_if_the_network_does_not_know_e_sam(name: str, bias: float, ratio: float, root: Path):
    """e_sam ~ N(0.5, 0.5^2), and neither the LR image nor x_T says which."""
    arm = formulation(name, SCHEDULE)
    found = moments(arm, pixels(0.0, 1.0), "nobody", start=arm.first_t)  # of this mean and deviation
    assert found.mean.tolist() == [[pytest.approx(MU + bias, abs=5e-4)] * 2]
    assert found.std.tolist() == [[pytest.approx(ratio * STD, abs=1.2e-4)] * 2]
    row = next(line for line in documented(root) if line.startswith(f"| e_sam unknown, `{name}`"))
    assert [float(cell) for cell in row.strip("|").split("|")[1:]] == [bias, ratio]


def monte_carlo(arm: Process, e_sam: float, **options) -> Tensor:
    """4000 samples of the toy."""
    shape = (4000, 1, 1, 1)
    generator = torch.Generator().manual_seed(5)
    noises = torch.randn(101, *shape, generator=generator, dtype=torch.float64)
    return sample(perfect(arm, pixels(e_sam)), noises[100], SCHEDULE, arm, lambda i: noises[i], **options)


def test_wide_clip_never_cuts_and_srdiff_clip_does():
    arm = formulation("published", SCHEDULE)
    free = monte_carlo(arm, 0.8, clip=False)
    assert torch.equal(monte_carlo(arm, 0.8, e_max=0.8), free)
    assert float(free.mean()) == pytest.approx(MU, abs=0.01)
    cut = monte_carlo(replace(arm, clip="srdiff"), 0.8)
    assert float(cut.mean()) - MU == pytest.approx(-0.175, abs=0.01)


def test_clip_bounds():
    """One step by hand: +-1 for "srdiff", +-(1 + |b_t| e_max) for "wide"."""
    huge = torch.full((1, 3, 1, 1), 1e6, dtype=torch.float64)
    for name, e_max in (("released", 0.5), ("published", 0.5), ("published", 2.0)):
        arm = formulation(name, SCHEDULE)
        seen = []

        def denoise(x_t: Tensor, t: Tensor, seen=seen) -> Tensor:
            seen.append(x_t)
            return torch.zeros_like(x_t)

        sample(denoise, huge, SCHEDULE, arm, lambda i: torch.zeros_like(huge), start=50, e_max=e_max)
        bound = 1 + float(arm.b[49]) * e_max
        assert_close(seen[1], float(SCHEDULE.c1[49]) * bound + float(SCHEDULE.c2[49]) * huge)


# --- diffusers as an oracle -----------------------------------------------------------------------


def double(scheduler):
    """A diffusers scheduler with our betas in float64 (it keeps them in float32)."""
    scheduler.betas, scheduler.alphas, scheduler.alphas_cumprod = (
        SCHEDULE.beta,
        SCHEDULE.alpha,
        SCHEDULE.alpha_bar,
    )
    return scheduler


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("steps", [100, 20])
def test_ddpm_oracle(steps: int, clip: bool):
    diffusers = pytest.importorskip("diffusers")
    betas = SCHEDULE.beta.numpy()
    options = {
        "num_train_timesteps": 100,
        "trained_betas": betas,
        "variance_type": "fixed_small",
        "timestep_spacing": "trailing",
    }
    scheduler = double(diffusers.DDPMScheduler(clip_sample=clip, **options))
    scheduler.set_timesteps(steps)
    shape = (1, 3, 4, 4)
    x = x_T = seeded(shape)(100)
    for t in scheduler.timesteps:
        y = bent(x, t.reshape(1))
        generator = torch.Generator().manual_seed(int(t))  # the same draw as seeded()'s for one image
        x = scheduler.step(y, t, x, generator=generator).prev_sample
    ours = sample(bent, x_T, SCHEDULE, formulation("none", SCHEDULE), seeded(shape), steps=steps, clip=clip)
    assert_close(ours, x, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("steps", [100, 20])
def test_ddim_oracle(steps: int, eta: float, clip: bool):
    diffusers = pytest.importorskip("diffusers")
    betas = SCHEDULE.beta.numpy()
    options = {
        "num_train_timesteps": 100,
        "trained_betas": betas,
        "timestep_spacing": "trailing",
        "set_alpha_to_one": True,
    }
    scheduler = double(diffusers.DDIMScheduler(clip_sample=clip, **options))
    scheduler.final_alpha_cumprod = torch.ones((), dtype=torch.float64)
    scheduler.set_timesteps(steps)
    shape = (1, 3, 4, 4)
    x, noise = seeded(shape)(100), seeded(shape)
    x_T = x
    for t in scheduler.timesteps:
        y = bent(x, t.reshape(1))
        extra = {"eta": eta, "variance_noise": noise(int(t)) if eta else None}
        x = scheduler.step(y, int(t), x, use_clipped_model_output=clip, **extra).prev_sample
    arm = formulation("none", SCHEDULE)
    ours = sample(bent, x_T, SCHEDULE, arm, noise, steps=steps, eta=eta, clip=clip)
    assert_close(ours, x, rtol=1e-6, atol=1e-8)


# --- how it is called -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["none", "published"])
def test_deterministic_and_independent_of_the_batch(name: str):
    arm = formulation(name, SCHEDULE)
    noise = seeded((3, 3, 4, 4), torch.float32)
    x_T = noise(100)
    together = sample(bent, x_T, SCHEDULE, arm, noise, steps=20)
    assert torch.equal(together, sample(bent, x_T, SCHEDULE, arm, noise, steps=20))
    for j in range(3):
        alone = sample(bent, x_T[j : j + 1], SCHEDULE, arm, lambda i, j=j: noise(i)[j : j + 1], steps=20)
        assert torch.equal(alone[0], together[j])
    other = sample(bent, x_T, SCHEDULE, arm, lambda i: -noise(i), steps=20)
    assert not torch.equal(other, together)


def test_what_the_network_and_the_noise_source_are_asked():
    calls, drawn = [], []

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        assert t.dtype == torch.int64
        assert t.shape == (2,)
        assert x_t.dtype == torch.float32
        calls.append(int(t[0]))
        return x_t.to(torch.bfloat16)

    def noise(i: int) -> Tensor:
        drawn.append(i)
        return torch.zeros(2, 3, 4, 4)

    arm = formulation("published", SCHEDULE)
    x_0 = sample(denoise, torch.zeros(2, 3, 4, 4, dtype=torch.float16), SCHEDULE, arm, noise, start=99)
    assert x_0.dtype == torch.float32
    assert calls == list(range(98, -1, -1))
    assert drawn == list(range(98, 0, -1))  # none at the last step
    drawn.clear()
    sample(denoise, torch.zeros(2, 3, 4, 4), SCHEDULE, formulation("none", SCHEDULE), noise, eta=0.0)
    assert drawn == []


def test_float32_stays_close_to_float64():
    arm = formulation("released", SCHEDULE)
    noise = seeded((1, 3, 4, 4))
    exact = sample(bent, noise(100), SCHEDULE, arm, noise)
    rounded = sample(bent, noise(100).float(), SCHEDULE, arm, noise)
    assert exact.dtype == torch.float64
    assert_close(rounded.double(), exact, rtol=0, atol=1e-4)


def test_explicit_steps():
    arm = formulation("none", SCHEDULE)
    assert [step.t for step in chain(arm, steps=[80, 40, 3])] == [80, 40, 3]
    assert [step.t for step in chain(arm, steps=20)] == list(range(100, 0, -5))
    noise = seeded((1, 3, 2, 2))
    same = [sample(bent, noise(100), SCHEDULE, arm, noise, steps=s) for s in (20, list(range(100, 0, -5)))]
    assert torch.equal(*same)


def test_too_few_steps_are_refused_with_the_least_number(root: Path):
    arm = formulation("published", SCHEDULE)
    with pytest.raises(UserError, match="exact in 13 steps or more from t = 100, not in 12"):
        chain(arm, steps=12)
    with pytest.raises(UserError, match="exact in 12 steps or more from t = 99, not in 11"):
        chain(arm, steps=11, start=99)
    shortest = chain(arm, steps=12, start=arm.first_t)
    assert f"({' '.join(str(step.t) for step in shortest)})" in " ".join(documented(root))
    plan = chain(arm, steps=5, approximate=True)
    assert [step.t for step in plan] == [100, 80, 60, 40, 20]
    assert max(abs(step.residual) for step in plan) > 0.1


@pytest.mark.parametrize(
    ("power", "fewest"), [(0, 11), (0.5, 14), (1, 13), (2, 11), (3, 9), (4, 9), (5, 10), (6, 9)]
)
def test_the_shortest_exact_chain_is_found_whatever_the_power(power: float, fewest: int):
    """Counted by trying every chain. From powers of 3 on, a long jump may be exact where a short is not."""
    arm = formulation("consistent", SCHEDULE, {"power": power})
    with pytest.raises(UserError, match=f"exact in {fewest} steps or more"):
        chain(arm, steps=fewest - 1)
    for steps in (fewest, fewest + 1, 20, 50, 100):
        plan = chain(arm, steps=steps)
        assert len(plan) == steps
        assert max(abs(step.residual) for step in plan) < 1e-9


def test_a_consistent_shift_starts_from_none():
    """Also where it is the same at every t: x_0 carries nothing of e_sam, and the full chain is exact."""
    arm = formulation("consistent", SCHEDULE, {"power": 0})
    assert float(arm.b[0]) == pytest.approx(0, abs=1e-12)
    assert abs(toy(arm)[0]) < 1e-4
    for options in ({"power": -1}, {"power": math.inf}, {"strength": math.nan}):
        with pytest.raises(UserError, match="'consistent' needs a finite"):
            formulation("consistent", SCHEDULE, options)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("published", {"eta": 0.0}),
        ("published", {"steps": 20, "eta": 1.0}),
        ("published", {"steps": [100, 50, 1]}),
        ("consistent", {"steps": 20, "eta": 0.5}),
    ],
)
def test_chains_with_a_wrong_mean_are_refused(name: str, options: dict):
    arm = formulation(name, SCHEDULE)
    with pytest.raises(
        UserError, match=rf"'{name}' in these \d+ steps is off by .* another number of steps, or all$"
    ):
        chain(arm, **options)
    assert max(abs(step.residual) for step in chain(arm, approximate=True, **options)) > 1e-3


@pytest.mark.parametrize("name", ["released", "released_nocoef", "coefficient_fix"])
@pytest.mark.parametrize("options", [{}, {"steps": 20}, {"steps": 20, "eta": 0.0}])
def test_arms_with_a_clean_x_0_are_sampled_like_the_plain_one(name: str, options: dict):
    plain, arm = (
        chain(formulation("none", SCHEDULE), **options),
        chain(formulation(name, SCHEDULE), **options),
    )
    for ours, theirs in zip(arm, plain, strict=True):
        assert (ours.t, ours.s, ours.c1, ours.c2, ours.sigma) == (
            theirs.t,
            theirs.s,
            theirs.c1,
            theirs.c2,
            theirs.sigma,
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, r"steps must be in 1..100, got 0"),
        ({"steps": 101}, r"steps must be in 1..100, got 101"),
        ({"steps": 100, "start": 99}, r"steps must be in 1..99, got 100"),
        ({"steps": []}, "list of steps"),
        ({"steps": [50, 60]}, "list of steps"),
        ({"steps": [50, 0]}, "list of steps"),
        ({"steps": [101, 1]}, "list of steps"),
        ({"start": 0}, r"start must be in 1..100"),
        ({"start": 101}, r"start must be in 1..100"),
        ({"eta": 1.5}, r"eta must be in 0..1"),
    ],
)
def test_bad_arguments(options: dict, message: str):
    with pytest.raises(UserError, match=message):
        chain(formulation("none", SCHEDULE), **options)


def test_shapes_that_would_broadcast_are_refused():
    arm, x_T = formulation("none", SCHEDULE), torch.zeros(2, 3, 4, 4)
    with pytest.raises(ValueError, match="expected a tensor of shape"):
        sample(bent, x_T, SCHEDULE, arm, lambda i: torch.zeros(1, 3, 4, 4))
    with pytest.raises(ValueError, match="expected a tensor of shape"):
        sample(lambda x, t: x[:, :1], x_T, SCHEDULE, arm, lambda i: torch.zeros(2, 3, 4, 4))
    with pytest.raises(ValueError, match="another schedule"):
        sample(bent, x_T, cosine_schedule(50), arm, lambda i: torch.zeros(2, 3, 4, 4))
