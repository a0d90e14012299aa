"""A source's files or a network's weights, brought to their place.

What is there and right is kept. Files move into place one rename at a time, and the stamp that says
"complete" is written last, so whatever kills a fetch, the same command mends it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from pathlib import Path, PurePosixPath

from samdiffsr.core.errors import UserError
from samdiffsr.core.files import atomic_path, explained, no_room
from samdiffsr.core.locks import Lock, locked
from samdiffsr.data.catalogue import Source, WeightFile
from samdiffsr.data.fetch.download import DiskFault, Patience, Refused, Wanted, download
from samdiffsr.data.fetch.ways import attempts, is_url
from samdiffsr.data.manifest import read_manifest
from samdiffsr.data.verify import Verified, taken_files, verify_source, write_stamp

log = logging.getLogger(__name__)

# ---- a source ----


def fetch_source(
    source: Source,
    root: Path,
    mirror: str | None = None,
    *,
    patience: Patience | None = None,
) -> Verified:
    """Bring a source's files to `root`/data/<key>/, verify them, and leave the stamp.

    What is there already and right (pulled, placed by hand) is kept. Then come the mirror, and the urls.
    One process at a time, also of another clone whose data/ is the same: who waited finds the files there.

    Raises:
        UserError: no way led there (each is named with its reason), a wrong file is in the way, the disk is
            too small, or it must be supplied by hand.
    """
    folder = root / source.folder
    with locked(folder.with_name(f".{source.key}.lock")) as lock:
        return _fetch_source(source, root, mirror, patience or Patience(), lock)


def _fetch_source(source: Source, root: Path, mirror: str | None, patience: Patience, lock: Lock) -> Verified:
    folder = root / source.folder
    (root / source.stamp).unlink(missing_ok=True)
    if taken_files(source, folder):
        try:
            verified = verify_source(source, folder)
        except UserError as error:
            log.info(f"{error}")
        else:
            log.info(f"{source.key}: is there and right ({verified.against})")
            write_stamp(source, verified, root)
            return verified
    scratch = folder.with_name(f".{source.key}.part{lock.suffix}")
    reasons: list[str] = []
    try:
        for label, bring in attempts(source, root, mirror, patience):
            shutil.rmtree(scratch, ignore_errors=True)
            try:
                log.info(f"{source.key}: from {label}")
                bring(scratch)
                verified = verify_source(source, scratch)
            except DiskFault:
                raise
            except (Refused, UserError) as error:
                reason = str(error).replace(f"{scratch}/", "").partition("; ")[0]
                reasons.append(f"{label} {reason}")
                log.info(f"{source.key}: {reasons[-1]}")
                continue
            except OSError as error:
                raise DiskFault(explained(error, scratch)) from None
            lock.check()
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


# ---- a network's weights ----


def fetch_weights(
    row: WeightFile,
    folder: Path,
    mirror: str | None = None,
    *,
    patience: Patience | None = None,
) -> Path:
    """Bring one weight file to `folder`/<file>, checked; a right file that is there already is kept.

    Raises UserError naming every address and what was wrong with it.
    """
    path, wanted = folder / row.file, Wanted(row.bytes, row.sha256)
    reasons = []
    for here in (folder / name for name in (row.file, *row.also)):
        if here.is_file():
            try:
                wanted.check(here)
            except Refused as error:
                raise UserError(f"{here}: {error}; delete it and run the same command again") from None
            if here != path:
                with atomic_path(path) as part:
                    shutil.copyfile(here, part)
            log.info(f"{row.key}: {here} is there and right")
            return path
    places: list[str] = []
    if mirror is not None:
        names = (row.file, *row.also)
        places = [f"{mirror.rstrip('/')}/{sub}{name}" for sub in ("", "weights/") for name in names]
    for place in [*places, *row.urls]:
        try:
            if is_url(place):
                download(place, path, wanted, patience)
            elif Path(place).is_file():
                wanted.check(Path(place))
                with atomic_path(path) as part:
                    shutil.copyfile(place, part)
            else:
                continue
        except Refused as error:
            reasons.append(f"{place} {error}")
            log.info(f"{row.key}: {reasons[-1]}")
            continue
        log.info(f"{row.key}: {path} from {place}")
        return path
    tried = "; ".join(reasons) or "it has no address"
    raise UserError(f"{row.key}: cannot be had: {tried}; put it to {path} yourself, or set `mirror`")


# ---- the disk ----


def check_disk(need: int, folder: Path, what: str) -> None:
    """UserError if the disk of `folder` has fewer than `need` bytes left."""
    if why := no_room(need, folder, what):
        raise UserError(why)


def source_version(source: Source) -> str:
    """Changes when other files are wanted, and not when they can be had elsewhere."""
    manifest = read_manifest(source.key)
    text = json.dumps([[list(vars(take).values()) for take in source.take], manifest], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
