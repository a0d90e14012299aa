"""Position maps: RoPE in closed form against a library, ranges, axes."""

from __future__ import annotations

import numpy as np
import pytest

from samdiffsr.core.errors import UserError
from samdiffsr.masks.positions import position_map, rope_map


@pytest.mark.parametrize(("length", "dim"), [(64, 48), (48, 64), (7, 4), (1, 10)])
def test_rope_equals_the_library_on_ones(length, dim):
    torch = pytest.importorskip("torch")
    rotary = pytest.importorskip("rotary_embedding_torch").RotaryEmbedding(dim=dim)
    expected = rotary.rotate_queries_or_keys(torch.ones(1, 1, length, dim))[0, 0].detach().numpy()
    np.testing.assert_allclose(rope_map(length, dim), expected, atol=2e-5)


def test_rope_by_hand():
    theta = 10000 ** (-2 / 6)
    row = rope_map(4, 6)[3]
    assert row[0] == pytest.approx(np.cos(3) - np.sin(3))
    assert row[1] == pytest.approx(np.cos(3) + np.sin(3))
    assert row[2] == pytest.approx(np.cos(3 * theta) - np.sin(3 * theta))


def test_rope_axes_of_paper_and_released_code():
    paper = position_map("rope", 30, 50)
    released = position_map("rope", 30, 50, rope_axis="height")
    assert (paper[:, 0] == 1).all()  # first place of the sequence: not turned
    assert (released[0, :] == 1).all()
    assert not (paper[0, :] == 1).all()
    assert np.array_equal(paper, rope_map(50, 30).T)
    assert np.array_equal(paper, position_map("rope", 50, 30, rope_axis="height").T)


def test_rope_of_odd_dimension_keeps_its_last_entry():
    assert (rope_map(5, 7)[:, -1] == 1).all()
    assert rope_map(5, 1).tolist() == [[1.0]] * 5
    assert not (rope_map(5, 7)[1:, :-1] == 1).any()


def test_released_axes_are_flat_on_the_left_and_one_on_the_right():
    bands = np.array_split(position_map("rope", 1356, 2040, rope_axis="height").mean(axis=0), 10)
    means = [band.mean() for band in bands]  # figures of the reference survey, to its three digits
    np.testing.assert_allclose(means, [0, 0, 0, 0, 0.005, 0.010, -0.013, 0.690, 0.945, 0.991], atol=6e-4)


def test_linear_and_cosine_span_their_ranges():
    linear, cosine = position_map("linear", 5, 9), position_map("cosine", 5, 9)
    assert (linear[0, 0], linear[-1, -1], linear[2, 4]) == (0, 1, 0.5)
    assert (np.diff(linear, axis=0) > 0).all()
    assert (np.diff(linear, axis=1) > 0).all()
    assert (cosine[0, 0], cosine[-1, -1]) == (1, -1)
    assert cosine[2, 4] == pytest.approx(0, abs=1e-15)
    assert (np.diff(cosine, axis=0) < 0).all()
    assert (np.diff(cosine, axis=1) < 0).all()


@pytest.mark.parametrize("kind", ["rope", "cosine", "linear"])
@pytest.mark.parametrize("size", [(1, 1), (1, 6), (5, 1), (33, 21)])
def test_every_map_is_finite_float64_in_its_range(kind, size):
    low, high = {"rope": (-(2**0.5), 2**0.5), "cosine": (-1, 1), "linear": (0, 1)}[kind]
    found = position_map(kind, *size)
    assert found.shape == size
    assert found.dtype == np.float64
    assert found.min() >= low - 1e-12
    assert found.max() <= high + 1e-12


def test_unknown_names_are_refused():
    with pytest.raises(UserError, match=r"'sine'.*rope, cosine, linear"):
        position_map("sine", 4, 4)
    with pytest.raises(ValueError, match="0 x 4"):
        position_map("rope", 0, 4)
