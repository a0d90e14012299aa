"""Released checkpoints, data.dvc and its guard, doctor: one by one, on small made-up files."""

from __future__ import annotations

import configparser
import hashlib
import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from samdiffsr.checkpoints.dvc import (
    listing_problem,
    read_listing,
    read_pointer,
    release,
    run_dvc,
    runs_named,
    table_runs,
    track,
)
from samdiffsr.checkpoints.released import (
    check_model,
    differences,
    model_info,
    model_path,
    models_of,
    released_path,
    trained_path,
)
from samdiffsr.cli.app import main
from samdiffsr.config.config import Config
from samdiffsr.config.load import load_config
from samdiffsr.config.recipes.stages import denoiser_recipe, encoder_recipe
from samdiffsr.config.schema import Run
from samdiffsr.core.errors import UserError
from samdiffsr.core.files import sha256_json, write_json
from samdiffsr.data.catalogue import sources
from samdiffsr.data.demo import make_demo
from samdiffsr.data.images import write_png
from samdiffsr.data.prepare import build_hr_store
from samdiffsr.workflow.doctor import Finding, examine, healthy, report

RUN = Run(variant="sam_diffsr", scale=4, seed=0)


@pytest.fixture
def raw(root: Path) -> dict[str, Any]:
    """The shipped configuration with one table, so that few models are enough."""
    config = yaml.safe_load((root / "config.yaml").read_text())
    return {**config, "tables": {"table2": config["tables"]["table2"]}, "figures": {}}


@pytest.fixture
def config(raw: dict[str, Any]) -> Config:
    return load_config(raw)


def put_model(path: Path, info: dict[str, Any]) -> Path:
    """A safetensors file with one tensor and this project's metadata."""
    head = {
        "__metadata__": {"samdiffsr": json.dumps(info)},
        "ema.x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
    }
    text = json.dumps(head).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(8))
    return path


def put_models(config: Config, root: Path, *, released: bool = False) -> None:
    """All models of the study's tables as training (or a release) would leave them."""
    for run in table_runs(config, config.tables):
        for kind in models_of(config, run):
            place = released_path if released else trained_path
            put_model(root / place(config, kind, run), info_of(config, kind, run))


def info_of(config: Config, kind: str, run: Run) -> dict[str, Any]:
    encoder = config.variants[run.variant].encoder
    recipe = (
        encoder_recipe(config, encoder, run.scale, run.seed)
        if kind == "encoders"
        else denoiser_recipe(config, run)
    )
    digests = {"images": config.images_digest(config.chosen.train_set), "labels": "L" * 64}
    return {"recipe": recipe.model_dump(mode="json"), "digests": digests}


def test_an_imported_network_is_never_released(raw: dict[str, Any]) -> None:
    raw["variants"]["theirs"] = {
        "label": "Theirs", "formulation": "released", "foreign": {"denoiser": "data/theirs.ckpt"}
    }  # fmt: skip
    config = load_config({**raw, "checkpoint_source": "released"})
    theirs = RUN.model_copy(update={"variant": "theirs"})
    assert model_path(config, "runs", theirs) == trained_path(config, "runs", theirs)
    assert model_path(config, "runs", RUN) == released_path(config, "runs", RUN)


# ---- the head of a model file ----


def test_the_head_is_what_safetensors_wrote(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    info = {"recipe": {"kind": "encoder"}, "digests": {}}
    tensors = {"ema.a": np.zeros((3, 5), np.float32), "raw.a": np.ones(7, np.float32)}
    save_file(tensors, tmp_path / "m.safetensors", metadata={"samdiffsr": json.dumps(info)})
    assert model_info(tmp_path / "m.safetensors") == info


@pytest.mark.parametrize("damage", ["empty", "text", "head", "cut", "longer", "foreign"])
def test_a_damaged_file_is_named(tmp_path: Path, damage: str) -> None:
    path = put_model(tmp_path / "m.safetensors", {"recipe": {}})
    whole = path.read_bytes()
    made = {
        "empty": b"",
        "text": b"version https://git-lfs.github.com/spec/v1\n",
        "head": whole[:50],
        "cut": whole[:-1],
        "longer": whole + b"x",
        "foreign": whole.replace(b"samdiffsr", b"something"),
    }
    path.write_bytes(made[damage])
    help_ = "run `git lfs pull`" if damage == "text" else "delete it and get it again"
    with pytest.raises(UserError, match=rf"m\.safetensors: .*{help_}"):
        model_info(path)
    with pytest.raises(UserError, match="no such model"):
        model_info(tmp_path / "none.safetensors")


# ---- is it the model that the configuration describes? ----


def test_a_model_of_this_configuration_is_accepted(config: Config, tmp_path: Path) -> None:
    put_models(config, tmp_path, released=True)
    for run in table_runs(config, config.tables):
        for kind in models_of(config, run):
            check_model(released_path(config, kind, run), config, kind, run, tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("studies/demo/training/lr", 5e-4, r"training\.lr 0\.001, config\.yaml says 0\.0005"),
        ("variants/sam_diffsr/reduce", False, r"structure\.reduce True, config\.yaml says False"),
        ("variants/sam_diffsr/formulation", "consistent", "formulation published"),
        ("studies/demo/masks/high", "felzenszwalb_coarse", r"structure\.mask_set felzenszwalb_fine"),
        ("studies/demo/train_set", "demo_test", "train_set demo_train"),
        ("studies/demo/unet", {"dim": 32}, r"unet\.dim 24.*\(and 1 more\)"),
    ],
)
def test_a_model_of_another_configuration_is_refused(
    config: Config, raw: dict[str, Any], tmp_path: Path, key: str, value: Any, words: str
) -> None:
    path = released_path(config, "runs", RUN)
    put_model(tmp_path / path, info_of(config, "runs", RUN))
    *keys, last = key.split("/")
    inner = raw
    for name in keys:
        inner = inner[name]
    inner[last] = value
    with pytest.raises(UserError, match=rf"{path}: was trained with {words}.*; train it anew"):
        check_model(path, load_config(raw), "runs", RUN, tmp_path)


def test_what_does_not_decide_the_weights_is_not_compared(
    config: Config, raw: dict[str, Any], tmp_path: Path
) -> None:
    path = released_path(config, "runs", RUN)
    put_model(tmp_path / path, info_of(config, "runs", RUN))
    raw |= {"precision": "float32", "device": "cpu", "protocol": {"border": 4}}
    raw["variants"]["sam_diffsr"]["label"] = "Ours"
    raw["studies"]["demo"]["sampling"] = {"steps": 5}
    check_model(path, load_config(raw), "runs", RUN, tmp_path)


def test_a_model_of_other_data_is_refused(config: Config, tmp_path: Path) -> None:
    path = released_path(config, "runs", RUN)
    info = info_of(config, "runs", RUN)
    put_model(tmp_path / path, {**info, "digests": {**info["digests"], "images": "0" * 64}})
    with pytest.raises(UserError, match=rf"{path}: was trained on other images than demo_train has"):
        check_model(path, config, "runs", RUN, tmp_path)


def test_a_model_of_other_regions_is_refused(config: Config, tmp_path: Path) -> None:
    path = released_path(config, "runs", RUN)
    info = info_of(config, "runs", RUN)
    index = {"digest": "1", "meta": {"members": "2"}}
    write_json(tmp_path / "data/masks/demo_train/felzenszwalb_fine.json", index)
    put_model(tmp_path / path, info)
    with pytest.raises(UserError, match="was trained with other regions than data/masks/demo_train"):
        check_model(path, config, "runs", RUN, tmp_path)
    put_model(tmp_path / path, {**info, "digests": {**info["digests"], "labels": sha256_json(["1", "2"])}})
    check_model(path, config, "runs", RUN, tmp_path)


def test_images_without_a_manifest_are_compared_by_their_store(raw: dict[str, Any], tmp_path: Path) -> None:
    write_png(tmp_path / "mine/a.png", np.zeros((8, 8, 3), np.uint8))
    raw["datasets"]["mine"] = {"folder": "data/mine", "source": "local"}
    raw["studies"]["demo"]["train_set"] = "mine"
    config = load_config(raw)
    path = put_model(tmp_path / released_path(config, "runs", RUN), info_of(config, "runs", RUN))
    path = path.relative_to(tmp_path)
    check_model(path, config, "runs", RUN, tmp_path)  # nothing here to compare with
    build_hr_store(tmp_path / "mine", tmp_path / "work/stores/mine/hr")
    with pytest.raises(UserError, match="was trained on other images than mine has"):
        check_model(path, config, "runs", RUN, tmp_path)


def test_differences_are_named_by_their_path() -> None:
    was, now = (
        {"a": {"b": 1, "c": [1]}, "precision": "auto"},
        {"a": {"b": 2, "c": [1]}, "d": 3, "precision": "bf16"},
    )
    assert differences(was, now) == [("a.b", 1, 2), ("d", None, 3)]
    assert differences(was, was) == []


def test_encoders_and_runs_have_different_names(config: Config) -> None:
    paths = {
        released_path(config, kind, run)
        for run in table_runs(config, config.tables)
        for kind in models_of(config, run)
    }
    assert paths == {
        Path("checkpoints/demo/encoder-default-x4-s0.safetensors"),
        Path("checkpoints/demo/srdiff-x4-s0.safetensors"),
        Path("checkpoints/demo/sam_diffsr-x4-s0.safetensors"),
    }


# ---- release ----


def test_release_copies_the_runs_and_their_encoders(config: Config, tmp_path: Path) -> None:
    put_models(config, tmp_path)
    made = release(config, ["srdiff-x4-s0"], tmp_path, dvc=False)
    assert sorted(str(p) for p in made) == [
        "checkpoints/demo/encoder-default-x4-s0.safetensors",
        "checkpoints/demo/srdiff-x4-s0.safetensors",
    ]
    source = tmp_path / "results/demo/runs/srdiff-x4-s0/model.safetensors"
    assert (tmp_path / made[-1]).read_bytes() == source.read_bytes()
    assert len(release(config, [], tmp_path, dvc=False)) == 3


def test_a_stale_or_missing_model_is_not_released(
    config: Config, raw: dict[str, Any], tmp_path: Path
) -> None:
    put_models(config, tmp_path)
    raw["studies"]["demo"]["training"]["lr"] = 5e-4
    with pytest.raises(UserError, match=r"results/demo/runs/.*was trained with training\.lr"):
        release(load_config(raw), [], tmp_path, dvc=False)
    assert not (tmp_path / "checkpoints").exists()
    (tmp_path / trained_path(config, "runs", RUN)).unlink()
    with pytest.raises(
        UserError, match=r"sam_diffsr-x4-s0/model\.safetensors: not trained yet; run `snakemake"
    ):
        release(config, [], tmp_path, dvc=False)


@pytest.mark.parametrize("name", ["sam_diffsr", "nobody-x4-s0", "sam_diffsr-4-0", "sam_diffsr-x3-s0", ""])
def test_a_run_that_does_not_exist_is_named(config: Config, name: str) -> None:
    with pytest.raises(UserError, match=f"no run or table is called '{name}'; there are"):
        runs_named(config, name)
    assert runs_named(config, "sam_diffsr-x4-s0") == [RUN]
    assert {run.variant for run in runs_named(config, "table2")} >= {"bicubic", "srdiff", "sam_diffsr"}


# ---- what is committed ----


def test_data_dvc_and_its_listing_belong_together(root: Path) -> None:
    assert listing_problem(root) == ""
    assert read_pointer(root / "data.dvc")["nfiles"] == len(read_listing(root))


def test_the_demo_data_are_those_of_data_dvc(root: Path, tmp_path: Path) -> None:
    """Regenerated byte for byte, so nobody needs a remote for them."""
    make_demo(tmp_path / "demo")
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    made = {p.relative_to(tmp_path).as_posix(): hashlib.md5(p.read_bytes()).hexdigest() for p in files}
    assert made == read_listing(root)


def test_the_demo_checkpoints_are_in_the_repository_and_are_those_of_config_yaml(
    root: Path, tmp_path: Path
) -> None:
    """After a change of the demo study: `samdiffsr release table2 --remote project`, `dvc push`, commit."""
    config = load_config(yaml.safe_load((root / "config.yaml").read_text()))
    wanted = {
        released_path(config, kind, run): (kind, run)
        for run in runs_named(config, "table2")
        for kind in models_of(config, run)
    }
    assert {p.relative_to(root) for p in root.glob("checkpoints/demo/*.dvc")} == {
        path.with_name(f"{path.name}.dvc") for path in wanted
    }
    for path, (kind, run) in wanted.items():
        pointer = read_pointer(root / f"{path}.dvc")
        assert pointer["remote"] == "project"
        md5 = pointer["md5"]
        stored = root / "checkpoints" / "store" / "files" / "md5" / md5[:2] / md5[2:]
        assert hashlib.md5(stored.read_bytes()).hexdigest() == md5
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(stored.read_bytes())
        check_model(path, config, kind, run, tmp_path)


def test_dvc_has_no_default_remote_and_tells_nobody(root: Path) -> None:
    parser = configparser.ConfigParser()
    parser.read(root / ".dvc" / "config")
    assert parser.sections() == ["core", "'remote \"project\"'"]
    assert dict(parser["'remote \"project\"'"]) == {"url": "../checkpoints/store"}  # in this repository
    assert dict(parser["core"]) == {"analytics": "false", "check_update": "false"}


def test_sets_that_must_not_be_passed_on_are_ignored_by_dvc(root: Path) -> None:
    lines = (root / ".dvcignore").read_text().splitlines()
    patterns = [line for line in lines if not line.startswith("#")]
    assert patterns[0] == "/data/*"
    assert not {f"!/data/{key}" for key in sources()} & set(patterns)


# ---- the guard against the partial pull ----


@pytest.fixture
def dvc_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(tmp_path / "dvc-global"))
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "dvc-site"))
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")


def git(folder: Path, *arguments: str) -> None:
    names = {
        f"GIT_{who}_{what}": "test@example.org"
        for who in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }
    environment = {**os.environ, **names, "GIT_CONFIG_GLOBAL": os.devnull}
    subprocess.run(["git", *arguments], cwd=folder, env=environment, check=True, capture_output=True)


def lab(root: Path, repository: Path, *names: str) -> None:
    """A repository whose data/ holds these files, under DVC as far as .dvcignore lets it."""
    repository.mkdir()
    git(repository, "init", "-q")
    for name in (".dvc/config", ".dvc/.gitignore", ".dvcignore", ".gitignore"):
        (repository / name).parent.mkdir(exist_ok=True)
        (repository / name).write_bytes((root / name).read_bytes())
    for name in names:
        (repository / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / "data" / name).write_text(name)
    track(repository)


@pytest.mark.slow
@pytest.mark.usefixtures("dvc_environment")
def test_pulling_a_labs_data_deletes_no_image_of_ones_own(root: Path, tmp_path: Path) -> None:
    """Not even by force, whichever commit of the lab's comes next."""
    ours, clone, remote = tmp_path / "a", tmp_path / "b", str(tmp_path / "store")
    lab(root, ours, "demo/a", "masks/df2k/sam.bin", "mine/theirs.png")
    assert set(read_listing(ours)) == {"demo/a", "masks/df2k/sam.bin"}  # nor are theirs passed on unasked
    git(ours, "add", "-A")
    git(ours, "commit", "-qm", "data")
    run_dvc(["remote", "add", "--local", "-d", "lab", remote], ours)
    run_dvc(["push", "data.dvc"], ours)
    git(tmp_path, "clone", "-q", str(ours), str(clone))
    run_dvc(["remote", "add", "--local", "-d", "lab", remote], clone)
    own = {"mine/a.png": "a", "mine/train/b.png": "b", "holiday/c.jpg": "c", "d.png": "d"}
    for name, text in own.items():
        (clone / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (clone / "data" / name).write_text(text)
    run_dvc(["pull", "--force"], clone)
    assert (clone / "data/masks/df2k/sam.bin").read_text() == "masks/df2k/sam.bin"
    (ours / "data/masks/df2k/sam.bin").write_text("newer")
    track(ours)
    run_dvc(["push", "data.dvc"], ours)
    shutil.copy(ours / "data.dvc", clone)
    run_dvc(["pull", "--force"], clone)
    assert (clone / "data/masks/df2k/sam.bin").read_text() == "newer"
    assert {name: (clone / "data" / name).read_text() for name in own} == own
    # regions are under DVC's care: what was made here and not tracked stays unless by force
    (clone / "data/masks/df2k/new.bin").write_text("hours")
    with pytest.raises(UserError, match=r"dvc pull data\.dvc: "):
        run_dvc(["pull", "data.dvc"], clone)
    assert (clone / "data/masks/df2k/new.bin").read_text() == "hours"


@pytest.mark.slow
@pytest.mark.usefixtures("dvc_environment")
def test_tracking_after_a_partial_pull_is_refused(root: Path, tmp_path: Path) -> None:
    repository = tmp_path / "a"
    lab(root, repository, "demo/a", "demo/b", "masks/df2k/sam.bin", "masks/demo_train/x.bin", "set5/x.png")
    assert set(read_listing(repository)) == {"demo/a", "demo/b", "masks/df2k/sam.bin"}
    assert listing_problem(repository) == ""
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "data")
    run_dvc(["remote", "add", "--local", "-d", "lab", str(tmp_path / "store")], repository)
    run_dvc(["push", "data.dvc"], repository)

    clone = tmp_path / "b"
    git(tmp_path, "clone", "-q", str(repository), str(clone))
    run_dvc(["remote", "add", "--local", "-d", "lab", str(tmp_path / "store")], clone)
    run_dvc(["pull", "data/masks"], clone)
    (clone / "data/masks/df2k/new.bin").write_text("new")
    pointer = (clone / "data.dvc").read_bytes()
    with pytest.raises(UserError, match=r"data/demo/a is in data\.dvc and not here \(2 of 3 files\)"):
        track(clone)
    assert (clone / "data.dvc").read_bytes() == pointer
    # what the guard is there for: DVC itself drops them, and the listing tells
    run_dvc(["add", "data"], clone)
    assert read_pointer(clone / "data.dvc")["nfiles"] == 2
    assert "data.dvc lists 2 files and data.files 3" in listing_problem(clone)
    with pytest.raises(SystemExit):
        main(["track", "--check", "--root", str(clone)])
    git(clone, "checkout", "data.dvc")
    run_dvc(["pull", "data/demo"], clone)
    track(clone)
    assert set(read_listing(clone)) == {"demo/a", "demo/b", "masks/df2k/sam.bin", "masks/df2k/new.bin"}
    # an ignored image set neither gets in nor stands in the way of a pull
    (clone / "data/set5").mkdir()
    (clone / "data/set5/x.png").write_text("mine")
    git(clone, "checkout", "data.dvc", "data.files")
    (clone / "data/masks/df2k/new.bin").unlink()
    run_dvc(["checkout", "data.dvc"], clone)
    assert (clone / "data/set5/x.png").read_text() == "mine"


def test_without_dvc_release_and_track_say_so(config: Config, tmp_path: Path) -> None:
    put_models(config, tmp_path)
    with pytest.raises(UserError, match="DVC is not set up here"):
        release(config, [], tmp_path)
    with pytest.raises(UserError, match="DVC is not set up here"):
        track(tmp_path)


# ---- doctor ----


def states(findings: list[Finding]) -> dict[str, str]:
    return {finding.what: finding.state for finding in findings}


def test_an_empty_folder_lacks_everything(config: Config, tmp_path: Path) -> None:
    findings = examine(config, tmp_path)
    assert set(states(findings).values()) == {"missing"}
    assert all(finding.cure for finding in findings)
    assert not healthy(findings)


def test_what_is_here_and_right_is_present(config: Config, tmp_path: Path) -> None:
    make_demo(tmp_path / "data/demo")
    build_hr_store(tmp_path / "data/demo/train", tmp_path / "work/stores/demo_train/hr")
    put_models(config, tmp_path)
    found = states(examine(config, tmp_path))
    assert found["data/demo/train"] == found["data/demo/test"] == "present"
    assert found["work/stores/demo_train/hr"] == "present"
    assert found["work/stores/demo_test/hr"] == "missing"
    assert found["results/demo/runs/sam_diffsr-x4-s0/model.safetensors"] == "present"


def test_what_is_stale_is_told_with_its_cure(config: Config, raw: dict[str, Any], tmp_path: Path) -> None:
    write_png(tmp_path / "x/a.png", np.zeros((8, 8, 3), np.uint8))
    build_hr_store(tmp_path / "x", tmp_path / "work/stores/demo_train/hr")
    put_models(config, tmp_path, released=True)
    raw["studies"]["demo"]["training"]["lr"] = 5e-4
    raw["checkpoint_source"] = "released"
    findings = {f.what: f for f in examine(load_config(raw), tmp_path)}
    assert findings["work/stores/demo_train/hr"].state == "stale"
    run = findings["checkpoints/demo/sam_diffsr-x4-s0.safetensors"]
    assert (run.state, run.cure) == ("stale", "samdiffsr release sam_diffsr-x4-s0 --study demo")
    assert "training.lr" in run.note
    # the encoder fits, but nothing says whether it is the file that was released
    encoder = findings["checkpoints/demo/encoder-default-x4-s0.safetensors"]
    assert encoder.state == "unverifiable"
    (tmp_path / f"{encoder.what}.dvc").write_text("outs:\n- md5: 00\n  path: x\n")
    findings = {f.what: f for f in examine(load_config(raw), tmp_path)}
    assert findings[encoder.what].state == "stale"
    assert findings[encoder.what].cure == f"dvc checkout --force {encoder.what}.dvc"


def test_a_checkpoint_that_can_be_pulled_is_to_be_pulled(raw: dict[str, Any], tmp_path: Path) -> None:
    config = load_config({**raw, "checkpoint_source": "released"})
    pointer = tmp_path / "checkpoints/demo/sam_diffsr-x4-s0.safetensors.dvc"
    pointer.parent.mkdir(parents=True)
    pointer.write_text("outs:\n- md5: 00\n  path: x\n")
    findings = {f.what: f for f in examine(config, tmp_path)}
    run = findings["checkpoints/demo/sam_diffsr-x4-s0.safetensors"]
    assert run.cure == "dvc pull checkpoints/demo/sam_diffsr-x4-s0.safetensors"
    assert "dvc remote add --local" in run.note
    other = findings["checkpoints/demo/srdiff-x4-s0.safetensors"]
    assert other.note == "was never released"
    assert other.cure.endswith("&& samdiffsr release srdiff-x4-s0 --study demo")
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config.local").write_text("['remote \"lab\"']\n    url = /store\n")
    findings = {f.what: f for f in examine(config, tmp_path)}
    assert findings["checkpoints/demo/sam_diffsr-x4-s0.safetensors"].note == ""


def test_a_set_is_judged_quickly_or_deeply(mirror: Path, raw: dict[str, Any], tmp_path: Path) -> None:
    study = {**raw["studies"]["reduced"], "train_set": "set14", "test_sets": ["set5"]}
    config = load_config({**raw, "study": "reduced", "studies": {**raw["studies"], "reduced": study}})
    main(["fetch", "set5", "--mirror", str(mirror), "--root", str(tmp_path)])
    assert states(examine(config, tmp_path))["data/set5"] == "present"
    assert states(examine(config, tmp_path, deep=True))["data/set5"] == "present"
    assert states(examine(config, tmp_path))["data/set14"] == "missing"
    path = tmp_path / "data/set5/img_001_SRF_4_HR.png"
    write_png(path, np.zeros((512, 512, 3), np.uint8))
    assert states(examine(config, tmp_path))["data/set5"] == "present"  # the stamp says so
    assert states(examine(config, tmp_path, deep=True))["data/set5"] == "stale"
    path.unlink()
    assert states(examine(config, tmp_path))["data/set5"] == "stale"
    (tmp_path / "data/set5/SOURCE.json").unlink()
    assert states(examine(config, tmp_path))["data/set5"] == "unverifiable"


def test_the_report_is_lines_and_the_exit_status_says_it_all(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["doctor", "--config", str(root / "config.yaml"), "--root", str(tmp_path), "--study", "paper"])
    assert stopped.value.code == 1
    out = capsys.readouterr().out
    assert "-> samdiffsr fetch flickr2k" in out
    assert "must be supplied by hand" in out
    assert out.splitlines()[-1].endswith("missing")
    assert report([Finding("present", "x")]) == "present       x\n1 present"


def test_python_starts_without_torch_for_these() -> None:
    planning = "arguments beforehand configuration recipes targets plan"  # what rules/common.smk asks
    inputs = "figures results runs split stores"
    modules = ["samdiffsr.workflow.doctor", "samdiffsr.checkpoints.released"]
    modules += [f"samdiffsr.workflow.{name}" for name in planning.split()]
    modules += [f"samdiffsr.workflow.inputs.{name}" for name in inputs.split()]
    code = f"import sys, {', '.join(modules)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
