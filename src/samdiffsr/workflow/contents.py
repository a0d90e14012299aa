"""What a user's own files hold, as a parameter of the rules that read them: content decides, not dates.

A file is read again only if its size, its inode or one of its times is another; `cp -p`, rsync and unzip can
bring back an old date of content, but not of inode changes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from samdiffsr.core.errors import UserError
from samdiffsr.core.files import read_json, sha256_file, sha256_json, write_json


def content(files: Sequence[Path], cache: Path) -> str:
    """One hash over names and bytes of files.

    Args:
        cache: JSON file, hashes by size, inode and times. Where it cannot be written, nothing is kept.

    Raises:
        UserError: a file cannot be read.
    """
    known = _known(cache)
    found: dict[str, list[object]] = {}
    for path in files:
        try:
            status = path.stat()
            mark = [status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns]
            *same, digest = known.get(str(path), [None])
            found[str(path)] = [*mark, digest if same == mark else sha256_file(path)]
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    if found != known:
        with contextlib.suppress(OSError, UserError):
            write_json(cache, found)
    return sha256_json([[name, mark[-1]] for name, mark in sorted(found.items())])


def _known(cache: Path) -> dict[str, list[object]]:
    try:
        return dict(read_json(cache))
    except (UserError, OSError, ValueError, TypeError):
        return {}
