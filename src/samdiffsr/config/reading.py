"""YAML that says the same to every reader.

Snakemake reads YAML 1.1, where `yes` is true, `017` is 15 and `12:30` is 750; YAML 1.2 reads text, 17 and
text. What the two versions read differently is refused by name, and so is a key that is given twice.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from samdiffsr.core.errors import UserError


def read_mapping(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file, unchecked.

    Raises:
        UserError: no file, no mapping, not YAML, a key given twice, or a value that is read in two ways.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run from the repository's root") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    value = read_value(text, str(path))
    if not isinstance(value, dict):
        raise UserError(f"{path}: must map keys to values")
    return value


def read_value(text: str, origin: str) -> Any:
    """What a YAML text says; UserError names `origin` and what is wrong."""
    try:
        older = yaml.safe_load(text)
        newer = YAML(typ="safe", pure=True).load(text)
    except MarkedYAMLError as error:
        where = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"{origin}: not valid YAML: {' '.join(str(error.problem).split())}{where}") from None
    except (yaml.YAMLError, YAMLError) as error:
        raise UserError(f"{origin}: not valid YAML: {' '.join(str(error).split())}") from None
    _agree(older, newer, origin, ())
    return newer


def _agree(older: Any, newer: Any, origin: str, path: tuple[str, ...]) -> None:
    """UserError at the first value that differs between the two versions."""
    if isinstance(older, dict) and isinstance(newer, dict) and len(older) == len(newer):
        for (old_key, old), (key, new) in zip(older.items(), newer.items(), strict=True):
            _agree(old_key, key, origin, (*path, str(key)))
            _agree(old, new, origin, (*path, str(key)))
    elif isinstance(older, list) and isinstance(newer, list) and len(older) == len(newer):
        for i, (old, new) in enumerate(zip(older, newer, strict=True)):
            _agree(old, new, origin, (*path, str(i)))
    elif type(older) is not type(newer) or repr(older) != repr(newer):
        where = ".".join(path) + ": " if path else ""
        raise UserError(
            f"{origin}: {where}YAML 1.1 reads it as {older!r}, YAML 1.2 as {newer!r}; write text in quotes, "
            "truth as true or false, whole numbers in decimal, others as 1.0e-3"
        )
