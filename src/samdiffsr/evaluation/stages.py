"""The score stage: SR images against their truth, one CSV row an image and metric."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from samdiffsr.core.errors import UserError
from samdiffsr.core.files import read_json, sha256_file, write_csv
from samdiffsr.data.images import read_rgb
from samdiffsr.data.resize import upscale
from samdiffsr.data.store import Store
from samdiffsr.evaluation.image import ImageMetrics, mse_rgb, score_image
from samdiffsr.evaluation.protocol import Protocol

COLUMNS = ("run", "weights", "dataset", "image", "metric", "value", "why_empty", "protocol")


def score(
    run: str,
    dataset: str,
    manifests: list[Path],
    hr: Path,
    lr: Path,
    out: Path,
    recipe: dict[str, Any],
    weights: Path | None = None,
    say: Callable[[str], None] = print,
    device: str = "cpu",
) -> None:
    """Score the SR images of one run on one data set into the CSV `out` (columns: COLUMNS).

    Args:
        manifests: what the sample stage wrote, one for each kind of network weights; `X.json` belongs to the
            images `X/<name>.png`.
        hr, lr: stores of the data set. recipe: Config.score_recipe.
        weights: folder of the metrics' networks; device: where those run.

    An image that is gone since it was made gets an empty value and the reason, and a warning line; so does a
    metric without its weights unless `missing_weights` is "fail".

    Raises:
        UserError: an image was changed or has the wrong size; weights are missing; the images as a whole are
            more than `stop_below_bicubic` dB worse than bicubic (a network that was not trained gives that).
    """
    protocol = Protocol.for_scale(recipe["scale"], recipe["border"])
    hr_store, lr_store = Store(hr), Store(lr)
    metrics, reasons = ImageMetrics.available(recipe["metrics"], weights, device)
    for metric, reason in reasons.items():
        if recipe["missing_weights"] == "fail":
            raise UserError(reason)
        say(f"warning: {metric} is left out: {reason}")
    rows: list[dict[str, Any]] = []
    for manifest in manifests:
        listed = read_json(manifest)
        made = {image["name"]: image["sha256"] for image in listed["images"]}
        below: list[float] = []
        for name in lr_store.names:
            path = manifest.with_suffix("") / f"{name}.png"
            why, values = dict(reasons), {}
            if name not in made or not path.exists():
                why = dict.fromkeys(recipe["metrics"], f"no image {path}")
                say(f"warning: {path} is missing; it is left out")
            elif sha256_file(path) != made[name]:
                raise UserError(
                    f"{path}: is not the file that was sampled (its hash differs); delete it and {manifest}"
                )
            else:
                truth = hr_store[hr_store.index(name)], lr_store[lr_store.index(name)]
                try:
                    sr = read_rgb(path)
                    values = score_image(sr, *truth, recipe["scale"], protocol, metrics, recipe["rounding"])
                except UserError as error:
                    raise UserError(f"{path}: {error}") from None
                below.append(_below_bicubic(sr, *truth, recipe["scale"], protocol))
            for metric in recipe["metrics"]:
                value = values.get(metric)
                if value is not None and math.isnan(value):  # artifact_excess of a perfect image
                    value, why[metric] = None, "undefined for identical images"
                rows.append(
                    {
                        "run": run,
                        "weights": listed["recipe"]["weights"],
                        "dataset": dataset,
                        "image": name,
                        "metric": metric,
                        "value": "" if value is None else f"{value:.6f}",
                        "why_empty": why.get(metric, "") if value is None else "",
                        "protocol": protocol.name,
                    }
                )
        limit = recipe["stop_below_bicubic"]
        if limit is not None and below and (mean := sum(below) / len(below)) > limit:
            raise UserError(
                f"{manifest}: on the mean {mean:.1f} dB (PSNR) below bicubic, as of a network that was not "
                f"trained or broke; look at {path.parent} and the training curve "
                f"(or raise stop_below_bicubic: {limit:g})"
            )
    write_csv(out, COLUMNS, rows)


def _below_bicubic(sr: np.ndarray, hr: np.ndarray, lr: np.ndarray, scale: int, protocol: Protocol) -> float:
    """By how many dB (PSNR over RGB) an image is worse than bicubic; never negative infinity."""
    sr, hr = protocol.align(sr, hr)
    errors = [mse_rgb(image, hr) + 1e-8 for image in (sr, upscale(lr, scale))]
    return 10 * math.log10(errors[0] / errors[1])
