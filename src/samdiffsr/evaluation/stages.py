"""The stages that score images one by one: SR against truth, a CSV row an image and metric."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np

from samdiffsr.core.errors import UserError
from samdiffsr.core.files import write_csv
from samdiffsr.data.resize import upscale
from samdiffsr.data.store import Store
from samdiffsr.evaluation.image import ImageMetrics, Pair, mse_rgb, score_image, unfit
from samdiffsr.evaluation.protocol import PROTOCOL_METRICS, PROTOCOLS, Protocol, lay
from samdiffsr.evaluation.recipe import ProtocolRecipe, ScoreRecipe
from samdiffsr.evaluation.scores import IMAGE_COLUMNS, NO_TRUTH, image_row
from samdiffsr.sampling.sample_set import SampleSet

log = logging.getLogger(__name__)


def score(
    run: str,
    dataset: str,
    manifests: list[Path],
    hr: Path,
    lr: Path,
    out: Path,
    recipe: ScoreRecipe,
    weights: Path | None = None,
    device: str = "cpu",
) -> None:
    """Score the SR images of one run on one data set into the CSV `out` (columns: IMAGE_COLUMNS).

    Args:
        manifests: what the sample stage wrote, one for each kind of network weights.
        hr, lr: stores of the data set.
        weights: folder of the metrics' networks; device: where those run.

    An image that is gone since it was made gets an empty value and the reason, and a warning line; so does a
    metric without its weights unless `missing_weights` is "fail".

    Raises:
        UserError: an image was changed or has the wrong size; weights are missing; the images as a whole are
            more than `stop_below_bicubic` dB worse than bicubic (a network that was not trained gives that).
    """
    scale = recipe.scale
    protocol = Protocol.for_scale(scale, recipe.border)
    hr_store, lr_store = Store(hr), Store(lr)
    metrics, reasons = ImageMetrics.available(recipe.metrics, weights, device)
    bicubic = lr_store.meta.get("made") is None  # else another degradation's, or given
    for metric, reason in reasons.items():
        if recipe.missing_weights == "fail":
            raise UserError(reason)
        log.warning(f"{metric} is left out: {reason}")
    rows: list[dict[str, Any]] = []
    for manifest in manifests:
        samples = SampleSet.open(manifest)
        below: list[float] = []
        for name in lr_store.names:
            path = samples.path(name)
            hr_image = hr_store[hr_store.index(name)] if name in hr_store.names else None
            why, values = {**reasons, **unfit(recipe.metrics, hr_image is not None, bicubic)}, {}
            sr = samples.read(name)
            if sr is None:
                why = dict.fromkeys(recipe.metrics, f"no image {path}")
                log.warning(f"{path} is missing; it is left out")
            else:
                truth = hr_image, lr_store[lr_store.index(name)]
                try:
                    values = score_image(
                        sr, *truth, scale, protocol, metrics, recipe.rounding if bicubic else None
                    )
                except UserError as error:
                    raise UserError(f"{path}: {error}") from None
                if hr_image is not None:
                    below.append(_below_bicubic(sr, hr_image, truth[1], scale, protocol))
            for metric in recipe.metrics:
                value = values.get(metric)
                if value is not None and math.isnan(value):  # artifact_excess of a perfect image
                    value, why[metric] = None, "undefined for identical images"
                rows.append(
                    image_row(
                        run=run,
                        weights=samples.recipe.weights,
                        dataset=dataset,
                        image=name,
                        metric=metric,
                        value=value,
                        why_empty=why.get(metric, ""),
                        protocol=protocol.name if hr_image is not None else "",
                    )
                )
        limit = recipe.stop_below_bicubic
        if limit is not None and below and (mean := sum(below) / len(below)) > limit:
            raise UserError(
                f"{manifest}: on the mean {mean:.1f} dB (PSNR) below bicubic, as of a network that was not "
                f"trained or broke; look at {path.parent} and the training curve "
                f"(or raise stop_below_bicubic: {limit:g})"
            )
    write_csv(out, IMAGE_COLUMNS, rows)


def _below_bicubic(sr: np.ndarray, hr: np.ndarray, lr: np.ndarray, scale: int, protocol: Protocol) -> float:
    """By how many dB (PSNR over RGB) an image is worse than bicubic; never negative infinity."""
    sr, hr = protocol.align(sr, hr)
    errors = [mse_rgb(image, hr) + 1e-8 for image in (sr, upscale(lr, scale))]
    return 10 * math.log10(errors[0] / errors[1])


def score_protocols(
    run: str,
    dataset: str,
    manifests: list[Path],
    hr: Path,
    out: Path,
    recipe: ProtocolRecipe,
) -> None:
    """PSNR-Y and SSIM-Y of one run's SR images on one data set under each protocol, into the CSV `out`.

    The data set is called "<data set>/<protocol>" there: what share of a gap is protocol?

    Args:
        manifests: what the sample stage wrote. hr: store of the data set.
    """
    store, metrics = Store(hr), ImageMetrics(PROTOCOL_METRICS)
    rows: list[dict[str, Any]] = []
    for manifest in manifests:
        samples = SampleSet.open(manifest)
        for image in dict.fromkeys([*store.names, *samples.hashes]):
            path, sr = samples.path(image), samples.read(image)
            if sr is None:
                log.warning(f"{path} is missing; it is left out")
            truth = np.asarray(store[store.index(image)]) if image in store.names else None
            for name in recipe.protocols:
                values: dict[str, float | None] = dict.fromkeys(PROTOCOL_METRICS)
                words = ""
                try:
                    if sr is not None and truth is not None:
                        *images, protocol = lay(name, sr, truth, recipe.scale)
                        pair = Pair(*protocol.align(*images), protocol)
                        values |= {metric: metrics.measure(metric, pair) for metric in PROTOCOL_METRICS}
                        words = protocol.name + PROTOCOLS[name].note
                except UserError as error:
                    raise UserError(f"{path}: {error}") from None
                rows += [
                    image_row(
                        run=run,
                        weights=samples.recipe.weights,
                        dataset=f"{dataset}/{name}",
                        image=image,
                        metric=metric,
                        value=value,
                        why_empty=f"no image {path}" if sr is None else NO_TRUTH,
                        protocol=words,
                    )
                    for metric, value in values.items()
                ]
    write_csv(out, IMAGE_COLUMNS, rows)
