"""CSV files as tables of text, read and written by pandas.

Values stay the text that stands in the files, so that what is passed on is passed on unchanged; scores have
their numbers beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from samdiffsr.core.errors import UserError
from samdiffsr.core.files import atomic_path
from samdiffsr.evaluation.scores import IMAGE_COLUMNS, SET_COLUMNS

CELL = ["run", "weights", "dataset", "metric"]  # what a table's cell is made of, a seed


def read(paths: Iterable[Path], columns: Sequence[str], what: str) -> pd.DataFrame:
    """The rows of CSV files with exactly these columns, as text.

    what: what such a file is, for messages. Raises UserError naming a file that is missing or another.
    """
    parts = []
    for path in paths:
        part = _rows(path, what)
        if list(part.columns) != list(columns):
            raise UserError(f"{path}: not {what} (its columns differ); delete it and run again")
        parts.append(part)
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(columns), dtype=str)


def read_numbers(
    path: Path, columns: Sequence[str], what: str, *, optional: Sequence[str] = ()
) -> pd.DataFrame:
    """These columns of a CSV file, as numbers; UserError names a file that has them not.

    optional: columns that are all NaN where the file has them not. Where it has, any cell may be empty, NaN.
    """
    rows = _rows(path, what)
    for column in columns:
        if column not in rows:
            raise UserError(f"{path}: has no column {column!r}; delete it and run again")
    if set(optional) & set(rows):
        rows = rows.replace("", "nan")
    rows = rows.assign(**{column: "nan" for column in optional if column not in rows})
    try:
        return rows[[*columns, *optional]].astype(float)
    except ValueError as error:
        raise UserError(f"{path}: not {what} ({error}); delete it and run again") from None


def _rows(path: Path, what: str) -> pd.DataFrame:
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except ValueError as error:  # pandas' own errors, and text that is not UTF-8
        raise UserError(f"{path}: not {what} ({error}); delete it and run again") from None


def read_scores(paths: Iterable[Path]) -> pd.DataFrame:
    """Scores of single images, a row an image and metric: IMAGE_COLUMNS and `number` (NaN where empty)."""
    return _numbered(paths, IMAGE_COLUMNS)


def read_sets(paths: Iterable[Path]) -> pd.DataFrame:
    """Scores of whole sets and costs, a row a metric: SET_COLUMNS and `number`."""
    return _numbered(paths, SET_COLUMNS)


def _numbered(paths: Iterable[Path], columns: Sequence[str]) -> pd.DataFrame:
    paths = list(paths)
    frames = [read([path], columns, "a score file") for path in paths]
    for path, frame in zip(paths, frames, strict=True):
        frame["number"] = pd.to_numeric(frame["value"], errors="coerce").astype(float)
        wrong = frame[(frame["value"] != "") & ~np.isfinite(frame["number"])]
        for row in wrong.head(1).to_dict("records"):
            raise UserError(
                f"{path}: {row['metric']} of {row.get('image', 'the set')} is {row['value']}; score it again"
            )
    empty = pd.DataFrame(columns=[*columns, "number"], dtype=str).astype({"number": float})
    return pd.concat(frames, ignore_index=True) if frames else empty


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Its rows, each by the names of the columns, which are text."""
    return [{str(column): value for column, value in row.items()} for row in frame.to_dict("records")]


def write(path: Path, frame: pd.DataFrame) -> None:
    """A CSV of all rows and columns, Unix line ends, atomically."""
    with atomic_path(path) as part:
        frame.to_csv(part, index=False, lineterminator="\n")
