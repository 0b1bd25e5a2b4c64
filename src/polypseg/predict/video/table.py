"""The table of a video: a row a frame, written as the frames come, in its place once all are there.

Decisions:
- Columns are named as those of predictions.csv; what is not known (the box of an empty mask, all of a frame without a
  picture) is `nan`.
- A killed run leaves NAME.part.csv, whole up to its last second or so.
"""

import csv
import math
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import cv2
import numpy as np

from polypseg.arrays import Mask
from polypseg.records.atomic import put_in_place

ROWS_A_FLUSH = 25
"""So many rows are lost at most where the work is killed."""


@dataclass(frozen=True)
class FrameRow:
    """What is said of a frame.

    Attributes:
        frame: Counted from 0, those without a picture too.
        seconds: Since the first frame.
        area_px: Of what is shown.
        area_percent: Of what is shown, in per cent of the frame.
        box_x: Left column of the smallest box around what is shown; `nan` where nothing is, as are the next three.
        box_y: Its top row.
        box_width: In pixels.
        box_height: In pixels.
        num_components: 8-connected components that are shown.
        max_probability: Over the frame, smoothed where smoothing is on, withheld or not.
        num_withheld: Components that are withheld.
        note: `no picture` where no lit field was found and the whole frame was predicted; empty for nothing.
        fault: `dropped`, `damaged`, `mistimed`, `rejoined`, `resized`, several joined by `+`; empty where nothing is.
        tracks: The number of each component that is shown, the largest first, joined by `+` (tracks.py); a polyp keeps
            its number, also when it is gone for under a second.
        outer_area_px: Of the outer mask; `nan` without a calibration, as the next.
        inner_area_px: Of the inner mask, withheld or not.
    """

    frame: int
    seconds: float
    area_px: float = math.nan
    area_percent: float = math.nan
    box_x: float = math.nan
    box_y: float = math.nan
    box_width: float = math.nan
    box_height: float = math.nan
    num_components: float = math.nan
    max_probability: float = math.nan
    num_withheld: float = math.nan
    note: str = ""
    fault: str = ""
    tracks: str = ""
    outer_area_px: float = math.nan
    inner_area_px: float = math.nan


COLUMNS = tuple(field.name for field in fields(FrameRow))


def area_and_box(mask: Mask) -> tuple[int, float, float, float, float, float]:
    """Area in pixels and in per cent, and the smallest box (x, y, width, height) around all, `nan` for an empty mask.

    >>> area_and_box(np.array([[0, 0, 1, 1], [0, 0, 0, 1]], bool))
    (3, 37.5, 2, 0, 2, 2)
    """
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    if width == 0:
        return 0, 0.0, math.nan, math.nan, math.nan, math.nan
    area = int(np.count_nonzero(mask[y : y + height, x : x + width]))
    return area, 100 * area / mask.size, x, y, width, height


def component_boxes(mask: Mask) -> list[tuple[int, int, int, int]]:
    """The box (x, y, width, height) of each 8-connected component, the largest component first.

    >>> component_boxes(np.array([[1, 0, 1, 1], [0, 0, 0, 1]], bool))
    [(2, 0, 2, 2), (0, 0, 1, 1)]
    """
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    if width == 0:
        return []
    inside = np.ascontiguousarray(mask[y : y + height, x : x + width]).view(np.uint8)
    _, _, statistics, _ = cv2.connectedComponentsWithStats(inside, connectivity=8)
    found = sorted(statistics[1:].tolist(), key=lambda one: -one[cv2.CC_STAT_AREA])
    return [(x + left, y + top, wide, high) for left, top, wide, high, _ in found]


class FrameTable:
    """Writes NAME.part.csv row by row; `finish` moves it to NAME.csv."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.part = path.with_suffix(f".part{path.suffix}")
        self._file = self.part.open("w", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._writer.writerow(COLUMNS)
        self.num_rows = 0

    def add(self, row: FrameRow) -> None:
        """Add a row."""
        self._writer.writerow([value if isinstance(value, str) else f"{value:.10g}" for value in astuple(row)])
        self.num_rows += 1
        if self.num_rows % ROWS_A_FLUSH == 0:
            self._file.flush()

    def close(self) -> None:
        """Close the part file, wherever it is."""
        self._file.close()

    def finish(self) -> Path:
        """Where the whole table lies."""
        self.close()
        put_in_place(self.part, self.path)
        return self.path
