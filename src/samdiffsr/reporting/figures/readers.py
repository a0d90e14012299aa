"""What figures of images read: restored images, and the truth that belongs to them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from samdiffsr.core.errors import UserError
from samdiffsr.data.store import Store
from samdiffsr.evaluation.protocol import Protocol
from samdiffsr.masks.features import LUMA
from samdiffsr.reporting.figures.recipe import FigureRow, OfRuns
from samdiffsr.sampling.sample_set import SampleSet


class Samples:
    """Restored images of several methods, laid on their truth by the paper's protocol.

    Args:
        recipe: rows (label, runs, weights), scale. Of each row the first run's headline weights are shown.
        manifests: .../<run>/<weights>/<data set>.json of the sample stage.
        stores: indices (.json) of the HR stores, .../<data set>/hr.json.
    """

    def __init__(self, recipe: OfRuns, manifests: Iterable[Path], stores: Iterable[Path]) -> None:
        self.rows = recipe.rows
        self._protocol = Protocol.for_scale(recipe.scale)
        self._truth = {path.parent.name: Store(path.with_suffix("")) for path in stores}
        self._made = {
            (path.parent.parent.name, path.parent.name, path.stem): SampleSet.open(path) for path in manifests
        }

    def names(self, dataset: str) -> tuple[str, ...]:
        """The data set's images; of one without truth, those that some method has restored."""
        made = (name for (*_, of), samples in self._made.items() if of == dataset for name in samples.hashes)
        return self._truth[dataset].names or tuple(dict.fromkeys(made))

    def known(self, dataset: str) -> bool:
        """Whether the truth of a data set's images is known."""
        return bool(self._truth[dataset].names)

    def truth(self, dataset: str, name: str) -> np.ndarray:
        """HR, uint8 (H, W, 3), cropped to the protocol's multiple."""
        truth = self._truth[dataset]
        return self._protocol.crop(truth[truth.index(name)])

    def restored(self, row: FigureRow, dataset: str, name: str) -> np.ndarray | None:
        """One method's image, of the truth's size; None if it was not made. UserError if it was changed."""
        made = self._made.get((row.runs[0], row.weights[0], dataset))
        if made is None or (image := made.read(name)) is None:
            return None
        if not self.known(dataset):
            return image
        try:
            return self._protocol.align(image, self.truth(dataset, name))[0]
        except UserError as error:
            raise UserError(f"{made.path(name)}: {error}") from None


def psnr_y(sr: np.ndarray, hr: np.ndarray) -> float:
    """PSNR-Y as the tables have it, of two crops; uint8 (h, w, 3)."""
    from samdiffsr.evaluation.image import ImageMetrics, Pair

    return ImageMetrics(["psnr_y"]).measure("psnr_y", Pair(sr, hr, Protocol()))


def luma(image: np.ndarray) -> np.ndarray:
    """Y of BT.601, (H, W) float64 in 0..255, for choosing crops."""
    return image @ LUMA
