"""The picture of a network from its blocks, drawn with Matplotlib alone: no Graphviz, no Keras.

Decisions:
- Down the page goes the spatial reduction, a band a level; to the right goes time. A U-Net becomes a U.
- A block stands in a column (its longest way from the input) and, within its level, in a lane. Its output runs
  along its own lane as far as the last block that takes it, and changes rows between the columns (or above a
  merge, where nothing stands between): no line crosses a block, but for a third one in a column of two joined.
- Lengths are in inches, y points down, text is measured before anything is placed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

COLUMN_GAP = 0.22
LANE_GAP = 0.12
LEVEL_GAP = 0.3
FONT = "DejaVu Sans"  # comes with Matplotlib, so that a measured text fits everywhere
TEXT_PT = 6.5
LINE_IN = 0.118
PADDING = 0.07


class LayerPart(NamedTuple):
    """A layer and what is attached to it.

    Attributes:
        names: The layers it stands for.
        text: The operation.
        filters: Their number; None where it has none.
        after: What follows, as normalisation and activation.
        shape: Of what leaves it.
    """

    names: tuple[str, ...]
    text: str
    filters: int | None
    after: tuple[str, ...]
    shape: str


@dataclass(frozen=True)
class GraphBlock:
    """A node of the picture.

    Attributes:
        kind: input, convolution, resample, merge, gate, output or other.
        parts: What it holds: one part, or those of a gate in their order.
        level: Halvings of the spatial size since the input.
        parents: Places in the list of blocks, all before this one's.
        title: Its role, as "encoder 1"; may be empty.
        inner: Of a gate, its own blocks, the signals that enter it first.
    """

    kind: str
    parts: tuple[LayerPart, ...]
    level: int
    parents: tuple[int, ...]
    title: str = ""
    inner: tuple["GraphBlock", ...] = field(default=(), repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        """The layers of all its parts."""
        return tuple(name for part in self.parts for name in part.names)


class Box(NamedTuple):
    """Where a block stands: its middle, width and height in inches, its column and lane."""

    x: float
    y: float
    width: float
    height: float
    column: int
    lane: int


class Connection(NamedTuple):
    """A connection: its corners, from the source to the arrow's tip, and what it carries (flow, skip, signal)."""

    points: tuple[tuple[float, float], ...]
    carries: str


class GraphLayout(NamedTuple):
    """A placed graph: boxes in the order of the blocks, lines, (top, bottom) of each level, and the size."""

    boxes: list[Box]
    lines: list[Connection]
    levels: dict[int, tuple[float, float]]
    width: float
    height: float


@lru_cache(maxsize=4096)
def text_width(text: str, bold: bool = False) -> float:
    """The printed width in inches."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    if not text.strip():
        return 0.0
    font = FontProperties(family=FONT, size=TEXT_PT, weight="bold" if bold else "normal")
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return float(width) / 72


def lines_of(block: GraphBlock) -> list[tuple[str, str]]:
    """The lines of text in a block: what stands at the left (or alone), and at the right."""
    title = [(block.title, "")] if block.title else []
    if block.kind == "gate":
        return title + [(_in_one_line(part), part.shape) for part in block.parts]
    (part,) = block.parts
    filters = f"{part.filters} filter{'s' if part.filters != 1 else ''}" if part.filters else ""
    return title + [(line, "") for line in (part.text, filters, " · ".join(part.after), part.shape) if line]


def _in_one_line(part: LayerPart) -> str:
    filters = f", {part.filters}" if part.filters else ""
    return " · ".join([part.text + filters, *part.after])


def block_size(block: GraphBlock) -> tuple[float, float]:
    """Width and height in inches that a block's text needs."""
    lines = lines_of(block)
    widths = [text_width(left) + (text_width(right) + 0.12 if right else 0.0) for left, right in lines]
    width = max(*widths, text_width(block.title, bold=True))
    return width + 2 * PADDING, len(lines) * LINE_IN + 1.4 * PADDING


def arrange(blocks: Sequence[GraphBlock]) -> GraphLayout:
    """The layout of blocks that are listed in topological order."""
    columns = _columns(blocks)
    lanes = _lanes(blocks, columns)
    sizes = [block_size(block) for block in blocks]
    widths = [0.0] * (max(columns) + 1)
    for column, (width, _) in zip(columns, sizes, strict=True):
        widths[column] = max(widths[column], width)
    lefts = [sum(widths[:i]) + i * COLUMN_GAP for i in range(len(widths))]
    middles, levels = _rows(blocks, lanes, sizes)
    boxes = [
        Box(lefts[column] + widths[column] / 2, middles[block.level, lane], *size, column, lane)
        for block, column, lane, size in zip(blocks, columns, lanes, sizes, strict=True)
    ]
    height = max(bottom for _, bottom in levels.values())
    return GraphLayout(boxes, _lines(blocks, boxes, lefts), levels, lefts[-1] + widths[-1], height)


def _children(blocks: Sequence[GraphBlock]) -> list[list[int]]:
    children: list[list[int]] = [[] for _ in blocks]
    for number, block in enumerate(blocks):
        for parent in dict.fromkeys(block.parents):
            children[parent].append(number)
    return children


def _step(blocks: Sequence[GraphBlock], source: int, target: int) -> int:
    """Columns between two blocks: none where one can stand above the other."""
    from_, to = blocks[source], blocks[target]
    if to.kind == "gate" and from_.level > to.level:
        return 0
    if to.kind == "resample" and to.level > from_.level:
        return 0
    rises = bool(from_.parents) and all(blocks[parent].level > from_.level for parent in from_.parents)
    return 0 if to.kind == "merge" and to.level == from_.level and rises and len(set(to.parents)) > 1 else 1


def _columns(blocks: Sequence[GraphBlock]) -> list[int]:
    """As early as a block's inputs allow, then as late as its outputs allow: lines get short."""
    columns = [0] * len(blocks)
    for target, block in enumerate(blocks):
        columns[target] = max((columns[p] + _step(blocks, p, target) for p in block.parents), default=0)
    children = _children(blocks)
    for source in reversed(range(len(blocks))):
        latest = [columns[child] - _step(blocks, source, child) for child in children[source]]
        columns[source] = max(columns[source], min(latest, default=0))
    first = min(columns)
    return [column - first for column in columns]


def _lanes(blocks: Sequence[GraphBlock], columns: list[int]) -> list[int]:
    """A lane for each block, free from its column to the last block that takes its output."""
    children = _children(blocks)
    ends = [max([columns[i], *(columns[child] for child in children[i])]) for i in range(len(blocks))]
    lanes = [0] * len(blocks)
    taken: dict[tuple[int, int], list[int]] = {}
    for i in sorted(range(len(blocks)), key=lambda i: (columns[i], i)):
        block = blocks[i]
        same = [p for p in block.parents if blocks[p].level == block.level and columns[p] < columns[i] == ends[p]]
        rises = any(blocks[p].level > block.level for p in block.parents)
        near = [sign * lane for lane in range(1, len(blocks) + 1) for sign in ((1, -1) if rises else (-1, 1))]
        for lane in [*sorted((lanes[p] for p in same), key=abs), 0, *near]:
            others = taken.setdefault((block.level, lane), [])
            if all(o in same for o in others if columns[o] <= ends[i] and columns[i] <= ends[o]):
                others.append(i)
                lanes[i] = lane
                break
    return lanes


def _rows(
    blocks: Sequence[GraphBlock], lanes: list[int], sizes: list[tuple[float, float]]
) -> tuple[dict[tuple[int, int], float], dict[int, tuple[float, float]]]:
    """The middle of each lane of each level, and the top and bottom of each level."""
    heights: dict[tuple[int, int], float] = {}
    for block, lane, (_, height) in zip(blocks, lanes, sizes, strict=True):
        key = block.level, lane
        heights[key] = max(heights.get(key, 0.0), height)
    middles: dict[tuple[int, int], float] = {}
    levels: dict[int, tuple[float, float]] = {}
    y = 0.0
    for level in sorted({block.level for block in blocks}):
        top = y
        for key in sorted(key for key in heights if key[0] == level):
            middles[key] = y + heights[key] / 2
            y += heights[key] + LANE_GAP
        levels[level] = top, y - LANE_GAP
        y += LEVEL_GAP - LANE_GAP
    return middles, levels


def _lines(blocks: Sequence[GraphBlock], boxes: list[Box], lefts: list[float]) -> list[Connection]:
    gaps: dict[int, list[int]] = {}
    lines = []
    for target, block in enumerate(blocks):
        for source in dict.fromkeys(block.parents):
            from_, to = boxes[source], boxes[target]
            right, left = (from_.x + from_.width / 2, from_.y), (to.x - to.width / 2, to.y)
            sign = 1 if from_.y < to.y else -1
            above = to.x, to.y - sign * to.height / 2  # or below: the side that looks at the source
            if from_.column == to.column:
                points = [(from_.x, from_.y + sign * from_.height / 2), above]
            elif from_.y == to.y:
                points = [right, left]
            elif block.kind == "merge" and not _between(boxes, from_, to):
                points = [right, (to.x, from_.y), above]
            else:
                sources = gaps.setdefault(to.column, [])
                sources += [] if source in sources else [source]
                x = lefts[to.column] - COLUMN_GAP * (0.62 - 0.2 * (sources.index(source) % 3))
                points = [right, (x, from_.y), (x, to.y), left]
            lines.append(Connection(tuple(points), _carries(blocks, boxes, source, target)))
    return lines


def _between(boxes: list[Box], source: Box, target: Box) -> bool:
    """A box of the target's column stands between the two rows, or in the source's."""
    low, high = sorted((source.y, target.y))
    return any(box.column == target.column and box is not target and low <= box.y <= high for box in boxes)


def _carries(blocks: Sequence[GraphBlock], boxes: list[Box], source: int, target: int) -> str:
    """signal: from a deeper level into a gate; skip: within a level, past other columns; flow: all else."""
    if blocks[target].kind == "gate" and blocks[source].level > blocks[target].level:
        return "signal"
    past = boxes[target].column - boxes[source].column > 1 or blocks[target].kind == "gate"
    return "skip" if past and blocks[source].level == blocks[target].level else "flow"
