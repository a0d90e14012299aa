"""The site's hooks: equations become MathML where they stand; the reference is made from the code."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import typer

from samdiffsr.cli import app as program
from samdiffsr.config.json_schema import json_schema

markdown = pytest.importorskip("markdown")
pytest.importorskip("latex2mathml")
pytest.importorskip("mkdocs")


def _hook(root: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, root / "docs" / "_site" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def html(root: Path) -> Callable[[str], str]:
    module = _hook(root, "equations")
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


def test_a_notebook_needs_no_network_and_links_to_pages(root: Path) -> None:
    module = _hook(root, "notebook")
    cell = '<div class="jp-RenderedHTMLCommon jp-RenderedMarkdown">{}</div>'
    html = (
        "<!-- Load mathjax --><script src='https://x/'></script><!-- End of mathjax configuration -->"
        + cell.format('<p>$x_t$ and <code>$HOME</code>, <a href="../study/masks.md#a">masks</a></p>')
        + "<div>$5 and $6</div>"
    )
    page = SimpleNamespace(file=SimpleNamespace(src_uri="start/first-hour.ipynb"))
    made = module.on_page_content(html, page)
    assert "https" not in made.replace("http://www.w3.org", "")
    assert made.count("<math") == 1
    assert 'href="../study/masks.html#a"' in made
    assert "<code>$HOME</code>" in made
    assert "$5 and $6" in made
    with pytest.raises(FileNotFoundError, match=r"no page \.\./study/mask\.md"):
        module.on_page_content(html.replace("masks.md", "mask.md"), page)


def test_the_reference_names_every_key_and_command(root: Path) -> None:
    reference = _hook(root, "reference")
    page = reference.configuration(json_schema())
    for block in ("`studies.NAME.training` {#training}", "`figures.NAME` of kind `crops` {#crops}"):
        assert f"\n## {block}\n" in page
    assert "| `rope_axis` | `width`, `height` | `width` | " in page
    anchors = set(re.findall(r"\{#(\w+)\}", page))
    assert set(re.findall(r"\(#(\w+)\)", page)) == anchors
    assert len(anchors) == len(json_schema()["$defs"])
    commands = reference.commands()
    for name in typer.main.get_command(program.app).commands:
        assert f"\n## `samdiffsr {name}`\n" in commands


def test_lines_of_prose_are_short(root: Path) -> None:
    pages = [
        *root.glob("*.md"),
        *root.glob("docs/**/*.md"),
        *root.glob("results/**/*.md"),
        root / "paper/README.md",
    ]
    long = []
    for page in (page for page in pages if not page.name.startswith("table")):
        text = re.sub(
            r"^ *```.*?^ *```$", lambda code: "\n" * code[0].count("\n"), page.read_text(), flags=re.M | re.S
        )
        for number, line in enumerate(text.splitlines(), 1):
            words = re.sub(r"\]\([^)]*\)|<[^>]*>", "", line)  # without the targets of links
            if len(words) > 100 and not words.lstrip().startswith(("|", "![", "$$")):
                long.append(f"{page.relative_to(root)}:{number}: {len(words)}")
    assert long == []
