"""What a stage is told: frozen, checked models, whose canonical JSON decides about running again.

A *recipe* holds everything that decides the outcome of one stage, and nothing else (no paths, no device). The
workflow hands its text to the stage and runs the stage again when the text changes; the stage writes it into
what it makes.
"""

from __future__ import annotations

import json
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from samdiffsr.core.errors import UserError


class Strict(BaseModel):
    """Unknown keys are errors, numbers are finite, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Recipe(Strict):
    """One stage's recipe. Subclasses live in the room of their stage and import no torch."""

    def text(self) -> str:
        """One line of canonical JSON: equal recipes give equal bytes."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    @classmethod
    def parse(cls, text: str, origin: str = "--recipe") -> Self:
        """The recipe that `text` holds.

        Raises:
            UserError: names the first key that is unknown, missing or wrong.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise UserError(f"{origin}: {where + ': ' if where else ''}{first['msg']}") from None
