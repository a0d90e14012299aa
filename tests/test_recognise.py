"""What was given as a model and is none: the line says what it is and what helps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from samdiffsr.core.errors import UserError
from samdiffsr.models.foreign import load_foreign_unet
from samdiffsr.models.model_file import open_model, save_model
from samdiffsr.models.model_info import model_info
from samdiffsr.sampling.upscale.models import find_models

FILES: dict[str, tuple[bytes, str]] = {
    "model.safetensors.dvc": (
        b"outs:\n- md5: 0123456789abcdef\n  size: 12\n  hash: md5\n  path: model.safetensors\n",
        r"is DVC's pointer, not the model; run `dvc pull .*/model\.safetensors` and give .*safetensors",
    ),
    "theirs.ckpt": (b"", "is a checkpoint of PyTorch; import it: .* `samdiffsr import-denoiser`"),
    "lfs.safetensors": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    "page.safetensors": (b"\n<!DOCTYPE html>", "is a web page"),
    "empty.safetensors": (b"", "is empty; delete it and get it again"),
    "cut.safetensors": (b"\x10\0\0\0\0\0\0\0{", "damaged"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("read", [model_info, open_model, find_models])
def test_what_is_no_model_is_called_by_its_name(tmp_path: Path, name: str, read: object) -> None:
    content, words = FILES[name]
    path = tmp_path / name
    path.write_bytes(content)
    if name == "theirs.ckpt":
        torch.save({"state_dict": {"model": {}}}, path)
    with pytest.raises(UserError, match=words) as raised:
        read(path)  # type: ignore[operator]
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("read", [model_info, open_model, find_models])
def test_a_model_that_is_not_pulled_yet(tmp_path: Path, read: object) -> None:
    (tmp_path / "m.safetensors.dvc").write_text("outs:\n")
    with pytest.raises(UserError, match=r"run `dvc pull .*m\.safetensors`"):
        read(tmp_path / "m.safetensors")  # type: ignore[operator]


def test_a_numpy_scalar_in_a_checkpoint_is_said(tmp_path: Path) -> None:
    torch.save({"state_dict": {"model": {"a": torch.zeros(1)}}, "best": np.float64(0.5)}, tmp_path / "x.ckpt")
    with pytest.raises(UserError, match=r"x\.ckpt: holds a numpy scalar .* torch\.save them"):
        load_foreign_unet(tmp_path / "x.ckpt")


# ---- the checksum ----


@pytest.fixture
def model(tmp_path: Path) -> Path:
    weights = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2)}
    info = {"recipe": {"kind": "encoder", "seed": 4}, "digests": {}}
    save_model(tmp_path / "m.safetensors", weights, {k: v + 1 for k, v in weights.items()}, info)
    return tmp_path / "m.safetensors"


def test_a_checksum_is_kept_and_not_shown(model: Path) -> None:
    file = open_model(model, "encoder")
    assert file.info == {"recipe": {"kind": "encoder", "seed": 4}, "digests": {}}
    assert torch.equal(file.weights("ema")["a"], torch.arange(6.0).reshape(2, 3) + 1)


def test_every_flipped_bit_is_found(model: Path, tmp_path: Path) -> None:
    """Of the head's length, names, types, shapes, places, recipe, and of the tensors."""
    data = model.read_bytes()
    other, key = tmp_path / "other.safetensors", data.index(b"checksum")
    for i in range(len(data)):
        if key <= i < key + len("checksum"):
            continue  # without it the file is one of an earlier version
        flipped = bytearray(data)
        flipped[i] ^= 1 << (i % 8)
        other.write_bytes(flipped)
        with pytest.raises(UserError, match=r"other\.safetensors"):
            open_model(other, "encoder")


def test_a_file_of_an_earlier_version_has_none_and_is_read(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"raw.a": torch.ones(1)}, tmp_path / "m", {"samdiffsr": '{"recipe": {"kind": "encoder"}}'})
    assert open_model(tmp_path / "m", "encoder").weights("raw")["a"] == 1


def test_a_model_of_the_other_kind_is_said_with_what_to_do(model: Path) -> None:
    with pytest.raises(UserError, match="is of the kind encoder, a model of the kind denoiser is needed"):
        open_model(model, "denoiser")
