"""The blocks of config.yaml: every field, its choices and default, and what cannot go together in a block.

Every choice on which the paper and its released code differ is a field of `Variant`, with the paper's choice
as default where the paper is clear (docs/method/deviations.md). `config.Config` checks what refers to other
blocks.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from samdiffsr.core.layout import run_name
from samdiffsr.core.recipe import Name, NotNegative, Positive, Scale, Strict
from samdiffsr.core.registry import similar
from samdiffsr.data.catalogue import sources
from samdiffsr.diffusion.recipe import FormulationName
from samdiffsr.diffusion.registry import FORMULATIONS
from samdiffsr.evaluation.metrics import METRICS, SamplesMetric
from samdiffsr.evaluation.protocol import PROTOCOLS
from samdiffsr.masks.recipe import Overlap, Position
from samdiffsr.models.recipe import EncoderSize, UNet
from samdiffsr.sampling.adapters import ADAPTERS
from samdiffsr.sampling.recipe import Adapter, Chain, Weights
from samdiffsr.training.recipe import Training

Level = Literal["high", "medium", "low"]
FigureName = Annotated[str, Field(pattern=r"^figure[a-z0-9_]+$")]


class Dataset(Strict):
    """A folder of images under data/, or the union of several."""

    folder: tuple[str, ...] = Field(min_length=1)  # relative to the repository's root
    source: tuple[str, ...] = Field(min_length=1)  # keys of sources.yaml; or demo; or local (yours, as it is)
    label: str = ""  # column heading in tables; the name itself if empty
    published: str = ""  # name in paper/published_tables.csv; empty if the paper does not use it
    exclude: tuple[str, ...] = ()  # names left out, e.g. because they are also test images

    @field_validator("folder", "source", "exclude", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _sources(self) -> Dataset:
        known = {"demo", "local", *sources()}
        for name in self.source:
            if name not in known:
                raise ValueError(f"source: no source {name!r}{similar(name, known)}")
        return self


class Encoder(EncoderSize):
    """RRDB size, and how it is pretrained."""

    training: Training = Training(steps=100_000, batch=64, loss="l1")


class Sampling(Chain):
    """How a study's images are drawn from trained denoisers."""

    weights: tuple[Weights, ...] = Field(("ema", "raw"), min_length=1)  # the first is the headline


class OwnSampling(Strict):
    """How a variant's images are drawn, where that is not the study's way for its formulation."""

    like: Name | None = None  # begin at the t where this variant begins
    start: Positive | None = None
    steps: Positive | None = None


class Study(Strict):
    """Data, networks and effort of one study."""

    about: str
    comparable: bool = False  # whether the paper's numbers may be compared with this study's
    train_set: Name
    test_sets: tuple[Name, ...] = Field(min_length=1)
    seeds: tuple[NotNegative, ...] = Field(min_length=1)
    masks: dict[Level, Name]
    mask_shards: Positive = 1  # jobs that share the segmentation of one data set
    sample_shards: Positive = 1  # jobs that share the sampling of one data set from one run
    encoders: dict[Name, Encoder] = Field(default_factory=lambda: {"default": Encoder()})
    unet: UNet = UNet()
    training: Training = Training()
    sampling: Sampling = Sampling()
    threads: Positive = 2  # CPU threads of a training or sampling process
    gpus: Annotated[int, Field(ge=0)] = (
        1  # of a training, one a process; sampling takes one; with 0, several jobs share the CPU's cores
    )
    memory_mb: Positive = 3000  # of the largest process
    hours: Positive = 24  # upper limit of one training, for schedulers

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) < len(value):
            raise ValueError("holds a seed twice, which would count one training as two")
        return value


class Foreign(Strict):
    """Files of a network that others trained; see models/foreign.py for the layouts."""

    denoiser: str = ""
    encoder: str = ""  # empty: the denoiser's file holds it

    @property
    def encoder_file(self) -> str:
        return self.encoder or self.denoiser

    @property
    def files(self) -> list[str]:
        return [file for file in dict.fromkeys((self.encoder_file, self.denoiser)) if file]


class Variant(Strict):
    """One method, as data. What is not said is the paper's SAM-DiffSR, or what `base` says."""

    label: str
    kind: Literal["bicubic", "encoder", "denoiser", "baseline"] = "denoiser"
    base: Name | None = None
    published: str = ""  # row name in the published tables; the label if empty
    encoder: Name = "default"
    # the diffusion (docs/method/formulations.md)
    formulation: FormulationName = "published"
    # the structure encoding (paper 4.2)
    masks: Level | None = None
    placebo: Literal["other_image", "voronoi"] | None = None  # regions that say nothing, in place of these
    position: Position = "rope"
    rope_axis: Literal["width", "height"] = "width"  # the sequence axis; the released code: height
    mean_over: Literal["region", "image"] = "region"  # the released code: image
    overlap: Overlap = "sum"  # the released code: overwrite
    uncovered: Literal["zero", "own_region"] = "zero"
    reduce: bool = True  # paper appendix B
    mask_crop: Literal["aligned", "released"] = "aligned"  # the released script cuts the mask elsewhere
    foreign: Foreign | None = None  # imported instead of trained; the files decide the networks' sizes
    # sampling
    sampling: OwnSampling | None = None
    model_of: Name | None = None  # not trained: draws from this variant's networks
    # training
    lr_divisor: Literal[255, 256] = 255  # the released code up-samples LR / 256
    training: dict[str, Any] = Field(default_factory=dict)  # what differs from the study's

    @property
    def structured(self) -> bool:
        """Whether region masks take part in training."""
        return self.masks is not None

    @model_validator(mode="after")
    def _possible(self) -> Variant:
        if self.foreign is not None:
            return self._possible_import(self.foreign)
        if self.kind == "denoiser" and bool(FORMULATIONS[self.formulation].e_sam) == (self.masks is None):
            if self.masks is None:
                raise ValueError(f"formulation {self.formulation!r} needs masks: high, medium or low")
            raise ValueError(f"formulation {self.formulation!r} uses no masks: leave `masks` out")
        if self.placebo is not None and self.masks is None:
            raise ValueError("placebo: it stands in for masks; say which (`masks`)")
        if self.kind != "denoiser" and self.masks is not None:
            raise ValueError(f"kind {self.kind!r} uses no masks")
        return self

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
    published: str = ""  # row name in the published tables; the label if empty
    adapter: Adapter
    folder: str = ""  # images: of SR images, with {dataset} and {scale}; diffusers: of the pipeline
    command: str = ""  # command: with {lr} and {sr}, two folders, and {scale}
    file: str = ""  # spandrel: the network
    sha256: str | dict[str, str] = ""  # or its first digits; diffusers: of files in the folder
    steps: Positive = 100  # diffusers: network calls an image
    url: str = ""
    licence: str = ""
    protocol: str = ""  # how its published numbers map to these tables

    @model_validator(mode="after")
    def _place(self) -> Baseline:
        needed = ADAPTERS[self.adapter].needs
        if not getattr(self, needed):
            raise ValueError(f"adapter {self.adapter!r} needs `{needed}`")
        return self

    def place(self, dataset: str, scale: int) -> str:
        """Its folder or file for the images of one data set; empty for a command."""
        return (self.folder or self.file).format(dataset=dataset, scale=scale)


class Row(Strict):
    """One row of a table; a bare name in config.yaml means the variant of that name.

    Without a variant it is a method of the paper that is not run here: its published values alone.
    """

    variant: Name | None = None
    label: str = ""
    published: str = ""  # row name in the published tables; the label, or what the variant says, if empty

    @model_validator(mode="after")
    def _something(self) -> Row:
        if self.variant is None and not self.published:
            raise ValueError("needs a `variant`, or `published` for a method that is not run here")
        return self


class Pair(Strict):
    """A difference that a table claims: `of` minus `minus`, both rows of it."""

    of: Name
    minus: Name


class Table(Strict):
    """One table of the paper: which rows, which data sets, which metrics, in the paper's order."""

    title: str
    scale: Scale = 4
    datasets: tuple[Name, ...] = ()  # those the study has; if it has none of them, the study's test sets
    metrics: tuple[Annotated[str, AfterValidator(METRICS.known)], ...] = Field(min_length=1)
    rows: tuple[Row, ...] = Field(min_length=1)
    differences: tuple[Pair, ...] = ()
    protocols: tuple[Annotated[str, AfterValidator(PROTOCOLS.known)], ...] = ()  # the same images under each
    samples: Positive = 1  # images of each LR image; with 2 or more, all metrics are of samples
    notes: tuple[str, ...] = ()  # sentences under the table

    @property
    def scores(self) -> str:
        """The kind of scores that it shows of images (`Layout.scores`)."""
        return "protocols" if self.protocols else f"samples{self.samples}" if self.samples > 1 else ""

    @model_validator(mode="after")
    def _of_samples(self) -> Table:
        for name in self.metrics:
            if isinstance(METRICS[name], SamplesMetric) != (self.samples > 1):
                takes = "two or more, as of every metric of samples" if self.samples == 1 else "1"
                raise ValueError(f"samples: {name!r} takes {takes}, not {self.samples}")
        if self.samples > 1 and self.protocols:
            raise ValueError("samples: not together with `protocols`")
        return self

    @property
    def variants(self) -> tuple[str, ...]:
        """The variants that it shows, each once."""
        return tuple(dict.fromkeys(row.variant for row in self.rows if row.variant))

    @model_validator(mode="before")
    @classmethod
    def _bare_names(cls, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(value.get("rows"), list):
            rows = [{"variant": row} if isinstance(row, str) else row for row in value["rows"]]
            value = {**value, "rows": rows}
        return value


class Protocol(Strict):
    """What is compared with what: see docs/protocol.md."""

    border: Annotated[int, Field(ge=0)] = 0  # pixels left out on each side


class Report(Strict):
    """How much of the images results/report.html carries (docs/report.md)."""

    images: Positive = 12  # of one data set at most: those on which the methods' PSNR-Y differs most
    side: Annotated[int, Field(ge=32)] = 384  # larger images are cut to where the methods differ most
    megabytes: Annotated[float, Field(gt=0)] = 40  # of all comparisons together, in the page


class Run(Strict):
    """One trained (or trivial) method at one scale from one seed."""

    variant: Name
    scale: Scale
    seed: int

    @property
    def name(self) -> str:
        return run_name(self.variant, self.scale, self.seed)
