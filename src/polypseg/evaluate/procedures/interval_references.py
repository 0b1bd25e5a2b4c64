"""References in a table of intervals: procedure, lesion, first_frame, last_frame."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from polypseg.errors import ScoreError, UsageError
from polypseg.evaluate.procedures.frames import Frames, frames_from
from polypseg.evaluate.procedures.references import Gathered, References, Sights
from polypseg.records.reading import FileKind, read_rows

INTERVALS = FileKind("table of intervals", ScoreError, "expected: procedure, lesion, first_frame, last_frame", 64)
INTERVAL_COLUMNS = ("procedure", "lesion", "first_frame", "last_frame")
MOST_FRAMES = 10_000_000
"""Of a procedure: more than four days of film are a mistake."""


class _Row(NamedTuple):
    """A row of the table; `looks` are its further columns."""

    procedure: str
    lesion: str
    first: str
    last: str
    num_frames: str
    looks: dict[str, str]


def _row(cells: dict[str, str]) -> _Row:
    procedure, lesion, first, last = map(cells.pop, INTERVAL_COLUMNS)
    return _Row(procedure, lesion, first, last, cells.pop("num_frames", ""), cells)


def intervals(path: Path, rate: float | None) -> References:
    """References of a table of intervals; arguments and errors as `open_references`."""
    rows = list(map(_row, read_rows(path, INTERVAL_COLUMNS, INTERVALS)))
    if not rows:
        raise INTERVALS.damaged(path, "it holds no row")
    lengths = _lengths(path, rows)
    names = list(dict.fromkeys(row.procedure for row in rows))
    spans = [
        (row, _whole(path, "first_frame", row.first), _whole(path, "last_frame", row.last))
        for row in rows
        if row.lesion
    ]
    for row, first, last in spans:
        if last < first:
            raise ScoreError(f"{path}: lesion {row.lesion} ends in frame {last} before it begins in frame {first}")
    frames = None
    if set(lengths) == set(names):
        frames = frames_from({name: [str(number) for number in range(lengths[name])] for name in names}, None, rate)

    def sights_in(evaluated: Frames) -> Sights:
        gathered = Gathered()
        lacking = [name for name in evaluated.names if name not in names]
        if lacking:
            raise ScoreError(
                f"{path}: no row for {lacking[0]}; a procedure without a lesion needs one, its lesion empty"
            )
        for row, first, last in spans:
            if row.procedure not in evaluated.names:
                raise ScoreError(f"{path}: procedure {row.procedure} is missing in the videos")
            owner = evaluated.names.index(row.procedure)
            begins, ends = np.searchsorted(evaluated.procedure, [owner, owner + 1]).tolist()
            if begins + last >= ends:
                raise ScoreError(
                    f"{path}: lesion {row.lesion} ends in frame {last}; {row.procedure} has frames 0 to "
                    f"{ends - begins - 1}"
                )
            for place in range(begins + first, begins + last + 1):
                gathered.add(place, owner, row.lesion)
        return gathered.sights()

    return References(path, "intervals", frames, sights_in, {row.lesion: row.looks for row, _, _ in spans})


def _lengths(path: Path, rows: Sequence[_Row]) -> dict[str, int]:
    """The number of frames of each procedure that tells it."""
    lengths: dict[str, int] = {}
    for row in rows:
        if row.num_frames:
            name, number = row.procedure, _whole(path, "num_frames", row.num_frames)
            if number > MOST_FRAMES:
                raise ScoreError(f"{path}: {name} has {number:,} frames; expected at most {MOST_FRAMES:,}")
            if lengths.setdefault(name, number) != number:
                raise ScoreError(f"{path}: {name} has {lengths[name]} frames in one row and {number} in another")
    return lengths


def _whole(path: Path, column: str, cell: str) -> int:
    try:
        value = int(cell)
    except ValueError:
        value = -1
    if value < 0:
        raise UsageError(f"{path}: {column} is {cell!r}; expected the number of a frame, from 0 on")
    return value
