"""The picture of a network in three layouts: polypseg's own, and the same blocks placed by two libraries.

    pip install grandalf==0.8 fast-sugiyama==0.5.3
    python benchmarks/graph_layouts.py pictures/

Both libraries place nodes in layers by their depth in the graph; docs/explanation/design.md says what comes of that.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from polypseg.models.graph import draw_model
from polypseg.models.graph.blocks import blocks_of
from polypseg.models.graph.layout import GraphBlock, block_size, lines_of
from polypseg.models.registry import build_model, preset

Places = list[tuple[float, float]]
Edges = list[tuple[int, int]]


class View:
    """The size of a node, as grandalf takes it; it adds the place, `xy`."""

    xy: tuple[float, float]

    def __init__(self, size: tuple[float, float]) -> None:
        self.w, self.h = size


def by_grandalf(sizes: Sequence[tuple[float, float]], edges: Edges) -> Places:
    from grandalf.graphs import Edge, Graph, Vertex
    from grandalf.layouts import SugiyamaLayout

    vertices = [Vertex(number) for number in range(len(sizes))]
    for vertex, size in zip(vertices, sizes, strict=True):
        vertex.view = View(size)
    layout = SugiyamaLayout(Graph(vertices, [Edge(vertices[a], vertices[b]) for a, b in edges]).C[0])
    layout.xspace, layout.yspace = 0.2, 0.3
    layout.init_all()
    layout.draw()
    return [vertex.view.xy for vertex in vertices]


def by_fast_sugiyama(sizes: Sequence[tuple[float, float]], edges: Edges) -> Places:
    import fast_sugiyama

    places = dict(fast_sugiyama.from_edges(edges, vertex_spacing=1.6).to_dict())
    return [(places[number][0], -0.9 * places[number][1]) for number in range(len(sizes))]


def draw(blocks: Sequence[GraphBlock], places: Places, edges: Edges, path: Path) -> None:
    xs, ys = zip(*places, strict=True)
    width, height = max(xs) - min(xs) + 3, max(ys) - min(ys) + 2
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(min(xs) - 1.5, max(xs) + 1.5), ylim=(max(ys) + 1, min(ys) - 1))
    axes.set_axis_off()
    for a, b in edges:
        axes.annotate("", places[b], places[a], arrowprops={"arrowstyle": "->", "lw": 0.6})
    for block, (x, y) in zip(blocks, places, strict=True):
        wide, high = block_size(block)
        axes.add_patch(Rectangle((x - wide / 2, y - high / 2), wide, high, facecolor="#d6e6f4", edgecolor="black"))
        text = "\n".join(f"{left} {right}" for left, right in lines_of(block))
        axes.text(x, y, text, fontsize=5.5, ha="center", va="center")
    figure.savefig(path, dpi=200)
    print(f"{path}: {200 * width:.0f} x {200 * height:.0f} px")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder of the pictures")
    parser.add_argument("--preset", default="attention-unet-16")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    model = build_model(preset(given.preset), 256)
    print(draw_model(model, given.out / "own.png", renderer="matplotlib")[0])
    blocks = blocks_of(model)
    sizes = [block_size(block) for block in blocks]
    edges = [(parent, number) for number, block in enumerate(blocks) for parent in dict.fromkeys(block.parents)]
    draw(blocks, by_grandalf(sizes, edges), edges, given.out / "grandalf.png")
    draw(blocks, by_fast_sugiyama(sizes, edges), edges, given.out / "fast-sugiyama.png")


if __name__ == "__main__":
    main()
