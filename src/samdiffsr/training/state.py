"""Two kinds of file: the model, which other stages read, and the state, from which training goes on.

Both are written beside their place and renamed, carry what they were made from, and are refused by name
when they do not fit. Nothing is ever loaded by pickle.
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import torch

from samdiffsr.core.errors import UserError
from samdiffsr.core.files import atomic_path, read_json, sha256_file, sha256_json, write_json

KEEP = 2  # states kept, so that a damaged newest one costs one interval and not the run


class StateFolder:
    """The resume states of one training in one folder.

    Args:
        folder: made if needed; belongs to this training alone.
        identity: everything that must be equal for a state to be continued (recipe, data, precision).
    """

    def __init__(self, folder: str | Path, identity: dict[str, Any]) -> None:
        self.folder = Path(folder)
        self.identity = sha256_json(identity)

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Keep `state` (tensors, numbers, strings) as the state after `step` steps."""
        path = self.folder / f"state-{step:08d}.pt"
        data = io.BytesIO()  # torch and safetensors hide from their callers that a disk is full
        torch.save(state, data)
        with atomic_path(path) as part:
            part.write_bytes(data.getbuffer())
            digest = sha256_file(part)
        # the seal comes after the state: a state without one does not count
        write_json(path.with_suffix(".json"), {"identity": self.identity, "sha256": digest, "step": step})
        for old in self._paths()[:-KEEP]:
            old.with_suffix(".json").unlink(missing_ok=True)
            old.unlink(missing_ok=True)

    def load(self, say: Any = print) -> tuple[int, dict[str, Any]] | None:
        """The newest whole state of this training, as (steps done, state), or None to begin anew.

        A damaged state, or one of another recipe, is passed over with a line that says so.
        """
        for path in reversed(self._paths()):
            try:
                seal = read_json(path.with_suffix(".json"))
                identity, digest, step = seal["identity"], seal["sha256"], seal["step"]
            except UserError:
                say(f"{path}: unfinished, passed over")
                continue
            if identity != self.identity:
                say(f"{path}: of another recipe, data or precision, passed over")
            elif digest != sha256_file(path):
                say(f"{path}: damaged (its checksum differs), passed over")
            else:
                return step, torch.load(path, map_location="cpu", weights_only=True)
        return None

    def clear(self) -> None:
        """Remove all states; the training is finished."""
        for path in self._paths():
            path.with_suffix(".json").unlink(missing_ok=True)
            path.unlink(missing_ok=True)

    def _paths(self) -> list[Path]:
        return sorted(p for p in self.folder.glob("state-*.pt") if re.fullmatch(r"state-\d{8}\.pt", p.name))
