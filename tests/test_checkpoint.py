"""Model files and resume states: round trips, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from samdiffsr.core.errors import UserError
from samdiffsr.models.model_file import open_model, save_model
from samdiffsr.training.state import StateFolder

INFO = {"recipe": {"kind": "encoder"}, "digests": {}}


def _weights(seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {"a.weight": torch.randn(3, 4, generator=generator), "b": torch.randn(5, generator=generator)}


def test_a_model_comes_back_as_it_was_and_equal_models_have_equal_bytes(tmp_path: Path) -> None:
    raw, ema = _weights(0), _weights(1)
    save_model(tmp_path / "m.safetensors", raw, ema, INFO)
    save_model(tmp_path / "n.safetensors", raw, ema, {"digests": {}, "recipe": {"kind": "encoder"}})
    assert (tmp_path / "m.safetensors").read_bytes() == (tmp_path / "n.safetensors").read_bytes()
    model = open_model(tmp_path / "m.safetensors", "encoder")
    assert model.info == INFO
    for kind, expected in (("raw", raw), ("ema", ema)):
        found = model.weights(kind)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_a_model_that_will_not_do_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    with pytest.raises(UserError, match=r"m\.safetensors: no such model.*dvc pull"):
        open_model(path)
    save_model(path, _weights(0), _weights(1), INFO)
    with pytest.raises(
        UserError, match=r"m\.safetensors: holds the weights of a encoder, a denoiser is needed"
    ):
        open_model(path, "denoiser")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"m\.safetensors: damaged"):
        open_model(path)
    from safetensors.torch import save_file

    save_file(_weights(0), path)
    with pytest.raises(UserError, match="not a model of this project"):
        open_model(path)


def _state(step: int) -> dict[str, Any]:
    return {"net": {"w": torch.full((4,), float(step))}, "step": step}


def test_the_newest_state_is_loaded_and_old_ones_go(tmp_path: Path) -> None:
    states = StateFolder(tmp_path, {"lr": 1})
    assert states.load() is None
    for step in (10, 20, 30):
        states.save(step, _state(step))
    step, state = states.load()
    assert step == 30
    assert torch.equal(state["net"]["w"], torch.full((4,), 30.0))
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "state-00000020.json", "state-00000020.pt", "state-00000030.json", "state-00000030.pt",
    ]  # fmt: skip
    states.clear()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["truncate", "flip", "no seal", "broken seal"])
def test_a_damaged_state_is_passed_over_and_the_one_before_is_used(tmp_path: Path, damage: str) -> None:
    states = StateFolder(tmp_path, {"lr": 1})
    states.save(10, _state(10))
    states.save(20, _state(20))
    path = tmp_path / "state-00000020.pt"
    data = bytearray(path.read_bytes())
    if damage == "truncate":
        path.write_bytes(data[:-7])
    elif damage == "flip":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    elif damage == "no seal":
        path.with_suffix(".json").unlink()
    else:
        path.with_suffix(".json").write_text("{")
    said: list[str] = []
    step, _ = states.load(said.append)
    assert step == 10
    assert len(said) == 1
    assert "state-00000020.pt" in said[0]


def test_a_state_of_another_recipe_is_not_continued(tmp_path: Path) -> None:
    StateFolder(tmp_path, {"lr": 1}).save(10, _state(10))
    said: list[str] = []
    assert StateFolder(tmp_path, {"lr": 2}).load(said.append) is None
    assert "another recipe" in said[0]


def test_a_full_disk_is_one_line_and_leaves_the_state_before(tmp_path: Path, monkeypatch: Any) -> None:
    states = StateFolder(tmp_path, {})
    states.save(10, _state(10))

    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"state-00000020\.pt: no space left"):
        states.save(20, _state(20))
    monkeypatch.undo()
    assert states.load()[0] == 10
    assert sorted(p.name for p in tmp_path.iterdir()) == ["state-00000010.json", "state-00000010.pt"]
