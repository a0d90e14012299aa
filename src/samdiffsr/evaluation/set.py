"""Metrics of a set of images: FID and KID, from stored Inception features.

Three ways to bring an image to the 299x299 that Inception takes, each a column of its own, never mixed:

- "clean": PIL's antialiased bicubic in float (clean-fid; pyiqa's default, so the paper's FID column);
- "tf": TensorFlow 1's bilinear without antialiasing (torch-fidelity's default);
- "patch299": no resizing but non-overlapping tiles at native resolution. A 2K image loses more than a factor
of 4
  in the other two, and with it everything that x4 super-resolution adds.

The Frechet distance needs no matrix square root: with centred features A, B (divided by sqrt(N-1)),
tr sqrt(C_a C_b) is the sum of the singular values of A B^T, exact also for fewer images than features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from samdiffsr.core.errors import UserError
from samdiffsr.core.files import atomic_path
from samdiffsr.data.weights import WeightFile, verify
from samdiffsr.evaluation.compare import BOOTSTRAP_FROM, Difference

if TYPE_CHECKING:
    import torch

EXTRACTORS = ("clean", "tf", "patch299")
SIDE = 299
KID_SUBSET_SIZE, KID_SUBSETS = 1000, 100

# The order in which an image passes through the network; torch-fidelity's own forward() does the same
_LAYERS = (
    *("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "MaxPool_1"),
    *("Conv2d_3b_1x1", "Conv2d_4a_3x3", "MaxPool_2"),
    *("Mixed_5b", "Mixed_5c", "Mixed_5d"),
    *("Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"),
    *("Mixed_7a", "Mixed_7b", "Mixed_7c", "AvgPool"),
)


class Network(Protocol):
    """What `features` needs: a hash that names the weights, and (B, 3, 299, 299) in [0, 255] -> (B, D)."""

    sha256: str

    def __call__(self, images: torch.Tensor) -> torch.Tensor: ...


class Inception:
    """torch-fidelity's InceptionV3 (2015-12-05), pool3 features, from a checked local file.

    Args:
        weights: folder of the weight files.
        device: where it runs.
        table: the weight table; the packaged one if None.

    Raises MissingWeights or WrongWeights (`evaluation.weights`), or UserError if the file does not fit the
    network.
    """

    def __init__(
        self, weights: str | Path, device: str = "cpu", table: Mapping[str, WeightFile] | None = None
    ) -> None:
        from unittest import mock

        import torch
        from torch_fidelity import feature_extractor_inceptionv3 as inception

        path, self.sha256 = verify("inception", weights, table)
        self.device = torch.device(device)
        try:
            # Without a path the class downloads; handing it the checked tensors instead also spares its
            # torch.load(weights_only=False)
            state = torch.load(path, map_location="cpu", weights_only=True)
            with mock.patch.object(inception, "load_state_dict_from_url", return_value=state):
                self._net = inception.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
        except Exception as error:
            reason = str(error).splitlines()[0][:120]
            raise UserError(f"{path}: does not fit InceptionV3 ({reason})") from error
        self._net.to(self.device)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """float32 (B, 3, 299, 299) in [0, 255] -> float32 (B, 2048)."""
        import torch

        with torch.no_grad():
            x = (images.to(self.device) - 128) / 128
            for name in _LAYERS:
                x = getattr(self._net, name)(x)
        return torch.flatten(x, 1)


@dataclass(frozen=True)
class Features:
    """Inception features of a set.

    values: float32 (N, D), a row per image (or tile). names: N names, tiles as "image@top,left".
    """

    values: np.ndarray
    names: tuple[str, ...]
    extractor: str
    weights_sha256: str


def features(
    images: Iterable[tuple[str, np.ndarray]], extractor: str, network: Network, batch_size: int = 8
) -> Features:
    """Features of (name, uint8 (H, W, 3)) pairs, streamed; one image at a time is held at full size.

    Args:
        images: the pairs; for "patch299" an image smaller than 299 a side adds no tile.
        extractor: "clean", "tf" or "patch299".
        network: an `Inception`.

    Raises UserError for an unknown extractor or if there is nothing to take features of.
    """
    import torch

    if extractor not in EXTRACTORS:
        raise UserError(f"unknown feature extractor {extractor!r}; known are {', '.join(EXTRACTORS)}")
    names: list[str] = []
    rows: list[np.ndarray] = []
    batch: list[torch.Tensor] = []

    def flush() -> None:
        if batch:
            rows.append(network(torch.stack(batch)).float().cpu().numpy())
            batch.clear()

    for name, image in images:
        for label, tensor in _inputs(name, image, extractor):
            names.append(label)
            batch.append(tensor)
            if len(batch) == batch_size:
                flush()
    flush()
    if not names:
        least = f" of at least {SIDE} pixels a side" if extractor == "patch299" else ""
        raise UserError(f"{extractor!r} features of nothing: there is no image{least}")
    return Features(np.concatenate(rows), tuple(names), extractor, network.sha256)


def save_features(path: str | Path, value: Features) -> None:
    """Write features as .npz with their names, extractor and the hash of the weights."""
    with atomic_path(path) as part:
        np.savez(
            part,
            values=value.values,
            names=np.array(value.names),
            extractor=np.array(value.extractor),
            weights_sha256=np.array(value.weights_sha256),
        )


def load_features(path: str | Path) -> Features:
    """Read what `save_features` wrote; UserError names a file that is missing or broken."""
    try:
        with np.load(path, allow_pickle=False) as data:
            return Features(
                data["values"],
                tuple(data["names"].tolist()),
                str(data["extractor"]),
                str(data["weights_sha256"]),
            )
    except FileNotFoundError:
        raise UserError(f"{path}: no such feature file") from None
    except Exception as error:
        raise UserError(f"{path}: not a feature file ({error}); delete it and run again") from error


def fid(sr: Features, hr: Features) -> float:
    """Frechet Inception distance of two sets of the same images; UserError if they do not belong together."""
    _comparable(sr, hr)
    return frechet_distance(sr.values, hr.values)


def kid(sr: Features, hr: Features, rng_seed: int = 2020) -> tuple[float, float]:
    """Kernel Inception distance (x 1) of two sets of the same images; see `kernel_distance`."""
    _comparable(sr, hr)
    return kernel_distance(sr.values, hr.values, rng_seed)


def fid_difference(
    a: Features, b: Features, hr: Features, rng_seed: int = 1, n_resamples: int = 600
) -> Difference:
    """FID of a minus FID of b against the same HR, with a 95 % percentile bootstrap over images.

    Images (with all their tiles) are resampled jointly in a, b and hr. A resampled FID is biased upwards
    (under 1 % at N = 100, 13 % at N = 5), which cancels in the difference; no interval below 30 images.
    method: "percentile" or "none".
    """
    _comparable(a, hr)
    _comparable(b, hr)
    x, y, z = (f.values.astype(np.float64) for f in (a, b, hr))
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(hr.names):  # tiles of one image are not independent
        rows.setdefault(name.rpartition("@")[0] if hr.extractor == "patch299" else name, []).append(row)
    groups = list(rows.values())
    low = high = None
    if len(groups) >= BOOTSTRAP_FROM:
        rng = np.random.default_rng(rng_seed)
        d = np.empty(n_resamples)
        for k in range(n_resamples):
            i = np.concatenate([groups[g] for g in rng.integers(0, len(groups), len(groups))])
            d[k] = frechet_distance(x[i], z[i]) - frechet_distance(y[i], z[i])
        low, high = (float(q) for q in np.quantile(d, [0.025, 0.975]))
    return Difference(
        mean=frechet_distance(x, z) - frechet_distance(y, z),
        ci_low=low,
        ci_high=high,
        method="none" if low is None else "percentile",
        n_images=len(groups),
        n_seeds=1,
        n_seeds_base=1,
        seed_sd=None,
        seed_sd_base=None,
        p=None,
        rng_seed=rng_seed,
        n_resamples=n_resamples,
    )


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
    a, b = (np.linalg.qr(x, mode="r") if x.shape[0] > x.shape[1] else x for x in (a, b))
    cross = np.linalg.svd(a @ b.T, compute_uv=False).sum()
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


def _inputs(name: str, image: np.ndarray, extractor: str) -> Iterator[tuple[str, torch.Tensor]]:
    """The network's float32 (3, 299, 299) inputs in [0, 255] of one uint8 (H, W, 3) image."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise UserError(f"{name}: image is {image.dtype} {image.shape}; it must be uint8 (height, width, 3)")
    if extractor == "patch299":
        for top in range(0, image.shape[0] - SIDE + 1, SIDE):
            for left in range(0, image.shape[1] - SIDE + 1, SIDE):
                yield f"{name}@{top},{left}", _chw(image[top : top + SIDE, left : left + SIDE])
    else:
        resize: Callable[[np.ndarray], torch.Tensor] = {"clean": _resize_clean, "tf": _resize_tf}[extractor]
        yield name, resize(image)


def _chw(image: np.ndarray) -> torch.Tensor:
    import torch

    return torch.from_numpy(image.transpose(2, 0, 1).astype(np.float32, order="C"))


def _resize_clean(image: np.ndarray) -> torch.Tensor:
    """Each channel by PIL's bicubic in float, clipped and not rounded (Parmar et al., 2022)."""
    from PIL import Image

    channels = (Image.fromarray(image[..., c].astype(np.float32)) for c in range(3))  # mode "F"
    resized = [np.asarray(c.resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for c in channels]
    return _chw(np.stack(resized, axis=2).clip(0, 255))


def _resize_tf(image: np.ndarray) -> torch.Tensor:
    from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

    x = _chw(image)[None]
    return interpolate_bilinear_2d_like_tensorflow1x(x, size=(SIDE, SIDE), align_corners=False)[0]
