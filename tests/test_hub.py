"""A run as a folder for the Hugging Face hub: whole, checked, and taken back by `upscale` and by a study."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from PIL import Image

from samdiffsr.checkpoints import hub
from samdiffsr.checkpoints.card import model_card
from samdiffsr.checkpoints.released import check_model, released_path, trained_path
from samdiffsr.cli.app import main
from samdiffsr.config.config import Config
from samdiffsr.config.overlays import configured
from samdiffsr.config.recipes.stages import denoiser_recipe, encoder_recipe
from samdiffsr.config.schema import Run
from samdiffsr.core.errors import UserError
from samdiffsr.core.files import sha256_file
from samdiffsr.core.randomness import seed_weights
from samdiffsr.data.demo import make_demo
from samdiffsr.data.images import read_rgb
from samdiffsr.data.recipe import RealEsrgan
from samdiffsr.data.resize import crop_to_multiple, downscale, upscale
from samdiffsr.models.denoiser import build_denoiser
from samdiffsr.models.encoder import build_encoder
from samdiffsr.models.model_file import save_model
from samdiffsr.models.model_info import model_info
from samdiffsr.models.recipe import DenoiserNetwork, EncoderNetwork
from samdiffsr.reporting.figures.readers import psnr_y
from samdiffsr.reporting.tables.differences import COLUMNS
from samdiffsr.sampling.restorers import encoder_restorer
from samdiffsr.sampling.upscale.command import upscale_images
from samdiffsr.sampling.upscale.models import RELEASED, find_models
from tests.workflow import ROOT, TINY, pulled, tiny

RUN = Run(variant="sam_diffsr", scale=4, seed=0)
SCORE = "run,weights,dataset,image,metric,value,why_empty,protocol\n"


@pytest.fixture
def config() -> Config:
    return configured(ROOT / "config.yaml", [TINY])


@pytest.fixture
def study(config: Config, tmp_path: Path) -> Path:
    """A root with the networks of one run, its scores, a difference, and a photograph."""
    folder = tmp_path / "study"
    folder.mkdir()
    for name in ("config.yaml", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    seed_weights(0)
    told = encoder_recipe(config, "default", 4, 0)
    encoder = build_encoder(
        EncoderNetwork(blocks=told.blocks, features=told.features, growth=told.growth, scale=4)
    )
    images = {"images": config.images_digest("demo_train"), "labels": "L" * 64}
    path = folder / trained_path(config, "encoders", RUN)
    weights = encoder.state_dict()
    save_model(path, weights, weights, {"recipe": told.model_dump(mode="json"), "digests": images})
    recipe = denoiser_recipe(config, RUN)
    network = DenoiserNetwork(
        scale=4, formulation=recipe.formulation, unet=recipe.unet, diffusion=recipe.diffusion
    )
    weights = build_denoiser(network, encoder.cond_channels).state_dict()
    info = {
        "recipe": recipe.model_dump(mode="json"),
        "digests": {**images, "encoder": sha256_file(path)},
        "e_max": 1.4,
        "device": "a test",
        "precision": "float32",
    }
    save_model(folder / trained_path(config, "runs", RUN), weights, weights, info)
    scores = folder / "results/demo/scores" / RUN.name
    scores.mkdir(parents=True)
    rows = [f"{RUN.name},ema,demo_test,i{i},psnr_y,{20 + i},,Y(BT.601 studio)\n" for i in range(3)]
    (scores / "demo_test.csv").write_text(SCORE + "".join(rows))
    said = {"of": "SAM-DiffSR", "minus": "SRDiff", "scale": 4, "dataset": "Demo", "metric": "psnr_y",
            "words": "+1.00 dB, 95 % CI [0.50, 1.50]"}  # fmt: skip
    line = ",".join(f'"{said.get(name, "")}"' for name in COLUMNS)
    (folder / "results/demo/table2_differences.csv").write_text(f"{','.join(COLUMNS)}\n{line}\n")
    noise = np.random.default_rng(0).integers(0, 256, (12, 14, 3), np.uint8)
    Image.fromarray(noise).save(folder / "photo.png")
    return folder


def _large(study: Path, out: Path, checkpoint: Path, weights: Literal["ema", "raw"] = "ema") -> np.ndarray:
    upscale_images(
        [study / "photo.png"],
        out,
        checkpoint,
        weights=weights,
        steps=20,
        device="cpu",
        precision="float32",
        threads=1,
    )
    return np.asarray(Image.open(out)).astype(int)


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


def test_upscale_takes_the_folder_and_gives_the_same_image(
    config: Config, study: Path, tmp_path: Path
) -> None:
    hub.write(config, RUN, tmp_path / "hub", study)
    hub.write(config, RUN, tmp_path / "half", study, half=True)
    assert sorted(path.name for path in (tmp_path / "hub").iterdir()) == [
        "LICENSE", "README.md", "config.json", "encoder.safetensors", "model.safetensors",
    ]  # fmt: skip
    ours = _large(study, tmp_path / "a.png", study / trained_path(config, "runs", RUN))
    assert np.array_equal(_large(study, tmp_path / "b.png", tmp_path / "hub"), ours)
    near = _large(study, tmp_path / "c.png", tmp_path / "half")
    assert 0 < np.abs(near - ours).max() <= 3
    for name in ("model.safetensors", "encoder.safetensors"):
        sizes = [(tmp_path / kind / name).stat().st_size for kind in ("hub", "half")]
        assert 0.2 < sizes[1] / sizes[0] < 0.45
    with pytest.raises(UserError, match="holds no raw weights; `samdiffsr release --half` leaves them out"):
        _large(study, tmp_path / "d.png", tmp_path / "half", "raw")


@pytest.mark.parametrize("name", ["model.safetensors", "encoder.safetensors"])
def test_a_changed_bit_is_found(config: Config, study: Path, tmp_path: Path, name: str) -> None:
    hub.write(config, RUN, tmp_path / "hub", study)
    _flip(tmp_path / "hub" / name)
    with pytest.raises(UserError, match=r"damaged|encoder it was trained with"):
        _large(study, tmp_path / "a.png", tmp_path / "hub")
    with pytest.raises(UserError, match="damaged"):
        hub.take(config, tmp_path / "hub", study)
    assert not (study / "checkpoints").exists()


@pytest.fixture
def averaged(tmp_path: Path) -> Path:
    """The tiny configuration, sampled with averaged weights alone."""
    return tiny(tmp_path / "averaged.yaml", studies={"demo": {"sampling": {"weights": ["ema"]}}})


@pytest.mark.parametrize("half", [False, True])
def test_a_study_takes_the_folder_as_released(
    config: Config, averaged: Path, study: Path, tmp_path: Path, half: bool
) -> None:
    hub.write(config, RUN, tmp_path / "hub", study, half=half)
    if half:  # before anything is sampled
        with pytest.raises(UserError, match=r"averaged weights alone; set sampling\.weights: \[ema\]"):
            hub.take(config, tmp_path / "hub", study)
        config = configured(ROOT / "config.yaml", [averaged])
    targets = hub.take(config, tmp_path / "hub", study)
    released = config.model_copy(update={"checkpoint_source": "released"})
    assert targets == [released_path(released, kind, RUN) for kind in ("encoders", "runs")]
    check_model(targets[1], released, "runs", RUN, study)
    assert hub.take(config, tmp_path / "hub", study) == targets  # the same again is no conflict
    hub.write(released, RUN, tmp_path / "again", study)
    again = (tmp_path / "again/model.safetensors").read_bytes()
    assert again == (tmp_path / "hub/model.safetensors").read_bytes()


def test_half_a_release_of_a_run_that_is_reported_with_its_last_weights_is_refused(
    study: Path, tmp_path: Path
) -> None:
    overlay = tiny(tmp_path / "raw.yaml", studies={"demo": {"sampling": {"weights": ["raw"]}}})
    with pytest.raises(UserError, match="reported with its last step's weights; leave out --half"):
        hub.write(configured(ROOT / "config.yaml", [overlay]), RUN, tmp_path / "hub", study, half=True)
    assert not (tmp_path / "hub").exists()


def test_a_folder_that_does_not_fit_the_study_is_refused(config: Config, study: Path, tmp_path: Path) -> None:
    folder = tmp_path / "hub"
    hub.write(config, RUN, folder, study)
    with pytest.raises(UserError, match=r"was trained with blocks 2, config\.yaml says 5"):
        hub.take(configured(ROOT / "config.yaml"), folder, study)
    with pytest.raises(UserError, match=r"study: holds no config\.json"):
        hub.take(config, study, study)
    (study / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(UserError, match="study: not written by `samdiffsr release --hub`"):
        hub.take(config, study, study)
    target = study / released_path(config, "encoders", RUN)
    target.parent.mkdir(parents=True)
    target.write_bytes(b"another")
    with pytest.raises(UserError, match="another model is there"):
        hub.take(config, folder, study)
    assert [path.name for path in target.parent.iterdir()] == [target.name]
    swapped = study / trained_path(config, "runs", RUN)
    (folder / "encoder.safetensors").write_bytes(swapped.read_bytes())
    with pytest.raises(UserError, match="was trained with"):
        hub.take(config, folder, study)


def test_the_card_says_how_it_was_made_and_what_it_scores(
    config: Config, study: Path, tmp_path: Path
) -> None:
    huggingface = pytest.importorskip("huggingface_hub")
    hub.write(config, RUN, tmp_path / "hub", study, half=True, licence="cc-by-4.0")
    card = huggingface.ModelCard.load(tmp_path / "hub/README.md")
    assert card.data.license == "cc-by-4.0"
    (result,) = card.data.eval_results
    assert (result.dataset_name, result.metric_name, result.metric_value) == ("Demo", "PSNR-Y (dB)", 21.0)
    for words in (
        "| Masks | felzenszwalb_fine |",
        "| Seed | 0 |",
        "| Steps | 6 of 2 patches of 32 pixels |",
        "| Sampling | 15 of 100 steps |",
        "| Demo | PSNR-Y (dB) | 21.00 | 1.00 | 3 |",
        "PSNR and SSIM: Y(BT.601 studio).",
        "- SAM-DiffSR minus SRDiff, Demo, PSNR-Y: +1.00 dB, 95 % CI [0.50, 1.50]\n",
        "these are stored in 16",
        "public domain or CC0",
    ):
        assert words in card.text, words
    assert "\n\n\n" not in card.text
    told = json.loads((tmp_path / "hub/config.json").read_text())
    assert (told["run"], told["dtype"], told["sampling"]["steps"]) == (RUN.name, "float16", 15)


def test_the_card_says_which_lr_images_it_knows(config: Config, study: Path) -> None:
    def limits(**changes: Any) -> str:
        train = config.datasets["demo_train"].model_copy(update=changes)
        changed = config.model_copy(update={"datasets": {**config.datasets, "demo_train": train}})
        info = model_info(study / trained_path(config, "runs", RUN))
        return model_card(changed, RUN, info, study).partition("## Limits")[2]

    assert "were made: `degradation: {kind:bicubic,rounding:each_axis}`.\n  Other blur" in limits()
    assert "were made: `degradation: {kind:real_esrgan," in limits(degradation=RealEsrgan())
    assert "- It knows LR images like those that came with the HR images" in limits(lr=("data/lr",))


def test_a_run_without_scores_says_so(config: Config, study: Path, tmp_path: Path) -> None:
    shutil.rmtree(study / "results/demo/scores")
    (study / "results/demo/table2_differences.csv").unlink()
    hub.write(config, RUN, tmp_path / "hub", study)
    text = (tmp_path / "hub/README.md").read_text()
    assert "This run was not scored." in text
    assert "None was computed." in text
    assert "model-index" not in text


@pytest.mark.parametrize(
    ("run", "folder", "words"),
    [
        (RUN, "study", "study: is there already; name another folder"),
        (RUN.model_copy(update={"seed": 7}), "hub", "not there yet; run `snakemake"),
        (RUN.model_copy(update={"variant": "bicubic"}), "hub", "kind 'bicubic' has no weights to release"),
    ],
)
def test_what_cannot_be_released_is_one_line_and_leaves_nothing(
    config: Config, study: Path, tmp_path: Path, run: Run, folder: str, words: str
) -> None:
    with pytest.raises(UserError, match=words):
        hub.write(config, run, tmp_path / folder, study)
    assert [path.name for path in tmp_path.iterdir()] == ["study"]


def test_weights_beyond_16_bits_are_refused(
    config: Config, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = study / trained_path(config, "encoders", RUN)
    from samdiffsr.models.model_file import open_model

    file = open_model(path)
    weights = {name: tensor * 1e6 for name, tensor in file.weights("ema").items()}
    save_model(path, weights, weights, file.info)
    with pytest.raises(UserError, match="has values that 16 bits cannot hold; leave out --half"):
        hub.write(config, RUN, tmp_path / "hub", study, half=True)
    assert [path.name for path in tmp_path.iterdir()] == ["study"]


def test_by_the_command_line(
    averaged: Path, study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def call(*words: str) -> Any:
        options = "--config", study / "config.yaml", "--configfile", averaged, "--root", study
        main([*words, *map(str, options)])

    call("release", RUN.name, "--hub", str(tmp_path / "hub"), "--half")
    call("import-hub", str(tmp_path / "hub"))
    assert "checkpoint_source=released" in capsys.readouterr().out
    assert (study / "checkpoints/demo/sam_diffsr-x4-s0.safetensors").exists()
    with pytest.raises(SystemExit):
        call("release", RUN.name, "--hub", str(tmp_path / "hub"))
    assert "hub: is there already" in capsys.readouterr().err


# ---- what `upscale` takes by default ----


NETWORKS = sorted(path.parent.name for path in (ROOT / RELEASED.parent).glob("*/config.json"))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_networks_of_upscale_are_in_the_repository_and_fit_its_study(name: str, tmp_path: Path) -> None:
    """docs/study/data.md says how they are released."""
    pulled(ROOT / RELEASED.parent / name, folder := tmp_path / RELEASED.parent / name)
    told = json.loads((folder / "config.json").read_text())
    assert told["files"] == {path.name: sha256_file(path) for path in folder.glob("*.safetensors")}
    assert told["dtype"] == "float16"
    assert set(find_models(folder)) == ({"encoder"} if name == "rrdb" else {"encoder", "denoiser"})
    (overlay := tmp_path / "study.yaml").write_text("study: upscale")
    study = configured(ROOT / "config.yaml", [overlay])
    assert len(hub.take(study, folder, tmp_path)) == len(told["files"])


def test_there_are_three_networks_and_the_default_beats_bicubic(tmp_path: Path) -> None:
    assert NETWORKS == ["rrdb", "sam_diffsr", "srdiff"]
    pulled(ROOT / RELEASED, folder := tmp_path / RELEASED)
    make_demo(tmp_path / "demo")
    restore = encoder_restorer(find_models(folder)["encoder"], "ema", torch.device("cpu"), "float32")
    for path in sorted((tmp_path / "demo" / "test").glob("*.png")):
        hr = crop_to_multiple(read_rgb(path), 8)
        lr = downscale(hr, 4)
        assert psnr_y(restore(lr, path.stem), hr) > psnr_y(upscale(lr, 4), hr) + 0.4


def test_elsewhere_than_in_the_repository_there_is_no_network_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"checkpoints/upscale/rrdb is not here: .* or give --checkpoint"):
        find_models(None)
    RELEASED.mkdir(parents=True)
    (RELEASED / "model.safetensors.dvc").touch()
    with pytest.raises(UserError, match=r"run `dvc pull checkpoints/upscale/rrdb/model.safetensors`"):
        find_models(None)
