"""From a folder of images to the two stores that everything else reads: HR once, LR once per scale factor."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from samdiffsr.core.batch import Batch
from samdiffsr.core.errors import UserError
from samdiffsr.data.degradation.draw import drawn
from samdiffsr.data.degradation.steps import carried_out
from samdiffsr.data.images import chosen_images, look_into, read_rgb
from samdiffsr.data.manifest import Entry, images_digest, pixels_sha256
from samdiffsr.data.recipe import RealEsrgan
from samdiffsr.data.resize import Rounding, crop_to_multiple, downscale
from samdiffsr.data.store import Store, StoreWriter

log = logging.getLogger(__name__)


def build_hr_store(
    folders: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    exclude: Sequence[str] = (),
    expected: Iterable[Entry] | None = None,
) -> None:
    """Decode every image of a folder, or of several, into the store `out`, whole and in the order of the
    names.

    Images are named by their file's stem. Only one is in memory at a time. The store's meta holds
    `images_digest` (data/verify.py) and what was left out.

    Args:
        folders: of images; a set may be the union of several.
        out: the store, without suffix; replaced.
        exclude: stems that are left out, e.g. of images that are test images too.
        expected: the manifest entries that the images must equal, no fewer and no more; None: whatever is
            there.

    Raises UserError naming the image that is unreadable, called as another, missing, or not the one that the
    manifest means.
    """
    folders = [folders] if isinstance(folders, str | Path) else folders
    paths = chosen_images(folders, exclude)
    for line in (line for folder in folders for line in look_into(Path(folder)).left_out):
        log.info(line)
    wanted = None if expected is None else {PurePosixPath(entry.file).stem: entry for entry in expected}
    if wanted is not None and (missing := sorted(wanted.keys() - {path.stem for path in paths})):
        raise UserError(
            f"{wanted[missing[0]].file}: missing in {', '.join(map(str, folders))}; fetch it again"
        )
    entries = []
    batch = Batch(len(paths), "images")
    with StoreWriter(Path(out), "uint8", kind="hr") as store:
        for path in paths:
            with batch.item(path):
                image = read_rgb(path)
                height, width = image.shape[:2]
                entry = Entry(path.name, width, height, pixels_sha256(image))
                if wanted is not None:
                    if path.stem not in wanted:
                        raise UserError(f"{path}: no part of the data set; move it elsewhere")
                    if entry[1:] != wanted[path.stem][1:]:
                        raise UserError(
                            f"{path}: not the image of the manifest (its pixels differ); fetch it again"
                        )
                store.add(path.stem, image)
                entries.append(entry)
        batch.finish()
        store.meta = {**store.meta, "images_digest": images_digest(entries), "excluded": sorted(exclude)}


def build_empty_store(out: str | Path) -> None:
    """The HR store of a set whose truth is not known: it holds no image."""
    with StoreWriter(Path(out), "uint8", kind="hr", reference="none", images_digest=images_digest(())):
        pass


def build_lr_store(hr: str | Path, out: str | Path, scale: int, *, rounding: Rounding = "end") -> None:
    """Shrink every image of the store `hr` by `scale` with MATLAB's bicubic into the store `out`.

    Each image is first cropped, top left, to a multiple of 2 * scale (the U-Net halves the LR grid's
    patches), so that the LR image of shape (h, w, 3) belongs to `hr[i][: h * scale, : w * scale]`. `rounding`
    as in `imresize`; it is kept in the store's meta, with the HR store's digest.

    Raises UserError naming an image smaller than 2 * scale.
    """
    source = Store(Path(hr))
    meta = {
        "kind": "lr",
        "scale": scale,
        "rounding": rounding,
        "border": "symmetric",
        "hr_digest": source.digest,
    }
    with StoreWriter(Path(out), "uint8", **meta) as store:
        for name, image in _cropped(source, scale):
            store.add(name, downscale(image, scale, rounding))


def build_degraded_store(hr: str | Path, out: str | Path, scale: int, degradation: RealEsrgan) -> None:
    """The same by Real-ESRGAN's blind degradation (`data.degradation`).

    The store's meta holds the recipe, and `steps`: image -> every step with its parameters, from which
    `carried_out` makes the same LR image again.
    """
    source = Store(Path(hr))
    steps: dict[str, Any] = {}
    made = {"made": degradation.model_dump(mode="json"), "hr_digest": source.digest}
    with StoreWriter(Path(out), "uint8", kind="lr", scale=scale, **made) as store:
        for name, image in _cropped(source, scale):
            steps[name] = drawn(name, image.shape[:2], scale, degradation)
            store.add(name, carried_out(image, steps[name]))
        store.meta = {**store.meta, "steps": steps}


def _cropped(source: Store, scale: int) -> Iterator[tuple[str, np.ndarray]]:
    for i, name in enumerate(source.names):
        image = crop_to_multiple(source[i], 2 * scale)
        if 0 in image.shape:
            raise UserError(f"{source.path}: image {name!r} is smaller than {2 * scale} pixels; leave it out")
        yield name, image


def pack_lr_store(
    folders: Sequence[str | Path],
    hr: str | Path,
    out: str | Path,
    scale: int,
    *,
    exclude: Sequence[str] = (),
    truth: bool = True,
) -> None:
    """LR images as they are, out of folders, into the store `out`; each is cropped, top left, to even sides.

    Args:
        hr: the store of their truth: images of the same names, `scale` times as large.
        exclude: stems of LR images that are left out.
        truth: whether there is any; without it `hr` is empty and any LR image will do.

    Raises UserError naming the file that has no partner or another size.
    """
    source = Store(Path(hr))
    paths = lr_images(folders, source.names if truth else None, exclude)
    made = {"made": {"kind": "given"}, "hr_digest": source.digest}
    batch = Batch(len(paths), "images")
    with StoreWriter(Path(out), "uint8", kind="lr", scale=scale, **made) as store:
        for name, path in paths.items():
            with batch.item(path):
                image = read_rgb(path)
                if truth:
                    check_pair(path, image.shape, source.shape(source.index(name)), scale)
                small = crop_to_multiple(image, 2)
                if 0 in small.shape:
                    raise UserError(f"{path}: smaller than 2 pixels; leave it out")
                store.add(name, small)
        batch.finish()


def lr_images(
    folders: Sequence[str | Path], names: Collection[str] | None, exclude: Sequence[str] = ()
) -> dict[str, Path]:
    """The LR images in folders, by their names, without those in `exclude`.

    Args:
        names: of the HR images, each of which has one LR image; None: no HR image is known.

    Raises UserError naming the image that has no partner, and as `chosen_images`.
    """
    if names is None:
        return {path.stem: path for path in chosen_images(folders, exclude)}
    # an HR image may be left out because it has no LR image
    paths = {path.stem: path for path in chosen_images(folders) if path.stem not in exclude}
    where = ", ".join(map(str, folders))
    for name in names:
        if name not in paths:
            raise UserError(f"{where}: no LR image is called {name!r}, as an HR image is; add or exclude it")
    for name in sorted(paths.keys() - {*names}):
        raise UserError(
            f"{paths[name]}: no HR image is called {name!r}; rename the file or move it elsewhere"
        )
    return paths


def check_pair(path: Path, lr: Sequence[int], hr: Sequence[int], scale: int) -> None:
    """UserError if an HR image of (height, width, ...) is not `scale` times as large as that in `path`."""
    height, width = lr[:2]
    if (height * scale, width * scale) != tuple(hr[:2]):
        raise UserError(
            f"{path}: {width}x{height}, and its HR image is {hr[1]}x{hr[0]}: not {scale} times as large; "
            "replace one of them, or exclude both"
        )
