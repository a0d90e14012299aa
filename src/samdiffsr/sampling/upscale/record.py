"""What a folder holds of what was made before: by content, so an interrupted run goes on where it was."""

from __future__ import annotations

import json
import os
from pathlib import Path

from samdiffsr.core.files import sha256_file

NAME = ".upscale.jsonl"


class Record:
    """A file of JSON lines in the output folder: of each target, what it was made of and its hash.

    A line is written before its image gets its name, so no image of ours is ever without one. The last line
    of a target counts; one that was cut off by a kill is passed over.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / NAME
        self.entries: dict[str, tuple[str, str]] = {}
        text = self.path.read_text(encoding="utf-8", errors="replace") if self.path.exists() else ""
        for line in text.splitlines():
            try:
                entry = json.loads(line)
                self.entries[entry["target"]] = entry["made_of"], entry["sha256"]
            except (json.JSONDecodeError, KeyError, TypeError):
                continue

    def holds(self, target: Path, made_of: str) -> bool:
        """Whether the target is there, whole, and was made of just this."""
        entry = self.entries.get(str(target.relative_to(self.folder)))
        return (
            entry is not None and entry[0] == made_of and target.is_file() and sha256_file(target) == entry[1]
        )

    def add(self, target: Path, made_of: str, sha256: str) -> None:
        """Write a line, and let the disk have it."""
        entry = {"target": str(target.relative_to(self.folder)), "made_of": made_of, "sha256": sha256}
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(f"\n{json.dumps(entry)}")  # the line break first: the last line may be cut off
            file.flush()
            os.fsync(file.fileno())
