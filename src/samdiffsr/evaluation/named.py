"""Metrics of pyiqa by name: the `metrics:` of config.yaml, and how they come into the registry.

A definition travels in the recipe of every stage that needs it, and enters the registry where the recipe is
read. Which metrics pyiqa has, which need the truth and which direction is better is read out of its own
table, without importing pyiqa or torch.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from samdiffsr.core.recipe import Name, Positive, Recipe, Strict
from samdiffsr.core.registry import similar
from samdiffsr.data.catalogue import WeightFile, declare_weights, weights
from samdiffsr.evaluation.metrics import METRICS, NamedMetric

# of sets of images, of a text beside them, or of two images that compete
OTHERS = ("FID", "InceptionScore", "CLIPScore", "Compare2Score")


class WeightRow(Strict):
    """A weight file that data/sources/weights.yaml does not have; the fields are those of its rows."""

    file: Annotated[str, Field(pattern=r"^[^/]+$")]
    """Its name in `weights/`, which is the one that pyiqa, torchvision or CLIP gives it."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{8,64}$")]
    """Its SHA-256, or at least the first 8 digits."""
    bytes: Positive | None = None
    """Its size."""
    urls: tuple[str, ...] = ()
    """Where it can be had."""
    also: tuple[str, ...] = ()
    """Other names under which it may lie in `weights/`."""

    def declare(self) -> str:
        """The key of the file, which the table of weights has from here on."""
        declare_weights([WeightFile(key=self.file, **dict(self))])
        return self.file


class Definition(Strict):
    """A metric of pyiqa, as config.yaml defines it; the name that tables use is its key."""

    pyiqa: str
    """pyiqa's name of the metric. Left out: the key."""
    label: str
    """Column heading in tables. Left out: the key in capitals."""
    better: Literal[-1, 1]
    """1 if more is better, -1 if less is. Left out: what pyiqa says."""
    unit: str = ""
    """Unit in the column heading."""
    decimals: Annotated[int, Field(ge=0, le=6)] = 4
    """Decimals in tables."""
    options: dict[str, bool | int | float | str] = Field(default_factory=dict)
    """Options of pyiqa's metric."""
    weights: tuple[
        Annotated[
            Annotated[str, Tag("key")] | Annotated[WeightRow, Tag("row")],
            Discriminator(lambda value: "key" if isinstance(value, str) else "row"),
        ],
        ...,
    ] = ()
    """Every file that pyiqa would fetch for it: keys of `data/sources/weights.yaml`, or rows."""

    @property
    def bare(self) -> Definition:
        """Without what only tables show."""
        return self.but(label="", unit="", decimals=4)

    @model_validator(mode="after")
    def _possible(self) -> Definition:
        known = catalogue()
        if self.pyiqa not in known:
            raise ValueError(f"pyiqa: no metric {self.pyiqa!r}{similar(self.pyiqa, known)}")
        spec = known[self.pyiqa]
        if spec["metric_opts"]["type"] in OTHERS:
            raise ValueError(f"pyiqa: {self.pyiqa!r} is no metric of one image")
        if self.better != _better(spec):
            raise ValueError(f"better: of {self.pyiqa!r} {'less' if self.better > 0 else 'more'} is better")
        for key in self.weights:
            if isinstance(key, str) and key not in weights():
                raise ValueError(f"weights: no {key!r} in weights.yaml{similar(key, weights())}; say its row")
        packaged = {row.file: key for key, row in weights().items() if key != row.file}
        for row in self.weights:
            if isinstance(row, WeightRow) and row.file in packaged:
                raise ValueError(f"weights: {row.file} is {packaged[row.file]!r} of weights.yaml; name that")
        return self


def _completed(value: Any) -> Any:
    """The same, with what a definition leaves out."""
    if not isinstance(value, Mapping):
        return value
    return {
        name: {"pyiqa": name, "label": str(name).upper(), **_direction(name, own), **own}
        if isinstance(own, Mapping)
        else own
        for name, own in value.items()
    }


def _direction(name: Any, own: Mapping[str, Any]) -> dict[str, int]:
    spec = catalogue().get(str(own.get("pyiqa", name)))
    return {"better": 1 if spec is None else _better(spec)}


def _defined(value: dict[str, Definition]) -> dict[str, Definition]:
    """The same; from here on the registry has the metrics, and the table of weights their files."""
    for name in value:
        if name in METRICS and not isinstance(METRICS[name], NamedMetric):
            raise ValueError(f"{name!r} is a metric already; call it otherwise")
    for name, definition in value.items():
        keys = (row if isinstance(row, str) else row.declare() for row in definition.weights)
        METRICS.replace(
            name,
            NamedMetric(
                label=definition.label,
                code="samdiffsr.evaluation.image:named",
                decimals=definition.decimals,
                better=definition.better,
                unit=definition.unit,
                weights=tuple(keys),
                truth=catalogue()[definition.pyiqa]["metric_mode"] == "FR",
                pyiqa=definition.pyiqa,
                options=tuple(sorted(definition.options.items())),
            ),
        )
    return value


Definitions = Annotated[
    dict[Name, Definition], BeforeValidator(_completed), AfterValidator(_defined), Field(default_factory=dict)
]


class Defining(Recipe):
    """The recipe of a stage that scores or shows metrics; defined: those that config.yaml defines."""

    later: ClassVar[tuple[str, ...]] = ("defined",)

    defined: Definitions


@cache
def catalogue() -> Mapping[str, Mapping[str, Any]]:
    """pyiqa's own table: name -> metric_opts, metric_mode ("FR" needs the truth), lower_better."""
    package = importlib.util.find_spec("pyiqa")
    if package is None or package.origin is None:
        return {}
    path = Path(package.origin).with_name("default_model_configs.py")
    spec = importlib.util.spec_from_file_location("pyiqa_default_model_configs", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    table: Mapping[str, Mapping[str, Any]] = module.DEFAULT_CONFIGS
    return table


def _better(spec: Mapping[str, Any]) -> int:
    return -1 if spec.get("lower_better") else 1
