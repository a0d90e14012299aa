"""What Snakemake would do, as it says it."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from samdiffsr.core.errors import UserError


class PlannedFile(NamedTuple):
    """One file of a target: its rule, its path, whether it is yet to be made."""

    rule: str
    path: str
    pending: bool


def jobs_of(targets: Sequence[str], options: Sequence[str], root: Path) -> list[PlannedFile]:
    """The files that Snakemake would look at for `targets`, each with its rule; runs nothing.

    Args:
        options: further arguments of Snakemake, e.g. --config ...

    Raises:
        UserError: Snakemake's own message.
    """
    # a dry run takes no lock
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--summary",
        "--dry-run",
        *targets,
        "--cores",
        "1",
        *options,
    ]
    with _records(root) as folder:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        # the message stands between the exception's name and Snakemake's own whereabouts
        text = done.stderr + done.stdout  # of a dry run Snakemake speaks on stdout
        said = re.search(r".*(?:Error|Exception)[^\n]*:\n(.*?)(?:\nWildcards:|\Z)", text, re.S)
        words = " ".join((said.group(1) if said else text).split())
        raise UserError(f"snakemake cannot plan {' '.join(targets)}: {words[:500]}")
    _, *rows = [line.split("\t") for line in done.stdout.splitlines() if "\t" in line]
    return [PlannedFile(rule, path, plan == "update pending") for path, _, rule, _, _, plan in rows]


@contextlib.contextmanager
def _records(root: Path) -> Iterator[Path]:
    """The repository, where Snakemake can keep its records; if it is read-only, a folder that shows it."""
    if os.access(root, os.W_OK):
        yield root
        return
    with tempfile.TemporaryDirectory(prefix="samdiffsr-") as name:
        folder, records = Path(name), Path(".snakemake")
        (folder / records).mkdir()
        for path in [p for p in root.iterdir() if p.name != records.name] + [root / records / "metadata"]:
            if path.exists():
                (folder / path.relative_to(root)).symlink_to(path.resolve())
        yield folder
