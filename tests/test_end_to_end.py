"""What a variant may choose, through the stages' own commands: values, training, images."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.world import World, build

MASKS = {"--labels": "masks", "--values": "values.npz"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("world")
    build(made)
    return made


def train_and_sample(given: dict[str, str], sampled: dict[str, str], **changes: Any) -> list[Path]:
    """Two steps of training and two images."""
    shutil.rmtree("out", ignore_errors=True)
    training, sampling = World("train-denoiser"), World("sample")
    training.recipe("denoiser", **changes)
    for option, value in given.items():
        training.give(option, value)
    sampling.give("--denoiser", "out/d")
    for option, value in sampled.items():
        sampling.give(option, value)
    training.run()
    sampling.run()
    return sorted(Path("out/sr").glob("*.png"))


@pytest.mark.parametrize(
    ("changes", "sampled"),
    [
        ({"formulation": "scaled", "options": {"gamma": 0.3}}, {}),
        ({"formulation": "shift_and_scale"}, {}),
        ({"formulation": "scaled_known"}, MASKS),
        ({"backbone": {"kind": "diffusers_unet", "channels": [8, 16], "layers": 1, "groups": 4}}, {}),
    ],
    ids=["scaled", "shift_and_scale", "scaled_known", "diffusers_unet"],
)
def test_a_formulation_and_a_backbone(
    folder: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], sampled: dict[str, str]
) -> None:
    monkeypatch.chdir(folder)
    if "backbone" in changes:
        pytest.importorskip("diffusers")
    assert len(train_and_sample({}, sampled, **changes)) == 2


def test_features_of_regions(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    encoding = World("encode")
    encoding.recipe("encode", features=["colour"])
    encoding.give("--images", "hr")
    encoding.give("--out", "colour.npz")
    encoding.run()
    made = train_and_sample({"--values": "colour.npz"}, {}, region_features=3, structure__features=["colour"])
    assert len(made) == 2


def test_images_that_need_masks_are_not_drawn_without(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit):
        train_and_sample({}, {}, formulation="scaled_known")
    assert "not drawn without region masks; give --labels and --values" in capsys.readouterr().err
