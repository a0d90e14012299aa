"""The ways in which other methods' images come here: what each needs, and where its code is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from samdiffsr.core.errors import UserError
from samdiffsr.core.registry import Registry, load

if TYPE_CHECKING:
    import numpy as np
    import torch

    from samdiffsr.data.store import Store
    from samdiffsr.sampling.recipe import BaselineRecipe


@dataclass(frozen=True)
class Adapter:
    """A way.

    Attributes:
        needs: the field of a baseline's block that says where its images come from; what a folder or file
            holds is given to the sampling stage as --source.
        code: "module:name" of what makes the restorer, called as `baseline_restorer`.
        measured: whether the method itself runs image by image, so that its time and memory are known.
    """

    needs: Literal["folder", "command", "file"]
    code: str
    measured: bool = True


_HERE = "samdiffsr.sampling.baselines"
ADAPTERS = Registry(
    "adapter",
    {
        "images": Adapter("folder", f"{_HERE}:images", measured=False),
        "command": Adapter("command", f"{_HERE}:command", measured=False),
        "spandrel": Adapter("file", f"{_HERE}:spandrel_network"),
        "diffusers": Adapter("folder", f"{_HERE}:diffusers_pipeline"),
    },
)


def baseline_restorer(
    recipe: BaselineRecipe,
    source: Path | None,
    lr: Store,
    device: torch.device,
    hours: float = float("inf"),
) -> Callable[[np.ndarray, str], np.ndarray]:
    """Another method as a restorer of LR images by their names.

    Args:
        source: its folder or file on this machine.
        lr: the images that it will be asked for.
        hours: that a command may take.

    Raises:
        NotHere: it is not on this machine. UserError: it is not what it should be.
    """
    adapter = ADAPTERS[recipe.adapter]
    if source is None and adapter.needs != "command":
        raise UserError(f"a baseline of kind {recipe.adapter!r} needs --source")
    restore: Callable[[np.ndarray, str], np.ndarray] = load(adapter.code)(recipe, source, lr, device, hours)
    return restore
