"""The workflow's rule graph: reduced by networkx, laid out in layers by grandalf (Sugiyama et al. 1981)."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import networkx as nx

from samdiffsr.core.errors import UserError
from samdiffsr.reporting.figures.recipe import FigureRecipe
from samdiffsr.reporting.figures.style import COLOURS, Inputs, Page, page

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Place = tuple[float, float]
BOX = (1.25, 0.3)  # inches
GAPS = (0.2, 0.32)  # between boxes: across, down
SWEEPS = 12


def draw(recipe: FigureRecipe, inputs: Inputs) -> Page:
    """Rules as boxes, from data above to what people read below.

    inputs: graph, as `snakemake --rulegraph dot` prints it.
    """
    from matplotlib.patches import FancyBboxPatch

    graph = read_graph(inputs["graph"][0].read_text(encoding="utf-8"))
    if not graph:
        raise UserError(f"{inputs['graph'][0]}: holds no rule graph; delete it and run again")
    graph.remove_edges_from(list(nx.selfloop_edges(graph)))  # a placebo's regions come from other regions
    graph = nx.transitive_reduction(graph)
    places, ways = layout(graph)
    left, right = (f(x for x, _ in places.values()) for f in (min, max))
    low, high = (f(y for _, y in places.values()) for f in (min, max))
    figure = page(right - left + BOX[0] + 0.5, high - low + BOX[1] + 1.2)
    axes = figure.subplots()
    for way in ways:
        _arrow(axes, way)
    for name in sorted(graph):
        x, y = places[name]
        target, source = not graph.out_degree(name), not graph.in_degree(name)
        box = FancyBboxPatch(
            (x - BOX[0] / 2, y - BOX[1] / 2), *BOX, boxstyle="round,pad=0,rounding_size=0.08",
            facecolor="white", edgecolor=COLOURS[1 if target else 2 if source else 6],
            linewidth=2.4 if target else 1.4, zorder=2,
        )  # fmt: skip
        axes.add_patch(box)
        axes.text(x, y, name, ha="center", va="center", fontsize=7, zorder=3)
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.set_xlim(left - BOX[0], right + BOX[0])
    axes.set_ylim(low - BOX[1], high + BOX[1])
    return Page(figure, ["An arrow that another way implies is left out. Heavy boxes: what one asks for."])


def read_graph(text: str) -> nx.DiGraph:
    """A rule graph in graphviz's language: an edge leads from what makes to what uses."""
    names = dict(re.findall(r'(\d+)\[label = "(\w+)', text))
    graph = nx.DiGraph()
    graph.add_nodes_from(sorted(names.values()))
    graph.add_edges_from(sorted((names[a], names[b]) for a, b in re.findall(r"(\d+) -> (\d+)", text)))
    return graph


def layout(graph: nx.DiGraph) -> tuple[dict[str, Place], list[list[Place]]]:
    """Where each node of an acyclic graph lies, in inches, and the bends of each edge; every edge leads down.

    Layers are counted from the targets, so that a source lies just above what uses it first.
    """
    from grandalf.graphs import Edge, Graph, Vertex
    from grandalf.layouts import SugiyamaLayout, VertexViewer

    vertices = {name: Vertex(name) for name in sorted(graph)}
    for vertex in vertices.values():
        vertex.view = VertexViewer(*BOX)
    edges = [Edge(vertices[b], vertices[a]) for a, b in sorted(graph.edges)]  # upside down
    for edge in edges:
        edge.view = _Way()
    places: dict[str, Place] = {}
    offset = 0.0
    for part in Graph(list(vertices.values()), edges).C:
        sugiyama = SugiyamaLayout(part)
        sugiyama.xspace, sugiyama.yspace = GAPS
        sugiyama.init_all()
        sugiyama.draw(SWEEPS)
        lefts = [vertex.view.xy[0] for vertex in part.sV]
        for vertex in part.sV:
            places[vertex.data] = (vertex.view.xy[0] - min(lefts) + offset, vertex.view.xy[1])
        for edge in part.sE:
            edge.view.points = [(x - min(lefts) + offset, y) for x, y in edge.view.points][::-1]
        offset += max(lefts) - min(lefts) + BOX[0] + GAPS[0]
    return places, [[places[e.v[1].data], *e.view.points[1:-1], places[e.v[0].data]] for e in edges]


class _Way:
    """An edge as grandalf routes it."""

    def __init__(self) -> None:
        self.points: list[Place] = []
        self.head_pos = None

    def setpath(self, points: list[Any]) -> None:
        """Told by the layout: from its beginning to its end."""
        self.points = [(float(x), float(y)) for x, y in points]


def _arrow(axes: Axes, points: list[Place]) -> None:
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
