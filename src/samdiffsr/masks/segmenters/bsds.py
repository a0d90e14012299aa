"""Segmentations that come with BSDS500: its published contour hierarchy and its annotators'."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from samdiffsr.core.errors import UserError
from samdiffsr.masks.regions import Regions, check_crop
from samdiffsr.masks.segmenters import registry


class Ucm:
    """The gPb-UCM contour hierarchy cut at a threshold. A partition."""

    def __init__(self, settings: registry.Ucm, places: registry.Places) -> None:
        self.settings = settings
        self.files = MatFiles(places.root, "ucm2")

    def __call__(self, image: np.ndarray, name: str) -> Regions:
        from scipy import ndimage

        path = self.files.path(name)
        ucm2 = self.files.load(path)
        labels, _ = ndimage.label(ucm2 <= self.settings.threshold)
        # in the doubled grid (2H+1, 2W+1) pixels sit at odd indices, contours at the others
        return Regions.from_partition(_fit(labels[1::2, 1::2], image.shape[:2], path))

    def describe(self) -> dict[str, Any]:
        return dict(self.settings)


class Human:
    """One annotator's segmentation, or all their borders at once. A partition."""

    def __init__(self, settings: registry.Human, places: registry.Places) -> None:
        self.settings = settings
        self.annotations = Annotations(places.root)

    def __call__(self, image: np.ndarray, name: str) -> Regions:
        annotations = self.annotations(name, image.shape[:2])
        return Regions.from_partition(self._choose(annotations, name))

    def _choose(self, annotations: list[np.ndarray], name: str) -> np.ndarray:
        annotator = self.settings.annotator
        if annotator == "intersection":
            labels = annotations[0]
            for other in annotations[1:]:
                _, labels = np.unique(labels * (other.max() + 1) + other, return_inverse=True)
                labels = labels.reshape(other.shape) + 1
            return labels
        if isinstance(annotator, str):
            counts = [len(np.unique(labels)) for labels in annotations]
            return annotations[int(np.argmax(counts) if annotator == "finest" else np.argmin(counts))]
        if annotator >= len(annotations):
            raise UserError(
                f"{self.annotations.files.path(name)}: {len(annotations)} annotators, number {annotator} "
                "(from 0) is asked for"
            )
        return annotations[annotator]

    def describe(self) -> dict[str, Any]:
        return dict(self.settings)


class Annotations:
    """All annotators' segmentations of BSDS500's images.

    Args:
        root: a folder that holds BSDS500's `groundTruth` folder, at most three levels down.
    """

    def __init__(self, root: Path | None) -> None:
        self.files = MatFiles(root, "groundTruth")

    def __call__(self, name: str, shape: tuple[int, int]) -> list[np.ndarray]:
        """Those of an image of `shape`, (H, W) int64 each, labels from 1."""
        path = self.files.path(name)
        truth = self.files.load(path)
        labels = (truth[0, i]["Segmentation"][0, 0].astype(np.int64) for i in range(truth.shape[1]))
        return [_fit(each, shape, path) for each in labels]


class MatFiles:
    """BSDS500's .mat files of one kind (`ucm2`, `groundTruth`), in all its splits.

    Raises:
        UserError: no such folder under `root`.
    """

    def __init__(self, root: Path | None, kind: str) -> None:
        if root is None:
            raise UserError(f"{kind}: say with --root where BSDS500 is")
        self.root, self.kind = root, kind
        self._files = self._find()

    def _find(self) -> dict[str, Path]:
        for depth in range(4):
            for found in sorted(self.root.glob("/".join(["*"] * depth + [self.kind]))):
                files = {path.stem: path for path in sorted(found.glob("*/*.mat"))}
                if files:
                    return files
        raise UserError(
            f"{self.root}: no folder {self.kind!r} with BSDS500's .mat files in it; fetch the data set first"
        )

    def path(self, name: str) -> Path:
        """The file of an image; UserError if there is none."""
        found = self._files.get(name) or self._files.get(Path(name).stem)
        if found is None:
            raise UserError(
                f"image {name!r}: no .mat file of that name in {self.kind} under {self.root}; "
                "only BSDS500 images have one"
            )
        return found

    def load(self, path: Path) -> np.ndarray:
        """What a file holds; UserError if it is damaged."""
        from scipy.io import loadmat

        try:
            return loadmat(path)[self.kind]
        except Exception as error:  # scipy raises many kinds for a damaged file
            raise UserError(
                f"{path}: not readable as BSDS500's {self.kind} ({error}); fetch it again"
            ) from None


def _fit(labels: np.ndarray, shape: tuple[int, int], path: Path) -> np.ndarray:
    """The labels' part under an image of `shape` that was cropped top left."""
    check_crop(labels.shape, shape, path)
    return labels[: shape[0], : shape[1]]
