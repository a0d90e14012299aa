"""The JSON schema of config.yaml, for editors and for the reference page of the documentation.

It describes a file: config.yaml, or one that is merged over it with --configfile. What such a file leaves out
may stand in the other, in a `base` or in a default. So keys are required only inside lists, because a list
replaces another as a whole.
"""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from samdiffsr.config.config import Config
from samdiffsr.core.registry import Registry
from samdiffsr.masks.segmenters.registry import SEGMENTERS
from samdiffsr.models.registry import BACKBONES
from samdiffsr.reporting.figures.registry import KINDS
from samdiffsr.training.recipe import Training


def json_schema() -> dict[str, Any]:
    """The schema: every key of the file, with its type, choices, default and description."""
    figures = {name: kind.spec for name, kind in KINDS.items()}
    segmenters = {name: kind.settings for name, kind in SEGMENTERS.items()}
    backbones = {name: backbone.settings for name, backbone in BACKBONES.items()}
    kinds = [*figures.values(), *segmenters.values(), *backbones.values()]
    every: list[type[BaseModel]] = [Config, Training, *kinds]
    models = list(dict.fromkeys(every))
    made, whole = models_json_schema([(model, "validation") for model in models], schema_generator=_Schema)
    refs: dict[type[BaseModel], JsonSchemaValue] = {model: made[model, "validation"] for model in models}
    definitions: dict[str, JsonSchemaValue] = whole["$defs"]

    config = definitions.pop("Config")
    del config["properties"]["left_out"]  # the workflow says it, no file does
    by_name = config["properties"]["figures"]["patternProperties"]
    by_name.update({pattern: _of_a_kind(figures, refs) for pattern in by_name})
    segmenter = definitions["MaskRecipe"]["properties"]["segmenter"]
    del segmenter["$ref"]
    segmenter.update(_of_a_kind(segmenters, refs))
    backbone = definitions["Variant"]["properties"]["backbone"]
    backbone["anyOf"] = [*_of_a_kind(backbones, refs)["anyOf"], {"type": "null"}]
    definitions["Variant"]["properties"]["training"].update(refs[Training])

    inside_lists = json.dumps([items for d in definitions.values() for items in _items(d)])
    for name, definition in definitions.items():
        if _ref(name) not in inside_lists:
            definition.pop("required", None)
    del config["required"]
    everything = json.dumps([config, definitions])
    used = {name: definitions[name] for name in sorted(definitions) if _ref(name) in everything}
    return {"$schema": GenerateJsonSchema.schema_dialect, **config, "$defs": used}


def descriptions(model: type[BaseModel]) -> dict[str, str]:
    """The text under each field of a model and of its bases.

    Pydantic can read it too (`use_attribute_docstrings`), but does so whenever the class is made: a fifth of
    a second for every command.
    """
    found: dict[str, str] = {}
    for cls in reversed(model.__mro__):
        if cls is not BaseModel and issubclass(cls, BaseModel):
            (tree,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
            assert isinstance(tree, ast.ClassDef)
            for field, text in pairwise(tree.body):
                match field, text:
                    case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(
                        value=ast.Constant(value=str(about))
                    ):
                        found[name] = " ".join(about.split())
    return found


class _Schema(GenerateJsonSchema):
    """Pydantic's, with the text under fields as descriptions and the names of registries as choices."""

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        made = super().model_schema(schema)
        about = descriptions(schema["cls"])
        for name, field in made.get("properties", {}).items():
            if name in about:
                field["description"] = about[name]
            for ours, theirs in (("gt", "exclusiveMinimum"), ("ge", "minimum"), ("le", "maximum")):
                if ours in field:  # of a validator of our own, where Pydantic knows no type
                    field[theirs] = field.pop(ours)
        return made

    def function_after_schema(self, schema: core_schema.AfterValidatorFunctionSchema) -> JsonSchemaValue:
        made = super().function_after_schema(schema)
        registry = getattr(schema["function"]["function"], "__self__", None)
        if not isinstance(registry, Registry):
            return made
        # plug-ins and `metrics:` add names of their own: editors offer those of the package, and take another
        return {"anyOf": [{**made, "enum": list(registry)}, made]}

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> JsonSchemaValue:
        made = super().tagged_union_schema(schema)
        return {"anyOf": made.pop("oneOf"), **made} if "oneOf" in made else made

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        made = super().dict_schema(schema)
        return {**made, "additionalProperties": False} if "patternProperties" in made else made

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False  # a title would repeat the field's name


def _of_a_kind(kinds: Mapping[str, type[BaseModel]], refs: Mapping[type[BaseModel], Any]) -> JsonSchemaValue:
    """One of several models, told apart by `kind`, or what a plug-in has under a `kind` of its own."""
    ours = [{**refs[model], "properties": {"kind": {"const": kind}}} for kind, model in kinds.items()]
    other = {"type": "string", "not": {"enum": list(kinds)}}
    return {"anyOf": [*ours, {"type": "object", "properties": {"kind": other}, "required": ["kind"]}]}


def _ref(name: str) -> str:
    return f'"#/$defs/{name}"'


def _items(definition: JsonSchemaValue) -> list[Any]:
    return [field["items"] for field in definition.get("properties", {}).values() if "items" in field]
