"""Equation (6) and its variants against dense implementations; the reduce rule."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from samdiffsr.core.errors import UserError
from samdiffsr.masks.encode import region_values
from samdiffsr.masks.positions import position_map
from samdiffsr.masks.recipe import Encoding
from samdiffsr.masks.reduce import is_informative, reduced, structure_map
from samdiffsr.masks.regions import Regions
from samdiffsr.masks.registry import FEATURES, OVERLAPS, Feature

quick = settings(max_examples=30, deadline=None)
OPTIONS = [
    dict(zip(("mean_over", "overlap", "uncovered"), choice, strict=True))
    for choice in product(("region", "image"), OVERLAPS, ("zero", "own_region"))
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
    values = region_values(regions, x, Encoding(**options))
    assert values.shape == (regions.n_atoms + 1,)
    assert values.dtype == np.float32
    found = structure_map(regions.labels, values)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, dense(masks, x, **options), atol=1e-6, rtol=1e-6)


def test_equation_6_by_hand():
    x = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    left = np.array([[1, 1, 0], [1, 1, 0]], bool)  # mean 3
    top = np.array([[1, 1, 1], [0, 0, 0]], bool)  # mean 2
    regions = Regions.from_masks([left, top])

    def found(**options: str) -> list[list[float]]:
        return structure_map(regions.labels, region_values(regions, x, Encoding(**options))).tolist()

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
        rule: [structure_map(r.labels, region_values(r, x, Encoding(overlap=rule))) for r in (one, other)]
        for rule in OVERLAPS
    }
    assert np.array_equal(*maps["sum"])
    assert np.array_equal(*maps["smallest"])
    assert not np.array_equal(*maps["overwrite"])
    assert len(np.unique(maps["overwrite"][0])) == 1  # the later, larger mask hides the other


@quick
@given(hnp.arrays(np.int64, (5, 6), elements=st.integers(0, 4)), st.sampled_from(["region", "image"]))
def test_on_a_partition_all_overlap_rules_agree(labels, mean_over):
    regions = Regions.from_partition(labels)
    x = position_map("rope", *labels.shape)
    results = [region_values(regions, x, Encoding(mean_over=mean_over, overlap=rule)) for rule in OVERLAPS]
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[0], results[2])


@quick
@given(hnp.arrays(np.int64, (4, 5), elements=st.integers(1, 3)))
def test_means_of_a_full_partition_keep_the_total(labels):
    regions = Regions.from_partition(labels)
    x = position_map("cosine", *labels.shape)
    assert structure_map(regions.labels, region_values(regions, x)).sum() == pytest.approx(x.sum(), abs=1e-5)


def test_wrong_options_are_refused():
    with pytest.raises(ValueError, match="position map"):
        region_values(Regions.from_masks([np.ones((2, 3), bool)]), np.ones((3, 2)))
    for text, words in (
        ('{"overlap":"last"}', "overlap: overlap rule 'last' is none of sum, overwrite, smallest"),
        ('{"overlaps":"sum"}', "overlaps: unknown key"),
        ('{"position":"sine"}', "region feature 'sine' is none of rope, cosine, linear, .*did you mean"),
        ('{"mean_over":"mask"}', "mean_over: input should be 'region' or 'image', not 'mask'"),
    ):
        with pytest.raises(UserError, match=words):
            Encoding.parse(text)
    assert Encoding.parse("{}") == Encoding()


def largest(n, atoms, masks, mean, size):
    return np.full(n, mean[size.argmax()])


def rows(height, width, axis):
    return np.arange(height)[:, None].repeat(width, 1).astype(float)


def test_a_rule_and_a_map_are_added_by_one_entry_each():
    regions = Regions.from_masks([np.ones((2, 2), bool), np.eye(2, dtype=bool)])
    OVERLAPS.register("largest", f"{__name__}:largest")
    FEATURES.register("rows", Feature(f"{__name__}:rows", "position", 0, 9))
    try:
        encoding = Encoding.parse('{"overlap":"largest","position":"rows"}')
        x = position_map(encoding.position, 2, 2)
        assert structure_map(regions.labels, region_values(regions, x, encoding)).tolist() == [
            [0.5, 0.5],
            [0.5, 0.5],
        ]
    finally:
        OVERLAPS.remove("largest")
        FEATURES.remove("rows")


# ---- reduce ----


def test_reduce_counts_areas_not_values():
    """A checkerboard of two areas has one mean under `linear`, and is two areas all the same."""
    board = np.indices((2, 2)).sum(0) % 2 + 1
    regions = Regions.from_partition(board)
    patch = structure_map(
        regions.labels, region_values(regions, position_map("linear", 2, 2), Encoding(position="linear"))
    )
    assert patch.tolist() == [[0.5, 0.5], [0.5, 0.5]]
    assert np.array_equal(reduced(patch, regions.labels), patch)
    one = np.ones((2, 2), np.uint16)
    assert reduced(patch, one).tolist() == [[0, 0], [0, 0]]
    assert (patch == 0.5).all()  # the input stays


@quick
@given(
    hnp.arrays(np.uint16, st.tuples(st.integers(1, 5), st.integers(1, 5)), elements=st.integers(0, 2)),
    st.sampled_from(["rope", "cosine", "linear"]),
    st.sampled_from([1, 3]),
)
def test_reduce_keeps_exactly_the_patches_of_several_areas(labels, position, scale):
    """Whatever the values are; the label map may have another resolution than the patch."""
    values = position_map(position, 3, 1).astype(np.float32)[:, 0]
    patch = values[labels].repeat(scale, 0).repeat(scale, 1)
    found = reduced(patch, labels)
    assert found.dtype == np.float32
    assert np.array_equal(found, patch if len(np.unique(labels)) > 1 else np.zeros_like(patch))
    assert is_informative(labels) == (len(np.unique(labels)) > 1)
