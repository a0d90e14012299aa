"""What machines do to a study: full disks, read-only folders, kills, a clock that jumps, NaN."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from samdiffsr.core.errors import UserError
from samdiffsr.data.fetch.download import download
from samdiffsr.training.trainer import Trainer
from tests.test_fetch import CONTENT, QUICK, WANTED, Server
from tests.workflow import Result, Workflow, tiny
from tests.world import RECIPES, RUNNABLE, World, files

needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("mount") is None, reason="mounting a small disk needs root"
)


# ---- one stage ----


@pytest.fixture
def here(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the small input as the working folder."""
    shutil.copytree(world, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"no disk can be mounted here ({done.stderr.strip()})")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _fill(disk: Path, room: int) -> Path:
    """Fill a disk but for `room` bytes."""
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(shutil.disk_usage(disk).free - room))
    return ballast


def _stage(name: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a stage that is to fail; its one line."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        World(name).run()
    assert left.value.code == 1
    return _error(capsys)


def _error(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line about what failed; warnings may stand above it."""
    lines = capsys.readouterr().err.splitlines()
    (error,) = [line for line in lines if not line.startswith("warning: ")]
    return error


def _same(a: Path, b: Path) -> bool:
    """Whether two folders hold the same, but for times and records of them."""
    timed = ("timing.json", "p.jsonl", "cost.csv", "state")
    both = [{k: v for k, v in files(x).items() if not k.endswith(timed)} for x in (a, b)]
    return both[0] == both[1]


@needs_root
@pytest.mark.parametrize("room", [0, 4096, 12288])
@pytest.mark.parametrize("stage", RUNNABLE)
def test_a_full_disk(
    here: Path, disk: Path, capsys: pytest.CaptureFixture[str], stage: str, room: int
) -> None:
    (here / "out").symlink_to(disk, target_is_directory=True)
    ballast = _fill(disk, room)
    with contextlib.suppress(SystemExit):
        World(stage).run()
        pytest.skip(f"what {stage} writes fits into {room} bytes")
    error = _error(capsys)
    if stage.startswith("train-") and room:  # what it will need is known before the first step
        assert re.search(r"error: training needs [\d.]+ MB on the disk of .*; make room", error)
    else:
        assert "samdiffsr: error: out/" in error
        assert "no space left on the disk; make room and run the same command again" in error
    ballast.unlink()
    World(stage).run()
    shutil.copytree(disk, here / "mended")
    (here / "out").unlink()
    World(stage).run()
    assert _same(here / "mended", here / "out"), "half a file was taken for whole"


@needs_root
def test_a_full_disk_while_downloading(disk: Path) -> None:
    server = Server()
    server.files["net.pth"] = CONTENT
    try:
        ballast = _fill(disk, len(CONTENT) // 2)
        target = disk / "weights" / "net.pth"
        with pytest.raises(UserError, match=r"net\.pth.*make room and run the same command again"):
            download(f"{server.url}/net.pth", target, WANTED, QUICK)
        assert not target.exists()
        ballast.unlink()
        download(f"{server.url}/net.pth", target, WANTED, QUICK)
        assert target.read_bytes() == CONTENT
        assert server.ranges[-1] is not None  # what had come was not fetched again
    finally:
        server.close()


@needs_root
@pytest.mark.parametrize("stage", RUNNABLE)
def test_input_on_a_read_only_disk(
    here: Path, disk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], stage: str
) -> None:
    """Nothing is written beside the input; what cannot be written is one line, and goes elsewhere."""
    shutil.copytree(here, disk / "here")
    (disk / "here" / "out").symlink_to(here / "out", target_is_directory=True)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    monkeypatch.chdir(disk / "here")
    error = _stage(stage, capsys)
    assert "out" in error
    (here / "out").mkdir()
    World(stage).run()


def test_a_damaged_state_is_refused_and_the_one_before_gives_the_same_network(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = json.loads(RECIPES["denoiser"].text())
    recipe["training"]["steps"] = 9

    def command(out: str) -> World:
        training = World("train-denoiser")
        training.give("--recipe", json.dumps(recipe))
        training.give("--state", f"{out}/state")
        training.give("--out", f"{out}/model")
        training.give("--save-every", "2")
        return training

    command("whole").run()
    advance = Trainer.advance

    class Killed(BaseException):
        pass

    def dying(trainer: Trainer, arrays: Any) -> None:
        if trainer.done == 7:
            raise Killed
        advance(trainer, arrays)

    for damage in ("flipped", "cut"):
        with monkeypatch.context() as patch:
            patch.setattr(Trainer, "advance", dying)
            with pytest.raises(Killed):
                command(damage).run()
        (newest,) = (here / damage / "state").rglob("state-00000006.pt")
        data = bytearray(newest.read_bytes())
        if damage == "flipped":
            data[len(data) // 3] ^= 1
        newest.write_bytes(data if damage == "flipped" else data[: len(data) // 3])
        capsys.readouterr()
        command(damage).run()
        said = capsys.readouterr().out
        assert "state-00000006.pt: damaged (its checksum differs), passed over" in said
        assert "goes on after 4 of 9 steps" in said
        assert (here / damage / "model").read_bytes() == (here / "whole" / "model").read_bytes()


# ---- the workflow ----

TABLE = "results/table2.csv"
MODEL = "results/demo/runs/{}-x4-s0/model.safetensors"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration of one table, with every kind of job and few of each."""
    table = {"rows": ["bicubic", "srdiff", "sam_diffsr"], "metrics": ["psnr_y"], "differences": []}
    study = {"sampling": {"weights": ["ema"]}}
    path = tmp_path_factory.mktemp("config") / "small.yaml"
    return tiny(path, studies={"demo": study}, tables={"table2": table})


@pytest.fixture(scope="module")
def finished(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """The table made without a disturbance. Not to be changed: take a copy."""
    workflow = Workflow.new(tmp_path_factory.mktemp("undisturbed") / "repository", small)
    result = workflow(TABLE)
    assert result.code == 0, result.text
    return workflow


def _csvs(workflow: Workflow) -> dict[str, bytes]:
    folder = workflow.folder / "results"
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.csv"))}


def _complete(workflow: Workflow, finished: Workflow) -> Result:
    result = workflow(TABLE)
    assert result.code == 0, result.text
    assert _csvs(workflow) == _csvs(finished)
    return result


def _logs(workflow: Workflow) -> int:
    return len(list((workflow.folder / "logs").rglob("*.log")))


def _kill_everything(process: subprocess.Popen[str], folder: Path) -> None:
    """`kill -9` to Snakemake and whatever works in its folder, until nothing does."""
    while True:
        process.kill()
        process.wait()
        living = []
        for each in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if each.cwd() == str(folder) and each.status() != psutil.STATUS_ZOMBIE:
                    living.append(each)
        if not living:
            return
        for each in living:
            with contextlib.suppress(psutil.Error):
                each.kill()


@pytest.mark.workflow
@pytest.mark.parametrize(
    "kills",
    [
        pytest.param(3, marks=pytest.mark.timeout(1800)),
        pytest.param(30, marks=[pytest.mark.slow, pytest.mark.timeout(7200)]),
    ],
)
def test_kill_9_at_random_moments_and_the_same_command_again(
    finished: Workflow, tmp_path: Path, count: Counter[str], kills: int
) -> None:
    moments = random.Random(kills)
    workflow, done = None, 0
    while done < kills:
        workflow = workflow or Workflow.new(tmp_path / f"killed{done}", finished.config)
        started = _logs(workflow)
        process = workflow.start(TABLE, start_new_session=True)
        # some jobs further on, and some way into the last of them
        jobs, wait = moments.randint(0, 4 * 20 // kills), moments.uniform(0, 3)
        while process.poll() is None and _logs(workflow) < started + jobs:
            time.sleep(0.02)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(wait)
        if process.poll() is not None:  # it was over before
            assert process.returncode == 0
            assert _csvs(workflow) == _csvs(finished)
            workflow = None
            continue
        _kill_everything(process, workflow.folder)
        done += 1
        count["kills survived"] += 1
    if workflow is not None:
        _complete(workflow, finished)
        assert workflow.dry(TABLE).nothing_to_do


@pytest.mark.workflow
def test_a_loss_that_is_no_number_stops_its_variant_alone(finished: Workflow, tmp_path: Path) -> None:
    workflow = finished.copy(tmp_path / "copy")
    workflow.edit("config.yaml", "{label: SRDiff,", "{label: SRDiff, training: {lr: 1.0e+30},")
    workflow.edit(
        "config.yaml", "{label: SAM-DiffSR, masks: high}", "{label: SAM-DiffSR, masks: high, reduce: false}"
    )
    before = (workflow.folder / MODEL.format("sam_diffsr")).read_bytes()
    result = workflow(TABLE, cores=1)
    assert result.code != 0
    assert "srdiff-x4-s0: the loss is not finite at step" in result.text
    assert "Traceback" not in result.text
    assert not (workflow.folder / MODEL.format("srdiff")).exists()
    assert (workflow.folder / MODEL.format("sam_diffsr")).read_bytes() != before  # it went on
    assert (workflow.folder / "results/demo/scores/sam_diffsr-x4-s0/demo_test.csv").exists()


@pytest.mark.workflow
def test_a_second_snakemake_in_the_folder_refuses(finished: Workflow, tmp_path: Path) -> None:
    workflow = finished.copy(tmp_path / "copy")
    endless = {"demo": {"training": {"steps": 10_000_000}}}
    workflow.config = tiny(tmp_path / "endless.yaml", studies=endless, allow_slow=True)
    model = MODEL.format("srdiff")
    log = workflow.folder / "logs/demo/train/srdiff-x4-s0.log"
    log.unlink()
    process = workflow.start(model, start_new_session=True)
    try:
        while not log.exists():
            assert process.poll() is None
            time.sleep(0.1)
        second = workflow(model)
        assert second.code != 0
        assert "cannot be locked" in second.text
        assert "Traceback" not in second.text
        assert process.poll() is None  # the first goes on
    finally:
        _kill_everything(process, workflow.folder)


def _another_day(workflow: Workflow, hours: int) -> None:
    """Date every file by so many hours later."""
    for path in workflow.folder.rglob("*"):
        if path.is_file() and path.parts[-2] != "locks":
            moment = path.stat().st_mtime + 3600 * hours
            os.utime(path, (moment, moment))


@pytest.mark.workflow
@pytest.mark.slow
def test_a_clock_that_jumps_ahead(finished: Workflow, tmp_path: Path) -> None:
    """Half the files are of yesterday when the rest is made; the result is the same, and it is settled."""
    workflow = finished.copy(tmp_path / "copy")
    for path in workflow.folder.glob("results/**/table2*"):
        path.unlink()
    for part in ("runs", "samples", "scores"):
        shutil.rmtree(workflow.folder / "results" / "demo" / part)
    _another_day(workflow, -24)
    _complete(workflow, finished)
    assert workflow.dry(TABLE).nothing_to_do


@pytest.mark.workflow
def test_a_clock_that_jumps_back(finished: Workflow, tmp_path: Path) -> None:
    """Snakemake would remove what is made now, its input being of tomorrow: refused at the start."""
    workflow = finished.copy(tmp_path / "copy")
    _another_day(workflow, 24)
    result = workflow(TABLE)
    assert result.code != 0
    assert "h behind the last run here" in result.text
    assert "Traceback" not in result.text
    assert _csvs(workflow) == _csvs(finished)
    mend = ["find", ".", "-newermt", "now", "-exec", "touch", "-h", "{}", "+"]
    subprocess.run(mend, cwd=workflow.folder, check=True)
    assert workflow(TABLE).code == 0
