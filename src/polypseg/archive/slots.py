"""A slot is a place where one video at a time is predicted; what happens to its worker is told, and ends nobody else's.

Decisions:
- Each slot here is a process pool of the standard library with one process. A worker that is killed breaks its own
  pool only, so that it is known which video it was at, and no other video suffers.
- Processes are spawned: a forked one would share the threads and locks of a runtime that was loaded before.
- A worker whose parent is gone ends itself at once: what it was at is not put in place.
"""

import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.process import BaseProcess
from typing import Protocol

from polypseg.archive.manifest import ManifestEntry
from polypseg.archive.options import ArchiveJob
from polypseg.archive.worker import Outcome, Worker
from polypseg.errors import ArchiveError

STARTS = 5
"""So many workers in a row that die before they have a video end the run."""

_GRACE_SECONDS = 5.0


class WorkerDiedError(ArchiveError):
    """A worker died, or was ended because it took too long, while it was at a video."""


class Slot(Protocol):
    """Where one video at a time is predicted."""

    def begin(self) -> None:
        """Begin a worker where there is none; it blocks until that is ready, or the slot is closed.

        Raises:
            PolypsegError: No worker can be started, or the slot was closed.
        """

    def do(self, entry: ManifestEntry) -> Outcome:
        """Predict a video; it blocks until that has come to an end.

        Raises:
            WorkerDiedError: The worker died at it; the next call begins with a new one.
            PolypsegError: No worker can be started, or the result cannot be stored.
        """

    def close(self) -> None:
        """End the worker, whatever it is at."""


class ProcessSlot:
    """A slot in a process of this machine.

    Args:
        job: What the worker works at.
        run: The name of the run.
        timeout_seconds: After so long at one video a worker is ended; None waits.
    """

    start_method = "spawn"

    def __init__(self, job: ArchiveJob, run: str, timeout_seconds: float | None = None) -> None:
        self._job, self._run, self._timeout = job, run, timeout_seconds
        self._pool: ProcessPoolExecutor | None = None
        self._process: BaseProcess | None = None
        self._is_closed = False
        self._guard = threading.Lock()

    def begin(self) -> None:
        """As `Slot.begin`."""
        self._started()

    def do(self, entry: ManifestEntry) -> Outcome:
        """As `Slot.do`."""
        pool = self._started()
        try:
            return pool.submit(_do, entry).result(self._timeout)
        except BrokenProcessPool as error:
            raise WorkerDiedError(self._why()) from error
        except TimeoutError as error:
            self._end()
            raise WorkerDiedError(f"no result after {self._timeout:g} s; its worker was ended") from error

    def close(self) -> None:
        """As `Slot.close`."""
        self._is_closed = True
        self._end()

    def _started(self) -> ProcessPoolExecutor:
        """A pool whose process has loaded the model."""
        for _ in range(STARTS):
            if self._pool is not None:
                return self._pool
            with self._guard:
                if self._is_closed:
                    raise WorkerDiedError("the run was ended")
                context = multiprocessing.get_context(self.start_method)
                pool = ProcessPoolExecutor(1, context, initializer=_watch_parent)
            try:
                pid = pool.submit(_begin, self._job, self._run).result()
            except BrokenProcessPool:
                pool.shutdown(wait=False)
                continue
            except BaseException:
                pool.shutdown(wait=False)
                raise
            self._process = next((child for child in multiprocessing.active_children() if child.pid == pid), None)
            self._pool = pool
        if self._pool is not None:
            return self._pool
        raise ArchiveError(
            f"{STARTS} workers in a row died before they had a video; is there memory for so many? Use fewer --workers"
        )

    def _why(self) -> str:
        """How the worker ended; its slot is empty then."""
        process = self._process
        code = None if process is None else _exit_code(process)
        self._end()
        if code is None:
            return "its worker died"
        if code < 0:
            hint = ": out of memory, or killed" if -code == signal.SIGKILL else ""
            return f"its worker died of signal {-code} ({signal.Signals(-code).name}{hint})"
        return f"its worker ended with exit code {code}"

    def _end(self) -> None:
        with self._guard:
            pool, process = self._pool, self._process
            self._pool = self._process = None
        if process is not None and process.is_alive():
            process.kill()
            process.join(_GRACE_SECONDS)
        if pool is not None:
            pool.shutdown(wait=True)


def _exit_code(process: BaseProcess) -> int | None:
    """The exit code of a process that has ended; None where it cannot be known.

    Several threads may ask the system at once (the pool's own, and each that starts a process). One of them gets the
    code, and until it has stored that, the others are told nothing: so it is asked for again.
    """
    until = time.monotonic() + _GRACE_SECONDS
    process.join(_GRACE_SECONDS)
    while (code := process.exitcode) is None and time.monotonic() < until:
        time.sleep(0.01)
    return code


_worker: Worker | None = None


def _begin(job: ArchiveJob, run: str) -> int:
    """The number of this process, once its worker is ready."""
    global _worker
    _worker = Worker(job, run)
    return os.getpid()


def _do(entry: ManifestEntry) -> Outcome:
    if _worker is None:
        raise ArchiveError("a worker was given a video before it was begun")
    return _worker.do(entry)


def _watch_parent() -> None:
    """End this process when its parent is gone; Ctrl-C is the parent's to answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
