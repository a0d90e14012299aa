"""The blocks of config.yaml: every field, its choices and default, and what cannot go together in a block.

The text under a field is what editors and the reference page show (`config.json_schema`).

Every choice on which the paper and its released code differ is a field of `Variant`, with the paper's choice
as default where the paper is clear (docs/method/deviations.md). `config.Config` checks what refers to other
blocks.
"""

from __future__ import annotations

import shlex
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from samdiffsr.core.layout import run_name
from samdiffsr.core.recipe import Name, NotNegative, Positive, Scale, Strict
from samdiffsr.core.registry import similar
from samdiffsr.data.catalogue import sources
from samdiffsr.data.recipe import Degradation, Reference
from samdiffsr.diffusion.recipe import FormulationName
from samdiffsr.diffusion.registry import FORMULATIONS
from samdiffsr.masks.recipe import Encoding, FeatureName, Overlap, Position
from samdiffsr.masks.segmenters.registry import PlaceboRegions
from samdiffsr.models.recipe import EncoderSize
from samdiffsr.models.registry import AnyBackbone, UNet
from samdiffsr.sampling.adapters import ADAPTERS
from samdiffsr.sampling.recipe import Adapter, Chain, Weights
from samdiffsr.training.recipe import Training

OneOrMore = str | tuple[str, ...]  # as config.yaml may write it


class Dataset(Strict):
    """A folder of images under data/, or the union of several."""

    folder: tuple[str, ...] = Field(min_length=1)
    """Folder of the images, relative to the repository's root; several make one data set."""
    source: tuple[str, ...] = Field(min_length=1)
    """Where the images come from: a key of `data/sources/sources.yaml`, `demo`, or `local` for your own."""
    label: str = ""
    """Column heading in tables. Empty: the data set's name."""
    published: str = ""
    """Name in `paper/published_tables.csv`. Empty: the paper does not use this data set."""
    exclude: tuple[str, ...] = ()
    """Images to leave out, by name without suffix; for example, because they are test images too."""
    lr: tuple[str, ...] = ()
    """Folder of LR images that belong to the HR images, by name; `{scale}` is the scale factor."""
    reference: Reference = "hr"
    """`none`: the folder holds LR images whose truth is not known."""
    degradation: Degradation | None = None
    """How this data set's LR images are made, where it is another way than that of all others."""

    @field_validator("folder", "source", "exclude", "lr", mode="before", json_schema_input_type=OneOrMore)
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _sources(self) -> Dataset:
        known = {"demo", "local", *sources()}
        for name in self.source:
            if name not in known:
                raise ValueError(f"source: no source {name!r}{similar(name, known)}")
        if (self.lr or self.reference == "none") and self.source != ("local",):
            raise ValueError("source: LR images that are given must be `local`")
        if any("{scale}" in folder for folder in self.folder):
            raise ValueError("folder: {scale} may stand in `lr` alone; name a folder")
        if self.lr and self.degradation is not None:
            raise ValueError("lr: LR images are either given or made (`degradation`)")
        if self.reference == "none" and (self.lr or self.degradation is not None):
            raise ValueError("reference: without a truth `folder` holds the LR images; leave out the rest")
        return self

    def lr_folders(self, scale: int) -> tuple[str, ...]:
        """Where LR images are given; none where they are made of HR images."""
        if self.reference == "none":
            return self.folder
        return tuple(folder.replace("{scale}", str(scale)) for folder in self.lr)


class Encoder(EncoderSize):
    """Size of the RRDB encoder, and how it is pretrained."""

    training: Training = Training(steps=100_000, batch=64, loss="l1")
    """How the encoder is pretrained, as a super-resolution network of its own."""


class Sampling(Chain):
    """How a study's images are drawn from trained denoisers."""

    weights: tuple[Weights, ...] = Field(("ema", "raw"), min_length=1)
    """Weights to sample with: averaged (`ema`), or those of the last step (`raw`). Tables show the first."""


class OwnSampling(Strict):
    """How a variant's images are drawn, where that is not the study's way for its formulation."""

    like: Name | None = None
    """Begin at the step t where this other variant begins."""
    start: Positive | None = None
    """Step t at which sampling begins. Default: the study's."""
    steps: Positive | None = None
    """Network calls for one image. Default: the study's."""

    @model_validator(mode="after")
    def _one_beginning(self) -> OwnSampling:
        if self.like is not None and self.start is not None:
            raise ValueError("start: no effect beside `like`; leave one of the two out")
        return self


class Study(Strict):
    """Data, networks and effort of one study."""

    about: str
    """One line on the study; every table prints it."""
    comparable: bool = False
    """Whether this study's numbers may be compared with the paper's."""
    train_set: Name
    """Data set to train on."""
    test_sets: tuple[Name, ...] = Field(min_length=1)
    """Data sets to test on."""
    seeds: tuple[NotNegative, ...] = Field(min_length=1)
    """One training of each variant for each seed."""
    masks: dict[Name, Name]
    """Levels of masks, and the mask set that each stands for: the paper's high, medium and low, or others."""
    mask_shards: Positive = 1
    """Number of jobs that share the segmentation of one data set."""
    sample_shards: Positive = 1
    """Number of jobs that share the sampling of one data set from one run."""
    encoders: dict[Name, Encoder] = Field(default_factory=lambda: {"default": Encoder()})
    """Encoders by name. A variant chooses one with its own `encoder`."""
    unet: UNet = UNet()
    """Size of the denoiser."""
    training: Training = Training()
    """How denoisers are trained. A variant's `training` may change it."""
    sampling: Sampling = Sampling()
    """How images are sampled from trained denoisers."""
    threads: Positive = 2
    """CPU threads for each training or sampling process."""
    encoder_processes: Positive = 1
    """Processes that share each batch of an encoder's training where there is no GPU. While an encoder
    trains, its denoisers wait, and other cores would be idle."""
    gpus: NotNegative = 1
    """GPUs for each training, one process on each. With 0, jobs run side by side on the CPU's cores."""
    memory_mb: Positive = 3000
    """Memory of the largest process in MB, for schedulers."""
    hours: Positive = 24
    """Upper limit of one training in hours, for schedulers."""

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) < len(value):
            raise ValueError("holds a seed twice, which would count one training as two")
        return value


class Foreign(Strict):
    """Files of a network that others trained; see models/foreign.py for the layouts."""

    denoiser: str = ""
    """File of the denoiser."""
    encoder: str = ""
    """File of the encoder. Empty: the denoiser's file holds it too."""

    @property
    def encoder_file(self) -> str:
        return self.encoder or self.denoiser

    @property
    def files(self) -> list[str]:
        return [file for file in dict.fromkeys((self.encoder_file, self.denoiser)) if file]


def without_effect(kind: Any, foreign: Any, masks: Any) -> dict[str, str]:
    """Fields that decide nothing of such a variant, each with why; they are refused, and not inherited."""
    fields = {}
    if masks is None:
        fields["features"] = "without masks"
    if kind != "denoiser":
        fields |= dict.fromkeys(("backbone", "options"), f"on kind {kind!r}")
    elif foreign is not None:
        fields |= dict.fromkeys(("backbone", "options"), "on a network that others trained")
    return fields


class Variant(Strict):
    """One method, as data. What is not said is the paper's SAM-DiffSR, or what `base` says."""

    label: str
    """Name in tables and figures."""
    kind: Literal["bicubic", "encoder", "denoiser", "baseline"] = "denoiser"
    """What makes the images: bicubic interpolation, the encoder alone, a denoiser, or another method."""
    base: Name | None = None
    """Variant whose values hold where this one says nothing."""
    published: str = ""
    """Row in the published tables. Empty: the label."""
    encoder: Name = "default"
    """One of the study's `encoders`."""
    backbone: AnyBackbone | None = None
    """Architecture of the denoiser, with its arguments. `null`: SRDiff's, of the study's size `unet`."""
    # the diffusion (docs/method/formulations.md)
    formulation: FormulationName = "published"
    """How e_sam enters the noise: see docs/method/formulations.md."""
    options: dict[str, float] = Field(default_factory=dict)
    """Options of the formulation, such as `gamma` of `scaled`."""
    # the structure encoding (paper 4.2)
    masks: Name | None = None
    """Region masks to train with: a level of the study's `masks`, or a mask set. `null`: none."""
    placebo: PlaceboRegions | None = None
    """Train with regions that say nothing about the image: another image's, or random convex ones."""
    position: Position = "rope"
    """Position encoding that gives a region its value."""
    features: tuple[FeatureName, ...] = ()
    """Features of a region whose numbers are its values. Empty: its `position` alone."""
    rope_axis: Literal["width", "height"] = "width"
    """Sequence axis of the RoPE map. The released code: `height`."""
    mean_over: Literal["region", "image"] = "region"
    """Pixels over which a region's value is averaged. The released code: `image`."""
    overlap: Overlap = "sum"
    """Value of a pixel that several masks cover. The released code: `overwrite`."""
    uncovered: Literal["zero", "own_region"] = "zero"
    """Value of pixels that no mask covers: zero, or that of a region of their own."""
    reduce: bool = True
    """Set e_sam to zero in patches with a single value (paper, appendix B)."""
    mask_crop: Literal["aligned", "released"] = "aligned"
    """Where the mask of a patch is cut: at the patch, or elsewhere as the released script does."""
    foreign: Foreign | None = None
    """Files of a network that others trained, imported instead of training one."""
    # sampling
    sampling: OwnSampling | None = None
    """How this variant's images are sampled, where that differs from the study."""
    model_of: Name | None = None
    """Train nothing: sample from this other variant's networks."""
    # training
    lr_divisor: Literal[255, 256] = 255
    """LR pixels are divided by this before up-sampling. The released code: 256."""
    training: dict[str, Any] = Field(default_factory=dict)
    """What differs from the study's `training`."""

    @property
    def structured(self) -> bool:
        """Whether region masks take part in training."""
        return self.masks is not None

    @property
    def encoding(self) -> Encoding:
        """How its regions become values."""
        return Encoding(**{name: getattr(self, name) for name in Encoding.model_fields})

    @model_validator(mode="after")
    def _possible(self) -> Variant:
        for field, why in without_effect(self.kind, self.foreign, self.masks).items():
            if getattr(self, field):
                raise ValueError(f"{field}: no effect {why}; leave it out")
        if wrong := FORMULATIONS[self.formulation].against(self.options):
            raise ValueError(f"options: formulation {self.formulation!r} {wrong}")
        if self.foreign is not None:
            return self._possible_import(self.foreign)
        if self.kind == "denoiser" and bool(FORMULATIONS[self.formulation].e_sam) == (self.masks is None):
            if self.masks is None:
                raise ValueError(f"formulation {self.formulation!r} needs masks: a level, or a mask set")
            raise ValueError(f"formulation {self.formulation!r} uses no masks: leave `masks` out")
        if self.kind == "denoiser" and self.masks is not None:
            self._possible_features()
        if self.placebo is not None and self.masks is None:
            raise ValueError("placebo: it stands in for masks; say which (`masks`)")
        if self.kind != "denoiser" and self.masks is not None:
            raise ValueError(f"kind {self.kind!r} uses no masks")
        return self

    def _possible_features(self) -> None:
        arm, name, encoding = FORMULATIONS[self.formulation], self.formulation, self.encoding
        numbers = encoding.channels
        if self.features and self.position not in ("rope", *self.features):
            raise ValueError(
                f"position: {self.position!r} has no effect beside `features`; name it among them"
            )
        if arm.features and numbers not in arm.features:
            takes = " or ".join(map(str, arm.features))
            raise ValueError(
                f"features: formulation {name!r} takes {takes} numbers a region, these are {numbers}"
            )
        if arm.needs_masks and encoding.sees_images:
            raise ValueError(
                f"features: formulation {name!r} needs them at inference too, where there is no HR image"
            )

    def _possible_import(self, foreign: Foreign) -> Variant:
        needed = {"encoder": foreign.encoder, "denoiser": foreign.denoiser}.get(self.kind)
        if not needed:
            raise ValueError(f"kind {self.kind!r} cannot be imported from {foreign.files}")
        if self.masks is not None:
            raise ValueError("a network that others trained has its own masks: leave `masks` out")
        if FORMULATIONS[self.formulation].clip == "wide":  # needs the largest e_sam of the training
            raise ValueError(f"formulation {self.formulation!r} cannot be sampled from an imported network")
        return self


class Baseline(Strict):
    """Another method: where its images come from (docs/study/tables.md)."""

    label: str
    """Name in tables and figures."""
    published: str = ""
    """Row in the published tables. Empty: the label."""
    adapter: Adapter
    """Where the images come from: files, a command, a network for spandrel, a pipeline for diffusers."""
    folder: str = ""
    """`images`: folder of SR images, with {dataset} and {scale}. `diffusers`: folder of the pipeline."""
    command: str = ""
    """`command`: the command line. {lr} and {sr} stand for two folders, {scale} for the scale factor."""
    file: str = ""
    """`spandrel`: file of the network."""
    sha256: str | dict[str, str] = ""
    """SHA-256 of the file, or its first digits. `diffusers`: of each file in the folder."""
    steps: Positive = 100
    """`diffusers`: network calls for one image."""
    url: str = ""
    """Where to get it."""
    licence: str = ""
    """Its licence."""
    protocol: str = ""
    """How its published numbers map to these tables."""

    @model_validator(mode="after")
    def _place(self) -> Baseline:
        needed = ADAPTERS[self.adapter].needs
        if not getattr(self, needed).strip():
            raise ValueError(f"adapter {self.adapter!r} needs `{needed}`")
        try:
            shlex.split(self.command)
        except ValueError as error:
            raise ValueError(f"command: {self.command!r} is no command line ({error})") from None
        try:
            self.place("x", 4)
        except (ValueError, LookupError, AttributeError):
            field = "folder" if self.folder else "file"
            raise ValueError(
                f"{field}: {getattr(self, field)!r} may hold {{dataset}} and {{scale}}, and no other braces"
            ) from None
        return self

    def place(self, dataset: str, scale: int) -> str:
        """Its folder or file for the images of one data set; empty for a command."""
        return (self.folder or self.file).format(dataset=dataset, scale=scale)


class Run(Strict):
    """One trained (or trivial) method at one scale from one seed."""

    variant: Name
    scale: Scale
    seed: int

    @property
    def name(self) -> str:
        return run_name(self.variant, self.scale, self.seed)
