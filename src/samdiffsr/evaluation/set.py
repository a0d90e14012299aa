"""Metrics of a set of images, FID and KID, and the stage that scores a run's images by them.

Inception features are kept in a folder, named by what they were made of, so that the truth's are made once.

The Frechet distance needs no matrix square root: with centred features A, B (divided by sqrt(N-1)),
tr sqrt(C_a C_b) is the sum of the singular values of A B^T, exact also for fewer images than features.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from samdiffsr.core.errors import UserError
from samdiffsr.core.files import sha256_json, write_csv
from samdiffsr.data.store import Store
from samdiffsr.data.weights import MissingWeights, verify
from samdiffsr.evaluation.features import (
    Features,
    Inception,
    Network,
    features,
    load_features,
    save_features,
)
from samdiffsr.evaluation.metrics import METRICS, SetMetric
from samdiffsr.evaluation.protocol import Protocol
from samdiffsr.evaluation.recipe import SetScoreRecipe
from samdiffsr.evaluation.scores import NO_TRUTH, SET_COLUMNS, set_row
from samdiffsr.sampling.sample_set import SampleSet

log = logging.getLogger(__name__)

KID_SUBSET_SIZE, KID_SUBSETS = 1000, 100


def fid(sr: Features, hr: Features) -> tuple[float, None]:
    """Frechet Inception distance of two sets of the same images; UserError if they do not belong together."""
    _comparable(sr, hr)
    return frechet_distance(sr.values, hr.values), None


def kid(sr: Features, hr: Features, rng_seed: int = 2020) -> tuple[float, float]:
    """Kernel Inception distance (x 1) of two sets of the same images, and its sd; see `kernel_distance`."""
    _comparable(sr, hr)
    return kernel_distance(sr.values, hr.values, rng_seed)


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Squared 2-Wasserstein distance of the Gaussians fitted to two feature sets (Heusel et al., 2017).

    Args:
        a, b: (N, D) and (M, D), N, M at least 2; computed in float64, unbiased covariances.

    |mu_a - mu_b|^2 + tr C_a + tr C_b - 2 tr sqrt(C_a C_b), the last by singular values (module docstring).
    Values are comparable only at equal N and equal content: at N = 100 two halves of one set are 4 apart.
    Raises UserError for fewer than 2 rows, unequal D, or values that are not finite.
    """
    a, b = _pair(a, b)
    mu_a, mu_b = a.mean(axis=0), b.mean(axis=0)
    a = (a - mu_a) / np.sqrt(len(a) - 1)
    b = (b - mu_b) / np.sqrt(len(b) - 1)
    traces = np.square(a).sum() + np.square(b).sum()
    # R of a QR decomposition has the same Gram matrix: never more than D rows go into the SVD
    r_a, r_b = (np.linalg.qr(x, mode="r") if x.shape[0] > x.shape[1] else x for x in (a, b))
    cross = np.linalg.svd(np.asarray(r_a) @ np.asarray(r_b).T, compute_uv=False).sum()
    # it cannot be negative; rounding makes it so for equal sets
    return max(0.0, float(np.square(mu_a - mu_b).sum() + traces - 2 * cross))


def kernel_distance(a: np.ndarray, b: np.ndarray, rng_seed: int = 2020) -> tuple[float, float]:
    """Unbiased MMD^2 with the cubic kernel (x.y / D + 1)^3 (Binkowski et al., 2018), in float64.

    The computation is torch-fidelity's. Up to 1000 images a side it is done once, over as many as the smaller
    side has, and the sd is 0; above that it is mean and sd over 100 subsets of 1000 (the library's defaults).

    Returns (mean, sd). Slightly negative values are normal: the estimator is unbiased for independent sets.
    Raises UserError for fewer than 2 rows, unequal D, or values that are not finite.
    """
    import torch
    from torch_fidelity.metric_kid import (
        KEY_METRIC_KID_MEAN,
        KEY_METRIC_KID_STD,
        kid_features_to_metric,
    )

    a, b = _pair(a, b)
    smaller = min(len(a), len(b))
    result = kid_features_to_metric(
        torch.from_numpy(a),
        torch.from_numpy(b),
        kid_subsets=1 if smaller <= KID_SUBSET_SIZE else KID_SUBSETS,
        kid_subset_size=min(smaller, KID_SUBSET_SIZE),
        rng_seed=rng_seed,
        verbose=False,
    )
    return float(result[KEY_METRIC_KID_MEAN]), float(result[KEY_METRIC_KID_STD])


def _pair(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both feature matrices in float64, checked."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise UserError(
            f"features of shapes {a.shape} and {b.shape} do not compare; expected (N, D) and (M, D)"
        )
    if min(len(a), len(b)) < 2:
        raise UserError(f"a distance of sets needs at least 2 images a side, got {len(a)} and {len(b)}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise UserError("features hold values that are not finite; extract them again")
    return a, b


def _comparable(a: Features, b: Features) -> None:
    if a.extractor != b.extractor:
        raise UserError(f"features by {a.extractor!r} and {b.extractor!r} do not compare; extract one again")
    if a.weights_sha256 != b.weights_sha256:
        raise UserError("features were made with different weights; extract both with the same file")
    if a.names != b.names:
        only = sorted(set(a.names) ^ set(b.names))
        what = f"{only[0]!r} is in one only" if only else "their order differs"
        raise UserError(f"features are not of the same {len(a.names)} and {len(b.names)} images: {what}")


# ---- the stage ----


def score_sets(
    run: str,
    dataset: str,
    manifests: list[Path],
    hr: Path,
    out: Path,
    recipe: SetScoreRecipe,
    cache: Path,
    weights: Path,
    network: Network | None = None,
    device: str = "cpu",
    code: str = "",
) -> None:
    """FID and KID of the SR images of one run on one data set against their truth, into the CSV `out`.

    Args:
        manifests: what the sample stage wrote, one for each kind of network weights.
        hr: store of the data set, cropped to the protocol's multiple here as for the image metrics.
        cache: folder for features. weights: folder with Inception's file.
        network: instead of that file (tests).
        code: names the code; features that other code has kept are made again.

    Without the file every value is empty and says why, with a warning line, or it is an error if
    `missing_weights` is "fail". Values of sets of different images are not comparable, so the truth of an
    image that is missing is left out too, and `n` says how many images there were.
    """
    why = ""
    if network is None:
        try:
            verify("inception", weights)  # before torch is imported for nothing
            network = Inception(weights, device)
        except MissingWeights as error:
            if recipe.missing_weights == "fail":
                raise
            why = str(error)
            log.warning(f"{', '.join(recipe.metrics)} left out: {why}")
    protocol, store = Protocol.for_scale(recipe.scale), Store(hr)
    rows = []
    for manifest in manifests:
        samples = SampleSet.open(manifest)
        present = [name for name in store.names if samples.has(name)]
        for name in present:
            samples.check(name)
        sets = None if network is None else _Sets(store, samples, present, network, cache, protocol, code)
        for name in recipe.metrics:
            metric = METRICS[name]
            assert isinstance(metric, SetMetric)
            value, sd, reason = None, None, why
            if sets is not None:
                try:
                    value, sd = metric.function(*sets.pair(metric.extractor))
                except _Empty as error:
                    reason = str(error)
            rows.append(
                set_row(
                    run=run,
                    weights=samples.recipe.weights,
                    dataset=dataset,
                    metric=name,
                    value=value,
                    sd=sd,
                    n=len(present) if network is not None else 0,
                    why_empty=reason,
                    protocol=f"Inception features, {metric.extractor}, HR mod {protocol.multiple}",
                )
            )
    write_csv(out, SET_COLUMNS, rows)


class _Empty(Exception):
    """There is no such distance of this set."""


class _Sets:
    """The features of one run's images and of their truth, each made once."""

    def __init__(
        self,
        store: Store,
        samples: SampleSet,
        present: list[str],
        network: Network,
        cache: Path,
        protocol: Protocol,
        code: str,
    ) -> None:
        self._store, self._samples, self._present = store, samples, present
        self._network, self._cache, self._protocol, self._code = network, cache, protocol, code

    def pair(self, extractor: str) -> tuple[Features, Features]:
        """Features of SR and of HR."""
        store, present = self._store, self._present
        if not store.names:
            raise _Empty(NO_TRUTH)
        if len(present) < 2:
            raise _Empty(f"a distance of sets needs at least 2 images, there are {len(present)}")
        if extractor == "patch299" and all(min(store.shape(store.index(n))[:2]) < 299 for n in present):
            raise _Empty("no image of at least 299 pixels a side")
        key = [self._code, extractor, self._network.sha256, self._protocol.multiple, present]
        hr = self._kept(f"hr-{sha256_json([*key, store.digest])[:32]}.npz", self._truth, extractor)
        made = [self._samples.hashes[name] for name in present]
        sr = self._kept(f"sr-{sha256_json([*key, made])[:32]}.npz", self._restored, extractor)
        if len(hr.names) < 2:
            raise _Empty("a distance of sets needs at least 2 tiles of 299 pixels a side")
        return sr, hr

    def _kept(
        self, name: str, images: Callable[[], Iterator[tuple[str, np.ndarray]]], extractor: str
    ) -> Features:
        path = self._cache / name
        if not path.exists():
            save_features(path, features(images(), extractor, self._network))
        return load_features(path)

    def _truth(self) -> Iterator[tuple[str, np.ndarray]]:
        for name in self._present:
            yield name, np.asarray(self._protocol.crop(self._store[self._store.index(name)]))

    def _restored(self) -> Iterator[tuple[str, np.ndarray]]:
        for name, image in self._truth():
            sr = self._samples.read(name)
            assert sr is not None
            yield name, self._protocol.align(sr, image)[0]
