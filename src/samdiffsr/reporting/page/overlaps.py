"""What the page says of images that two sets share: which sets were compared, and what was found."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd

from samdiffsr.core.files import from_cell
from samdiffsr.data.overlap import COLUMNS
from samdiffsr.reporting.frames import read, records

LISTED = 10  # pairs of images that the page names of two sets; the file has all


def overlaps_view(
    path: Path | None, images: dict[str, int], train: str, tests: tuple[str, ...]
) -> dict[str, Any] | None:
    """A row for the training set and each test set, and for test sets that share a photograph.

    Args:
        path: `overlaps.csv`; None: the sets were not compared.
        images: set -> how many images its HR store has.

    Raises:
        UserError: a file that is missing or not such a list.
    """
    if path is None:
        return None
    found = read([path], COLUMNS, "a list of overlaps")
    rows = [_row(found, train, test, images) for test in tests]
    others = [_row(found, a, b, images) for a, b in combinations(tests, 2)]
    return {"file": path.name, "rows": rows + [row for row in others if row["pairs"]]}


def _row(found: pd.DataFrame, a: str, b: str, images: dict[str, int]) -> dict[str, Any]:
    pairs = records(found[(found["set_a"] == a) & (found["set_b"] == b)])
    empty = next((name for name in (a, b) if not images[name]), "")
    return {
        "sets": f"{a} and {b}",
        "images": f"{images[a]} and {images[b]}",
        "pairs": [_words(pair) for pair in pairs[:LISTED]],
        "more": max(0, len(pairs) - LISTED),
        "none": f"not compared: {empty} has no HR images" if empty else "nothing in common",
    }


def _words(pair: dict[str, Any]) -> str:
    names = f"{from_cell(pair['image_a'])} and {from_cell(pair['image_b'])}"
    left_out = ", left out of training" if pair["left_out"] == "yes" else ""
    return f"{names}: {pair['relation']} (correlation {pair['correlation']}){left_out}"
