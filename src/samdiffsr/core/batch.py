"""Many files of a person's: one that fails is named, and the others are done all the same."""

from __future__ import annotations

import contextlib
import logging
import traceback
from collections.abc import Iterator
from pathlib import Path

from samdiffsr.core.errors import UserError, shown
from samdiffsr.core.files import FULL, explained

log = logging.getLogger(__name__)


class Batch:
    """Collects what went wrong with single items.

    Args:
        total: how many items there are.
        what: they are, in the plural.
    """

    def __init__(self, total: int, what: str) -> None:
        self.total, self.what = total, what
        self.failures: list[Exception] = []
        self.last = ""

    @contextlib.contextmanager
    def item(self, path: Path) -> Iterator[None]:
        """Whatever is raised in the block is this item's failure; but a full disk ends the batch."""
        try:
            yield
        except Exception as error:
            fault = error if isinstance(error, OSError) else error.__cause__
            if isinstance(fault, OSError) and fault.errno in FULL:
                raise
            traceback.clear_frames(error.__traceback__)  # they hold images
            self.failures.append(error)
            self.last = _line(error, path)
            if self.total > 1:
                log.info(f"failed: {self.last}")

    def finish(self) -> None:
        """UserError if any item failed, with its own words if it is the only one.

        All that was raised is its cause, which --debug shows.
        """
        if not self.failures:
            return
        several = f"{len(self.failures)} of {self.total} {self.what} failed; see above"
        cause = ExceptionGroup(f"{self.what} that failed", self.failures)
        raise UserError(several if len(self.failures) > 1 else self.last) from cause


def _line(error: Exception, path: Path) -> str:
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return explained(error, shown(path))
    if isinstance(error, MemoryError):
        return f"{shown(path)}: not enough memory for it; cut it into parts"
    reason = " ".join(str(error).split())
    return f"{shown(path)}: {type(error).__name__}: {reason}; --debug shows where"
