"""The stage that scores a run's images as a set: FID and KID, one CSV row a metric and kind of weights.

What belongs to no single image, here and in `evaluation.cost`, is written in one format (COLUMNS). Inception
features are kept in a folder beside, named by what they were made of, so that the truth's are made once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from samdiffsr.core.errors import UserError
from samdiffsr.core.files import read_json, sha256_file, sha256_json, write_csv
from samdiffsr.data.images import read_rgb
from samdiffsr.data.store import Store
from samdiffsr.data.weights import MissingWeights, verify
from samdiffsr.evaluation.protocol import Protocol
from samdiffsr.evaluation.set import (
    Features,
    Inception,
    Network,
    features,
    fid,
    kid,
    load_features,
    save_features,
)

COLUMNS = ("run", "weights", "dataset", "metric", "value", "sd", "n", "why_empty", "protocol")

# metric -> (what brings an image to Inception's size, distance)
METRICS: dict[str, tuple[str, str]] = {
    "fid_clean": ("clean", "fid"),
    "fid_tf": ("tf", "fid"),
    "fid_patch299": ("patch299", "fid"),
    "kid_clean": ("clean", "kid"),
}
WEIGHTS = ("inception",)  # keys of data/sources/weights.yaml


def score_sets(
    run: str,
    dataset: str,
    manifests: list[Path],
    hr: Path,
    out: Path,
    recipe: dict[str, Any],
    cache: Path,
    weights: Path,
    network: Network | None = None,
    device: str = "cpu",
    say: Callable[[str], None] = print,
) -> None:
    """FID and KID of the SR images of one run on one data set against their truth, into the CSV `out`.

    Args:
        manifests: what the sample stage wrote, one for each kind of network weights.
        hr: store of the data set, cropped to the protocol's multiple here as for the image metrics.
        recipe: {scale, metrics, missing_weights}; metrics are keys of METRICS.
        cache: folder for features. weights: folder with Inception's file.
        network: instead of that file (tests).

    Without the file every value is empty and says why, with a warning line, or it is an error if
    `missing_weights` is "fail". Values of sets of different images are not comparable, so the truth of an
    image that is missing is left out too, and `n` says how many images there were.
    """
    protocol = Protocol.for_scale(recipe["scale"])
    why = ""
    if network is None:
        try:
            verify("inception", weights)  # before torch is imported for nothing
            network = Inception(weights, device)
        except MissingWeights as error:
            if recipe["missing_weights"] == "fail":
                raise
            why = str(error)
            say(f"warning: {', '.join(recipe['metrics'])} left out: {why}")
    store = Store(hr)
    rows = []
    for manifest in manifests:
        listed = read_json(manifest)
        images = {x["name"]: x["sha256"] for x in listed["images"]}
        paths = {name: manifest.with_suffix("") / f"{name}.png" for name in store.names}
        present = [name for name in store.names if name in images and paths[name].exists()]
        for name in present:
            if sha256_file(paths[name]) != images[name]:
                raise UserError(
                    f"{paths[name]}: is not the file that was sampled (its hash differs); "
                    f"delete it and {manifest}"
                )
        for metric in recipe["metrics"]:
            extractor, distance = METRICS[metric]
            value, sd, reason = "", "", why
            if network is not None:
                try:
                    value, sd = _distance(
                        store, paths, images, present, extractor, distance, network, cache, protocol
                    )
                except _Empty as error:
                    reason = str(error)
            rows.append(
                {
                    "run": run,
                    "weights": listed["recipe"]["weights"],
                    "dataset": dataset,
                    "metric": metric,
                    "value": value,
                    "sd": sd,
                    "n": len(present) if network is not None else 0,
                    "why_empty": reason,
                    "protocol": f"Inception features, {extractor}, HR mod {protocol.multiple}",
                }
            )
    write_csv(out, COLUMNS, rows)


class _Empty(Exception):
    """There is no such distance of this set."""


def _distance(
    store: Store,
    paths: dict[str, Path],
    hashes: dict[str, str],
    present: list[str],
    extractor: str,
    distance: str,
    network: Network,
    cache: Path,
    protocol: Protocol,
) -> tuple[str, str]:
    """Value and its sd over KID's subsets, as text."""

    def truth() -> Iterator[tuple[str, np.ndarray]]:
        for name in present:
            image = store[store.index(name)]
            height, width = (n - n % protocol.multiple for n in image.shape[:2])
            yield name, np.asarray(image[:height, :width])

    def restored() -> Iterator[tuple[str, np.ndarray]]:
        for (name, image), path in zip(truth(), (paths[name] for name in present), strict=True):
            yield name, protocol.align(read_rgb(path), image)[0]

    if len(present) < 2:
        raise _Empty(f"a distance of sets needs at least 2 images, there are {len(present)}")
    if extractor == "patch299" and all(min(store.shape(store.index(n))[:2]) < 299 for n in present):
        raise _Empty("no image of at least 299 pixels a side")
    key = [extractor, network.sha256, protocol.multiple, present]
    hr = _cached(cache / f"hr-{sha256_json([*key, store.digest])[:32]}.npz", truth, extractor, network)
    made = [hashes[name] for name in present]
    sr = _cached(cache / f"sr-{sha256_json([*key, made])[:32]}.npz", restored, extractor, network)
    if len(hr.names) < 2:
        raise _Empty("a distance of sets needs at least 2 tiles of 299 pixels a side")
    if distance == "fid":
        return f"{fid(sr, hr):.6f}", ""
    mean, sd = kid(sr, hr)
    return f"{mean:.8f}", f"{sd:.8f}"


def _cached(
    path: Path, images: Callable[[], Iterator[tuple[str, np.ndarray]]], extractor: str, network: Network
) -> Features:
    if not path.exists():
        save_features(path, features(images(), extractor, network))
    return load_features(path)
