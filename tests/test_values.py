"""Equation (6) and its variants against dense implementations; the reduce rule."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from samdiffsr.core.errors import UserError
from samdiffsr.masks.encode import (
    CHOICES,
    Encoding,
    e_sam,
    is_informative,
    reduce_uninformative,
    region_values,
)
from samdiffsr.masks.positions import position_map
from samdiffsr.masks.regions import Regions

quick = settings(max_examples=30, deadline=None)
OPTIONS = [
    dict(zip(("mean_over", "overlap", "uncovered"), choice, strict=True))
    for choice in product(CHOICES["mean_over"], CHOICES["overlap"], CHOICES["uncovered"])
]


def dense(masks: list[np.ndarray], x: np.ndarray, mean_over: str, overlap: str, uncovered: str) -> np.ndarray:
    """E_SAM mask by mask on full arrays, float64."""
    masks = [m for m in masks if m.any()]
    if overlap == "smallest":
        masks = sorted(masks, key=lambda m: -m.sum())
    hole = ~np.any(masks, axis=0) if masks else np.ones(x.shape, bool)
    if uncovered == "own_region" and hole.any():
        masks = [*masks, hole]
    result = np.zeros(x.shape)
    for m in masks:
        mean = x[m].mean() if mean_over == "region" else (x * m).mean()
        result = result + m * mean if overlap == "sum" else np.where(m, mean, result)
    return result


@st.composite
def images(draw) -> tuple[list[np.ndarray], np.ndarray]:
    shape = draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    masks = draw(st.lists(hnp.arrays(bool, shape), max_size=5))
    return masks, draw(hnp.arrays(float, shape, elements=st.floats(-2, 2)))


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(o.values()))
@quick
@given(images())
def test_values_equal_the_dense_computation(options, drawn):
    masks, x = drawn
    regions = Regions.from_masks(masks, x.shape)
    values = region_values(regions, x, **options)
    assert values.shape == (regions.n_atoms + 1,)
    assert values.dtype == np.float32
    found = e_sam(regions, values)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, dense(masks, x, **options), atol=1e-6, rtol=1e-6)


def test_equation_6_by_hand():
    x = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    left = np.array([[1, 1, 0], [1, 1, 0]], bool)  # mean 3
    top = np.array([[1, 1, 1], [0, 0, 0]], bool)  # mean 2
    regions = Regions.from_masks([left, top])

    def found(**options: str) -> list[list[float]]:
        return e_sam(regions, region_values(regions, x, **options)).tolist()

    assert found() == [[5, 5, 2], [3, 3, 0]]
    assert found(overlap="overwrite") == [[2, 2, 2], [3, 3, 0]]
    assert found(overlap="smallest") == [[2, 2, 2], [3, 3, 0]]
    assert found(overlap="overwrite", mean_over="image") == [[1, 1, 1], [2, 2, 0]]
    assert found(uncovered="own_region") == [[5, 5, 2], [3, 3, 6]]


def test_order_matters_to_overwrite_only():
    x = position_map("linear", 6, 6)
    small, large = np.zeros((6, 6), bool), np.ones((6, 6), bool)
    small[1:3, 1:3] = True
    one, other = Regions.from_masks([small, large]), Regions.from_masks([large, small])
    maps = {
        rule: [e_sam(r, region_values(r, x, overlap=rule)) for r in (one, other)]
        for rule in CHOICES["overlap"]
    }
    assert np.array_equal(*maps["sum"])
    assert np.array_equal(*maps["smallest"])
    assert not np.array_equal(*maps["overwrite"])
    assert not is_informative(maps["overwrite"][0])  # the later, larger mask hides the other


@quick
@given(hnp.arrays(np.int64, (5, 6), elements=st.integers(0, 4)), st.sampled_from(CHOICES["mean_over"]))
def test_on_a_partition_all_overlap_rules_agree(labels, mean_over):
    regions = Regions.from_partition(labels)
    x = position_map("rope", *labels.shape)
    results = [region_values(regions, x, mean_over=mean_over, overlap=rule) for rule in CHOICES["overlap"]]
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[0], results[2])


@quick
@given(hnp.arrays(np.int64, (4, 5), elements=st.integers(1, 3)))
def test_means_of_a_full_partition_keep_the_total(labels):
    regions = Regions.from_partition(labels)
    x = position_map("cosine", *labels.shape)
    assert e_sam(regions, region_values(regions, x)).sum() == pytest.approx(x.sum(), abs=1e-5)


def test_wrong_options_are_refused():
    regions = Regions.from_masks([np.ones((2, 3), bool)])
    with pytest.raises(UserError, match=r"overlap 'last'.*sum, overwrite, smallest"):
        region_values(regions, np.ones((2, 3)), overlap="last")
    with pytest.raises(ValueError, match="position map"):
        region_values(regions, np.ones((3, 2)))
    with pytest.raises(UserError, match="unknown key 'overlaps'"):
        Encoding.from_spec({"overlaps": "sum"})
    with pytest.raises(UserError, match="position 'sine'"):
        Encoding.from_spec({"position": "sine"})
    assert Encoding.from_spec({}) == Encoding("rope", "width", "region", "sum", "zero")


def test_reduce_zeroes_patches_of_one_value():
    flat = np.full((1, 4, 4), 0.7, np.float32)
    mixed = flat.copy()
    mixed[0, 3, 3] = 0.2
    assert not is_informative(flat)
    assert is_informative(mixed)
    assert not reduce_uninformative(flat).any()
    assert reduce_uninformative(flat).dtype == np.float32
    assert np.array_equal(reduce_uninformative(mixed), mixed)
    assert (flat == np.float32(0.7)).all()  # the input stays
