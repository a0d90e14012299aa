"""The report stage: one HTML file with tables, differences, images, figures and where they came from.

The page holds everything: style, script and images lie in it, and its Content-Security-Policy forbids loading
anything else or running any script but its own.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from samdiffsr.core.errors import UserError
from samdiffsr.core.layout import TABLE
from samdiffsr.evaluation.metrics import METRICS
from samdiffsr.evaluation.protocol import PROTOCOL_METRICS
from samdiffsr.reporting.frames import read, records
from samdiffsr.reporting.page.images import comparisons, data_uri
from samdiffsr.reporting.page.origin import origin
from samdiffsr.reporting.page.overlaps import overlaps_view
from samdiffsr.reporting.page.recipe import ReportRecipe
from samdiffsr.reporting.tables.conditions import claims, conditions
from samdiffsr.reporting.tables.differences import COLUMNS as DIFFERENCE_COLUMNS
from samdiffsr.reporting.tables.gather import TIDY_COLUMNS
from samdiffsr.reporting.tables.recipe import TableRecipe
from samdiffsr.reporting.tables.render import Block, blocks, write_text

log = logging.getLogger(__name__)

ASSETS = Path(__file__).parent
FIGURE_WIDTH = 1600  # pixels; wider ones are shrunk for the page


def report(
    recipe: ReportRecipe,
    tidy: list[Path],
    differences: Path,
    figures: list[Path],
    results: Path,
    stores: Path,
    out: Path,
    overlaps: Path | None = None,
) -> None:
    """Write the page.

    Args:
        tidy: the tidy CSVs of the tables, `<table>_tidy.csv`; a table without one is named on the page.
        differences: the CSV of all tables' differences.
        figures: PNG files, `<name>.png`; one that is not there is named on the page.
        results, stores: folders results/<study> and work/stores.
        overlaps: the study's `overlaps.csv`; None: its sets were not compared.

    Raises:
        UserError: a file that is damaged, or not what its name says.
    """
    made = {path.name.removesuffix(TABLE["tidy"]): path for path in tidy}
    rows = read(tidy, TIDY_COLUMNS, "a tidy table")
    claimed = read([differences], DIFFERENCE_COLUMNS, "a table's differences")
    tables = [
        table_view(
            table,
            rows[rows["table"] == table.name] if table.name in made else None,
            records(claimed[claimed["table"] == table.name]),
        )
        for table in recipe.tables
    ]
    protocols = sorted({*rows["protocol"][rows["metric"].isin(PROTOCOL_METRICS)]} - {""})
    made_from = origin(recipe, results, stores, protocols)
    images = {row["name"]: row["images"] for row in made_from["datasets"]}
    page = render(
        study=recipe.study,
        about=recipe.about,
        comparable=recipe.comparable,
        tables=tables,
        figures=[figure_view(path, recipe.figures.get(path.stem, "")) for path in figures],
        comparisons=comparisons(recipe.comparisons, results, stores, recipe.limits),
        origin=made_from,
        overlaps=overlaps_view(overlaps, images, recipe.train_set, recipe.test_sets),
    )
    write_text(out, page)
    log.info(f"{out}: {out.stat().st_size / 1e6:.1f} MB")


def render(**content: Any) -> str:
    """The page as text. Every value is escaped; style and script are the package's own files."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, script = ((ASSETS / name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return environment.get_template("report.html").render(
        style=style, script=script, policy=policy, **content
    )


def _hash(text: str) -> str:
    """As a Content-Security-Policy names an inline style or script that may be used."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def table_view(
    recipe: TableRecipe, tidy: pd.DataFrame | None, differences: list[dict[str, str]]
) -> dict[str, Any]:
    """One table as the page shows it; `tidy` None: it was not made."""
    view = {"id": recipe.name, "number": recipe.number, "title": recipe.title}
    if tidy is None:
        return view | {"made": False}
    return view | {
        "made": True,
        "blocks": [_block_view(block) for block in blocks(recipe, tidy)],
        "claims": claims(differences),
        "differences": [_difference_view(row) for row in differences if row["mean"]],
        "uncompared": _uncompared(differences),
        "notes": conditions(recipe, tidy),
    }


def _block_view(block: Block) -> dict[str, Any]:
    """A block without its empty columns (why they are empty stands among the table's conditions)."""
    kept = block.only(block.valued, (block.text != "").any())
    columns = [
        {
            "heading": METRICS[metric].heading,
            "published": kind == "published",
            "better": METRICS[metric].better,
        }
        for metric, kind in kept.columns
    ]
    lines = [
        {
            "name": method,
            "cells": [{"text": shown, "rank": rank, "spread": spread} for shown, rank, spread in cells],
        }
        for method, cells in kept.rows()
    ]
    return {
        "title": block.title,
        "columns": columns,
        "lines": lines,
        "nowhere": ", ".join(block.text.index[~block.valued]),
    }


def _difference_view(row: dict[str, str]) -> dict[str, Any]:
    column = METRICS[row["metric"]]
    decimals = max(column.decimals, 2)

    def shown(text: str) -> str:
        return f"{float(text):.{decimals}f}"

    return {
        "pair": f"{row['of']} {'over' if row['kind'] == 'ratio' else 'minus'} {row['minus']}",
        "dataset": row["dataset"],
        "metric": column.heading,
        "mean": float(row["mean"]),
        "text": shown(row["mean"]) if row["kind"] == "ratio" else f"{float(row['mean']):+.{decimals}f}",
        "interval": f"[{shown(row['ci_low'])}, {shown(row['ci_high'])}]" if row["ci_low"] else row["method"],
        "low": row["ci_low"],
        "verdict": row["verdict"],
        "trainings": f"[{shown(row['trainings_low'])}, {shown(row['trainings_high'])}]"
        if row["trainings_low"]
        else row["trainings_method"],
        "trainings_low": row["trainings_low"],
        "detectable": shown(row["detectable"]) if row["detectable"] else "",
        "p": f"{float(row['p_holm']):.3g}" if row["p_holm"] else "",
        "images": row["n_images"],
        "seeds": min(row["n_seeds"], row["n_seeds_minus"], key=int),
    }


def _uncompared(differences: list[dict[str, str]]) -> list[str]:
    """Differences that could not be taken, counted by metric and reason."""
    counts: dict[tuple[str, str], int] = {}
    for row in differences:
        if not row["mean"]:
            key = METRICS[row["metric"]].heading, row["why_empty"]
            counts[key] = counts.get(key, 0) + 1
    return [f"{metric}: {n} not compared ({why})" for (metric, why), n in counts.items()]


def figure_view(path: Path, caption: str) -> dict[str, Any]:
    """One figure as the page shows it: embedded, at most FIGURE_WIDTH pixels wide."""
    title = re.sub(r"^Figure(\w)", r"Figure \1", path.stem.replace("_", " ").strip().capitalize())
    view = {"id": path.stem, "title": title, "caption": caption, "file": path.name}
    if not path.exists():
        return view | {"uri": None}
    try:
        image = Image.open(path).convert("RGB")
    except OSError as error:
        raise UserError(f"{path}: not an image that can be read ({error}); draw it again") from None
    width, height = image.size
    note = ""
    if width > FIGURE_WIDTH:
        image = image.resize((FIGURE_WIDTH, round(height * FIGURE_WIDTH / width)), Image.Resampling.LANCZOS)
        note = f"Shrunk from {width} x {height} pixels; {path.name} is the original."
    size = {"width": image.width, "height": image.height}
    return view | size | {"uri": data_uri(np.asarray(image), "webp"), "note": note}
