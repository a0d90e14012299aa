"""Resume states: what a training that was stopped goes on from.

Each training - a recipe on certain data in one precision, by certain code - has a folder of its own inside
the one that it was given, so that states of another recipe neither count nor make room. A state is written
beside its place and renamed, and its seal after it; one without a seal does not count. Nothing is ever loaded
by pickle.

Of two processes that train the same, the one that began last goes on: a node that does not answer, and the
retry on another. The earlier one finds the later one's name in the folder, stops, and touches nothing.
"""

from __future__ import annotations

import io
import logging
import os
import secrets
import socket
from pathlib import Path
from typing import Any, NamedTuple

from samdiffsr.core.errors import UserError
from samdiffsr.core.files import atomic_path, read_json, sha256_file, sha256_json, write_json
from samdiffsr.core.recipe import Recipe

log = logging.getLogger(__name__)

KEEP = 2  # states kept, so that a damaged newest one costs one interval and not the run
WRITER = "writer.json"


class Seal(NamedTuple):
    """What is known of a state without reading it."""

    step: int
    path: Path  # of the state
    value: dict[str, Any]


class StateFolder:
    """The resume states of one training.

    Args:
        folder: made if needed; other recipes' states may lie there too.
        identity: everything that must be equal for a state to be continued (recipe, data, precision, code).
    """

    def __init__(self, folder: str | Path, identity: dict[str, Any]) -> None:
        self.identity, self.recipe = sha256_json(identity), sha256_json(identity.get("recipe"))
        self.code = identity.get("code", "")
        self.above, self.folder = Path(folder), Path(folder) / self.identity[:16]
        self.token = secrets.token_hex(16)

    # ---- who writes ----

    def claim(self) -> None:
        """Become the writer; whoever was it before will stop."""
        write_json(
            self.folder / WRITER, {"token": self.token, "host": socket.gethostname(), "process": os.getpid()}
        )

    def other_writer(self) -> str | None:
        """Who claimed the folder after this process did; None: nobody."""
        try:
            writer = read_json(self.folder / WRITER)
        except UserError:  # cleared: another has finished
            return "another process, which has finished,"
        if writer["token"] == self.token:
            return None
        return f"process {writer['process']} on {writer['host']}"

    # ---- states ----

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Keep `state` (tensors, numbers, strings) as the state after `step` steps."""
        import torch

        path = self.folder / f"state-{step:08d}.pt"
        data = io.BytesIO()  # torch and safetensors hide from their callers that a disk is full
        torch.save(state, data)
        with atomic_path(path) as part:
            part.write_bytes(data.getbuffer())
            digest = sha256_file(part)
        # the seal comes after the state: a state without one does not count
        about = {"identity": self.identity, "recipe": self.recipe, "code": self.code}
        write_json(path.with_suffix(".json"), {**about, "sha256": digest, "step": step})
        kept = {seal.path for seal in self._sealed()[-KEEP:]}
        for old in self.folder.glob("state-*.pt"):
            if old not in kept:
                _remove(old)

    def load(self) -> tuple[int, dict[str, Any]] | None:
        """The newest whole state of this training, as (steps done, state), or None to begin anew.

        A damaged state is passed over with a line that says so.
        """
        import torch

        sealed = {seal.path for seal in self._sealed()}
        for path in sorted(set(self.folder.glob("state-*.pt")) - sealed):
            log.info(f"{path}: unfinished, passed over")
        if any(self.above.glob("*/state-*.pt")) and not any(self.folder.glob("state-*.pt")):
            log.info(
                f"{self.above}: holds states of another recipe, data, precision or code, which are left "
                "alone; delete them if they are not needed"
            )
        for step, path, seal in reversed(self._sealed()):
            if seal["sha256"] == sha256_file(path):
                return step, torch.load(path, map_location="cpu", weights_only=True)
            log.info(f"{path}: damaged (its checksum differs), passed over")
        return None

    def clear(self) -> None:
        """Remove this training's states; it is finished."""
        for seal in self._sealed():
            _remove(seal.path)
        for left in self.folder.glob("state-*"):
            left.unlink(missing_ok=True)
        (self.folder / WRITER).unlink(missing_ok=True)
        if self.folder.exists() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _sealed(self) -> list[Seal]:
        """This training's states by their steps; also what earlier versions left in the folder above."""
        found = [*seals(self.above), *seals(self.folder)]
        return sorted(seal for seal in found if seal.value["identity"] == self.identity)


def seals(folder: Path) -> list[Seal]:
    """The sealed states that lie in `folder` itself; a damaged seal is none."""
    found = []
    for path in sorted(folder.glob("state-*.json")):
        state = path.with_suffix(".pt")
        try:
            value = read_json(path)
            if state.exists():
                found.append(Seal(value["step"], state, {**value, "identity": value["identity"]}))
        except (UserError, TypeError):
            continue
    return found


def saved_steps(folder: str | Path, recipe: Recipe, code: str) -> int:
    """How many steps of a recipe are done by this code and saved, as the seals under `folder` say."""
    wanted = {"recipe": sha256_json(recipe.model_dump(mode="json")), "code": code}
    places = [place for place in Path(folder).glob("*") if place.is_dir()]
    states = (seal for place in places for seal in seals(place))
    return max((seal.step for seal in states if wanted.items() <= seal.value.items()), default=0)


def _remove(state: Path) -> None:
    state.with_suffix(".json").unlink(missing_ok=True)
    state.unlink(missing_ok=True)
