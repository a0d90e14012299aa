"""The workflow's rule graph, laid out in layers (Sugiyama et al. 1981), without graphviz."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

from samdiffsr.core.errors import UserError
from samdiffsr.reporting.figures.recipe import FigureRecipe
from samdiffsr.reporting.figures.style import COLOURS, Inputs, Page, page

Edge = tuple[str, str]  # from what makes to what uses
SWEEPS = 24
BOX = (1.25, 0.3)  # inches
ACROSS, DOWN = 1.45, 0.62


def draw(recipe: FigureRecipe, inputs: Inputs) -> Page:
    """Rules as boxes, from data above to what people read below.

    Args:
        recipe: nothing beside the title. inputs: graph, as `snakemake --rulegraph dot` prints it.
    """
    from matplotlib.patches import FancyBboxPatch

    nodes, edges = read_graph(inputs["graph"][0].read_text(encoding="utf-8"))
    if not nodes:
        raise UserError(f"{inputs['graph'][0]}: holds no rule graph; delete it and run again")
    edges = without_shortcuts(edges)
    rows, chains = layers(nodes, edges)
    width = max(len(row) for row in rows)
    place = {
        name: ((k - (len(row) - 1) / 2) * ACROSS, -depth * DOWN)
        for depth, row in enumerate(rows)
        for k, name in enumerate(row)
    }
    figure = page(width * ACROSS + 0.3, len(rows) * DOWN + 0.9)
    axes = figure.subplots()
    for chain in chains:
        _arrow(axes, [place[name] for name in chain])
    targets = nodes - {a for a, _ in edges}
    sources = nodes - {b for _, b in edges}
    for name in sorted(nodes):
        x, y = place[name]
        colour = COLOURS[1] if name in targets else COLOURS[2] if name in sources else COLOURS[6]
        box = FancyBboxPatch(
            (x - BOX[0] / 2, y - BOX[1] / 2), *BOX, boxstyle="round,pad=0,rounding_size=0.08",
            facecolor="white", edgecolor=colour, linewidth=2.4 if name in targets else 1.4, zorder=2,
        )  # fmt: skip
        axes.add_patch(box)
        axes.text(x, y, name, ha="center", va="center", fontsize=7, zorder=3)
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.set_xlim(-width * ACROSS / 2, width * ACROSS / 2)
    axes.set_ylim(-(len(rows) - 0.5) * DOWN, 0.5 * DOWN)
    return Page(figure, ["An arrow that another way implies is left out. Heavy boxes: what one asks for."])


def read_graph(text: str) -> tuple[set[str], list[Edge]]:
    """Rules and edges of a rule graph in graphviz's language."""
    names = dict(re.findall(r'(\d+)\[label = "(\w+)', text))
    return set(names.values()), [(names[a], names[b]) for a, b in re.findall(r"(\d+) -> (\d+)", text)]


def without_shortcuts(edges: list[Edge]) -> list[Edge]:
    """The transitive reduction of an acyclic graph."""
    after: dict[str, set[str]] = {}
    for a, b in edges:
        after.setdefault(a, set()).add(b)

    def reach(name: str) -> set[str]:
        found: set[str] = set()
        waiting = [name]
        while waiting:
            for b in after.get(waiting.pop(), ()):
                if b not in found:
                    found.add(b)
                    waiting.append(b)
        return found

    return [(a, b) for a, b in edges if not any(b in reach(c) for c in after[a] - {b})]


def layers(nodes: set[str], edges: list[Edge]) -> tuple[list[list[str]], list[list[str]]]:
    """Rows from top to bottom, every edge leading down; and each edge as a chain of one name a row.

    Names that are no node are bends of edges that pass a row. Rows are ordered by the barycentre of their
    neighbours, as few crossings as the sweeps find.
    """
    depth = dict.fromkeys(nodes, 0)
    for _ in nodes:
        for a, b in edges:
            depth[b] = max(depth[b], depth[a] + 1)
    users: dict[str, list[str]] = {}
    for a, b in edges:
        users.setdefault(a, []).append(b)
    for name in sorted(nodes, key=lambda n: -depth[n]):  # down to just above what uses it first
        if name in users:
            depth[name] = min(depth[b] for b in users[name]) - 1
    chains = []
    rows: list[list[str]] = [[] for _ in range(max(depth.values()) + 1)]
    for name in sorted(nodes):
        rows[depth[name]].append(name)
    for a, b in edges:
        bends = [f"{a}>{b}@{d}" for d in range(depth[a] + 1, depth[b])]
        for bend in bends:
            rows[int(bend.rsplit("@", 1)[1])].append(bend)
        chains.append([a, *bends, b])
    beside: dict[str, list[str]] = {}
    for chain in chains:
        for upper, lower in pairwise(chain):
            beside.setdefault(upper, []).append(lower)
            beside.setdefault(lower, []).append(upper)
    best, fewest = [list(row) for row in rows], _crossings(rows, chains)
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        for d in range(1, len(rows)) if down else range(len(rows) - 2, -1, -1):
            _order(rows[d], rows[d - 1 if down else d + 1], beside)
        if (crossings := _crossings(rows, chains)) < fewest:
            best, fewest = [list(row) for row in rows], crossings
    return best, chains


def _order(row: list[str], fixed: list[str], beside: dict[str, list[str]]) -> None:
    """Sort a row by where its neighbours in the fixed row are; who has none there stays about where it is."""
    at = {name: k - (len(fixed) - 1) / 2 for k, name in enumerate(fixed)}
    own = {name: k - (len(row) - 1) / 2 for k, name in enumerate(row)}
    near = {name: [at[n] for n in beside.get(name, ()) if n in at] or [own[name]] for name in row}
    row.sort(key=lambda name: sum(near[name]) / len(near[name]))


def _crossings(rows: list[list[str]], chains: list[list[str]]) -> int:
    at = {n: (d, k) for d, row in enumerate(rows) for k, n in enumerate(row)}
    steps = [(at[a], at[b]) for chain in chains for a, b in pairwise(chain)]
    return sum(
        a[0] == c[0] and (a[1] - c[1]) * (b[1] - d[1]) < 0
        for i, (a, b) in enumerate(steps)
        for c, d in steps[i + 1 :]
    )


def _arrow(axes: Any, points: list[tuple[float, float]]) -> None:
    """A curve through the points, straight down at each, an arrow head on the last box."""
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path

    half = BOX[1] / 2
    points = [
        (points[0][0], points[0][1] - half),
        *points[1:-1],
        (points[-1][0], points[-1][1] + half + 0.03),
    ]
    corners, codes = [points[0]], [Path.MOVETO]
    for (x0, y0), (x1, y1) in pairwise(points):
        middle = (y0 + y1) / 2
        corners += [(x0, middle), (x1, middle), (x1, y1)]
        codes += [Path.CURVE4] * 3
    axes.add_patch(
        FancyArrowPatch(
            path=Path(corners, codes),
            arrowstyle="-|>",
            mutation_scale=8,
            color="#777777",
            linewidth=0.9,
            zorder=1,
        )
    )
