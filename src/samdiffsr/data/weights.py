"""Which weight file is meant, and whether the file at hand is that one.

The table is `data/sources/weights.yaml`, read by data/catalogue.py; the stage that downloads reads the same.
No library checks the hash of a file that is already in its cache, and pyiqa not even at download, so a wrong
file would give wrong numbers in silence: here a file is used only after its size and SHA-256 agree with the
table. Nothing here touches the network.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from samdiffsr.core.errors import UserError
from samdiffsr.core.files import sha256_file
from samdiffsr.data import catalogue
from samdiffsr.data.catalogue import WeightFile


class MissingWeights(UserError):
    """A weight file that is not there. Work that does not need it can go on."""


class WrongWeights(UserError):
    """A file under a weight file's name that is not it (cut short, another version, an error page)."""


class Found(NamedTuple):
    """A checked weight file and the SHA-256 of its bytes (all 64 digits)."""

    path: Path
    sha256: str


def verify(key: str, folder: str | Path, table: Mapping[str, WeightFile] | None = None) -> Found:
    """The checked file of `key` in `folder`, with its hash.

    Args:
        key: a key of the table, e.g. "inception".
        folder: where weight files lie. The row's `file` is looked for, then its `also` names.
        table: another table than the packaged one (tests; users with weights of their own).

    Raises UserError for an unknown key, MissingWeights if no such file exists, WrongWeights if its size or
    SHA-256 differs; the message names the path and the address to get it from.
    """
    table = catalogue.weights() if table is None else table
    if key not in table:
        raise UserError(f"no weights are called {key!r}; known are {', '.join(table)}")
    row = table[key]
    origin = f"download {row.urls[0]}" if row.urls else "ask whoever gave you the table"
    candidates = [Path(folder) / name for name in (row.file, *row.also)]
    path = next((path for path in candidates if path.is_file()), None)
    if path is None:
        raise MissingWeights(f"weights {key!r}: {candidates[0]} not found; {origin} to that place")
    size = path.stat().st_size
    if row.bytes is not None and size != row.bytes:
        raise WrongWeights(f"weights {key!r}: {path} has {size} bytes, not {row.bytes}; delete it, {origin}")
    digest = sha256_file(path)
    if not digest.startswith(row.sha256):
        raise WrongWeights(
            f"weights {key!r}: {path} has SHA-256 {digest[:16]}..., not "
            f"{row.sha256[:16]}...; delete it, {origin}"
        )
    return Found(path, digest)
