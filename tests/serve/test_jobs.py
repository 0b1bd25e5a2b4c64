"""Jobs by themselves, with work that the test holds in its hand; videos through a server are in test_videos.py."""

import asyncio
import os
import sys
import threading
from time import monotonic

import pytest

from polypseg.errors import DataError, RequestError
from polypseg.serve.jobs import HOME_PREFIX, JobRecord, Jobs, JobTrack
from polypseg.serve.schemas import VideoQuery, VideoResult
from polypseg.serve.settings import Settings
from polypseg.serve.video_file import FileSink
from serve.running import wait_until

RESULT = VideoResult(frames=[], detections=[], fps=25.0, video="/v1/jobs/x/video")
QUERY = VideoQuery()


class Work:
    """Four frames; after two it waits until `gate` is set."""

    def __init__(self, error=None):
        self.gate, self.error, self.began = threading.Event(), error, threading.Event()

    def __call__(self, record, track):
        for number in track(range(4), "predicting", 4):
            if number == 2:
                self.began.set()
                assert self.gate.wait(30)
        if self.error is not None:
            raise self.error(record)
        record.output.write_bytes(b"video")
        return RESULT


def begin(jobs):
    with jobs.receiving(QUERY) as record:
        record.source.write_bytes(b"source")
    jobs.start(record)
    return record


async def until(condition):
    assert await asyncio.to_thread(wait_until, condition)
    await asyncio.sleep(0)


def run(scenario, work=None, **settings):
    """Run a scenario (jobs, work) in an event loop, and close the jobs after it."""

    async def whole():
        made = work or Work()
        jobs = Jobs(made, Settings(**settings))
        try:
            await scenario(jobs, made)
        finally:
            made.gate.set()
            await jobs.close()
        return jobs

    return asyncio.run(whole())


def test_a_job_from_begin_to_end():
    async def scenario(jobs, work):
        record = begin(jobs)
        assert (record.state, record.progress()) == ("queued", 0.0)
        await until(work.began.is_set)
        told = jobs.find(record.id).describe()
        assert (told.state, told.progress, told.frames_done, told.num_frames) == ("running", 0.5, 2, 4)
        assert told.result is None
        work.gate.set()
        await until(lambda: record.ended)
        told = record.describe()
        assert (told.state, told.progress, told.frames_done, told.result) == ("done", 1.0, 4, RESULT)
        assert not record.source.exists()
        assert record.output.read_bytes() == b"video"
        assert record.folder.parent.stat().st_mode & 0o777 == 0o700
        jobs.remove(record)
        assert not record.folder.exists()
        with pytest.raises(RequestError, match="no such job"):
            jobs.find(record.id)

    run(scenario)


@pytest.mark.skipif(sys.platform != "linux", reason="a priority of threads is Linux' own")
def test_a_video_gives_way_to_images():
    found = []

    class Priorities(Work):
        def __call__(self, record, track):
            self.gate.set()
            inner = threading.Thread(target=lambda: found.append(os.getpriority(os.PRIO_PROCESS, 0)))
            inner.start()
            inner.join()
            return super().__call__(record, track)

    async def scenario(jobs, work):
        record = begin(jobs)
        await until(lambda: record.state == "done")

    run(scenario, Priorities())
    own = os.getpriority(os.PRIO_PROCESS, 0)  # of this thread, which serves images
    assert found == [min(19, own + 10)]


def test_one_runs_at_a_time_and_a_waiting_one_can_be_removed():
    async def scenario(jobs, work):
        first, second = begin(jobs), begin(jobs)
        await until(work.began.is_set)
        assert (first.state, second.state) == ("running", "queued")
        jobs.remove(second)
        assert not second.folder.exists()
        work.gate.set()
        await until(lambda: first.ended and second.ended)
        assert (first.state, second.state, second.frames_done) == ("done", "cancelled", 0)

    run(scenario)


def test_a_running_job_ends_when_it_is_removed():
    async def scenario(jobs, work):
        record = begin(jobs)
        await until(work.began.is_set)
        jobs.remove(record)
        work.gate.set()
        await until(lambda: record.ended)
        assert (record.state, record.frames_done) == ("cancelled", 3)
        assert not record.folder.exists()

    run(scenario)


@pytest.mark.parametrize(
    ("error", "status", "detail"),
    [
        (lambda record: DataError(f"{record.source}: no picture in it"), 400, "the video: no picture in it"),
        (lambda record: RuntimeError(f"{record.folder} burst"), 500, "the server failed; this is a fault of its own"),
    ],
)
def test_a_failure_is_told_without_paths(error, status, detail):
    async def scenario(jobs, work):
        record = begin(jobs)
        work.gate.set()
        await until(lambda: record.ended)
        told = record.describe()
        assert (told.state, told.error.status, told.error.detail) == ("failed", status, detail)

    run(scenario, Work(error))


def test_a_job_that_takes_too_long_fails():
    async def scenario(jobs, work):
        record = begin(jobs)
        await until(lambda: record.ended)
        assert (record.state, record.problem.status) == ("failed", 504)

    run(scenario, video_seconds=1e-9)


def test_old_jobs_go_with_their_files():
    async def scenario(jobs, work):
        work.gate.set()
        record = begin(jobs)
        await until(lambda: record.ended)
        await asyncio.sleep(0.25)
        jobs.remove_old()
        assert not record.folder.exists()
        with pytest.raises(RequestError):
            jobs.find(record.id)

    run(scenario, job_seconds=0.2)


def test_places_are_bounded_and_those_told_of_make_room():
    async def scenario(jobs, work):
        first = begin(jobs)
        with jobs.receiving(QUERY), pytest.raises(RequestError, match="too many videos"), jobs.receiving(QUERY):
            pass
        second = begin(jobs)
        with pytest.raises(RequestError) as refused, jobs.receiving(QUERY):
            pass
        assert (refused.value.status, refused.value.retry_seconds) == (429, 30)
        work.gate.set()
        await until(lambda: second.ended)
        with pytest.raises(RequestError), jobs.receiving(QUERY):
            pass  # both are done, and nobody has heard of it
        first.is_fetched = True
        begin(jobs)
        assert not first.folder.exists()
        assert second.folder.exists()

    run(scenario, max_jobs=2)


def test_videos_that_nobody_asks_for_make_room():
    async def scenario(jobs, work):
        work.gate.set()
        first, second = begin(jobs), begin(jobs)
        await until(lambda: second.ended)
        with pytest.raises(RequestError, match="too many videos"), jobs.receiving(QUERY):
            pass  # they ended just now: somebody may ask yet
        await asyncio.sleep(0.35)
        second.is_fetched = True
        begin(jobs)
        assert first.folder.exists()  # whose end was told goes first
        assert not second.folder.exists()
        third = begin(jobs)
        assert not first.folder.exists()
        await until(lambda: third.ended)

    run(scenario, max_jobs=2, unfetched_seconds=0.3)


def test_what_waits_or_runs_never_makes_room():
    async def scenario(jobs, work):
        begin(jobs)
        await until(work.began.is_set)
        begin(jobs)
        await asyncio.sleep(0.05)
        with pytest.raises(RequestError, match="too many videos"), jobs.receiving(QUERY):
            pass

    run(scenario, max_jobs=2, unfetched_seconds=0.001)


def test_bytes_on_disk_are_bounded_and_ended_videos_make_room():
    async def scenario(jobs, work):
        work.gate.set()
        first = begin(jobs)
        await until(lambda: first.ended)
        first.output.write_bytes(bytes(80))
        with jobs.receiving(QUERY) as record:
            sink = FileSink(record.source, 1000, jobs.check_room)
            sink.write(bytes(50))
            sink.close()
            with pytest.raises(RequestError) as refused:
                jobs.check_room()  # 80 + 50, and the first has just ended
            assert refused.value.status == 507
            first.is_fetched = True
            jobs.check_room()
            assert not first.folder.exists()
        jobs.start(record)
        await until(lambda: record.ended)

    run(scenario, max_jobs_bytes=100)


def test_a_result_that_grows_too_large_ends_its_job():
    class Growing(Work):
        def __call__(self, record, track):
            for _ in track(range(1000), "predicting", 1000):
                with record.output.open("ab") as file:
                    file.write(bytes(10))
            return RESULT

    async def scenario(jobs, work):
        record = begin(jobs)
        await until(lambda: record.ended)
        assert (record.state, record.problem.status) == ("failed", 507)
        assert record.frames_done == 50  # looked at after 0, 25 and 50 frames: 500 bytes are more than 300

    run(scenario, Growing(), max_jobs_bytes=300)


def test_close_does_not_wait_for_a_job_that_hangs():
    async def scenario(jobs, work):
        scenario.record = begin(jobs)
        await until(work.began.is_set)
        began = monotonic()
        await jobs.close()
        assert monotonic() - began < 3
        assert not scenario.record.folder.parent.exists()

    run(scenario)


def test_a_failed_upload_leaves_nothing():
    async def scenario(jobs, work):
        with pytest.raises(ValueError, match="cut off"), jobs.receiving(QUERY) as record:
            raise ValueError("cut off")
        assert not record.folder.exists()
        assert jobs.num_unfinished == 0

    run(scenario, max_jobs=1)


def test_unfinished_is_what_a_client_has_not_heard_of():
    async def scenario(jobs, work):
        with jobs.receiving(QUERY):
            assert jobs.num_unfinished == 1
        record = begin(jobs)
        work.gate.set()
        await until(lambda: record.ended)
        assert jobs.num_unfinished == 1
        record.is_fetched = True
        assert jobs.num_unfinished == 0

    run(scenario)


def test_close_cancels_and_removes_the_folder():
    async def scenario(jobs, work):
        scenario.records = [begin(jobs), begin(jobs)]
        await until(work.began.is_set)

    run(scenario)
    assert [record.state for record in scenario.records] == ["cancelled", "cancelled"]
    assert not scenario.records[0].folder.parent.exists()


def test_what_a_killed_server_left_is_removed_and_a_living_one_keeps_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    left = tmp_path / f"{HOME_PREFIX}0123"
    (left / "job").mkdir(parents=True)
    (left / "job" / "source").write_bytes(b"a video of before")
    (tmp_path / f".{left.name}.lock").write_bytes(b"")  # its process is dead, and holds no lock
    kept = tmp_path / "of-somebody-else"
    kept.mkdir()

    async def scenario(jobs, work):
        first = begin(jobs)
        assert not left.exists()
        other = Jobs(work, Settings())
        second = begin(other)
        assert first.folder.is_dir()
        assert second.folder.is_dir()
        work.gate.set()
        await other.close()
        assert first.folder.is_dir()

    run(scenario)
    assert list(tmp_path.iterdir()) == [kept]


def test_a_server_without_a_place_for_files_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))

    async def scenario(jobs, work):
        with pytest.raises(RequestError) as refused, jobs.receiving(QUERY):
            pass
        assert refused.value.status == 507

    run(scenario)


def test_names_are_chance():
    names = {JobRecord(None, QUERY).id for _ in range(100)}
    assert len(names) == 100
    assert all(len(name) == 22 for name in names)  # 128 bits, 6 a letter


def test_progress_is_below_one_while_it_runs():
    record = JobRecord(None, QUERY, state="running")
    for _ in JobTrack(record, 10)(range(3), "predicting", 2):  # more than was estimated
        assert record.progress() < 1
    assert (record.frames_done, record.num_frames) == (3, 3)
