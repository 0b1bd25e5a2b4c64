"""Opening videos in a process of its own: a file at which the decoder crashes or hangs ends that process, not the plan.

Decisions:
- The process is this module, run by itself: it takes paths from its standard input, a line of JSON each, and answers
  with a line. It ends when its input does, so also when the process is killed that started it.
- It is begun when the first video is to be opened: a plan that finds nothing new begins none.
- A file at which it dies is opened once more by a new one: a process may be killed for another file's sake.
- A file that it does not open in time is faulty at once, and the process is ended.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Timer
from typing import IO, Any, NamedTuple

from polypseg.errors import ArchiveError, DataError
from polypseg.predict.video.source import import_av, open_source

TRIES = 2
"""A file at which so many processes died is faulty."""

SECONDS = 30.0
"""A file that is not open after so long is faulty. FFmpeg reads some MB of it, which takes less than a second; a slow
network, or a disk that starts, some seconds."""

_START_SECONDS = 120.0

COMMAND = (sys.executable, "-P", "-m", "polypseg.archive.opening")
"""-P: a file in the user's folder that bears a module's name is none of its modules."""

_READY, _GRACE_SECONDS = "ready", 2.0


class Header(NamedTuple):
    """What a video's header tells.

    Attributes:
        seconds: Its length.
        num_frames: That are promised, or expected from the length.
        codec: FFmpeg's name of it.
        height: In pixels.
        width: In pixels.
        fault: Why it cannot be opened; the other fields are empty then.
    """

    seconds: float = 0.0
    num_frames: int = 0
    codec: str = ""
    height: int = 0
    width: int = 0
    fault: str = ""


class Opener:
    """Tells the headers of videos; a context that ends its process.

    Args:
        command: What runs `main`; empty for this module.
    """

    def __init__(self, command: tuple[str, ...] = ()) -> None:
        self._command = command or COMMAND
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> "Opener":
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def header(self, file: Path) -> Header:
        """What a video's header tells, or its fault.

        Raises:
            ArchiveError: The process cannot be started.
            MissingExtraError: PyAV is not installed.
        """
        code = 0
        for _ in range(TRIES):
            process = self._process or self._started()
            with _ending(process, SECONDS) as is_late:
                told = _asked(process, str(file))
            if told is not None:
                return Header(*told)
            code = self._end()
            if is_late.is_set():
                return Header(
                    fault=f"the decoder did not open it within {SECONDS:g} s, expected less than 1 s; copy the file "
                    "again, or convert it first (ffmpeg -i FILE new.mp4)"
                )
        return Header(fault=f"the decoder crashes at it ({_ended(code)}, {TRIES} times)")

    def _started(self) -> "subprocess.Popen[str]":
        import_av()  # of a missing package this process tells
        process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self._process = process
        with _ending(process, _START_SECONDS):
            is_ready = _pipe(process.stdout).readline().strip() == _READY
        if not is_ready:
            raise ArchiveError(
                f"the process that opens videos cannot be started ({_ended(self._end())}); is there memory for it? "
                f"Try: {' '.join(self._command)}"
            )
        return process

    def _end(self) -> int:
        """The process's exit code; it is ended if it has not."""
        process, self._process = self._process, None
        if process is None:
            return 0
        with suppress(OSError):  # of what was written to a dead process
            _pipe(process.stdin).close()
        _pipe(process.stdout).close()
        try:
            return process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()


@contextmanager
def _ending(process: "subprocess.Popen[str]", seconds: float) -> Iterator[Event]:
    """End a process if the block takes so long; the event is set then."""
    is_late = Event()

    def end() -> None:
        is_late.set()
        process.kill()

    timer = Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield is_late
    finally:
        timer.cancel()


def _asked(process: "subprocess.Popen[str]", file: str) -> list[Any] | None:
    """The fields of a header; None where the process died at it."""
    try:
        _pipe(process.stdin).write(json.dumps(file) + "\n")
        _pipe(process.stdin).flush()
    except OSError:
        return None
    line = _pipe(process.stdout).readline()
    return json.loads(line) if line.endswith("\n") else None


def _pipe(pipe: IO[str] | None) -> IO[str]:
    if pipe is None:
        raise ArchiveError("the process that opens videos has no pipe to this one")
    return pipe


def _ended(code: int) -> str:
    """How a process ended, in words.

    >>> _ended(-11), _ended(3)
    ('signal 11, SIGSEGV', 'exit code 3')
    """
    return f"signal {-code}, {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def read_header(file: Path) -> Header:
    """What a video's header tells, or its fault, read in this very process."""
    try:
        source = open_source(file)
    except DataError as error:
        return Header(fault=str(error).removeprefix(f"{file}: "))
    try:
        context = source.stream.codec_context
        seconds = source.seconds_promised or float(source.num_expected / source.rate)
        return Header(round(seconds, 6), source.num_expected, context.name, context.height, context.width)
    finally:
        source.container.close()


def main() -> None:
    """Answer each path with a header, as long as somebody asks."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the asking process's to answer
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    import_av()
    print(_READY, file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(read_header(Path(json.loads(line)))), file=answers, flush=True)


if __name__ == "__main__":
    main()
