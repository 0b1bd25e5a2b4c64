"""predictions.csv: one row per image, added when all its files are written, so that a row says that they are there.

Decisions:
- A row is added with one call of the system and taken back where that fails, so that the table is whole after a kill
  or on a full disk; what a kill cut off all the same is left out when the table is read again.
- Undefined numbers (of an empty mask, of a file that could not be read) are `nan`.
"""

import csv
import errno
import io
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from polypseg.arrays import Mask
from polypseg.errors import DataError
from polypseg.predict.images.sources import ImageSource
from polypseg.predict.predictor import Prediction
from polypseg.predict.regions import Region
from polypseg.records.atomic import write_text


@dataclass(frozen=True)
class Row:
    """What is said of an image.

    Attributes:
        name: Of its results.
        path: Of the file.
        page: Counted from 1; empty where the file is one image.
        height: In pixels, upright.
        width: In pixels, upright.
        area_px: Of the mask.
        area_percent: Of the mask, in per cent of the image.
        box_x: Left column of the smallest box around the mask; `nan` where it is empty, as are the next three.
        box_y: Its top row.
        box_width: In pixels.
        box_height: In pixels.
        num_components: 8-connected components of the mask.
        mean_probability: Over the mask; `nan` where it is empty.
        max_probability: Over the image.
        threshold: The probability from which on a pixel is polyp.
        field_x: Left column of the part that the model saw; outside of it nothing is polyp.
        field_y: Its top row.
        field_width: In pixels.
        field_height: In pixels.
        seconds: From the image in memory to its mask, without reading and writing.
        outer_area_px: Of the outer mask; `nan` without a calibration, as the next.
        inner_area_px: Of the inner mask.
        mark_doubt: That what is marked is no polyp, 0 to 1 (`predict.doubt`).
        outline_doubt: That the outline is wrong, or a polyp missed, 0 to 1.
        look_again: The place among the frames to look at again, from 1; 0 for the others, `nan` where none was asked
            for.
        look_again_for: Why: `mark` (what is marked may be no polyp), `missed` (nothing is marked), `outline`.
        note: What a reader should know of the result; empty for nothing.
        fault: Why it could not be predicted; empty where it was.
    """

    name: str
    path: str
    page: str = ""
    height: float = math.nan
    width: float = math.nan
    area_px: float = math.nan
    area_percent: float = math.nan
    box_x: float = math.nan
    box_y: float = math.nan
    box_width: float = math.nan
    box_height: float = math.nan
    num_components: float = math.nan
    mean_probability: float = math.nan
    max_probability: float = math.nan
    threshold: float = math.nan
    field_x: float = math.nan
    field_y: float = math.nan
    field_width: float = math.nan
    field_height: float = math.nan
    seconds: float = math.nan
    outer_area_px: float = math.nan
    inner_area_px: float = math.nan
    mark_doubt: float = math.nan
    outline_doubt: float = math.nan
    look_again: float = math.nan
    look_again_for: str = ""
    note: str = ""
    fault: str = ""


COLUMNS = tuple(field.name for field in fields(Row))
TEXTS = frozenset(field.name for field in fields(Row) if field.type is str)

ADDED = (
    *("field_x", "field_y", "field_width", "field_height"),
    *("outer_area_px", "inner_area_px", "mark_doubt", "outline_doubt", "look_again", "look_again_for", "note"),
)
"""Columns that tables of earlier versions lack; such a table is read, and what it lacks is its default."""


def row_of(source: ImageSource, prediction: Prediction, regions: list[Region]) -> Row:
    """The row of a prediction; `regions` are those of its mask."""
    height, width = prediction.mask.shape
    area = sum(region.area_px for region in regions)
    inside = sum(region.area_px * region.mean_probability for region in regions)
    box = _box(regions)
    return Row(
        *_who(source),
        height,
        width,
        area,
        round(100 * area / (height * width), 6),
        *box,
        len(regions),
        round(inside / area, 6) if area else math.nan,
        round(float(prediction.probability.max()), 6),
        prediction.threshold,
        prediction.field.left,
        prediction.field.top,
        prediction.field.width,
        prediction.field.height,
        round(prediction.seconds, 6),
        _area(prediction.outer),
        _area(prediction.inner),
        *prediction.doubt,
        note=prediction.note,
    )


def fault_row(source: ImageSource, fault: str) -> Row:
    """The row of an image that could not be predicted."""
    return Row(*_who(source), fault=text_cell(fault))


def text_cell(text: str) -> str:
    """The text as the table holds it, on one line: line ends and what is no valid Unicode are escaped."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\r", "\\r").replace("\n", "\\n")


def _who(source: ImageSource) -> tuple[str, str, str]:
    return text_cell(source.name), text_cell(source.path), "" if source.page is None else str(source.page)


def _area(mask: Mask | None) -> float:
    return math.nan if mask is None else int(np.count_nonzero(mask))


def _box(regions: list[Region]) -> tuple[float, float, float, float]:
    """The smallest box (x, y, width, height) around all regions."""
    if not regions:
        return (math.nan,) * 4
    boxes = np.array([region.box for region in regions])
    low = boxes[:, :2].min(axis=0)
    high = (boxes[:, :2] + boxes[:, 2:]).max(axis=0)
    x, y, width, height = (int(value) for value in (*low, *(high - low)))
    return x, y, width, height


class PredictionTable:
    """Adds rows to a predictions.csv; close it, or use it in a `with`."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)

    def __enter__(self) -> "PredictionTable":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, row: Row) -> None:
        """Add a row.

        Raises:
            OSError: It cannot be written; the table is as before.
        """
        add_line(self._descriptor, _line_of(row))

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def add_line(descriptor: int, line: str) -> None:
    """Add a line to a file that was opened for appending: all of it, or none."""
    content, found = line.encode("utf-8"), os.fstat(descriptor)
    if found.st_nlink == 0:
        raise FileNotFoundError(errno.ENOENT, "the folder of the results is gone, or its table")
    size = found.st_size
    try:
        written = os.write(descriptor, content)
        while written < len(content):  # a full disk takes a part, and refuses the rest by an error
            written += os.write(descriptor, content[written:])
    except BaseException:
        os.ftruncate(descriptor, size)
        raise


def read_rows(path: Path) -> list[Row]:
    """The whole rows of a table; a last row that was cut off is left out.

    Raises:
        DataError: It cannot be read, or is not a predictions.csv.
    """
    try:
        text = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot read the table ({error})") from error
    whole = text[: text.rfind("\n") + 1]
    try:
        rows = list(csv.reader(io.StringIO(whole, newline=""), strict=True))
    except csv.Error as error:
        raise DataError(f"{path}: a row is damaged ({error}); predict again with --overwrite") from error
    header = tuple(rows[0]) if rows else ()
    if header != tuple(column for column in COLUMNS if column in header or column not in ADDED):
        raise DataError(f"{path}: not a table of polypseg predict of this version; predict again with --overwrite")
    try:
        return [_row(dict(zip(header, row, strict=True))) for row in rows[1:] if len(row) == len(header)]
    except ValueError as error:
        raise DataError(f"{path}: a row is damaged ({error}); predict again with --overwrite") from error


def write_rows(path: Path, rows: Iterable[Row] = ()) -> None:
    """Write a whole table."""
    write_text(path, "".join([_line(COLUMNS), *map(_line_of, rows)]))


def _row(cells: dict[str, str]) -> Row:
    """A row of texts; what it lacks has its default."""
    return Row(**{name: cell if name in TEXTS else float(cell) for name, cell in cells.items()})  # type: ignore[arg-type]


def _line_of(row: Row) -> str:
    return _line([_cell(getattr(row, column)) for column in COLUMNS])


def _line(cells: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def _cell(value: str | float) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.10g}"
