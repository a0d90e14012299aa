"""The model file: a trained network's weights and what they were made from.

Written beside its place and renamed; refused by name when it does not fit. Nothing is loaded by pickle.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import struct
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
from samdiffsr.core.recognise import not_a_model, pull

CHECKSUM = "checksum"  # key of a model file's info; files of earlier versions have none
Network = TypeVar("Network", bound=Recipe)


@dataclass(frozen=True)
class ModelFile:
    """A trained network: `ema` and mostly `raw` weights; `info`: recipe, data digests, device, versions."""

    path: Path
    info: dict[str, Any]
    sha256: str

    def weights(self, kind: str) -> dict[str, Tensor]:
        """State dict of the `raw` or the `ema` weights, on the CPU.

        Raises:
            UserError: it has none of them, as a model released in 16 bits has no `raw` ones.
        """
        with _opened(self.path) as file:
            prefix = f"{kind}."
            found = {k.removeprefix(prefix): file.get_tensor(k) for k in file.keys() if k.startswith(prefix)}  # noqa: SIM118
        if not found:
            raise UserError(
                f"{self.path}: holds no {kind} weights; `samdiffsr release --half` leaves them out"
            )
        return found

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
    """Write a model file (safetensors) with a checksum of its content. Equal content gives equal bytes."""
    tensors = {f"raw.{k}": v for k, v in raw.items()} | {f"ema.{k}": v for k, v in ema.items()}
    tensors = {k: v.detach().cpu().clone(memory_format=torch.contiguous_format) for k, v in tensors.items()}
    sealed = info | {CHECKSUM: _checksum(save(tensors), info)}
    with atomic_path(path) as part:
        # one metadata key: the library keeps several in no fixed order
        part.write_bytes(save(tensors, metadata={"samdiffsr": json.dumps(sealed, sort_keys=True)}))


def open_model(path: str | Path, kind: str | None = None) -> ModelFile:
    """Read a model file's head.

    Args:
        kind: "encoder" or "denoiser", if only that will do.

    Raises:
        UserError: the file is missing, damaged (one bit is enough), not one of ours, or of the other kind.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: no such model{pull(path) or f'; train it, or get it by `dvc pull {path}`'}")
    with _opened(path) as file:
        metadata = file.metadata() or {}
    try:
        info = json.loads(metadata["samdiffsr"])
    except (KeyError, json.JSONDecodeError):
        raise UserError(f"{path}: not a model of this project (no `samdiffsr` metadata)") from None
    checksum = info.pop(CHECKSUM, None)
    if checksum is not None and checksum != _checksum(path.read_bytes(), info):
        raise UserError(
            f"{path}: damaged, its checksum differs; delete it and get it again, as by `dvc pull {path}`, "
            "or train it again"
        )
    if kind is not None and (found := info["recipe"]["kind"]) != kind:
        raise UserError(
            f"{path}: is of the kind {found}, a model of the kind {kind} is needed; this one is for --{found}"
        )
    return ModelFile(path, info, sha256_file(path))


@contextlib.contextmanager
def _opened(path: Path) -> Any:
    try:
        with safetensors.safe_open(path, "pt", device="cpu") as file:
            yield file
    except (safetensors.SafetensorError, OSError) as error:
        why = not_a_model(path) or f"damaged or not a safetensors file ({error}); delete it and make it again"
        raise UserError(f"{path}: {why}") from None


def _checksum(data: bytes, info: dict[str, Any]) -> str:
    """SHA-256 over the tensors, their names, types and shapes, and what is said of them."""
    (length,) = struct.unpack("<Q", data[:8])
    tensors = {k: v for k, v in json.loads(data[8 : 8 + length]).items() if k != "__metadata__"}
    digest = hashlib.sha256(json.dumps([info, tensors], sort_keys=True).encode())
    digest.update(memoryview(data)[8 + length :])
    return digest.hexdigest()
