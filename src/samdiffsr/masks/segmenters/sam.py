"""Masks from SAM (Kirillov et al., 2023), through the `segment-anything` package's automatic mask generator.

The generator prompts the network with a grid of points and keeps the masks that pass its thresholds; its
parameters have the defaults of the released package, which the paper and its released masks use. Masks stay
in the generator's order: descending predicted IoU, where no crops are used.

Images whose masks do not fit the memory: fewer points at once (`points_per_batch`); large images with small
things in them: the generator's own crops (`crop_n_layers`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from segment_anything import sam_model_registry
from torch import Tensor, nn

from samdiffsr.core import compat
from samdiffsr.core.errors import UserError
from samdiffsr.data.catalogue import WeightFile
from samdiffsr.data.weights import WrongWeights, verify
from samdiffsr.masks.regions import Regions
from samdiffsr.masks.rle import regions_from_records
from samdiffsr.masks.segmenters import registry


class GridPrompted:
    """What SAM and MobileSAM share: the weights, and the automatic mask generator.

    Attributes:
        digest: SHA-256 of the weight file.
    """

    def __init__(self, settings: registry.GridPrompted, places: registry.Places) -> None:
        self.settings = settings
        key, own = settings.network, None
        if places.weights is None:
            raise UserError(f"{key}: say with --weights where the weight files are")
        device = _device(places.device)
        if settings.file:
            own = {key: WeightFile(key=key, file=settings.file, sha256=settings.sha256)}
        found = verify(key, places.weights, own)
        model = self.build(read_state(found.path), found.path).eval().to(device)
        self.digest = found.sha256
        self.generator = compat.one_device_generator()(
            model, output_mode="uncompressed_rle", **settings.generator
        )

    def build(self, state: Mapping[str, Tensor], path: Path) -> nn.Module:
        """The network with these weights; UserError if they are another network's."""
        raise NotImplementedError

    def __call__(self, image: np.ndarray, name: str) -> Regions:
        try:
            records = self.generator.generate(np.ascontiguousarray(image))
        except torch.OutOfMemoryError:
            raise UserError(
                f"image {name!r}: {image.shape[1]} x {image.shape[0]} pixels with points_per_batch "
                f"{self.settings.points_per_batch} do not fit the GPU's memory; make points_per_batch smaller"
            ) from None
        return regions_from_records(records, image.shape[:2])

    def describe(self) -> dict[str, Any]:
        return {"kind": self.settings.kind, "weights": self.digest, **self.settings.generator}


class Sam(GridPrompted):
    """SAM with one of its three image encoders."""

    settings: registry.Sam

    def build(self, state: Mapping[str, Tensor], path: Path) -> nn.Module:
        found, wanted = variant(state), self.settings.network
        if found != wanted:
            raise wrong_network(path, wanted, found)
        model = sam_model_registry[self.settings.model]()
        load_strictly(model, state, path, wanted)
        return model

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "model": self.settings.model}


def read_state(path: Path) -> dict[str, Tensor]:
    """Tensors of a PyTorch weight file, on the CPU; nothing in the file is executed.

    Raises WrongWeights if it is damaged, or anything else than a mapping of names to tensors.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch, zipfile and pickle raise many kinds for a damaged file
        raise WrongWeights(
            f"{path}: not readable as a file of PyTorch tensors ({type(error).__name__}); fetch it again"
        ) from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WrongWeights(f"{path}: holds no mapping of names to tensors; fetch it again")
    return state


def variant(state: Mapping[str, Tensor]) -> str:
    """Which network's weights these are: a key of the weight table, or "unknown"."""
    if "image_encoder.patch_embed.seq.0.c.weight" in state:
        return "mobile_sam"
    width = state["image_encoder.pos_embed"].shape[-1] if "image_encoder.pos_embed" in state else 0
    return {1280: "sam_vit_h", 1024: "sam_vit_l", 768: "sam_vit_b"}.get(width, "unknown")


def wrong_network(path: Path, wanted: str, found: str) -> WrongWeights:
    """The error for a file of another network."""
    return WrongWeights(f"{path}: weights of {found}, not of {wanted}; name the right file or model")


def load_strictly(model: nn.Module, state: Mapping[str, Tensor], path: Path, what: str) -> None:
    """Load `state`; WrongWeights names the first key that is missing, unknown, or of another shape."""
    own = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    given = {name: tuple(value.shape) for name, value in state.items()}
    wrong = sorted(name for name in own.keys() | given.keys() if own.get(name) != given.get(name))
    if wrong:
        name = wrong[0]
        is_, wanted = given.get(name, "missing"), own.get(name, "nothing")
        raise WrongWeights(
            f"{path}: not {what}: {name} is {is_}, expected {wanted} ({len(wrong)} differ); fetch it again"
        )
    model.load_state_dict(dict(state))


def _device(device: str) -> torch.device:
    if device not in ("auto", "cpu", "cuda"):
        raise UserError(f"device {device!r}: must be auto, cpu or cuda")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device: cuda was asked for, but torch sees no GPU; set device: cpu or auto")
    return torch.device(device)
