"""Tables of videos that `polypseg predict` wrote, as findings.

Decisions:
- A table says of a frame how long it is from the first, where all that is shown lies together, and its highest
  probability: it has one finding a frame at most, and two regions count as one. The report says so.
- A frame in which nothing is shown, or all is withheld, has no finding. Lower thresholds than that of the prediction
  show nothing more.
- The procedure is the file's name without its ending, as that of a video; its frames are named by their numbers, or as
  the references' that end in them. The track is known where one region is shown.
"""

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from polypseg.errors import DataError, ScoreError
from polypseg.evaluate.procedures.films import keys_by_number
from polypseg.evaluate.procedures.findings import NO_TRACK, FindingRows, Findings
from polypseg.evaluate.procedures.frames import Frames, frames_from, natural
from polypseg.records.video_table import NEEDED, FrameRow, read_video_table

NOTE = "a table of a video has one box per frame around all that is shown: two regions in a frame count as one finding"


def find_video_tables(path: Path) -> dict[str, Path]:
    """The tables of videos by procedure: the file, or those in the folder; none where there are none."""
    files = sorted(path.glob("*.csv"), key=lambda one: natural(one.stem)) if path.is_dir() else [path]
    return {file.stem: file for file in files if file.suffix.lower() == ".csv" and _is_video_table(file)}


def read_video_tables(tables: Mapping[str, Path], known: Frames | None) -> tuple[Frames, Findings]:
    """The frames with their times, and what is found in them.

    Args:
        tables: From `find_video_tables`.
        known: Frames of the references, whose names are taken; None where they have none.

    Raises:
        ScoreError: A table cannot be read.
    """
    keys: dict[str, list[str]] = {}
    seconds: dict[str, list[float]] = {}
    rows = FindingRows()
    place = 0
    for name, path in tables.items():
        named = keys_by_number(known.keys_of(name)) if known is not None and name in known.names else {}
        own, times = keys.setdefault(name, []), seconds.setdefault(name, [])
        try:
            for row in read_video_table(path):
                own.append(named.get(row.frame, str(row.frame)))
                times.append(row.seconds)
                _add(rows, place, row)
                place += 1
        except DataError as error:
            raise ScoreError(str(error)) from error
    return frames_from(keys, seconds, None), rows.findings("the tables of the videos")


def _add(rows: FindingRows, place: int, row: FrameRow) -> None:
    box = (row.box_x, row.box_y, row.box_width, row.box_height)
    if not np.isnan(box).any():
        track = int(row.tracks) if row.tracks.isdigit() else NO_TRACK
        rows.add(place, box, min(1.0, row.max_probability), row.area_percent, track)


def _is_video_table(path: Path) -> bool:
    """Whether it is a file whose first line has the columns of a table of a video."""
    if not path.is_file():
        return False
    try:
        with path.open(encoding="utf-8-sig", newline="") as opened:
            header = next(csv.reader(opened), [])
    except (OSError, ValueError, csv.Error):
        return False
    return set(NEEDED) <= set(header)
