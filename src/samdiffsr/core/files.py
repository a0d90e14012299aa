"""Files are written beside their place and renamed, so nothing half-written is ever taken for whole."""

from __future__ import annotations

import contextlib
import csv
import errno
import fcntl
import hashlib
import io
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from samdiffsr.core.errors import UserError
from samdiffsr.core.locks import here, runs

FULL = (errno.ENOSPC, errno.EDQUOT)
DENIED = (errno.EACCES, errno.EROFS, errno.EPERM)


# Names of temporary files and folders: .<name>.part-<machine>-<process>-<random digits><suffix>
_LEFT = re.compile(r"\..*\.part-(?:(?P<host>\w{1,20})-)?(?P<pid>\d+)(?:-[0-9a-f]{8})?(?:\.[^.]{1,15})?")
DAY = 86400.0  # seconds


def no_room(need: int, folder: Path, what: str) -> str:
    """That `need` bytes do not fit on the disk of `folder`, which need not exist; empty if they do.

    what: what needs them, e.g. "study 'paper'".
    """
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free >= need:
        return ""
    return (
        f"{what} needs {_amount(need)} on the disk of {place}, {_amount(free)} are free; "
        f"make room, or let {folder.name}/ be a link to a larger disk"
    )


def _amount(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.2f} MB"


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a new temporary file beside `path`; rename it onto `path` if the block succeeds, else remove it.

    The suffix is kept, since some writers choose the format by it. The file and its folder are synced, so a
    power failure leaves the old file or the new one. While the block runs, the file is locked (`leftovers`).
    Raises UserError naming `path`: its name is too long, the disk is full, the folder cannot be written.
    """
    path = Path(path)
    part: Path | None = None
    try:
        with _naming(path):
            folders = _make_folder(path.parent)
            part = _temporary(path)
            with _locked(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC):
                yield part
                _fsync(part)  # the rename must not overtake the data
                os.replace(part, path)
                for folder in folders:
                    _fsync(folder)
    finally:
        if part is not None:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(folder: str | Path) -> Iterator[Path]:
    """Yield a new temporary folder beside `folder`; rename it so if the block succeeds, else remove it.

    While the block runs, the folder is locked (`leftovers`).
    Raises UserError naming `folder`: it is there already, or cannot be written, as of `atomic_path`.
    """
    folder = Path(folder)
    if folder.exists():
        raise UserError(f"{folder}: is there already; name another folder, or remove it")
    part: Path | None = None
    try:
        with _naming(folder):
            folders = _make_folder(folder.parent)
            part = _temporary(folder)
            part.mkdir()
            with _locked(part, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC):
                yield part
                sync(path for path in part.rglob("*") if path.is_file())
                os.rename(part, folder)
                for place in folders:
                    _fsync(place)
    finally:
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """A full disk and a place that cannot be written become a UserError that names `path`."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL + DENIED:
            raise UserError(explained(error, path)) from error
        raise


@contextlib.contextmanager
def _locked(path: Path, flags: int) -> Iterator[None]:
    """Open `path` and hold a lock on it, where the disk knows locks: what it is for lives (`leftovers`)."""
    file = os.open(path, flags, 0o666)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(file)


def _make_folder(folder: Path) -> list[Path]:
    """Make a folder; returns those that hold a new entry once a file is in it."""
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return [folder, *(place.parent for place in made)]


def _temporary(path: Path) -> Path:
    """A name that no other process takes, on this machine or another that has the folder too."""
    try:
        limit = os.pathconf(path.parent, "PC_NAME_MAX")
    except OSError:
        limit = 255
    if (size := len(os.fsencode(path.name))) > limit:
        raise UserError(f"{path}: the name has {size} bytes and this disk allows {limit}; shorten it")
    suffix = path.suffix if len(os.fsencode(path.suffix)) <= 16 else ""
    stem = path.name.removesuffix(suffix)
    tail = f".part-{here()}-{os.getpid()}-{secrets.token_hex(4)}{suffix}"
    while stem and len(os.fsencode(f".{stem}{tail}")) > limit:
        stem = stem[:-1]
    return path.with_name(f".{stem}{tail}")


def _fsync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    except OSError as error:
        if not path.is_dir() or error.errno in FULL:  # some disks cannot sync a folder
            raise
    finally:
        os.close(file)


def sync(paths: Iterable[Path]) -> None:
    """Have files and their places in their folders survive a power failure."""
    folders = set()
    for path in paths:
        _fsync(path)
        folders.add(path.parent)
    for folder in folders:
        _fsync(folder)


def leftovers(folders: Iterable[Path], *, below: bool = True) -> Iterator[Path]:
    """Temporary files and folders in `folders` whose process was killed; below: in all folders below too.

    A live one holds a lock on it. Where a lock may not reach (another machine's) or the process number is in
    use again, it counts once it is a day old.
    """
    for folder in folders:
        for place, inner, names in os.walk(folder):
            for name in [*inner, *names]:
                if (match := _LEFT.fullmatch(name)) and _is_left(Path(place, name), match):
                    yield Path(place, name)
            if not below:
                break


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it, if it is still there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _is_left(path: Path, match: re.Match[str]) -> bool:
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:  # renamed meanwhile, or another user's
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if match["host"] == here() and not runs(int(match["pid"])):
            return True
        return time.time() - os.fstat(file).st_mtime > DAY
    except OSError:
        return False
    finally:
        os.close(file)


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


_FORMULA = re.compile(r"'*[=+\-@\t\r]")


def as_cell(text: str) -> str:
    """Text from outside, such as a file's name, as a CSV cell that no spreadsheet takes for a formula."""
    return f"'{text}" if _FORMULA.match(text) else text


def from_cell(cell: str) -> str:
    """The text that `as_cell` was given."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell[1:]) else cell


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


def has_sha256(path: Path, sha256: str) -> bool:
    """Whether a file's bytes have this hash; they are read once a change of the file (size, time, inode)."""
    with contextlib.suppress(OSError, ValueError, RuntimeError):  # RuntimeError: a user without a home
        if json.loads(_note(path).read_text(encoding="utf-8")) == _identity(path, sha256):
            return True
    if sha256_file(path) != sha256:
        return False
    remember_sha256(path, sha256)
    return True


def remember_sha256(path: Path, sha256: str) -> None:
    """Spare `has_sha256` the reading: the caller knows the hash. No error where nothing can be kept."""
    with contextlib.suppress(OSError, UserError, RuntimeError):
        write_json(_note(path), _identity(path, sha256))


def _note(path: Path) -> Path:
    """Outside the project: what lies in data/ is versioned, and others' stores may be read-only."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "samdiffsr"
    folder = Path(os.environ.get("SAMDIFFSR_CACHE") or cache)
    return folder / f"{hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:32]}.json"


def _identity(path: Path, sha256: str) -> list[Any]:
    stat = path.stat()
    return [sha256, stat.st_size, stat.st_mtime_ns, stat.st_ino]


def sha256_json(value: Any) -> str:
    """Hexadecimal SHA-256 of `value`'s canonical JSON text."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
