"""Plug-ins: modules outside the package that add entries to its registries when they are imported.

A plug-in is found by an entry point of an installed package, or by its name in `plugins:` of the
configuration. Its entries say where its code is, so that importing it imports nothing heavy.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable
from functools import cache
from importlib import metadata

from samdiffsr.core.errors import UserError

GROUP = "samdiffsr.plugins"  # of entry points
VARIABLE = "SAMDIFFSR_PLUGINS"  # what the configuration names, for the stages' processes


def load_plugins(names: Iterable[str] = ()) -> None:
    """Import the plug-ins of installed packages, those of the environment, and `names`, each once.

    Args:
        names: of modules that can be imported from here: the working folder is searched too.

    Raises:
        UserError: there is no such module, it fails, or it imports torch: planning a study must not.
    """
    if (here := os.getcwd()) not in sys.path:
        sys.path.append(here)
    for name in dict.fromkeys((*_installed(), *os.environ.get(VARIABLE, "").split(), *names)):
        if name in sys.modules:
            continue
        light = "torch" not in sys.modules
        try:
            importlib.import_module(name)
        except UserError:
            raise
        except Exception as error:  # whatever the code of others raises
            raise UserError(f"plug-in {name!r}: {type(error).__name__}: {error}") from None
        if light and "torch" in sys.modules:
            raise UserError(f"plug-in {name!r}: imports torch; import it inside the functions that need it")


@cache
def _installed() -> tuple[str, ...]:
    return tuple(point.value for point in metadata.entry_points(group=GROUP))
