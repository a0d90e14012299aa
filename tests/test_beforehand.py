"""What would fail after the trainings is found before: images too small to score, no room, no weights."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
import yaml
from PIL import Image

from samdiffsr.cli.app import main
from samdiffsr.config.config import Config
from samdiffsr.config.load import load_config
from samdiffsr.config.recipes.stages import score_recipe
from samdiffsr.core.errors import UserError
from samdiffsr.core.files import sha256_file
from samdiffsr.data.prepare import build_hr_store, build_lr_store
from samdiffsr.data.store import StoreWriter
from samdiffsr.evaluation.fits import too_small, try_named
from samdiffsr.evaluation.image import ImageMetrics, Pair
from samdiffsr.evaluation.metrics import METRICS, ImageMetric, of_kind
from samdiffsr.evaluation.protocol import Protocol
from samdiffsr.evaluation.recipe import ScoreRecipe
from samdiffsr.training.encoder import train_encoder
from samdiffsr.training.job import Job
from samdiffsr.workflow import beforehand, doctor
from samdiffsr.workflow.inputs.results import weights_that_must_be
from tests.world import RECIPES

TRAINED = ("train_denoiser", "results/demo/runs/srdiff-x4-s0/model.safetensors")
SAMPLED = ("sample", "results/demo/samples/srdiff-x4-s0/ema/mine.json")


def own(root: Path, missing_weights: str = "skip", **more: Any) -> Config:
    """The demo with a test set of the user's own, in data/mine; more: of the data set."""
    raw = yaml.safe_load((root / "config.yaml").read_text()) | {"missing_weights": missing_weights}
    raw["datasets"]["mine"] = {"folder": "data/mine", "source": "local", **more}
    raw["studies"]["demo"]["test_sets"] = ["mine"]
    return load_config(raw)


def photograph(root: Path, width: int, height: int, name: str = "a", *, folder: str = "data/mine") -> None:
    place = root / folder
    place.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(place / f"{name}.png")


@pytest.mark.parametrize("name", [n for n in of_kind(METRICS, ImageMetric) if not METRICS[n].weights])
def test_what_a_metric_needs_is_what_it_can_do_with(name: str) -> None:
    metric = METRICS[name]
    assert isinstance(metric, ImageMetric)
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)

    def measured(side: int) -> float:
        sr, hr = images[:, :side, :side]
        lr = images[0, : max(1, side // 4), : max(1, side // 4)]
        return ImageMetrics([name]).measure(name, Pair(sr, hr, Protocol(multiple=1), lr, 4))

    if name != "lr_psnr":  # of whole LR pixels
        assert np.isfinite(measured(metric.least))
    if metric.least > 1:
        with pytest.raises((UserError, ValueError)):
            measured(metric.least - 1)


@pytest.mark.parametrize("name", [n for n in of_kind(METRICS, ImageMetric) if not METRICS[n].weights])
def test_what_a_metric_says_of_the_border_is_so(name: str) -> None:
    metric = METRICS[name]
    assert isinstance(metric, ImageMetric)
    sr, hr = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    other = sr.copy()
    other[:4] //= 2

    def measured(image: np.ndarray) -> float:
        return ImageMetrics([name]).measure(name, Pair(image, hr, Protocol(border=4), hr[::4, ::4], 4))

    assert (measured(other) == measured(sr)) == metric.bordered


def test_alexnets_maps_end_below_what_lpips_needs() -> None:
    lpips = METRICS["lpips"]
    assert isinstance(lpips, ImageMetric)
    layers = torchvision.models.alexnet(weights=None).features[:12]
    assert layers(torch.zeros(1, 3, lpips.least, lpips.least)).shape[2:] == (1, 1)
    with pytest.raises(RuntimeError, match="Output size is too small"):
        layers(torch.zeros(1, 3, lpips.least - 1, lpips.least - 1))


def test_the_crop_and_the_border_count() -> None:
    recipe = ScoreRecipe(scale=4, metrics=("psnr_y", "ssim_y"))
    assert not too_small([("a", 16, 16)], recipe)
    assert not too_small([("a", 21, 40)], recipe.but(border=2))
    for height, border in ((15, 0), (16, 3)):  # 15 is cropped to 8
        why = too_small([("whole", 64, 64), ("thin", height, 40)], recipe.but(border=border))
        assert f"image 'thin' is 40x{height}, too small for ssim_y, which needs 11 pixels" in why
    assert "too small for psnr_y, which needs 1 pixel" in too_small([("a", 16, 16)], recipe.but(border=8))
    whole = ScoreRecipe(scale=4, metrics=("lpips",))  # sees the border too
    assert not too_small([("a", 32, 32)], whole.but(border=4))
    assert "needs 31 pixels a side after" in too_small([("a", 24, 24)], whole.but(border=4))


def test_nothing_is_trained_where_an_image_is_too_small_to_score(root: Path, tmp_path: Path) -> None:
    config = own(root)
    photograph(tmp_path, 64, 64)
    beforehand.refuse(config, [TRAINED], tmp_path)
    assert not [f for f in doctor.examine(config, tmp_path) if f.state == "unfit"]
    photograph(tmp_path, 64, 10, "thin")
    with pytest.raises(UserError, match="test set mine: image 'thin' is 64x10, too small for ssim_y"):
        beforehand.refuse(config, [TRAINED], tmp_path)
    beforehand.refuse(config, [SAMPLED], tmp_path)  # trains nothing
    findings = doctor.examine(config, tmp_path)
    assert [f.what for f in findings if f.state == "unfit"] == ["test set mine"]
    assert not doctor.healthy(findings)


def test_nothing_is_trained_for_images_that_cannot_be_drawn_in_so_few_steps(
    root: Path, tmp_path: Path
) -> None:
    raw = yaml.safe_load((root / "config.yaml").read_text())
    raw["studies"]["demo"]["sampling"] = {"steps": 5}
    config = load_config(raw)
    of = ("sample", "results/demo/samples/{}-x4-s0/ema/demo_test.json")
    drawn = {name: (of[0], of[1].format(name)) for name in ("srdiff", "sam_diffsr")}
    beforehand.refuse_undrawable(config, [TRAINED, drawn["srdiff"]])
    few = r"variant sam_diffsr: .* exact in 12 steps or more from t = 99, not in 5: take more"
    with pytest.raises(UserError, match=few):
        beforehand.refuse_undrawable(config, [TRAINED, *drawn.values()])
    beforehand.refuse_undrawable(config, [drawn["sam_diffsr"]])  # trains nothing
    steps = ("sample_steps", "results/demo/steps/consistent-x4-s0/{}/ema/demo_test.json")
    beforehand.refuse_undrawable(config, [TRAINED, (steps[0], steps[1].format(12))])
    with pytest.raises(UserError, match=r"variant consistent: .* not in 11"):
        beforehand.refuse_undrawable(config, [TRAINED, (steps[0], steps[1].format(11))])
    unfit = [found.what for found in doctor.examine(config, tmp_path) if found.state == "unfit"]
    assert {"variant sam_diffsr", "variant consistent"} <= {*unfit}
    assert "variant srdiff" not in unfit


def test_an_image_that_is_left_out_counts_no_more_though_a_store_holds_it(root: Path, tmp_path: Path) -> None:
    photograph(tmp_path, 64, 64)
    photograph(tmp_path, 64, 10, "thin")
    build_hr_store(tmp_path / "data/mine", tmp_path / "work/stores/mine/hr")
    assert "image 'thin'" in beforehand.unfit(own(root), tmp_path)["mine"]
    assert beforehand.unfit(own(root, exclude="thin"), tmp_path) == {}


def test_lr_images_without_a_partner_are_found_before_the_training(root: Path, tmp_path: Path) -> None:
    config = own(root, lr="data/lr-x{scale}")
    photograph(tmp_path, 64, 64)
    wanted = [TRAINED, ("prepare_lr", "work/stores/mine/lr-x4.json")]

    def unfit() -> list[str]:
        return [f"{f.what}: {f.note}" for f in doctor.examine(config, tmp_path) if f.state == "unfit"]

    assert any("data/lr-x4: dataset mine: " in line and "no such folder" in line for line in unfit())
    photograph(tmp_path, 16, 16, folder="data/lr-x4")
    photograph(tmp_path, 32, 32, folder="data/lr-x2")
    beforehand.refuse(config, wanted, tmp_path)
    assert not unfit()
    photograph(tmp_path, 16, 15, folder="data/lr-x4")
    with pytest.raises(UserError, match=r"dataset mine: .*lr-x4/a\.png: 16x15, and its HR image is 64x64"):
        beforehand.refuse(config, wanted, tmp_path)
    beforehand.refuse(config, [TRAINED], tmp_path)  # the LR images are packed already, or nobody wants them
    assert len(unfit()) == 1
    photograph(tmp_path, 16, 16, folder="data/lr-x4")
    photograph(tmp_path, 16, 16, "b", folder="data/lr-x4")
    with pytest.raises(UserError, match=r"dataset mine: .*lr-x4/b\.png: no HR image is called 'b'"):
        beforehand.refuse(config, wanted, tmp_path)


def test_a_network_that_is_left_out_needs_no_size(root: Path, tmp_path: Path) -> None:
    photograph(tmp_path, 24, 24)
    assert beforehand.unfit(own(root), tmp_path) == {}
    assert "too small for lpips" in beforehand.unfit(own(root, missing_weights="fail"), tmp_path)["mine"]


def test_the_job_that_trainings_wait_for_measures_images_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, side in (("train", 64), ("test", 10)):
        with StoreWriter(tmp_path / name, kind="hr") as store:
            store.add("a", np.zeros((side, side, 3), np.uint8))
    recipe = ScoreRecipe(scale=4, metrics=("ssim_y",)).text()
    command = ["overlap", "--train", f"train={tmp_path / 'train'}", "--test", f"mine={tmp_path / 'test'}"]
    with pytest.raises(SystemExit):
        main([*command, "--out", str(tmp_path / "o.csv"), "--scores", recipe])
    assert "test set mine: image 'a' is 10x10, too small for ssim_y" in capsys.readouterr().err
    assert not (tmp_path / "o.csv").exists()


@pytest.mark.usefixtures("own_metrics")
@pytest.mark.parametrize("listed", [[], ["own.pth"]], ids=["none", "another"])
def test_a_metric_that_needs_a_file_which_no_definition_lists_is_found_by_the_same_job(
    listed: list[str], root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with StoreWriter(tmp_path / "hr", kind="hr") as store:
        store.add("a", np.zeros((64, 64, 3), np.uint8))
    for name in listed:
        (tmp_path / name).write_bytes(b"its weights")
    rows = [{"file": name, "sha256": sha256_file(tmp_path / name)} for name in listed]
    raw = yaml.safe_load((root / "config.yaml").read_text()) | {"metrics": {"niqe": {"weights": rows}}}
    raw["tables"]["table2"]["metrics"].append("niqe")
    recipe = score_recipe(load_config(raw), 4).text()
    stores = ["--train", f"train={tmp_path / 'hr'}", "--test", f"mine={tmp_path / 'hr'}"]
    command = ["overlap", *stores, "--out", str(tmp_path / "o.csv")]
    with pytest.raises(SystemExit):
        main([*command, "--scores", recipe, "--weights", str(tmp_path)])
    said = capsys.readouterr().err
    assert "pyiqa's niqe cannot be built: it needs the weight file niqe_modelparameters.mat" in said


@pytest.mark.usefixtures("own_metrics")
def test_a_metric_whose_files_are_not_there_yet_is_passed_over(root: Path, tmp_path: Path) -> None:
    """With `missing_weights: fail` the job may run while they are fetched."""
    raw = yaml.safe_load((root / "config.yaml").read_text()) | {"metrics": {"dists": {"weights": ["dists"]}}}
    raw["tables"]["table2"]["metrics"].append("dists")
    recipe = score_recipe(load_config(raw), 4)
    assert "dists" in recipe.metrics
    try_named([recipe], tmp_path)


def test_trainings_wait_for_weights_without_which_scoring_fails(root: Path) -> None:
    assert weights_that_must_be(own(root)) == []
    wanted = weights_that_must_be(own(root, missing_weights="fail"))
    assert {"weights/LPIPS_v0.1_alex-df73285e.pth", "weights/MANIQA_PIPAL-ae6d356b.pth"} < set(wanted)


def test_nothing_is_trained_whose_images_would_not_fit_on_the_disk(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = own(root)
    photograph(tmp_path, 200, 100)
    need = beforehand.samples_bytes(config, [SAMPLED, TRAINED], tmp_path)
    assert need == int(1.65 * 200 * 100)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage._replace(free=need))
    beforehand.refuse(config, [SAMPLED, TRAINED], tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage._replace(free=need - 1))
    with pytest.raises(UserError, match="make room, or let results/ be a link to a larger disk"):
        beforehand.refuse(config, [SAMPLED, TRAINED], tmp_path)
    assert [f.what for f in doctor.examine(config, tmp_path) if f.state == "unfit"] == ["results"]


def test_a_training_that_the_disk_cannot_hold_is_not_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with StoreWriter(tmp_path / "hr", kind="hr") as store:
        store.add("a", np.zeros((64, 64, 3), np.uint8))
    build_lr_store(tmp_path / "hr", tmp_path / "lr", 4)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage._replace(free=1000))
    job = Job(state=tmp_path / "state", out=tmp_path / "model.safetensors", device="cpu")
    with pytest.raises(UserError, match=r"encoder needs .* MB on the disk of .*, 0.00 MB are free; make"):
        train_encoder(job, RECIPES["encoder"], tmp_path / "hr", tmp_path / "lr")
    assert not job.out.exists()
