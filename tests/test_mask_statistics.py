"""Mask statistics against brute force and by hand; the figure; masks to JSON and back; shards and crashes."""

from __future__ import annotations

import csv
import json
import math
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samdiffsr.core.errors import UserError
from samdiffsr.core.progress import Progress
from samdiffsr.data.store import StoreWriter
from samdiffsr.masks import statistics
from samdiffsr.masks.encode import encode
from samdiffsr.masks.recipe import Encoding, MaskRecipe, StatisticsRecipe
from samdiffsr.masks.regions import Regions
from samdiffsr.masks.segment import export_masks, segment
from samdiffsr.masks.segmenters.bsds import Annotations
from samdiffsr.masks.segmenters.classical import Felzenszwalb as FelzenszwalbSegmenter
from samdiffsr.masks.segmenters.registry import (
    Felzenszwalb,
    Human,
    Imported,
    Places,
    Ucm,
    make_segmenter,
)
from samdiffsr.masks.store import (
    RegionStore,
    RegionStoreWriter,
    merge_shards,
    read_regions,
    write_regions,
)

SPEC = MaskRecipe(image="hr", segmenter=Felzenszwalb(scale=10, sigma=0.5, min_size=4))
RECIPE = StatisticsRecipe(study="demo", level="high", masks="m", dataset="d", scale=2, patch=8)
FILES = (".bin", ".json", ".members.npz")


def content(path: Path) -> dict[str, bytes]:
    return {suffix: path.with_name(path.name + suffix).read_bytes() for suffix in FILES}


def overlapping(seed: int, k: int = 4, shape: tuple[int, int] = (24, 32)) -> Regions:
    rng = np.random.default_rng(seed)
    regions = Regions.from_masks([rng.random(shape) < 0.3 for _ in range(k)], shape)
    columns = {
        "predicted_iou": rng.random(k),
        "stability_score": rng.random(k),
        "point_coords": rng.random((k, 1, 2)) * 30,
        "crop_box": np.tile([0, 0, shape[1], shape[0]], (k, 1)),
    }
    return Regions(regions.labels, regions.members, columns if k else {})


def assert_same(a: Regions, b: Regions) -> None:
    assert np.array_equal(a.labels, b.labels)
    assert a.labels.dtype == b.labels.dtype
    assert [x.tolist() for x in a.members] == [x.tolist() for x in b.members]
    assert set(a.per_mask) == set(b.per_mask)
    assert all(np.array_equal(a.per_mask[key], b.per_mask[key]) for key in a.per_mask)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A store of five small images of different sizes."""
    rng = np.random.default_rng(1)
    with StoreWriter(tmp_path / "hr") as writer:
        for i in range(5):
            blocks = rng.integers(0, 256, (4, 4 + i % 2, 3), np.uint8)
            writer.add(f"img{i}", blocks.repeat(6, axis=0).repeat(6, axis=1))
    return tmp_path / "hr"


# ---- statistics ----


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 10**6), st.integers(3, 14), st.integers(3, 14), st.sampled_from([1, 2]), st.integers(1, 5)
)
def test_uninformative_share_equals_looking_at_every_patch(seed, height, width, scale, k):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, (-(-height // 3), -(-width // 3))).repeat(3, 0).repeat(3, 1)[:height, :width]
    patch = k * scale
    h, w = height - height % (2 * scale), width - width % (2 * scale)
    patches = [
        labels[y : y + patch, x : x + patch]
        for y in range(0, h - patch + 1, scale)
        for x in range(0, w - patch + 1, scale)
    ]
    found = statistics.uninformative_share(labels, patch, scale)
    if not patches:
        assert math.isnan(found)
    else:
        assert found == pytest.approx(np.mean([len(np.unique(p)) == 1 for p in patches]))


def test_areas_and_overlap_by_brute_force():
    regions = overlapping(3)
    masks = np.array(regions.masks())
    assert statistics.mask_areas(regions).tolist() == masks.sum((1, 2)).tolist()
    assert statistics.overlapped_share(regions) == pytest.approx((masks.sum(0) > 1).mean())
    assert statistics.overlapped_share(Regions.from_masks([], (3, 3))) == 0


def test_covering_by_brute_force():
    regions = overlapping(5, k=6)
    truth = np.random.default_rng(0).integers(1, 4, (6, 8)).repeat(4, 0).repeat(4, 1)
    masks = regions.masks()
    expected = 0.0
    for value in np.unique(truth):
        region = truth == value
        expected += region.sum() * max((m & region).sum() / (m | region).sum() for m in masks) / truth.size
    assert statistics.covering(regions, truth) == pytest.approx(expected)
    assert statistics.covering(Regions.from_partition(truth), truth) == 1
    assert statistics.covering(Regions.from_masks([], truth.shape), truth) == 0


def test_agreement_with_people():
    quarters = np.array([[1, 2], [3, 4]]).repeat(32, 0).repeat(32, 1)
    halves = np.array([[1, 1], [2, 2]]).repeat(32, 0).repeat(32, 1)
    same = statistics.agreement(Regions.from_partition(quarters), [quarters])
    assert same["annotators"] == 0  # agreeing with oneself says nothing
    assert math.isnan(same["vi"])
    finer = statistics.agreement(Regions.from_partition(quarters), [halves, quarters * 7])
    assert (finer["annotators"], finer["vi_merges"], finer["vi_splits"]) == (1, 0, 1)  # one bit too much
    assert finer["covering"] == 0.5
    coarser = statistics.agreement(Regions.from_partition(halves), [quarters])
    assert (coarser["vi_merges"], coarser["vi_splits"]) == (1, 0)
    assert coarser["covering"] == 0.5
    recall = 64 / 127  # borders: a row of 64 pixels found, of a cross of 127; the tolerance is under a pixel
    assert coarser["boundary_f"] == pytest.approx(2 * recall / (1 + recall))


def test_boundaries_within_the_tolerance_count():
    labels = np.ones((300, 400), np.int64)
    labels[:, 200:] = 2
    for shift, found in ((0, 1.0), (3, 1.0), (4, 0.0)):  # 0.0075 of 500 pixels are 3.75
        truth = np.ones_like(labels)
        truth[:, 200 + shift :] = 2
        assert statistics.boundary_f(labels, [truth]) == found
    assert statistics.boundary_f(np.ones_like(labels), [labels]) == 0
    assert statistics.boundary_f(np.ones_like(labels), [np.ones_like(labels)]) == 1


def test_the_csv_files(tmp_path):
    with RegionStoreWriter(tmp_path / "r", on="hr", segmenter={"kind": "x", "weights": "a" * 64}) as writer:
        writer.add("a", overlapping(0))
        writer.add("b", overlapping(1, k=0))
    statistics.mask_statistics(tmp_path / "r", tmp_path / "i.csv", tmp_path / "s.csv", RECIPE)
    with open(tmp_path / "i.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["masks"] for row in rows] == ["4", "0"]
    assert rows[1]["uncovered"] == "1"
    assert rows[1]["area_median"] == rows[0]["covering"] == ""
    statistics.gather_statistics([tmp_path / "s.csv", tmp_path / "s.csv"], tmp_path / "all.csv")
    with open(tmp_path / "all.csv", newline="") as file:
        total = list(csv.DictReader(file))
    assert len(total) == 2
    assert (total[0]["masks_mean"], total[0]["images_without_masks"], total[0]["segmenter"]) == (
        "2",
        "1",
        "kind=x",
    )
    (tmp_path / "junk.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match=r"junk\.csv: no summary"):
        statistics.gather_statistics([tmp_path / "junk.csv"], tmp_path / "all.csv")


def test_bsds_people_and_contours(mirror, tmp_path):
    """One real image: people agree with people more than a coarse felzenszwalb does."""
    from samdiffsr.data.images import read_rgb

    image = read_rgb(next(mirror.glob("BSDS500*")) / "BSDS500/data/images/train/100075.jpg")[:320, :480]
    truths = Annotations(mirror)("100075", image.shape[:2])
    scores = {}
    for settings_ in (Human(), Ucm(threshold=0.2), Felzenszwalb(scale=1000)):
        regions = make_segmenter(settings_, Places(root=mirror))(image, "100075")
        scores[settings_.kind] = statistics.agreement(regions, truths)
    assert scores["human"]["annotators"] == len(truths) - 1
    assert scores["ucm"]["annotators"] == len(truths)
    assert scores["human"]["boundary_f"] > scores["felzenszwalb"]["boundary_f"]
    assert scores["human"]["covering"] > scores["felzenszwalb"]["covering"]


def test_figure(tmp_path, images):
    from samdiffsr.reporting.figures.masks import draw, overlay
    from samdiffsr.reporting.figures.recipe import MasksRecipe

    segment(images, tmp_path / "r", SPEC)
    levels = [{"heading": "High", "masks": "fine"}, {"heading": "Low", "masks": "poor"}]
    recipe = MasksRecipe(
        kind="masks",
        study="demo",
        title="",
        comparable=False,
        checkpoints="trained",
        train_set="d",
        levels=levels,
        images=(),
        count=2,
    )
    index = tmp_path / "r.json"
    inputs = {"hr": [images.with_name(f"{images.name}.json")], "labels": [index, index]}
    axes = draw(recipe, inputs).figure.axes
    assert len(axes) == 2 * 3
    assert [a.get_title().split("\n")[0] for a in axes[:3]] == ["Image", "High: fine", "Low: poor"]
    assert axes[1].get_title().endswith("masks")
    with pytest.raises(UserError, match="holds no image 'nobody'"):
        draw(recipe.but(images=("nobody",)), inputs)
    photo = np.full((6, 6, 3), 90, np.uint8)
    square = np.zeros((6, 6), np.bool_)
    square[:, 3:] = True
    shown = overlay(photo, Regions.from_masks([square]))
    assert (shown[:, :2] == 90).all()  # what no mask covers stays as it is
    assert (shown[:, 5] != 90).any()


# ---- JSON ----


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 6))
def test_kept_images_are_exact(tmp_path_factory, seed, k):
    path = tmp_path_factory.mktemp("kept") / "a.npz"
    regions = overlapping(seed, k, (7, 9))
    write_regions(path, regions)
    assert_same(read_regions(path), regions)
    path.write_bytes(path.read_bytes()[:-30])
    assert read_regions(path) is None


def test_export_and_import_are_exact(tmp_path, images):
    from samdiffsr.data.store import Store

    source = Store(images)
    stored = [overlapping(i, k, source.shape(i)[:2]) for i, k in enumerate((4, 0, 7, 1, 2))]
    with RegionStoreWriter(tmp_path / "r") as writer:
        for name, regions in zip(source.names, stored, strict=True):
            writer.add(name, regions)
    export_masks(tmp_path / "r", tmp_path / "json")
    assert sorted(p.name for p in (tmp_path / "json").iterdir()) == [f"img{i}.json" for i in range(5)]
    imported = Imported(folder=str(tmp_path / "json"))
    segment(images, tmp_path / "back", MaskRecipe(image="hr", segmenter=imported))
    back = RegionStore(tmp_path / "back")
    for i, regions in enumerate(stored):
        assert_same(back[i], regions)
    assert str(tmp_path) not in json.dumps(back.meta)
    assert back.meta["segmenter"]["kind"] == "imported"


def test_imported_masks_must_fit(tmp_path, images):
    imported = Imported(folder=str(tmp_path / "json"))
    with pytest.raises(UserError, match=r"json: no \.json, \.png or \.npz file"):
        make_segmenter(imported)
    with RegionStoreWriter(tmp_path / "r") as writer:
        for i, shape in enumerate([(24, 24), (24, 32), (30, 24), (24, 100)]):
            writer.add(f"img{i}", overlapping(i, 3, shape))
    export_masks(tmp_path / "r", tmp_path / "json")
    segmenter = make_segmenter(imported)
    square = np.zeros((24, 24, 3), np.uint8)
    assert segmenter(square, "img2").shape == (24, 24)  # masks of the image before it was cropped
    with pytest.raises(UserError, match=r"img3\.json: segments 24 x 100 pixels, the image has 24 x 24"):
        segmenter(square, "img3")
    huge = [{"segmentation": {"size": [10**6, 10**6], "counts": [10**12]}}]  # a terabyte of labels
    (tmp_path / "json/img2.json").write_text(json.dumps(huge))
    with pytest.raises(UserError, match=r"img2\.json: segments 1000000 x 1000000 pixels, the image has"):
        segmenter(square, "img2")
    with pytest.raises(UserError, match=r"img9\.json is missing"):
        segmenter(square, "img9")
    (tmp_path / "json/img0.json").write_text('[{"a": 1}]')
    with pytest.raises(UserError, match=r"img0\.json: key 'segmentation' is missing"):
        segmenter(square, "img0")


def test_python_and_command_line_agree(tmp_path, images):
    segment(images, tmp_path / "r", SPEC)
    for arguments in (
        ["masks-export", "--labels", tmp_path / "r", "--out", tmp_path / "json"],
        ["masks-import", "--folder", tmp_path / "json", "--source", images, "--out", tmp_path / "back"],
    ):
        subprocess.run([sys.executable, "-m", "samdiffsr", *map(str, arguments)], check=True)
    assert_same(RegionStore(tmp_path / "back")[2], RegionStore(tmp_path / "r")[2])


# ---- shards and crashes ----


def test_one_shard_or_three_give_the_same_bytes(tmp_path, images):
    segment(images, tmp_path / "one", SPEC)
    for i in range(3):
        segment(images, tmp_path / f"part{i}", SPEC, shard=(i, 3), state=tmp_path / "state")
    merge_shards([tmp_path / f"part{i}" for i in range(3)], tmp_path / "three")
    assert content(tmp_path / "one") == content(tmp_path / "three")
    for name in ("one", "three"):
        encode(tmp_path / name, tmp_path / f"{name}.npz", Encoding())
        statistics.mask_statistics(tmp_path / name, tmp_path / f"{name}.i", tmp_path / f"{name}.s", RECIPE)
    for kind in ("npz", "i", "s"):
        assert (tmp_path / f"one.{kind}").read_bytes() == (tmp_path / f"three.{kind}").read_bytes()


def test_an_interrupted_call_goes_on(tmp_path, images, monkeypatch):
    segment(images, tmp_path / "whole", SPEC)
    real, seen = FelzenszwalbSegmenter.__call__, []

    def failing(self, image, name):
        if name == "img3" and "img3" not in seen:
            seen.append(name)
            raise KeyboardInterrupt
        seen.append(name)
        return real(self, image, name)

    monkeypatch.setattr(FelzenszwalbSegmenter, "__call__", failing)
    with pytest.raises(KeyboardInterrupt):
        segment(images, tmp_path / "r", SPEC, state=tmp_path / "state", code="1")
    assert not (tmp_path / "r.json").exists()
    (kept,) = (tmp_path / "state").iterdir()
    (kept / "000001.npz").write_bytes(b"half a file")  # as after a power cut: done again
    seen[:] = ["img3"]
    segment(images, tmp_path / "r", SPEC, state=tmp_path / "state", code="1")
    assert seen == ["img3", "img1", "img3", "img4"]
    assert content(tmp_path / "r") == content(tmp_path / "whole")
    assert not (tmp_path / "state").exists()


def test_other_settings_or_code_do_not_go_on(tmp_path, images, monkeypatch):
    def stop(progress, done, total, name):
        if done == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "image", stop)
        for code in ("1", "2"):
            with pytest.raises(KeyboardInterrupt):
                segment(images, tmp_path / "r", SPEC, state=tmp_path / "state", code=code)
    assert len(list((tmp_path / "state").iterdir())) == 2
    other = MaskRecipe(image="hr", segmenter=Felzenszwalb(scale=10, sigma=0.5, min_size=8))
    segment(images, tmp_path / "r", other, state=tmp_path / "state", code="1")
    segment(images, tmp_path / "plain", other)
    assert content(tmp_path / "r") == content(tmp_path / "plain")


def test_after_kill_9(tmp_path, images):
    """A process killed half-way, again and again, ends with the same bytes."""
    segment(images, tmp_path / "whole", SPEC)
    slow = (
        "import sys, time; from samdiffsr.masks.segmenters import classical as s;"
        "f = s.Felzenszwalb.__call__;"
        "s.Felzenszwalb.__call__ = lambda *a: (time.sleep(0.4), f(*a))[1];"
        "from samdiffsr.cli.app import main; main(sys.argv[1:])"
    )
    arguments = ["segment", "--source", images, "--out", tmp_path / "r", "--state", tmp_path / "state"]
    command = [sys.executable, "-c", slow, *map(str, arguments), "--recipe", SPEC.text()]
    for done in (1, 3):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while len(list((tmp_path / "state").glob("*/[0-9]*.npz"))) < done and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (tmp_path / "r.json").exists()
    subprocess.run(command, check=True)
    assert content(tmp_path / "r") == content(tmp_path / "whole")
