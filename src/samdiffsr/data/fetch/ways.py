"""Every way to a source's files: a mirror's tree or archive, an address of an archive, file by file."""

from __future__ import annotations

import hashlib
import logging
import shutil
import urllib.parse
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from samdiffsr.core.layout import DOWNLOADS
from samdiffsr.core.locks import Lock, shared
from samdiffsr.data.catalogue import Source, Take, Way
from samdiffsr.data.fetch import archive
from samdiffsr.data.fetch.download import BLOCK, Patience, Refused, Wanted, download
from samdiffsr.data.manifest import read_manifest

log = logging.getLogger(__name__)

Bring = Callable[[Path], None]


def attempts(
    source: Source, root: Path, mirror: str | None, patience: Patience
) -> Iterator[tuple[str, Bring]]:
    """Every way to the files, best first, as (what messages call it, what fills a folder)."""
    if mirror is not None:
        seen = set()
        for way in source.ways:
            for label, bring in _mirror_attempts(source, way, root, mirror, patience):
                if label not in seen:
                    yield label, bring
                seen.add(label)
    for way in source.ways:
        if way.url is None:
            continue
        if way.url.endswith("/"):
            yield way.url, _file_by_file(source, way.url, patience)
        else:
            yield way.url, _archive_from(source, way, way.url, _wanted(way), root, patience)


def _mirror_attempts(
    source: Source, way: Way, root: Path, mirror: str, patience: Patience
) -> Iterator[tuple[str, Bring]]:
    published = PurePosixPath(urllib.parse.urlparse(way.url or "").path).name
    top = PurePosixPath(way.tree).parts[0]
    names = {f"{top}{suffix}": Wanted() for suffix in archive.SUFFIXES}
    if published.endswith(archive.SUFFIXES):
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
        yield f"mirror {base}{quoted}/", _file_by_file(source, f"{base}{quoted}/", patience)
    for name, wanted in names.items():
        url = base + urllib.parse.quote(name)
        yield f"mirror {url}", _archive_from(source, way, url, wanted, root, patience)


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


def _file_by_file(source: Source, base: str, patience: Patience) -> Bring:
    def bring(out: Path) -> None:
        manifest = read_manifest(source.key)
        if manifest is None:
            raise Refused("cannot be fetched file by file without a manifest")
        origin = {PurePosixPath(take.to): PurePosixPath(take.pattern).parent for take in source.take}
        for i, entry in enumerate(manifest, start=1):
            target = PurePosixPath(entry.file)
            address = base + urllib.parse.quote(str(origin[target.parent] / target.name))
            try:
                download(address, out / entry.file, patience=patience)
            except Refused as error:
                raise Refused(f"({address.removeprefix(base)}) {error}") from None
            if i % 20 == 0 or i == len(manifest):
                log.info(f"{source.key}: {i} of {len(manifest)} files")

    return bring


def _archive_at(source: Source, way: Way, path: Path, wanted: Wanted) -> Bring:
    def bring(out: Path) -> None:
        wanted.check(path)
        limit = (
            2 * source.unpacked + 100 * BLOCK if source.unpacked else archive.BLOATED * path.stat().st_size
        )
        if archive.unpack(path, out, lambda name: _pick(source.take, way.tree, name), limit) == 0:
            raise Refused(f"holds none of the files under {way.tree}/")

    return bring


def _archive_from(
    source: Source, way: Way, url: str, wanted: Wanted, root: Path, patience: Patience
) -> Bring:
    def bring(out: Path) -> None:
        # A part is gone on with by whichever address serves the same bytes.
        identity = wanted.sha256 or hashlib.sha256(url.encode()).hexdigest()
        name = PurePosixPath(urllib.parse.urlparse(url).path).name
        folder, name = root / DOWNLOADS, f"{identity[:12]}-{name}"
        with shared(folder / f".{name}.use") as lock:  # other sources may come out of it too
            path = folder / f"{name}{lock.suffix}"
            if not path.exists():
                download(url, path, wanted, patience)
            try:
                _archive_at(source, way, path, wanted)(out)
            except Refused:
                _drop(path, lock)
                raise
            _drop(path, lock)

    return bring


def _drop(archive: Path, lock: Lock) -> None:
    """The last one to use an archive removes it."""
    if lock.alone():
        archive.unlink(missing_ok=True)


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
    found = (
        attempt
        for way in source.ways
        for attempt in _mirror_attempts(source, way, Path(), mirror, Patience())
    )
    for label, _ in found:
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
