"""Model files: round trips, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from samdiffsr.core.errors import UserError
from samdiffsr.models.model_file import open_model, save_model

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
        UserError, match=r"m\.safetensors: is of the kind encoder, a model of the kind denoiser is needed"
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
