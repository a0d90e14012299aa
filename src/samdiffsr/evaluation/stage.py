"""The score stage: SR images against their truth, one CSV row an image and metric."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from samdiffsr.data.images import read_rgb
from samdiffsr.data.store import Store
from samdiffsr.errors import UserError
from samdiffsr.evaluation.image_metrics import ImageMetrics, score_image
from samdiffsr.evaluation.protocol import Protocol
from samdiffsr.files import atomic_path, read_json, sha256_file

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
) -> None:
    """Score the SR images of one run on one data set into the CSV `out` (columns: COLUMNS).

    Args:
        manifests: what the sample stage wrote, one for each kind of network weights; `X.json` belongs to the
            images `X/<name>.png`.
        hr, lr: stores of the data set. recipe: {scale, border, metrics, rounding}.
        weights: folder of the metrics' networks.

    An image that is gone since it was made gets an empty value and the reason, and a warning line. One that
    was changed or has the wrong size is an error.
    """
    protocol = Protocol.for_scale(recipe["scale"], recipe["border"])
    hr_store, lr_store = Store(hr), Store(lr)
    metrics, reasons = ImageMetrics.available(recipe["metrics"], weights)
    for metric, reason in reasons.items():
        say(f"warning: {metric} is left out: {reason}")
    rows: list[dict[str, Any]] = []
    for manifest in manifests:
        listed = read_json(manifest)
        made = {image["name"]: image["sha256"] for image in listed["images"]}
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
                    values = score_image(
                        read_rgb(path), *truth, recipe["scale"], protocol, metrics, recipe["rounding"]
                    )
                except UserError as error:
                    raise UserError(f"{path}: {error}") from None
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
    write_csv(out, COLUMNS, rows)


def write_csv(path: Path, columns: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
    """Write rows as CSV with Unix line ends, atomically."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with atomic_path(path) as part:
        part.write_text(text.getvalue(), encoding="utf-8")
