"""The one reader of saved files: JSON, CSV, NPZ; and the text of those that are typed values.

A file that comes back from a disk may be anything: cut, with flipped bits, of another encoding, nested 100,000 deep,
with a number of 5,000 digits. Whatever it is, the answer is its value in the type that was asked for, or one error in
one line that names the file and says how to mend it.

Decisions:
- JSON is parsed and checked in one step by pydantic, strictly: a number in quotes is no number.
- A file larger than its kind can be, or one that is no file (a pipe, a device), is refused before it is read.
"""

import csv
import io
import json
import math
import stat
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, TypeAdapter, ValidationError

from polypseg.errors import PolypsegError

T = TypeVar("T")

MEBIBYTE = 1 << 20


class Saved(BaseModel):
    """A typed value of a saved file; unknown keys, of a newer polypseg, are ignored.

    A field with an alias has that name in the file, and its own in the program.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", populate_by_name=True)

    def stated(self) -> dict[str, Any]:
        """What was set, by its name in the program; what has its default alone is left out."""
        return {name: getattr(self, name) for name in self.model_fields_set}


def _known(value: Any) -> Any:
    return (float(value) if math.isfinite(value) else None) if isinstance(value, float) else value


Number = Annotated[float | None, BeforeValidator(_known)]
"""A figure of a `Saved`; what is not finite is None, as JSON has no word for it."""


@dataclass(frozen=True)
class FileKind:
    """A kind of saved files, as an error tells of it.

    Attributes:
        name: As `split manifest`.
        error: What is raised.
        mend: What the user can do, in the imperative.
        max_mib: Larger files are refused, in MiB.
    """

    name: str
    error: type[PolypsegError]
    mend: str
    max_mib: int = 256

    def damaged(self, path: Path | str, reason: object) -> PolypsegError:
        """The error of a file that cannot be understood."""
        return self.error(f"{path}: not a {self.name}, or a damaged one ({_in_short(reason)}); {self.mend}")


def check_regular(path: Path, kind: FileKind) -> int:
    """The size in bytes of a regular file.

    Raises:
        PolypsegError: Of the kind: a folder, or a pipe, a socket or a device, from which a read may never return.
        OSError: No such file.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        what = (
            "a folder, not a regular file"
            if stat.S_ISDIR(found.st_mode)
            else "not a regular file (a pipe, a socket or a device)"
        )
        raise kind.error(f"{path}: cannot read the {kind.name}: {what}; {kind.mend}")
    return found.st_size


def as_json(value: object, indent: int | None = 1) -> str:
    """The text of a file that holds a `Saved`, or a list or table of them: what was set, by its name in the file."""
    plain = TypeAdapter(Any).dump_python(value, mode="json", by_alias=True, exclude_unset=True)
    return json.dumps(plain, indent=indent, allow_nan=False)


def read_bytes(path: Path, kind: FileKind) -> bytes:
    """The bytes of a file.

    Raises:
        PolypsegError: Of the kind: it cannot be read, is no regular file or too large.
    """
    try:
        size = check_regular(path, kind)
        if size > kind.max_mib * MEBIBYTE:
            raise kind.damaged(path, f"{size:,} bytes, at most {kind.max_mib * MEBIBYTE:,} expected")
        return path.read_bytes()
    except (OSError, ValueError) as error:  # a name with a null byte is a ValueError
        reason = getattr(error, "strerror", None) or error
        raise kind.error(f"{path}: cannot read the {kind.name}: {reason}; {kind.mend}") from error


def read_text(path: Path, kind: FileKind) -> str:
    """The text of a file in UTF-8; a byte order mark, which some editors add, is passed over.

    Raises:
        PolypsegError: As `read_bytes`, or it is not UTF-8.
    """
    content = read_bytes(path, kind)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise kind.damaged(path, f"not UTF-8: {error.reason} at byte {error.start}") from error


def read_names(path: Path, error: type[PolypsegError]) -> list[str]:
    """The names of a text file, one a line, in its order.

    Args:
        path: The file.
        error: What is raised.

    Raises:
        PolypsegError: As `read_text`, or it holds no name.
    """
    kind = FileKind("list of names", error, "expected a text file with one name per line")
    names = [line.strip() for line in read_text(path, kind).splitlines() if line.strip()]
    if not names:
        raise error(f"{path}: holds no name; {kind.mend}")
    return names


def read_json(path: Path, expected: type[T], kind: FileKind) -> T:
    """The value of a JSON file.

    Args:
        path: The file.
        expected: A type that pydantic knows: a `Saved`, a `dict[str, float]`, …
        kind: For the message.

    Raises:
        PolypsegError: As `read_text`, or it is not JSON, or a value has another type.
    """
    return parse_json(read_text(path, kind), expected, path, kind)


def parse_json(text: str | bytes, expected: type[T], source: Path | str, kind: FileKind) -> T:
    """The value of a JSON text; as `read_json`."""
    try:
        value: T = _adapter(expected).validate_json(text)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, fault["loc"]))
        raise kind.damaged(source, f"{where}: {fault['msg']}" if where else fault["msg"]) from error
    except (RecursionError, ValueError) as error:
        raise kind.damaged(source, error) from error
    return value


def read_rows(path: Path, needed: Sequence[str], kind: FileKind) -> list[dict[str, str]]:
    """The rows of a CSV file, by the names in its first line.

    Args:
        path: The file.
        needed: Columns without which it is not of its kind.
        kind: For the message.

    Raises:
        PolypsegError: As `read_text`, or a column is missing or twice there, or a row has more or fewer cells.
    """
    return parse_rows(read_text(path, kind), needed, path, kind)


def parse_rows(text: str, needed: Sequence[str], source: Path | str, kind: FileKind) -> list[dict[str, str]]:
    """The rows of a CSV text; as `read_rows`."""
    try:
        lines = [
            (reader.line_num, cells)
            for reader in [csv.reader(io.StringIO(text, newline=""), strict=True)]
            for cells in reader
        ]
    except csv.Error as error:
        raise kind.damaged(source, error) from error
    header = lines[0][1] if lines else []
    _check_header(header, needed, source, kind)
    return [_named(cells, header, number, source, kind) for number, cells in lines[1:] if cells]


def _check_header(header: Sequence[str], needed: Sequence[str], source: Path | str, kind: FileKind) -> None:
    missing = [column for column in needed if column not in header]
    if missing:
        raise kind.damaged(source, f"it lacks the columns {', '.join(missing)}")
    if len(set(header)) < len(header):
        raise kind.damaged(source, "a column is twice there")


def _named(
    cells: Sequence[str], header: Sequence[str], number: int, source: Path | str, kind: FileKind
) -> dict[str, str]:
    if len(cells) != len(header):
        raise kind.damaged(source, f"line {number}: {len(cells)} cells, {len(header)} expected")
    return dict(zip(header, cells, strict=True))


def stream_rows(path: Path, columns: Sequence[str], kind: FileKind) -> Iterator[list[str]]:
    """The rows of a CSV file of any size, one after another, without its first line.

    Bytes that are no UTF-8 come as surrogates, as in Python's names of files: what was written is read again.

    Args:
        path: The file.
        columns: Its first line, exactly.
        kind: For the message; its size does not bound this file.

    Raises:
        PolypsegError: Of the kind: it cannot be read, has other columns, or a row has more or fewer cells.
    """
    try:
        check_regular(path, kind)
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as opened:
            reader = csv.reader(opened, strict=True)
            header = next(reader, [])
            if header != list(columns):
                raise kind.damaged(path, f"its columns are {', '.join(header) or 'missing'}")
            for cells in reader:
                if len(cells) != len(header):
                    raise kind.damaged(path, f"line {reader.line_num}: {len(cells)} cells, {len(header)} expected")
                yield cells
    except csv.Error as error:
        raise kind.damaged(path, error) from error
    except OSError as error:
        raise kind.error(f"{path}: cannot read the {kind.name}: {error.strerror}; {kind.mend}") from error


def stream_cells(
    path: Path, needed: Sequence[str], kind: FileKind, optional: Sequence[str] = ()
) -> Iterator[list[str]]:
    """Some cells of each row of a CSV file of any size, one row after another.

    Args:
        path: The file.
        needed: Columns, in the order of the cells; without one it is not of its kind.
        kind: For the message; its size does not bound this file.
        optional: More columns, whose cells follow; empty where the file lacks one.

    Raises:
        PolypsegError: Of the kind: it cannot be read, is not UTF-8, lacks a column or has one twice, or a row has more
            or fewer cells.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as opened:
            reader = csv.reader(opened, strict=True)
            header = next(reader, [])
            _check_header(header, needed, path, kind)
            for cells in reader:
                if cells:
                    row = _named(cells, header, reader.line_num, path, kind)
                    yield [row.get(column, "") for column in (*needed, *optional)]
    except (csv.Error, UnicodeDecodeError) as error:
        raise kind.damaged(path, error) from error
    except OSError as error:
        raise kind.error(f"{path}: cannot read the {kind.name}: {error.strerror}; {kind.mend}") from error


def read_npz(path: Path, needed: Sequence[str], kind: FileKind) -> dict[str, NDArray[Any]]:
    """The arrays of an NPZ file, by name.

    Args:
        path: The file.
        needed: Names without which it is not of its kind.
        kind: For the message; its size bounds the unpacked arrays.

    Raises:
        PolypsegError: As `read_bytes`, or it is no NPZ file, or lacks an array.
    """
    content = read_bytes(path, kind)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > kind.max_mib * MEBIBYTE:
            raise ValueError(f"{unpacked:,} bytes unpacked, at most {kind.max_mib * MEBIBYTE:,} expected")
        with np.load(io.BytesIO(content), allow_pickle=False) as saved:
            arrays = {name: saved[name] for name in saved.files}
    except Exception as error:  # NumPy and zipfile name no list of what damage makes them raise
        raise kind.damaged(path, error) from error
    missing = [name for name in needed if name not in arrays]
    if missing:
        raise kind.damaged(path, f"it lacks {', '.join(missing)}")
    return arrays


def open_npy(path: Path, kind: FileKind) -> NDArray[Any]:
    """The array of an NPY file, read from the disk as it is needed.

    Raises:
        PolypsegError: It cannot be read, or is damaged.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ValueError("not a regular file")
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except Exception as error:  # as `read_npz`
        raise kind.damaged(path, error) from error


def _adapter(expected: Any) -> TypeAdapter[Any]:
    config = None if isinstance(expected, type) and issubclass(expected, BaseModel) else ConfigDict(strict=True)
    return TypeAdapter(expected, config=config)


def _in_short(reason: object) -> str:
    """A reason in one line of at most 200 letters that can be printed."""
    line = " ".join(str(reason).split()) or type(reason).__name__
    shown = "".join(letter if letter.isprintable() else "?" for letter in line)
    return shown if len(shown) <= 200 else f"{shown[:199]}…"
