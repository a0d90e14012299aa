"""The user's own images in the real workflow: content decides, a leak stops, and no name breaks a command."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from samdiffsr.config.overlays import configured
from samdiffsr.workflow.configuration import Call
from samdiffsr.workflow.doctor import examine
from tests.workflow import Workflow, tiny

pytestmark = pytest.mark.workflow
ODD = "data/a b; touch PWNED #"  # a folder that a shell would take for commands


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's, as files of somebody's own."""
    workflow = Workflow.new(tmp_path_factory.mktemp("demo") / "repository")
    assert workflow("demo_data").code == 0
    return workflow.folder / "data" / "demo"


@pytest.fixture
def own(photographs: Path, tmp_path: Path) -> Workflow:
    """A study of the user's own images: one folder to train on, one to test on."""
    workflow = Workflow.new(tmp_path / "repository")
    for split, folder in (("train", ODD), ("test", "data/mine")):
        shutil.copytree(photographs / split, workflow.folder / folder)
    workflow.config = tiny(
        tmp_path / "a config.yaml",
        datasets={
            "mine_train": {"folder": ODD, "source": "local"},
            "mine_test": {"folder": "data/mine", "source": "local", "label": "Mine"},
        },
        studies={"demo": {"train_set": "mine_train", "test_sets": ["mine_test"]}},
    )
    return workflow


def test_no_name_is_taken_for_a_command(own: Workflow) -> None:
    result = own("data", "work/demo/rulegraph.dot")
    assert result.code == 0, result.text
    assert not list(own.folder.rglob("PWNED*"))
    assert own.dry("data").nothing_to_do


def test_an_older_image_in_place_of_another_counts(own: Workflow) -> None:
    target = "work/stores/mine_test/hr.json"
    assert own(target).code == 0
    first, second = sorted((own.folder / "data/mine").iterdir())
    os.utime(first, (1, 1))
    assert own.dry(target).nothing_to_do  # a date alone says nothing
    shutil.copy2(first, second)
    assert own.dry(target).jobs == {"prepare_hr": 1}
    second.unlink()
    assert own.dry(target).jobs == {"prepare_hr": 1}


def test_braces_in_a_name_are_no_wildcard(own: Workflow) -> None:
    first = min((own.folder / "data/mine").iterdir())
    first.rename(first.with_name("p{0}.png"))
    result = own.dry("work/stores/mine_test/lr-x4.json")
    assert result.code != 0
    assert "dataset mine_test: data/mine/p{0}.png: braces" in result.text
    assert "WildcardError" not in result.text


@pytest.mark.parametrize("target", ["ablation_mask_low", "results/table2.csv", "data"])
def test_a_leaked_image_stops_whatever_trains_or_scores(own: Workflow, target: str) -> None:
    shutil.copy2(own.folder / "data/mine/chelsea.png", own.folder / ODD / "cat.png")
    result = own(target, "--keep-going")
    assert result.code != 0
    assert "mine_train/cat and mine_test/chelsea: the same image; add 'cat' to" in result.text
    assert not list(own.folder.glob("results/demo/**/*.safetensors"))
    assert not list(own.folder.glob("results/demo/**/srdiff*/**/*.csv"))


def test_a_missing_list_of_overlaps_trains_nothing_again(own: Workflow) -> None:
    assert own("ablation_srdiff").code == 0
    (own.folder / "results/demo/overlaps.csv").unlink()
    assert own.dry("ablation_srdiff").jobs == {"overlap": 1, "ablation_srdiff": 1}
    # a check that runs again trains nothing again, and does not hide from Snakemake what else is missing
    (own.folder / "results/demo/scores/srdiff-x4-s0/mine_test.csv").unlink()
    jobs = own.dry("ablation_srdiff", "--forcerun", "check_split").jobs
    assert jobs == {"check_split": 1, "score": 1, "overlap": 1, "ablation_srdiff": 1}
    # a test image that is found in the training set later on stops what is asked for, and costs no training
    shutil.copy2(min((own.folder / ODD).iterdir()), own.folder / "data/mine/new.png")
    result = own("ablation_srdiff", "--keep-going")
    assert result.code != 0
    assert "mine_test/new: the same image" in result.text
    (own.folder / "data/mine/new.png").unlink()
    jobs = own.dry("ablation_srdiff").jobs
    assert not {"train_denoiser", "train_encoder", "segment"} & jobs.keys(), jobs


def test_an_encoder_and_a_variant_of_one_name_share_no_file(own: Workflow) -> None:
    own.edit("config.yaml", "variants:\n", "variants:\n  default: {base: srdiff, label: Default}\n")
    result = own.dry("ablation_default", "-p")
    assert result.code == 0, result.text
    written = [
        line.split(": ", 1)[1]
        for line in result.text.splitlines()
        if line.strip().startswith(("log: ", "benchmark: ", "output: "))
    ]
    assert len(set(written)) == len(written)
    states = [line.split("--state ")[1].split()[0] for line in result.text.splitlines() if "--state " in line]
    assert len(set(states)) == len(states) == 2


def test_what_doctor_prints_works_as_printed(own: Workflow) -> None:
    config = configured(own.folder / "config.yaml", [own.config])
    found = examine(config, own.folder, call=Call.of(config, [str(own.config)], ["device=cpu"]))
    cures = [f.cure for f in found if f.cure.startswith("snakemake") and "mine_test" in f.cure]
    assert cures
    words = shlex.split(cures[0])
    assert str(own.config) in words
    command = [sys.executable, "-m", *words, "--dry-run"]
    done = subprocess.run(command, cwd=own.folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "mine_test" in done.stdout + done.stderr


def test_a_dropped_configuration_file_is_refused(own: Workflow) -> None:
    result = own.dry("data", "--configfile", str(own.config))
    assert result.code != 0
    assert "--configfile is given twice" in result.text
    assert "Traceback" not in result.text


def test_null_on_the_command_line_is_none(own: Workflow) -> None:
    result = own.dry("data", "--config", "mirror=null", "stop_below_bicubic=null")
    assert result.code == 0, result.text
