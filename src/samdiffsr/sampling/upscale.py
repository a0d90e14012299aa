"""One's own images, enlarged by a trained model: of any size, gray and alpha kept, turned upright."""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageOps

from samdiffsr.checkpoints.released import model_info
from samdiffsr.core.errors import UserError
from samdiffsr.core.files import atomic_path, sha256_file
from samdiffsr.data.images import OTHER_SUFFIXES, SUFFIXES, undecodable
from samdiffsr.data.resize import upscale

if TYPE_CHECKING:
    from samdiffsr.sampling.restorers import Restorer

READ = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF")
MODES = ("RGB", "RGBA", "L", "LA", "P", "PA", "1")
ADVICE = "convert it to 8-bit gray or RGB"
# EXIF tags that describe how TIFF lays out the old pixels; 274 is the orientation
LAYOUT = frozenset(
    {254, 255, 256, 257, 258, 259, 262, 263, 266, 273, 274, 277, 278, 279, 284, 317, 320}
    | {322, 323, 324, 325, 338, 339, 530, 531, 532, 34675}
)
EXIF_FIELDS, EXIF_SIZE = 0x8769, (0xA002, 0xA003)  # the tag of EXIF's own fields; width, height among them

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h


@dataclass(frozen=True)
class Format:
    """A kind of file: Pillow's name, the modes that it holds, how it is written."""

    name: str
    modes: tuple[str, ...]
    options: dict[str, Any]


PNG = Format("PNG", ("L", "LA", "RGB", "RGBA"), {})
JPEG = Format("JPEG", ("L", "RGB"), {"quality": 95, "subsampling": 0})
TIFF = Format("TIFF", ("L", "LA", "RGB", "RGBA"), {"compression": "tiff_lzw"})
WEBP = Format("WEBP", ("RGB", "RGBA"), {"lossless": True})
BMP = Format("BMP", ("L", "RGB"), {})
FORMATS = {
    ".png": PNG, ".jpg": JPEG, ".jpeg": JPEG, ".tif": TIFF, ".tiff": TIFF, ".webp": WEBP, ".bmp": BMP,
}  # fmt: skip


# ---- files in and out ----


@dataclass(frozen=True)
class Picture:
    """An upright image.

    pixels: uint8 (H, W, 1 or 3). alpha: uint8 (H, W), or None. said: what else the file said of it, as
    arguments of Pillow's `save`: icc_profile, exif.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None
    said: dict[str, Any]


def read_picture(path: Path) -> Picture:
    """Decode an image file; palettes become RGB, EXIF's orientation is applied and dropped.

    Raises UserError naming the file: not an image, broken, more than 8 bits, CMYK, animated, several pages.
    """
    try:
        with warnings.catch_warnings(), Image.open(path, formats=READ) as image:
            warnings.simplefilter("ignore")  # of odd metadata, and of a size that is large but not absurd
            _check(image, path)
            image.load()
            upright = ImageOps.exif_transpose(image)
    except UserError:
        raise
    except Exception as error:
        raise undecodable(path, error, f"PNG, JPEG, WebP, TIFF or BMP image; {ADVICE} PNG") from error
    exif = upright.getexif()
    for tag in LAYOUT & set(exif):
        del exif[tag]
    alpha = "A" in upright.mode or "transparency" in upright.info
    mode = ("L" if upright.mode in ("1", "L", "LA") else "RGB") + "A" * alpha
    planes = np.atleast_3d(np.array(upright.convert(mode)))
    return Picture(
        planes[:, :, :-1] if alpha else planes,
        planes[:, :, -1] if alpha else None,
        {"icc_profile": upright.info.get("icc_profile"), "exif": exif},
    )


def _check(image: Image.Image, path: Path) -> None:
    """Refuse what would lose pages or precision in silence: Pillow halves the depth of 16-bit colour."""
    # behind a phone's photograph (MPO) lies a preview or the other eye's view
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
        raise UserError(f"{path}: animated, or of several pages; save one of them as a file of its own")
    layout = image.tile[0].args if image.tile else ""
    deep = ";16" in str(layout if isinstance(layout, str) else layout[0])
    if image.mode not in MODES or deep:
        what = "16 bits per channel" if deep or image.mode.startswith("I") else f"pixel format {image.mode}"
        raise UserError(f"{path}: {what}; {ADVICE}")


def write_picture(path: Path, picture: Picture) -> None:
    """Write it in the format of the path's suffix; UserError if it is too large for that."""
    kind = FORMATS[path.suffix.lower()]
    planes = picture.pixels
    if planes.shape[2] == 1 and "L" not in kind.modes:
        planes = planes.repeat(3, axis=2)
    if picture.alpha is not None:
        planes = np.dstack([planes, picture.alpha])
    if EXIF_FIELDS in picture.said["exif"]:
        fields = picture.said["exif"].get_ifd(EXIF_FIELDS)
        fields |= {k: n for k, n in zip(EXIF_SIZE, planes.shape[1::-1], strict=True) if k in fields}
    with atomic_path(path) as part:
        try:
            Image.fromarray(planes.squeeze(2) if planes.shape[2] == 1 else planes).save(
                part, format=kind.name, **kind.options, **picture.said
            )
        except (ValueError, struct.error, SyntaxError) as error:  # too large for the format
            raise UserError(f"{path}: cannot be written as {kind.name} ({error}); take PNG or TIFF") from None


def _fits(path: Path, picture: Picture) -> None:
    if picture.alpha is not None and "RGBA" not in (kind := FORMATS[path.suffix.lower()]).modes:
        raise UserError(f"{path}: {kind.name} holds no transparency; take PNG, TIFF or WebP")


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


# ---- models ----


def find_models(run: Path, encoder: Path | None = None) -> dict[str, Path]:
    """The model files of a run: {"encoder": ..., "denoiser": ...}, or the encoder alone where `run` is one.

    Args:
        run: a model file or the folder that holds one, as the workflow or a release lays them. encoder: the
            denoiser's, if it does not lie where these do; a file or a folder.

    Raises:
        UserError: no such model, or no encoder of the recorded hash; a network that needs masks.
    """
    path = _model_file(run)
    recipe = (info := model_info(path))["recipe"]
    if recipe["kind"] == "encoder":
        return {"encoder": path}
    if recipe["formulation"] == "condition":
        raise UserError(f"{path}: this network needs region masks at inference; choose another run")
    if encoder is not None:
        return {"encoder": _model_file(encoder), "denoiser": path}
    # a release lays encoders beside the run's file; the workflow in encoders/ beside runs/
    near = [*path.parent.glob("encoder*.safetensors"), *path.parents[1].glob("encoder*/*.safetensors")]
    if len(path.parents) > 2:
        near += path.parents[2].glob("encoders/*/model.safetensors")
    wanted = info["digests"]["encoder"]
    for candidate in sorted(set(near)):
        if sha256_file(candidate) == wanted:
            return {"encoder": candidate, "denoiser": path}
    raise UserError(
        f"{path}: the encoder it was trained with (SHA-256 {wanted[:16]}) is not beside it; give --encoder"
    )


def _model_file(path: Path) -> Path:
    if path.is_dir():
        if not (path / "model.safetensors").exists():
            raise UserError(
                f"{path}: holds no model.safetensors; give the folder or the file of a trained run"
            )
        return path / "model.safetensors"
    if not path.exists():
        there = sorted(p.name for p in path.parent.glob("*") if p.is_dir() or p.suffix == ".safetensors")
        near = f"; {path.parent} has {', '.join(there)}" if there else ""
        raise UserError(f"{path}: no such run{near}")
    return path


# ---- the stage ----


def upscale_images(
    inputs: Sequence[Path],
    out: Path,
    run: Path,
    *,
    encoder: Path | None = None,
    weights: str = "ema",
    steps: int | None = None,
    seed: int = 0,
    suffix: str | None = None,
    overwrite: bool = False,
    pad: int = 1,
    memory: int = 550,
    device: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Enlarge image files by a trained model. An image that fails is named, and the others are made.

    Args:
        inputs, out, suffix, overwrite: as for `targets`. run, encoder: as for `find_models`.
        weights: ema | raw. steps: of the sampling (None: all).
        seed: the noise depends on it and on the file's name without its suffix, as in the study.
        pad: LR pixels around a denoiser's image; without them SAM-DiffSR spoils its last row and column.
        memory: MB for the network's maps; see docs/upscale.md.
        threads: None: all.

    Raises:
        UserError: before anything is made, or at the end if some images failed.
    """
    made = targets(inputs, out, suffix, overwrite)
    models = find_models(run, encoder)
    _keep_pages()

    from samdiffsr.core.device import resolve_device, resolve_precision
    from samdiffsr.core.randomness import prepare_torch
    from samdiffsr.sampling.restorers import denoiser_restorer, encoder_restorer

    prepare_torch(threads or os.cpu_count() or 1)
    where = resolve_device(device)
    precision = resolve_precision(precision, where)
    budget = memory * 1_000_000
    with _bar() as progress:
        if "denoiser" in models:
            recipe = {"seed": seed, "steps": steps, "start": None, "weights": weights, "pad": pad}
            restore = denoiser_restorer(
                models["denoiser"],
                models["encoder"],
                recipe,
                where,
                precision,
                memory=budget,
                progress=progress,
            )
        else:
            restore = encoder_restorer(models["encoder"], weights, where, precision, budget)
        scale = model_info(models["encoder"])["recipe"]["scale"]
        failures = []
        for number, (source, target) in enumerate(made.items(), start=1):
            began = time.perf_counter()
            try:
                picture = read_picture(source)
                _fits(target, picture)
                large = _enlarged(picture, scale, source.stem, restore)
                write_picture(target, large)
            except UserError as error:
                failures.append(str(error))
                if len(made) > 1:
                    say(f"failed: {error}")
                continue
            height, width = large.pixels.shape[:2]
            seconds = time.perf_counter() - began
            say(f"{target}: {number} of {len(made)}, {width}x{height}, {seconds:.1f} s")
    if failures:
        raise UserError(
            failures[0] if len(made) == 1 else f"{len(failures)} of {len(made)} images failed; see above"
        )


def _keep_pages() -> None:
    """Let glibc keep freed memory for the next map instead of clearing new pages: 20 % of the time."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # another C library
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)


def _enlarged(picture: Picture, scale: int, name: str, restore: Restorer) -> Picture:
    """Gray goes through the network as RGB and becomes its luma; alpha is enlarged as by MATLAB."""
    gray = picture.pixels.shape[2] == 1
    large = restore(picture.pixels.repeat(3 if gray else 1, axis=2), name)
    if gray:
        large = np.asarray(Image.fromarray(large).convert("L"))[:, :, None]
    alpha = None if picture.alpha is None else upscale(picture.alpha, scale)
    return Picture(large, alpha, picture.said)


@contextlib.contextmanager
def _bar() -> Iterator[Callable[[int, int], None]]:
    """On a terminal a bar over the bands of all steps of an image; elsewhere a line an image is enough."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from tqdm import tqdm

    with tqdm(unit="band", leave=False, dynamic_ncols=True) as bar:

        def show(done: int, total: int) -> None:
            if done == 1:
                bar.reset(total)
            bar.update(done - bar.n)
            if done == total:
                bar.clear()

        yield show
