"""The patch reader: LR, HR and structure map show one place, and the sample index decides everything."""

from __future__ import annotations

import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samdiffsr.core.errors import UserError
from samdiffsr.data.store import Store, StoreWriter
from samdiffsr.training import patches
from samdiffsr.training.patches import PatchSource

SCALE, PATCH = 4, 32
SIZES = {"a": (24, 17), "b": (8, 8), "c": (11, 30)}  # LR pixels; "b" holds just one patch
REGION = 3  # HR pixels per side of a region, no divisor of the scale


def write(path: Path, images: dict[str, np.ndarray], **meta: object) -> Store:
    dtype = next(iter(images.values())).dtype.name
    with StoreWriter(path, dtype, **meta) as store:
        for name, image in images.items():
            store.add(name, image)
    return Store(path)


def coordinates(image: int, height: int, width: int) -> np.ndarray:
    """uint8 (height, width, 3): every pixel says (row, column, image)."""
    rows, columns = np.indices((height, width))
    return np.stack([rows, columns, np.full_like(rows, image)], 2).astype(np.uint8)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """Markers everywhere: each LR and HR pixel holds its place, each region's value its own place.

    HR and labels are larger than what LR covers, by different amounts.
    """
    root = tmp_path_factory.mktemp("stores")
    lr, hr, labels, values = {}, {}, {}, []
    for i, (name, (height, width)) in enumerate(SIZES.items()):
        lr[name] = coordinates(i, height, width)
        hr[name] = coordinates(i, height * SCALE + 3, width * SCALE + 1)
        rows, columns = np.indices((height * SCALE, width * SCALE + 5)) // REGION
        labels[name] = (rows * 100 + columns).astype(np.uint16)
        count = int(labels[name].max()) + 1
        values.append(np.float32(i) + np.arange(count, dtype=np.float32) / 8192)
    return {
        "hr": write(root / "hr", hr),
        "lr": write(root / "lr", lr, scale=SCALE),
        "labels": write(root / "labels", labels),
        "values": values,
    }


def source(stores: dict[str, object], **options: object) -> PatchSource:
    defaults = {"scale": SCALE, "patch": PATCH, "seed": 1, "augment": True}
    return PatchSource(**(stores | defaults | options))


def single(reader: PatchSource, index: int) -> dict[str, np.ndarray]:
    """One sample, without the batch's axis."""
    return {key: value[0] for key, value in reader.batch(index, 1).items()}


@settings(max_examples=60, deadline=None)
@given(index=st.integers(0, 10**12), seed=st.integers(0, 2**63), augment=st.booleans())
def test_lr_hr_and_structure_map_show_one_place(
    stores: dict[str, object], index: int, seed: int, augment: bool
) -> None:
    """Every HR pixel lies in the LR pixel above it, and has its own region's value."""
    sample = single(source(stores, seed=seed, augment=augment), index)
    lr, hr, e_sam = sample["lr"], sample["hr"], sample["e_sam"]
    assert (lr.dtype, hr.dtype, e_sam.dtype) == (np.uint8, np.uint8, np.float32)
    assert lr.shape == (3, PATCH // SCALE, PATCH // SCALE)
    assert (hr.shape, e_sam.shape) == ((3, PATCH, PATCH), (1, PATCH, PATCH))
    above = lr.repeat(SCALE, 1).repeat(SCALE, 2)
    np.testing.assert_array_equal(hr[:2] // SCALE, above[:2])
    np.testing.assert_array_equal(hr[2], above[2])
    rows, columns, image = hr.astype(np.float32)
    expected = image + (rows // REGION * 100 + columns // REGION) / 8192
    np.testing.assert_array_equal(e_sam[0], expected.astype(np.float32))
    # One square without gaps: each coordinate takes PATCH consecutive values.
    for axis in (hr[0], hr[1]):
        assert len(np.unique(axis)) == PATCH
        assert int(axis.max()) - int(axis.min()) == PATCH - 1
    if not augment:
        assert hr[0, 1, 0] == hr[0, 0, 0] + 1
        assert hr[1, 0, 1] == hr[1, 0, 0] + 1


def test_a_planted_marker_is_found_in_all_three(tmp_path: Path) -> None:
    """The same, on plain stores and without arithmetic: one LR pixel, its 4x4 HR pixels, its region."""
    lr, hr = np.zeros((20, 20, 3), np.uint8), np.zeros((80, 80, 3), np.uint8)
    labels = np.zeros((80, 80), np.uint16)
    lr[9, 11], hr[36:40, 44:48], labels[36:40, 44:48] = 200, 200, 1
    stores = {"lr": write(tmp_path / "lr", {"a": lr}), "hr": write(tmp_path / "hr", {"a": hr})}
    stores |= {
        "labels": write(tmp_path / "labels", {"a": labels}),
        "values": [np.array([0, 0.5], np.float32)],
    }
    seen = 0
    for index in range(40):
        sample = single(source(stores), index)
        marker = (sample["lr"][0] > 0).repeat(4, 0).repeat(4, 1)
        np.testing.assert_array_equal(sample["hr"][0] > 0, marker)
        np.testing.assert_array_equal(sample["e_sam"][0] == 0.5, marker)
        seen += int(marker.any())
    assert 5 < seen < 40


def test_released_crop_is_the_misplaced_one(stores: dict[str, object]) -> None:
    """The label map cut at LR coordinates, enlarged; LR and HR stay as they are."""
    aligned, released = source(stores, augment=False), source(stores, augment=False, mask_crop="released")
    differ = 0
    for index in range(30):
        image, row, column, _ = released.place(index)
        a, r = single(aligned, index), single(released, index)
        np.testing.assert_array_equal(a["hr"], r["hr"])
        np.testing.assert_array_equal(a["lr"], r["lr"])
        side = PATCH // SCALE
        small = stores["values"][image][stores["labels"][image][row : row + side, column : column + side]]
        np.testing.assert_array_equal(r["e_sam"][0], np.kron(small, np.ones((SCALE, SCALE), np.float32)))
        differ += int((a["e_sam"] != r["e_sam"]).any())
    assert differ == 30


def test_released_crop_equals_the_authors_two_steps(stores: dict[str, object]) -> None:
    """Sub-image on a grid first, patch inside it second: what the released preprocessing and loader do."""
    labels = np.arange(160 * 160).reshape(160, 160)
    sub, scale, patch = 64, 4, 32
    for corner in (0, 64):
        piece = labels[corner // scale : (corner + sub) // scale, corner // scale : (corner + sub) // scale]
        large = piece.repeat(scale, 0).repeat(scale, 1)
        for inside in (0, 4, 32):
            two_steps = large[inside : inside + patch, inside : inside + patch]
            start = (corner + inside) // scale
            one_step = labels[start : start + patch // scale, start : start + patch // scale]
            np.testing.assert_array_equal(two_steps, one_step.repeat(scale, 0).repeat(scale, 1))


def test_symmetry_turns_all_three_alike_and_all_eight_occur(stores: dict[str, object]) -> None:
    plain, turned = source(stores, augment=False), source(stores)
    seen = Counter()
    for index in range(120):
        place = turned.place(index)
        assert place[:3] == plain.place(index)[:3]
        assert plain.place(index).symmetry == 0
        seen[place.symmetry] += 1
        a, b = single(plain, index), single(turned, index)
        for key in a:
            expected = a[key]
            if place.symmetry & 1:
                expected = expected[:, ::-1]
            if place.symmetry & 2:
                expected = expected[:, :, ::-1]
            if place.symmetry & 4:
                expected = expected.transpose(0, 2, 1)
            np.testing.assert_array_equal(b[key], expected)
    assert set(seen) == set(range(8))


@settings(max_examples=25, deadline=None)
@given(start=st.integers(0, 1000), size=st.integers(1, 7), order=st.randoms())
def test_a_sample_depends_on_its_index_alone(
    stores: dict[str, object], start: int, size: int, order: object
) -> None:
    """Not on the batch it comes in, on what was read before, or on the object."""
    batch = source(stores).batch(start, size)
    other = source(stores)
    indices = list(range(start, start + size))
    order.shuffle(indices)
    for index in indices:
        for key, value in single(other, index).items():
            np.testing.assert_array_equal(value, batch[key][index - start])
    for key, value in batch.items():
        own = value if key == "e_sam" else value.transpose(0, 2, 3, 1)  # images are channels last
        assert own.flags.c_contiguous
        assert value.flags.writeable
        assert not any(np.shares_memory(value, store) for store in (other.hr[0], other.lr[0]))


def test_pickled_source_reads_the_same(stores: dict[str, object]) -> None:
    """As worker processes under "spawn" get it."""
    first = source(stores)
    second = pickle.loads(pickle.dumps(first))
    for key, value in first.batch(100, 5).items():
        np.testing.assert_array_equal(second.batch(100, 5)[key], value)


def test_every_epoch_visits_every_image_once_in_a_new_order(stores: dict[str, object]) -> None:
    reader = source(stores)
    orders = [tuple(reader.place(i).image for i in range(3 * e, 3 * e + 3)) for e in range(50)]
    assert all(sorted(order) == [0, 1, 2] for order in orders)
    assert len(set(orders)) == 6
    assert orders != [
        tuple(source(stores, seed=2).place(3 * e + k).image for k in range(3)) for e in range(50)
    ]


def test_positions_are_uniform_and_reach_the_edges(stores: dict[str, object]) -> None:
    reader = source(stores)
    places = [reader.place(i) for i in range(9000)]
    for image, (height, width) in enumerate(SIZES.values()):
        of_image = [p for p in places if p.image == image]
        for axis, side in (("row", height), ("column", width)):
            n = side - PATCH // SCALE + 1
            counts = np.bincount([getattr(p, axis) for p in of_image], minlength=n)
            assert len(counts) == n
            expected = len(of_image) / n
            assert (np.abs(counts - expected) < 5 * np.sqrt(expected)).all()
    rows = np.array([(p.row, p.column) for p in places if p.image == 0], float)
    assert abs(np.corrcoef(rows.T)[0, 1]) < 0.06


def test_the_hash_never_changes() -> None:
    """Old checkpoints resume on the same samples only while these numbers stay."""
    assert patches._hash(0) == 0xE220A8397B1DCDAF  # SplitMix64's first output from seed 0
    assert patches._hash(1, 2, 3) == 7702586659592502839
    vector = patches._hash_array(5, 6, 7, 100)
    assert vector.tolist() == [patches._hash(5, 6, 7, i) for i in range(100)]


def test_places_never_change(stores: dict[str, object]) -> None:
    found = [tuple(source(stores).place(i)) for i in (0, 1, 2, 1000)]
    assert found == [(2, 3, 4, 2), (1, 0, 0, 3), (0, 9, 0, 3), (2, 3, 13, 2)]


def test_reduce_zeroes_patches_of_one_area_only(stores: dict[str, object], tmp_path: Path) -> None:
    """Appendix B counts areas: two of one value stay."""
    labels = {
        name: np.indices((h * SCALE, w * SCALE))[1].astype(np.uint16) % 2 for name, (h, w) in SIZES.items()
    }
    one = {name: np.ones_like(label) for name, label in labels.items()}
    same = {"values": [np.full(2, 0.7, np.float32)] * 3}
    two_areas = stores | same | {"labels": write(tmp_path / "two", labels)}
    one_area = stores | same | {"labels": write(tmp_path / "one", one)}
    assert (single(source(one_area, reduce=True), 0)["e_sam"] == 0).all()
    for kept in (source(one_area), source(two_areas), source(two_areas, reduce=True)):
        assert (single(kept, 0)["e_sam"] == np.float32(0.7)).all()


def test_without_labels_there_is_no_structure_map(stores: dict[str, object]) -> None:
    plain = source(stores | {"labels": None, "values": None})
    sample, full = plain.batch(3, 2), source(stores).batch(3, 2)
    assert sorted(sample) == ["hr", "lr"]
    np.testing.assert_array_equal(sample["hr"], full["hr"])
    with pytest.raises(ValueError, match="together"):
        source(stores | {"labels": None})


def test_mistakes_are_named(stores: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'b' covers 32x32 HR pixels.*36"):
        source(stores, patch=36)
    with pytest.raises(UserError, match="patch size 30"):
        source(stores, patch=30)
    with pytest.raises(UserError, match="scale factor 4, not 2"):
        source(stores, scale=2)
    with pytest.raises(UserError, match="unknown mask_crop 'moved'"):
        source(stores, mask_crop="moved")
    with pytest.raises(UserError, match="2 value vectors for the 3 images"):
        source(stores | {"values": stores["values"][:2]})
    lr: Store = stores["lr"]
    renamed = write(tmp_path / "renamed", {name: np.ones((200, 200), np.uint16) for name in "abd"})
    with pytest.raises(UserError, match="different images"):
        source(stores | {"labels": renamed})
    small = write(tmp_path / "small", {name: lr[i].copy() for i, name in enumerate(lr.names)})
    with pytest.raises(UserError, match=r"small: image 'a' is 17x24, the LR image covers 68x96"):
        source(stores | {"hr": small})
    empty = tmp_path / "empty"
    with StoreWriter(empty):
        pass
    with pytest.raises(UserError, match="no image"):
        PatchSource(Store(empty), Store(empty), None, None, scale=4, patch=32, seed=0)


def test_a_label_without_a_value_is_named(stores: dict[str, object]) -> None:
    reader = source(stores | {"values": [v[:3] for v in stores["values"]]})
    with pytest.raises(UserError, match=r"image '[abc]' has label \d+, its values end at 2"):
        single(reader, 0)
