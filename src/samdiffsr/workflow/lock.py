"""Whether a Snakemake is at work in a folder, by a lock that ends with its process.

Snakemake's own locks are files: after `kill -9` or a power failure they stay and refuse every further run.
Every workflow holds the lock here together with the others, so whoever can have it alone knows that nobody
holds Snakemake's any more.

Snakemake keeps two workflows apart by what they read and write, and only as long as both run: the first
that ends, well or not, removes the folder of all locks (`_delete_locks` in snakemake/persistence/file.py),
those of the other too. So whoever starts beside another is told.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import socket
import time
from pathlib import Path

from samdiffsr.core.errors import UserError
from samdiffsr.core.locks import opened, runs

log = logging.getLogger(__name__)

LOCK = Path(".snakemake") / "samdiffsr.lock"
SNAKEMAKES = Path(".snakemake") / "locks"
SKEW = 60.0  # seconds that the clocks of two machines may differ


def hold(root: Path, *, unlock: bool = False) -> bool:
    """Hold the folder, together with other workflows, until this process ends.

    Alone in it, the locks of a Snakemake that died are removed. Locks left by another machine stay: a lock of
    this kind may not reach from one to the other.

    Args:
        unlock: this is `snakemake --unlock`, which removes every lock.

    Returns False, and removes nothing, if it cannot be held: it is read-only, or its disk knows no locks.

    Raises:
        UserError: the clock was put back since the last run: Snakemake would call hours of work outdated. Or
            `unlock`, and another workflow is at work.
    """
    path = root / LOCK
    try:
        path.parent.mkdir(exist_ok=True)
        file = opened(path, os.O_APPEND)
        alone = _take(file)
    except OSError:
        return False
    ahead = os.fstat(file).st_mtime - time.time()
    if ahead > SKEW:
        os.close(file)
        raise UserError(
            f"{path}: the clock is {ahead / 3600:.1f} h behind the last run here, and Snakemake removes what "
            "is older than its input: set the clock, or run `find . -newermt now -exec touch -h {} +`"
        )
    here, holders = socket.gethostname(), _holders(file)
    if alone:
        left = list((root / SNAKEMAKES).glob("*.lock"))
        if left and {host for host, _ in holders} == {here}:
            for lock in left:
                with contextlib.suppress(PermissionError):  # another user's folder: Snakemake will refuse
                    lock.unlink(missing_ok=True)
            left = []
            log.warning("the last Snakemake here was killed; its locks are removed, and the work goes on")
        if not left:  # else it must be known whose they may be
            with contextlib.suppress(OSError):  # another user's file
                os.ftruncate(file, 0)
    else:
        names = [f"process {n} on {host}" for host, n in holders if host != here or runs(n)]
        others = ", ".join(dict.fromkeys(names)) or "another user's"
        if unlock:
            os.close(file)
            raise UserError(f"{path}: held by a workflow at work, whose locks must stay: {others}")
        log.warning(
            f"another workflow is at work in this folder: {others}. No lock is removed beside it, and "
            "Snakemake keeps the two apart only until one of them ends: let them make different files"
        )
    with contextlib.suppress(OSError):  # another user's file
        os.write(file, f"{here} {os.getpid()}\n".encode())
    fcntl.flock(file, fcntl.LOCK_SH)
    return True  # never closed: it ends with the process


def _take(file: int) -> bool:
    """Take the lock, alone if nobody shares it; returns whether that is so."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        fcntl.flock(file, fcntl.LOCK_SH)
        return False
    return True


def _holders(file: int) -> list[tuple[str, int]]:
    """(machine, process) of everyone who came since the folder was held alone, whether they live or not."""
    lines = os.pread(file, 1 << 16, 0).decode(errors="replace").splitlines()
    pairs = (line.partition(" ") for line in lines)
    return [(host, int(number) if number.isdigit() else -1) for host, _, number in pairs]
