"""Regions: atoms of overlapping masks, exact round trips; COCO run lengths."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from samdiffsr.core.errors import UserError
from samdiffsr.masks.regions import Regions
from samdiffsr.masks.rle import (
    counts_from_text,
    read_rle,
    records_from_regions,
    regions_from_records,
    write_rle,
)

quick = settings(max_examples=40, deadline=None)


@st.composite
def mask_lists(draw, at_least: int = 0) -> tuple[list[np.ndarray], tuple[int, int]]:
    """Masks of one small image: overlapping, empty, full, repeated."""
    shape = draw(st.tuples(st.integers(1, 7), st.integers(1, 7)))
    one = hnp.arrays(bool, shape)
    masks = draw(st.lists(st.one_of(one, st.just(np.ones(shape, bool))), min_size=at_least, max_size=5))
    return masks + masks[: draw(st.integers(0, 1))], shape


def same(a: Regions, b: Regions) -> bool:
    return (
        a.labels.dtype == b.labels.dtype
        and np.array_equal(a.labels, b.labels)
        and a.n_masks == b.n_masks
        and all(np.array_equal(x, y) for x, y in zip(a.members, b.members, strict=True))
    )


@quick
@given(mask_lists())
def test_masks_come_back_exactly(drawn):
    masks, shape = drawn
    regions = Regions.from_masks(masks, shape)
    assert regions.shape == shape
    assert all(np.array_equal(a, b) for a, b in zip(regions.masks(), masks, strict=True))
    assert same(Regions.from_masks(regions.masks(), shape), regions)


@quick
@given(mask_lists(at_least=1))
def test_labels_are_the_atoms_numbered_by_first_appearance(drawn):
    masks, _ = drawn
    regions = Regions.from_masks(iter(masks))
    stack = np.stack(masks, axis=-1)
    numbers: dict[bytes, int] = {np.zeros(len(masks), bool).tobytes(): 0}
    expected = [[numbers.setdefault(p.tobytes(), len(numbers)) for p in row] for row in stack]
    assert regions.labels.tolist() == expected
    assert regions.labels.dtype == np.uint16
    assert regions.n_atoms == len(numbers) - 1
    assert all((np.diff(atoms) > 0).all() and atoms.dtype == np.int64 for atoms in regions.members)


@quick
@given(mask_lists(at_least=1), st.data())
def test_crop_and_enlargement_commute_with_masks(drawn, data):
    masks, (h, w) = drawn
    regions = Regions.from_masks(masks)
    ch, cw = data.draw(st.integers(1, h)), data.draw(st.integers(1, w))
    assert same(regions.crop(ch, cw), Regions.from_masks([m[:ch, :cw] for m in masks]))
    scale = data.draw(st.integers(1, 3))
    big = [np.kron(m, np.ones((scale, scale), bool)) for m in masks]
    assert same(regions.resize_nearest(scale), Regions.from_masks(big))


def test_members_stay_ascending_where_a_crop_changes_the_order():
    partition = np.array([[3, 3, 1], [2, 0, 1], [1, 0, 0]])
    both = np.isin(partition, (1, 2))  # atoms 2 and 3; in the left column they are met as 3, 2
    regions = Regions.from_masks([both, partition == 1, partition == 3]).crop(3, 1)
    assert regions.labels.tolist() == [[1], [2], [3]]
    assert [atoms.tolist() for atoms in regions.members] == [[2, 3], [3], [1]]


@quick
@given(hnp.arrays(np.int32, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.integers(0, 300)))
def test_partition_is_one_mask_per_number(labels):
    numbers = [n for n in np.unique(labels) if n > 0]
    regions = Regions.from_partition(labels)
    assert same(regions, Regions.from_masks([labels == n for n in numbers], labels.shape))
    assert same(
        Regions.from_partition(regions.labels),
        Regions(regions.labels, tuple(np.arange(1, len(numbers) + 1)[:, None])),
    )


def test_more_than_65535_atoms_take_uint32():
    labels = np.arange(1, 256 * 257 + 1).reshape(256, 257)
    regions = Regions.from_partition(labels)
    assert regions.labels.dtype == np.uint32
    assert np.array_equal(regions.labels, labels)
    few = regions.crop(255, 256)
    assert few.labels.dtype == np.uint16
    assert few.n_atoms == 255 * 256


def test_no_mask_leaves_everything_uncovered():
    regions = Regions.from_masks([], (3, 4))
    assert regions.labels.tolist() == [[0] * 4] * 3
    assert (regions.n_masks, regions.n_atoms) == (0, 0)
    with pytest.raises(ValueError, match="shape"):
        Regions.from_masks([])


def test_wrong_input_is_refused():
    mask = np.ones((2, 3), bool)
    with pytest.raises(ValueError, match="expected"):
        Regions.from_masks([mask, mask.T])
    with pytest.raises(ValueError, match="bool"):
        Regions.from_masks([mask.astype(np.uint8)])
    with pytest.raises(ValueError, match="integers >= 0"):
        Regions.from_partition(np.full((2, 2), -1))
    with pytest.raises(ValueError, match="uint16"):
        Regions(np.zeros((2, 2), np.int64), ())
    with pytest.raises(ValueError, match="predicted_iou"):
        Regions(np.zeros((2, 2), np.uint16), (), {"predicted_iou": np.ones(1)})
    regions = Regions.from_masks([mask])
    with pytest.raises(ValueError, match="crop"):
        regions.crop(3, 3)
    with pytest.raises(ValueError, match="whole number"):
        regions.resize_nearest(1.5)


def amg_records(masks: list[np.ndarray]) -> list[dict]:
    """What segment-anything's generator writes for these masks, by its own functions."""
    torch = pytest.importorskip("torch")
    amg = pytest.importorskip("segment_anything.utils.amg")
    stack = torch.as_tensor(np.stack(masks))
    boxes = amg.batched_mask_to_box(stack)
    return [
        {
            "segmentation": amg.coco_encode_rle(rle),
            "area": amg.area_from_rle(rle),
            "bbox": amg.box_xyxy_to_xywh(boxes[i]).tolist(),
            "predicted_iou": float(np.float32(0.9 - 0.01 * i)),
            "point_coords": [[1.5 + i, 0.25]],
            "stability_score": 0.95,
            "crop_box": [0, 0, *stack.shape[:0:-1]],
        }
        for i, rle in enumerate(amg.mask_to_rle_pytorch(stack))
    ]


@quick
@given(mask_lists(at_least=1))
def test_rle_round_trip_equals_segment_anything(drawn):
    masks, _ = drawn
    records = amg_records(masks)
    regions = regions_from_records(records)
    assert same(regions, Regions.from_masks(masks))
    assert json.dumps(records_from_regions(regions)) == json.dumps(records)


def test_rle_of_a_large_mask_equals_pycocotools():
    from pycocotools.mask import encode

    y, x = np.mgrid[:301, :400]
    mask = (np.hypot(y - 150, x - 170) + 9 * np.sin(x / 3) * np.sin(y / 5)) < 120
    mask[:, 390:] = True  # runs of thousands of pixels, differences of both signs
    text = encode(np.asfortranarray(mask, np.uint8))["counts"].decode()
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff(np.concatenate(([0], edges, [flat.size])))
    assert np.array_equal(counts_from_text(text), runs if not flat[0] else np.append(0, runs))


def test_rle_file_round_trip(tmp_path):
    masks = [np.eye(5, 7, dtype=bool), np.ones((5, 7), bool)]
    (tmp_path / "a.json").write_text(json.dumps(amg_records(masks)))
    regions = read_rle(tmp_path / "a.json", (5, 7))
    assert regions.per_mask["predicted_iou"].shape == (2,)
    write_rle(tmp_path / "b.json", regions)
    assert (tmp_path / "b.json").read_bytes() == (tmp_path / "a.json").read_bytes()
    (tmp_path / "none.json").write_text("[]")
    assert read_rle(tmp_path / "none.json", (5, 7)).n_masks == 0


@pytest.mark.parametrize(
    "content",
    [
        '[{"segmentation": {"size": [2, 2], "counts": [1, 2]}}]',  # 3 pixels of 4
        '[{"segmentation": {"size": [2, 2], "counts": [5, -1]}}]',
        '[{"segmentation": {"size": [2, 2], "counts": [-1, 5]}}]',
        '[{"segmentation": {"size": [2, 2], "counts": "\\u0001"}}]',
        '[{"segmentation": {"size": [2, 2], "counts": "P"}}]',  # ends within a number
        '[{"segmentation": {"size": [30, 2], "counts": [60]}}]',  # another image's size
        '[{"area": 3}]',
        '{"masks": 1}',
        "[]]",
    ],
)
def test_broken_rle_file_is_named(tmp_path, content):
    path = tmp_path / "broken.json"
    path.write_text(content)
    with pytest.raises(UserError, match=r"broken\.json"):
        read_rle(path, (2, 2))
