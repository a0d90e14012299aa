"""Watching a training: it shows quality as well as loss, and changes no byte of what is trained."""

from __future__ import annotations

import csv
import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from samdiffsr.config.load import load_config
from samdiffsr.config.reading import read_mapping
from samdiffsr.config.recipes.stages import denoiser_recipe as configured_recipe
from samdiffsr.config.recipes.stages import watch_recipe
from samdiffsr.core.errors import UserError
from samdiffsr.data.resize import downscale
from samdiffsr.data.store import Store
from samdiffsr.sampling import restorers
from samdiffsr.sampling.recipe import Draw
from samdiffsr.training import trainer as loop
from samdiffsr.training import watch as watching
from samdiffsr.training.watching import WatchRecipe
from samdiffsr.workflow.configuration import environment
from samdiffsr.workflow.fingerprint import NEUTRAL, _closure
from tests.training import STEPS, denoiser_recipe, encoder_recipe, train

CPU = torch.device("cpu")


class Killed(BaseException):
    """As by `kill -9`."""


def _watch(data: Path, **changes: Any) -> WatchRecipe:
    return WatchRecipe(**{"every": 4, "patches": 2, "hr": str(data / "hr"), "steps": 20, **changes})


def _rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "model.curve.csv", newline="") as file:
        return list(csv.DictReader(file))


def _recipe(kind: str, **changes: Any) -> Any:
    return encoder_recipe(**changes) if kind == "encoder" else denoiser_recipe(**changes)


@pytest.mark.parametrize("kind", ["encoder", "denoiser"])
def test_validation_adds_a_column_and_changes_nothing_else(
    data: Path, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(loop, "POINTS", 3)  # a point every 3 steps
    train(data, tmp_path / "plain", kind, _recipe(kind))
    state = []
    train(
        data,
        tmp_path / "watched",
        kind,
        _recipe(kind),
        lambda step: state.append(torch.get_rng_state()),
        watch=_watch(data),
    )
    models = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("plain", "watched")]
    assert models[0] == models[1]
    assert all(torch.equal(state[0], later) for later in state)
    rows = _rows(tmp_path / "watched")
    assert [row["step"] for row in rows if row["psnr"]] == ["4", "8", "9"]
    assert all(5 < float(row["psnr"]) < 60 for row in rows if row["psnr"])
    losses = [{k: v for k, v in row.items() if k != "psnr"} for row in rows if row["loss"]]
    assert losses == _rows(tmp_path / "plain")


def test_a_resumed_training_has_every_validation_once(
    data: Path, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(step: int) -> None:
        if step == 8:
            raise Killed

    recipe, watch = denoiser_recipe(), _watch(data, every=2)
    monkeypatch.setattr(loop, "POINTS", 3)
    train(data, tmp_path / "whole", "denoiser", recipe, save_every=5, watch=watch)
    with pytest.raises(Killed):
        train(data, tmp_path / "pieces", "denoiser", recipe, kill, save_every=5, watch=watch)
    train(data, tmp_path / "pieces", "denoiser", recipe, save_every=5, watch=watch)
    for name in ("model.safetensors", "model.curve.csv"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "pieces" / name).read_bytes()
    assert [row["step"] for row in _rows(tmp_path / "pieces")] == ["2", "3", "4", "6", "8", "9"]


@pytest.mark.parametrize("kind", ["encoder", "denoiser"])
def test_the_last_validation_is_what_the_trained_model_gives(
    data: Path, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    train(data, tmp_path, kind, _recipe(kind), watch=_watch(data, patches=1))
    image = Store(data / "hr")[1]
    top, left = ((side - 32) // 2 for side in image.shape[:2])
    hr = np.ascontiguousarray(image[top : top + 32, left : left + 32])
    model = tmp_path / "model.safetensors"
    if kind == "encoder":
        restore = restorers.encoder_restorer(model, "ema", CPU, "float32")
    else:
        monkeypatch.setattr(restorers, "image_index", lambda name, sample: 0)  # the validation's noise
        draw = Draw(seed=watching.SEED, steps=20)
        restore = restorers.DenoiserRestorer(model, encoder, draw, CPU, "float32")
    sr = restore(downscale(hr, 4, "each_axis"), "x").astype(float)
    psnr = 10 * np.log10(255**2 / np.square(sr - hr).mean())
    assert float(_rows(tmp_path)[-1]["psnr"]) == pytest.approx(psnr, abs=1e-3)


def test_a_network_that_needs_masks_is_trained_and_not_validated(
    data: Path, encoder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(data, tmp_path, "denoiser", denoiser_recipe("condition", steps=2), watch=_watch(data, every=1))
    assert "psnr" not in _rows(tmp_path)[0]
    assert "needs masks at inference, so it is not validated" in caplog.text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hr": "nowhere/hr"}, r"nowhere/hr: no such store, .* run `snakemake nowhere/hr\.json`"),
        ({"steps": 101}, r"steps must be in 1\.\.99, got 101"),
    ],
)
def test_what_cannot_be_validated_is_said_before_the_first_step(
    data: Path, encoder: Path, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        train(data, tmp_path, "denoiser", denoiser_recipe(), watch=_watch(data, **changes))
    assert not list(tmp_path.iterdir())


def test_test_images_smaller_than_a_patch_are_named(data: Path) -> None:
    with pytest.raises(UserError, match=r"hr: no image is as large as a patch of 64 pixels"):
        watching.patches(_watch(data), 4, 64)
    hr, lr = watching.patches(_watch(data, patches=5, degradation={"kind": "real_esrgan"}), 4, 40)
    assert (hr.shape, lr.shape) == ((2, 3, 40, 40), (2, 3, 10, 10))  # two images, two patches


def test_tensorboard_has_the_curve_and_images_once(data: Path, encoder: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def kill(step: int) -> None:
        if step == 7:
            raise Killed

    told = _watch(data, every=3, tensorboard=str(tmp_path / "board"))
    recipe = denoiser_recipe()
    with pytest.raises(Killed):
        train(data, tmp_path, "denoiser", recipe, kill, save_every=5, watch=told)
    train(data, tmp_path, "denoiser", recipe, save_every=5, watch=told)
    board = EventAccumulator(str(tmp_path / "board/state"))
    board.Reload()
    steps = [event.step for event in board.Scalars("loss")]
    assert steps == list(range(1, STEPS + 1))
    assert [event.step for event in board.Scalars("validation/PSNR")] == [3, 6, 9]
    assert {"learning rate", "steps a second"} <= set(board.Tags()["scalars"])
    assert {tag.partition("/image")[0] for tag in board.Tags()["images"]} == {
        "validation/HR",
        "validation/SR",
    }


def test_tensorboard_that_is_not_installed_is_asked_for(
    data: Path, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(name: str) -> Any:
        raise ModuleNotFoundError("No module named 'tensorboard'", name="tensorboard")

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(UserError, match=r"tensorboard is not installed; run `pip install '\.\[tensor"):
        train(data, tmp_path, "encoder", encoder_recipe(), watch=WatchRecipe(tensorboard="board"))


def test_who_begins_to_watch_trains_nothing_again(root: Path) -> None:
    raw = read_mapping(root / "config.yaml")
    plain = load_config(raw)
    config = load_config({**raw, "watch": {"validate_every": 100, "tensorboard": True}})
    run = config.runs("sam_diffsr", 4)[0]
    assert configured_recipe(config, run).text() == configured_recipe(plain, run).text()
    told = watch_recipe(config)
    assert environment(config)["SAMDIFFSR_WATCH"] == told.text()
    assert WatchRecipe.parse(told.text()) == told
    assert (told.every, told.hr, told.steps) == (100, "work/stores/demo_test/hr", 20)
    assert told.tensorboard == "work/demo/tensorboard"
    assert watch_recipe(plain) == WatchRecipe()
    modules = _closure(("samdiffsr.training.denoiser",), NEUTRAL)
    assert not modules & {
        f"samdiffsr.{name}" for name in ("training.watch", "diffusion.sampler", "data.recipe")
    }
