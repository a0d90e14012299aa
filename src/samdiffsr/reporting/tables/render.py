"""A table for people, in Markdown and LaTeX: best two marked, published values beside, and the conditions.

One block a data set. Measured values are marked among themselves and published ones among themselves: the two
were not made under the same conditions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from samdiffsr.core.files import atomic_path
from samdiffsr.evaluation.metrics import METRICS
from samdiffsr.reporting.tables.conditions import claims, conditions, machine
from samdiffsr.reporting.tables.gather import show, summary
from samdiffsr.reporting.tables.recipe import TableRecipe

DASH = "–"


@dataclass(frozen=True)
class Block:
    """One data set's part of a table: methods down, (metric, "measured" or "published") across.

    text: values as shown, "" where there is none. rank: 1 is best, 2 second best, 0 neither. spread: their
    standard deviation over seeds, as shown.
    """

    title: str
    text: pd.DataFrame
    rank: pd.DataFrame
    spread: pd.DataFrame

    @property
    def columns(self) -> list[tuple[str, str]]:
        """Metric, and "measured" or "published", of each column."""
        across = self.text.columns
        return list(zip(across.get_level_values(0), across.get_level_values(1), strict=True))

    def rows(self) -> Iterator[tuple[str, list[tuple[str, int, str]]]]:
        """Each method with its cells: text, rank, spread."""
        frames = (frame.to_numpy().tolist() for frame in (self.text, self.rank, self.spread))
        for method, *cells in zip(self.text.index, *frames, strict=True):
            yield str(method), list(zip(*cells, strict=True))

    @property
    def headings(self) -> list[str]:
        """Of the columns after the method's; a published value without a measured one says of what it is."""
        found = []
        for metric, kind in self.columns:
            alone = (metric, "measured") not in self.columns
            heading = METRICS[metric].heading
            found.append(heading if kind == "measured" else f"{heading}, published" if alone else kind)
        return found

    def only(self, methods: pd.Series, columns: pd.Series) -> Block:
        """The part of it where these are true."""
        parts = (frame.loc[methods, columns] for frame in (self.text, self.rank, self.spread))
        return Block(self.title, *parts)

    @property
    def valued(self) -> pd.Series:
        """Whether a method has any value."""
        return (self.text != "").any(axis="columns")


def blocks(recipe: TableRecipe, tidy: pd.DataFrame) -> list[Block]:
    """The table's parts from its tidy rows (`reporting.tables.gather`), with all its methods and metrics."""
    cells = summary(tidy)
    methods = [row.label for row in recipe.rows]
    made = []
    for dataset in recipe.datasets:
        texts, ranks, spreads = {}, {}, {}
        for metric in recipe.metrics:
            column = cells.xs((dataset.label, metric), level=("dataset", "metric")).loc[methods]
            for kind, values in (("measured", column["mean"]), ("published", column["published"])):
                if kind == "published" and values.isna().all():
                    continue
                text = values.map(lambda value, metric=metric: show(value, metric))
                spread = column["spread"] if kind == "measured" else pd.Series(float("nan"), text.index)
                texts[metric, kind] = text
                ranks[metric, kind] = _ranks(text, metric)
                spreads[metric, kind] = spread.map(lambda value, metric=metric: show(value, metric))
        frames = (pd.DataFrame(columns) for columns in (texts, ranks, spreads))
        made.append(Block(f"{dataset.label} x{recipe.scale}", *frames))
    return made


def _ranks(text: pd.Series, metric: str) -> pd.Series:
    """Rank of the best and of the second best value, else 0; equal as shown is equal in rank.

    One value alone is not marked. Times and memory are not either: they are those of one machine on one day.
    """
    better = 0 if machine(metric) else METRICS[metric].better
    values = pd.to_numeric(text)
    if not better or values.nunique() < 2:
        return pd.Series(0, text.index)
    ranks = values.rank(method="dense", ascending=better < 0)
    return ranks.where(ranks <= 2, 0).fillna(0).astype(int)


# ---- Markdown ----


def markdown(recipe: TableRecipe, tidy: pd.DataFrame, differences: list[dict[str, Any]]) -> str:
    """The table in Markdown: best bold, second best underlined; what was not measured is named below."""
    parts = [f"# Table {recipe.number}: {recipe.title}"]
    for block in blocks(recipe, tidy):
        parts += [f"## {block.title}", *_md_block(block)]
    if differences:
        parts += ["## Differences", "\n".join(f"- {_md(line)}" for line in claims(differences))]
    parts += ["## Conditions", "\n".join(f"- {_md(line)}" for line in conditions(recipe, tidy))]
    parts.append(
        "**Best** and <u>second best</u> are marked among measured and among published values separately."
    )
    return "\n\n".join(parts) + "\n"


def _md_block(block: Block) -> list[str]:
    """The methods and metrics that were measured here, or else the paper's; and a line on those left out."""
    metrics = [metric for metric, kind in block.columns if kind == "measured"]
    measured = pd.DataFrame({metric: block.text[metric, "measured"] != "" for metric in metrics})
    if measured.any(axis=None):
        methods = measured.any(axis="columns")
        here = [metric in metrics and measured[metric].any() for metric, _ in block.columns]
        columns = (block.text[methods] != "").any() & pd.Series(here, block.text.columns)
    else:
        methods, columns = block.valued, (block.text != "").any()
    kept = block.only(methods, columns)
    lines = [
        f"| {' | '.join(_md(heading) for heading in ('Method', *kept.headings))} |",
        "|---" + "|---:" * len(kept.headings) + "|",
    ]
    for method, cells in kept.rows():
        lines.append(f"| {' | '.join((_md(method), *(_md_cell(*cell) for cell in cells)))} |")
    notes = []
    if published := list(block.text.index[block.valued & ~methods]):
        notes.append(f"In the paper and not run here (values in the tidy CSV): {', '.join(published)}.")
    if nowhere := list(block.text.index[~block.valued]):
        notes.append(f"Neither run here nor in the paper for these images: {', '.join(nowhere)}.")
    shown = {metric for metric, _ in kept.columns}
    if empty := [METRICS[metric].heading for metric in metrics if metric not in shown]:
        notes.append(f"Without a value here: {', '.join(empty)}.")
    return ["\n".join(lines), *([_md(" ".join(notes))] if notes else [])]


def _md(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*").replace("_", "\\_")


def _md_cell(text: str, rank: int, spread: str) -> str:
    text = _md(text) or DASH
    text = {0: text, 1: f"**{text}**", 2: f"<u>{text}</u>"}[rank]
    return f"{text} ± {spread}" if spread else text


# ---- LaTeX ----

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "–": "--", "±": r"$\pm$",
    "<": r"$<$", ">": r"$>$",
}  # fmt: skip


def latex(recipe: TableRecipe, tidy: pd.DataFrame, differences: list[dict[str, Any]]) -> str:
    r"""The table as a LaTeX float (needs \usepackage{booktabs}): best bold, second best underlined."""
    notes = [f"{recipe.title}.", *conditions(recipe, tidy)]
    notes += [f"{line}." for line in claims(differences)]
    lines = [r"\begin{table*}", r"\centering"]
    lines.append(rf"\caption{{{' '.join(_tex(note) for note in notes)}}}")
    lines.append(rf"\label{{tab:{recipe.name}}}")
    lines += [_tex_block(block) for block in blocks(recipe, tidy)]
    return "\n".join([*lines, r"\end{table*}", ""])


def _tex_block(block: Block) -> str:
    """One tabular, by pandas' Styler."""
    kept = block.only(block.valued, pd.Series(True, block.text.columns))
    cells = pd.DataFrame(
        [[_tex(method), *(_tex_cell(*cell) for cell in cells)] for method, cells in kept.rows()],
        columns=range(1 + len(kept.headings)),
    )
    headings = [_tex(heading) for heading in ("Method", *kept.headings)]
    styled = cells.style.hide(axis="index").relabel_index(headings, axis="columns")
    tabular = styled.to_latex(hrules=True, column_format="l" + "r" * (len(headings) - 1))
    begin, rest = tabular.split("\n", 1)
    return rf"{begin}{chr(10)}\multicolumn{{{len(headings)}}}{{c}}{{{_tex(block.title)}}} \\{chr(10)}{rest}"


def _tex(text: str) -> str:
    return "".join(_LATEX.get(c, c) for c in text)


def _tex_cell(text: str, rank: int, spread: str) -> str:
    text = _tex(text) or "--"
    text = {0: text, 1: rf"\textbf{{{text}}}", 2: rf"\underline{{{text}}}"}[rank]
    return rf"{text} $\pm$ {spread}" if spread else text


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as part:
        part.write_text(text, encoding="utf-8")
