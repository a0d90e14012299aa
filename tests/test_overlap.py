"""Split hygiene: copies are found however they were cut and shrunk, and strangers are not."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from samdiffsr.core.errors import UserError
from samdiffsr.data import overlap
from samdiffsr.data.demo import PHOTOGRAPHS, locate
from samdiffsr.data.images import read_rgb, write_png
from samdiffsr.data.overlap import COLUMNS, Found, StoreImages, check_split, find_overlaps
from samdiffsr.data.prepare import build_hr_store
from samdiffsr.data.store import Store


@pytest.fixture(scope="module")
def photographs() -> dict[str, np.ndarray]:
    wanted = ("astronaut", "chelsea", "coffee", "rocket")
    return {p.name: read_rgb(locate(p)) for p in PHOTOGRAPHS if p.name in wanted}


def copy(
    image: np.ndarray, part: tuple[float, float, float, float], scale: float, quality: int = 85
) -> np.ndarray:
    """A part (top, left, bottom, right, as shares) of an image, rescaled, darker, through JPEG."""
    height, width = image.shape[:2]
    top, left, bottom, right = (round(x * s) for x, s in zip(part, (height, width) * 2, strict=True))
    cut = image[top:bottom, left:right]
    size = (round(cut.shape[1] * scale), round(cut.shape[0] * scale))
    small = np.asarray(Image.fromarray(cut).resize(size, Image.Resampling.BICUBIC))
    file = io.BytesIO()
    Image.fromarray((small * 0.9 + 8).astype(np.uint8)).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


@pytest.mark.parametrize(
    ("part", "scale", "relation"),
    [
        ((0, 0, 1, 1), 1.0, "the same image"),
        ((0, 0, 1, 1), 0.4, "the same image, rescaled"),
        ((0, 0, 1, 1), 1.7, "the same image, rescaled"),
        ((0.2, 0.3, 0.8, 0.9), 1.0, "a part of it"),
        ((0.1, 0.05, 0.7, 0.75), 0.6, "a part of it, rescaled"),
    ],
)
def test_a_copy_is_found_where_it_is(
    photographs: dict[str, np.ndarray], part: tuple[float, float, float, float], scale: float, relation: str
) -> None:
    originals = list(photographs.items())
    found = find_overlaps(originals, [("copy", copy(photographs["coffee"], part, scale))])
    assert [o.a for o in found] == ["coffee"]
    overlap = found[0]
    assert overlap.relation == relation
    assert overlap.scale == pytest.approx(1 / scale, rel=0.02)
    height, width = photographs["coffee"].shape[:2]
    expected = np.array(part) * (height, width, height, width)
    np.testing.assert_allclose(overlap.box, expected, atol=8)
    assert overlap.correlation > 0.8


def test_the_larger_picture_is_found_too(photographs: dict[str, np.ndarray]) -> None:
    part = copy(photographs["astronaut"], (0.1, 0.2, 0.7, 0.8), 1.0)
    (found,) = find_overlaps([("part", part)], [("whole", photographs["astronaut"])])
    assert found.relation == "it and more"


def test_strangers_are_not_found(photographs: dict[str, np.ndarray]) -> None:
    names = list(photographs)
    first = [(n, photographs[n]) for n in names[:2]]
    second = [(n, photographs[n]) for n in names[2:]]
    assert find_overlaps(first, second) == []
    rng = np.random.default_rng(0)
    noise = [
        ("noise", rng.integers(0, 256, (96, 96, 3), np.uint8)),
        ("flat", np.full((96, 96, 3), 9, np.uint8)),
    ]
    assert find_overlaps(noise, [*second, ("tiny", second[0][1][:20, :20])]) == []


@pytest.fixture
def stores(photographs: dict[str, np.ndarray], tmp_path: Path) -> Path:
    for name in ("coffee", "rocket"):
        write_png(tmp_path / "train" / f"{name}.png", photographs[name])
    write_png(tmp_path / "test" / "cup.png", copy(photographs["coffee"], (0.1, 0.1, 0.9, 0.9), 0.7))
    build_hr_store(tmp_path / "test", tmp_path / "test_hr")
    return tmp_path


def test_a_leak_is_an_error_that_names_it(stores: Path) -> None:
    build_hr_store(stores / "train", stores / "train_hr")
    with pytest.raises(
        UserError, match=r"photos/coffee and cups/cup.*add 'coffee' to datasets\.photos\.exclude"
    ):
        check_split(stores / "o.csv", ("photos", stores / "train_hr"), [("cups", stores / "test_hr")])
    assert not (stores / "o.csv").exists()


def test_what_is_left_out_is_reported(stores: Path, caplog: pytest.LogCaptureFixture) -> None:
    build_hr_store(stores / "train", stores / "train_hr", exclude=["coffee"])
    assert Store(stores / "train_hr").names == ("rocket",)
    assert Store(stores / "train_hr").meta["excluded"] == ["coffee"]
    caplog.set_level("INFO")
    check_split(
        stores / "o.csv",
        ("photos", stores / "train_hr"),
        [("cups", stores / "test_hr"), ("again", stores / "test_hr")],
        [stores / "train"],
        ["coffee"],
    )
    rows = list(csv.DictReader((stores / "o.csv").read_text().splitlines()))
    assert tuple(rows[0]) == COLUMNS
    assert [(r["kind"], r["image_a"], r["image_b"], r["left_out"]) for r in rows] == [
        ("train-test", "coffee", "cup", "yes"),
        ("train-test", "coffee", "cup", "yes"),
        ("test-test", "cup", "cup", ""),
    ]
    assert "left out" in caplog.text


def test_two_sets_are_compared_once(stores: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sets = ("photos", stores / "train_hr"), [("cups", stores / "test_hr")]
    build_hr_store(stores / "train", stores / "train_hr", exclude=["coffee"])
    more = [stores / "train"], ["coffee"]
    check_split(stores / "first.csv", *sets, *more, Found(stores / "kept", "code"))
    looked: list[object] = []
    describe_all = overlap.describe_all
    monkeypatch.setattr(overlap, "describe_all", lambda images: looked.append(images) or describe_all(images))
    check_split(stores / "again.csv", *sets, *more, Found(stores / "kept", "code"))
    assert not looked
    assert (stores / "again.csv").read_bytes() == (stores / "first.csv").read_bytes()
    check_split(stores / "other.csv", *sets, *more, Found(stores / "kept", "other code"))
    build_hr_store(stores / "train", stores / "train_hr", exclude=["rocket"])
    with pytest.raises(UserError, match="photos/coffee and cups/cup"):
        check_split(stores / "new.csv", *sets, [stores / "train"], ["rocket"], Found(stores / "kept", "code"))
    assert len(looked) == 4


def test_the_known_overlaps_of_the_benchmarks(mirror: Path) -> None:
    """Set5's woman is BSDS500 train/302003; Set14's face is a crop of Set5's head, its monarch holds the
    butterfly."""
    bsds = mirror / "BSDS500-a04b7c6c3a9f0ace74bf205c72a43d32e1c72722/BSDS500/data/images/train"
    tests = mirror / "SelfExSR-8f6dd8c1d20cb7e8792a7177b4f6fd677633f598/data"
    train = [(p.stem, read_rgb(p)) for p in sorted(bsds.glob("302*.jpg")) + sorted(bsds.glob("10*.jpg"))[:6]]
    set5 = [(p.stem[:7], read_rgb(p)) for p in sorted(tests.glob("Set5/*/*_HR.png"))]
    set14 = [(p.stem[:7], read_rgb(p)) for p in sorted(tests.glob("Set14/*/*_HR.png"))]
    assert [(o.a, o.b) for o in find_overlaps(train, [*set5, *set14])] == [("302003", "img_005")]
    found = {(o.a, o.b): o.relation for o in find_overlaps(set5, set14)}
    assert found == {("img_004", "img_006"): "a part of it", ("img_003", "img_011"): "it and more"}


def test_store_images_reads_files_last(stores: Path) -> None:
    build_hr_store(stores / "train", stores / "train_hr", exclude=["coffee"])
    images = StoreImages(Store(stores / "train_hr"), [stores / "train" / "coffee.png"])
    assert [name for name, _ in images] == ["rocket", "coffee"]
    assert images[1][1].shape == (400, 600, 3)
