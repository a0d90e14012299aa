"""Getting files: out of a mirror if there is one, else from the table's addresses, one after the other.

A download goes on where it stopped, is tried again with growing pauses, and is used only when its size and
checksum are right. An archive is unpacked beside its place, and refused as a whole if a member would land
elsewhere, is a link, or is out of all proportion. Files move into place one rename at a time, and the stamp
that says "complete" is written last, so whatever kills a fetch, the same command mends it.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import shutil
import socket
import stat
import sys
import tarfile
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import IO, Any

from samdiffsr.core.errors import UserError
from samdiffsr.core.files import atomic_path, read_json, sha256_file, write_json
from samdiffsr.data.catalogue import Source, Take, Way, WeightFile
from samdiffsr.data.manifest import read_manifest
from samdiffsr.data.verify import (
    Say,
    Verified,
    taken_files,
    verify_source,
    write_stamp,
)

BLOCK = 1 << 20
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
MANY = 200_000  # members of an archive
BLOATED = 200  # times its packed size


class Refused(Exception):
    """This way does not lead to the file; the message says why. The next one may."""


@dataclass(frozen=True)
class Patience:
    """How long to bear with a server. `timeout` is for a connection that says nothing, in seconds."""

    tries: int = 4
    timeout: float = 30.0
    pause: float = 2.0  # before the second try; doubled each time


# ---- one address ----


@dataclass(frozen=True)
class Wanted:
    """What is known of a file before it is there. `sha256` may be a prefix."""

    bytes: int | None = None
    sha256: str | None = None
    md5: str | None = None

    @property
    def known(self) -> bool:
        return self.sha256 is not None or self.md5 is not None

    def check(self, path: Path) -> None:
        """Refused if the file is another one."""
        size = path.stat().st_size
        if self.bytes is not None and size != self.bytes:
            raise Refused(f"has {size} bytes, not {self.bytes}")
        if self.sha256 is not None:
            found = sha256_file(path)
            if not found.startswith(self.sha256):
                raise Refused(f"has SHA-256 {found[:12]}, not {self.sha256[:12]}")
        elif self.md5 is not None:
            with open(path, "rb") as file:
                found = hashlib.file_digest(file, "md5").hexdigest()
            if found != self.md5:
                raise Refused(f"has MD5 {found[:12]}, not {self.md5[:12]}")


def download(
    url: str,
    path: Path,
    wanted: Wanted | None = None,
    patience: Patience | None = None,
    say: Say = print,
) -> None:
    """Bring the file at `url` to `path`, going on from an earlier attempt's `<path>.part`.

    Raises:
        Refused: the server does not have it, does not answer, or what it gave is not the wanted file.
        UserError: the disk is full.
    """
    wanted, patience = wanted or Wanted(), patience or Patience()
    part = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    reason = ""
    for attempt in range(patience.tries):
        old = part.exists()
        if attempt:
            time.sleep(patience.pause * 2 ** (attempt - 1))
            say(f"{url}: {reason}; try {attempt + 1} of {patience.tries}")
        try:
            _receive(url, part, wanted, patience.timeout, say)
        except urllib.error.HTTPError as error:
            reason = f"answers {error.code} {error.reason}"
            if error.code == 416:  # the part is longer than the file: another file's part
                _forget(part)
                continue
            if error.code in (408, 425, 429) or error.code >= 500:
                continue
            raise Refused(reason) from None
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            reason = _reason(error)
            if isinstance(getattr(error, "reason", None), socket.gaierror):
                raise Refused(reason) from None  # no such host, or no network: waiting does not help
            continue
        except OSError as error:
            raise UserError(f"{part}: {error.strerror}; make room and run the same command again") from None
        try:
            wanted.check(part)
        except Refused as error:
            _forget(part)
            reason = str(error)
            if old:  # the part of an earlier attempt may be to blame: once more from the start
                continue
            raise
        os.replace(part, path)
        _forget(part)
        return
    raise Refused(reason)


def _receive(url: str, part: Path, wanted: Wanted, timeout: float, say: Say) -> None:
    """One request: append to `part` what is missing of it."""
    have = part.stat().st_size if part.exists() else 0
    if wanted.bytes is not None and have == wanted.bytes:
        return
    note = _note(part)
    headers = {"User-Agent": "samdiffsr (https://arxiv.org/abs/2402.17133)", "Accept-Encoding": "identity"}
    if have:
        validator = read_json(note).get("validator") if note.exists() else None
        if validator:
            headers |= {"Range": f"bytes={have}-", "If-Range": validator}
        elif wanted.known:
            headers["Range"] = f"bytes={have}-"  # a mixture of two versions would fail the checksum
        else:
            _forget(part)  # nothing could tell whether the rest belongs to this beginning
            have = 0
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout) as answer:
        resumed = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(
            f"bytes {have}-"
        )
        if have and not resumed:
            have = 0
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length and length.isdigit() else None
        if wanted.bytes is not None and total is not None and total != wanted.bytes:
            raise Refused(f"offers {total} bytes, not {wanted.bytes}")
        etag = answer.headers.get("ETag", "")
        if validator := (etag if etag and not etag.startswith("W/") else answer.headers.get("Last-Modified")):
            write_json(note, {"validator": validator})
        with (
            open(part, "ab" if have else "wb") as file,
            _bar(PurePosixPath(urllib.parse.urlparse(url).path).name, have, total, say) as advance,
        ):
            while block := answer.read1(BLOCK):  # what there is: a stall loses nothing
                file.write(block)
                advance(len(block))
    size = part.stat().st_size
    if total is not None and size < total:
        raise ConnectionError(f"the connection ended after {size} of {total} bytes")


def _note(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)


def _reason(error: Exception) -> str:
    inner = getattr(error, "reason", error)
    if isinstance(inner, TimeoutError):
        return "does not answer (timed out)"
    return " ".join(str(inner).split()) or type(inner).__name__


@contextlib.contextmanager
def _bar(name: str, have: int, total: int | None, say: Say) -> Iterator[Callable[[int], Any]]:
    """A progress bar on a terminal, a line every tenth in a log."""
    if sys.stderr.isatty():
        from tqdm import tqdm

        with tqdm(desc=name, initial=have, total=total, unit="B", unit_scale=True) as bar:
            yield bar.update
        return
    done, said = have, have

    def advance(n: int) -> None:
        nonlocal done, said
        done += n
        if done - said >= max(32 * BLOCK, (total or 0) // 10):
            said = done
            of = f" of {total / 1e6:.0f}" if total else ""
            say(f"{name}: {done / 1e6:.0f}{of} MB")

    yield advance


# ---- archives ----


def unpack(archive: Path, out: Path, picks: Callable[[str], str | None], limit: int) -> int:
    """Unpack the members that `picks` names into `out`; returns how many.

    Args:
        picks: member name -> path under `out`, or None for a member that is not wanted.
        limit: bytes that the wanted members may have together.

    Raises:
        Refused: no readable archive, or one with a member (wanted or not) that is absolute, leads upwards, is
        a
            link or a device, or is out of proportion.
    """
    try:
        if zipfile.is_zipfile(archive):
            return _unzip(archive, out, picks, limit)
        if tarfile.is_tarfile(archive):
            return _untar(archive, out, picks, limit)
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
            data = file.extractfile(member)
            assert data is not None
            with data:
                room = _write(data, out / target, room, member.name)
            count += 1
    return count


def _write(data: IO[bytes], path: Path, room: int, name: str) -> int:
    """Copy one member; Refused as soon as it exceeds `room`. Returns what is left of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        while block := data.read(BLOCK):
            room -= len(block)
            if room < 0:
                raise Refused(f"is refused: its member {name!r} is larger than anything expected")
            file.write(block)
    return room


# ---- a source ----


def fetch_source(
    source: Source,
    root: Path,
    mirror: str | None = None,
    *,
    patience: Patience | None = None,
    say: Say = print,
) -> Verified:
    """Bring a source's files to `root`/data/<key>/, verify them, and leave the stamp.

    What is there already and right (pulled, placed by hand) is kept. Then come the mirror, and the urls.

    Raises:
        UserError: no way led there (each is named with its reason), a wrong file is in the way, the disk is
        too
            small, or it must be supplied by hand.
    """
    folder = root / source.folder
    (root / source.stamp).unlink(missing_ok=True)
    if taken_files(source, folder):
        try:
            verified = verify_source(source, folder, say=say)
        except UserError as error:
            say(f"{error}")
        else:
            say(f"{source.key}: is there and right ({verified.against})")
            write_stamp(source, verified, root)
            return verified
    scratch = folder.with_name(f".{source.key}.part")
    reasons: list[str] = []
    try:
        for label, bring in _attempts(source, root, mirror, patience or Patience(), say):
            shutil.rmtree(scratch, ignore_errors=True)
            try:
                say(f"{source.key}: from {label}")
                bring(scratch)
                verified = verify_source(source, scratch, say=say)
            except (Refused, UserError) as error:
                if isinstance(error, UserError) and "make room" in str(error):
                    raise
                reason = str(error).replace(f"{scratch}/", "").partition("; ")[0]
                reasons.append(f"{label} {reason}")
                say(f"{source.key}: {reasons[-1]}")
                continue
            except OSError as error:
                raise UserError(
                    f"{scratch}: {error.strerror}; make room and run the same command again"
                ) from None
            for path, name in taken_files(source, scratch):
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(path, target)
            verified = verify_extra(source, folder, verified)
            write_stamp(source, verified, root)
            return verified
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if source.by_hand:
        raise UserError(by_hand(source, root))
    tried = "; ".join(dict.fromkeys(reasons))
    raise UserError(
        f"{source.key}: cannot be had: {tried}; put its files into {folder} yourself, or set `mirror`"
    )


def verify_extra(source: Source, folder: Path, verified: Verified) -> Verified:
    """After the files moved in: refuse files that were there before and belong to nothing."""
    names = {name for _, name in taken_files(source, folder)}
    for name in sorted(names - {entry.file for entry in verified.entries}):
        raise UserError(f"{folder / name}: no part of {source.title}; move it elsewhere")
    return verified


def by_hand(source: Source, root: Path = Path()) -> str:
    """Where a source comes from that no program may fetch, and where it goes; one line."""
    what = ", ".join(
        f"{'' if take.count is None else f'{take.count} '}files {PurePosixPath(take.pattern).name} into "
        f"{root / source.folder / take.to}"
        for take in source.take
    )
    return (
        f"{source.key} ({source.title}) must be supplied by hand: {source.by_hand}. Put the {what}, or under "
        f"{source.ways[0].tree}/ in the mirror, and run `samdiffsr fetch {source.key}`. Terms: {source.terms}"
    )


Bring = Callable[[Path], None]


def _attempts(
    source: Source, root: Path, mirror: str | None, patience: Patience, say: Say
) -> Iterator[tuple[str, Bring]]:
    """Every way to the files, best first, as (what messages call it, what fills a folder)."""
    if mirror is not None:
        seen = set()
        for way in source.ways:
            for label, bring in _mirror_attempts(source, way, root, mirror, patience, say):
                if label not in seen:
                    yield label, bring
                seen.add(label)
    for way in source.ways:
        if way.url is None:
            continue
        if way.url.endswith("/"):
            yield way.url, _file_by_file(source, way.url, patience, say)
        else:
            yield way.url, _archive_from(source, way, way.url, _wanted(way), root, patience, say)


def _mirror_attempts(
    source: Source, way: Way, root: Path, mirror: str, patience: Patience, say: Say
) -> Iterator[tuple[str, Bring]]:
    published = PurePosixPath(urllib.parse.urlparse(way.url or "").path).name
    top = PurePosixPath(way.tree).parts[0]
    names = {f"{top}{suffix}": Wanted() for suffix in ARCHIVES}
    if published.endswith(ARCHIVES):
        names = {published: _wanted(way), **names}
    if not is_url(mirror):
        tree = Path(mirror) / way.tree
        if tree.is_dir():
            yield f"mirror {tree}", lambda out: _copy_tree(source, tree, out)
        for name, wanted in names.items():
            if (path := Path(mirror) / name).is_file():
                yield f"mirror {path}", _archive_at(source, way, path, wanted)
        return
    base = mirror.rstrip("/") + "/"
    quoted = urllib.parse.quote(way.tree)
    if read_manifest(source.key) is not None:
        yield f"mirror {base}{quoted}/", _file_by_file(source, f"{base}{quoted}/", patience, say)
    for name, wanted in names.items():
        url = base + urllib.parse.quote(name)
        yield f"mirror {url}", _archive_from(source, way, url, wanted, root, patience, say)


def _wanted(way: Way) -> Wanted:
    return Wanted(way.bytes, way.sha256, way.md5)


def _copy_tree(source: Source, tree: Path, out: Path) -> None:
    for take in source.take:
        pattern = PurePosixPath(take.pattern)
        place = tree / pattern.parent
        paths = sorted(place.iterdir()) if place.is_dir() else []
        chosen = [p for p in paths if p.is_file() and fnmatch(p.name.lower(), pattern.name.lower())]
        if not chosen:
            raise Refused(f"holds no {take.pattern}")
        (out / take.to).mkdir(parents=True, exist_ok=True)
        for path in chosen:
            shutil.copyfile(path, out / take.to / path.name)


def _file_by_file(source: Source, base: str, patience: Patience, say: Say) -> Bring:
    def bring(out: Path) -> None:
        manifest = read_manifest(source.key)
        if manifest is None:
            raise Refused("cannot be fetched file by file without a manifest")
        origin = {PurePosixPath(take.to): PurePosixPath(take.pattern).parent for take in source.take}
        for i, entry in enumerate(manifest, start=1):
            target = PurePosixPath(entry.file)
            address = base + urllib.parse.quote(str(origin[target.parent] / target.name))
            try:
                download(address, out / entry.file, patience=patience, say=say)
            except Refused as error:
                raise Refused(f"({address.removeprefix(base)}) {error}") from None
            if i % 20 == 0 or i == len(manifest):
                say(f"{source.key}: {i} of {len(manifest)} files")

    return bring


def _archive_at(source: Source, way: Way, path: Path, wanted: Wanted) -> Bring:
    def bring(out: Path) -> None:
        wanted.check(path)
        limit = 2 * source.unpacked + 100 * BLOCK if source.unpacked else BLOATED * path.stat().st_size
        if unpack(path, out, lambda name: _pick(source.take, way.tree, name), limit) == 0:
            raise Refused(f"holds none of the files under {way.tree}/")

    return bring


def _archive_from(
    source: Source, way: Way, url: str, wanted: Wanted, root: Path, patience: Patience, say: Say
) -> Bring:
    def bring(out: Path) -> None:
        # A part is gone on with by whichever address serves the same bytes.
        identity = wanted.sha256 or hashlib.sha256(url.encode()).hexdigest()
        name = PurePosixPath(urllib.parse.urlparse(url).path).name
        path = root / "work" / "downloads" / f"{identity[:12]}-{name}"
        if not path.exists():
            download(url, path, wanted, patience, say)
        try:
            _archive_at(source, way, path, wanted)(out)
        except Refused:
            path.unlink()
            raise
        path.unlink()

    return bring


def _pick(takes: tuple[Take, ...], tree: str, name: str) -> str | None:
    """Where a member of an archive goes, or None; the tree may or may not be its top folder."""
    path = PurePosixPath(name.removeprefix("./"))
    for take in takes:
        pattern = PurePosixPath(take.pattern)
        inside = PurePosixPath(tree) / pattern.parent
        places = {inside, PurePosixPath(*inside.parts[1:])}
        if path.parent in places and fnmatch(path.name.lower(), pattern.name.lower()):
            return (PurePosixPath(take.to) / path.name).as_posix()
    return None


def is_url(place: str) -> bool:
    return "://" in place


def in_mirror(source: Source, mirror: str | None) -> bool:
    """Whether a local mirror folder has the source, as a tree or an archive; False for a mirror by URL."""
    if mirror is None or is_url(mirror):
        return False
    attempts = (
        attempt
        for way in source.ways
        for attempt in _mirror_attempts(source, way, Path(), mirror, Patience(), print)
    )
    for label, _ in attempts:
        place = Path(label.removeprefix("mirror "))
        if place.is_file():
            return True
        parents = [place / PurePosixPath(take.pattern).parent for take in source.take]
        names = [PurePosixPath(take.pattern).name.lower() for take in source.take]
        if all(
            parent.is_dir() and any(fnmatch(p.name.lower(), name) for p in parent.iterdir())
            for parent, name in zip(parents, names, strict=True)
        ):
            return True
    return False


# ---- a network's weights ----


def fetch_weights(
    row: WeightFile,
    folder: Path,
    mirror: str | None = None,
    *,
    patience: Patience | None = None,
    say: Say = print,
) -> Path:
    """Bring one weight file to `folder`/<file>, checked; a right file that is there already is kept.

    Raises UserError naming every address and what was wrong with it.
    """
    path, wanted = folder / row.file, Wanted(row.bytes, row.sha256)
    reasons = []
    for place in (folder / name for name in (row.file, *row.also)):
        if place.is_file():
            try:
                wanted.check(place)
            except Refused as error:
                raise UserError(f"{place}: {error}; delete it and run the same command again") from None
            if place != path:
                with atomic_path(path) as part:
                    shutil.copyfile(place, part)
            say(f"{row.key}: {place} is there and right")
            return path
    places: list[str] = []
    if mirror is not None:
        names = (row.file, *row.also)
        places = [f"{mirror.rstrip('/')}/{sub}{name}" for sub in ("", "weights/") for name in names]
    for place in [*places, *row.urls]:
        try:
            if is_url(place):
                download(place, path, wanted, patience, say)
            elif Path(place).is_file():
                wanted.check(Path(place))
                with atomic_path(path) as part:
                    shutil.copyfile(place, part)
            else:
                continue
        except Refused as error:
            reasons.append(f"{place} {error}")
            say(f"{row.key}: {reasons[-1]}")
            continue
        say(f"{row.key}: {path} from {place}")
        return path
    tried = "; ".join(reasons) or "it has no address"
    raise UserError(f"{row.key}: cannot be had: {tried}; put it to {path} yourself, or set `mirror`")


# ---- the disk ----


def check_disk(need: int, folder: Path, what: str) -> None:
    """UserError if the disk of `folder` has fewer than `need` bytes left."""
    place = folder
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < need:
        raise UserError(
            f"{what} needs {need / 1e9:.1f} GB on the disk of {place.resolve()}, "
            f"{free / 1e9:.1f} GB are free; "
            "make room, or let data/ be a link to a larger disk"
        )


def source_version(source: Source) -> str:
    """Changes when other files are wanted, and not when they can be had elsewhere."""
    manifest = read_manifest(source.key)
    text = json.dumps([[list(vars(take).values()) for take in source.take], manifest], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
