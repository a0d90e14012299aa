"""Region stores, shards, and the two mask stages from images to values."""

from __future__ import annotations

import hashlib
import json
import zipfile

import numpy as np
import pytest

from samdiffsr.core.errors import UserError
from samdiffsr.data.store import Store, StoreWriter
from samdiffsr.masks.encode import encode, load_values, region_values
from samdiffsr.masks.positions import position_map
from samdiffsr.masks.recipe import Encoding, MaskRecipe
from samdiffsr.masks.reduce import structure_map
from samdiffsr.masks.regions import Regions
from samdiffsr.masks.segment import segment
from samdiffsr.masks.segmenters.registry import Felzenszwalb
from samdiffsr.masks.store import RegionStore, RegionStoreWriter, merge_shards

SPEC = MaskRecipe(image="hr", segmenter=Felzenszwalb(scale=10, sigma=0.5, min_size=4))
FILES = (".bin", ".json", ".members.npz")


def overlapping(seed: int, k: int = 4, shape: tuple[int, int] = (9, 11)) -> Regions:
    rng = np.random.default_rng(seed)
    regions = Regions.from_masks([rng.random(shape) < 0.3 for _ in range(k)], shape)
    return Regions(regions.labels, regions.members, {"predicted_iou": rng.random(k)} if k else {})


def content(path) -> dict[str, bytes]:
    return {suffix: path.with_name(path.name + suffix).read_bytes() for suffix in FILES}


def assert_same(a: Regions, b: Regions) -> None:
    assert np.array_equal(a.labels, b.labels)
    assert a.n_masks == b.n_masks
    assert all(x.tolist() == y.tolist() for x, y in zip(a.members, b.members, strict=True))
    assert set(a.per_mask) == set(b.per_mask)
    assert all(np.array_equal(a.per_mask[key], b.per_mask[key]) for key in a.per_mask)


@pytest.fixture
def images(tmp_path):
    """A store of five small images of different sizes."""
    rng = np.random.default_rng(1)
    with StoreWriter(tmp_path / "lr") as writer:
        for i in range(5):
            blocks = rng.integers(0, 256, (2, 2 + i % 2, 3), np.uint8)
            writer.add(f"img{i}", blocks.repeat(6, axis=0).repeat(6, axis=1))
    return tmp_path / "lr"


def test_round_trip(tmp_path):
    stored = [overlapping(0), overlapping(1, k=0), overlapping(2, k=7, shape=(4, 5))]
    with RegionStoreWriter(tmp_path / "r", note="kept") as writer:
        for i, regions in enumerate(stored):
            writer.add(f"{i}", regions)
    store = RegionStore(tmp_path / "r")
    assert store.names == ("0", "1", "2")
    assert store.meta == {"note": "kept"}
    assert store.index("2") == 2
    for i, regions in enumerate(stored):
        assert_same(store[i], regions)
    assert_same(store[-1], stored[-1])
    assert store[0].labels.dtype == np.uint16
    assert np.array_equal(Store(tmp_path / "r")[2], stored[2].labels)  # an ordinary store of label maps
    with pytest.raises(IndexError):
        store[3]


def test_equal_content_gives_equal_bytes_and_digest(tmp_path):
    for name in ("a", "b"):
        with RegionStoreWriter(tmp_path / name) as writer:
            writer.add("x", overlapping(3))
    assert content(tmp_path / "a") == content(tmp_path / "b")
    with zipfile.ZipFile(tmp_path / "a.members.npz") as archive:  # no clock in the file
        assert {entry.date_time[0] for entry in archive.infolist()} == {1980}
    with RegionStoreWriter(tmp_path / "c") as writer:  # equal labels, masks in another order
        r = overlapping(3)
        writer.add("x", Regions(r.labels, r.members[::-1], r.per_mask))
    digests = [RegionStore(tmp_path / name).digest for name in "abc"]
    assert digests[0] == digests[1] != digests[2]
    assert RegionStore(tmp_path / "a").labels.digest == RegionStore(tmp_path / "c").labels.digest


def test_65535_atoms_and_more(tmp_path):
    regions = Regions.from_partition(np.arange(1, 256 * 257 + 1).reshape(256, 257))
    stored = [overlapping(0), overlapping(1, k=7), regions, overlapping(2)]
    for name, chosen in (("whole", range(4)), ("one", range(2)), ("two", range(2, 4))):
        with RegionStoreWriter(tmp_path / name) as writer:
            for i in chosen:
                writer.add(str(i), Regions(stored[i].labels, stored[i].members))
    store = RegionStore(tmp_path / "whole")
    assert store.labels.dtype == np.uint32
    for i, each in enumerate(stored):
        assert np.array_equal(store[i].labels, each.labels)
    assert store.labels.digest == hashlib.sha256((tmp_path / "whole.bin").read_bytes()).hexdigest()
    assert RegionStore(tmp_path / "one").labels.dtype == np.uint16
    merge_shards([tmp_path / "one", tmp_path / "two"], tmp_path / "merged")
    assert content(tmp_path / "merged") == content(tmp_path / "whole")


def test_unfinished_store_is_never_read(tmp_path):
    with RegionStoreWriter(tmp_path / "r") as writer:
        writer.add("x", overlapping(0))
    writer = RegionStoreWriter(tmp_path / "r")
    writer.__enter__()
    writer.add("x", overlapping(1))
    writer.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    with pytest.raises(UserError, match="no such store"):
        RegionStore(tmp_path / "r")
    assert not [path.name for path in tmp_path.iterdir() if "part" in path.name]


def test_parts_that_do_not_belong_together(tmp_path):
    for name, seed in (("a", 0), ("b", 1)):
        with RegionStoreWriter(tmp_path / name) as writer:
            writer.add("x", overlapping(seed))
    members = tmp_path / "a.members.npz"
    members.write_bytes((tmp_path / "b.members.npz").read_bytes())
    with pytest.raises(UserError, match=r"a\.members\.npz: does not belong"):
        RegionStore(tmp_path / "a")
    members.write_bytes(b"PK half a file")
    with pytest.raises(UserError, match=r"a\.members\.npz: damaged"):
        RegionStore(tmp_path / "a")
    members.unlink()
    with pytest.raises(UserError, match=r"a\.members\.npz: missing"):
        RegionStore(tmp_path / "a")


@pytest.mark.parametrize("parts", [1, 2, 3, 7])
def test_merged_shards_equal_one_shard(tmp_path, images, parts):
    segment(images, tmp_path / "whole", SPEC)
    shards = [tmp_path / f"part{i}" for i in range(parts)]  # with 7, two are empty
    for i, shard in enumerate(shards):
        segment(images, shard, SPEC, shard=(i, parts))
    merge_shards(shards, tmp_path / "merged")
    assert content(tmp_path / "merged") == content(tmp_path / "whole")


def test_merged_overlapping_masks_keep_their_scores(tmp_path):
    stored = [overlapping(i, k=i) for i in range(4)]
    for name, chosen in (("whole", range(4)), ("one", range(1)), ("two", range(1, 4))):
        with RegionStoreWriter(tmp_path / name) as writer:
            for i in chosen:
                writer.add(str(i), stored[i])
    merge_shards([tmp_path / "one", tmp_path / "two"], tmp_path / "merged")
    assert content(tmp_path / "merged") == content(tmp_path / "whole")


def test_wrong_shards_are_refused(tmp_path, images):
    for i in range(2):
        segment(images, tmp_path / f"part{i}", SPEC, shard=(i, 2))
    segment(
        images,
        tmp_path / "other",
        MaskRecipe(image="hr", segmenter=Felzenszwalb(scale=11, sigma=0.5, min_size=4)),
        shard=(1, 2),
    )
    a, b, other = (tmp_path / name for name in ("part0", "part1", "other"))
    for wrong in ([a], [b, a]):
        with pytest.raises(UserError, match="not all of the source's images in their order"):
            merge_shards(wrong, tmp_path / "out")
    with pytest.raises(UserError, match="other: its settings differ"):
        merge_shards([a, other], tmp_path / "out")
    with pytest.raises(UserError, match="no shard"):
        merge_shards([], tmp_path / "out")
    with pytest.raises(UserError, match="shard 2 of 2"):
        segment(images, tmp_path / "out", SPEC, shard=(2, 2))


def test_segment_on_lr_brings_labels_to_hr_size(tmp_path, images):
    segment(images, tmp_path / "hr", SPEC)
    segment(images, tmp_path / "low", MaskRecipe(image="lr", segmenter=SPEC.segmenter), scale=4)
    hr, low = RegionStore(tmp_path / "hr"), RegionStore(tmp_path / "low")
    assert (low.meta["on"], low.meta["scale"], low.meta["segmenter"]["kind"]) == ("lr", 4, "felzenszwalb")
    assert hr.names == low.names == Store(images).names
    for i in range(5):
        assert hr[i].n_masks > 1
        assert np.array_equal(low[i].labels, np.kron(hr[i].labels, np.ones((4, 4), np.uint16)))
    with pytest.raises(UserError, match="on hr with scale 4"):
        segment(images, tmp_path / "x", SPEC, scale=4)


def test_encode_gives_each_image_its_values(tmp_path, images):
    segment(images, tmp_path / "r", SPEC)
    encoding = Encoding(rope_axis="height", overlap="overwrite", uncovered="own_region")
    encode(tmp_path / "r", tmp_path / "v.npz", encoding)
    store = RegionStore(tmp_path / "r")
    vectors = load_values(tmp_path / "v.npz", store)
    assert len(vectors) == len(store)
    for i, values in enumerate(vectors):
        position = position_map("rope", *store[i].shape, rope_axis="height")
        expected = region_values(store[i], position, encoding)
        assert values.dtype == np.float32
        assert np.array_equal(values, expected)
        assert np.array_equal(values[store.labels[i]], structure_map(store[i].labels, expected))
    meta = json.loads(str(np.load(tmp_path / "v.npz")["meta"]))
    assert meta["encoding"] == encoding.model_dump()
    assert meta["regions"] == store.digest
    assert meta["source"]["digest"] == Store(images).digest
    encode(tmp_path / "r", tmp_path / "again.npz", encoding)
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "v.npz").read_bytes()


def test_values_of_other_regions_are_refused(tmp_path, images):
    segment(images, tmp_path / "r", SPEC)
    segment(
        images,
        tmp_path / "other",
        MaskRecipe(image="hr", segmenter=Felzenszwalb(scale=10, sigma=0.5, min_size=40)),
    )
    encode(tmp_path / "r", tmp_path / "v.npz", Encoding())
    with pytest.raises(UserError, match=r"v\.npz: made from other regions"):
        load_values(tmp_path / "v.npz", RegionStore(tmp_path / "other"))
    with pytest.raises(UserError, match=r"w\.npz: no such file"):
        load_values(tmp_path / "w.npz")
    (tmp_path / "w.npz").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"w\.npz: damaged"):
        load_values(tmp_path / "w.npz")


def test_empty_store_goes_through(tmp_path):
    with StoreWriter(tmp_path / "none"):
        pass
    segment(tmp_path / "none", tmp_path / "r", SPEC)
    encode(tmp_path / "r", tmp_path / "v.npz", Encoding())
    assert load_values(tmp_path / "v.npz") == []
