"""Foreign checkpoints: names and shapes of the authors' files, strictness, readable refusals."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch

from samdiffsr.core.errors import UserError
from samdiffsr.models.foreign import (
    BUFFERS,
    load_foreign_betas,
    load_foreign_rrdb,
    load_foreign_unet,
    rrdb_arguments,
    unet_arguments,
)
from samdiffsr.models.rrdb import RRDBEncoder
from samdiffsr.models.unet import DenoisingUNet

KEYS = json.loads((Path(__file__).parent / "vectors" / "foreign_keys.json").read_text())


def random_state(shapes: dict[str, list[int]], prefix: str = "") -> dict[str, torch.Tensor]:
    return {prefix + key: torch.randn(shape) for key, shape in shapes.items()}


def shrink(shapes: dict[str, list[int]], kernel: int = 8) -> dict[str, list[int]]:
    """The same names at an eighth of the width; kernels (and the 3 colours) stay."""
    fixed = {1, 3, 4, kernel, 100}
    return {key: [n if n in fixed else (n + 7) // 8 for n in shape] for key, shape in shapes.items()}


@pytest.fixture
def small() -> dict[str, torch.Tensor]:
    """A whole diffusion checkpoint as the authors write it, small."""
    torch.manual_seed(0)
    two_blocks = ("RRDB_trunk.0.", "RRDB_trunk.1.")
    rrdb = {
        k: v
        for k, v in shrink(KEYS["rrdb"]).items()
        if k.startswith(two_blocks) or not k.startswith("RRDB_trunk")
    }
    return (
        random_state(shrink(KEYS["denoise_fn"]), "denoise_fn.")
        | random_state(rrdb, "rrdb.")
        | random_state(KEYS["buffers"])
    )


def save(tmp_path: Path, content: object) -> Path:
    path = tmp_path / "model_ckpt_steps_400000.ckpt"
    torch.save(content, path, _use_new_zipfile_serialization=False)  # the authors' file format
    return path


def test_buffers_are_those_of_the_authors():
    assert set(KEYS["buffers"]) == BUFFERS


def test_the_authors_checkpoint_fits_at_full_size(tmp_path):
    state = random_state(KEYS["denoise_fn"], "denoise_fn.") | random_state(KEYS["rrdb"], "rrdb.")
    path = save(tmp_path, {"state_dict": {"model": state | random_state(KEYS["buffers"])}, "global_step": 1})
    encoder, unet = RRDBEncoder(), DenoisingUNet()
    encoder_state, unet_state = load_foreign_rrdb(path, encoder), load_foreign_unet(path, unet)
    encoder.load_state_dict(encoder_state)
    unet.load_state_dict(unet_state)
    assert sum(p.numel() for p in encoder_state.values()) == 12_381_443
    assert sum(p.numel() for p in unet_state.values()) == 12_934_915
    assert rrdb_arguments(encoder_state) == {"blocks": 17, "features": 64, "growth": 32, "scale": 4}
    assert unet_arguments(unet_state) == {
        "dim": 64,
        "mults": (1, 2, 3, 4),
        "cond_channels": 384,
        "scale": 4,
        "mask_channels": 0,
    }
    for ours, theirs in [
        (encoder.conv_in.weight, "rrdb.conv_first.weight"),
        (encoder.trunk[16].dense[2].convs[4].bias, "rrdb.RRDB_trunk.16.RDB3.conv5.bias"),
        (encoder.trunk[3].dense[0].convs[1].weight, "rrdb.RRDB_trunk.3.RDB1.conv2.weight"),
        (encoder.conv_trunk.bias, "rrdb.trunk_conv.bias"),
        (encoder.upsample[0].weight, "rrdb.upconv1.weight"),
        (encoder.upsample[1].weight, "rrdb.upconv2.weight"),
        (encoder.conv_hr.weight, "rrdb.HRconv.weight"),
        (encoder.conv_out.weight, "rrdb.conv_last.weight"),
        (unet.cond_proj.weight, "denoise_fn.cond_proj.weight"),
        (unet.time_mlp[2].bias, "denoise_fn.mlp.2.bias"),
        (unet.downs[1].block1.conv1.weight, "denoise_fn.downs.1.0.block1.block.1.weight"),
        (unet.downs[2].block2.conv2.weight, "denoise_fn.downs.2.1.block2.block.1.weight"),
        (unet.downs[3].block1.shortcut.weight, "denoise_fn.downs.3.0.res_conv.weight"),
        (unet.downs[0].resize.weight, "denoise_fn.downs.0.2.conv.1.weight"),
        (unet.mid[0].time.weight, "denoise_fn.mid_block1.mlp.1.weight"),
        (unet.mid[1].conv2.weight, "denoise_fn.mid_block2.block2.block.1.weight"),
        (unet.ups[0].block1.conv1.weight, "denoise_fn.ups.0.0.block1.block.1.weight"),
        (unet.ups[2].resize.weight, "denoise_fn.ups.2.2.conv.0.weight"),
        (unet.conv_last.weight, "denoise_fn.final_conv.0.block.1.weight"),
        (unet.conv_out.bias, "denoise_fn.final_conv.1.bias"),
    ]:
        assert torch.equal(ours, state[theirs]), theirs


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state},
        lambda state: {"state_dict": {"model": state}, "optimizer_states": [{}], "global_step": 7},
        lambda state: {"state_dict": {"model": {f"module.{k}": v for k, v in state.items()}}},
        lambda state: {"state_dict": {f"model.{k}": v for k, v in state.items()}},
    ],
    ids=["bare", "state_dict", "authors", "data parallel", "lightning"],
)
def test_layouts(tmp_path, small, wrap):
    path = save(tmp_path, wrap(small))
    assert rrdb_arguments(load_foreign_rrdb(path)) == {"blocks": 2, "features": 8, "growth": 4, "scale": 4}
    unet = DenoisingUNet(**unet_arguments(load_foreign_unet(path)))
    unet.load_state_dict(load_foreign_unet(path))
    assert torch.equal(load_foreign_betas(path), small["betas"])


@pytest.mark.parametrize(("upconvs", "scale"), [(1, 2), (2, 4), (3, 8)])
def test_an_esrgan_file_alone(tmp_path, small, upconvs, scale):
    state = {k.removeprefix("rrdb."): v for k, v in small.items() if k.startswith("rrdb.")}
    for leaf in ("weight", "bias"):
        state[f"upconv3.{leaf}"] = state[f"upconv2.{leaf}"]
        for i in range(upconvs + 1, 4):
            del state[f"upconv{i}.{leaf}"]
    loaded = load_foreign_rrdb(save(tmp_path, state))
    assert rrdb_arguments(loaded)["scale"] == scale
    RRDBEncoder(**rrdb_arguments(loaded)).load_state_dict(loaded)


def test_a_denoiser_alone_and_with_masks(tmp_path):
    shapes = KEYS["denoise_fn"] | KEYS["denoise_fn_mask"]
    loaded = load_foreign_unet(save(tmp_path, random_state(shapes)), DenoisingUNet(mask_channels=1))
    assert unet_arguments(loaded)["mask_channels"] == 1
    assert sum(value.numel() for value in loaded.values()) == 12_947_459


def test_half_precision_becomes_float32(tmp_path, small):
    path = save(tmp_path, {key: value.half() for key, value in small.items()})
    assert {value.dtype for value in load_foreign_unet(path).values()} == {torch.float32}


# ---- refusals --------------------------------------------------------------------------------------------


def test_a_missing_an_unexpected_and_a_misshapen_tensor_are_named(tmp_path, small):
    del small["denoise_fn.downs.1.0.res_conv.bias"]
    small["denoise_fn.mid_attn.fn.g"] = torch.zeros(1)
    small["denoise_fn.ups.0.1.mlp.1.weight"] = torch.zeros(2, 5)
    with pytest.raises(UserError) as error:
        load_foreign_unet(save(tmp_path, small))
    message = str(error.value)
    assert "\n" not in message
    assert "model_ckpt_steps_400000.ckpt" in message
    assert "1 missing: downs.1.0.res_conv.bias" in message
    assert "1 unexpected: mid_attn.fn.g" in message
    assert "1 of another shape: ups.0.1.mlp.1.weight is (2, 5), expected (24, 8)" in message


def test_an_unknown_part_of_the_checkpoint_is_named(tmp_path, small):
    small["discriminator.weight"] = torch.zeros(1)
    with pytest.raises(UserError, match=r"1 unexpected: discriminator\.weight"):
        load_foreign_unet(save(tmp_path, small))


def test_a_report_stays_short(tmp_path, small):
    with pytest.raises(UserError, match=r"does not fit the RRDB encoder \(.*, \.\.\.") as error:
        load_foreign_rrdb(save(tmp_path, small), RRDBEncoder())
    assert len(str(error.value)) < 1000


def test_weights_of_another_network_are_refused(tmp_path):
    path = save(tmp_path, {"image_encoder.weight": torch.zeros(3)})
    with pytest.raises(UserError, match=r"holds no RRDB encoder .*begin with image_encoder"):
        load_foreign_rrdb(path)
    with pytest.raises(UserError, match=r"holds no denoising U-Net .*begin with image_encoder"):
        load_foreign_unet(path)
    with pytest.raises(UserError, match="holds no noise schedule"):
        load_foreign_betas(path)


def test_one_part_does_not_stand_for_the_other(tmp_path, small):
    path = save(tmp_path, {k: v for k, v in small.items() if k.startswith("rrdb.")})
    load_foreign_rrdb(path)
    with pytest.raises(UserError, match="holds no denoising U-Net"):
        load_foreign_unet(path)


def test_a_value_that_is_no_tensor_is_named(tmp_path, small):
    small["rrdb.HRconv.bias"] = "oops"
    with pytest.raises(UserError, match=r"HRconv.bias is str, expected \(8,\)"):
        load_foreign_rrdb(save(tmp_path, small))


@pytest.mark.parametrize("content", [[1, 2], {}, torch.zeros(3), {1: torch.zeros(3)}])
def test_a_file_without_named_tensors_is_refused(tmp_path, content):
    with pytest.raises(UserError, match="holds no state dict"):
        load_foreign_rrdb(save(tmp_path, content))


def test_a_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"none\.ckpt: no such checkpoint"):
        load_foreign_unet(tmp_path / "none.ckpt")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("keep", [0, 0.5])
def test_a_damaged_file(tmp_path, small, keep, zipped):
    path = tmp_path / "broken.ckpt"
    torch.save(small, path, _use_new_zipfile_serialization=zipped)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(UserError, match=r"broken\.ckpt: (cannot be read|not a plain checkpoint)"):
        load_foreign_rrdb(path)


class Bomb:
    def __reduce__(self):
        return (Path.touch, (Path("exploded"),))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize(
    "writer", [torch.save, lambda x, path: path.write_bytes(pickle.dumps(x))], ids=["torch", "pickle"]
)
def test_a_file_cannot_run_code(tmp_path, monkeypatch, writer):
    monkeypatch.chdir(tmp_path)
    writer({"state_dict": Bomb()}, tmp_path / "bomb.ckpt")
    with pytest.raises(UserError, match=r"bomb\.ckpt: not a plain checkpoint of tensors"):
        load_foreign_unet(tmp_path / "bomb.ckpt")
    assert not (tmp_path / "exploded").exists()
