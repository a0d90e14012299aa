"""The lock that tells a Snakemake that works from one that was killed."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from samdiffsr.core.errors import UserError
from samdiffsr.workflow.lock import LOCK, SNAKEMAKES, hold

HOLD = """
import sys
from pathlib import Path
from samdiffsr.core.logging import configure
from samdiffsr.workflow.lock import hold
sys.stderr = sys.stdout
configure()
print(hold(Path()))
"""


def _hold(folder: Path, then: str = "") -> subprocess.Popen[str]:
    code = f"{HOLD}\nsys.stdout.flush()\n{then}"
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def _leave_lock(folder: Path) -> Path:
    lock = folder / SNAKEMAKES / "0.input.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.write_text("data\n")
    return lock


def test_locks_stay_until_the_last_process_dies(tmp_path: Path) -> None:
    first = _hold(tmp_path, "sys.stdin.read()")
    assert first.stdout is not None
    assert first.stdout.readline() == "True\n"
    lock = _leave_lock(tmp_path)
    second, _ = _hold(tmp_path).communicate()
    assert f"another workflow is at work in this folder: process {first.pid} on" in second
    assert lock.exists()  # of one that lives
    first.kill()
    first.wait()
    third, _ = _hold(tmp_path).communicate()
    assert third.splitlines()[-1] == "True"
    assert "was killed" in third
    assert not lock.exists()


@pytest.mark.parametrize("host", ["elsewhere", ""])
def test_locks_of_another_machine_stay(tmp_path: Path, host: str, said: pytest.LogCaptureFixture) -> None:
    lock = _leave_lock(tmp_path)
    (tmp_path / LOCK).write_text(host)
    assert hold(tmp_path)
    assert lock.exists()
    assert said.messages == []
    assert f"{socket.gethostname()} {os.getpid()}" in (tmp_path / LOCK).read_text()
    assert hold(tmp_path)  # nor does a later run here take them for its own
    assert lock.exists()


def test_a_clock_that_was_put_back_is_refused(tmp_path: Path) -> None:
    (tmp_path / "b" / ".snakemake").mkdir(parents=True)
    lock = tmp_path / "b" / LOCK
    lock.write_text(f"{socket.gethostname()} 1\n")
    moment = lock.stat().st_mtime + 7200
    os.utime(lock, (moment, moment))
    with pytest.raises(UserError, match=r"the clock is 2\.0 h behind the last run here"):
        hold(tmp_path / "b")
    os.utime(lock)
    assert hold(tmp_path / "b")


# ---- with Snakemake ----

SNAKEFILE = """
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from snakemake.exceptions import WorkflowError
from samdiffsr.core.errors import UserError
from samdiffsr.workflow.lock import hold

try:
    if workflow.is_main_process and not workflow.output_settings.dryrun:
        hold(Path(), unlock="--unlock" in sys.argv)
except UserError as error:
    raise WorkflowError(str(error)) from None

rule make:
    output: "{name}.txt"
    params: name="{name}"
    shell:
        "echo $$ >> {params.name}.runs; until [ -e {params.name}.go ]; do sleep 0.1; done; touch {output}"
"""


class Folder:
    """A folder in which Snakemakes make `<name>.txt` as soon as `<name>.go` is there."""

    def __init__(self, path: Path) -> None:
        self.path, self.processes = path, list[subprocess.Popen[str]]()
        (path / "Snakefile").write_text(SNAKEFILE)

    def run(self, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "snakemake", "--cores", "1", "--rerun-incomplete", *arguments],
            cwd=self.path, text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.processes.append(process)
        return process

    def start(self, name: str) -> subprocess.Popen[str]:
        """A Snakemake whose rule is at work."""
        process = self.run(f"{name}.txt")
        while not (self.path / f"{name}.runs").exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.1)
        return process

    def go(self, name: str) -> None:
        (self.path / f"{name}.go").touch()

    def runs(self, name: str) -> int:
        return len((self.path / f"{name}.runs").read_text().splitlines())


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    folder = Folder(tmp_path)
    yield folder
    for process in folder.processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def test_nobody_clears_the_locks_of_a_workflow_that_lives(folder: Folder) -> None:
    """A starts, B starts on other targets, A is killed: C must not make what B makes."""
    a, b = folder.start("a"), folder.start("b")
    os.killpg(a.pid, signal.SIGKILL)
    a.communicate()
    c = folder.run("b.txt")
    while c.poll() is None:
        assert folder.runs("b") == 1, "made twice at once"
        time.sleep(0.1)
    said, _ = c.communicate()
    assert c.returncode != 0
    assert "Directory cannot be locked" in said
    assert f"another workflow is at work in this folder: process {b.pid} on" in said
    unlock = folder.run("--unlock")
    said, _ = unlock.communicate()
    assert unlock.returncode != 0
    assert f"held by a workflow at work, whose locks must stay: process {b.pid} on" in said
    folder.go("b")
    b.communicate()
    assert b.returncode == 0
    assert folder.runs("b") == 1
    folder.go("a")
    again = folder.run("a.txt")  # the locks of A go once B has ended
    said, _ = again.communicate()
    assert again.returncode == 0, said


def test_what_snakemake_does_when_the_first_of_two_ends(folder: Folder) -> None:
    """It removes the locks of both: why whoever starts beside another is told."""
    a, b = folder.start("a"), folder.start("b")
    folder.go("a")
    a.communicate()
    assert not (folder.path / SNAKEMAKES).exists()
    folder.go("b")
    said, _ = b.communicate()
    assert b.returncode == 0
    assert f"another workflow is at work in this folder: process {a.pid} on" in said
    assert "keeps the two apart only until one of them ends" in said
