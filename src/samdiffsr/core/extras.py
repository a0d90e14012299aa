"""Packages that come with an extra: imported when they are used, and named where they are missing."""

from __future__ import annotations

import importlib
from typing import Any

from samdiffsr.core.errors import UserError


def optional(module: str, extra: str) -> Any:
    """The module, imported.

    Args:
        module: e.g. "rocrate.rocrate". extra: of pyproject.toml, which brings it.

    Raises:
        UserError: it is not installed, and how to install it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise UserError(
            f"the package {error.name} is not installed; run `pip install '.[{extra}]'` in the repository"
        ) from None
