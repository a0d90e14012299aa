"""A hook of the site: links to files of the repository outside docs/ become plain names.

On a code host such a link opens the file; the site, which may be read offline, does not carry it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)#\s]+)(#[^)\s]*)?\)")
DOCS = Path(__file__).resolve().parent.parent
ROOT = DOCS.parent


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Keep links inside the site; check that the others name a file that exists."""
    folder = (DOCS / page.file.src_uri).parent

    def resolve(match: re.Match[str]) -> str:
        text, target = match.group(1), match.group(2)
        if "://" in target or target.startswith("mailto:"):
            return match.group(0)
        path = (folder / target).resolve()
        if path.is_relative_to(DOCS):
            return match.group(0)
        if not path.exists():
            raise FileNotFoundError(f"{page.file.src_uri}: no file {target}")
        name = path.relative_to(ROOT).as_posix()
        return f"`{name}`" if text.strip("`") in (name, path.name) else f"{text} (`{name}`)"

    return LINK.sub(resolve, markdown)
