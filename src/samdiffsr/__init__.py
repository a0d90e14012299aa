"""SAM-DiffSR (arXiv 2402.17133) as a reproducible benchmark: see README.md and docs/."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "open_study"]


def __getattr__(name: str) -> Any:
    """`open_study`, imported when it is asked for: the command line starts without it."""
    if name == "open_study":
        return import_module("samdiffsr.study").open_study
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
