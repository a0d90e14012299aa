"""What is made of which file, decided before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from samdiffsr.core.errors import UserError
from samdiffsr.data.images import OTHER_SUFFIXES, SUFFIXES
from samdiffsr.sampling.upscale.picture import FORMATS


def images_of(inputs: Sequence[Path]) -> list[Path]:
    """Image files, those of folders sorted by name; what is no image in a folder is passed over."""
    found = []
    for path in inputs:
        if not path.is_dir():
            found.append(path)
            continue
        inside = sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith("."))
        images = [p for p in inside if p.suffix.lower() in (*SUFFIXES, *OTHER_SUFFIXES)]
        if not images:
            raise UserError(f"{path}: holds no image")
        found += images
    return found


def targets(inputs: Sequence[Path], out: Path, suffix: str | None, overwrite: bool) -> dict[Path, Path]:
    """What is made of each image file: source -> target.

    Args:
        out: a file, for one image file, or a folder.
        suffix: of the files in a folder, with its dot; None: .png.

    Raises:
        UserError: a missing input, an unknown suffix, two images for one target, a target that is an input
            or, without `overwrite`, that exists.
    """
    sources = images_of(inputs)
    for source in sources:
        if not source.exists():
            raise UserError(f"{source}: no such file or folder")
    if out.suffix and not out.is_dir():
        if out.suffix.lower() not in FORMATS:
            raise UserError(f"{out}: no format is written as {out.suffix}; choose {', '.join(FORMATS)}")
        if len(inputs) > 1 or inputs[0].is_dir():
            raise UserError(f"{out}: one file for several images; give a folder")
        if suffix not in (None, out.suffix.lower()):
            raise UserError(f"{out}: --format says {suffix}; leave one of them out")
        made = {sources[0]: out}
    else:
        made = {source: out / f"{source.stem}{suffix or '.png'}" for source in sources}
    owner: dict[Path, Path] = {}
    originals = {source.resolve() for source in sources}
    for source, target in made.items():
        if target in owner:
            raise UserError(f"{owner[target]} and {source} would both become {target}; upscale them apart")
        owner[target] = source
        if target.resolve() in originals:
            raise UserError(f"{target}: is an input, which is never overwritten; give another -o")
        if target.exists() and not overwrite:
            raise UserError(f"{target}: exists; give --overwrite, or another -o")
    return made
