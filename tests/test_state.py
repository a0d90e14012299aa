"""Resume states: whose they are, which counts, and which of two writers goes on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from samdiffsr.core.errors import UserError
from samdiffsr.core.files import write_json
from samdiffsr.training.recipe import EncoderRecipe
from samdiffsr.training.state import StateFolder, saved_steps


def _state(step: int) -> dict[str, Any]:
    return {"net": {"w": torch.full((4,), float(step))}, "step": step}


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def _folder(root: Path, **identity: Any) -> StateFolder:
    states = StateFolder(root, identity)
    states.claim()
    return states


def test_the_newest_state_is_loaded_and_old_ones_go(tmp_path: Path) -> None:
    states = _folder(tmp_path, lr=1)
    assert states.load() is None
    for step in (10, 20, 30):
        states.save(step, _state(step))
    step, state = states.load()
    assert step == 30
    assert torch.equal(state["net"]["w"], torch.full((4,), 30.0))
    assert _names(tmp_path) == [
        "state-00000020.json", "state-00000020.pt", "state-00000030.json", "state-00000030.pt", "writer.json",
    ]  # fmt: skip
    states.clear()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["truncate", "flip", "no seal", "broken seal"])
def test_a_damaged_state_is_passed_over_and_the_one_before_is_used(
    tmp_path: Path, damage: str, said: pytest.LogCaptureFixture
) -> None:
    states = _folder(tmp_path, lr=1)
    states.save(10, _state(10))
    states.save(20, _state(20))
    path = states.folder / "state-00000020.pt"
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
    step, _ = states.load()
    assert step == 10
    assert len(said.messages) == 1
    assert "state-00000020.pt" in said.messages[0]
    states.save(30, _state(30))
    states.save(40, _state(40))
    assert "state-00000020.pt" not in _names(tmp_path)  # what never counted is gone too


def test_states_of_another_recipe_neither_count_nor_make_room(
    tmp_path: Path, said: pytest.LogCaptureFixture
) -> None:
    """Two states of one learning rate at steps 30 and 40; another, stopped at 15, goes on from there."""
    first = _folder(tmp_path, lr=1e-3)
    first.save(30, _state(30))
    first.save(40, _state(40))
    second = _folder(tmp_path, lr=1e-4)
    assert second.load() is None
    assert "another recipe" in said.messages[0]
    second.save(15, _state(15))
    assert second.load()[0] == 15
    second.clear()
    assert first.load()[0] == 40
    assert first.other_writer() is None


def test_a_state_of_the_earlier_layout_is_gone_on_from_and_cleared(tmp_path: Path) -> None:
    """Earlier versions had all states in one folder."""
    states = StateFolder(tmp_path, {"lr": 1})
    states.save(10, _state(10))
    for path in states.folder.iterdir():
        path.rename(tmp_path / path.name)
    states.folder.rmdir()
    states = _folder(tmp_path, lr=1)
    assert states.load()[0] == 10
    states.save(20, _state(20))
    assert states.load()[0] == 20
    states.clear()
    assert list(tmp_path.iterdir()) == []


def test_the_plan_counts_the_steps_of_this_recipe_and_code_alone(tmp_path: Path) -> None:
    mine, other = EncoderRecipe(scale=4), EncoderRecipe(scale=4, training={"lr": 1e-3})
    assert saved_steps(tmp_path, mine, "now") == 0
    for recipe, code, steps in ((mine, "now", (10, 20)), (mine, "before", (30,)), (other, "now", (400, 500))):
        for step in steps:
            identity = {"recipe": recipe.model_dump(mode="json"), "precision": "bf16", "code": code}
            _folder(tmp_path, **identity).save(step, _state(step))
    assert saved_steps(tmp_path, mine, "now") == 20
    (newest,) = (p for p in tmp_path.rglob("state-00000020.pt"))
    newest.unlink()  # a seal without its state
    assert saved_steps(tmp_path, mine, "now") == 10


def test_of_two_writers_the_later_goes_on(tmp_path: Path) -> None:
    first = _folder(tmp_path, lr=1)
    first.save(10, _state(10))
    assert first.other_writer() is None
    second = _folder(tmp_path, lr=1)
    assert f"process {os.getpid()} on " in str(first.other_writer())
    assert second.other_writer() is None
    second.clear()
    assert "has finished" in str(first.other_writer())


def test_a_full_disk_is_one_line_and_leaves_the_state_before(tmp_path: Path, monkeypatch: Any) -> None:
    states = _folder(tmp_path)
    states.save(10, _state(10))

    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"state-00000020\.pt: no space left"):
        states.save(20, _state(20))
    monkeypatch.undo()
    assert states.load()[0] == 10
    assert _names(tmp_path) == ["state-00000010.json", "state-00000010.pt", "writer.json"]


def test_a_seal_that_says_nothing_is_none(tmp_path: Path) -> None:
    states = _folder(tmp_path, lr=1)
    states.save(10, _state(10))
    write_json(states.folder / "state-00000010.json", {"step": 10})
    assert states.load() is None
