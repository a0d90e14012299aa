"""Whether a Snakemake is at work in a folder, by a lock that ends with its process.

Snakemake's own locks are files: after `kill -9` or a power failure they stay and refuse every further run.
With this lock beside them, the next run knows that nobody holds them any more.
"""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

from samdiffsr.core.errors import UserError

LOCK = Path(".snakemake") / "samdiffsr.lock"
SNAKEMAKES = Path(".snakemake") / "locks"
SKEW = 60.0  # seconds that the clocks of two machines may differ


def hold(root: Path, say: Callable[[str], object]) -> bool:
    """Hold the folder until this process ends, and remove the locks of a Snakemake that died in it.

    Returns False, and removes nothing, if another process holds the folder or its disk knows no such lock.
    Locks left by another machine stay too: a lock of this kind may not reach from one to the other.

    Raises:
        UserError: the clock was put back since the last run: Snakemake would call hours of work outdated.
    """
    path = root / LOCK
    path.parent.mkdir(exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        return False
    ahead = os.fstat(file).st_mtime - time.time()
    if ahead > SKEW:
        os.close(file)
        raise UserError(
            f"{path}: the clock is {ahead / 3600:.1f} h behind the last run here, and Snakemake removes what "
            "is older than its input: set the clock, or run `find . -newermt now -exec touch -h {} +`"
        )
    here = socket.gethostname().encode()
    left = list((root / SNAKEMAKES).glob("*.lock"))
    if left and os.pread(file, 1024, 0) == here:
        for lock in left:
            lock.unlink(missing_ok=True)
        say("the last Snakemake here was killed; its locks are removed, and the work goes on")
    os.ftruncate(file, 0)
    os.pwrite(file, here, 0)
    return True  # never closed: it ends with the process
