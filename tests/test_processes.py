"""Trainings of several processes: who is one of them, what they share, and how they stop."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from samdiffsr.core.errors import UserError
from samdiffsr.core.ranks import ALONE, Ranks, ranks, unused_tasks
from samdiffsr.training.launch import port_of_step
from tests.training import denoiser_recipe, encoder_recipe, same, train_command

ALLOCATION = {
    "SLURM_JOB_ID": "4711", "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "1",
    "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0",
}  # fmt: skip
STEP = {
    "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NUM_NODES": "1",
    "SLURM_STEP_TASKS_PER_NODE": "2", "SLURM_STEP_NODELIST": "127.0.0.1",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _nothing_launched(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("SLURM_", "TORCHELASTIC_")):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ALONE),
        (ALLOCATION, ALONE),
        (ALLOCATION | {"SLURM_STEP_ID": "4294967291"}, ALONE),  # the batch script
        (ALLOCATION | STEP | {"SLURM_PTY_PORT": "40000"}, ALONE),  # a shell
        (ALLOCATION | STEP | {"SLURM_PROCID": "1", "SLURM_LOCALID": "1"}, Ranks(2, 1, 2, 1, 1, 0)),
        (
            ALLOCATION | STEP | {
                "SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_NUM_NODES": "2",
                "SLURM_STEP_TASKS_PER_NODE": "2(x2)", "SLURM_PROCID": "3", "SLURM_LOCALID": "1",
                "SLURM_NODEID": "1",
            },
            Ranks(4, 3, 2, 1, 2, 1),
        ),
        (
            {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "4", "RANK": "2", "LOCAL_WORLD_SIZE": "2",
             "LOCAL_RANK": "0", "GROUP_WORLD_SIZE": "2", "GROUP_RANK": "1", **ALLOCATION},
            Ranks(4, 2, 2, 0, 2, 1),
        ),
    ],
)  # fmt: skip
def test_ranks_are_believed_of_srun_and_torchrun_alone(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], expected: Ranks
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert ranks() == expected
    assert unused_tasks() == (2 if given and expected == ALONE else 0)


def test_nodes_with_unequal_shares_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (STEP | {"SLURM_STEP_NUM_TASKS": "3", "SLURM_STEP_TASKS_PER_NODE": "2,1"}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="2,1 processes on its nodes"):
        ranks()


def test_two_steps_of_a_job_do_not_meet_on_one_port(monkeypatch: pytest.MonkeyPatch) -> None:
    ports = set()
    for step in range(3):
        monkeypatch.setenv("SLURM_JOB_ID", "123456")
        monkeypatch.setenv("SLURM_STEP_ID", str(step))
        ports.add(port_of_step())
    assert len(ports) == 3


@pytest.mark.parametrize("per_node", ["2", "1"])
def test_a_plain_process_in_an_allocation_of_two_tasks_trains_alone(
    data: Path,
    tmp_path: Path,
    per_node: str,
) -> None:
    environment = (
        os.environ | ALLOCATION | {"SLURM_NTASKS_PER_NODE": per_node, "SLURM_NNODES": str(2 // int(per_node))}
    )
    recipe = encoder_recipe(steps=2)
    out = subprocess.run(
        train_command(data, tmp_path, "encoder", recipe),
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert out.returncode == 0, out.stderr
    assert "my-encoder: one process trains in a Slurm allocation of 2 tasks" in out.stderr
    assert json.loads((tmp_path / "model.timing.json").read_text())["processes"] == 1


def _two(data: Path, places: list[Path], recipe: object, *more: str, **variables: str) -> list[str]:
    """Two processes as srun starts them, each with its own folder; what each printed."""
    processes = [
        subprocess.Popen(
            train_command(data, place, "denoiser", recipe, *more),  # type: ignore[arg-type]
            env=os.environ
            | ALLOCATION
            | STEP
            | {"SLURM_PROCID": str(i), "SLURM_LOCALID": str(i)}
            | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for i, place in enumerate(places)
    ]
    said = [process.communicate(timeout=200)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    return said


def test_processes_whose_states_differ_go_on_from_the_state_of_the_first(
    data: Path,
    encoder: Path,
    tmp_path: Path,
) -> None:
    """Each node has its own work/: the first stopped after step 6, the second has nothing."""
    recipe = denoiser_recipe(batch=4)
    variables = {"SLURM_JOB_ID": str(os.getpid())}  # for a port of its own
    _two(data, [tmp_path / "whole", tmp_path / "unused"], recipe, **variables)
    assert json.loads((tmp_path / "whole/model.timing.json").read_text())["processes"] == 2
    killed = [
        sys.executable, "-c",
        "import sys\nfrom samdiffsr.cli.app import main\nfrom samdiffsr.training.trainer import Trainer\n"
        "advance = Trainer.advance\n"
        "def dying(self, batch):\n    if self.done == 7: sys.exit(9)\n    advance(self, batch)\n"
        "Trainer.advance = dying\nmain(sys.argv[1:])",
    ]  # fmt: skip
    command = train_command(data, tmp_path / "first", "denoiser", recipe, "--save-every", "3")
    process = subprocess.run([*killed, *command[3:]], capture_output=True, text=True)
    assert process.returncode == 9, process.stderr
    # one process and two give the same but for the order of summation; so give the first one's states to both
    said = _two(data, [tmp_path / "first", tmp_path / "second"], recipe, "--save-every", "3", **variables)
    assert all("goes on after 6 of 9 steps" in text for text in said)
    assert (tmp_path / "first/model.safetensors").exists()
    assert not (tmp_path / "second/model.safetensors").exists()


def test_the_slower_of_two_writers_stops_with_a_line_and_clears_nothing(
    data: Path,
    encoder: Path,
    tmp_path: Path,
) -> None:
    """A node that does not answer any more but still computes, and its retry on another."""
    recipe = denoiser_recipe(steps=200)
    command = train_command(data, tmp_path / "shared", "denoiser", recipe, "--save-every", "5")
    pace = (
        "import sys, time\nfrom samdiffsr.cli.app import main\n"
        "from samdiffsr.training.trainer import Trainer\n"
        "advance = Trainer.advance\n"
        "def slow(self, batch):\n    time.sleep(0.2)\n    advance(self, batch)\n"
        "Trainer.advance = slow\nmain(sys.argv[1:])"
    )
    slow = subprocess.Popen(
        [sys.executable, "-c", pace, *command[3:]], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 100
    while not list((tmp_path / "shared/state").rglob("state-*.json")):
        assert time.monotonic() < deadline
        assert slow.poll() is None
        time.sleep(0.05)
    retry = subprocess.run(command, capture_output=True, text=True)
    assert retry.returncode == 0, retry.stderr
    assert "goes on after" in retry.stdout
    _, err = slow.communicate(timeout=100)
    assert slow.returncode == 1
    assert "my-denoiser: " in err
    assert "began the same training later" in err or "has finished" in err
    subprocess.run(
        train_command(data, tmp_path / "whole", "denoiser", recipe), check=True, capture_output=True
    )
    assert same(tmp_path / "whole", tmp_path / "shared")
    shutil.rmtree(tmp_path / "shared")
