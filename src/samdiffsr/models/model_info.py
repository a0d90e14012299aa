"""What a model file says of itself, without torch."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from samdiffsr.core.errors import UserError
from samdiffsr.core.recognise import not_a_model, pull


def model_info(path: str | Path) -> dict[str, Any]:
    """What a model file says of itself: recipe, digests, versions. Reads its head alone, without torch.

    Raises UserError naming a file that is missing, cut short or not one of this project's.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > 100_000_000:
                raise ValueError
            head = json.loads(file.read(length))
        end = 8 + length + max(t["data_offsets"][1] for key, t in head.items() if key != "__metadata__")
        info = json.loads(head["__metadata__"]["samdiffsr"])
    except FileNotFoundError:
        raise UserError(f"{path}: no such model{pull(path)}") from None
    except (struct.error, ValueError, KeyError, TypeError, UnicodeDecodeError):
        why = not_a_model(path) or "damaged, or not a model of this project; delete it and get it again"
        raise UserError(f"{path}: {why}") from None
    if path.stat().st_size != end:
        raise UserError(
            f"{path}: {path.stat().st_size} bytes, its head says {end}; delete it and get it again"
        )
    return info
