"""YAML is read one way, whoever reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from samdiffsr.config.overlays import configured
from samdiffsr.config.reading import read_mapping, read_value
from samdiffsr.core.errors import UserError
from tests.workflow import Workflow


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: {b: [1, yes]}", "a.b.1: YAML 1.1 reads it as True, YAML 1.2 as 'yes'"),
        ("a: 017", "a: YAML 1.1 reads it as 15, YAML 1.2 as 17"),
        ("a: 0o17", "a: YAML 1.1 reads it as '0o17', YAML 1.2 as 15"),
        ("a: 12:30", "a: YAML 1.1 reads it as 750, YAML 1.2 as '12:30'"),
        ("a: 1e-3", "a: YAML 1.1 reads it as '1e-3', YAML 1.2 as 0.001"),
        ("no: 1", "no: YAML 1.1 reads it as False, YAML 1.2 as 'no'"),
        ("a: 1\na: 2", 'duplicate key "a".*in line 2'),
        ("a: [1", "not valid YAML"),
        ("a: \tb", "not valid YAML"),
        ("- 1", "must map keys to values"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused_by_name(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(UserError, match=rf"c\.yaml: .*{words}".replace(r"c\.yaml: .*a:", r"c\.yaml: a:")):
        read_mapping(tmp_path / "c.yaml")


def test_what_is_clear_is_read() -> None:
    text = "a: &x {b: true, c: 1.0e-3}\nd: {<<: *x, b: 'yes'}\ne: [null, 17, -.inf]"
    expected: dict[str, Any] = {
        "a": {"b": True, "c": 0.001}, "d": {"b": "yes", "c": 0.001}, "e": [None, 17, float("-inf")],
    }  # fmt: skip
    assert read_value(text, "here") == expected


def test_a_setting_of_the_command_line_too(root: Path) -> None:
    with pytest.raises(UserError, match=r"--set compile: YAML .* as True, YAML .* as 'on'"):
        configured(root / "config.yaml", settings=["compile=on"])
    assert configured(root / "config.yaml", settings=["stop_below_bicubic=null"]).stop_below_bicubic is None


@pytest.mark.workflow
def test_the_workflow_refuses_the_same_files(tmp_path: Path) -> None:
    workflow = Workflow.new(tmp_path / "repository")
    workflow.config = tmp_path / "more.yaml"
    workflow.config.write_text("slow_hours: 1:30\n")
    asked = workflow.dry("results/table2.csv")
    assert asked.code != 0
    assert "more.yaml: slow_hours: YAML 1.1 reads it as 90, YAML 1.2 as '1:30'" in asked.text
