"""The lock that tells a Snakemake that works from one that was killed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from samdiffsr.core.errors import UserError
from samdiffsr.workflow.lock import LOCK, SNAKEMAKES, hold

HOLD = "from pathlib import Path; from samdiffsr.workflow.lock import hold; print(hold(Path(), print))"


def _hold(folder: Path, then: str = "") -> subprocess.Popen[str]:
    code = f"{HOLD}; sys.stdout.flush(); {then}"
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def _leave_lock(folder: Path) -> Path:
    lock = folder / SNAKEMAKES / "0.input.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.write_text("data\n")
    return lock


def test_it_is_held_by_one_process_until_that_dies(tmp_path: Path) -> None:
    first = _hold(tmp_path, "sys.stdin.read()")
    assert first.stdout is not None
    assert first.stdout.readline() == "True\n"
    lock = _leave_lock(tmp_path)
    second, _ = _hold(tmp_path).communicate()
    assert second == "False\n"
    assert lock.exists()  # of one that lives
    first.kill()
    first.wait()
    third, _ = _hold(tmp_path).communicate()
    assert third.splitlines()[-1] == "True"
    assert "was killed" in third
    assert not lock.exists()


@pytest.mark.parametrize("host", ["elsewhere", ""])
def test_locks_of_another_machine_stay(tmp_path: Path, host: str) -> None:
    lock = _leave_lock(tmp_path)
    (tmp_path / LOCK).write_text(host)
    said: list[str] = []
    assert hold(tmp_path, said.append)
    assert lock.exists()
    assert said == []
    assert (tmp_path / LOCK).read_text() == socket.gethostname()


def test_a_clock_that_was_put_back_is_refused(tmp_path: Path) -> None:
    (tmp_path / "b" / ".snakemake").mkdir(parents=True)
    lock = tmp_path / "b" / LOCK
    lock.write_text(socket.gethostname())
    moment = lock.stat().st_mtime + 7200
    os.utime(lock, (moment, moment))
    with pytest.raises(UserError, match=r"the clock is 2\.0 h behind the last run here"):
        hold(tmp_path / "b", print)
    os.utime(lock)
    assert hold(tmp_path / "b", print)
