"""A table for people, in Markdown and LaTeX: best two marked, published values beside, and the conditions.

One block a data set. Measured values are marked among themselves and published ones among themselves: the two
were not made under the same conditions.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import stdev
from typing import Any

from samdiffsr.core.files import atomic_path
from samdiffsr.evaluation.metrics import METRICS, CostMetric, ImageMetric, SetMetric
from samdiffsr.reporting.tables.gather import headline, show
from samdiffsr.reporting.tables.recipe import TableRecipe

DASH = "–"


@dataclass(frozen=True)
class Cell:
    """One value as text; rank 1 is best, 2 second best, 0 neither."""

    text: str
    rank: int = 0
    spread: str = ""


@dataclass(frozen=True)
class Block:
    """One data set's part of a table."""

    title: str
    headings: tuple[str, ...]
    lines: tuple[tuple[Cell, ...], ...]  # the method's name first
    quoted_nowhere: tuple[str, ...]  # methods with neither a measured nor a published value


def blocks(recipe: TableRecipe, tidy: list[dict[str, Any]]) -> list[Block]:
    """The table's parts from its tidy rows (`reporting.tables.gather`)."""
    made = []
    for dataset in recipe.datasets:
        columns: list[tuple[str, list[Cell]]] = []
        for metric in recipe.metrics:
            groups = [
                [
                    r
                    for r in tidy
                    if (r["method"], r["dataset"], r["metric"]) == (row.label, dataset.label, metric)
                ]
                for row in recipe.rows
            ]
            measured = [_cell(group, metric) for group in groups]
            printed = [group[0]["published"] for group in groups]
            columns.append((METRICS[metric].heading, _ranked(measured, metric)))
            if any(printed):
                quoted = [Cell(show(float(text), metric) if text else "") for text in printed]
                columns.append(("published", _ranked(quoted, metric)))
        names = [row.label for row in recipe.rows]
        kept = [i for i in range(len(names)) if any(cells[i].text for _, cells in columns)]
        made.append(
            Block(
                title=f"{dataset.label} x{recipe.scale}",
                headings=("Method", *(heading for heading, _ in columns)),
                lines=tuple((Cell(names[i]), *(cells[i] for _, cells in columns)) for i in kept),
                quoted_nowhere=tuple(name for i, name in enumerate(names) if i not in kept),
            )
        )
    return made


def _cell(rows: list[dict[str, Any]], metric: str) -> Cell:
    """Mean over seeds and its standard deviation."""
    means = [float(r["mean"]) for r in rows if r.get("mean") and r["weights"] == rows[0]["weights"]]
    return Cell(headline(rows, metric), spread=show(stdev(means), metric) if len(means) > 1 else "")


def _ranked(cells: list[Cell], metric: str) -> list[Cell]:
    """Mark the best and the second best value; equal as shown is equal in rank. One alone is not marked.

    Times and memory are not marked: they are those of one machine on one day.
    """
    better = 0 if _machine(metric) else METRICS[metric].better
    values = sorted({float(cell.text) for cell in cells if cell.text}, reverse=better > 0)
    if not better or len(values) < 2:
        return cells
    order = {value: rank for rank, value in enumerate(values[:2], start=1)}
    return [Cell(c.text, order.get(float(c.text), 0) if c.text else 0, c.spread) for c in cells]


def _machine(metric: str) -> str:
    """ "time" or "memory" of a machine, or "": the values of one machine on one day are not ranked."""
    entry = METRICS[metric]
    return entry.machine if isinstance(entry, CostMetric) else ""


def conditions(recipe: TableRecipe, tidy: list[dict[str, Any]]) -> list[str]:
    """Under which conditions the table was made: sentences."""

    def several(values: Any) -> str:
        return ", ".join(dict.fromkeys(str(v) for v in values if v))

    ours = [row for row in recipe.rows if row.runs]
    measured = [r for r in tidy if r.get("mean")]
    masks = several(f"{row.label}: {row.masks}" for row in ours if row.masks)
    images = [r for r in measured if isinstance(METRICS[r["metric"]], ImageMetric)]
    lines = [f"Study {recipe.study}: {recipe.about}."]
    lines.append(
        f"Training set {recipe.train_set}; checkpoints {recipe.checkpoints}; "
        f"masks {masks or 'none'}; seeds {several(r['seed'] for r in measured) or 'none'}; "
        f"sampling {several(row.sampling for row in ours)}; "
        f"weights {several(row.weights[0] for row in ours)}."
    )
    if protocols := several(r["protocol"] for r in images):
        lines.append(f"PSNR and SSIM: {protocols}.")
    if whole := [r for r in measured if isinstance(METRICS[r["metric"]], SetMetric)]:
        sizes = several(f"{r['dataset']}: {r['n']}" for r in whole)
        lines.append(
            f"FID and KID of whole images against the truth, number of images {sizes}. An FID of so few "
            "images is comparable only with one of the same images; images are shrunk to 299 x 299, and "
            "with them what super-resolution adds to large ones ('patches' are not)."
        )
    for metric in filter(_machine, METRICS):
        if devices := several(r["protocol"] for r in measured if r["metric"] == metric):
            beside = "; by the clock, beside whatever else ran" if _machine(metric) == "time" else ""
            lines.append(f"{METRICS[metric].heading}: {devices}{beside}.")
    if any(r["published"] for r in tidy):
        note = "Published: the paper's values (arXiv 2402.17133v2)."
        if not recipe.comparable:
            note += (
                " They are not comparable with the measured ones beside them: other training data, masks "
                "or length of training."
            )
        lines.append(note)
    elif not recipe.comparable:
        lines.append("These numbers are not comparable with the paper's.")
    lines += [f"{dataset}: {text}." for dataset, text in _errata(tidy)]
    for entry in recipe.left_out:
        lines.append(f"Left out: {entry.label} ({entry.why}).")
    unmeasured: dict[str, list[str]] = {}  # reason -> headings
    for metric in recipe.metrics:
        reasons = several(
            r["why_empty"] for r in tidy if r["metric"] == metric and r["variant"] and r["why_empty"]
        )
        if reasons and not any(r["metric"] == metric for r in measured):
            unmeasured.setdefault(reasons, []).append(METRICS[metric].heading)
        elif reasons and not isinstance(METRICS[metric], CostMetric):
            lines.append(f"{METRICS[metric].heading}, partly empty: {reasons}.")
    lines += [f"Not measured: {', '.join(headings)} ({reason})." for reason, headings in unmeasured.items()]
    return lines + list(recipe.notes)


def _errata(tidy: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return list(dict.fromkeys((r["dataset"], r["erratum"]) for r in tidy if r["erratum"]))


def claims(differences: list[dict[str, Any]]) -> list[str]:
    """The table's differences as sentences."""
    return [
        f"{row['of']} {'over' if row['kind'] == 'ratio' else 'minus'} {row['minus']}, {row['dataset']}, "
        f"{METRICS[row['metric']].label}: {row['words']}"
        for row in differences
        if row.get("words")  # why the others are empty stands in the CSV
    ]


# ---- Markdown ----


def markdown(recipe: TableRecipe, tidy: list[dict[str, Any]], differences: list[dict[str, Any]]) -> str:
    """The table in Markdown: best bold, second best underlined."""
    parts = [f"# Table {recipe.number}: {recipe.title}"]
    for block in blocks(recipe, tidy):
        head = [
            f"| {' | '.join(_md(h) for h in block.headings)} |",
            "|---" + "|---:" * (len(block.headings) - 1) + "|",
        ]
        body = [f"| {' | '.join(_md_cell(cell) for cell in line)} |" for line in block.lines]
        parts += [f"## {block.title}", "\n".join(head + body)]
        if block.quoted_nowhere:
            parts.append(
                f"Neither run here nor in the paper for these images: {', '.join(block.quoted_nowhere)}."
            )
    if differences:
        parts += ["## Differences", "\n".join(f"- {_md(line)}" for line in claims(differences))]
    parts += ["## Conditions", "\n".join(f"- {_md(line)}" for line in conditions(recipe, tidy))]
    parts.append(
        "**Best** and <u>second best</u> are marked among measured and among published values separately."
    )
    return "\n\n".join(parts) + "\n"


def _md(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*").replace("_", "\\_")


def _md_cell(cell: Cell) -> str:
    text = _md(cell.text) or DASH
    text = {0: text, 1: f"**{text}**", 2: f"<u>{text}</u>"}[cell.rank]
    return f"{text} ± {cell.spread}" if cell.spread else text


# ---- LaTeX ----

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "–": "--", "±": r"$\pm$",
    "<": r"$<$", ">": r"$>$",
}  # fmt: skip


def latex(recipe: TableRecipe, tidy: list[dict[str, Any]], differences: list[dict[str, Any]]) -> str:
    r"""The table as a LaTeX float (needs \usepackage{booktabs}): best bold, second best underlined."""
    lines = [r"\begin{table*}", r"\centering"]
    notes = [f"{recipe.title}.", *conditions(recipe, tidy)]
    notes += [f"{line}." for line in claims(differences)]
    lines.append(rf"\caption{{{' '.join(_tex(note) for note in notes)}}}")
    lines.append(rf"\label{{tab:{recipe.name}}}")
    for block in blocks(recipe, tidy):
        lines.append(rf"\begin{{tabular}}{{l{'r' * (len(block.headings) - 1)}}}")
        lines.append(rf"\multicolumn{{{len(block.headings)}}}{{c}}{{{_tex(block.title)}}} \\")
        lines += [r"\toprule", rf"{' & '.join(_tex(h) for h in block.headings)} \\", r"\midrule"]
        lines += [rf"{' & '.join(_tex_cell(cell) for cell in line)} \\" for line in block.lines]
        lines += [r"\bottomrule", r"\end{tabular}", ""]
    return "\n".join([*lines, r"\end{table*}", ""])


def _tex(text: str) -> str:
    return "".join(_LATEX.get(c, c) for c in text)


def _tex_cell(cell: Cell) -> str:
    text = _tex(cell.text) or "--"
    text = {0: text, 1: rf"\textbf{{{text}}}", 2: rf"\underline{{{text}}}"}[cell.rank]
    return rf"{text} $\pm$ {cell.spread}" if cell.spread else text


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as part:
        part.write_text(text, encoding="utf-8")
