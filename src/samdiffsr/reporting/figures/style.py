"""What all figures share: fonts, colours that survive grey, the words around the axes, saving.

A module of a figure kind has a function `draw(recipe, inputs) -> Page`. It makes axes and says in notes what
it could not draw; title, conditions and notes are written here, so no figure travels without them.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from samdiffsr.core.errors import UserError
from samdiffsr.core.files import atomic_path
from samdiffsr.core.layout import seed_of
from samdiffsr.reporting.figures.recipe import FigureRecipe, FigureRow, OfRuns

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure
    from matplotlib.lines import Line2D
    from matplotlib.typing import RcKeyType

Inputs = dict[str, list[Path]]  # what the files are for -> the files, in the workflow's order

DPI = 300
# seaborn's "colorblind" palette; marker and line say the same again, for grey
COLOURS = ("#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161", "#56b4e9", "#949494")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "p", "h")
# on, off, in line widths
DASHES = ((), (3.7, 1.6), (6.4, 1.6, 1, 1.6), (1, 1.65), (7, 1, 1, 1, 1, 1), (1, 4))
ARROW = "#d55e00"
RC: dict[RcKeyType, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the same on every machine
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e0e0e0",
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "lines.linewidth": 1.5,
    "lines.markersize": 5,
    "pdf.fonttype": 42,  # fonts embedded as TrueType: text stays text
    "ps.fonttype": 42,
}
WORD_INCHES = 0.055  # width of a letter of the small print


class Page(NamedTuple):
    """What was drawn, and sentences on what is not in it."""

    figure: SubFigure
    notes: list[str]


def page(width: float, height: float) -> SubFigure:
    """The inside of an empty figure of so many inches, to draw on; nothing is registered with pyplot."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.04, h_pad=0.04, wspace=0.02, hspace=0.02)
    return Figure(figsize=(width, height), layout=layout).subfigures(squeeze=False)[0, 0]


def message(sentences: Sequence[str]) -> Page:
    """A page that says why there is no picture."""
    text = "\n".join(line for s in sentences for line in textwrap.wrap(s, 96))
    figure = page(6.5, 1.5 + 0.16 * text.count("\n"))
    axes = figure.subplots()
    axes.set_axis_off()
    axes.text(
        0.5, 0.7, "Nothing to draw yet", ha="center", va="bottom", fontsize=10, transform=axes.transAxes
    )
    axes.text(0.5, 0.55, text, ha="center", va="top", transform=axes.transAxes)
    return Page(figure, [])


def look(number: int) -> dict[str, Any]:
    """Colour and marker of the `number`-th thing of a kind; no pair comes twice before 24."""
    return {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}


def line(number: int) -> dict[str, Any]:
    """Colour and line style of the `number`-th curve."""
    return {"color": COLOURS[number % len(COLOURS)], "dashes": DASHES[number % len(DASHES)]}


def looks(names: Sequence[str]) -> dict[str, Any]:
    """seaborn's options for things told apart by colour and marker, the same thing in all panels."""
    found = [look(number) for number in range(len(names))]
    return {
        "hue_order": names,
        "style_order": names,
        "palette": {name: each["color"] for name, each in zip(names, found, strict=True)},
        "markers": {name: each["marker"] for name, each in zip(names, found, strict=True)},
    }


def strokes(names: Sequence[str]) -> dict[str, Any]:
    """seaborn's options for curves told apart by colour and dashes."""
    found = [line(number) for number in range(len(names))]
    return {
        "hue_order": names,
        "style_order": names,
        "palette": {name: each["color"] for name, each in zip(names, found, strict=True)},
        "dashes": {name: each["dashes"] or "" for name, each in zip(names, found, strict=True)},
    }


def key(names: Sequence[str]) -> list[Line2D]:
    """The same things for a legend."""
    from matplotlib.lines import Line2D

    return [Line2D([], [], linestyle="none", label=name, **look(k)) for k, name in enumerate(names)]


def intervals(axes: Axes, points: pd.DataFrame, names: Sequence[str], *, x: str, y: str) -> None:
    """Bars from `ci_low` to `ci_high` of `mean`, which is the column `x` or `y`, in the colours of `names`.

    The column `dataset` has the name.

    Points without an interval (NaN) get no bar.
    """
    for row in points.dropna(subset=["ci_low", "ci_high"]).to_dict("records"):
        reach = [[row["mean"] - row["ci_low"]], [row["ci_high"] - row["mean"]]]
        across, up = (reach, None) if x == "mean" else (None, reach)
        colour = look(list(names).index(row["dataset"]))["color"]
        axes.errorbar(row[x], row[y], fmt="none", capsize=2, ecolor=colour, xerr=across, yerr=up)


def picture(axes: Axes, image: Any, title: str = "", **options: Any) -> None:
    """An image without ticks, its title above."""
    axes.imshow(image, interpolation="nearest", **options)
    axes.set_title(title, fontsize=7, pad=2)
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def conditions(recipe: FigureRecipe) -> str:
    """How what is shown was made, in a line: study, data, masks, seeds, sampling."""
    rows: tuple[FigureRow, ...] = getattr(recipe, "rows", ())
    shown = getattr(recipe, "datasets", ())
    masks = [row.masks for row in rows if row.masks]
    parts = [f"Study {recipe.study}"]
    if shown:
        parts.append(", ".join(dataset.label for dataset in shown))
    if train_set := getattr(recipe, "train_set", ""):
        parts.append(f"training images of {train_set}")
    if isinstance(recipe, OfRuns):
        parts.append(f"x{recipe.scale}")
    if masks:
        parts.append(f"masks {', '.join(dict.fromkeys(masks))}")
    if isinstance(recipe, OfRuns):
        runs = {run for row in rows for run in (row.runs[:1] if recipe.first_seed else row.runs)}
        seeds = sorted({seed_of(run) for run in runs})
        parts.append(f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}")
    if recipe.of_results:
        sampling = dict.fromkeys(row.sampling for row in rows if "steps" in row.sampling)
        if sampling and not recipe.own_steps:
            parts.append(f"sampled in {', '.join(sampling)}")
        weights = dict.fromkeys(row.weights[0] for row in rows if row.weights != ("none",))
        parts += [f"weights {', '.join(weights)}"] if weights else []
        parts += ["released checkpoints"] if recipe.checkpoints == "released" else []
        if not recipe.comparable:
            parts.append("other data, masks and networks than the paper's, whose numbers are no reference")
    return "; ".join(parts) + "."


def save(drawn: Page, recipe: FigureRecipe, outs: Iterable[Path]) -> None:
    """Write title, conditions and notes around a figure and the whole into each path, format by suffix.

    300 dpi, no dates: equal inputs give equal bytes. UserError for a suffix other than .png and .pdf.
    """
    figure = drawn.figure.get_figure(root=True)
    width = int(figure.get_figwidth() / WORD_INCHES)
    words = (conditions(recipe), *dict.fromkeys([*drawn.notes, *recipe.notes]))
    small = [textwrap.fill(text, width) for text in words]
    figure.suptitle(textwrap.fill(recipe.title, int(width * 0.7)), fontsize=9, weight="bold")
    figure.supxlabel("\n".join(small), x=0.01, ha="left", fontsize=6.5, color="#333333")
    nothing: dict[str, dict[str, Any]] = {
        ".png": {"Software": None, "Title": recipe.title, "Description": " ".join(small)},
        ".pdf": {"CreationDate": None, "Title": recipe.title},
    }
    for out in outs:
        if out.suffix not in nothing:
            raise UserError(f"{out}: figures are written as .png or .pdf")
        with atomic_path(out) as part:
            figure.savefig(part, dpi=DPI, metadata=nothing[out.suffix])
