"""Sampling: reproducible by name, any size, resumable, and only with models that belong together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from samdiffsr.cli.sampling import sample
from samdiffsr.config.load import load_config
from samdiffsr.config.recipes.stages import denoiser_recipe
from samdiffsr.config.schema import Run
from samdiffsr.core.errors import UserError
from samdiffsr.core.files import sha256_file
from samdiffsr.core.progress import Progress
from samdiffsr.data.resize import upscale
from samdiffsr.data.store import StoreWriter
from samdiffsr.masks.encode import encode
from samdiffsr.masks.recipe import Encoding
from samdiffsr.masks.regions import Regions
from samdiffsr.masks.store import RegionStoreWriter
from samdiffsr.models.denoiser import build_denoiser
from samdiffsr.models.encoder import build_encoder
from samdiffsr.models.model_file import save_model
from samdiffsr.models.recipe import DenoiserNetwork, EncoderNetwork, UNet
from samdiffsr.sampling import restorers as restore_module
from samdiffsr.sampling.recipe import DenoiserRecipe
from samdiffsr.sampling.restorers import (
    DenoiserRestorer,
    bicubic_restorer,
    encoder_restorer,
    restore_dataset,
    structure_reader,
)
from samdiffsr.sampling.sample_set import merge_samples, timing_path
from samdiffsr.workflow.arguments import restoring_code

CPU = torch.device("cpu")
RECIPE = DenoiserRecipe(scale=4, steps=13, precision="float32")


def _models(folder: Path, scale: int = 4, formulation: str = "published") -> tuple[Path, Path]:
    torch.manual_seed(0)
    size = EncoderNetwork(blocks=2, features=8, growth=4, scale=scale)
    encoder = build_encoder(size)
    save_model(folder / "encoder", encoder.state_dict(), encoder.state_dict(), {"recipe": size.model_dump()})
    recipe = DenoiserNetwork(scale=scale, formulation=formulation, unet=UNet(dim=8, mults=(1, 2, 2)))
    unet = build_denoiser(recipe, encoder.cond_channels)
    raw = {k: v * 0.5 for k, v in unet.state_dict().items()}
    info = {
        "recipe": recipe.model_dump(),
        "e_max": 1.4,
        "digests": {"encoder": sha256_file(folder / "encoder")},
    }
    save_model(folder / "denoiser", raw, unet.state_dict(), info)
    return folder / "encoder", folder / "denoiser"


def _lr(height: int = 9, width: int = 14, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _denoiser(encoder: Path, denoiser: Path, **changes: Any) -> Any:
    return DenoiserRestorer(denoiser, encoder, RECIPE.but(**changes), CPU, "float32")


def test_watching_shows_each_x_t_and_changes_nothing(tmp_path: Path) -> None:
    restore = _denoiser(*_models(tmp_path), pad=1)
    seen: dict[int, np.ndarray] = {}
    watched = restore(_lr(), "a", lambda t, x_t: seen.update({t: x_t.copy()}))
    assert np.array_equal(watched, restore(_lr(), "a"))
    assert len(seen) == RECIPE.steps
    assert list(seen) == sorted(seen, reverse=True)
    assert list(seen)[-1] == 1
    assert {(x_t.shape, x_t.dtype.name) for x_t in seen.values()} == {((36, 56, 3), "float32")}
    assert abs(seen[max(seen)].std() - 1) < 0.1  # it begins as noise


def test_an_image_depends_on_its_name_and_seed_and_on_nothing_else(tmp_path: Path) -> None:
    models = _models(tmp_path)
    first, second = _denoiser(*models), _denoiser(*models)
    a = first(_lr(), "a")
    second(_lr(seed=1), "b")  # another image before it changes nothing
    assert np.array_equal(second(_lr(), "a"), a)
    assert not np.array_equal(second(_lr(), "b"), a)
    assert not np.array_equal(_denoiser(*models, seed=1)(_lr(), "a"), a)
    assert not np.array_equal(_denoiser(*models, weights="raw")(_lr(), "a"), a)


@pytest.mark.parametrize("scale", [2, 4, 8])
@pytest.mark.parametrize("size", [(9, 14), (1, 1), (8, 8), (13, 5)])
def test_any_size_comes_back_scaled(tmp_path: Path, scale: int, size: tuple[int, int]) -> None:
    encoder, denoiser = _models(tmp_path, scale)
    lr = _lr(*size)
    wanted = (size[0] * scale, size[1] * scale, 3)
    for restore in (
        bicubic_restorer(scale),
        encoder_restorer(encoder, "ema", CPU, "float32"),
        DenoiserRestorer(denoiser, encoder, RECIPE.but(scale=scale), CPU, "float32"),
    ):
        sr = restore(lr, "x")
        assert sr.shape == wanted
        assert sr.dtype == np.uint8


@pytest.mark.parametrize("formulation", ["published", "condition"])
def test_padding_is_that_of_the_image_and_cut_off_again(tmp_path: Path, formulation: str) -> None:
    encoder, denoiser = _models(tmp_path, formulation=formulation)
    e_sam = np.random.default_rng(0).random((36, 56), dtype=np.float32)  # of the LR image's 9 x 14

    def drawn(lr: np.ndarray, structure: np.ndarray, **recipe: int) -> np.ndarray:
        arguments = (denoiser, encoder, RECIPE.but(**recipe), CPU, "float32", lambda name: structure)
        return DenoiserRestorer(*arguments)(lr, "x")

    by_hand = drawn(np.pad(_lr(), ((2, 2), (2, 2), (0, 0)), mode="reflect"), np.pad(e_sam, 8, mode="reflect"))
    assert np.array_equal(drawn(_lr(), e_sam, pad=2), by_hand[8:-8, 8:-8])
    assert np.array_equal(drawn(_lr(), e_sam, pad=0), drawn(_lr(), e_sam))
    assert drawn(_lr(1, 1), e_sam[:4, :4], pad=2).shape == (4, 4, 3)


def test_bicubic_is_the_enlargement_of_the_tables() -> None:
    assert np.array_equal(bicubic_restorer(4)(_lr(), "x"), upscale(_lr(), 4))


def test_a_denoiser_that_predicts_the_noise_exactly_gives_the_upsampled_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way from LR to SR and back to pixels: with x_0 = 0 the result is bicubic up-sampling."""
    from samdiffsr.models.unet import DenoisingUNet

    encoder, denoiser = _models(tmp_path, formulation="none")
    from samdiffsr.diffusion.schedule import cosine_schedule

    sigma = (1 - cosine_schedule(100).alpha_bar).sqrt().float()
    monkeypatch.setattr(
        DenoisingUNet, "forward", lambda self, x_t, t, cond: x_t / sigma[t].reshape(-1, 1, 1, 1)
    )
    sr = _denoiser(encoder, denoiser, steps=None)(_lr(), "x")
    assert np.abs(sr.astype(int) - upscale(_lr(), 4).astype(int)).max() <= 1  # float32 against float64


def test_models_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    encoder, denoiser = _models(tmp_path / "a")
    other = tmp_path / "other"
    torch.manual_seed(1)
    size = EncoderNetwork(blocks=2, features=8, growth=4, scale=4)
    net = build_encoder(size)
    save_model(other, net.state_dict(), net.state_dict(), {"recipe": size.model_dump()})
    with pytest.raises(UserError, match=r"denoiser: was trained with another encoder than .*other"):
        _denoiser(other, denoiser)
    with pytest.raises(UserError, match="is of the kind encoder"):
        _denoiser(encoder, encoder)


def _store(folder: Path, names: list[str]) -> Path:
    with StoreWriter(folder / "lr", scale=4) as store:
        for i, name in enumerate(names):
            store.add(name, _lr(seed=i))
    return folder / "lr"


def _restore(folder: Path, lr: Path, models: tuple[Path, Path], **more: Any) -> dict[str, Any]:
    restore_dataset(
        lr, folder / "sr", folder / "sr.json", folder / "progress.jsonl", RECIPE,
        {"encoder": models[0], "denoiser": models[1]}, device="cpu", **more,
    )  # fmt: skip
    return json.loads((folder / "sr.json").read_text())


def test_shards_give_the_images_of_one_run(tmp_path: Path) -> None:
    models, lr = _models(tmp_path), _store(tmp_path, ["a", "b", "c"])
    whole = _restore(tmp_path / "whole", lr, models)
    parts = [_restore(tmp_path / f"part{i}", lr, models, shard=(i, 2)) for i in range(2)]
    assert whole["images"] == parts[0]["images"] + parts[1]["images"]
    merge_samples([tmp_path / f"part{i}" / "sr.json" for i in range(2)], tmp_path / "merged" / "sr.json")
    made = [tmp_path / name / "sr.json" for name in ("whole", "merged")]
    assert made[0].read_bytes() == made[1].read_bytes()
    times = [json.loads(timing_path(path).read_text()) for path in made]
    assert times[0].keys() == times[1].keys()
    assert times[0]["seconds"].keys() == times[1]["seconds"].keys()


def test_parts_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    models, lr = _models(tmp_path), _store(tmp_path, ["a", "b"])
    paths = []
    for i, recipe in enumerate((RECIPE, RECIPE.but(seed=1))):
        folder = tmp_path / f"part{i}"
        paths.append(folder / "sr.json")
        restore_dataset(
            lr, folder / "sr", paths[i], folder / "progress.jsonl", recipe,
            {"encoder": models[0], "denoiser": models[1]}, device="cpu", shard=(i, 2),
        )  # fmt: skip
    with pytest.raises(UserError, match=r"part1/sr\.json: its settings differ from .*part0"):
        merge_samples(paths, tmp_path / "sr.json")
    with pytest.raises(UserError, match="two parts hold the same image"):
        merge_samples([paths[0], paths[0]], tmp_path / "sr.json")
    assert not (tmp_path / "sr.json").exists()


def test_an_interrupted_sampling_goes_on_with_the_image_it_was_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: pytest.LogCaptureFixture
) -> None:
    models, lr = _models(tmp_path), _store(tmp_path, ["a", "b", "c"])
    whole = _restore(tmp_path / "whole", lr, models)

    class Killed(BaseException):
        pass

    def die(progress: Progress, done: int, total: int, name: str, *more: str) -> None:
        if name == "b":
            raise Killed

    folder = tmp_path / "pieces"
    with monkeypatch.context() as patch:
        patch.setattr(Progress, "image", die)
        with pytest.raises(Killed):
            _restore(folder, lr, models)
    with open(folder / "progress.jsonl", "a") as file:
        file.write('{"identity": "ab')  # what a kill leaves of the last line
    (folder / "sr/a.png").write_bytes(b"damaged since")
    said.clear()
    assert _restore(folder, lr, models) == whole
    assert [line.split(":")[0] for line in said.messages] == ["a", "c"]  # b was whole
    for name in "abc":
        assert (folder / f"sr/{name}.png").read_bytes() == (tmp_path / f"whole/sr/{name}.png").read_bytes()


def _regions(folder: Path, position: str, cells: int) -> dict[str, Path]:
    """Labels of the images a and b, and their values."""
    folder.mkdir(exist_ok=True)
    with RegionStoreWriter(folder / "labels") as store:
        for name in "ab":
            store.add(name, Regions.from_partition(np.arange(36 * 56).reshape(36, 56) // cells + 1))
    encode(folder / "labels", folder / "v.npz", Encoding(position=position))
    return {"labels": folder / "labels", "values": folder / "v.npz"}


@pytest.mark.parametrize("what", ["code", "labels", "values", "device"])
def test_images_are_drawn_again_where_what_decides_them_changed_and_only_there(
    tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch, said: pytest.LogCaptureFixture
) -> None:
    models, lr = _models(tmp_path, formulation="condition"), _store(tmp_path, ["a", "b"])
    given: dict[str, Any] = {**_regions(tmp_path, "linear", 600), "code": "as it was"}
    before = _restore(tmp_path, lr, models, **given)
    said.clear()
    assert _restore(tmp_path, lr, models, **given) == before
    assert not said.messages  # nothing is drawn again
    if what == "code":
        given["code"] = "edited"
    elif what == "device":
        monkeypatch.setattr(restore_module, "device_name", lambda device: "another")
    else:
        _regions(tmp_path, "linear" if what == "labels" else "cosine", 300 if what == "labels" else 600)
    said.clear()
    after = _restore(tmp_path, lr, models, **given)
    assert [line.split(":")[0] for line in said.messages] == ["a", "b"]
    assert (after != before) == (what in ("labels", "values"))


@pytest.mark.parametrize("variant", ["sam_diffsr", "mine"])
def test_the_command_names_the_code_that_the_rule_runs_again_for(
    tmp_path: Path, root: Path, variant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also the backbone's of the model file."""
    raw = yaml.safe_load((root / "config.yaml").read_text())
    backbone = {"kind": "diffusers_unet", "channels": [16, 32], "groups": 4}
    raw["variants"]["mine"] = {"base": "sam_diffsr", "label": "Mine", "backbone": backbone}
    config = load_config(raw)
    recipe = denoiser_recipe(config, Run(variant=variant, scale=4, seed=0)).model_dump(mode="json")
    save_model(tmp_path / "denoiser", {}, {}, {"recipe": recipe})
    told: dict[str, Any] = {}
    monkeypatch.setattr(restore_module, "restore_dataset", lambda *given, **more: told.update(more))
    here = tmp_path / "x"
    sample(here, here, here, here, RECIPE.text(), encoder=here, denoiser=tmp_path / "denoiser")
    assert told["code"] == restoring_code(config, variant)
    assert told["code"] != restoring_code(config, "mine" if variant == "sam_diffsr" else "sam_diffsr")


def test_a_network_that_wants_masks_gets_them_or_says_so(tmp_path: Path) -> None:
    encoder, denoiser = _models(tmp_path, formulation="condition")
    with pytest.raises(UserError, match="not drawn without region masks"):
        _denoiser(encoder, denoiser)
    images = {}
    for i, regions in enumerate(([], [np.ones((36, 56), bool)])):
        folder = tmp_path / str(i)
        folder.mkdir()
        with RegionStoreWriter(folder / "labels") as store:
            store.add("x", Regions.from_masks(regions, shape=(36, 56)))
        encode(folder / "labels", folder / "v.npz", Encoding(position="linear"))
        structure = structure_reader(folder / "labels", folder / "v.npz")
        images[i] = DenoiserRestorer(denoiser, encoder, RECIPE, CPU, "float32", structure)(_lr(), "x")
    assert not np.array_equal(images[0], images[1])


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    encoder, denoiser = _models(tmp_path, formulation="none")
    from samdiffsr.models.model_file import open_model

    file = open_model(denoiser)
    broken = {k: v * float("nan") for k, v in file.weights("ema").items()}
    save_model(denoiser, broken, broken, file.info)
    with pytest.raises(UserError, match="not finite"):
        _denoiser(encoder, denoiser)(_lr(), "x")
