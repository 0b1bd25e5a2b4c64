"""Archives for the tests: tiny videos whose frames and masks can be counted by hand."""

import multiprocessing
from pathlib import Path

from pyarrow import parquet

from polypseg.archive.options import ArchiveJob, ArchiveOptions
from polypseg.archive.plan import plan_archive
from polypseg.archive.run import WHOLE, run_archive
from polypseg.archive.slots import ProcessSlot
from polypseg.archive.store import open_run
from polypseg.archive.summary import summarise
from polypseg.archive.worker import Worker
from predict.tiny_model import write_tiny_model
from predict.video_making import spots, write_video

SEEN = (None, (8, 16), (8, 16), (8, 16), None, None)
"""A square in three frames of six."""

multiprocessing.set_forkserver_preload(["polypseg.archive.worker", "pyarrow.parquet", "onnxruntime", "av"])


class HereSlot:
    """A slot in this very process: what a worker does, without the cost of one."""

    def __init__(self, job, run):
        self._job, self._run, self._worker = job, run, None

    def begin(self):
        self._worker = self._worker or Worker(self._job, self._run)

    def do(self, entry):
        self.begin()
        return self._worker.do(entry)

    def close(self):
        self._worker = None


class QuickSlot(ProcessSlot):
    """A slot in a process that begins quickly, so that many can be killed."""

    start_method = "forkserver"


def make_videos(folder: Path, count: int, times: int = 1) -> list[Path]:
    """Videos of 64x96 px and six frames; the squares differ in their place, so that no two videos are equal.

    `times` repeats the frames: what is to be killed at work must be at work for a while.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for index in range(count):
        places = [place and (place[0] + index % 8, place[1] + index // 8) for place in SEEN * times]
        made.append(write_video(folder / f"{index:03d}.mp4", spots(places)))
    return made


def make_job(folder: Path, count: int = 3, archive: str = "archive", is_planned: bool = False, **options) -> ArchiveJob:
    """The job of an archive of so many videos, planned; several archives may share the videos."""
    if not (folder / "videos").exists():
        make_videos(folder / "videos", count)
    model = folder / "tiny.onnx"
    if not model.exists():
        write_tiny_model(model)
    if not is_planned:
        plan_archive(str(folder / "videos"), folder / archive)
    return ArchiveJob(folder / archive, str(model), "onnxruntime", 1, ArchiveOptions(**options))


def opened(job: ArchiveJob):
    """The store of a job."""
    return open_run(job.archive, job.load()[1])


def run_in(slot, job: ArchiveJob, num_slots=1, tries=3, part=WHOLE, **options):
    """Runs it in slots of a kind; the summary."""
    store = opened(job)
    return run_archive(store, [slot(job, store.run, **options) for _ in range(num_slots)], part, tries)


def run_here(job: ArchiveJob, **how):
    """Runs it in this process; the summary."""
    return run_in(HereSlot, job, **how)


def tables(job: ArchiveJob):
    """All rows of the summary's tables."""
    folder = summarise(opened(job), overwrite=True).folder
    frames = {path.parent.name: parquet.read_table(path).to_pylist() for path in folder.glob("frames/*/*.parquet")}
    others = [parquet.read_table(folder / f"{name}.parquet").to_pylist() for name in ("detections", "procedures")]
    return frames, *others, (folder / "procedures.csv").read_text()


def frames_of(job: ArchiveJob, video: str):
    return parquet.read_table(opened(job).place(video) / "frames.parquet").to_pylist()
