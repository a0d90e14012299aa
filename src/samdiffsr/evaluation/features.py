"""Inception features of a set of images, as FID and KID compare them.

Three ways to bring an image to the 299x299 that Inception takes, each a column of its own, never mixed:

- "clean": PIL's antialiased bicubic in float (clean-fid; pyiqa's default, so the paper's FID column);
- "tf": TensorFlow 1's bilinear without antialiasing (torch-fidelity's default);
- "patch299": no resizing but non-overlapping tiles at native resolution. A 2K image loses more than a factor
  of 4 in the other two, and with it everything that x4 super-resolution adds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from samdiffsr.core import compat
from samdiffsr.core.errors import UserError
from samdiffsr.core.files import atomic_path
from samdiffsr.data.catalogue import WeightFile
from samdiffsr.data.weights import verify

if TYPE_CHECKING:
    import torch

EXTRACTORS = ("clean", "tf", "patch299")
SIDE = 299

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

    Raises MissingWeights or WrongWeights (`data.weights`), or UserError if the file does not fit the
    network.
    """

    def __init__(
        self, weights: str | Path, device: str = "cpu", table: Mapping[str, WeightFile] | None = None
    ) -> None:
        import torch
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        path, self.sha256 = verify("inception", weights, table)
        self.device = torch.device(device)
        try:
            with compat.given_inception(torch.load(path, map_location="cpu", weights_only=True)):
                self._net = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
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
