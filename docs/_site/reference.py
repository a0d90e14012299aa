"""A hook of the site: the reference of the configuration and of the command line, made from the code."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import typer.cli
import typer.main
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from samdiffsr.cli.app import app
from samdiffsr.config.json_schema import json_schema

Schema = dict[str, Any]

HEAD = """\
# Configuration

Every key of `config.yaml`, and of files that are merged over it with `--configfile`.
[Configuration and variants](../study/variants.md) shows how to use them. This page is made from the
code. Editors read the same from `config.schema.json`.

`NAME` stands for a name that you choose. A default of `{}` means the defaults of that block.
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages."""
    for name, text in (("configuration", configuration(json_schema())), ("commands", commands())):
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    return files


def commands() -> str:
    """The command line, as its help says it."""
    command = typer.main.get_command(app)
    context = typer.Context(command, info_name="samdiffsr")
    return typer.cli.get_docs_for_click(obj=command, ctx=context, name="samdiffsr", title="Command line")


def configuration(schema: Schema) -> str:
    """The page: a table of the top level, then one of each block, in the order in which they are met."""
    blocks = schema["$defs"]
    titles: dict[str, str] = {}
    for name, title in _met(schema, "", blocks):
        titles[name] = min(titles.get(name, title), title, key=lambda place: place.count("."))
    parts = [HEAD, *_table(schema, titles, blocks)]
    for name, title in titles.items():
        parts += [f"\n## {title} {{#{name.lower()}}}\n", _linked(blocks[name]["description"]), ""]
        block = blocks[name]
        if " of kind " in title:
            block = {"properties": {key: f for key, f in block["properties"].items() if key != "kind"}}
        parts += _table(block, titles, blocks)
    return "\n".join(parts) + "\n"


def _met(block: Schema, path: str, blocks: dict[str, Schema]) -> Iterator[tuple[str, str]]:
    """Blocks and where they stand: ("Training", "`studies.NAME.encoders.NAME.training`")."""
    for key, field in block["properties"].items():
        for choice, place in _choices(field, f"{path}{key}"):
            if "$ref" in choice:
                name = _name(choice)
                kind = choice.get("properties", {}).get("kind")
                yield name, f"`{place}`" + (f" of kind `{kind['const']}`" if kind else "")
                yield from _met(blocks[name], f"{place}.", blocks)


def _choices(field: Schema, place: str) -> Iterator[tuple[Schema, str]]:
    """What may stand in a field, and where."""
    yield field, place
    for inner in field.get("patternProperties", {}).values():
        yield from _choices(inner, f"{place}.NAME")
    for inner in [*field.get("anyOf", ()), *([field["items"]] if "items" in field else ())]:
        yield from _choices(inner, place)


def _name(field: Schema) -> str:
    return str(field["$ref"].rpartition("/")[2])


def _table(block: Schema, titles: dict[str, str], blocks: dict[str, Schema]) -> list[str]:
    lines = ["| key | value | default | meaning |", "|---|---|---|---|"]
    for key, field in block["properties"].items():
        about = _linked(field["description"])
        cells = (f"`{key}`", _value(field, titles), _default(field, blocks), about)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return lines


def _linked(text: str) -> str:
    """With links to the pages that it names."""
    return re.sub(r"docs/([\w/-]+\.md)", r"[\g<0>](../\1)", text)


def _value(field: Schema, titles: dict[str, str]) -> str:
    """What a field may hold, in words."""
    if "$ref" in field:
        title = titles[_name(field)]
        return f"[{title.rpartition(' of kind ')[2]}](#{_name(field).lower()})"
    if "const" in field or "enum" in field:
        return ", ".join(f"`{v or json.dumps(v)}`" for v in field.get("enum", [field.get("const")]))
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(_value(choice, titles) for choice in field["anyOf"]))
    if "patternProperties" in field:
        (values,) = field["patternProperties"].values()
        return f"by name: {_value(values, titles)}"
    match field["type"]:
        case "array" if "items" in field:
            return f"list of {_value(field['items'], titles)}".replace("number", "numbers")
        case "array":
            return f"{field['maxItems']} numbers"
        case "object" if "additionalProperties" not in field:
            return "one of a plug-in"
        case "object":
            return f"by name: {_value(field['additionalProperties'], titles)}"
        case "boolean":
            return "`true`, `false`"
        case "null":
            return "`null`"
        case "string":
            return "text"
        case number:
            return {"integer": "whole number"}.get(number, number) + _limits(field)


def _limits(field: Schema) -> str:
    signs = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}
    return ",".join(f" {sign} {field[key]:g}" for key, sign in signs.items() if key in field)


def _default(field: Schema, blocks: dict[str, Schema]) -> str:
    """The default; of a block what is not the default of its own fields."""
    if "default" not in field:
        return ""
    value = field["default"]
    if "$ref" in field and isinstance(value, dict):
        own = blocks[_name(field)]["properties"]
        value = {key: said for key, said in value.items() if own[key].get("default") != said}
    return f"`{value}`" if isinstance(value, str) and value else f"`{json.dumps(value)}`"
