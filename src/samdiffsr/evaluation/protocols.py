"""The stage that scores the same images under several protocols: what share of a gap is protocol?

The format is that of `evaluation.stage`, with "<data set>/<protocol>" as data set.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from samdiffsr.core.errors import UserError
from samdiffsr.core.files import read_json, sha256_file, write_csv
from samdiffsr.data.images import read_rgb
from samdiffsr.data.store import Store
from samdiffsr.evaluation.image import ImageMetrics
from samdiffsr.evaluation.protocol import Protocol
from samdiffsr.evaluation.stages import COLUMNS

METRICS = ("psnr_y", "ssim_y")
# name -> what it is, in a table's heading
PROTOCOLS = {
    "authors": "as the authors' script",
    "border": "without a border of the scale factor",
    "mod8": "cropped to multiples of 8",
    "yiq": "pyiqa's own Y",
    "stretch": "SR stretched to the uncropped truth",
}


def lay(name: str, sr: np.ndarray, hr: np.ndarray, scale: int) -> tuple[np.ndarray, np.ndarray, Protocol]:
    """The pair that a protocol compares, and the protocol that compares it.

    Args:
        name: a key of PROTOCOLS. sr: uint8 (H, W, 3). hr: uint8, uncropped truth.

    "border" is the older literature's, "mod8" has an effect at x2 only, "yiq" is full-range luma, 1.32 dB
    lower for the same images; "stretch" enlarges SR by LANCZOS to the truth's size where the two differ, as
    the authors' script does with images made from a cropped truth.
    Raises UserError where the sizes do not belong together.
    """
    plain = Protocol.for_scale(scale)
    sr, cropped = plain.align(sr, hr)
    if name == "border":
        return sr, cropped, Protocol.for_scale(scale, border=scale)
    if name == "mod8":
        height, width = (n - n % 8 for n in sr.shape[:2])
        return sr[:height, :width], cropped[:height, :width], Protocol(multiple=8)
    if name == "yiq":
        return sr, cropped, Protocol(multiple=2 * scale, color="yiq")
    if name == "stretch":
        if sr.shape != hr.shape:
            from PIL import Image

            size = (hr.shape[1], hr.shape[0])
            sr = np.asarray(Image.fromarray(sr).resize(size, Image.Resampling.LANCZOS))
        return sr, hr, Protocol(multiple=1)
    return sr, cropped, plain


def score_protocols(
    run: str,
    dataset: str,
    manifests: list[Path],
    hr: Path,
    out: Path,
    recipe: dict[str, Any],
    say: Callable[[str], None] = print,
) -> None:
    """PSNR-Y and SSIM-Y of one run's SR images on one data set under each protocol, into the CSV `out`.

    Args:
        manifests: what the sample stage wrote. hr: store of the data set.
        recipe: {scale, protocols}; protocols are keys of PROTOCOLS.
    """
    store, metrics = Store(hr), ImageMetrics(METRICS)
    rows: list[dict[str, Any]] = []
    for manifest in manifests:
        listed = read_json(manifest)
        for image in listed["images"]:
            path = manifest.with_suffix("") / f"{image['name']}.png"
            if not path.exists():
                say(f"warning: {path} is missing; it is left out")
                continue
            if sha256_file(path) != image["sha256"]:
                raise UserError(
                    f"{path}: is not the file that was sampled (its hash differs); delete it and {manifest}"
                )
            truth = np.asarray(store[store.index(image["name"])])
            for name in recipe["protocols"]:
                try:
                    sr, ours, protocol = lay(name, read_rgb(path), truth, recipe["scale"])
                    pair = protocol.prepare(np.ascontiguousarray(sr), np.ascontiguousarray(ours))
                except UserError as error:
                    raise UserError(f"{path}: {error}") from None
                text = protocol.name if name != "stretch" else f"{protocol.name}, SR stretched"
                rows += [
                    {
                        "run": run,
                        "weights": listed["recipe"]["weights"],
                        "dataset": f"{dataset}/{name}",
                        "image": image["name"],
                        "metric": metric,
                        "value": f"{metrics.measure(metric, *pair, color=protocol.color):.6f}",
                        "why_empty": "",
                        "protocol": text,
                    }
                    for metric in METRICS
                ]
    write_csv(out, COLUMNS, rows)
