"""The model file: a trained network's weights and what they were made from.

Written beside its place and renamed; refused by name when it does not fit. Nothing is loaded by pickle.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import safetensors
import torch
from pydantic import ValidationError
from safetensors.torch import save
from torch import Tensor

from samdiffsr.core.errors import UserError
from samdiffsr.core.files import atomic_path, sha256_file
from samdiffsr.core.recipe import Recipe, problem

Network = TypeVar("Network", bound=Recipe)


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

    def network(self, kind: type[Network]) -> Network:
        """What the recipe says of the network itself, e.g. an `EncoderNetwork`.

        Raises:
            UserError: a key of it is missing or wrong.
        """
        recipe = self.info["recipe"]
        try:
            return kind.model_validate({key: recipe[key] for key in kind.model_fields if key in recipe})
        except ValidationError as error:
            raise UserError(
                f"{self.path}: its recipe says not which network it is: {problem(error)}"
            ) from None


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
