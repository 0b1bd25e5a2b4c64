"""When a polyp is seen in a video: a picture of the table that `predict.video.predict_video` writes.

Decisions:
- A frame lasts until the next one; where there is none for long, the strips are white.
- Time is cut into columns of the picture. A column shows what happens in any of its frames, so that one frame of a
  long video is seen too.
"""

from array import array
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from polypseg.errors import DataError, plural
from polypseg.records.video_table import read_video_table
from polypseg.report.canvas import (
    BLUE,
    FAINT,
    INK,
    ORANGE,
    PURPLE,
    SMALL_PT,
    TEXT_PT,
    blank_figure,
    save_figure,
    shortened,
    style_panel,
)

NUM_COLUMNS = 800
"""Nearly two dots each."""

LONGEST_FRAME_SECONDS = 1.0
"""A frame is not taken to last longer, whatever comes next: a gap in the recording."""

BACKGROUND, YELLOW = "#eeeeee", "#e69f00"
ROWS = (("polyp shown", BLUE), ("withheld", YELLOW), ("damaged", PURPLE), ("dropped", ORANGE))
"""What has a strip of its own, and its colour; a frame out of order in time, or of another size, counts as damaged."""


class Timeline(NamedTuple):
    """A video's table, one value per frame.

    Attributes:
        seconds: Since the first frame.
        area_percent: Of what is shown; NaN where there was no picture.
        states: By name of `ROWS`, which frames are in it.
    """

    seconds: NDArray[np.float64]
    area_percent: NDArray[np.float32]
    states: dict[str, NDArray[np.bool_]]


def timeline(table: Path | str, path: Path | str) -> Path:
    """The path of the saved figure; see `plot_timeline`."""
    return save_figure(plot_timeline(table), path)


def plot_timeline(table: Path | str) -> Figure:
    """The area that is shown over time, and below it when a polyp is shown, withheld, damaged or dropped.

    Args:
        table: The CSV of a video.

    Raises:
        DataError: It cannot be read, is not such a table, or holds no frames.
    """
    read = read_timeline(Path(table))
    order = np.argsort(read.seconds, kind="stable")
    lengths = frame_seconds(read.seconds[order])
    end = float((read.seconds[order] + lengths)[-1])
    edges = np.stack([read.seconds[order], read.seconds[order] + lengths], axis=1) / end * NUM_COLUMNS
    figure = blank_figure(9.6, 3.2)
    upper = figure.add_axes((0.21, 0.47, 0.76, 0.42))
    lower = figure.add_axes((0.21, 0.15, 0.76, 0.26), sharex=upper)
    _draw_area(upper, edges, read.area_percent[order], end)
    style_panel(upper, shortened(Path(table).stem, 60), "", "shown, % of the frame")
    upper.tick_params(labelbottom=False)
    recorded = covered(edges, np.ones(order.shape, bool))
    for place, (name, colour) in enumerate(ROWS):
        chosen = read.states[name][order]
        _draw_strip(lower, recorded, len(ROWS) - 1 - place, BACKGROUND, end)
        _draw_strip(lower, covered(edges, chosen), len(ROWS) - 1 - place, colour, end)
    labels = [
        f"{name}: {plural(int(read.states[name].sum()), 'frame')}, {lengths[read.states[name][order]].sum():.1f} s"
        for name, _ in ROWS
    ]
    _finish_strips(lower, labels, end)
    return figure


def read_timeline(table: Path) -> Timeline:
    """The table of a video; a last row that was cut off is left out.

    Raises:
        DataError: As `plot_timeline`.
    """
    seconds, area = array("d"), array("f")
    states = [array("b") for _ in ROWS]
    for row in read_video_table(table):
        seconds.append(row.seconds)
        area.append(row.area_percent)
        is_dropped = "dropped" in row.faults
        found = (row.num_components > 0, row.num_withheld > 0, bool(row.faults) and not is_dropped, is_dropped)
        for state, value in zip(states, found, strict=True):
            state.append(value)
    if not seconds:
        raise DataError(f"{table}: holds no frames")
    as_masks = {name: np.array(values, bool) for (name, _), values in zip(ROWS, states, strict=True)}
    return Timeline(np.array(seconds), np.array(area, np.float32), as_masks)


def frame_seconds(seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """How long each frame lasts: to the next one, at most `LONGEST_FRAME_SECONDS`; the last as the median of all.

    >>> frame_seconds(np.array([0.0, 0.5, 0.75, 60.0])).tolist()
    [0.5, 0.25, 1.0, 0.5]
    """
    steps = np.minimum(np.diff(seconds), LONGEST_FRAME_SECONDS)
    last = float(np.median(steps)) if steps.size and np.median(steps) > 0 else 0.04
    return np.append(steps, last)


def covered(edges: NDArray[np.float64], chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which of the columns the chosen frames touch.

    Args:
        edges: Shape (N, 2): where each frame begins and ends, in columns.
        chosen: Shape (N,), bool.

    >>> np.flatnonzero(covered(np.array([[0, 1.5], [1.5, 1.6], [8, 9]]), np.array([True, False, True]))).tolist()
    [0, 1, 8]
    """
    marks = np.zeros(NUM_COLUMNS + 1, np.int64)
    first = np.minimum(edges[chosen, 0].astype(int), NUM_COLUMNS - 1)
    after = np.clip(np.ceil(edges[chosen, 1] - 1e-9).astype(int), first + 1, NUM_COLUMNS)
    np.add.at(marks, first, 1)
    np.add.at(marks, after, -1)
    return np.asarray(np.cumsum(marks)[:-1] > 0)


def _draw_area(axes: Axes, edges: NDArray[np.float64], area: NDArray[np.float32], end: float) -> None:
    """The largest area of each column; nothing where it has no picture."""
    known = np.isfinite(area)
    highest = np.full(NUM_COLUMNS, np.nan)
    for (begins, ends), value in zip(edges[known], area[known], strict=True):
        first = min(int(begins), NUM_COLUMNS - 1)
        part = highest[first : max(first + 1, int(np.ceil(ends - 1e-9)))]
        np.fmax(part, value, out=part)
    times = np.linspace(0, end, NUM_COLUMNS + 1)
    axes.stairs(np.nan_to_num(highest), times, fill=True, color=BLUE, alpha=0.35, linewidth=0)
    axes.stairs(highest, times, baseline=None, color=BLUE, linewidth=0.8)
    axes.set_ylim(0, max(1.0, 1.1 * float(np.nanmax(highest, initial=0))))


def _draw_strip(axes: Axes, columns: NDArray[np.bool_], place: int, colour: str, end: float) -> None:
    bounds = np.flatnonzero(np.diff(np.concatenate([[False], columns, [False]]).astype(int))) * end / NUM_COLUMNS
    spans = [(begins, ends - begins) for begins, ends in bounds.reshape(-1, 2)]
    axes.broken_barh(spans, (place - 0.3, 0.6), color=colour, linewidth=0)


def _finish_strips(axes: Axes, labels: list[str], end: float) -> None:
    axes.set_yticks(range(len(labels) - 1, -1, -1), labels, fontsize=SMALL_PT, color=INK)
    axes.tick_params(axis="x", labelsize=SMALL_PT, colors=INK, length=3, width=0.6)
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, end)
    axes.set_xlabel("time, min:s" if end >= 60 else "time, s", fontsize=TEXT_PT, color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=10, steps=[1, 2, 3, 6, 10] if end >= 60 else None))
    if end >= 60:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda at, _: f"{int(at) // 60}:{at % 60:02.0f}"))
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set(color=FAINT, linewidth=0.7)
