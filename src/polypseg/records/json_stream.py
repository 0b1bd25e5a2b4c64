"""Large JSON files, one record after another: a COCO file of 100,000 frames is never in memory as a whole.

    for key, value in stream_members(path, kind):
        for record in value: ...                    # where the member is a list; else it is the value itself

Decisions:
- The outermost object or list is walked here, with the standard library's decoder for each record: no further package.
- Values that are no list are read whole. A record of more than `MOST_LETTERS` is a sign of a damaged file.
- As everywhere in this room, a damaged file is one error in one line.
"""

import json
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from polypseg.records.reading import MEBIBYTE, FileKind

MOST_LETTERS = 16 * MEBIBYTE
CHUNK = 1 << 16

_DECODER = json.JSONDecoder()
_SPACE = " \t\n\r"


def stream_members(path: Path, kind: FileKind) -> Iterator[tuple[str, Any]]:
    """The members of the outermost object, or the outermost list under the key ``""``.

    A list comes as an iterator of its records, to be used before the next member; what is left of it is passed over.

    Args:
        path: The file.
        kind: For the message; its size does not bound this file.

    Raises:
        PolypsegError: Of the kind: it cannot be read, or it is no JSON.
    """
    with _told(path, kind):
        if path.exists() and not stat.S_ISREG(path.stat().st_mode):
            raise kind.error(f"{path}: cannot read the {kind.name}: not a regular file; {kind.mend}")
        with path.open(encoding="utf-8-sig") as opened:
            scanner = _Scanner(opened)
            for key, value in _members(scanner):
                yield key, _told_of(value, path, kind) if isinstance(value, Iterator) else value
            if scanner.ahead():
                raise ValueError("more than one value")


@contextmanager
def _told(path: Path, kind: FileKind) -> Iterator[None]:
    """Make one error of whatever damage raises."""
    try:
        yield
    except OSError as error:
        raise kind.error(f"{path}: cannot read the {kind.name}: {error.strerror}; {kind.mend}") from error
    except (ValueError, RecursionError) as error:
        raise kind.damaged(path, error) from error


def _told_of(records: Iterator[Any], path: Path, kind: FileKind) -> Iterator[Any]:
    with _told(path, kind):
        yield from records


class _Scanner:
    """A text that is read as far as it is needed."""

    def __init__(self, opened: TextIO) -> None:
        self._opened = opened
        self._text, self._place, self._is_whole = "", 0, False

    def ahead(self) -> str:
        """The next letter that is no space; empty at the end."""
        while True:
            while self._place < len(self._text):
                if self._text[self._place] not in _SPACE:
                    return self._text[self._place]
                self._place += 1
            if not self._read_on():
                return ""

    def take(self, expected: str) -> str:
        """Pass over one of the expected letters and return it."""
        letter = self.ahead()
        if not letter or letter not in expected:
            found = repr(letter) if letter else "the end"
            raise ValueError(f"expected {' or '.join(expected)}, found {found}")
        self._place += 1
        return letter

    def value(self) -> Any:
        """The next value, whole."""
        self.ahead()
        while True:
            try:
                found, ends = _DECODER.raw_decode(self._text, self._place)
            except ValueError:
                if len(self._text) - self._place > MOST_LETTERS or not self._read_on():
                    raise
                continue
            if len(self._text) - ends < len("e+0") and self._read_on():
                continue  # a number may go on
            self._place = ends
            return found

    def _read_on(self) -> bool:
        """Whether there was more; what is behind is forgotten, and each further part is as long as what is held."""
        if self._is_whole:
            return False
        more = self._opened.read(max(CHUNK, len(self._text) - self._place))
        if more:
            self._text, self._place = self._text[self._place :] + more, 0
        self._is_whole = not more
        return bool(more)


def _members(scanner: _Scanner) -> Iterator[tuple[str, Any]]:
    if scanner.ahead() == "[":
        yield from _member(scanner, "")
        return
    scanner.take("{")
    if scanner.ahead() == "}":
        scanner.take("}")
        return
    while True:
        key = scanner.value()
        if not isinstance(key, str):
            raise ValueError(f"expected the name of a member, found {key!r}")
        scanner.take(":")
        yield from _member(scanner, key)
        if scanner.take(",}") == "}":
            return


def _member(scanner: _Scanner, key: str) -> Iterator[tuple[str, Any]]:
    if scanner.ahead() != "[":
        yield key, scanner.value()
        return
    records = _records(scanner)
    yield key, records
    for _ in records:
        pass


def _records(scanner: _Scanner) -> Iterator[Any]:
    scanner.take("[")
    if scanner.ahead() == "]":
        scanner.take("]")
        return
    while True:
        yield scanner.value()
        if scanner.take(",]") == "]":
            return
