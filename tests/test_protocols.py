"""The same images under several protocols."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from samdiffsr.core.errors import UserError
from samdiffsr.core.files import sha256_file, write_json
from samdiffsr.data.images import write_png
from samdiffsr.data.resize import upscale
from samdiffsr.data.store import StoreWriter
from samdiffsr.evaluation.image import Pair
from samdiffsr.evaluation.protocol import PROTOCOLS, lay
from samdiffsr.evaluation.recipe import ProtocolRecipe
from samdiffsr.evaluation.stages import score_protocols
from samdiffsr.sampling.recipe import DenoiserRecipe


def _image(height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (math.ceil(height / 4), math.ceil(width / 4), 3), dtype=np.uint8)
    return np.ascontiguousarray(upscale(small, 4)[:height, :width])


def test_what_each_protocol_lays_side_by_side() -> None:
    hr = _image(70, 63)  # x2: cropped to 68 x 60
    sr = np.ascontiguousarray(hr[:68, :60])
    found = {name: lay(name, sr, hr, 2) for name in PROTOCOLS}
    shapes = {name: (a.shape[:2], b.shape[:2]) for name, (a, b, _) in found.items()}
    assert shapes == {
        "authors": ((68, 60), (68, 60)), "border": ((68, 60), (68, 60)), "yiq": ((68, 60), (68, 60)),
        "mod8": ((64, 56), (64, 56)), "stretch": ((70, 63), (70, 63)),
    }  # fmt: skip
    assert found["border"][2].border == 2
    assert [Pair(*laid).inner[0].shape[0] for laid in found.values()] == [68, 64, 64, 68, 70]
    for name, (a, b, _) in found.items():
        assert np.array_equal(a, b) == (name != "stretch")  # a perfect image is no longer one
    a, b, _ = lay("stretch", hr[:68, :60], hr[:68, :60], 2)
    assert np.array_equal(a, b)
    with pytest.raises(UserError, match="SR is 60x64"):
        lay("authors", sr[:64], hr, 2)


def test_one_run_under_each(tmp_path: Path) -> None:
    hr = _image(70, 63)
    sr = np.clip(hr[:64, :56].astype(int) + 9, 0, 255).astype(np.uint8)
    with StoreWriter(tmp_path / "hr") as store:
        store.add("a", hr)
    write_png(tmp_path / "set/a.png", sr)
    listed = [{"name": "a", "sha256": sha256_file(tmp_path / "set/a.png")}]
    sampled = DenoiserRecipe(scale=4).model_dump(mode="json")
    write_json(tmp_path / "set.json", {"images": listed, "recipe": sampled})
    recipe = ProtocolRecipe(scale=4, protocols=tuple(PROTOCOLS))
    score_protocols("r-x4-s0", "set", [tmp_path / "set.json"], tmp_path / "hr", tmp_path / "o.csv", recipe)
    rows = list(csv.DictReader((tmp_path / "o.csv").read_text().splitlines()))
    psnr = {r["dataset"].removeprefix("set/"): float(r["value"]) for r in rows if r["metric"] == "psnr_y"}
    assert set(psnr) == set(PROTOCOLS)
    assert psnr["authors"] == psnr["mod8"]  # at x4 both crop to 8
    assert psnr["authors"] - psnr["yiq"] == pytest.approx(20 * math.log10(255 / 219), abs=0.01)
    assert psnr["stretch"] < psnr["authors"] - 3
    assert {r["protocol"] for r in rows if r["dataset"] == "set/stretch"} == {
        "Y(BT.601 studio), crop 0, HR mod 1, SR stretched"
    }
    with StoreWriter(tmp_path / "hr") as store:
        store.add("a", hr)
        store.add("b", hr)
    score_protocols("r-x4-s0", "set", [tmp_path / "set.json"], tmp_path / "hr", tmp_path / "o.csv", recipe)
    more = list(csv.DictReader((tmp_path / "o.csv").read_text().splitlines()))
    assert [r for r in more if r["image"] == "a"] == rows
    absent = [r for r in more if r["image"] == "b"]
    assert len(absent) == len(rows)
    assert {(r["value"], r["why_empty"]) for r in absent} == {("", f"no image {tmp_path / 'set/b.png'}")}
    write_png(tmp_path / "set/a.png", hr[:64, :56])
    with pytest.raises(UserError, match=r"a\.png: is not the file that was sampled"):
        score_protocols(
            "r-x4-s0", "set", [tmp_path / "set.json"], tmp_path / "hr", tmp_path / "o.csv", recipe
        )
