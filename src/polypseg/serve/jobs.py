"""Videos: jobs that outlive their request, one running at a time.

Decisions:
- A video is the one thing that is written to disk, in a folder of the server's own (mode 0700) that goes with the
  server; a job's files go when it is deleted, or `job_seconds` after it ended. What a killed server left, the next one
  removes: it can take the lock of the folder, which a living server holds.
- Where all places or all bytes are taken, ended jobs give way: those whose end was told first, then those that nobody
  has asked for in `unfetched_seconds`; so nobody can fill a server with videos and leave. What waits or runs stays.
- A job's name is 128 bits of chance and the only key to it; no path is ever made of what a client sends.
- Frames run in the same batches as images do. All else of a video (decoding, drawing, encoding) gives way to images:
  its thread, and those that it starts, run at a lower priority where the system has one for threads (Linux). At the
  same priority images took 1.5 to 2.5 times as long while a video ran.
"""

import asyncio
import contextlib
import os
import secrets
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import TypeVar

from polypseg.errors import BusyError, RequestError
from polypseg.records.lock import alone_at
from polypseg.serve.problems import problem_of
from polypseg.serve.schemas import Job, JobState, Problem, VideoQuery, VideoResult
from polypseg.serve.settings import Settings
from polypseg.serve.video_file import bytes_in, no_room

T = TypeVar("T")

SOURCE, OUTPUT = "source", "result.mp4"

HOME_PREFIX = "polypseg-serve-"

LOWER = 10
"""By how much the priority of a video's threads is lower, of 40 steps."""

FRAMES_A_LOOK = 25
"""After so many frames it is looked how much all videos take on disk."""

CLOSING_SECONDS = 1.0
"""For a cancelled job to end, which it does at its next frame."""

STATES: tuple[JobState, ...] = ("queued", "running", "done", "failed", "cancelled")


class CancelledJobError(RequestError):
    """Raised inside a job that was cancelled, to end it."""

    def __init__(self) -> None:
        super().__init__(410, "Cancelled", "the job was cancelled")


@dataclass
class JobRecord:
    """One video on its way.

    Attributes:
        folder: Of its files.
        query: How it is predicted.
        state: As `schemas.Job`.
        frames_done: Predicted so far.
        num_frames: 0 until it is known.
        ended: When it ended, by `monotonic`.
        is_fetched: Whether its end was told to a client.
    """

    folder: Path
    query: VideoQuery
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    state: JobState = "queued"
    frames_done: int = 0
    num_frames: int = 0
    result: VideoResult | None = None
    problem: Problem | None = None
    ended: float | None = None
    is_fetched: bool = False
    is_cancelled: threading.Event = field(default_factory=threading.Event)

    @property
    def source(self) -> Path:
        """What the client sent."""
        return self.folder / SOURCE

    @property
    def output(self) -> Path:
        """The video with the mask drawn."""
        return self.folder / OUTPUT

    def without_paths(self, words: str) -> str:
        """The same words, this machine's paths taken out."""
        return words.replace(str(self.source), "the video").replace(str(self.folder), "the folder")

    def progress(self) -> float:
        """From 0 to 1; 1 only when it is done."""
        if self.state == "done":
            return 1.0
        return min(0.99, self.frames_done / self.num_frames) if self.num_frames else 0.0

    def describe(self) -> Job:
        """What a client sees of it."""
        return Job(
            id=self.id,
            state=self.state,
            progress=round(self.progress(), 4),
            frames_done=self.frames_done,
            num_frames=self.num_frames,
            result=self.result,
            error=self.problem,
        )


def _give_way_to_images() -> None:
    """Lower the priority of this thread; threads that it starts inherit it."""
    if sys.platform == "linux":  # elsewhere a priority is the whole process's
        thread = threading.get_native_id()
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + LOWER)


class Jobs:
    """The video jobs of a server. Used from the event loop; each job runs in one thread of its own.

    Args:
        work: Turns a record's source into its output and result, calling `track` around the frames.
        settings: The bounds.
        observe: Told of the number of jobs by state.
    """

    def __init__(
        self,
        work: "Callable[[JobRecord, JobTrack], VideoResult]",
        settings: Settings,
        observe: Callable[[dict[JobState, int]], None] | None = None,
    ) -> None:
        self._work, self._settings, self._observe = work, settings, observe
        self._records: dict[str, JobRecord] = {}
        self._num_receiving = 0
        self._home: Path | None = None
        self._lock = contextlib.ExitStack()
        self._thread = ThreadPoolExecutor(1, "polypseg-video", initializer=_give_way_to_images)
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.contextmanager
    def receiving(self, query: VideoQuery) -> Iterator[JobRecord]:
        """A place for one more video, and a folder to receive it in; it is gone again where that fails.

        Raises:
            RequestError: 429, there is no place; 507, no folder can be made.
        """
        self._make_place()
        record = JobRecord(self._new_folder(), query)
        self._num_receiving += 1
        try:
            yield record
        except BaseException:
            self._delete_files(record)
            raise
        finally:
            self._num_receiving -= 1

    def start(self, record: JobRecord) -> None:
        """Let a received video wait for its turn."""
        self._records[record.id] = record
        task = asyncio.get_running_loop().create_task(self._run(record))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._tell()

    def find(self, job_id: str) -> JobRecord:
        """The job of that name.

        Raises:
            RequestError: 404.
        """
        self.remove_old()
        record = self._records.get(job_id)
        if record is None:
            raise RequestError(404, "No such job", "there is no such job, or no more: results are kept for a time only")
        return record

    def remove(self, record: JobRecord) -> None:
        """Cancel a job where it still runs, and remove it and its files."""
        record.is_cancelled.set()
        self._records.pop(record.id, None)
        if record.state != "running":
            self._delete_files(record)  # else the job's own thread is still writing: `_run` does it
        self._tell()

    def remove_old(self) -> None:
        """Remove what ended longer ago than `job_seconds`."""
        limit = monotonic() - self._settings.job_seconds
        for record in [r for r in self._records.values() if r.ended is not None and r.ended < limit]:
            self.remove(record)

    @property
    def num_unfinished(self) -> int:
        """Jobs that a client still has to hear of: received, waiting, running, or ended and not asked for since."""
        return self._num_receiving + sum(not record.is_fetched for record in self._records.values())

    @property
    def num_at_work(self) -> int:
        """Jobs that wait or run."""
        return len(self._tasks)

    def check_room(self) -> None:
        """Nothing, if all videos together take no more of the disk than they may; ended ones give way.

        Raises:
            RequestError: 507.
        """
        while self._home is not None and bytes_in(self._home) > self._settings.max_jobs_bytes:
            if not self._give_way():
                raise no_room()

    async def close(self) -> None:
        """Cancel what runs and remove all files; a job that does not end soon is left to itself."""
        for record in list(self._records.values()):
            self.remove(record)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSING_SECONDS)
        self._thread.shutdown(wait=False, cancel_futures=True)
        self.remove_files()

    def remove_files(self) -> None:
        """Remove all files, whoever still writes them."""
        if self._home is not None:
            shutil.rmtree(self._home, ignore_errors=True)
        self._lock.close()

    async def _run(self, record: JobRecord) -> None:
        try:
            record.result = await asyncio.get_running_loop().run_in_executor(self._thread, self._work_on, record)
            record.state = "done"
        except CancelledJobError:
            record.state = "cancelled"
        except Exception as error:
            record.state, record.problem = "failed", _without_paths(problem_of(error), record)
        record.ended = monotonic()
        record.source.unlink(missing_ok=True)
        if record.id not in self._records:
            self._delete_files(record)
        self._tell()

    def _work_on(self, record: JobRecord) -> VideoResult:
        if record.is_cancelled.is_set():
            raise CancelledJobError
        record.state = "running"
        return self._work(record, JobTrack(record, self._settings.video_seconds, self._is_too_much))

    def _is_too_much(self) -> bool:
        """Whether all videos take more than they may; from any thread."""
        return self._home is not None and bytes_in(self._home) > self._settings.max_jobs_bytes

    def _make_place(self) -> None:
        self.remove_old()
        if len(self._records) + self._num_receiving < self._settings.max_jobs:
            return
        if not self._give_way():
            raise RequestError(429, "Busy", "too many videos at once; come again later", retry_seconds=30)

    def _give_way(self) -> bool:
        """Remove the ended job that is missed least; whether there was one."""
        limit = monotonic() - self._settings.unfetched_seconds
        ended = [(record.is_fetched, record.ended, record) for record in self._records.values() if record.ended]
        spare = [(not fetched, since, record) for fetched, since, record in ended if fetched or since < limit]
        if spare:
            self.remove(min(spare, key=lambda one: one[:2])[2])
        return bool(spare)

    def _new_folder(self) -> Path:
        try:
            if self._home is None:
                self._home = self._new_home()
            return Path(tempfile.mkdtemp(dir=self._home))
        except OSError as error:
            raise no_room() from error

    def _new_home(self) -> Path:
        place = Path(tempfile.gettempdir())
        for left in place.glob(f"{HOME_PREFIX}*"):
            with contextlib.suppress(BusyError, OSError), alone_at(left):
                shutil.rmtree(left, ignore_errors=True)
        home = place / f"{HOME_PREFIX}{secrets.token_hex(8)}"
        self._lock.enter_context(alone_at(home))
        home.mkdir(mode=0o700)
        return home

    def _tell(self) -> None:
        if self._observe is not None:
            states = [record.state for record in self._records.values()]
            self._observe({state: states.count(state) for state in STATES})

    @staticmethod
    def _delete_files(record: JobRecord) -> None:
        shutil.rmtree(record.folder, ignore_errors=True)


class JobTrack:
    """Tells a job's record of its progress, and ends the job where it is cancelled or takes too long.

    Args:
        record: Of the job.
        seconds: That the job may take.
        is_too_much: Whether the videos take more of the disk than they may.
    """

    def __init__(self, record: JobRecord, seconds: float, is_too_much: Callable[[], bool] = lambda: False) -> None:
        self._record, self._limit, self._seconds = record, monotonic() + seconds, seconds
        self._is_too_much = is_too_much

    def __call__(self, items: Iterable[T], description: str, total: int) -> Iterator[T]:
        """As `Track`.

        Raises:
            CancelledJobError: The job was cancelled.
            RequestError: 504; 507.
        """
        self._record.num_frames = total
        for item in items:
            if self._record.is_cancelled.is_set():
                raise CancelledJobError
            if monotonic() > self._limit:
                raise RequestError(504, "Out of time", f"the video took longer than {self._seconds:g} seconds")
            if self._record.frames_done % FRAMES_A_LOOK == 0 and self._is_too_much():
                raise no_room()
            yield item
            self._record.frames_done += 1
        self._record.num_frames = self._record.frames_done


def _without_paths(problem: Problem, record: JobRecord) -> Problem:
    detail = record.without_paths(problem.detail)
    title = "Not a video that can be read" if problem.status == 400 else problem.title
    return problem.model_copy(update={"title": title, "detail": detail})
