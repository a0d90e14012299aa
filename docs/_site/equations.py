"""A hook of the site: `$...$` and `$$...$$` become MathML, which browsers set without scripts or fonts."""

from __future__ import annotations

import re
from typing import Any

from latex2mathml.converter import convert

CODE = re.compile(r"(^```.*?^```|`[^`\n]+`)", re.M | re.S)
DISPLAY = re.compile(r"\$\$(.+?)\$\$", re.S)
INLINE = re.compile(r"(?<![\\$\w])\$([^$\n]+?)\$(?![\w$])")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Convert the equations of a page, but nothing inside code."""
    return converted(markdown, CODE)


def converted(text: str, code: re.Pattern[str]) -> str:
    """`text` with its equations as MathML, but for what `code`, a pattern of one group, matches."""
    parts = code.split(text)
    for i in range(0, len(parts), 2):  # every other part is code
        displayed = DISPLAY.sub(lambda match: _display(match.group(1)), parts[i])
        parts[i] = INLINE.sub(lambda match: _inline(match.group(1)), displayed)
    return "".join(parts)


def _inline(latex: str) -> str:
    """In a span: Markdown takes a line that begins with <math> for a block, and breaks the paragraph."""
    return f"<span>{convert(latex.strip())}</span>"


def _display(latex: str) -> str:
    equation = convert(latex.strip(), display="block")
    return f'\n<div class="equation" style="margin: 1em 0; font-size: 1.15em">{equation}</div>\n'
