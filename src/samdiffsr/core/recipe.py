"""What a stage is told: frozen, checked models, whose canonical JSON decides about running again.

A *recipe* holds everything that decides the outcome of one stage, and nothing else (no paths, no device). The
workflow hands its text to the stage and runs the stage again when the text changes; the stage writes it into
what it makes.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from samdiffsr.core.errors import UserError

Positive = Annotated[int, Field(gt=0)]
NotNegative = Annotated[int, Field(ge=0)]
Scale = Literal[2, 4, 8]  # SR size over LR size
Precision = Literal["auto", "bf16", "float32", "tf32"]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]  # of a thing in config.yaml


class Strict(BaseModel):
    """Unknown keys are errors, numbers are finite, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def but(self, **changes: Any) -> Self:
        """A copy with other values, checked as if it were new; `block__key` is a key inside a block."""
        values = dict(self)
        for name, value in changes.items():
            block, _, key = name.partition("__")
            values[block] = values[block].but(**{key: value}) if key else value
        return type(self).model_validate(values)


class Recipe(Strict):
    """One stage's recipe. Subclasses live in their stage's subpackage and import no torch.

    later: fields that came later. At their default they are no part of the JSON, so that a recipe which does
    without them keeps its text, and nothing is made again for them.
    """

    later: ClassVar[tuple[str, ...]] = ()

    @model_serializer(mode="wrap")
    def _without_later(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = type(self).model_fields
        return {
            name: value
            for name, value in serialize(self).items()
            if name not in self.later
            or getattr(self, name) != fields[name].get_default(call_default_factory=True)
        }

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
            raise UserError(f"{origin}: {problem(error)}") from None


def problem(error: ValidationError) -> str:
    """The first thing that is wrong, in words: "key.in.it: what"."""
    # a misspelt key is also a missing one: name what was written
    first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    where = ".".join(str(part) for part in first["loc"])
    match first["type"]:
        case "json_invalid":
            what = f"not valid JSON ({first['ctx']['error']})"
        case "extra_forbidden":
            what = "unknown key"
        case "missing":
            what = "missing"
        case "value_error":
            what = first["msg"].removeprefix("Value error, ")
        case "union_tag_not_found":
            what = f"key {first['ctx']['discriminator']} is missing"
        case "union_tag_invalid":
            what = "{discriminator} is {tag!r}, not one of {expected_tags}".format(**first["ctx"])
        case "model_type" | "model_attributes_type":
            what = "must be a JSON object"
        case _:
            what = f"{first['msg'][0].lower()}{first['msg'][1:]}, not {first['input']!r}"
    return f"{where}: {what}" if where else what
