"""The kinds of segmenters: their settings, what they read, and where their code is.

A new kind is one entry here, with a class of settings, and one class of code. A recipe says only the settings
that were given, so that a new setting makes no existing region map again; for the same reason a default never
changes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

from pydantic import (
    Field,
    PlainValidator,
    SerializeAsAny,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_serializer,
    model_validator,
)

from samdiffsr.core.recipe import Strict, problem
from samdiffsr.core.registry import Registry, load, module_of

if TYPE_CHECKING:
    import numpy as np

    from samdiffsr.masks.regions import Regions


def _number(value: Any) -> Any:
    """A finite number; whole ones stay whole in a recipe's text."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"must be a finite number, not {value!r}")
    return value


Number = Annotated[Any, PlainValidator(_number, json_schema_input_type=float)]
Whole = Annotated[int, Field(strict=True, ge=0)]
Counted = Annotated[int, Field(strict=True, ge=1)]
NotNegative = Annotated[Number, Field(ge=0)]
Share = Annotated[Number, Field(ge=0, le=1)]


class Settings(Strict):
    """What decides the regions of one kind of segmenter. Subclasses set `kind`."""

    kind: str
    """Kind of segmenter."""

    @property
    def needed_weights(self) -> str:
        """Row of the weight table whose file it reads; empty if none."""
        return ""

    @property
    def own_weights(self) -> str:
        """Name of another weight file that it reads; empty if none."""
        return ""

    @property
    def input_folder(self) -> str:
        """The folder that it reads; empty if none."""
        return ""

    @property
    def input_masks(self) -> str:
        """The mask set whose regions it reads; empty if none."""
        return ""

    @model_serializer(mode="wrap")
    def _as_given(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        given = self.model_fields_set | {"kind"}
        return {name: value for name, value in serialize(self).items() if name in given}


class Felzenszwalb(Settings):
    """Graph-based segmentation (Felzenszwalb and Huttenlocher, 2004)."""

    kind: Literal["felzenszwalb"] = "felzenszwalb"
    scale: Annotated[Number, Field(gt=0)] = 100.0
    """A larger value gives larger regions (scikit-image's `scale`)."""
    sigma: NotNegative = 0.8
    """Width of the Gaussian that smooths the image first, in pixels."""
    min_size: Counted = 50
    """Smallest region, in pixels."""


class Ucm(Settings):
    """BSDS500's published gPb-UCM contour hierarchy (Arbelaez et al., 2011) cut at a threshold."""

    kind: Literal["ucm"] = "ucm"
    threshold: NotNegative = 0.1
    """k in [0, 1]. Contours of strength k or less are dropped: 0.1 leaves 81 regions an image, 0.4 only 8."""


class Human(Settings):
    """BSDS500's human segmentations."""

    kind: Literal["human"] = "human"
    annotator: Whole | Literal["finest", "coarsest", "intersection"] = "finest"
    """A number from 0 in the file's order; the one with most (`finest`) or fewest regions (`coarsest`), the
    first of equals; or all annotators' borders at once (`intersection`)."""


class Imported(Settings):
    """Masks from files, one an image: COCO run lengths, PNG label maps or npz (docs/study/masks.md)."""

    kind: Literal["imported"] = "imported"
    folder: str
    """Folder of the files."""

    @property
    def input_folder(self) -> str:
        return self.folder


class GridPrompted(Settings):
    """The automatic mask generator of SAM and MobileSAM; defaults of the released package."""

    file: str = ""
    """A weight file other than the official one. Needs `sha256`."""
    sha256: str = ""
    """SHA-256 of `file`."""
    points_per_side: Counted = 32
    """Points of the grid on each side. Each point is a prompt and gives three masks."""
    points_per_batch: Counted = 64
    """Prompts at once. Each takes at least 12 bytes of memory for each pixel of the image."""
    pred_iou_thresh: Share = 0.88
    """Masks with a lower predicted IoU are dropped."""
    stability_score_thresh: Share = 0.95
    """Masks with a lower stability score are dropped."""
    stability_score_offset: NotNegative = 1.0
    """Shift of the threshold at which the stability score compares a mask with itself."""
    box_nms_thresh: Share = 0.7
    """Of two masks whose boxes overlap by more than this, the worse is dropped."""
    crop_n_layers: Whole = 0
    """Layers of crops to segment beside the whole image. Layer i has 4^i crops."""
    crop_nms_thresh: Share = 0.7
    """As `box_nms_thresh`, for masks of different crops."""
    crop_overlap_ratio: Share = 512 / 1500
    """Overlap of the crops of the first layer, as a share of the image's side."""
    crop_n_points_downscale_factor: Counted = 1
    """Layer i has points_per_side / factor^i points on each side."""
    min_mask_region_area: Whole = 0
    """Holes and islands with fewer pixels are removed. 0: none are."""

    @model_validator(mode="after")
    def _file_and_hash(self) -> GridPrompted:
        if bool(self.file) != bool(self.sha256):
            raise ValueError("`file` and `sha256` name another weight file together; give both or neither")
        return self

    @property
    def generator(self) -> dict[str, Any]:
        """The mask generator's own parameters, all of them."""
        return {name: getattr(self, name) for name in GENERATOR}

    @property
    def network(self) -> str:
        """Name of the network, as the weight table has it."""
        return self.kind

    @property
    def needed_weights(self) -> str:
        return "" if self.file else self.network

    @property
    def own_weights(self) -> str:
        return self.file


GENERATOR = tuple(name for name in GridPrompted.model_fields if name not in ("kind", "file", "sha256"))


class Sam(GridPrompted):
    """SAM (Kirillov et al., 2023) with one of its three image encoders; the paper's is vit_h."""

    kind: Literal["sam"] = "sam"
    model: Literal["vit_h", "vit_l", "vit_b"] = "vit_h"
    """Image encoder."""

    @property
    def network(self) -> str:
        return f"sam_{self.model}"


class MobileSam(GridPrompted):
    """MobileSAM (Zhang et al., 2023) under the automatic mask generator."""

    kind: Literal["mobile_sam"] = "mobile_sam"


PlaceboRegions = Literal["other_image", "voronoi"]


class Placebo(Settings):
    """Regions that say nothing about the image, made of those of another mask set."""

    kind: Literal["placebo"] = "placebo"
    regions: PlaceboRegions
    """Another image's, of the same size if there is one; or random convex ones, as many and as large."""
    of: str
    """The mask set to replace."""

    @property
    def input_masks(self) -> str:
        return self.of


@dataclass(frozen=True)
class Kind:
    """A kind of segmenter.

    Attributes:
        settings: what its recipe holds.
        code: "module:name" of what is called with (settings, places) and gives a `Segmenter`.
        reads: what it needs beside the images: weights of a network, BSDS500, the folder of its settings, the
            regions of another mask set.
    """

    settings: type[Settings]
    code: str
    reads: Literal["", "weights", "bsds500", "folder", "regions"] = ""

    @property
    def module(self) -> str:
        """The module whose code finds the masks."""
        return module_of(self.code)


_HERE = "samdiffsr.masks.segmenters"
SEGMENTERS = Registry(
    "segmenter kind",
    {
        "felzenszwalb": Kind(Felzenszwalb, f"{_HERE}.classical:Felzenszwalb"),
        "ucm": Kind(Ucm, f"{_HERE}.bsds:Ucm", "bsds500"),
        "human": Kind(Human, f"{_HERE}.bsds:Human", "bsds500"),
        "imported": Kind(Imported, f"{_HERE}.imported:Imported", "folder"),
        "sam": Kind(Sam, f"{_HERE}.sam:Sam", "weights"),
        "mobile_sam": Kind(MobileSam, f"{_HERE}.mobile_sam:MobileSam", "weights"),
        "placebo": Kind(Placebo, f"{_HERE}.placebo:Placebo", "regions"),
    },
)


def settings_of(value: Mapping[str, Any]) -> Settings:
    """The settings that a mapping with `kind` means.

    Raises:
        ValueError: names what is unknown, missing or wrong.
    """
    kind = SEGMENTERS.known(value.get("kind"))
    model = SEGMENTERS[kind].settings
    if unknown := sorted(set(value) - set(model.model_fields)):
        known = ", ".join(name for name in model.model_fields if name != "kind")
        raise ValueError(f"segmenter {kind}: unknown setting {unknown[0]!r}; known are {known}")
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise ValueError(f"segmenter {kind}: {problem(error)}") from None


def _any_kind(value: Any, validate: ValidatorFunctionWrapHandler) -> Settings:
    return settings_of(value) if isinstance(value, Mapping) else validate(value)


AnySegmenter = Annotated[SerializeAsAny[Settings], WrapValidator(_any_kind)]


@dataclass(frozen=True)
class Places:
    """What belongs to the machine and not to a recipe.

    Attributes:
        weights: the folder of weight files.
        root: a folder that holds BSDS500, at most three levels down.
        device: auto, cpu or cuda. Masks from the two differ in single pixels.
        regions: a region store of the same images (placebo).
    """

    weights: Path | None = None
    root: Path | None = None
    device: str = "auto"
    regions: Path | None = None


class Segmenter(Protocol):
    """Finds the masks of an image. Equal images (and names) must give equal regions."""

    def __call__(self, image: np.ndarray, name: str) -> Regions:
        """Regions of `image`, (H, W, 3) uint8 RGB.

        Masks come in the segmenter's own order (it matters where they overlap), with what it says of each in
        `Regions.per_mask`. `name` is the image's name in its store, for segmenters that look masks up.
        """

    def describe(self) -> dict[str, Any]:
        """What tables record: JSON, no paths, no machine; equal descriptions mean equal regions."""


def make_segmenter(settings: Settings, places: Places | None = None) -> Segmenter:
    """The segmenter with these settings; imports its code.

    Raises:
        UserError: what it reads is missing or wrong.
    """
    segmenter: Segmenter = load(SEGMENTERS[settings.kind].code)(settings, places or Places())
    return segmenter
