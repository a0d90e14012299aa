"""A hook of the site: notebooks read as its other pages do, without a network.

nbconvert leaves equations to MathJax, and links to other pages as they are.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from equations import converted

DOCS = Path(__file__).resolve().parent.parent
CELL = re.compile(r'(<div class="jp-RenderedHTMLCommon jp-RenderedMarkdown.*?</div>)', re.S)
CODE = re.compile(r"(<code.*?</code>)", re.S)
# what nbconvert would load from elsewhere: MathJax, and mermaid for diagrams, of which there are none
LOADED = re.compile(
    r"<!-- Load mathjax -->.*?<!-- End of mathjax configuration -->"
    r'|<script type="module">(?:(?!</script>).)*mermaid.*?</script>',
    re.S,
)
LINK = re.compile(r'href="(?!https?://)([^"#]+)\.md(#[^"]*)?"')


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """Equations of a notebook as MathML, and its links to pages of the site as these are called there."""
    if not page.file.src_uri.endswith(".ipynb"):
        return html
    parts = CELL.split(LOADED.sub("", html))
    folder = (DOCS / page.file.src_uri).parent
    return "".join(_cell(part, folder) if i % 2 else part for i, part in enumerate(parts))


def _cell(html: str, folder: Path) -> str:
    return LINK.sub(lambda match: _link(match, folder), converted(html, CODE))


def _link(match: re.Match[str], folder: Path) -> str:
    if not (folder / f"{match.group(1)}.md").exists():
        raise FileNotFoundError(f"no page {match.group(1)}.md")
    return f'href="{match.group(1)}.html{match.group(2) or ""}"'
