"""NAME.csv, the table of a video: one row per frame; `predict.video.table` writes it while the frames come."""

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

from polypseg.errors import DataError

NEEDED = ("seconds", "area_percent", "num_components", "num_withheld", "fault")
"""Columns without which a table is not that of a video; tables of earlier versions lack some of the others."""


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

    @property
    def faults(self) -> list[str]:
        """What is wrong with the frame; empty where nothing is."""
        return self.fault.split("+") if self.fault else []


COLUMNS = tuple(field.name for field in fields(FrameRow))


def read_video_table(path: Path) -> Iterator[FrameRow]:
    """The rows of a table, one after another; a last row that was cut off is left out.

    Raises:
        DataError: It cannot be read, or is not the table of a video.
    """
    try:
        with path.open(newline="", encoding="utf-8") as opened:
            rows = csv.DictReader(opened)
            header = rows.fieldnames or ()
            if missing := [name for name in NEEDED if name not in header]:
                raise DataError(f"{path}: has no column {missing[0]}; expected the table of a video (polypseg predict)")
            for number, cells in enumerate(rows):
                if all(cells[name] is not None for name in header):
                    yield _row(number, cells)
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{path}: cannot read the table of the video ({error})") from error


def _row(number: int, cells: dict[str, str]) -> FrameRow:
    def figure(name: str) -> float:
        return float(cells.get(name, math.nan))

    return FrameRow(
        frame=int(cells.get("frame", number)),
        seconds=figure("seconds"),
        area_px=figure("area_px"),
        area_percent=figure("area_percent"),
        box_x=figure("box_x"),
        box_y=figure("box_y"),
        box_width=figure("box_width"),
        box_height=figure("box_height"),
        num_components=figure("num_components"),
        max_probability=figure("max_probability"),
        num_withheld=figure("num_withheld"),
        note=cells.get("note", ""),
        fault=cells.get("fault", ""),
        tracks=cells.get("tracks", ""),
        outer_area_px=figure("outer_area_px"),
        inner_area_px=figure("inner_area_px"),
    )
