"""config.schema.json: current, complete, and true of the files that it describes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from samdiffsr.config.json_schema import json_schema
from samdiffsr.config.reading import read_mapping, read_value

ROOT = Path(__file__).parents[1]
FILES = [
    ROOT / "config.yaml",
    *sorted(ROOT.glob("tests/configs/*.yaml")),
    *sorted(ROOT.glob("results/kept/*.yaml")),
    *sorted(ROOT.glob("examples/**/*.yaml")),
]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return json_schema()


def test_the_file_is_current(schema: dict[str, Any]) -> None:
    written = json.loads((ROOT / "config.schema.json").read_text(encoding="utf-8"))
    assert written == schema, "run `samdiffsr schema`"


def test_it_is_a_schema(schema: dict[str, Any]) -> None:
    Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_configurations_are_valid(schema: dict[str, Any], path: Path) -> None:
    Draft202012Validator(schema).validate(read_mapping(path))


def examples() -> Iterator[Any]:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in re.finditer(r"^( *)```yaml\n(.*?)^ *```$", text, re.M | re.S):
            block = re.sub(f"^{match[1]}", "", match[2], flags=re.M)
            if block.startswith(("apiVersion:", "executor:")):  # Kubernetes' and Snakemake's own
                continue
            line = text.count("\n", 0, match.start()) + 1
            yield pytest.param(block, id=f"{page.relative_to(ROOT).as_posix()}:{line}")


@pytest.mark.parametrize("block", examples())
def test_examples_of_the_documentation_are_valid(schema: dict[str, Any], block: str) -> None:
    Draft202012Validator(schema).validate(read_value(block, "example"))


def test_every_field_is_described(schema: dict[str, Any]) -> None:
    models = {"config.yaml": schema, **schema["$defs"]}
    silent = [
        f"{model}.{name}"
        for model, definition in models.items()
        for name, field in definition.get("properties", {}).items()
        if not field.get("description", "").endswith(".")
    ]
    assert silent == []


@pytest.mark.parametrize(
    ("mistake", "where"),
    [
        ({"stuby": "demo"}, []),
        ({"study": "Demo"}, ["study"]),
        ({"variants": {"mine": {"rope_axis": "rows"}}}, ["variants", "mine", "rope_axis"]),
        ({"variants": {"mine": {"formulation": 1}}}, ["variants", "mine", "formulation"]),
        ({"variants": {"mine": {"training": {"step": 1}}}}, ["variants", "mine", "training"]),
        ({"mask_sets": {"a": {"segmenter": {"kind": "ucm", "of": "b"}}}}, ["mask_sets", "a", "segmenter"]),
        ({"figures": {"figure99": {"kind": "crops", "metric": "psnr_y"}}}, ["figures", "figure99"]),
        ({"figures": {"picture": {"kind": "crops"}}}, ["figures"]),
        ({"tables": {"table2": {"differences": [{"of": "srdiff"}]}}}, ["tables", "table2", "differences", 0]),
    ],
)  # fmt: skip
def test_mistakes_are_found(schema: dict[str, Any], mistake: Any, where: list[Any]) -> None:
    (error,) = Draft202012Validator(schema).iter_errors(mistake)
    assert list(error.path) == where


@pytest.mark.parametrize(
    "block",
    [
        {"variants": {"mine": {"formulation": "late_shift", "features": ["size"], "overlap": "largest"}}},
        {"variants": {"mine": {"backbone": {"kind": "transformer", "depth": 4}}}},
        {"mask_sets": {"a": {"segmenter": {"kind": "halves", "upright": True}}}},
        {"figures": {"figure99": {"kind": "spectrum", "title": "Spectrum", "bins": 9}}},
        {"tables": {"table2": {"protocols": ["cropped"]}}},
        {"baselines": {"mine": {"adapter": "service"}}},
    ],
)
def test_a_plugins_names_are_no_mistakes(schema: dict[str, Any], block: Any) -> None:
    Draft202012Validator(schema).validate(block)
