"""The log of a server, bounded: whatever clients do, lines of one kind come a few a second, the rest is counted.

A request's line holds method, route, status and time (`guard.py`); that of a library what it has to say.
"""

import logging
import sys
from asyncio import CancelledError
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import NamedTuple, TextIO

OWN = "polypseg.serve"
"""The logger of this room."""

REQUEST_LINE = "%s %s %d %.1f ms"
"""Method, route, status, time."""

WINDOW_SECONDS = 10.0
LINES_A_WINDOW = 20
"""So many lines of one kind are written in a window; of those beyond only the number is told."""

MAX_KINDS = 50
"""Kinds that are told apart; all others count as one."""

MAX_CHARACTERS = 8000
"""Of a line, its traceback included."""


class _Window(NamedTuple):
    began: float
    num_lines: int
    kind: str


class BoundedHandler(logging.StreamHandler[TextIO]):
    """Writes lines, of each kind `LINES_A_WINDOW` in `WINDOW_SECONDS` at most.

    A kind is the logger and the message before its values are put in; of requests the method, the route and the status.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__(stream or sys.stderr)
        self._windows: dict[str, _Window] = {}
        self.setFormatter(logging.Formatter("%(asctime)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, or count it."""
        now, kind = monotonic(), _kind(record)
        self._tell_left_out(now)
        if kind not in self._windows and len(self._windows) >= MAX_KINDS:
            kind = "others"
        window = self._windows.get(kind, _Window(now, 0, kind))
        self._windows[kind] = window._replace(num_lines=window.num_lines + 1)
        if window.num_lines < LINES_A_WINDOW:
            super().emit(record)

    def format(self, record: logging.LogRecord) -> str:
        """The line, cut where it is too long."""
        if record.exc_info and isinstance(record.exc_info[1], CancelledError):  # uvicorn's, of each at the server's end
            made = {**vars(record), "msg": "a request was broken off: the server ends", "args": (), "exc_info": None}
            return super().format(logging.makeLogRecord({**made, "exc_text": None}))
        line = super().format(record)
        return line if len(line) <= MAX_CHARACTERS else f"{line[:MAX_CHARACTERS]} …"

    def close(self) -> None:
        """Tell what was left out last."""
        self._tell_left_out(float("inf"))
        super().close()

    def _tell_left_out(self, now: float) -> None:
        """End the windows that are over, each with the number of lines that it left out."""
        over = [window for window in self._windows.values() if now - window.began >= WINDOW_SECONDS]
        for window in over:
            del self._windows[window.kind]
            left_out = window.num_lines - LINES_A_WINDOW
            if left_out > 0:
                message = f"left out {left_out:,} more lines like: {window.kind}"
                super().emit(logging.LogRecord(OWN, logging.INFO, "", 0, message, None, None))


def _kind(record: logging.LogRecord) -> str:
    if record.msg == REQUEST_LINE and isinstance(record.args, tuple):
        return " ".join(str(value) for value in record.args if isinstance(value, str | int))
    return f"{record.name}: {record.msg}"[:200]


@contextmanager
def bounded_log(with_requests: bool) -> Iterator[None]:
    """Let what the server and its libraries have to say appear on standard error, bounded, while the block runs.

    Args:
        with_requests: Whether each request's line is written.
    """
    handler = BoundedHandler()
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger(OWN).setLevel(logging.INFO if with_requests else logging.WARNING)
    try:
        yield
    finally:
        root.removeHandler(handler)
        handler.close()
