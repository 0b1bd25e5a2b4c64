"""Archives for the tests: tiny videos whose frames and masks can be counted by hand."""

from pathlib import Path

from polypseg.archive.options import ArchiveOptions, Job
from polypseg.archive.plan import plan_archive
from polypseg.archive.run import WHOLE, run_archive
from polypseg.archive.slots import ProcessSlot
from polypseg.archive.store import open_run
from polypseg.archive.worker import Worker
from predict.tiny_model import write_tiny_model
from predict.video_making import spots, write_video

SEEN = (None, (8, 8), (8, 8), (8, 10), None, None)
"""A square in three frames of six; no B-frames."""


class HereSlot:
    """A slot in this very process: what a worker does, without the cost of one."""

    def __init__(self, job, run):
        self._job, self._run, self._worker = job, run, None

    def do(self, entry):
        self._worker = self._worker or Worker(self._job, self._run)
        return self._worker.do(entry)

    def close(self):
        self._worker = None


def make_videos(folder: Path, count: int) -> list[Path]:
    """Videos of 64x96 px and six frames; the square of each lies elsewhere, so that no two are equal."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for index in range(count):
        places = [place and (place[0] + index % 37, place[1] + index // 37) for place in SEEN]
        made.append(write_video(folder / f"{index:03d}.mp4", spots(places)))
    return made


def make_job(folder: Path, count: int = 3, **options) -> Job:
    """The job of an archive of so many videos, planned."""
    make_videos(folder / "videos", count)
    model = write_tiny_model(folder / "tiny.onnx")
    plan_archive(str(folder / "videos"), folder / "archive")
    return Job(folder / "archive", str(model), "onnxruntime", 1, ArchiveOptions(**options))


def opened(job: Job):
    """The store of a job."""
    return open_run(job.archive, job.load()[1])


def run_here(job: Job, part=WHOLE, tries=3, num_slots=1, slot=HereSlot):
    """Runs it, without processes unless another kind of slot is given; the summary."""
    store = opened(job)
    return run_archive(store, [slot(job, store.run) for _ in range(num_slots)], part, tries)


def run_spawned(job: Job, num_slots=1, tries=3, timeout=None):
    store = opened(job)
    return run_archive(store, [ProcessSlot(job, store.run, timeout) for _ in range(num_slots)], tries=tries)
