"""What an archive costs beside bare prediction, and what a second worker gives.

    python benchmarks/archive_workers.py polyp-lite --videos 4 --frames 250 --workers 1 2

The videos are made here: a camera that moves over a synthetic frame, 720 rows. In each round the bare work (decode,
predict, withhold; nothing is written) and the archive's worker do the same videos in this process, one thread each; the
ratio of their CPU times says what tables, digests and flushing cost, and hardly depends on what else the machine does.
Then a run of each number of workers is timed on as many cores, once all of them have loaded the model (which is told
apart: it is paid once for a run of hours). A worker decodes in a second thread, so that one alone would use more than
one core. Those times need an idle machine.
"""

import argparse
import os
import shutil
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

from video import make_video

from polypseg.archive.manifest import read_manifest
from polypseg.archive.options import ArchiveJob
from polypseg.archive.plan import plan_archive
from polypseg.archive.run import run_archive
from polypseg.archive.slots import ProcessSlot
from polypseg.archive.store import open_run
from polypseg.archive.worker import Worker
from polypseg.machine import machine, versions
from polypseg.predict.predictor import Predictor
from polypseg.predict.video.frames import FrameReader
from polypseg.predict.video.marking import marked
from polypseg.predict.video.source import open_source
from polypseg.predict.video.stages import Pipeline

CORES = os.sched_getaffinity(0)


def bare(paths: list[str], predictor: Predictor, job: ArchiveJob) -> int:
    """Predict all frames and keep nothing; how many there were."""
    count = 0
    for path in paths:
        source = open_source(Path(path))
        with Pipeline() as pipeline:
            frames = pipeline.ahead(FrameReader(source, Event()).frames())
            count += sum(1 for _ in marked(frames, predictor, job.options.video))
        source.container.close()
    return count


def timed(work) -> tuple[float, float, object]:
    """CPU and wall seconds of some work, and what it gives."""
    cpu, wall = time.process_time(), time.perf_counter()
    found = work()
    return time.process_time() - cpu, time.perf_counter() - wall, found


def compare(job: ArchiveJob, rounds: int) -> None:
    """Print the CPU times of bare work and of the archive's worker."""
    predictor, record = job.load()
    entries = list(read_manifest(job.archive))
    paths, ratios = [entry.path for entry in entries], []
    bare(paths[:1], predictor, job)  # the first prediction pays for memory
    for _ in range(rounds):
        shutil.rmtree(job.archive / "results", ignore_errors=True)
        worker = Worker(job, open_run(job.archive, record).run)
        plain, _, count = timed(lambda: bare(paths, predictor, job))
        whole, _, _ = timed(lambda worker=worker: [worker.do(entry) for entry in entries])
        ratios.append(whole / plain)
        print(f"bare {1000 * plain / count:7.2f} ms CPU a frame, archive {1000 * whole / count:7.2f}, {ratios[-1]:.3f}")
    print(f"archive over bare: median {statistics.median(ratios):.3f} of {rounds} rounds, {count:,} frames each")


def spread(job: ArchiveJob, num_workers: int) -> float:
    """Print and give the frames a second of a run with so many workers."""
    shutil.rmtree(job.archive / "results", ignore_errors=True)
    store = open_run(job.archive, job.load()[1])
    os.sched_setaffinity(0, sorted(CORES)[:num_workers])  # the workers inherit it
    slots, began = [ProcessSlot(job, store.run) for _ in range(num_workers)], time.perf_counter()
    with ThreadPoolExecutor(num_workers) as threads:
        list(threads.map(ProcessSlot.begin, slots))
    started = time.perf_counter() - began
    summary = run_archive(store, slots)
    rate = summary.num_frames / summary.seconds
    words = f"{num_workers} workers, ready after {started:.1f} s: {summary.num_frames:,} frames"
    print(f"{words} in {summary.seconds:.1f} s, {rate:.1f} a second")
    return rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--videos", type=int, default=4)
    parser.add_argument("--frames", type=int, default=250)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--workers", type=int, nargs="*", default=[])
    given = parser.parse_args()
    print(machine(), versions(), sep="\n")
    with tempfile.TemporaryDirectory() as folder:
        videos = Path(folder) / "videos"
        videos.mkdir()
        for number in range(given.videos):
            make_video(videos / f"{number}.mp4", (720, 1280), given.frames + number)  # no two of the same bytes
        plan_archive(str(videos), Path(folder) / "archive")
        job = ArchiveJob(Path(folder) / "archive", given.model, given.engine, 1)
        if given.rounds:
            compare(job, given.rounds)
        rates = {number: spread(job, number) for number in given.workers}
        first = next(iter(rates.items()), None)
        for number, rate in list(rates.items())[1:] if first else []:
            print(f"efficiency from {first[0]} to {number}: {rate / first[1] * first[0] / number:.0%}")


if __name__ == "__main__":
    main()
