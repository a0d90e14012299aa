"""Masks from SAM (Kirillov et al., 2023), through the `segment-anything` package's automatic mask generator.

The generator prompts the network with a grid of points and keeps the masks that pass its thresholds; its
parameters have the defaults of the released package, which the paper and its released masks use. Masks stay
in the generator's order: descending predicted IoU, where no crops are used.

Images whose masks do not fit the memory: fewer points at once (`points_per_batch`); large images with small
things in them: the generator's own crops (`crop_n_layers`).
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from segment_anything import SamAutomaticMaskGenerator, sam_model_registry
from torch import Tensor, nn
from torchvision.ops import nms

from samdiffsr.core.errors import UserError
from samdiffsr.data.weights import WeightFile, WrongWeights, verify
from samdiffsr.masks.regions import Regions
from samdiffsr.masks.rle import regions_from_records
from samdiffsr.masks.segmenters.kinds import check_number

MODELS = ("vit_h", "vit_l", "vit_b")
GENERATOR = (
    "points_per_side",
    "points_per_batch",
    "pred_iou_thresh",
    "stability_score_thresh",
    "stability_score_offset",
    "box_nms_thresh",
    "crop_n_layers",
    "crop_nms_thresh",
    "crop_overlap_ratio",
    "crop_n_points_downscale_factor",
    "min_mask_region_area",
)


@dataclass(frozen=True)
class GridPrompted:
    """What SAM and MobileSAM share: where the weights are, and the automatic mask generator's parameters.

    Attributes:
        weights: the folder of weight files.
        device: auto, cpu or cuda. Masks from the two differ in single pixels.
        file, sha256: another weight file in `weights` than the official one, and its hash; both or neither.
        points_per_side: the grid; points_per_side^2 prompts, three masks each.
        points_per_batch: prompts at once; 12 x height x width x points_per_batch bytes of memory, and more.
        pred_iou_thresh, stability_score_thresh: masks below are dropped (0: none).
        stability_score_offset: shift of the cut-off that the stability score compares.
        box_nms_thresh, crop_nms_thresh: of two masks whose boxes overlap more, the worse is dropped.
        crop_n_layers: layers of crops beside the whole image; layer i has 4^i of them.
        crop_overlap_ratio: share of the image's side by which crops of the first layer overlap.
        crop_n_points_downscale_factor: layer i has points_per_side / factor^i points a side.
        min_mask_region_area: smaller holes and islands, in pixels, are removed (0: none are).
    """

    weights: str
    device: str = "auto"
    file: str = ""
    sha256: str = ""
    points_per_side: int = 32
    points_per_batch: int = 64
    pred_iou_thresh: float = 0.88
    stability_score_thresh: float = 0.95
    stability_score_offset: float = 1.0
    box_nms_thresh: float = 0.7
    crop_n_layers: int = 0
    crop_nms_thresh: float = 0.7
    crop_overlap_ratio: float = 512 / 1500
    crop_n_points_downscale_factor: int = 1
    min_mask_region_area: int = 0
    digest: str = field(init=False, repr=False, compare=False)
    generator: SamAutomaticMaskGenerator = field(init=False, repr=False, compare=False)

    @property
    def key(self) -> str:
        """Row of the weight table."""
        raise NotImplementedError

    def build(self, state: Mapping[str, Tensor], path: Path) -> nn.Module:
        """The network with these weights; UserError if they are another network's."""
        raise NotImplementedError

    def __post_init__(self) -> None:
        kind = self.key
        for name in ("points_per_side", "points_per_batch", "crop_n_points_downscale_factor"):
            check_number(f"{kind} {name}", getattr(self, name), 1, whole=True)
        for name in ("crop_n_layers", "min_mask_region_area"):
            check_number(f"{kind} {name}", getattr(self, name), 0, whole=True)
        for name in (
            "pred_iou_thresh",
            "stability_score_thresh",
            "box_nms_thresh",
            "crop_nms_thresh",
            "crop_overlap_ratio",
        ):
            check_number(f"{kind} {name}", getattr(self, name), 0, most=1)
        check_number(f"{kind} stability_score_offset", self.stability_score_offset, 0)
        if bool(self.file) != bool(self.sha256):
            raise UserError(
                f"{kind}: `file` and `sha256` name another weight file together; give both or neither"
            )
        device = _device(self.device)
        own = {kind: WeightFile(key=kind, file=self.file, sha256=self.sha256)} if self.file else None
        found = verify(kind, self.weights, own)
        model = self.build(read_state(found.path), found.path).eval().to(device)
        object.__setattr__(self, "digest", found.sha256)
        parameters = {name: getattr(self, name) for name in GENERATOR}
        generator = _Generator(model, output_mode="uncompressed_rle", **parameters)
        object.__setattr__(self, "generator", generator)

    def __call__(self, image: np.ndarray, name: str) -> Regions:
        try:
            records = self.generator.generate(np.ascontiguousarray(image))
        except torch.OutOfMemoryError:
            raise UserError(
                f"image {name!r}: {image.shape[1]} x {image.shape[0]} pixels with points_per_batch "
                f"{self.points_per_batch} do not fit the GPU's memory; make points_per_batch smaller"
            ) from None
        return regions_from_records(records, image.shape[:2])

    def describe(self) -> dict[str, Any]:
        return {"weights": self.digest, **{name: getattr(self, name) for name in GENERATOR}}


@dataclass(frozen=True)
class Sam(GridPrompted):
    """SAM with one of its three image encoders.

    Attributes:
        model: vit_h (the paper's), vit_l or vit_b.
    """

    model: str = "vit_h"

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise UserError(f"sam model {self.model!r}: must be one of {', '.join(MODELS)}")
        super().__post_init__()

    @property
    def key(self) -> str:
        return f"sam_{self.model}"

    def build(self, state: Mapping[str, Tensor], path: Path) -> nn.Module:
        found = variant(state)
        if found != self.key:
            raise wrong_network(path, self.key, found)
        model = sam_model_registry[self.model]()
        load_strictly(model, state, path, self.key)
        return model

    def describe(self) -> dict[str, Any]:
        return {"kind": "sam", "model": self.model, **super().describe()}


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


def _one_class_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """`batched_nms` of boxes that are all of one class, whatever device `idxs` is on."""
    return nms(boxes, scores, iou_threshold)


def _seeing(function: Callable[..., Any], **names: Any) -> Callable[..., Any]:
    """The same function with some of its module's names replaced; the module stays as it is."""
    return types.FunctionType(
        function.__code__, {**function.__globals__, **names}, function.__name__, function.__defaults__
    )


class _Generator(SamAutomaticMaskGenerator):
    """The package's generator, with all tensors of its non-maximum suppression on one device.

    The release on the package index passes the classes (all zero) on the CPU, which torchvision refuses where
    there are many boxes on a GPU.
    """

    _process_crop = _seeing(SamAutomaticMaskGenerator._process_crop, batched_nms=_one_class_nms)
    _generate_masks = _seeing(SamAutomaticMaskGenerator._generate_masks, batched_nms=_one_class_nms)
