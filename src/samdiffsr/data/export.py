"""The images of a store as PNG files, for programs that are not this project's."""

from __future__ import annotations

from pathlib import Path

from samdiffsr.data.images import write_png
from samdiffsr.data.store import Store


def export_store(store: Path, folder: Path) -> None:
    """Write every image as `<folder>/<name>.png`."""
    source = Store(store)
    for i, name in enumerate(source.names):
        write_png(folder / f"{name}.png", source[i])
