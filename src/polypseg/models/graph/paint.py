"""The blocks of a network, painted with Matplotlib: the U, its levels, a legend, and one gate enlarged."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from polypseg.models.graph.layout import (
    FONT,
    LINE_IN,
    PADDING,
    TEXT_PT,
    Box,
    GraphBlock,
    GraphLayout,
    arrange,
    lines_of,
    text_width,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

INK, FAINT, BAND = "#222222", "#7a7a7a", "#f6f6f4"
FACES = {
    "input": "#ffffff",
    "convolution": "#d6e6f4",
    "resample": "#fbe3c8",
    "merge": "#ececec",
    "gate": "#f7dbe9",
    "output": "#d3eadf",
    "other": "#fdf6d3",
}
EDGES = {
    "input": "#7a7a7a",
    "convolution": "#0072b2",
    "resample": "#d98200",
    "merge": "#7a7a7a",
    "gate": "#b8568f",
    "output": "#009e73",
    "other": "#a08f1f",
}
KINDS = {
    "input": "input",
    "convolution": "convolution",
    "resample": "down- or upsampling",
    "merge": "merge",
    "gate": "attention gate",
    "output": "output",
    "other": "other layer",
}
LINES = {"flow": (INK, "features"), "skip": ("#0072b2", "skip connection"), "signal": ("#b8568f", "gating signal")}

MARGIN = 0.15
LEVEL_LABEL_IN = 0.75
Origin = tuple[float, float]


def paint(blocks: Sequence[GraphBlock], title: str = "") -> "Figure":
    """The figure of a whole network.

    Every block carries the names of its layers, joined by +, as its id in an SVG.

    Args:
        blocks: In topological order.
        title: The network's name.
    """
    from matplotlib.figure import Figure

    layout = arrange(blocks)
    gates = [block for block in blocks if block.kind == "gate"]
    gate = max(reversed(gates), key=lambda each: len(each.parts), default=None)
    inset = arrange(gate.inner) if gate else None
    legend = _legend_rows(blocks, layout)
    left, top = MARGIN + LEVEL_LABEL_IN, MARGIN + (0.3 if title else 0.0)
    legend_at, inset_at, height = _corners(layout, inset, legend)
    width = left + max(layout.width, inset_at[0] + _inset_size(inset)[0] if inset else 1.5) + 2 * MARGIN
    figure = Figure(figsize=(width, top + height + MARGIN), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(top + height + MARGIN, 0))
    axes.set_axis_off()
    if title:
        _write(axes, (MARGIN, MARGIN), title, fontsize=9, fontweight="bold", va="top")
    _paint_levels(axes, blocks, layout, (left, top), width)
    _paint_graph(axes, blocks, layout, (left, top), named=True)
    _paint_legend(axes, legend, (left + legend_at[0], top + legend_at[1]))
    if gate and inset:
        _paint_inset(axes, gate, inset, (left + inset_at[0], top + inset_at[1]))
    return figure


def _write(axes: "Axes", at: Origin, words: str, **style: Any) -> "Text":
    """The text as it stands: a name with dollar signs is no formula."""
    for name, value in (("fontsize", TEXT_PT), ("color", INK), ("va", "center_baseline"), ("zorder", 4)):
        style.setdefault(name, value)
    return axes.text(*at, words, family=FONT, parse_math=False, **style)


def _paint_levels(
    axes: "Axes", blocks: Sequence[GraphBlock], layout: GraphLayout, origin: Origin, width: float
) -> None:
    """A faint band behind each level, and the height and width that most of its blocks have."""
    from matplotlib.patches import Rectangle

    for level, (upper, lower) in layout.levels.items():
        y = origin[1] + upper - 0.08
        axes.add_patch(Rectangle((MARGIN, y), width - 2 * MARGIN, lower - upper + 0.16, facecolor=BAND, zorder=0))
        sizes = [part.shape.rpartition("×")[0] for block in blocks if block.level == level for part in block.parts[-1:]]
        label = max(dict.fromkeys(sizes), key=sizes.count).replace("×", " × ")
        middle = next(
            (box.y for b, box in zip(blocks, layout.boxes, strict=True) if b.level == level and not box.lane), 0
        )
        _write(axes, (MARGIN + 0.08, origin[1] + middle), label, fontsize=7, color=FAINT, fontweight="bold")


def _paint_graph(axes: "Axes", blocks: Sequence[GraphBlock], layout: GraphLayout, origin: Origin, named: bool) -> None:
    for line in layout.lines:
        _paint_line(axes, [(x + origin[0], y + origin[1]) for x, y in line.points], LINES[line.carries][0])
    for block, box in zip(blocks, layout.boxes, strict=True):
        _paint_block(axes, block, box._replace(x=box.x + origin[0], y=box.y + origin[1]), named)


def _paint_line(axes: "Axes", points: Sequence[Origin], colour: str) -> None:
    """An arrow along the points, its corners rounded."""
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path

    vertices, codes = [points[0]], [Path.MOVETO]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        for end in (before, after):
            length = max(abs(end[0] - corner[0]), abs(end[1] - corner[1]), 1e-9)
            share = min(0.06, length / 2) / length
            near = corner[0] + share * (end[0] - corner[0]), corner[1] + share * (end[1] - corner[1])
            vertices += [near, corner] if end is before else [near]
            codes += [Path.LINETO, Path.CURVE3] if end is before else [Path.CURVE3]
    path = Path([*vertices, points[-1]], [*codes, Path.LINETO])
    arrow = FancyArrowPatch(
        path=path, arrowstyle="-|>", mutation_scale=6, color=colour, linewidth=0.9, fill=False, zorder=2
    )
    axes.add_patch(arrow)


def _paint_block(axes: "Axes", block: GraphBlock, box: Box, named: bool) -> None:
    from matplotlib.patches import FancyBboxPatch

    left, top = box.x - box.width / 2, box.y - box.height / 2
    radius = min(box.height / 2, 0.12) if block.kind in ("merge", "resample") else 0.04
    patch = FancyBboxPatch(
        (left, top),
        box.width,
        box.height,
        boxstyle=f"round,pad=0,rounding_size={radius}",
        facecolor=FACES[block.kind],
        edgecolor=EDGES[block.kind],
        linewidth=0.8,
        zorder=3,
    )
    axes.add_patch(patch)
    texts = []
    lines = lines_of(block)
    for number, (words, shape) in enumerate(lines):
        y = box.y + (number - (len(lines) - 1) / 2) * LINE_IN
        heading = number == 0 and bool(block.title)
        faint = not shape and words == block.parts[-1].shape
        at = (left + PADDING, "left") if shape else (box.x, "center")
        colour = EDGES[block.kind] if heading else FAINT if faint else INK
        weight = "bold" if heading else "normal"
        text = _write(axes, (at[0], y), words, ha=at[1], color=colour, fontweight=weight)
        _write(axes, (box.x + box.width / 2 - PADDING, y), shape, ha="right", color=FAINT)
        texts += [] if heading else [text]
    if named and block.kind != "gate":
        patch.set_gid("+".join(block.names))
    elif named:
        for text, part in zip(texts, block.parts, strict=True):
            text.set_gid("+".join(part.names))


def _paint_inset(axes: "Axes", gate: GraphBlock, layout: GraphLayout, origin: Origin) -> None:
    from matplotlib.patches import FancyBboxPatch

    width, height = _inset_size(layout)
    frame = FancyBboxPatch(
        origin,
        width,
        height,
        boxstyle="round,pad=0,rounding_size=0.08",
        facecolor="white",
        edgecolor=EDGES["gate"],
        linewidth=0.8,
        zorder=1,
    )
    axes.add_patch(frame)
    heading = f"{gate.title}, enlarged"
    _write(axes, (origin[0] + 0.12, origin[1] + 0.1), heading, fontsize=7, fontweight="bold", va="top")
    _paint_graph(axes, gate.inner, layout, (origin[0] + 0.15, origin[1] + 0.38), named=False)


def _inset_size(layout: GraphLayout) -> tuple[float, float]:
    return layout.width + 0.3, layout.height + 0.5


def _legend_rows(blocks: Sequence[GraphBlock], layout: GraphLayout) -> list[tuple[str, str]]:
    """Kind of block or line, and its words, for all that occur."""
    kinds = {block.kind for block in blocks} | {each.kind for block in blocks for each in block.inner}
    carried = {line.carries for line in layout.lines}
    return [(kind, words) for kind, words in KINDS.items() if kind in kinds] + [
        (kind, words) for kind, (_, words) in LINES.items() if kind in carried
    ]


def _paint_legend(axes: "Axes", rows: Sequence[tuple[str, str]], origin: Origin) -> None:
    from matplotlib.patches import FancyBboxPatch

    for number, (kind, words) in enumerate(rows):
        x, y = origin[0], origin[1] + (number + 0.5) * 0.17
        if kind in LINES:
            _paint_line(axes, [(x, y), (x + 0.24, y)], LINES[kind][0])
        else:
            style = "round,pad=0,rounding_size=0.03"
            swatch = FancyBboxPatch((x, y - 0.05), 0.22, 0.1, boxstyle=style, linewidth=0.8)
            swatch.set(facecolor=FACES[kind], edgecolor=EDGES[kind])
            axes.add_patch(swatch)
        _write(axes, (x + 0.32, y), words)


def _corners(
    layout: GraphLayout, inset: GraphLayout | None, legend: Sequence[tuple[str, str]]
) -> tuple[Origin, Origin, float]:
    """Where the legend (lower left) and the enlarged gate (lower right) go, within the graph where it leaves
    the corner free, else below it; and the height that all three take.
    """
    taken = [(b.x - b.width / 2, b.y - b.height / 2, b.x + b.width / 2, b.y + b.height / 2) for b in layout.boxes]
    for line in layout.lines:
        for (x0, y0), (x1, y1) in zip(line.points, line.points[1:], strict=False):
            taken.append((min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)))

    def lowest(x0: float, x1: float, height: float) -> float:
        """The top of a panel that spans x0 to x1: flush with the bottom where nothing is in its way."""
        top = layout.height - height
        free = top >= 0 and all(b[2] < x0 - 0.15 or b[0] > x1 + 0.15 or b[3] < top - 0.15 for b in taken)
        return top if free else layout.height + 0.25

    legend_height = 0.17 * len(legend)
    legend_width = 0.32 + max((text_width(words) for _, words in legend), default=0.0)
    legend_at = (0.0, lowest(0.0, legend_width, legend_height))
    width, height = _inset_size(inset) if inset else (0.0, 0.0)
    right = max(layout.width, width + (0.0 if legend_at[1] < layout.height else legend_width + 0.4))
    inset_at = (right - width, lowest(right - width, right, height))
    bottom = max(layout.height, legend_at[1] + legend_height, inset_at[1] + height if inset else 0.0)
    return legend_at, inset_at, bottom
