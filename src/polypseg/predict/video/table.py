"""The table of a video: one row per frame, written as the frames come, in its place once all are there.

Decisions:
- Columns are named as those of predictions.csv; what is not known (the box of an empty mask, all of a frame without a
  picture) is `nan`.
- A killed run leaves NAME.part.csv, whole up to its last second or so.
"""

import csv
import math
from dataclasses import astuple
from pathlib import Path

import cv2
import numpy as np

from polypseg.arrays import Mask
from polypseg.records.atomic import put_in_place
from polypseg.records.video_table import COLUMNS, FrameRow

ROWS_A_FLUSH = 25
"""So many rows are lost at most where the work is killed."""


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
