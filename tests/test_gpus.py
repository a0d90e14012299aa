"""Each process its own GPU, by locks that end with the process. The driver's folder is a made-up one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from samdiffsr.cli import stage
from samdiffsr.core.gpus import DECIDED

TAKE = (
    "import os, sys; from pathlib import Path; from samdiffsr.core.gpus import take_gpus\n"
    "os.setuid(int(sys.argv[2]))\n"
    "take_gpus(int(sys.argv[1]), Path('driver'))\n"
    "print(os.environ.get('CUDA_VISIBLE_DEVICES', 'all'), flush=True); sys.stdin.read()"
)


class Machine:
    """A folder that stands for a machine with so many GPUs, and processes on it."""

    def __init__(self, folder: Path, gpus: int) -> None:
        self.folder = folder
        for gpu in range(gpus):
            (folder / "driver" / f"0000:{gpu:02x}").mkdir(parents=True)

    def take(
        self, wanted: int, user: int = os.getuid(), **environment: str
    ) -> tuple[str, subprocess.Popen[str]]:
        own = {key: value for key, value in os.environ.items() if key not in DECIDED}
        process = subprocess.Popen(
            [sys.executable, "-c", TAKE, str(wanted), str(user)],
            cwd=self.folder, env={**own, **environment}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        return process.stdout.readline().strip(), process


def test_every_process_has_gpus_of_its_own_until_it_ends(tmp_path: Path) -> None:
    machine = Machine(tmp_path, 3)
    first, one = machine.take(1)
    second, two = machine.take(2)
    none_left, three = machine.take(1)
    assert (first, second, none_left) == ("0", "1,2", "all")
    one.kill()
    one.wait()
    again, four = machine.take(1)
    assert again == "0"
    for process in (two, three, four):
        process.communicate("")


@pytest.mark.parametrize("name", DECIDED)
def test_what_was_decided_elsewhere_stays(tmp_path: Path, name: str) -> None:
    seen, process = Machine(tmp_path, 2).take(1, **{name: "1"})
    assert seen == ("1" if name == "CUDA_VISIBLE_DEVICES" else "all")
    process.communicate("")


@pytest.mark.parametrize("gpus", [0, 1])
def test_nothing_to_choose(tmp_path: Path, gpus: int) -> None:
    seen, process = Machine(tmp_path, gpus).take(1)
    assert seen == "all"
    process.communicate("")


@pytest.mark.parametrize(
    ("given", "gpus", "processes", "threads"),
    [
        ({"processes": 0, "cpu_processes": 2, "threads": 2, "device": "auto"}, 0, 2, 1),
        ({"processes": 0, "cpu_processes": 2, "threads": 5, "device": "auto"}, 0, 2, 2),
        # one core: the same bytes
        ({"processes": 0, "cpu_processes": 2, "threads": 1, "device": "auto"}, 0, 2, 1),
        ({"processes": 0, "cpu_processes": 2, "threads": 2, "device": "auto"}, 1, 1, 2),  # would take the GPU
        ({"processes": 0, "cpu_processes": 2, "threads": 2, "device": "cpu"}, 1, 2, 1),
        ({"processes": 0, "threads": 2, "device": "auto"}, 0, 1, 2),  # a denoiser
        ({"processes": 4, "cpu_processes": 2, "threads": 2, "device": "auto"}, 4, 4, 2),
    ],
)
def test_processes_without_a_gpu_share_the_threads(
    given: dict[str, object], gpus: int, processes: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "gpus_here", lambda: gpus)
    assert stage.shared(given) == (processes, threads)


def test_a_jobs_own_temporary_folder_changes_nothing(tmp_path: Path) -> None:
    machine = Machine(tmp_path, 2)
    found = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        found.append(machine.take(1, TMPDIR=str(tmp_path / name)))
    assert [gpu for gpu, _ in found] == ["0", "1"]
    for _, process in found:
        process.communicate("")


@pytest.mark.skipif(os.geteuid() != 0, reason="to become another user needs root")
def test_a_gpu_of_another_user_is_taken_while_that_works_and_no_longer(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    machine = Machine(tmp_path, 2)
    before = sorted(tmp_path.rglob("*"))
    first, other = machine.take(1, user=65534)
    second, mine = machine.take(1)
    assert (first, second) == ("0", "1")
    other.communicate("")
    again, third = machine.take(1)
    assert again == "0"
    for process in (mine, third):
        process.communicate("")
    assert sorted(tmp_path.rglob("*")) == before  # no file, so no link that could be followed
