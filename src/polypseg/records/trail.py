"""An append-only file of JSON lines that tells who did what when, and that it is whole.

Decisions:
- A line is one `write`, flushed to the disk before the caller goes on. What was not written whole (a kill, a full disk)
  is the last line, and nobody was told that it was saved: it is moved aside, and said so.
- Each line ends with a digest of itself and of the line before. A line that was changed, removed or added by hand is
  found, and the file is refused: what an audit reads must be what was written.
"""

import errno
import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from pydantic import ValidationError

from polypseg.records.atomic import write_bytes
from polypseg.records.reading import FileKind, Saved, read_bytes

CHECK = "check"
"""The key of a line's digest."""

CHECK_LETTERS = 16


class TrailLine(Saved):
    """A line's own fields; a trail's entries are of a class derived from it."""

    check: str = ""


LineT = TypeVar("LineT", bound=TrailLine)


class TrailLines(NamedTuple, Generic[LineT]):
    """What a trail holds.

    Attributes:
        lines: In their order.
        num_bytes: How long they are in the file.
        tail: What follows them and was not written whole; mostly empty.
    """

    lines: list[LineT]
    num_bytes: int
    tail: bytes


class Trail(Generic[LineT]):
    """A file of lines of one kind.

    Args:
        path: The file; it need not be there yet, its folder does.
        line_type: Of its lines.
        kind: For errors.
    """

    def __init__(self, path: Path, line_type: type[LineT], kind: FileKind) -> None:
        self.path, self._line_type, self._kind = path, line_type, kind
        self._last = ""

    def read(self) -> TrailLines[LineT]:
        """What it holds; nothing where there is no file.

        Raises:
            PolypsegError: Of the kind: a line in the middle is damaged, was changed or removed.
        """
        if not self.path.exists():
            return TrailLines([], 0, b"")
        content = read_bytes(self.path, self._kind)
        lines: list[LineT] = []
        place, last = 0, ""
        while place < len(content):
            end = content.find(b"\n", place)
            if end < 0:
                break
            line = self._line(content[place:end], last)
            if line is None:
                self._refuse_middle(content[place:], len(lines) + 1)
                break
            lines.append(line)
            place, last = end + 1, line.check
        self._last = last
        return TrailLines(lines, place, content[place:])

    def recover(self) -> tuple[list[LineT], str]:
        """The lines, and what was done about a last one that was not written whole, in words; mostly empty.

        Raises:
            PolypsegError: As `read`.
            OSError: The file cannot be mended.
        """
        found = self.read()
        if not found.tail:
            return found.lines, ""
        aside = self._free_name()
        write_bytes(aside, found.tail)
        with self.path.open("rb+") as opened:
            opened.truncate(found.num_bytes)
            os.fsync(opened.fileno())
        return found.lines, (
            f"{self.path}: its last line was not written whole (a kill, a power failure); its {len(found.tail)} bytes "
            f"are in {aside.name}, the {len(found.lines)} lines before it are in order"
        )

    def append(self, line: LineT) -> LineT:
        """Write a line and flush it to the disk; the line with its digest. The trail was read before.

        Raises:
            PolypsegError: Of the kind: it cannot be written; the file is as it was.
        """
        fields = line.model_dump(mode="json", by_alias=True, exclude={CHECK})
        checked = _digest(self._last, fields)
        content = json.dumps(fields | {CHECK: checked}, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        try:
            self._write(content)
        except OSError as error:
            what = "the disk is full" if error.errno == errno.ENOSPC else error.strerror or error
            raise self._kind.error(
                f"{self.path}: cannot be written ({what}); nothing of this was saved: make room, and save again"
            ) from error
        self._last = checked
        return line.model_copy(update={CHECK: checked})

    def _write(self, content: bytes) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            before = os.fstat(descriptor).st_size
            try:
                if os.write(descriptor, content) < len(content):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(descriptor)
            except OSError:
                with suppress(OSError):  # the first failure is what is told
                    os.ftruncate(descriptor, before)
                raise
        finally:
            os.close(descriptor)

    def _line(self, text: bytes, last: str) -> LineT | None:
        """A line, if it is whole and follows the one before."""
        try:
            fields = json.loads(text)
            line = self._line_type.model_validate_json(text)
        except (ValueError, ValidationError, RecursionError):
            return None
        if not isinstance(fields, dict):
            return None
        check = fields.pop(CHECK, "")
        return line if check == _digest(last, fields) else None

    def _refuse_middle(self, rest: bytes, number: int) -> None:
        """Nothing, where no line follows the damaged one.

        Raises:
            PolypsegError: One does.
        """
        for text in rest.split(b"\n"):
            with suppress(ValueError, ValidationError, RecursionError):
                self._line_type.model_validate_json(text)
                raise self._kind.damaged(
                    self.path, f"line {number} is damaged, or was changed, added or removed by hand"
                )

    def _free_name(self) -> Path:
        names = (self.path.with_name(f"{self.path.name}.damaged-{number}") for number in range(1, 10_000))
        return next(name for name in names if not name.exists())


def _digest(last: str, fields: dict[str, object]) -> str:
    """The digest of a line: of the digest before it and of its fields, in the order of their names."""
    text = json.dumps(fields, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(f"{last}\n{text}".encode()).hexdigest()[:CHECK_LETTERS]
