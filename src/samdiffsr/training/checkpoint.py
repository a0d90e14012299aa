"""Two kinds of file: the model, which other stages read, and the state, from which training goes on.

Both are written beside their place and renamed, carry what they were made from, and are refused by name
when they do not fit. Nothing is ever loaded by pickle.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save
from torch import Tensor

from samdiffsr.errors import UserError
from samdiffsr.files import atomic_path, read_json, sha256_file, sha256_json, write_json

KEEP = 2  # states kept, so that a damaged newest one costs one interval and not the run


@dataclass(frozen=True)
class ModelFile:
    """A trained network: `raw` and `ema` weights, and `info` (recipe, data digests, device, versions)."""

    path: Path
    info: dict[str, Any]
    sha256: str

    def weights(self, kind: str) -> dict[str, Tensor]:
        """State dict of the `raw` or the `ema` weights, on the CPU."""
        with _opened(self.path) as file:
            prefix = f"{kind}."
            return {k.removeprefix(prefix): file.get_tensor(k) for k in file.keys() if k.startswith(prefix)}  # noqa: SIM118


def save_model(path: Path, raw: dict[str, Tensor], ema: dict[str, Tensor], info: dict[str, Any]) -> None:
    """Write a model file (safetensors). Equal content gives equal bytes."""
    tensors = {f"raw.{k}": v for k, v in raw.items()} | {f"ema.{k}": v for k, v in ema.items()}
    tensors = {k: v.detach().cpu().clone(memory_format=torch.contiguous_format) for k, v in tensors.items()}
    with atomic_path(path) as part:
        # one metadata key: the library keeps several in no fixed order
        part.write_bytes(save(tensors, metadata={"samdiffsr": json.dumps(info, sort_keys=True)}))


def open_model(path: str | Path, kind: str | None = None) -> ModelFile:
    """Read a model file's head.

    Args:
        kind: "encoder" or "denoiser", if only that will do.

    Raises:
        UserError: the file is missing, damaged, not one of ours, or of the other kind.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: no such model; train it, or fetch it with `dvc pull {path}`")
    with _opened(path) as file:
        metadata = file.metadata() or {}
    try:
        info = json.loads(metadata["samdiffsr"])
    except (KeyError, json.JSONDecodeError):
        raise UserError(f"{path}: not a model of this project (no `samdiffsr` metadata)") from None
    if kind is not None and info["recipe"]["kind"] != kind:
        raise UserError(f"{path}: holds the weights of a {info['recipe']['kind']}, a {kind} is needed")
    return ModelFile(path, info, sha256_file(path))


@contextlib.contextmanager
def _opened(path: Path) -> Any:
    try:
        with safetensors.safe_open(path, "pt", device="cpu") as file:
            yield file
    except (safetensors.SafetensorError, OSError) as error:
        raise UserError(
            f"{path}: damaged or not a safetensors file ({error}); delete it and make it again"
        ) from None


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
