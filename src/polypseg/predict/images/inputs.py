"""What each result was made from: size, times and digest of every input, one line per image, beside the results.

Decisions:
- An input is the same where size, times and place on disk are: nobody changes a file and keeps the time of its change.
  Where they differ (a copy, a touch), its digest decides.
- Lines are added as images are read and before their rows; the last line of a name counts.
"""

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from polypseg.errors import DataError
from polypseg.predict.images.sources import STDIN, ImageSource
from polypseg.predict.images.table import add_line
from polypseg.records.reading import FileKind, Saved, parse_json

INPUTS_NAME = ".inputs.jsonl"
KIND = FileKind("list of inputs", DataError, "start with --overwrite")


class _Line(Saved):
    name: str
    place: tuple[int, ...]
    sha256: str


class Stamp(NamedTuple):
    """What is known of an input.

    Attributes:
        place: Size, times of content and of any change in ns, and number on the disk; empty for standard input.
        sha256: Of its bytes.
    """

    place: tuple[int, ...]
    sha256: str


def stamp_of(source: ImageSource, place: tuple[int, ...]) -> Stamp:
    """The stamp of a source that could be read.

    Args:
        source: An image.
        place: Where it was before it was read, by `place_of`.

    Raises:
        OSError: It cannot be read any more.
    """
    return Stamp(place, _digest_of(source))


def is_same(source: ImageSource, before: Stamp | None) -> bool:
    """Whether a source is what it was."""
    if before is None:
        return False
    with suppress(OSError):  # gone, or not to be read: reading it tells
        return (bool(before.place) and place_of(source) == before.place) or _digest_of(source) == before.sha256
    return False


class InputLines:
    """Adds lines to the file that keeps the stamps; use it in a `with`."""

    def __init__(self, folder: Path) -> None:
        self._descriptor = os.open(folder / INPUTS_NAME, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)

    def __enter__(self) -> "InputLines":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def add(self, name: str, stamp: Stamp) -> None:
        """Add the stamp of an image.

        Raises:
            OSError: It cannot be written; the file is as before.
        """
        line = {"name": name, "place": stamp.place, "sha256": stamp.sha256}
        add_line(self._descriptor, json.dumps(line) + "\n")


def kept_stamps(folder: Path) -> dict[str, Stamp]:
    """The stamps by name of result; a damaged line counts nothing: its image is predicted again."""
    found: dict[str, Stamp] = {}
    with suppress(FileNotFoundError), (folder / INPUTS_NAME).open("rb") as opened:
        for line in opened:
            with suppress(DataError):
                stamp = parse_json(line, _Line, INPUTS_NAME, KIND)
                found[stamp.name] = Stamp(stamp.place, stamp.sha256)
    return found


def place_of(source: ImageSource) -> tuple[int, ...]:
    """Size, times and place of a source; empty for standard input and for what is not there."""
    if source.path == STDIN:
        return ()
    try:
        found = Path(source.path).stat()
    except OSError:
        return ()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def _digest_of(source: ImageSource) -> str:
    if source.pages is not None:
        return source.pages.sha256
    with Path(source.path).open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
