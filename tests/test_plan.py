"""What a target will cost: which trainings, how long, and the refusal of what takes too long."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from samdiffsr.config.config import Config
from samdiffsr.config.load import load_config
from samdiffsr.config.recipes.stages import denoiser_recipe
from samdiffsr.config.schema import Run
from samdiffsr.core.errors import UserError
from samdiffsr.core.files import read_json
from samdiffsr.training.recipe import CalibrationRecipe
from samdiffsr.training.state import StateFolder
from samdiffsr.workflow import plan as planning
from samdiffsr.workflow.arguments import training_code
from samdiffsr.workflow.calibration import calibrate
from tests.workflow import TINY, Workflow, tiny

FOUND = {
    "device": "Abacus", "threads": 1, "precision": "float32", "measured_batch": 2, "step_seconds": 0.5,
    "peak_bytes": 10**9, "memory_bytes": 8 * 10**9, "model_bytes": 10**6, "call_seconds": 1e-6,
    "image_seconds": 1e-6,
}  # fmt: skip


def _config(root: Path, **top: Any) -> Config:
    return load_config({**yaml.safe_load((root / "config.yaml").read_text()), **top})


@pytest.fixture
def calibrated(monkeypatch: pytest.MonkeyPatch) -> list[CalibrationRecipe]:
    """Calibration answers at once; the recipes that were asked for."""
    asked: list[CalibrationRecipe] = []

    def answer(config: Config, recipe: CalibrationRecipe, root: Path) -> dict[str, Any]:
        asked.append(recipe)
        return FOUND

    monkeypatch.setattr(planning, "calibration", answer)
    return asked


def test_variants_that_cost_the_same_share_a_calibration(root: Path) -> None:
    config = _config(root)
    runs = ("srdiff-x4-s0", "sam_diffsr-x4-s0", "released-x4-s3", "no_reduce-x4-s0")
    recipes = {planning.training_of(config, "denoiser", run).recipe.text() for run in runs}
    assert len(recipes) == 1
    for run in ("srdiff-x2-s0", "srdiff_small-x4-s0"):
        assert planning.training_of(config, "denoiser", run).recipe.text() not in recipes


def test_steps_that_are_saved_are_not_counted_again(root: Path, tmp_path: Path) -> None:
    config = _config(root)
    assert planning.training_of(config, "denoiser", "srdiff-x4-s0", tmp_path).steps == 2000
    folder = tmp_path / "work/demo/train/srdiff-x4-s0"
    recipe = denoiser_recipe(config, Run(variant="srdiff", scale=4, seed=0)).model_dump(mode="json")
    for step in (500, 1000):
        StateFolder(folder, {"recipe": recipe, "code": training_code(config, "srdiff")}).save(step, {})
    # another seed's, other code's, and one whose seal was never written, count nothing
    StateFolder(folder, {"recipe": recipe | {"seed": 1}}).save(1500, {})
    StateFolder(folder, {"recipe": recipe, "code": "as it was"}).save(1600, {})
    (folder / "state-00001900.pt").touch()
    assert planning.training_of(config, "denoiser", "srdiff-x4-s0", tmp_path).steps == 1000
    assert planning.training_of(config, "encoder", "small-x4-s0", tmp_path).steps == 1200


def test_a_training_of_weeks_is_refused_unless_it_is_allowed(root: Path, calibrated: list[Any]) -> None:
    def refuse(**top: Any) -> None:
        config = _config(root, **top)
        path = f"results/{config.study}/runs/srdiff-x4-s0/model.safetensors"
        planning.refuse_slow(config, [("train_denoiser", path), ("sample", "x.json")], Path())

    refuse(study="demo")
    assert not calibrated  # too short to be slow on any machine: not even timed
    with pytest.raises(UserError, match=r"srdiff-x4-s0: .* 55.6 hours \(2 days\) on Abacus.*allow_slow"):
        refuse(study="paper", slow_hours=55)
    refuse(study="paper", slow_hours=56)
    refuse(study="paper", slow_hours=55, allow_slow=True)
    assert len(calibrated) == 2


def test_the_plan_says_what_is_to_do_and_what_is_there(
    root: Path, tmp_path: Path, calibrated: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = "results/demo"
    jobs = [
        planning.PlannedFile("train_encoder", f"{base}/encoders/default-x4-s0/model.safetensors", False),
        planning.PlannedFile("train_denoiser", f"{base}/runs/srdiff-x4-s0/model.safetensors", True),
        planning.PlannedFile("train_denoiser", f"{base}/runs/srdiff-x4-s0/model.curve.csv", True),
        planning.PlannedFile("import_denoiser", f"{base}/runs/authors-x4-s0/model.safetensors", True),
        planning.PlannedFile("sample", f"{base}/samples/srdiff-x4-s0/ema/demo_test.json", True),
        planning.PlannedFile("sample", f"{base}/samples/srdiff-x4-s0/ema/demo_test.timing.json", True),
        planning.PlannedFile("sample", f"{base}/samples/bicubic-x4-s0/none/demo_test.json", True),
        planning.PlannedFile("fetch_source", "data/set5/SOURCE.json", True),
        planning.PlannedFile("fetch_source", "data/set14/SOURCE.json", False),
        planning.PlannedFile("merge_masks", "data/masks/demo_train/felzenszwalb_fine.json", True),
    ]
    monkeypatch.setattr(planning, "jobs_of", lambda *arguments: jobs)
    text = "\n".join(planning.plan(_config(root), ["results/table2.csv"], [], tmp_path))
    assert "trainings  1 to do, 1 there" in text
    assert "srdiff-x4-s0     2000 steps     0.500 s/step   16.7 min    1.0 GB" in text
    # 20 calls on 512 x 512 and 451 x 300 pixels, and the encoder
    assert "sampling   2 to do, 0 there: 4 images, about 0.1 min" in text
    assert "2 MB: set5" in text
    assert "set14" not in text
    assert "masks      1 to do, 0 there: felzenszwalb_fine of demo_train" in text
    assert "seeds      to decide 0.74 dB: 3 seeds; 0.2 dB: 15 seeds (100 images" in text
    assert "in all     16.8 min" in text
    assert "1 h would be enough here" in text  # one and a half times the longest, rounded up
    found = planning.estimate(_config(root), jobs, tmp_path)
    assert ([cost.seconds for cost in found.trainings], found.images) == ([1000], 4)
    assert found.seconds == pytest.approx(1000 + 397_444 * 20e-6, rel=0.1)


def test_a_variants_own_steps_decide_how_long_it_samples(
    root: Path, tmp_path: Path, calibrated: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    value = yaml.safe_load((root / "config.yaml").read_text())
    jobs = [planning.PlannedFile("sample", "results/demo/samples/srdiff-x4-s0/ema/demo_test.json", True)]
    monkeypatch.setattr(planning, "jobs_of", lambda *arguments: jobs)
    for sampling, minutes in (({}, "0.1"), ({"steps": 100}, "0.7")):  # of 397,444 pixels, 1 us each a call
        value["variants"]["srdiff"]["sampling"] = sampling
        text = "\n".join(planning.plan(load_config(value), ["results/table2.csv"], [], tmp_path))
        assert f"sampling   1 to do, 0 there: 2 images, about {minutes} min" in text


def test_calibration_times_the_real_stages(tmp_path: Path, root: Path) -> None:
    value = yaml.safe_load((root / "config.yaml").read_text())
    study = yaml.safe_load(TINY.read_text())["studies"]["demo"]
    value["studies"]["demo"] |= {**study, "training": {**study["training"], "batch": 3}}
    recipe = planning.training_of(load_config(value), "denoiser", "srdiff-x4-s0").recipe
    calibrate(recipe, tmp_path / "found.json", "cpu", 1)
    found = read_json(tmp_path / "found.json")
    assert found.keys() == FOUND.keys()
    assert all(found[key] > 0 for key in ("step_seconds", "image_seconds", "model_bytes"))
    assert found["measured_batch"] == 3
    calibrate(recipe.but(denoiser=None), tmp_path / "encoder.json", "cpu", 1)
    assert read_json(tmp_path / "encoder.json")["model_bytes"] != found["model_bytes"]


@pytest.mark.workflow
def test_the_workflow_refuses_before_it_makes_or_fetches_anything(tmp_path: Path) -> None:
    workflow = Workflow.new(tmp_path / "repository")
    result = workflow("results/table2.csv", "--config", "slow_hours=0.0000001")
    assert result.code != 0
    assert "allow it with allow_slow: true" in result.text
    workflow.config = tiny(tmp_path / "few.yaml", studies={"demo": {"sampling": {"steps": 5}}})
    few = workflow("results/demo/scores/sam_diffsr-x4-s0/demo_test.csv")
    assert few.code != 0
    assert "variant sam_diffsr: sampling without e_sam is exact in 12 steps or more" in few.text
    assert "Traceback" not in result.text + few.text
    assert not (workflow.folder / "data").exists()
    assert not list(workflow.folder.glob("results/demo/**/*.safetensors"))
    assert json.loads(next(workflow.folder.glob("work/calibration/*.json")).read_text())["step_seconds"] > 0
    # what Snakemake would do is read from it, not guessed
    jobs = planning.jobs_of(["results/table2.csv"], ["--configfile", str(TINY)], workflow.folder)
    trained = {Path(j.path).parent.name for j in jobs if j.rule.startswith("train_") and j.pending}
    assert trained == {"default-x4-s0", "srdiff-x4-s0", "sam_diffsr-x4-s0"}
    with pytest.raises(UserError, match="no table 'table99'"):
        planning.jobs_of(["results/table99.csv"], [], workflow.folder)


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="to mount a folder read-only needs root")
def test_a_read_only_checkout_can_be_planned(tmp_path: Path) -> None:
    folder = Workflow.new(tmp_path / "repository").folder
    mount = f"mount --bind {folder} {folder} && mount -o remount,bind,ro {folder} && cd {folder}"
    plan = f"{sys.executable} -m samdiffsr plan results/table2.csv"
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-c", f"{mount} && ! touch x && {plan}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "unshare" in done.stderr:
        pytest.skip("this machine does not let a process mount")
    assert done.returncode == 0, done.stderr
    assert "trainings  3 to do" in done.stdout
