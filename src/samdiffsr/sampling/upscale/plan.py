"""What is made of which file, and whether it can be: decided before anything is computed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from samdiffsr.core.errors import UserError, shown
from samdiffsr.data.images import look_into
from samdiffsr.sampling.upscale.picture import FORMATS, Outline


@dataclass(frozen=True)
class Plan:
    """What is made.

    targets: source -> target. folder: the output, or None for a single file. refused: images in folders that
    are not read -> why. left_out: lines that name what else lies in folders.
    """

    targets: dict[Path, Path]
    folder: Path | None
    refused: dict[Path, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()


def make_plan(inputs: Sequence[Path], out: str | Path, suffix: str | None, recursive: bool = False) -> Plan:
    """Find the images and give each its target; nothing is looked into.

    Args:
        inputs: image files, and folders of them.
        out: a file, for one image file, or a folder: what is one, ends with "/", or has no suffix.
        suffix: of the files in a folder, with its dot; None: .png.
        recursive: take the folders in folders too; the output gets the same folders.

    Raises:
        UserError: a missing input, no image, an unknown suffix, two images for one target, a target that is
            an input, an output folder that is read, or a place where nothing can be written.
    """
    for source in inputs:
        if not source.exists():
            what = "a link to nowhere" if source.is_symlink() else "no such file or folder"
            raise UserError(f"{shown(source)}: {what}")
        if not source.is_file() and not source.is_dir():
            raise UserError(f"{shown(source)}: no regular file; save it as one")
    folder = _folder(inputs, out, suffix)
    made: dict[Path, Path] = {}
    refused: dict[Path, str] = {}
    left_out: list[str] = []
    for given in inputs:
        if not given.is_dir():
            target = Path(out) if folder is None else folder / f"{given.stem}{suffix or '.png'}"
            made.setdefault(given, target)
            continue
        assert folder is not None
        if folder.is_dir() and folder.samefile(given):
            raise UserError(f"{shown(folder)}: is read; give another -o")
        found = look_into(
            given, recursive=recursive, beside=folder, folders="a folder; --recursive enters it"
        )
        refused |= found.refused
        left_out += found.left_out
        if not found.images and not found.refused:
            raise UserError(f"{shown(given)}: holds no image" + "".join(f"; {x}" for x in found.left_out[:1]))
        for source in found.images:
            inside = source.relative_to(given).parent
            made.setdefault(source, folder / inside / f"{source.stem}{suffix or '.png'}")
    _check_targets(made)
    return Plan(made, folder, refused, tuple(left_out))


def _folder(inputs: Sequence[Path], out: str | Path, suffix: str | None) -> Path | None:
    """The output as a folder, or None if it is one file."""
    path = Path(out)
    several = len(inputs) > 1 or inputs[0].is_dir()
    known = path.suffix.lower() in FORMATS
    if path.is_dir() or str(out).endswith(("/", os.sep)) or not path.suffix or (several and not known):
        return path
    if not known:
        raise UserError(
            f"{shown(path)}: no format is written as {shown(path.suffix)}; choose {', '.join(FORMATS)}, "
            f"or write {shown(path)}/ for a folder"
        )
    if several:
        raise UserError(f"{shown(path)}: one file for several images; give a folder")
    if suffix not in (None, path.suffix.lower()):
        raise UserError(f"{shown(path)}: --format says {suffix}; leave one of them out")
    return None


def _check_targets(made: dict[Path, Path]) -> None:
    owner: dict[Path, Path] = {}
    originals = {source.resolve() for source in made}
    for source, target in list(made.items()):
        if target in owner:
            if owner[target].resolve() == source.resolve():  # given twice
                del made[source]
                continue
            raise UserError(
                f"{shown(owner[target])} and {shown(source)} would both become {shown(target)}; "
                "upscale them apart"
            )
        owner[target] = source
        if target.resolve() in originals:
            raise UserError(f"{shown(target)}: is an input, which is never overwritten; give another -o")
    for folder in {target.parent for target in made.values()}:
        there = _existing(folder)
        if not there.is_dir():
            raise UserError(f"{shown(there)}: no folder; give another -o")
        if not os.access(there, os.W_OK | os.X_OK):
            raise UserError(f"{shown(there)}: nothing can be written there; give another -o")


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that there is."""
    return next(p for p in (folder, *folder.absolute().parents) if p.exists() or p.is_symlink())


def check_name(target: Path) -> None:
    """UserError if no file can be called so."""
    if target.is_dir():
        raise UserError(f"{shown(target)}: is a folder; give another -o")
    most = os.pathconf(_existing(target.parent), "PC_NAME_MAX")
    if len(os.fsencode(target.name)) > most:
        raise UserError(f"{shown(target)}: a name of more than {most} bytes; rename the image")


def check_space(outlines: Iterable[tuple[Path, Outline]], scale: int) -> None:
    """UserError if the disk is certainly too small for all targets: of each format the least is counted."""
    needed: dict[Path, float] = {}
    for target, found in outlines:
        bytes_ = found.width * found.height * scale**2 * len(found.mode)
        place = _existing(target.parent)
        needed[place] = needed.get(place, 0) + bytes_ * FORMATS[target.suffix.lower()].packed
    for place, least in needed.items():
        free = shutil.disk_usage(place).free
        if least > free:
            raise UserError(
                f"{shown(place)}: {least / 1e6:.0f} MB at least are to be written, "
                f"{free / 1e6:.0f} MB are free; make room, or give another -o"
            )
