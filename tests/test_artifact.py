"""The artifact map against LDL's recipe done the slow way."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from samdiffsr.evaluation.artifact import artifact_excess, artifact_map, artifact_score
from samdiffsr.evaluation.image import mse_rgb


def pair(seed: int, height: int = 24, width: int = 31, sd: float = 12) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    hr = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return np.clip(np.rint(hr + rng.normal(0, sd, hr.shape)), 0, 255).astype(np.uint8), hr


def by_unfold(sr: np.ndarray, hr: np.ndarray) -> np.ndarray:
    """LDL's steps on float tensors in [0, 1]: unfolded 7x7 windows, unbiased variances."""
    import torch
    import torch.nn.functional as F

    x, y = (torch.from_numpy(image / 255.0).permute(2, 0, 1)[None] for image in (sr, hr))
    residual = (y - x).abs().sum(1, keepdim=True)
    windows = F.unfold(F.pad(residual, [3] * 4, mode="reflect"), 7)
    local = windows.var(dim=1, unbiased=True).reshape(residual.shape)
    return (local * residual.var(dim=(-1, -2, -3), keepdim=True) ** 0.2)[0, 0].numpy()


@pytest.mark.parametrize(("height", "width"), [(24, 31), (4, 4), (5, 40)])
def test_the_map_equals_the_slow_recipe(height: int, width: int) -> None:
    sr, hr = pair(0, height, width)
    ours = artifact_map(sr, hr)
    assert ours.shape == (height, width)
    assert ours.dtype == np.float64
    np.testing.assert_allclose(ours, by_unfold(sr, hr), rtol=1e-9, atol=1e-14)


def test_a_value_by_hand() -> None:
    """One wrong pixel (R = 1/255) in the middle of 15x15: 49 windows hold it, each of variance R^2 / 49."""
    hr = np.full((15, 15, 3), 100, np.uint8)
    sr = hr.copy()
    sr[7, 7, 1] += 1
    r2 = 1 / 255**2
    whole = r2 * (1 / 225 - 1 / 225**2) * 225 / 224
    window = r2 * (1 / 49 - 1 / 49**2) * 49 / 48
    expected = np.zeros((15, 15))
    expected[4:11, 4:11] = window * whole**0.2
    np.testing.assert_allclose(artifact_map(sr, hr), expected, rtol=1e-12)
    assert artifact_score(sr, hr) == pytest.approx(100 * expected.mean())


@settings(max_examples=25, deadline=None)
@given(hnp.arrays(np.uint8, st.tuples(st.integers(4, 12), st.integers(4, 12), st.just(3))))
def test_identical_and_uniformly_shifted_images_have_no_artifact(hr: np.ndarray) -> None:
    assert artifact_map(hr, hr).max() == 0
    darker = np.maximum(hr, 3) - np.uint8(3)
    assert artifact_map(darker, np.maximum(hr, 3)).max() == 0  # a constant residual has no variance


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([2, 3, 5]))
def test_the_map_grows_like_mse_to_1_2_so_the_excess_does_not(seed: int, factor: int) -> None:
    rng = np.random.default_rng(seed)
    residual = rng.integers(0, 40, (16, 16, 3))
    hr = np.full((16, 16, 3), 220, np.uint8)
    weak, strong = ((hr - k * residual).astype(np.uint8) for k in (1, factor))
    ratio = artifact_score(strong, hr) / artifact_score(weak, hr)
    assert ratio == pytest.approx(float(factor) ** 2.4, rel=1e-9)
    excess = [artifact_excess(artifact_score(sr, hr), mse_rgb(sr, hr)) for sr in (weak, strong)]
    assert excess[0] == pytest.approx(excess[1], rel=1e-9)


def test_the_map_is_not_negative_and_symmetric_in_its_arguments() -> None:
    sr, hr = pair(3)
    assert artifact_map(sr, hr).min() >= 0
    assert np.array_equal(artifact_map(sr, hr), artifact_map(hr, sr))


def test_the_excess_of_a_perfect_image_is_nan() -> None:
    assert math.isnan(artifact_excess(0.0, 0.0))


def test_shapes_that_cannot_be_compared_are_refused() -> None:
    sr, hr = pair(1)
    with pytest.raises(ValueError, match="different shape"):
        artifact_map(sr[1:], hr)
    with pytest.raises(ValueError, match="at least 4"):
        artifact_map(sr[:3], hr[:3])
