"""The process object: unchanged numbers of the paper's arms, scale maps, and the gate on the Gaussian toy."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from samdiffsr.core.errors import UserError
from samdiffsr.core.registry import load
from samdiffsr.diffusion.process import Maps, formulation, plain
from samdiffsr.diffusion.registry import FORMULATIONS, Arm
from samdiffsr.diffusion.sampler import chain, sample
from samdiffsr.diffusion.schedule import Schedule, cosine_schedule, schedule_from_betas
from samdiffsr.diffusion.toy import E_SAM, MU, check, examine, moments, pixels, unbiased_std

SCHEDULE = cosine_schedule()
GOLDEN = json.loads((Path(__file__).parent / "vectors/formulations.json").read_text())
CHAINS = (
    {},
    {"start": 59},
    {"steps": 30, "start": 59},
    {"steps": 15, "eta": 0.0, "approximate": True},
)


def digest(*tensors: Tensor) -> str:
    whole = hashlib.sha256()
    for tensor in tensors:
        whole.update(tensor.contiguous().numpy().tobytes())
    return whole.hexdigest()[:16]


@pytest.mark.parametrize("name", GOLDEN)
def test_the_papers_arms_keep_every_bit(name: str) -> None:
    """Recorded when an arm was nothing but (m_t, k_t). No number here comes from a function that a processor
    may round in its own way."""
    schedule = schedule_from_betas(torch.arange(1, 61, dtype=torch.float64) ** 2 / 12000)
    arm = formulation(name, schedule)
    generator = torch.Generator().manual_seed(4)

    def draw(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator) * 2 - 1

    x_0, e_sam, epsilon = draw(3, 3, 4, 6), draw(3, 1, 4, 6), draw(3, 3, 4, 6)
    t = torch.tensor([0, 30, 59])
    found = {
        "tables": digest(arm.m, arm.k, arm.b),
        "x_t": digest(arm.noisy(x_0, e_sam, epsilon, t)),
        "target": digest(arm.target(e_sam, epsilon, t)),
    }
    x_T, noises = draw(1, 3, 4, 6), draw(60, 1, 3, 4, 6)

    def denoise(x_t: Tensor, i: Tensor) -> Tensor:
        return x_t * (1 - 0.25 * x_t) + 0.01 * i.reshape(-1, 1, 1, 1)

    for n, options in enumerate(CHAINS):
        rows = [[s.t, s.s, s.c1, s.c2, s.sigma, s.residual] for s in chain(arm, **options)]
        found[f"chain{n}"] = digest(torch.tensor(rows, dtype=torch.float64))
        image = sample(denoise, x_T, schedule, arm, lambda i: noises[i], e_max=1.0, **options)
        found[f"image{n}"] = digest(image)
    assert found == GOLDEN[name]


# --- the scale map --------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(
    e_sam=st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=8),
    gamma=st.floats(0.01, 1) | st.floats(-1, -0.01),
)
def test_a_scale_map_is_bounded_and_adds_no_noise(e_sam: list[float], gamma: float) -> None:
    arm = formulation("scaled", SCHEDULE, {"gamma": gamma})
    r = arm.scale(pixels(*e_sam))
    bound = torch.tensor(2 * abs(gamma), dtype=torch.float64).exp() * (1 + 1e-12)
    assert bool(((r <= bound) & (r >= 1 / bound)).all())
    assert float(r.square().mean()) == pytest.approx(1, abs=1e-12)


def test_each_image_of_a_batch_is_scaled_by_itself() -> None:
    arm = formulation("scaled", SCHEDULE)
    e_sam = torch.randn(3, 1, 4, 5, generator=torch.Generator().manual_seed(2))
    assert_close(arm.scale(e_sam)[1:2], arm.scale(e_sam[1:2]), rtol=0, atol=0)


def test_scaled_noise_leaves_the_mean() -> None:
    """x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) r epsilon, target r epsilon: x_0 comes out clean."""
    arm, t = formulation("scaled", SCHEDULE), torch.tensor([60])
    e_sam = pixels(*E_SAM)
    x_0, epsilon = torch.randn(2, 1, 3, 1, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    alpha_bar = SCHEDULE.alpha_bar[60]
    x_t, target = arm.noisy(x_0, e_sam, epsilon, t), arm.target(e_sam, epsilon, t)
    assert_close(target, arm.scale(e_sam) * epsilon)
    assert_close((x_t - (1 - alpha_bar).sqrt() * target) / alpha_bar.sqrt(), x_0)
    assert not arm.b.any()


@pytest.mark.parametrize("gamma", [0, 1.5, float("nan")])
def test_a_scale_beyond_its_bound_is_refused(gamma: float) -> None:
    with pytest.raises(UserError, match=r"'shift_and_scale' needs 0 < \|gamma\| <= 1, got gamma="):
        formulation("shift_and_scale", SCHEDULE, {"gamma": gamma})


@pytest.mark.parametrize("name", FORMULATIONS)
def test_the_options_that_are_declared_are_those_of_the_function(name: str) -> None:
    arm = FORMULATIONS[name]
    parameters = dict(inspect.signature(load(arm.code)).parameters)
    parameters.pop("schedule")
    assert arm.options is not None
    assert set(arm.options) == set(parameters)
    assert arm.against({option: p.default for option, p in parameters.items()}) == ""


# --- who knows e_sam ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMULATIONS)
@pytest.mark.parametrize("steps", [None, 20, 3])
def test_a_sampler_that_knows_e_sam_is_exact_for_every_process(name: str, steps: int | None) -> None:
    process, e_sam = formulation(name, SCHEDULE), pixels(*E_SAM)
    found = moments(process, e_sam, "sampler", steps=steps)
    assert_close(found.mean, torch.full_like(found.mean, MU), rtol=0, atol=1e-7)  # x_T lacks a_T x_0
    right = unbiased_std(process, e_sam, known=process.modulated, steps=steps)
    assert_close(found.std, right.expand_as(found.std), rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", ["scaled", "shift_and_scale"])
@pytest.mark.parametrize("steps", [None, 20])
def test_a_sampler_that_does_not_know_the_scale_is_off_by_1_over_r(name: str, steps: int | None) -> None:
    """All of its noise is, and the chain is linear in it; the mean is as without a scale map."""
    process, e_sam = formulation(name, SCHEDULE), pixels(*E_SAM)
    found = moments(process, e_sam, steps=steps)
    assert_close(found.mean, torch.full_like(found.mean, MU), rtol=0, atol=1e-4)
    right = unbiased_std(process, e_sam, steps=steps)
    assert_close(found.std, right / process.scale(e_sam)[0, :, 0])


def test_a_known_start_has_the_noise_of_the_training() -> None:
    process, e_sam = formulation("shift_and_scale", SCHEDULE), pixels(*E_SAM)
    z = torch.ones(1, 3, 1, 5, dtype=torch.float64)
    x = process.start(z, e_sam, 99)
    assert_close(x, process.scale(e_sam) * z + process.m[98] * e_sam)
    assert process.start(z, None, 99) is z
    assert formulation("none", SCHEDULE).start(z, e_sam, 100) is z


# --- the gate -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMULATIONS)
def test_every_formulation_passes_the_gate(name: str) -> None:
    findings = check(name)
    assert {(f.knows, f.steps) for f in findings} == {
        (who, steps) for who in ("sampler", "network", "nobody") for steps in (None, 20)
    }
    arm = FORMULATIONS[name]
    used = [f.fair for f in findings if f.knows == ("sampler" if arm.known else "network")]
    assert all(used) == (not arm.biased)


def skewed(schedule: Schedule, factor: float = 1.2) -> Maps:
    """The paper's shift with a target that does not belong to it."""
    k = ((1 - schedule.alpha_bar) / schedule.beta).sqrt()
    return Maps(schedule.phi, factor * k)


def colourful(schedule: Schedule) -> Maps:
    """Two features, and a shift of its own for each colour."""
    m = (1 - schedule.alpha_bar).sqrt()
    return Maps(m, torch.ones_like(m), mean=lambda e: torch.cat([e, e[:, :1] * e[:, 1:]], dim=1))


def negative(schedule: Schedule) -> Maps:
    return Maps(*plain(schedule), scale=lambda e: e)


@pytest.fixture
def toys() -> Iterator[None]:
    entries = {
        "skewed": Arm(f"{__name__}:skewed", clip="wide"),
        "colourful": Arm(f"{__name__}:colourful", biased="x_T has no mean"),
        "negative": Arm(f"{__name__}:negative"),
        "modest": Arm("samdiffsr.diffusion.process:published", clip="wide", biased="somewhat"),
    }
    for name, entry in entries.items():
        FORMULATIONS.register(name, entry)
    yield
    for name in entries:
        FORMULATIONS.remove(name)


@pytest.mark.usefixtures("toys")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("skewed", r"'skewed' is biased even if the network is perfect \(all steps, .*declare it"),
        ("negative", "'negative': its scale map must be above 0, got -0.8"),
        ("modest", r"'modest' declares a bias \(somewhat\) that it has not"),
    ],
)
def test_the_gate_refuses(name: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        check(name)


@pytest.mark.usefixtures("toys")
def test_a_process_of_several_features_and_a_shift_for_each_colour() -> None:
    process = formulation("colourful", SCHEDULE)
    found = moments(process, pixels(*E_SAM, features=2), "sampler")
    assert found.mean.shape == (3, 5)
    assert_close(found.mean, torch.full_like(found.mean, MU), rtol=0, atol=1e-7)
    assert any(abs(f.bias) > 0.05 for f in examine(process, features=2) if f.knows == "network")
    with pytest.raises(UserError, match="its mean map is"):
        check("colourful", features=3)
