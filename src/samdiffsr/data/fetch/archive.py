"""Archives, refused as a whole if a member would land elsewhere, is a link, or is out of all proportion."""

from __future__ import annotations

import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO

from samdiffsr.data.fetch.download import BLOCK, Refused

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
MANY = 200_000  # members of an archive
BLOATED = 200  # times its packed size


def unpack(archive: Path, out: Path, picks: Callable[[str], str | None], limit: int) -> int:
    """Unpack the members that `picks` names into `out`; returns how many.

    Args:
        picks: member name -> path under `out`, or None for a member that is not wanted.
        limit: bytes that the wanted members may have together.

    Raises:
        Refused: no readable archive, or one with a member (wanted or not) that is absolute, leads upwards, is
            a link or a device, or is out of proportion.
    """
    try:
        if zipfile.is_zipfile(archive):
            return _unzip(archive, out, picks, limit)
        if tarfile.is_tarfile(archive):
            return _untar(archive, out, picks, limit)
    except tarfile.FilterError as error:
        raise Refused(f"is refused: {error}") from None
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's fault, not the archive's
        raise Refused(f"is damaged ({error})") from None
    except (NotImplementedError, RuntimeError) as error:  # encrypted, or packed in an unknown way
        raise Refused(f"cannot be unpacked ({error})") from None
    raise Refused("is neither a zip nor a tar archive")


def _safe(name: str) -> None:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or (path.parts and ":" in path.parts[0]) or "\0" in name:
        raise Refused(f"is refused: its member {name!r} would land outside its folder")


def _unzip(archive: Path, out: Path, picks: Callable[[str], str | None], limit: int) -> int:
    count, room = 0, limit
    with zipfile.ZipFile(archive) as file:
        members = file.infolist()
        if len(members) > MANY:
            raise Refused(f"is refused: it has {len(members)} members")
        for member in members:
            _safe(member.filename)
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise Refused(f"is refused: its member {member.filename!r} is a link or a device")
            if member.file_size > max(BLOCK, BLOATED * member.compress_size):
                raise Refused(
                    f"is refused: its member {member.filename!r} unpacks to {member.file_size} bytes"
                )
        for member in members:
            if member.is_dir() or (target := picks(member.filename)) is None:
                continue
            with file.open(member) as data:
                room = _write(data, out / target, room, member.filename)
            count += 1
    return count


def _untar(archive: Path, out: Path, picks: Callable[[str], str | None], limit: int) -> int:
    count, room, members, unpacked = 0, limit, 0, 0
    most = max(1 << 30, BLOATED * archive.stat().st_size)
    with tarfile.open(archive, "r:*") as file:
        for member in file:
            members += 1
            unpacked += member.size
            _safe(member.name)
            if not (member.isreg() or member.isdir()):
                raise Refused(f"is refused: its member {member.name!r} is a link or a device")
            if members > MANY or unpacked > most:
                raise Refused(
                    f"is refused: its member {member.name!r} makes it unpack to over {unpacked} bytes"
                )
            if member.isdir() or (target := picks(member.name)) is None:
                continue
            room -= member.size
            if room < 0:
                raise _too_large(member.name)
            file.extract(member.replace(name=target, deep=False), out, set_attrs=False, filter="data")
            count += 1
    return count


def _write(data: IO[bytes], path: Path, room: int, name: str) -> int:
    """Copy one member; Refused as soon as it exceeds `room`. Returns what is left of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        while block := data.read(BLOCK):
            room -= len(block)
            if room < 0:
                raise _too_large(name)
            file.write(block)
    return room


def _too_large(name: str) -> Refused:
    return Refused(f"is refused: its member {name!r} is larger than anything expected")
