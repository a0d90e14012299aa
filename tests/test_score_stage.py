"""The score stage refuses images that no trained network makes, and keeps quiet about the others."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from samdiffsr.core.errors import UserError
from samdiffsr.core.files import sha256_file, write_json
from samdiffsr.data.images import write_png
from samdiffsr.data.resize import imresize, upscale
from samdiffsr.data.store import StoreWriter
from samdiffsr.evaluation.recipe import ScoreRecipe
from samdiffsr.evaluation.stages import score
from samdiffsr.sampling.recipe import DenoiserRecipe

RECIPE = ScoreRecipe(scale=4, metrics=("artifact",), stop_below_bicubic=6.0)


def _smooth(seed: int) -> np.ndarray:
    small = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return upscale(upscale(small, 2), 4)


@pytest.fixture
def stores(tmp_path: Path) -> dict[str, np.ndarray]:
    from fractions import Fraction

    bicubic = {}
    with StoreWriter(tmp_path / "hr") as hr, StoreWriter(tmp_path / "lr") as lr:
        for i, name in enumerate(("im0", "im1", "=HYPERLINK(1)")):
            image = _smooth(i)
            small = imresize(image, Fraction(1, 4), rounding="each_axis")
            hr.add(name, image)
            lr.add(name, small)
            bicubic[name] = upscale(small, 4)
    return bicubic


def _score(folder: Path, images: dict[str, np.ndarray], **changes: object) -> list[dict[str, str]]:
    listed = []
    for name, image in images.items():
        write_png(folder / f"set/{name}.png", image)
        listed.append({"name": name, "sha256": sha256_file(folder / f"set/{name}.png")})
    manifest = folder / "set.json"
    write_json(manifest, {"images": listed, "recipe": DenoiserRecipe(scale=4).model_dump(mode="json")})
    recipe = RECIPE.but(**changes)
    score("a-x4-s0", "set", [manifest], folder / "hr", folder / "lr", folder / "o.csv", recipe)
    return list(csv.DictReader((folder / "o.csv").read_text().splitlines()))


def test_bicubic_passes_and_noise_is_refused_in_one_line(
    tmp_path: Path, stores: dict[str, np.ndarray]
) -> None:
    assert len(_score(tmp_path, stores)) == 3
    (tmp_path / "o.csv").unlink()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    with pytest.raises(UserError, match=r"set\.json: on the mean \d+\.\d dB \(PSNR\) below bicubic") as error:
        _score(tmp_path, dict.fromkeys(stores, noise))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "o.csv").exists()
    assert len(_score(tmp_path, dict.fromkeys(stores, noise), stop_below_bicubic=None)) == 3


def test_a_wrong_size_is_refused_by_name(tmp_path: Path, stores: dict[str, np.ndarray]) -> None:
    with pytest.raises(UserError, match=r"im1\.png: SR is 60x64"):
        _score(tmp_path, {"im0": stores["im0"], "im1": stores["im1"][:, :60]})


def test_missing_weights_can_be_an_error(tmp_path: Path, stores: dict[str, np.ndarray]) -> None:
    rows = _score(tmp_path, stores, metrics=["artifact", "lpips"])
    assert {row["metric"] for row in rows if row["why_empty"]} == {"lpips"}
    with pytest.raises(UserError, match="lpips"):
        _score(tmp_path, stores, metrics=["artifact", "lpips"], missing_weights="fail")


def test_no_name_is_a_formula_where_spreadsheets_open_the_scores(
    tmp_path: Path, stores: dict[str, np.ndarray]
) -> None:
    assert [row["image"] for row in _score(tmp_path, stores)] == ["im0", "im1", "'=HYPERLINK(1)"]
