"""What the figures share: ink, panels, grids of images, and how a figure becomes a file.

Decisions:
- `Figure` is used without pyplot: no window system, no global state, and threads do not disturb one another.
- Sizes are in inches as printed, text in points; a PNG has 200 dots an inch.
"""

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from polypseg.errors import UsageError
from polypseg.overlay import HEAT_COLOURS
from polypseg.records.atomic import write_bytes

INK = "#222222"
FAINT = "#8a8a8a"
HAIRLINE = "#d9d9d9"
BLUE, ORANGE, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
"""Okabe and Ito's colours, told apart by colour-blind eyes."""

TEXT_PT = 8.0
SMALL_PT = 7.0
DOTS_PER_INCH = 200
FORMATS = ("png", "svg", "pdf")

HEAT = ListedColormap(HEAT_COLOURS / 255.0, name="heat")


def blank_figure(width_in: float, height_in: float) -> Figure:
    """A white figure of this size in inches."""
    return Figure(figsize=(width_in, height_in), dpi=DOTS_PER_INCH, facecolor="white")


def encode_figure(figure: Figure, file_format: str) -> bytes:
    """The figure as the bytes of a PNG, SVG or PDF file, undated: an equal figure gives an equal PNG.

    Raises:
        UsageError: Another format.
    """
    if file_format not in FORMATS:
        raise UsageError(f"format {file_format!r}: expected one of {', '.join(FORMATS)}; name the file figure.png")
    undated = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[file_format]
    content = io.BytesIO()
    figure.savefig(content, format=file_format, dpi=DOTS_PER_INCH, metadata=undated)
    return content.getvalue()


def save_figure(figure: Figure, path: Path | str) -> Path:
    """The path, once the figure is written there; its folder is made where it is missing.

    Args:
        figure: Any figure.
        path: Ends in .png, .svg or .pdf.

    Raises:
        UsageError: Another ending.
    """
    path = Path(path)
    content = encode_figure(figure, path.suffix.lower().removeprefix("."))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, content)
    return path


def style_panel(axes: Axes, title: str, x_label: str, y_label: str = "") -> None:
    """Two spines, faint grid lines, small text, and a bold title at the left."""
    axes.set_title(title, loc="left", fontsize=TEXT_PT + 1, fontweight="bold", color=INK, pad=6)
    axes.set_xlabel(x_label, fontsize=TEXT_PT, color=INK)
    axes.set_ylabel(y_label, fontsize=TEXT_PT, color=INK)
    axes.tick_params(labelsize=SMALL_PT, colors=INK, length=3, width=0.6, which="major")
    axes.tick_params(labelsize=SMALL_PT, colors=FAINT, length=2, width=0.5, which="minor")
    axes.grid(True, which="major", color=HAIRLINE, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set(color=FAINT, linewidth=0.7)


def count_ticks(axes: Axes) -> None:
    """Whole numbers only along the x axis."""
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))


def image_grid(
    row_shapes: Sequence[Sequence[tuple[int, ...]]],
    num_columns: int,
    cell_in: float = 1.6,
    margins_in: tuple[float, float, float, float] = (1.45, 0.05, 0.28, 0.08),
    gaps_in: tuple[float, float] = (0.06, 0.06),
) -> tuple[Figure, list[list[Axes]]]:
    """A figure of empty cells, one row of cells for each row of images.

    A row is as high as its tallest image needs at the cells' width, within 0.4 and 1.25 times that width, so
    that samples of any size stand in line without being squeezed.

    Args:
        row_shapes: For each row, the shapes (H, W, …) of its images.
        num_columns: Cells in each row.
        cell_in: Width of a cell in inches.
        margins_in: Left, right, top, bottom in inches.
        gaps_in: Between columns and between rows, in inches.

    Returns:
        The figure and its axes, axes[row][column], without ticks.
    """
    left, right, top, bottom = margins_in
    gap, row_gap = gaps_in
    aspects = [max(shape[0] / shape[1] for shape in shapes) if shapes else 1.0 for shapes in row_shapes]
    heights = [cell_in * min(max(aspect, 0.4), 1.25) for aspect in aspects]
    width = left + right + num_columns * cell_in + (num_columns - 1) * gap
    height = top + bottom + sum(heights) + (len(heights) - 1) * row_gap
    figure = blank_figure(width, height)
    grid: list[list[Axes]] = []
    upper = height - top
    for row_height in heights:
        boxes = [(left + column * (cell_in + gap), upper - row_height) for column in range(num_columns)]
        grid.append([figure.add_axes((x / width, y / height, cell_in / width, row_height / height)) for x, y in boxes])
        upper -= row_height + row_gap
    for axes in (axes for row in grid for axes in row):
        axes.set_axis_off()
    return figure, grid


def show_image(axes: Axes, image: NDArray[np.generic], anchor: Literal["C", "N"] = "C") -> None:
    """Draws an RGB image or a mask, whole and unsqueezed, in the middle (C) or at the top (N) of a cell."""
    axes.imshow(image, cmap="gray", vmin=0, vmax=1, aspect="equal")
    axes.set_anchor(anchor)
    axes.set_axis_on()
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():  # a thin frame: a mask that is white all over would vanish on the page
        spine.set(color="0.7", linewidth=0.6)


def label_row(figure: Figure, first: Axes, text: str, detail: str = "") -> None:
    """Writes text, and a detail in bold below it, left of a row's first cell."""
    width, height = figure.get_size_inches()
    box = first.get_position(original=True)
    x, y, below = box.x0 - 0.08 / width, (box.y0 + box.y1) / 2, 0.02 / height
    figure.text(
        x,
        y + below,
        text,
        ha="right",
        va="bottom" if detail else "center",
        fontsize=SMALL_PT,
        color=INK,
        parse_math=False,
    )
    figure.text(x, y - below, detail, ha="right", va="top", fontsize=TEXT_PT, fontweight="bold", color=INK)


def heat_bar(figure: Figure, box_in: tuple[float, float, float, float], limits: tuple[float, float]) -> None:
    """Draws the colour bar of the heat maps, lying, at (left, bottom, width, height) in inches."""
    width, height = figure.get_size_inches()
    left, bottom, bar_width, bar_height = box_in
    axes = figure.add_axes((left / width, bottom / height, bar_width / width, bar_height / height))
    bar = figure.colorbar(ScalarMappable(Normalize(*limits), HEAT), cax=axes, orientation="horizontal")
    bar.outline.set_linewidth(0)  # type: ignore[operator]
    bar.set_ticks([limits[0], sum(limits) / 2, limits[1]])
    axes.tick_params(labelsize=SMALL_PT, colors=INK, length=2, width=0.5, pad=1.5)


def wrapped(name: str, length: int = 25) -> str:
    r"""The name in lines of at most `length` characters, broken after `/`, `_` or `-` where it has them; all of it.

    >>> wrapped("first-run/evaluation/test", length=12), wrapped("abcdef", length=4)
    ('first-run/\nevaluation/\ntest', 'abcd\nef')
    """
    lines = [""]
    for part in re.findall(r"[^/_-]*[/_-]?", name):
        if lines[-1] and len(lines[-1]) + len(part) > length:
            lines.append("")
        lines[-1] += part
    pieces = [line[start : start + length] for line in lines for start in range(0, len(line), length)]
    return "\n".join(pieces)


def shortened(name: str, length: int = 25) -> str:
    """The name, its middle left out where it is longer than `length`.

    >>> shortened("abcdefghij", length=7)
    'abc…hij'
    """
    if len(name) <= length:
        return name
    kept = length - 1
    return f"{name[: kept - kept // 2]}…{name[len(name) - kept // 2 :]}"
