"""The tables of a result, in Parquet: one row per frame, one row per detection, one row per mask.

Decisions:
- Columns are named as those of a video's CSV, and `image` is an image's name; what is not known is null.
- A detection is a chain of components (predict/video/temporal.py), numbered by its first frame. It is known when the
  video has ended; until then only its sums are held.
- Files are opened by Python and handed to PyArrow: a full disk raises Python's own error.
"""

from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO, Any, NamedTuple

from polypseg.errors import missing_extra
from polypseg.predict.video.temporal import Component, ComponentChain
from polypseg.records.video_table import FrameRow

ROWS_A_GROUP = 10_000
"""Rows that are held before they are written."""

FRAMES_NAME, DETECTIONS_NAME, MASKS_NAME = "frames.parquet", "detections.parquet", "masks.parquet"

IMAGE = "image"
_FRAME_KINDS = {"frame": "int32", "seconds": "float64", **dict.fromkeys(("note", "fault", "tracks", IMAGE), "string")}
_FRAME_FLOATS = ("area_percent", "max_probability")


def frame_columns() -> dict[str, str]:
    """The columns of the frames and their types, by PyArrow's names."""
    names = [*(field.name for field in fields(FrameRow)), IMAGE]
    return {name: _FRAME_KINDS.get(name, "float64" if name in _FRAME_FLOATS else "int32") for name in names}


DETECTION_COLUMNS = {
    "detection": "int32",
    "first_frame": "int32",
    "last_frame": "int32",
    "first_seconds": "float64",
    "last_seconds": "float64",
    "num_frames": "int32",
    "max_area_px": "int32",
    "max_area_frame": "int32",
    "box_x": "int32",
    "box_y": "int32",
    "box_width": "int32",
    "box_height": "int32",
}
"""The box is that of the frame in which the detection is largest; of several parts in a frame, of the largest."""

MASK_COLUMNS = {"frame": "int32", "height": "int32", "width": "int32", "counts": "string"}
"""`counts` are COCO's compressed run lengths; a frame without a polyp has no row."""


def import_arrow() -> Any:
    """PyArrow.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import pyarrow
    except ModuleNotFoundError as error:
        raise missing_extra("pyarrow", "archive") from error
    return pyarrow


def schema_of(columns: dict[str, str]) -> Any:
    """PyArrow's schema of columns."""
    arrow = import_arrow()
    return arrow.schema([(name, arrow.type_for_alias(kind)) for name, kind in columns.items()])


class TableWriter:
    """Writes a Parquet file row by row; use it in a `with`.

    Args:
        path: The file.
        columns: Names, and types by PyArrow's names.
    """

    def __init__(self, path: Path, columns: dict[str, str]) -> None:
        from pyarrow import parquet

        self._arrow, self._schema = import_arrow(), schema_of(columns)
        self._file: IO[bytes] = path.open("wb")
        self._writer = parquet.ParquetWriter(self._file, self._schema, compression="zstd")
        self._rows: list[dict[str, Any]] = []
        self.num_rows = 0

    def __enter__(self) -> "TableWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Close the file; one that failed is left as it is, without its last rows."""
        try:
            if kind is None:
                self._write()
                self._writer.close()
        finally:
            with suppress(Exception):  # PyArrow would close it later, and complain where nobody listens
                self._writer.close()
            with suppress(OSError):
                self._file.close()

    def add(self, row: dict[str, Any]) -> None:
        """Add a row; NaN stands for null."""
        self._rows.append({name: None if value != value else value for name, value in row.items()})
        self.num_rows += 1
        if len(self._rows) >= ROWS_A_GROUP:
            self._write()

    def _write(self) -> None:
        if self._rows:
            self._writer.write_table(self._arrow.Table.from_pylist(self._rows, schema=self._schema))
            self._rows = []


def frame_cells(row: FrameRow, image: str | None = None, note: str = "") -> dict[str, Any]:
    """A row of the frames; `nan` is null there.

    Args:
        row: Of a frame, or of an image.
        image: Its file's name; None for a frame of a video.
        note: Beside the row's own.
    """
    cells = {name: int(value) if _is_whole(name, value) else value for name, value in vars(row).items()}
    return {**cells, "note": row.note or note, IMAGE: image}


def _is_whole(name: str, value: Any) -> bool:
    return name not in _FRAME_FLOATS and name != "seconds" and isinstance(value, float) and value == value


class _Peak(NamedTuple):
    area_px: int
    frame: int
    box: tuple[int, int, int, int]


@dataclass
class _Sums:
    first: tuple[int, float]
    last: tuple[int, float]
    peak: _Peak
    chain: ComponentChain

    def join(self, other: "_Sums") -> None:
        self.first, self.last = min(self.first, other.first), max(self.last, other.last)
        if (other.peak.area_px, -other.peak.frame) > (self.peak.area_px, -self.peak.frame):
            self.peak = other.peak


class DetectionTable:
    """Gathers the components of a video into its detections."""

    def __init__(self) -> None:
        self._sums: dict[int, _Sums] = {}

    def add(self, frame: int, seconds: float, components: list[Component]) -> None:
        """Add the components that are shown in a frame."""
        for component in components:
            chain = component.detection.root()
            at = (frame, seconds)
            self._join(_Sums(at, at, _Peak(component.area_px, frame, component.box), chain))

    def rows(self) -> list[dict[str, Any]]:
        """The detections in the order in which they begin; the video has ended."""
        found = list(self._sums.values())
        self._sums = {}
        for sums in found:
            sums.chain = sums.chain.root()
            self._join(sums)
        ordered = sorted(self._sums.values(), key=lambda sums: (sums.first, sums.last, sums.peak))
        return [_cells(number, sums) for number, sums in enumerate(ordered, 1)]

    def _join(self, sums: _Sums) -> None:
        known = self._sums.setdefault(id(sums.chain), sums)  # the chain is held: its number stays its own
        if known is not sums:
            known.join(sums)


def _cells(number: int, sums: _Sums) -> dict[str, Any]:
    x, y, width, height = sums.peak.box
    values = (number, sums.first[0], sums.last[0], sums.first[1], sums.last[1], sums.chain.length())
    return dict(zip(DETECTION_COLUMNS, (*values, sums.peak.area_px, sums.peak.frame, x, y, width, height), strict=True))
