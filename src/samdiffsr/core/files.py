"""Files are written beside their place and renamed, so nothing half-written is ever taken for whole."""

from __future__ import annotations

import contextlib
import csv
import errno
import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from samdiffsr.core.errors import UserError

FULL = (errno.ENOSPC, errno.EDQUOT)
DENIED = (errno.EACCES, errno.EROFS, errno.EPERM)


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it onto `path` if the block succeeds, else remove it.

    The suffix is kept, since some writers choose the format by it.
    Raises UserError naming `path` when the disk is full or the folder cannot be written.
    """
    path = Path(path)
    part = path.with_name(f".{path.stem}.part-{os.getpid()}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        with open(part, "rb+") as file:  # the rename must not overtake the data
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        if error.errno in FULL + DENIED:
            raise UserError(explained(error, path)) from error
        raise
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def explained(error: OSError, path: str | Path) -> str:
    """What the operating system refused to do with `path`, and what to do about it, in one line."""
    if error.errno in FULL:
        return f"{path}: no space left on the disk; make room and run the same command again"
    if error.errno in DENIED:
        return f"{path}: no permission ({error.strerror}); change the permissions, or choose another place"
    return f"{path}: {error.strerror}; mend it and run the same command again"


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as sorted, indented JSON (byte-identical for equal values)."""
    with atomic_path(path) as part:
        part.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def write_csv(path: str | Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as CSV with Unix line ends, atomically."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with atomic_path(path) as part:
        part.write_text(text.getvalue(), encoding="utf-8")


class Record(dict[str, Any]):
    """A JSON object that says where it comes from when a key is missing."""

    origin: str

    def __missing__(self, key: str) -> Any:
        raise UserError(f"{self.origin}: key {key!r} is missing; give what the workflow makes for this")


def parse_json(text: str, origin: str) -> Any:
    """A JSON text with every object a `Record` of `origin`; json.JSONDecodeError if it is none."""

    def record(value: dict[str, Any]) -> Record:
        made = Record(value)
        made.origin = origin
        return made

    return json.loads(text, object_hook=record)


def read_json(path: str | Path) -> Any:
    """Read a JSON file; UserError names the file if it is missing or not JSON, or later lacks a key."""
    try:
        return parse_json(Path(path).read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid JSON ({error}); delete it and run again") from None


def sha256_file(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """Hexadecimal SHA-256 of `value`'s canonical JSON text."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
