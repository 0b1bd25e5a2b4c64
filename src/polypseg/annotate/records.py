"""What anonymising writes beside the frames: the report, which may be passed on, and the key, which may not.

Decisions:
- The key tells which file became which frame. It lies beside the folder, not in it, and only its owner may read it.
- The report names the kinds of metadata that were removed, never their values.
"""

import csv
import io
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from polypseg.errors import DataError
from polypseg.records.atomic import put_in_place, temporary_of, write_text

REPORT_NAME = "report.csv"


@dataclass(frozen=True)
class Anonymised:
    """What was done to one frame or video.

    Attributes:
        name: Of the new file, without its ending.
        kind: image, video or dicom.
        height_px: Of the picture.
        width_px: Of the picture.
        blanked_percent: How much of the frame was blanked.
        bright_px: How many of the blanked pixels were not surround: text, panels.
        text_blanked: Lines of text outside of the picture, which are blanked.
        text_left: Lines of text in the picture or over its edge: look at them.
        polyp_blanked_px: Pixels of a polyp's mask that were blanked.
        removed: Kinds of metadata that the file had.
    """

    name: str
    kind: str
    height_px: int
    width_px: int
    blanked_percent: float
    bright_px: int
    text_blanked: int
    text_left: int
    polyp_blanked_px: int
    removed: tuple[str, ...]


@dataclass(frozen=True)
class KeyRow:
    """Which file became which frame.

    Attributes:
        name: Of the new file.
        file: The original, as it was named.
        sha256: Of its bytes.
        group: The original's group; empty where unknown.
        new_group: What took its place.
    """

    name: str
    file: str
    sha256: str
    group: str = ""
    new_group: str = ""


def key_path(out: Path) -> Path:
    """Where the key lies: beside the folder.

    >>> key_path(Path("study/frames")).as_posix()
    'study/frames.key.csv'
    """
    return out.with_name(f"{out.name}.key.csv")


def write_report(folder: Path, rows: Sequence[Anonymised]) -> None:
    """Write report.csv into the folder."""
    table = [{**asdict(row), "removed": "; ".join(row.removed)} for row in rows]
    write_text(folder / REPORT_NAME, _csv([field.name for field in fields(Anonymised)], table))


def write_key(path: Path, rows: Sequence[KeyRow]) -> None:
    """Write the key, which only its owner can read.

    Raises:
        DataError: It cannot be written.
    """
    temporary = temporary_of(path)
    with suppress(OSError):
        temporary.unlink()
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as opened:
            opened.write(_csv([field.name for field in fields(KeyRow)], [asdict(row) for row in rows]))
        put_in_place(temporary, path)
    except OSError as error:
        raise DataError(f"{path}: cannot write the key ({error.strerror}); nothing was kept of this call") from error


def _csv(columns: Sequence[str], rows: Sequence[dict[str, object]]) -> str:
    text = io.StringIO()
    table = csv.DictWriter(text, columns, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()
