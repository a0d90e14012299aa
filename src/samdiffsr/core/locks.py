"""Locks between processes. They are the kernel's, so they end with their process, whatever kills it.

On NFS they reach from machine to machine. Where a file system has none, `Lock.suffix` gives names that no
other process takes; where they do not reach another machine, `Lock.check` finds its signature.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import re
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

from samdiffsr.core.errors import UserError

log = logging.getLogger(__name__)

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


def here() -> str:
    """This machine's name in the names of files: at most 20 letters, digits and _."""
    return re.sub(r"[^A-Za-z0-9]", "_", socket.gethostname())[:20] or "localhost"


def runs(process: int) -> bool:
    """Whether a process of that number runs on this machine."""
    if process <= 0:
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


class Lock:
    """A lock on the file `path`, taken by `locked` or `shared`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.signature = f"{here()}-{os.getpid()}-{secrets.token_hex(4)}"
        self.suffix = ""  # of names that this process alone may use; empty where the lock is enough
        self._file: int | None = None
        self._signed = False

    def take(self, kind: int) -> None:
        """Wait for the lock; `kind` is LOCK_EX or LOCK_SH."""
        while True:
            self._file = opened(self.path)
            try:
                self._wait(self._file, kind)
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise
                self.suffix = f"-{self.signature}"
                return
            if self._current():
                break
            os.close(self._file)  # of a file that its last holder removed meanwhile
            self._file = None
        if kind == fcntl.LOCK_EX:
            with contextlib.suppress(OSError):  # another user's file
                os.ftruncate(self._file, 0)
                self._signed = os.pwrite(self._file, self.signature.encode(), 0) > 0

    def _wait(self, file: int, kind: int) -> None:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            other = os.pread(file, 200, 0).decode(errors="replace") or "another process"
            log.info(f"{self.path}: {other} is at work on it; waiting")
            fcntl.flock(file, kind)

    def _current(self) -> bool:
        """Whether the file that is held is still the one of that name."""
        assert self._file is not None
        try:
            named = os.stat(self.path, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return os.path.samestat(os.fstat(self._file), named)

    def check(self) -> None:
        """UserError if a process that this file system's locks do not stop has taken the lock as well."""
        if not self._signed:
            return
        assert self._file is not None
        if not self._current() or os.pread(self._file, 200, 0) != self.signature.encode():
            raise UserError(
                f"{self.path}: another machine took this lock too, since the disk's locks do not reach it; "
                "let one machine at a time work here"
            )

    def alone(self) -> bool:
        """Whether nobody shares the lock, which is exclusive then; else it may be lost, so ask this last."""
        assert self._file is not None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return error.errno in NO_LOCKS
        return self._current()

    def leave(self) -> None:
        """Let go, and remove the file if nobody else is there."""
        if self._file is None:
            return
        if self.alone():
            self.path.unlink(missing_ok=True)
        os.close(self._file)
        self._file = None


@contextlib.contextmanager
def locked(path: Path) -> Iterator[Lock]:
    """Hold `path` alone while the block runs; a message says who is waited for. The file is removed after."""
    yield from _held(path, fcntl.LOCK_EX)


@contextlib.contextmanager
def shared(path: Path) -> Iterator[Lock]:
    """Hold `path` together with others; see `Lock.alone`."""
    yield from _held(path, fcntl.LOCK_SH)


def _held(path: Path, kind: int) -> Iterator[Lock]:
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = Lock(path)
    try:
        lock.take(kind)
        yield lock
    finally:
        lock.leave()


def opened(path: Path, flags: int = 0) -> int:
    """A file to lock, made if it is not there. No link is followed."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | flags, 0o666)
    except PermissionError:  # another user's, and to be read only
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
