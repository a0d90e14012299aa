"""Noise or structure? The squared error of K images drawn of one LR image, split into two parts.

PSNR rewards an image with less left-over noise. With x_k the K images, m their mean, y the truth and
s^2 = sum |x_k - m|^2 / (K - 1) their unbiased variance, each a mean over pixels,

    mean_k |x_k - y|^2  =  (|m - y|^2 - s^2 / K)  +  s^2,

exactly. Both parts are unbiased: s^2 for the variance of a sample, the first for the squared error of the
mean of infinitely many (|m - y|^2 alone holds s^2 / K of noise that more samples would take away). All is in
the luma of PSNR-Y, so that the left side is what PSNR-Y of one image measures.

Each metric of samples in the registry (`evaluation.metrics`) is a function here of a `Drawn`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from samdiffsr.core.errors import UserError
from samdiffsr.core.files import write_csv
from samdiffsr.data.store import Store
from samdiffsr.evaluation import artifact as ldl
from samdiffsr.evaluation.image import mse_rgb
from samdiffsr.evaluation.metrics import METRICS
from samdiffsr.evaluation.protocol import Protocol
from samdiffsr.evaluation.recipe import SamplesRecipe
from samdiffsr.evaluation.scores import IMAGE_COLUMNS, NO_TRUTH, image_row
from samdiffsr.sampling.recipe import DenoiserRecipe
from samdiffsr.sampling.sample_set import SampleSet

log = logging.getLogger(__name__)

LUMA = np.array([65.481, 128.553, 24.966]) / 255  # BT.601, 16..235; the offset cancels in errors


class Split(NamedTuple):
    """sample_error = mean_error + variance; see the module's header."""

    sample_error: float
    mean_error: float
    variance: float


def split(samples: np.ndarray, truth: np.ndarray) -> Split:
    """The squared error of samples, split.

    Args:
        samples: (K, ...) float, K at least 2. truth: (...) float of the shape of one.

    Returns values in the square of their unit. `mean_error` estimates something that is 0 or more, and can be
    negative by chance. Raises ValueError for one sample, or shapes that differ.
    """
    if len(samples) < 2 or samples.shape[1:] != truth.shape:
        raise ValueError(f"samples {samples.shape} of a truth {truth.shape}: need two or more of its shape")
    mean = samples.mean(axis=0)
    variance = float(np.square(samples - mean).sum(axis=0).mean()) / (len(samples) - 1)
    sample_error = float(np.square(samples - truth).mean())
    return Split(sample_error, float(np.square(mean - truth).mean()) - variance / len(samples), variance)


@dataclass(frozen=True)
class Drawn:
    """What was drawn of one LR image: samples, uint8 (H, W, 3) each; hr, the truth, of equal shape."""

    samples: tuple[np.ndarray, ...]
    hr: np.ndarray
    protocol: Protocol

    @cached_property
    def luma(self) -> Split:
        """The split of PSNR-Y's error, in squared grey levels (0..255), inside the protocol's border."""
        return split(*self._inner)

    @cached_property
    def psnr(self) -> list[float]:
        """PSNR-Y of each sample in dB, infinite for a perfect one."""
        samples, truth = self._inner
        return [_decibels(float(np.square(sample - truth).mean())) for sample in samples]

    @cached_property
    def _inner(self) -> tuple[np.ndarray, np.ndarray]:
        """Luma of the samples, (K, h, w), and of the truth, inside the protocol's border."""
        pairs = [self.protocol.inside(sample, self.hr) for sample in self.samples]
        return np.stack([sample @ LUMA for sample, _ in pairs]), pairs[0][1] @ LUMA


# ---- the metrics ----


def sample_error(drawn: Drawn) -> float:
    """Squared error of one sample: what PSNR-Y measures."""
    return drawn.luma.sample_error


def mean_error(drawn: Drawn) -> float:
    """Squared error of the mean of infinitely many samples, unbiased; it can be below 0 by chance."""
    return drawn.luma.mean_error


def sample_variance(drawn: Drawn) -> float:
    """Variance of a sample: error that the mean of many does not have."""
    return drawn.luma.variance


def mean_psnr(drawn: Drawn) -> float:
    """PSNR-Y that belongs to `mean_error`, in dB; NaN where that is not positive."""
    error = drawn.luma.mean_error
    return _decibels(error) if error > 0 else math.nan


def sample_psnr_sd(drawn: Drawn) -> float:
    """Standard deviation of an image's PSNR-Y over sampling seeds, in dB; NaN if a sample is perfect."""
    return float(np.std(drawn.psnr, ddof=1)) if np.isfinite(drawn.psnr).all() else math.nan


def sample_excess(drawn: Drawn) -> float:
    """Artifact excess of one sample, the mean over all."""
    return float(np.mean([_excess(sample, drawn.hr) for sample in drawn.samples]))


def mean_excess(drawn: Drawn) -> float:
    """Artifact excess of the mean image, rounded; 1/K of the samples' noise is still in it."""
    mean = np.mean(drawn.samples, axis=0).round().astype(np.uint8)
    return _excess(mean, drawn.hr)


def _excess(sr: np.ndarray, hr: np.ndarray) -> float:
    return ldl.artifact_excess(ldl.artifact_score(sr, hr), mse_rgb(sr, hr))


def _decibels(error: float) -> float:
    return 10 * math.log10(255**2 / error) if error else math.inf


# ---- the stage ----


def score_samples(
    run: str, dataset: str, manifests: Sequence[Path], hr: Path, out: Path, recipe: SamplesRecipe
) -> None:
    """Score the samples of one run on one data set by metrics of samples, into the CSV `out` (IMAGE_COLUMNS).

    Args:
        manifests: what the sample stage wrote, one for each sampling seed, all of one kind of weights.
        hr: store of the data set.

    An image that lacks a sample gets empty values and the reason, and a warning line.

    Raises:
        UserError: manifests that differ in more than their sampling seed, or agree in it; an image that was
            changed or has the wrong size.
    """
    sets = [SampleSet.open(manifest) for manifest in manifests]
    _only_the_sampling_seed_differs(sets)
    protocol, store = Protocol.for_scale(recipe.scale, recipe.border), Store(hr)
    rows: list[dict[str, Any]] = []
    for name in store.names or sets[0].hashes:
        values, why = {}, "undefined for these images"
        samples = [sr for made in sets if (sr := made.read(name)) is not None]
        if name not in store.names:
            why = NO_TRUTH
        elif len(samples) < len(sets):
            why = f"{len(samples)} of {len(sets)} samples are here"
            log.warning(f"{dataset}/{name}: {why}; it is left out")
        else:
            truth = np.asarray(store[store.index(name)])
            try:
                pairs = [protocol.align(sr, truth) for sr in samples]
            except UserError as error:
                raise UserError(f"{sets[0].path(name)}: {error}") from None
            drawn = Drawn(tuple(sr for sr, _ in pairs), pairs[0][1], protocol)
            found = {metric: METRICS[metric].function(drawn) for metric in recipe.metrics}
            values = {metric: value for metric, value in found.items() if math.isfinite(value)}
        for metric in recipe.metrics:
            rows.append(
                image_row(
                    run=run,
                    weights=sets[0].recipe.weights,
                    dataset=dataset,
                    image=name,
                    metric=metric,
                    value=values.get(metric),
                    why_empty=why,
                    protocol=f"{protocol.name}, {len(sets)} samples",
                )
            )
    write_csv(out, IMAGE_COLUMNS, rows)


def _only_the_sampling_seed_differs(sets: Sequence[SampleSet]) -> None:
    drawn = [made.recipe for made in sets if isinstance(made.recipe, DenoiserRecipe)]
    if len({recipe.sample for recipe in drawn}) < max(2, len(sets)):
        raise UserError(
            f"{sets[0].manifest}: a variance takes two samples or more of a denoiser, with different seeds"
        )
    for made, recipe in zip(sets, drawn, strict=True):
        if recipe.but(sample=drawn[0].sample) != drawn[0] or made.models != sets[0].models:
            raise UserError(
                f"{made.manifest}: its settings or models differ from {sets[0].manifest}; sample both again"
            )
