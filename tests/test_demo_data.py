"""The demo photographs, and the way from a folder of images to the HR and LR stores."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import socket
from pathlib import Path

import numpy as np
import pytest

from samdiffsr.core.errors import UserError
from samdiffsr.data import demo
from samdiffsr.data.demo import PHOTOGRAPHS, locate, make_demo
from samdiffsr.data.images import list_images, read_rgb, write_png
from samdiffsr.data.prepare import build_hr_store, build_lr_store
from samdiffsr.data.resize import Rounding, downscale, imresize
from samdiffsr.data.store import Store

RNG = np.random.default_rng(0)

# SHA-256 of the written files, the same on every machine.
FILES = {
    "test/astronaut.png": "35df6c0d67cbd76455fcf2c3b0d38dfc920bf2ccb063acceeeca37986a6510e9",
    "test/chelsea.png": "15f0bda8c1ae14b5a33f3e545c218aecee7996c4475a36dbe3b937f93ed83565",
    "train/coffee.png": "119c80653559439594587b5af9721f84588b3a5edc64f6e9d39c90791d276986",
    "train/grace_hopper.png": "57680ac76cbad34f536681e241cf181040b79b9e51f2659fba8c511b33817aa5",
    "train/rocket.png": "012959b00fcc86d7a7852310fa946715bb0c4261b270b65e4e39deeed08ca078",
}


def no_network(*args: object, **kwargs: object) -> None:
    raise AssertionError("the demo data must not touch the network")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", no_network)
    monkeypatch.setattr(socket, "getaddrinfo", no_network)


@pytest.mark.usefixtures("offline")
def test_make_demo_writes_the_same_bytes_everywhere(tmp_path: Path) -> None:
    make_demo(tmp_path)
    written = {str(p.relative_to(tmp_path)): p for p in tmp_path.rglob("*.png")}
    assert {k: hashlib.sha256(p.read_bytes()).hexdigest() for k, p in written.items()} == FILES
    sources = json.loads((tmp_path / "SOURCES.json").read_text())
    assert [(s["split"], s["name"]) for s in sources] == [(p.split, p.name) for p in PHOTOGRAPHS]
    assert not any(p.name.startswith(".") for p in tmp_path.rglob("*"))
    assert [p.stem for p in list_images(tmp_path / "test")] == ["astronaut", "chelsea"]


def test_every_photograph_has_terms_and_credit() -> None:
    for photograph in PHOTOGRAPHS:
        assert photograph.licence in ("public domain", "CC0", "no known copyright restrictions")
        assert photograph.credit
        assert "motorcycle" not in photograph.file
    assert len({p.name for p in PHOTOGRAPHS}) == len({p.pixels for p in PHOTOGRAPHS}) == len(PHOTOGRAPHS)


def test_no_test_photograph_is_in_training() -> None:
    """Nor a shrunken, turned or mirrored one: thumbnails of the two splits do not correlate."""

    def thumbnail(photograph: demo.Photograph) -> np.ndarray:
        image = read_rgb(locate(photograph)).mean(2)
        side = min(image.shape)
        small = imresize(image[:side, :side], 16 / side)[:16, :16]
        return (small - small.mean()) / small.std()

    split = {s: [thumbnail(p) for p in PHOTOGRAPHS if p.split == s] for s in ("train", "test")}
    for a, b in itertools.product(split["train"], split["test"]):
        for k in range(4):
            assert abs((np.rot90(a, k) * b).mean()) < 0.8
            assert abs((np.rot90(a.T, k) * b).mean()) < 0.8


def test_another_decoder_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def off_by_one(path: Path) -> np.ndarray:
        image = read_rgb(path)
        image[0, 0, 0] ^= 1
        return image

    monkeypatch.setattr(demo, "read_rgb", off_by_one)
    with pytest.raises(UserError, match="astronaut"):
        make_demo(tmp_path)
    assert list(tmp_path.rglob("*.png")) == []


def test_missing_package_or_file_is_named() -> None:
    photograph = PHOTOGRAPHS[0]
    with pytest.raises(UserError, match="nosuchpackage is not installed"):
        locate(dataclasses.replace(photograph, package="nosuchpackage"))
    with pytest.raises(UserError, match=r"astronaut.*gone\.png is missing"):
        locate(dataclasses.replace(photograph, file="data/gone.png"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, (height, width) in {"b": (35, 50), "a": (64, 49), "c": (16, 16)}.items():
        write_png(tmp_path / "images" / f"{name}.png", RNG.integers(0, 256, (height, width, 3), np.uint8))
    return tmp_path / "images"


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("rounding", ["end", "each_axis"])
def test_stores_hold_the_images_and_their_reduction(
    folder: Path, tmp_path: Path, scale: int, rounding: Rounding
) -> None:
    """HR is whole; LR is the reduction of its top-left part, a multiple of 2 * scale."""
    build_hr_store(folder, tmp_path / "hr")
    build_lr_store(tmp_path / "hr", tmp_path / "lr", scale, rounding=rounding)
    hr, lr = Store(tmp_path / "hr"), Store(tmp_path / "lr")
    assert hr.names == lr.names == ("a", "b", "c")
    assert lr.meta["hr_digest"] == hr.digest
    assert (lr.meta["scale"], lr.meta["rounding"], lr.meta["border"]) == (scale, rounding, "symmetric")
    for i, name in enumerate(hr.names):
        image = read_rgb(folder / f"{name}.png")
        np.testing.assert_array_equal(hr[i], image)
        height, width = (side // (2 * scale) * 2 for side in image.shape[:2])
        assert lr.shape(i) == (height, width, 3)
        expected = downscale(image[: height * scale, : width * scale], scale, rounding)
        np.testing.assert_array_equal(lr[i], expected)


def test_too_small_images_are_named(folder: Path, tmp_path: Path) -> None:
    build_hr_store(folder, tmp_path / "hr")
    with pytest.raises(UserError, match=r"'b'.*40 pixels"):
        build_lr_store(tmp_path / "hr", tmp_path / "lr", 20)
    assert not (tmp_path / "lr.json").exists()


def test_equal_stems_are_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "a.bmp").write_bytes((folder / "a.png").read_bytes())
    with pytest.raises(UserError, match="'a'"):
        build_hr_store(folder, tmp_path / "hr")
