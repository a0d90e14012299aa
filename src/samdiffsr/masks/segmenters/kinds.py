"""Segmenters behind one protocol: an image in, its Regions out. Those in this file need no weights.

SAM and MobileSAM are in modules of their own (LEARNED), which are imported only when they are asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from samdiffsr.core.errors import UserError
from samdiffsr.core.files import sha256_file, sha256_json
from samdiffsr.masks.regions import Regions

# SR data sets crop their images, top left, to a multiple of twice the scale; a stored segmentation may be
# larger than its image by less than this
MAX_CROP = 16


class Segmenter(Protocol):
    """Finds the masks of an image. Equal images (and names) must give equal regions."""

    def __call__(self, image: np.ndarray, name: str) -> Regions:
        """Regions of `image`, (H, W, 3) uint8 RGB.

        Masks come in the segmenter's own order (it matters where they overlap), with what it says of each in
        `Regions.per_mask`. `name` is the image's name in its store, for segmenters that look masks up.
        """

    def describe(self) -> dict[str, Any]:
        """What tables record: JSON, no paths, no machine; equal descriptions mean equal regions."""


def make_segmenter(spec: Mapping[str, Any], places: Mapping[str, Any] | None = None) -> Segmenter:
    """The segmenter that `spec` asks for: "kind", one of KINDS, and that kind's settings.

    Args:
        spec: what decides the outcome.
        places: what belongs to the machine and not to the recipe, for the segmenters that take it: "root" (a
            folder that holds BSDS500), "weights" (a folder of weight files), "device".

    Raises:
        UserError: names an unknown kind or setting, a missing one, or an impossible value.
    """
    kind = spec.get("kind")
    if kind not in KINDS:
        raise UserError(f"segmenter kind {kind!r}: must be one of {', '.join(KINDS)}")
    segmenter = SEGMENTERS[kind] if kind in SEGMENTERS else _learned(*LEARNED[kind])
    known = {f.name: f for f in fields(segmenter) if f.init}
    given = {key: value for key, value in (places or {}).items() if key in known and value is not None}
    settings = {**given, **{key: value for key, value in spec.items() if key != "kind"}}
    if problem := _unknown(kind, settings, known):
        raise UserError(problem)
    missing = [name for name, f in known.items() if f.default is MISSING and name not in settings]
    if missing:
        raise UserError(f"segmenter {kind}: setting {missing[0]!r} is missing")
    return segmenter(**settings)


def unknown_setting(spec: Mapping[str, Any]) -> str:
    """A line about a setting that the kind does not know, or nothing; LEARNED kinds are not looked at."""
    kind = spec["kind"]
    if kind in LEARNED:
        return ""
    return _unknown(kind, set(spec) - {"kind"}, [f.name for f in fields(SEGMENTERS[kind]) if f.init])


def _unknown(kind: str, settings: Collection[str], known: Collection[str]) -> str:
    unknown = sorted(set(settings) - set(known))
    if not unknown:
        return ""
    return f"segmenter {kind}: unknown setting {unknown[0]!r}; known are {', '.join(known)}"


@dataclass(frozen=True)
class Felzenszwalb:
    """Graph-based segmentation (Felzenszwalb and Huttenlocher, 2004), through scikit-image. A partition.

    Attributes:
        scale: larger means larger regions (scikit-image's `scale`).
        sigma: of the Gaussian smoothing before, in pixels.
        min_size: smallest region, in pixels.
    """

    scale: float = 100.0
    sigma: float = 0.8
    min_size: int = 50

    def __post_init__(self) -> None:
        check_number("felzenszwalb scale", self.scale, 0, exclusive=True)
        check_number("felzenszwalb sigma", self.sigma, 0)
        check_number("felzenszwalb min_size", self.min_size, 1, whole=True)

    def __call__(self, image: np.ndarray, name: str) -> Regions:
        from skimage.segmentation import felzenszwalb

        labels = felzenszwalb(image, scale=self.scale, sigma=self.sigma, min_size=self.min_size)
        return Regions.from_partition(labels + 1)

    def describe(self) -> dict[str, Any]:
        return {"kind": "felzenszwalb", **asdict(self)}


@dataclass(frozen=True)
class Ucm:
    """BSDS500's published gPb-UCM contour hierarchy (Arbelaez et al., 2011) cut at a threshold. A partition.

    Attributes:
        root: a folder that holds BSDS500's `ucm2` folder, at most three levels down.
        threshold: k in [0, 1]; contours of strength <= k vanish. About 81 regions an image at 0.1, 22 at 0.2,
            8 at 0.4.
    """

    root: str
    threshold: float = 0.1
    files: dict[str, Path] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_number("ucm threshold", self.threshold, 0)
        object.__setattr__(self, "files", _mat_files(self.root, "ucm2"))

    def __call__(self, image: np.ndarray, name: str) -> Regions:
        from scipy import ndimage

        path = _file_of(self.files, name, f"ucm2 under {self.root}")
        ucm2 = _load_mat(path, "ucm2")
        labels, _ = ndimage.label(ucm2 <= self.threshold)
        # in the doubled grid (2H+1, 2W+1) pixels sit at odd indices, contours at the others
        return Regions.from_partition(_fit(labels[1::2, 1::2], image.shape[:2], path))

    def describe(self) -> dict[str, Any]:
        return {"kind": "ucm", "threshold": self.threshold}


@dataclass(frozen=True)
class Human:
    """BSDS500's human segmentations. A partition.

    Attributes:
        root: a folder that holds BSDS500's `groundTruth` folder, at most three levels down.
        annotator: a number from 0 in the file's order; "finest" or "coarsest", the one with most or fewest
            regions (of equal ones the first); "intersection", all annotators' borders at once.
    """

    root: str
    annotator: int | str = "finest"
    files: dict[str, Path] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if isinstance(self.annotator, str):
            if self.annotator not in ("finest", "coarsest", "intersection"):
                raise UserError(
                    f"human annotator {self.annotator!r}: a number, finest, coarsest or intersection"
                )
        else:
            check_number("human annotator", self.annotator, 0, whole=True)
        object.__setattr__(self, "files", _mat_files(self.root, "groundTruth"))

    def __call__(self, image: np.ndarray, name: str) -> Regions:
        annotations = self.annotations(name, image.shape[:2])
        return Regions.from_partition(self._choose(annotations, self._path(name)))

    def annotations(self, name: str, shape: tuple[int, int]) -> list[np.ndarray]:
        """All annotators' segmentations of an image of `shape`, (H, W) int64 each, labels from 1."""
        path = self._path(name)
        truth = _load_mat(path, "groundTruth")
        labels = (truth[0, i]["Segmentation"][0, 0].astype(np.int64) for i in range(truth.shape[1]))
        return [_fit(each, shape, path) for each in labels]

    def _path(self, name: str) -> Path:
        return _file_of(self.files, name, f"groundTruth under {self.root}")

    def _choose(self, annotations: list[np.ndarray], path: Path) -> np.ndarray:
        if self.annotator == "intersection":
            labels = annotations[0]
            for other in annotations[1:]:
                _, labels = np.unique(labels * (other.max() + 1) + other, return_inverse=True)
                labels = labels.reshape(other.shape) + 1
            return labels
        if isinstance(self.annotator, str):
            counts = [len(np.unique(labels)) for labels in annotations]
            return annotations[int(np.argmax(counts) if self.annotator == "finest" else np.argmin(counts))]
        if self.annotator >= len(annotations):
            raise UserError(
                f"{path}: {len(annotations)} annotators, number {self.annotator} (from 0) is asked for"
            )
        return annotations[self.annotator]

    def describe(self) -> dict[str, Any]:
        return {"kind": "human", "annotator": self.annotator}


@dataclass(frozen=True)
class Imported:
    """Masks from files: COCO run lengths, one `<image>.json` an image, as segment-anything's amg.py and the
    authors' released masks have them (masks/rle.py).

    Attributes:
        folder: of the JSON files.
        digest: SHA-256 over their names and contents.
    """

    folder: str
    digest: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        files = sorted(Path(self.folder).glob("*.json"))
        if not files:
            raise UserError(f"{self.folder}: no .json file in it; put the masks there, one file an image")
        object.__setattr__(self, "digest", sha256_json({path.stem: sha256_file(path) for path in files}))

    def __call__(self, image: np.ndarray, name: str) -> Regions:
        from samdiffsr.masks.rle import read_rle

        path = Path(self.folder) / f"{name}.json"
        if not path.is_file():
            raise UserError(f"image {name!r}: {path} is missing; an image without masks has a file with []")
        regions = read_rle(path, empty=image.shape[:2])
        if regions.shape == image.shape[:2]:
            return regions
        _check_crop(regions.shape, image.shape[:2], path)
        return regions.crop(*image.shape[:2])

    def describe(self) -> dict[str, Any]:
        return {"kind": "imported", "files": self.digest}


SEGMENTERS: dict[str, type] = {
    "felzenszwalb": Felzenszwalb,
    "ucm": Ucm,
    "human": Human,
    "imported": Imported,
}
# kind -> module and class
LEARNED = {
    "sam": ("samdiffsr.masks.segmenters.sam", "Sam"),
    "mobile_sam": ("samdiffsr.masks.segmenters.mobile_sam", "MobileSam"),
}
KINDS = (*SEGMENTERS, *LEARNED)


def segmenter_module(kind: str) -> str:
    """The module whose code finds the masks of this kind."""
    return LEARNED[kind][0] if kind in LEARNED else __name__


def _learned(module: str, name: str) -> type:
    return getattr(importlib.import_module(module), name)


def check_number(
    what: str,
    value: Any,
    least: float,
    *,
    most: float = float("inf"),
    whole: bool = False,
    exclusive: bool = False,
) -> None:
    """UserError unless `value` is a finite number in [least, most], or in (least, most] if `exclusive`."""
    kinds = (int,) if whole else (int, float)
    good = isinstance(value, kinds) and not isinstance(value, bool) and least <= value <= most
    if not good or value == float("inf") or (exclusive and value == least):
        number = "a whole number" if whole else "a number"
        limit = "" if most == float("inf") else f" and <= {most}"
        raise UserError(f"{what} {value!r}: must be {number} {'>' if exclusive else '>='} {least}{limit}")


def _mat_files(root: str, folder: str) -> dict[str, Path]:
    """Image id -> .mat file, in the splits of the one folder of that name under `root`."""
    for depth in range(4):
        for found in sorted(Path(root).glob("/".join(["*"] * depth + [folder]))):
            files = {path.stem: path for path in sorted(found.glob("*/*.mat"))}
            if files:
                return files
    raise UserError(f"{root}: no folder {folder!r} with BSDS500's .mat files in it; fetch the data set first")


def _file_of(files: dict[str, Path], name: str, where: str) -> Path:
    found = files.get(name) or files.get(Path(name).stem)
    if found is None:
        raise UserError(f"image {name!r}: no .mat file of that name in {where}; only BSDS500 images have one")
    return found


def _load_mat(path: Path, key: str) -> np.ndarray:
    from scipy.io import loadmat

    try:
        return loadmat(path)[key]
    except Exception as error:  # scipy raises many kinds for a damaged file
        raise UserError(f"{path}: not readable as BSDS500's {key} ({error}); fetch it again") from None


def _fit(labels: np.ndarray, shape: tuple[int, int], path: Path) -> np.ndarray:
    """The labels' part under an image of `shape` that was cropped top left."""
    _check_crop(labels.shape, shape, path)
    return labels[: shape[0], : shape[1]]


def _check_crop(found: tuple[int, int], shape: tuple[int, int], path: Path) -> None:
    if not all(0 <= a - b < MAX_CROP for a, b in zip(found, shape, strict=True)):
        raise UserError(
            f"{path}: segments {found[0]} x {found[1]} pixels, the image has {shape[0]} x {shape[1]}"
        )
