"""Which weight file is meant, and whether the file at hand is that one.

The table is `data/sources/weights.yaml`; the stage that downloads reads the same. No library checks the hash
of a file that is already in its cache, and pyiqa not even at download, so a wrong file would give wrong
numbers in silence: here a file is used only after its size and SHA-256 agree with the table. Nothing here
    touches the network.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from samdiffsr.errors import UserError
from samdiffsr.files import sha256_file

_FIELDS = {"file", "also", "bytes", "sha256", "urls", "terms", "purpose"}


class MissingWeights(UserError):
    """A weight file that is not there. Work that does not need it can go on."""


class WrongWeights(UserError):
    """A file under a weight file's name that is not it (cut short, another version, an error page)."""


@dataclass(frozen=True)
class WeightFile:
    """One row of the table.

    `sha256` may be a prefix of at least 8 digits where the whole value is not published; `bytes` may be None.
    """

    key: str
    file: str
    sha256: str
    bytes: int | None = None
    urls: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    terms: str = ""
    purpose: str = ""


class Found(NamedTuple):
    """A checked weight file and the SHA-256 of its bytes (all 64 digits)."""

    path: Path
    sha256: str


def read_table(path: str | Path | None = None) -> dict[str, WeightFile]:
    """Read a weight table (the packaged one if `path` is None): key -> row.

    Raises UserError naming the row and field that are wrong.
    """
    if path is None:
        source = resources.files("samdiffsr.data") / "sources" / "weights.yaml"
        label, text = "weights.yaml", source.read_text(encoding="utf-8")
    else:
        label = str(path)
        try:
            text = Path(path).read_text(encoding="utf-8")
        except FileNotFoundError:
            raise UserError(f"{path}: no such weight table") from None
    try:
        rows = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"{label}: not valid YAML ({str(error).splitlines()[0]})") from None
    if not isinstance(rows, dict):
        raise UserError(f"{label}: must map each key to its row")
    return {key: _row(label, key, row) for key, row in rows.items()}


def _row(label: str, key: str, row: Any) -> WeightFile:
    if not isinstance(row, dict):
        raise UserError(f"{label}: {key} must be a mapping")
    if unknown := set(row) - _FIELDS:
        raise UserError(f"{label}: {key} has an unknown field {min(unknown)!r}")
    for field in ("file", "sha256"):
        if not isinstance(row.get(field), str):  # an all-digit hash must be quoted in YAML
            raise UserError(f"{label}: {key} needs the field {field!r} as text")
    if not re.fullmatch(r"[0-9a-f]{8,64}", row["sha256"]):
        raise UserError(f"{label}: {key}: sha256 must be 8 to 64 hexadecimal digits in lower case")
    lists = {field: tuple(row.get(field) or ()) for field in ("urls", "also")}
    return WeightFile(key=key, **{**row, **lists})


@functools.cache
def _packaged() -> Mapping[str, WeightFile]:
    return read_table()


def verify(key: str, folder: str | Path, table: Mapping[str, WeightFile] | None = None) -> Found:
    """The checked file of `key` in `folder`, with its hash.

    Args:
        key: a key of the table, e.g. "inception".
        folder: where weight files lie. The row's `file` is looked for, then its `also` names.
        table: another table than the packaged one (tests; users with weights of their own).

    Raises UserError for an unknown key, MissingWeights if no such file exists, WrongWeights if its size or
    SHA-256 differs; the message names the path and the address to get it from.
    """
    table = _packaged() if table is None else table
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


def resolve(key: str, folder: str | Path, table: Mapping[str, WeightFile] | None = None) -> Path:
    """Path of the checked weight file of `key`; see `verify`."""
    return verify(key, folder, table).path
