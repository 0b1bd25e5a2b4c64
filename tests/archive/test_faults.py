"""Killed workers, a killed driver, a full store, two runs at once: the tables are those of a run without faults."""

import errno
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from archive.archive_making import HereSlot, QuickSlot, make_job, make_videos, opened, run_here, run_in, tables
from polypseg.archive import slots
from polypseg.archive import tables as table_files
from polypseg.archive.manifest import read_manifest
from polypseg.archive.run import run_archive
from polypseg.archive.slots import ProcessSlot, WorkerDiedError
from polypseg.archive.store import State
from polypseg.archive.verify import verify_archive
from polypseg.archive.worker import Came
from polypseg.errors import ArchiveError, BusyError, ModelError
from polypseg.records import lock

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="signals")]


def expected(tmp_path):
    """The tables of a run of the same videos without a fault."""
    job = make_job(tmp_path, archive="whole")
    run_here(job)
    return tables(job)


def assert_whole(job):
    """Every result is what was written, and nothing is left over."""
    found = verify_archive(job.archive, inputs=True)
    assert (found.damaged, found.changed, found.num_left) == ([], [], 0)


@contextmanager
def killer(count, rng, at=lambda: False):
    """Kills child processes at random moments while the block runs; the list counts the kills."""
    stopped, killed = threading.Event(), []

    def kill():
        while not stopped.wait(rng.uniform(0.02, 0.3)) and len(killed) < count:
            children = multiprocessing.active_children()
            if children and at():
                with suppress(ProcessLookupError):
                    os.kill(rng.choice(children).pid, signal.SIGKILL)
                    killed.append(1)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    try:
        yield killed
    finally:
        stopped.set()
        thread.join()


def check_random_kills(tmp_path, num_videos, num_kills):
    make_videos(tmp_path / "videos", num_videos, times=40)
    job = make_job(tmp_path)
    store = opened(job)
    at_work = lambda: any(store.folder.glob("??/.*.lock"))  # noqa: E731  (a video is in hand)
    with killer(num_kills, random.Random(3), at_work) as killed:
        summary = run_in(QuickSlot, job, num_slots=2, tries=1000)
    assert summary.num_deaths > 0
    assert summary.num_deaths <= len(killed)
    assert summary.reasons == []
    # nothing is done twice: one killed between its result and its word is found done when it is tried again
    assert summary.came[Came.DONE] + summary.came[Came.BEFORE] == num_videos
    assert_whole(job)
    assert tables(job) == expected(tmp_path)
    return len(killed)


def test_workers_killed_at_random_change_no_row(tmp_path):
    check_random_kills(tmp_path, 8, 4)


def test_fifty_workers_killed_in_sixty_videos_change_no_row(tmp_path):
    assert check_random_kills(tmp_path, 64, 50) == 50


def test_the_video_at_which_workers_are_killed_is_set_aside_and_no_other(tmp_path):
    make_videos(tmp_path / "videos", 3, times=40)
    job = make_job(tmp_path)
    poison = [entry.video for entry in read_manifest(job.archive)][1]
    held = opened(job).place(poison).with_name(f".{poison}.lock")
    stopped = threading.Event()

    def kill_its_worker():
        while not stopped.wait(0.001):
            with suppress(OSError, ValueError, KeyError):
                pid = json.loads(held.read_text())["pid"]
                if pid != os.getpid():
                    os.kill(pid, signal.SIGKILL)

    thread = threading.Thread(target=kill_its_worker, daemon=True)
    thread.start()
    summary = run_in(ProcessSlot, job, num_slots=2, tries=2)
    stopped.set()
    thread.join()
    assert (summary.came[Came.DONE], summary.num_aside, summary.num_deaths) == (2, 1, 2)
    assert opened(job).reasons(poison) == ["its worker died of signal 9 (SIGKILL: out of memory, or killed)"] * 2
    assert opened(job).state(poison) is State.ASIDE


class HalfAsked:
    """A process that has ended with a signal; another thread has the code, and has not stored it yet."""

    def __init__(self, times_unknown):
        self.left, self.was_joined = times_unknown, False

    def join(self, timeout):
        self.was_joined = True

    @property
    def exitcode(self):
        self.left -= 1
        return None if self.left >= 0 else -signal.SIGKILL


def test_a_code_that_another_thread_is_about_to_store_is_asked_for_again(monkeypatch):
    asked = HalfAsked(times_unknown=3)
    assert slots._exit_code(asked) == -signal.SIGKILL
    assert asked.was_joined
    monkeypatch.setattr(slots, "_GRACE_SECONDS", 0.05)
    assert slots._exit_code(HalfAsked(times_unknown=10_000)) is None


def test_a_spawned_worker_does_the_same(tmp_path):
    job = make_job(tmp_path, 2)
    assert run_in(ProcessSlot, job).came == Counter({Came.DONE: 2})
    assert tables(job) == expected(tmp_path)


def test_a_worker_that_takes_too_long_is_ended(tmp_path):
    job = make_job(tmp_path, 1)
    summary = run_in(QuickSlot, job, tries=2, timeout_seconds=1e-6)
    assert summary.reasons[0].endswith("set aside after 2 tries: no result after 1e-06 s; its worker was ended")


def test_an_error_of_the_model_is_told_and_blames_no_video(tmp_path):
    job = make_job(tmp_path, 1)
    store = opened(job)
    Path(job.model).write_bytes(b"no model")
    with pytest.raises(ModelError):
        run_archive(store, [QuickSlot(job, store.run)])
    assert store.states() == {}


def test_a_closed_slot_begins_no_worker(tmp_path):
    job = make_job(tmp_path, 1)
    slot = QuickSlot(job, opened(job).run)
    slot.close()
    with pytest.raises(WorkerDiedError, match="the run was ended"):
        slot.do(next(read_manifest(job.archive)))


DRIVER = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
sys.path[:0] = {paths!r}
from pathlib import Path
from archive.archive_making import QuickSlot, make_job, run_in
if __name__ == "__main__":
    run_in(QuickSlot, make_job(Path({folder!r}), is_planned=True), num_slots=2)
"""


def begun_driver(tmp_path):
    script = tmp_path / "driver.py"
    source = str(Path(__file__).parents[2] / "src")
    script.write_text(DRIVER.format(paths=[str(Path(__file__).parents[1]), source], folder=str(tmp_path)))
    return subprocess.Popen([sys.executable, str(script)], stderr=subprocess.PIPE, start_new_session=True)


def children_of(pid):
    """The numbers of the processes below a process."""
    psutil = pytest.importorskip("psutil")
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).children(recursive=True)
    return []


def assert_ended(workers):
    """The processes end by themselves, soon after their parent."""
    until = time.monotonic() + 60
    while any(worker.is_running() for worker in workers) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(worker.is_running() for worker in workers)


def test_a_driver_that_is_killed_leaves_no_worker_and_goes_on(tmp_path):
    make_videos(tmp_path / "videos", 12)
    job = make_job(tmp_path)
    store = opened(job)
    for wanted in (2, 5):
        driver = begun_driver(tmp_path)
        until = time.monotonic() + 200
        while len(store.states()) < wanted and driver.poll() is None and time.monotonic() < until:
            time.sleep(0.005)
        workers = children_of(driver.pid)
        driver.kill()
        driver.communicate()
        assert_ended(workers)
    places = [store.place(video.hex()) for video in store.states()]
    done = {place / "record.json": (place / "record.json").stat().st_mtime_ns for place in places}
    assert len(done) >= 5
    summary = run_in(QuickSlot, job)
    assert summary.num_before == len(done)
    assert summary.came == Counter({Came.DONE: 12 - len(done)})
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert_whole(job)
    assert tables(job) == expected(tmp_path)


def test_ctrl_c_ends_the_workers_and_keeps_what_is_done(tmp_path):
    make_videos(tmp_path / "videos", 6, times=250)
    job = make_job(tmp_path)
    store = opened(job)
    driver, until = begun_driver(tmp_path), time.monotonic() + 200
    while len(store.states()) < 2 and driver.poll() is None and time.monotonic() < until:
        time.sleep(0.005)
    workers = children_of(driver.pid)
    driver.send_signal(signal.SIGINT)
    _, said = driver.communicate(timeout=100)
    assert driver.returncode != 0
    assert said.decode().strip().endswith("KeyboardInterrupt")
    assert_ended(workers)
    num_done = len(store.states())
    assert 2 <= num_done < 6
    assert run_in(QuickSlot, job).came == Counter({Came.DONE: 6 - num_done})
    assert_whole(job)


def test_two_drivers_at_once_share_the_work(tmp_path):
    make_videos(tmp_path / "videos", 12)
    job = make_job(tmp_path)
    drivers = [begun_driver(tmp_path) for _ in range(2)]
    for driver in drivers:
        _, said = driver.communicate(timeout=250)
        assert driver.returncode == 0, said.decode()
    assert_whole(job)
    assert tables(job) == expected(tmp_path)


def test_two_runs_at_once_do_nothing_twice(tmp_path):
    make_videos(tmp_path / "videos", 8)
    job, summaries = make_job(tmp_path), []
    runs = [threading.Thread(target=lambda: summaries.append(run_here(job))) for _ in range(2)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert sum(summary.came[Came.DONE] for summary in summaries) == 8
    for summary in summaries:  # each run returns when all is done, whoever did it
        assert summary.num_before + summary.came[Came.DONE] + summary.came[Came.BEFORE] == 8
    assert_whole(job)
    assert tables(job) == expected(tmp_path)


class FullDisk:
    """A store on which only so many more rows find room."""

    def __init__(self, monkeypatch, num_rows):
        self._left, self._add = num_rows, table_files.TableWriter.add
        monkeypatch.setattr(table_files.TableWriter, "add", lambda table, row: self._one(table, row))

    def _one(self, table, row):
        self._left -= 1
        if self._left < 0:
            raise OSError(errno.ENOSPC, "No space left on device", "frames.parquet")
        self._add(table, row)


@pytest.mark.parametrize("num_rows", [0, 3, 6, 7, 16])
def test_a_full_store_ends_the_run_and_the_next_one_finishes_it(tmp_path, monkeypatch, num_rows):
    job = make_job(tmp_path, 3)
    with monkeypatch.context() as patched:
        FullDisk(patched, num_rows)
        with pytest.raises(ArchiveError, match=r"No space left on device.*run the same command again"):
            run_here(job)
    # a result is 7 rows: six frames and a detection
    assert Counter(opened(job).states().values()) == Counter({State.DONE: num_rows // 7} if num_rows >= 7 else {})
    assert_whole(job)
    assert run_here(job).came == Counter({Came.DONE: 3 - num_rows // 7})
    assert tables(job) == expected(tmp_path)


def test_a_store_that_may_not_be_written_ends_the_run(tmp_path, monkeypatch):
    job = make_job(tmp_path, 2)
    store = opened(job)

    def read_only(*_):
        raise OSError(errno.EROFS, "Read-only file system", str(store.folder))

    with monkeypatch.context() as patched:
        patched.setattr(lock.os, "open", read_only)
        with pytest.raises(ArchiveError, match="Read-only file system"):
            run_here(job)
    assert run_here(job).came == Counter({Came.DONE: 2})


def test_a_full_store_is_told_by_a_worker_of_another_process(tmp_path, monkeypatch):
    job = make_job(tmp_path, 1)
    store = opened(job)
    (store.folder / next(read_manifest(job.archive)).video[:2]).write_text("no folder")  # nothing can be put here
    with pytest.raises(ArchiveError, match="results cannot be stored"):
        run_archive(store, [QuickSlot(job, store.run)])


def test_what_a_kill_left_is_swept_by_the_next_try(tmp_path):
    job = make_job(tmp_path, 1)
    store, entry = opened(job), next(read_manifest(job.archive))
    left = store.place(entry.video).with_name(f".{entry.video}.12345.part")
    left.mkdir(parents=True)
    (left / "frames.parquet").write_bytes(b"half")
    assert verify_archive(job.archive).num_left == 1
    run_here(job)
    assert not left.exists()


def test_a_video_in_other_hands_is_waited_for(tmp_path):
    job = make_job(tmp_path, 2)
    store, entry = opened(job), next(read_manifest(job.archive))
    slot = HereSlot(job, store.run)
    with store.alone(entry.video):
        outcome = slot.do(entry)
        with pytest.raises(BusyError):
            store.add_failure(entry.video, "why", 3)
    assert outcome.came is Came.ELSEWHERE
    assert run_here(job).came == Counter({Came.DONE: 2})
