"""What a worker does: it loads the model once, and takes one video after another.

Decisions:
- What is wrong with a video is an outcome, never an exception: damage is final, anything else may be tried again.
- What is wrong with the store or the model ends the run: no video is to blame for it.
- A worker asks whether a video is done, in others' hands or forgotten, while nobody else can change it.
"""

import errno
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from polypseg.archive.images import is_chunk
from polypseg.archive.inputs import here, why_changed
from polypseg.archive.manifest import ManifestEntry, read_facts
from polypseg.archive.options import ArchiveJob
from polypseg.archive.store import State, Store, forgotten_videos, run_name
from polypseg.archive.video import write_result
from polypseg.errors import ArchiveError, BusyError, DataError, MissingExtraError

_STORE_FULL = {getattr(errno, name, None) for name in ("ENOSPC", "EDQUOT", "EROFS", "EFBIG")} - {None}
_STORE_SHUT = {errno.EACCES, errno.EPERM}


class Came(StrEnum):
    """What came of a try."""

    DONE = "done"
    BEFORE = "done before"
    ELSEWHERE = "in other hands"
    FAULTY = "faulty"
    CHANGED = "changed"
    MISSING = "missing"
    FORGOTTEN = "forgotten"
    FAILED = "failed"


class Outcome(NamedTuple):
    """What came of a video.

    Attributes:
        came: In a word.
        reason: Why it is not done.
        num_frames: That were predicted.
    """

    came: Came
    reason: str = ""
    num_frames: int = 0


class Worker:
    """Predicts videos of one archive.

    Args:
        job: What it works at.
        run: The name of the run, as the process has it that hands out the videos.

    Raises:
        ArchiveError: This machine would give other results: another engine, another model file.
        ModelError: The model cannot be loaded.
    """

    def __init__(self, job: ArchiveJob, run: str) -> None:
        self._job = job
        self._predictor, record = job.load()
        found = run_name(record)
        if found != run:
            raise ArchiveError(
                f"a worker would give other results (run {found}, {run} expected): it has engine {record['engine']}, "
                f"model {str(record['model_sha256'])[:12]}…; install the same packages, and copy the same model"
            )
        self._store = Store(job.archive, run)
        self._identify = read_facts(job.archive).identify

    def do(self, entry: ManifestEntry) -> Outcome:
        """Predict a video, unless that is done.

        Raises:
            ArchiveError: The result cannot be stored.
        """
        store = self._store
        if store.state(entry.video) is not State.OPEN:
            return Outcome(Came.BEFORE)
        try:
            with store.alone(entry.video):
                if store.state(entry.video) is not State.OPEN:
                    return Outcome(Came.BEFORE)
                if entry.video in forgotten_videos(self._job.archive):
                    return Outcome(Came.FORGOTTEN)
                return self._predict(entry)
        except BusyError as error:
            return Outcome(Came.ELSEWHERE, str(error))
        except OSError as error:
            raise self._store_error(error) from error

    def _predict(self, entry: ManifestEntry) -> Outcome:
        try:
            with here(entry.path) as copy:
                reason = why_changed(entry, copy, self._identify)
                if reason:
                    return Outcome(Came.CHANGED, reason)
                return self._predicted(entry, copy)
        except (ArchiveError, MissingExtraError):
            raise
        except Exception as error:  # of a decoder, a network, a lack of memory: what a video may bring with it
            if _is_of_store(error, self._store.folder):
                raise self._store_error(error) from error
            if isinstance(error, FileNotFoundError) and not _is_in(error, self._store.folder):
                return Outcome(Came.MISSING, _first_line(error))
            return Outcome(Came.FAILED, f"{type(error).__name__}: {_first_line(error)}")

    def _predicted(self, entry: ManifestEntry, copy: Path) -> Outcome:
        """What came of a video that is here and unchanged."""
        if not is_chunk(entry.path):
            with copy.open("rb") as opened:  # an error of reading is no fault of the video
                opened.read(1)
        try:
            with self._store.making(entry.video) as folder:
                record = write_result(copy, folder, entry, self._predictor, self._job.options)
                reason = why_changed(entry, copy, self._identify)
                if reason:
                    raise _ChangedError(reason)
        except _ChangedError as error:
            return Outcome(Came.CHANGED, str(error))
        except DataError as error:
            if _is_of_store(error, self._store.folder) or not copy.exists():
                raise
            reason = str(error).removeprefix(f"{copy}: ")
            self._store.mark_faulty(entry.video, reason)
            return Outcome(Came.FAULTY, reason)
        return Outcome(Came.DONE, num_frames=record.num_frames)

    def _store_error(self, error: Exception) -> ArchiveError:
        return ArchiveError(
            f"{self._store.archive}: results cannot be stored ({_first_line(_cause(error))}); make room or mend "
            "it, and run the same command again: what is done stays"
        )


class _ChangedError(Exception):
    """A video was changed while it was predicted."""


def _cause(error: BaseException) -> BaseException:
    """The operating system's error behind an error, else the error itself."""
    found: BaseException | None = error
    while found is not None and not isinstance(found, OSError):
        found = found.__cause__
    return found or error


def _is_of_store(error: BaseException, folder: Path) -> bool:
    """Whether the store is to blame, and not the video."""
    cause = _cause(error)
    if not isinstance(cause, OSError):
        return False
    return cause.errno in _STORE_FULL or (cause.errno in _STORE_SHUT and _is_in(cause, folder))


def _is_in(error: OSError, folder: Path) -> bool:
    """Whether an error is of a file below a folder."""
    return str(error.filename or "").startswith(str(folder))


def _first_line(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
    return str(text).splitlines()[0]
