"""Where the messages go that modules give to `logging.getLogger(__name__)`.

Used as a library, the package leaves that to its user: by default, Python shows warnings and no more.
"""

from __future__ import annotations

import logging
import sys

PACKAGE = "samdiffsr"


def configure(*, quiet_stdout: bool = False) -> None:
    """Write messages as plain lines at once: warnings to stderr, the rest to stdout.

    Args:
        quiet_stdout: everything to stderr, where stdout is a program's result.
    """
    logger = logging.getLogger(PACKAGE)
    logger.setLevel(logging.INFO)
    logger.handlers[:] = [_Lines(quiet_stdout)]


class _Lines(logging.Handler):
    """Takes the streams that are there when a line comes, and does not swallow a closed pipe."""

    def __init__(self, quiet_stdout: bool) -> None:
        super().__init__()
        self.quiet_stdout = quiet_stdout

    def emit(self, record: logging.LogRecord) -> None:
        warning = record.levelno >= logging.WARNING
        stream = sys.stderr if warning or self.quiet_stdout else sys.stdout
        line = f"{record.levelname.lower()}: {record.getMessage()}" if warning else record.getMessage()
        if "tqdm" in sys.modules:  # a bar on the terminal steps aside
            sys.modules["tqdm"].tqdm.write(line, file=stream)
            stream.flush()
        else:
            print(line, file=stream, flush=True)
