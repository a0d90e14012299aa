"""The site's hooks: equations become MathML, inside the paragraph where they stand."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

markdown = pytest.importorskip("markdown")
pytest.importorskip("latex2mathml")


@pytest.fixture
def html(root: Path) -> Callable[[str], str]:
    spec = importlib.util.spec_from_file_location("equations", root / "docs" / "_site" / "equations.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return lambda text: markdown.markdown(module.on_page_markdown(text), extensions=["tables"])


def test_an_equation_at_the_start_of_a_line_leaves_the_paragraph_whole(html: Callable[[str], str]) -> None:
    made = html("A map\n$e_{sam}$ is known, and\n$x_t$ is seen.\n")
    assert made.count("<p>") == 1
    assert made.count("<math") == 2


def test_equations_of_their_own_are_blocks_and_code_is_left_alone(html: Callable[[str], str]) -> None:
    made = html("$$a = b,\n\\qquad c$$\n\n`$HOME` and `$x$`\n")
    assert made.count('display="block"') == 1
    assert "$HOME" in made
    assert "<code>$x$</code>" in made
