"""What an interrupted sampling goes on from: its images, where nothing that decides them has changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from samdiffsr.core.files import sha256_file


def finished_images(progress: Path, identity: str, out: Path) -> dict[str, dict[str, Any]]:
    """Images that an earlier call made of the same inputs, by the same code, and that are still whole.

    Args:
        progress: JSON lines, one an image, each with the identity of what it was made of. out: the PNG files.
    """
    if not progress.exists():
        return {}
    entries = {}
    for line in progress.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue  # the line that was being written when the process was killed
        path = out / f"{entry['name']}.png"
        if entry["identity"] == identity and path.exists() and sha256_file(path) == entry["sha256"]:
            entries[entry["name"]] = entry
    return entries
