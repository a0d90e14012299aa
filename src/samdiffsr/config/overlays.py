"""A configuration as a command line asks for it: config.yaml, files laid over it, single settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from samdiffsr.config.config import Config
from samdiffsr.config.load import load_config
from samdiffsr.config.reading import read_mapping, read_value
from samdiffsr.core.errors import UserError


def configured(
    path: Path,
    overlays: Sequence[Path] | None = None,
    settings: Sequence[str] | None = None,
    **named: Any,
) -> Config:
    """The configuration at `path` with files, `named` settings (None: not given) and KEY=VALUEs over it."""
    value = read_mapping(path)
    for overlay in overlays or ():
        value = merged(value, read_mapping(overlay))
    value |= {key: setting for key, setting in named.items() if setting is not None}
    for text in settings or ():
        key, sign, setting = text.partition("=")
        if not sign:
            raise UserError(f"--set {text}: must be KEY=VALUE")
        value[key] = read_value(setting, f"--set {key}")
    return load_config(value)


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings merged key by key, as Snakemake does with --configfile."""
    both = dict(below)
    for key, value in above.items():
        mappings = isinstance(value, dict) and isinstance(both.get(key), dict)
        both[key] = merged(both[key], value) if mappings else value
    return both
