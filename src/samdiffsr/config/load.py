"""From a file or a mapping to the configuration, and what is wrong with it in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from samdiffsr.config.config import Config
from samdiffsr.config.reading import read_mapping
from samdiffsr.core.errors import UserError, shown
from samdiffsr.core.plugins import load_plugins
from samdiffsr.core.registry import similar
from samdiffsr.reporting.figures.registry import KINDS


def load_config(value: dict[str, Any] | str | Path) -> Config:
    """Validate a configuration, given as a mapping or as the path of a YAML file.

    Raises:
        UserError: one line that names the key and says what is wrong with it.
    """
    if not isinstance(value, dict):
        value = read_mapping(value)
    plugins = value.get("plugins")
    if isinstance(plugins, list | tuple) and all(isinstance(name, str) for name in plugins):
        load_plugins(plugins)
    else:  # those that are installed; what is wrong with the value is said below
        load_plugins()
    try:
        return Config.model_validate(value)
    except ValidationError as error:
        raise UserError(f"config: {shown(_first_error(error, value))}") from None


def _first_error(error: ValidationError, value: Any = None) -> str:
    # a misspelt key is also a missing one: name what was written
    first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    path = first["loc"]
    where = ".".join(str(part) for part in path if part != "[key]")
    if first["type"] == "extra_forbidden":
        return f"{where}: unknown key{similar(str(path[-1]), _fields_beside(path, value))}"
    if first["type"] == "missing":
        return f"{where}: missing"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error":
        return f"{where}: {message}" if where else message
    more = f" (and {len(error.errors()) - 1} more)" if len(error.errors()) > 1 else ""
    return f"{where}: {message[0].lower()}{message[1:]}, not {first['input']!r}{more}"


def _fields_beside(path: tuple[Any, ...], value: Any) -> list[str]:
    """Field names of the model that the last part of `path` was looked for in."""
    model: Any = Config
    if path[0] == "figures" and len(path) > 2:
        model, path = KINDS[value["figures"][path[1]]["kind"]].spec, path[2:]
    for part in path[:-1]:
        fields = getattr(model, "model_fields", None)
        if fields is None or part not in fields:
            continue  # a key of a mapping or list: the model stays its values' model
        inner = fields[part].annotation
        candidates = [inner, *getattr(inner, "__args__", ())]
        model = next((c for c in candidates if hasattr(c, "model_fields")), model)
    return list(getattr(model, "model_fields", {}))
