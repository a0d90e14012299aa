"""What comes from outside, out of three tables in `sources/`: image sets (sources.yaml), networks
(weights.yaml) and other methods (baselines.yaml).

Nothing here touches the network or the data.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from samdiffsr.core.errors import UserError
from samdiffsr.core.layout import source_folder, source_stamp

_HEX = re.compile(r"[0-9a-f]{8,64}")


@dataclass(frozen=True)
class WeightFile:
    """One row of weights.yaml.

    `sha256` may be a prefix of at least 8 digits where the whole value is not published; `bytes` may be None.
    """

    key: str
    file: str
    sha256: str
    bytes: int | None = None
    urls: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    terms: str = ""
    purpose: str = ""


@dataclass(frozen=True)
class Way:
    """One place that a source can be had from; see sources.yaml."""

    tree: str
    url: str | None = None
    bytes: int | None = None
    sha256: str | None = None
    md5: str | None = None


@dataclass(frozen=True)
class Take:
    """Files of the tree that match `pattern` (a glob of one folder) go to `to`; `count` of them, if known."""

    pattern: str
    to: str
    count: int | None = None


@dataclass(frozen=True)
class Source:
    """One row of sources.yaml; its files lie in `folder`."""

    key: str
    title: str
    ways: tuple[Way, ...]
    take: tuple[Take, ...]
    terms: str
    unpacked: int = 0
    by_hand: str = ""
    optional: bool = False
    notes: str = ""

    @property
    def folder(self) -> Path:
        """Where the files lie, relative to the repository's root."""
        return Path(source_folder(self.key))

    @property
    def stamp(self) -> Path:
        """Written when the files are there and verified."""
        return Path(source_stamp(self.key))

    @property
    def downloadable(self) -> bool:
        return any(way.url for way in self.ways)

    @property
    def disk(self) -> int:
        """Bytes that fetching needs at most: the archive and what is unpacked."""
        return self.unpacked + max([way.bytes or self.unpacked for way in self.ways if way.url], default=0)


def read_rows(path: str | Path | None, packaged: str, what: str) -> dict[str, dict[str, Any]]:
    """A YAML table of rows by key: the file `path`, or `packaged` out of `sources/`; each row a mapping.

    Raises UserError naming the file or the row.
    """
    if path is None:
        label = packaged
        text = (resources.files("samdiffsr.data") / "sources" / packaged).read_text(encoding="utf-8")
    else:
        label = str(path)
        try:
            text = Path(path).read_text(encoding="utf-8")
        except FileNotFoundError:
            raise UserError(f"{path}: no such {what} table") from None
    try:
        rows = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"{label}: not valid YAML ({str(error).splitlines()[0]})") from None
    if not isinstance(rows, dict):
        raise UserError(f"{label}: must map each key to its row")
    for key, row in rows.items():
        if not isinstance(row, dict):
            raise UserError(f"{label}: {key} must be a mapping")
    return rows


def _known(label: str, key: str, row: Mapping[str, Any], fields: set[str], needed: tuple[str, ...]) -> None:
    if unknown := set(row) - fields:
        raise UserError(f"{label}: {key} has an unknown field {min(unknown)!r}")
    for field in needed:
        if field not in row:
            raise UserError(f"{label}: {key} needs the field {field!r}")


# ---- networks ----

_WEIGHT_FIELDS = {"file", "also", "bytes", "sha256", "urls", "terms", "purpose"}


def read_weights(path: str | Path | None = None) -> dict[str, WeightFile]:
    """Read a weight table (the packaged one if `path` is None): key -> row.

    Raises UserError naming the row and field that are wrong.
    """
    label = "weights.yaml" if path is None else str(path)
    found = {}
    for key, row in read_rows(path, "weights.yaml", "weight").items():
        _known(label, key, row, _WEIGHT_FIELDS, ())
        for field in ("file", "sha256"):
            if not isinstance(row.get(field), str):  # an all-digit hash must be quoted in YAML
                raise UserError(f"{label}: {key} needs the field {field!r} as text")
        if not _HEX.fullmatch(row["sha256"]):
            raise UserError(f"{label}: {key}: sha256 must be 8 to 64 hexadecimal digits in lower case")
        lists = {field: tuple(row.get(field) or ()) for field in ("urls", "also")}
        found[key] = WeightFile(key=key, **{**row, **lists})
    return found


_declared: dict[str, WeightFile] = {}


def weights() -> Mapping[str, WeightFile]:
    """The packaged weight table, and what was declared beside it."""
    return {**_packaged_weights(), **_declared}


def declare_weights(rows: Iterable[WeightFile]) -> None:
    """Add rows of a configuration; of two of one key the later counts."""
    _declared.update((row.key, row) for row in rows)


@functools.cache
def _packaged_weights() -> Mapping[str, WeightFile]:
    return read_weights()


# ---- image sets ----

_SOURCE_FIELDS = {"title", "ways", "take", "unpacked", "terms", "by_hand", "optional", "notes"}


def read_sources(path: str | Path | None = None) -> dict[str, Source]:
    """Read a source table (the packaged one if `path` is None): key -> row.

    Raises UserError naming the row and field that are wrong.
    """
    label = "sources.yaml" if path is None else str(path)
    return {key: _source(label, key, row) for key, row in read_rows(path, "sources.yaml", "source").items()}


def _source(label: str, key: str, row: Mapping[str, Any]) -> Source:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", str(key)):
        raise UserError(f"{label}: {key!r}: a key is small letters, digits and _")
    _known(label, key, row, _SOURCE_FIELDS, ("title", "ways", "take", "terms"))
    ways, takes = [], []
    for way in row["ways"]:
        _known(label, f"{key}.ways", way, {"tree", "url", "bytes", "sha256", "md5"}, ("tree",))
        for field, digits in (("sha256", 64), ("md5", 32)):
            if field in way and not re.fullmatch(rf"[0-9a-f]{{{digits}}}", str(way[field])):
                raise UserError(f"{label}: {key}.ways: {field} must be {digits} hexadecimal digits")
        ways.append(Way(**way))
    for take in row["take"]:
        _known(label, f"{key}.take", take, {"from", "to", "count"}, ("from", "to"))
        takes.append(Take(take["from"], take["to"], take.get("count")))
    source = Source(key=key, **{**row, "ways": tuple(ways), "take": tuple(takes)})
    if not source.downloadable and not source.by_hand:
        raise UserError(f"{label}: {key} has no url, so it needs the field 'by_hand'")
    return source


@functools.cache
def sources() -> Mapping[str, Source]:
    """The packaged source table."""
    return read_sources()


def source(key: str) -> Source:
    """A row of the packaged source table; UserError if there is none."""
    if key not in sources():
        raise UserError(f"no source is called {key!r}; known are {', '.join(sources())}")
    return sources()[key]


# ---- other methods ----


@functools.cache
def baselines() -> Mapping[str, dict[str, Any]]:
    """The packaged table of other methods, unchecked: it is part of the configuration, which checks it."""
    return read_rows(None, "baselines.yaml", "baseline")
