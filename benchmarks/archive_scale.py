"""How long an archive's bookkeeping takes, and how much memory: manifest, status and summary of made-up videos.

    python benchmarks/archive_scale.py --videos 1000000 --results 100000 --frames 1000000

Nothing is predicted: manifest, results' names and tables are written as a run would leave them. Each step is a process
of its own, whose largest resident memory is told. The summary has `--frames` rows in results of 45,000 frames (half an
hour at 25 a second).
"""

import argparse
import hashlib
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from polypseg.archive.manifest import ArchiveFacts, ManifestEntry, ManifestWriter, read_manifest
from polypseg.archive.status import archive_status
from polypseg.archive.store import open_run, the_run
from polypseg.archive.summary import summarise
from polypseg.archive.tables import (
    DETECTION_COLUMNS,
    DETECTIONS_NAME,
    FRAMES_NAME,
    TableWriter,
    frame_cells,
    frame_columns,
)
from polypseg.archive.video import RECORD_NAME, ResultRecord, digests_below
from polypseg.machine import machine, versions
from polypseg.records.video_table import FrameRow

FRAMES_A_VIDEO = 45_000


def digest(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def write_manifest(archive: Path, count: int) -> None:
    (archive / "archive.json").write_text(ArchiveFacts().model_dump_json())
    with ManifestWriter(archive / "manifest.csv") as writer:
        for number in range(count):
            path = f"/archive/endoscopy/{number // 10_000:04d}/procedure-{number:08d}.mp4"
            facts = (1800.0, FRAMES_A_VIDEO, "h264", 1080, 1920)
            writer.add(
                ManifestEntry(digest(number), path, 5_000_000_000, "1700000000000000000", "1700000000000000000", *facts)
            )


def read_again(archive: Path) -> None:
    sum(1 for _ in read_manifest(archive))


def make_names(archive: Path, count: int) -> None:
    """The names of results, without their files: a status opens none."""
    store = open_run(archive, {"model": "made up"})
    for number in range(count):
        store.place(digest(number)).mkdir(parents=True)


def make_results(archive: Path, num_frames: int) -> None:
    store = open_run(archive, {"model": "made up"})
    row = frame_cells(FrameRow(0, 0.0, 1000.0, 0.5, 1.0, 2.0, 30.0, 40.0, 1.0, 0.9, 0.0))
    for number in range(max(1, num_frames // FRAMES_A_VIDEO)):
        place = store.place(digest(number))
        place.mkdir(parents=True)
        with TableWriter(place / FRAMES_NAME, frame_columns()) as table:
            for frame in range(min(num_frames, FRAMES_A_VIDEO)):
                table.add({**row, "frame": frame, "seconds": frame / 25, "area_px": frame * 7919 % 50_000})
        with TableWriter(place / DETECTIONS_NAME, DETECTION_COLUMNS) as table:
            for index in range(40):
                table.add(dict.fromkeys(DETECTION_COLUMNS, index))
        counts = (FRAMES_A_VIDEO, FRAMES_A_VIDEO, 9000, 40, 0, 1800.0)
        record = ResultRecord.model_construct(
            video=digest(number), path="/made/up.mp4", faults={}, fault="", remarks=[], seconds=900.0,
            files=digests_below(place), **dict(zip(_COUNTED, counts, strict=True)),
        )  # fmt: skip
        (place / RECORD_NAME).write_text(record.model_dump_json())


_COUNTED = ("num_read", "num_frames", "num_with_polyp", "num_detections", "num_withheld", "video_seconds")

STEPS = {
    "write the manifest": lambda archive, given: write_manifest(archive, given.videos),
    "read the manifest": lambda archive, given: read_again(archive),
    "make names of results": lambda archive, given: make_names(archive, given.results),
    "status": lambda archive, given: archive_status(archive),
    "make results": lambda archive, given: make_results(archive, given.frames),
    "summary": lambda archive, given: summarise(the_run(archive)),
}
"""The last two work in an archive of their own, which holds those results alone."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=1_000_000)
    parser.add_argument("--results", type=int, default=100_000)
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--step", help=argparse.SUPPRESS)
    parser.add_argument("--archive", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        began = time.perf_counter()
        STEPS[given.step](given.archive, given)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{given.step:24} {time.perf_counter() - began:8.1f} s {time.process_time():8.1f} s {peak:8.0f} MiB")
        return
    print(machine(), versions(), sep="\n")
    print(f"{given.videos:,} videos, {given.results:,} names of results, {given.frames:,} frames in a summary")
    print(f"{'step':24} {'time':>10} {'processor':>10} {'memory':>12}")
    with tempfile.TemporaryDirectory() as folder:
        large, small = Path(folder) / "large", Path(folder) / "small"
        large.mkdir(), small.mkdir()
        write_manifest(small, max(1, given.frames // FRAMES_A_VIDEO))
        for step in STEPS:
            archive = small if step in ("make results", "summary") else large
            words = [f"--{name}={getattr(given, name)}" for name in ("videos", "results", "frames")]
            subprocess.run([sys.executable, __file__, f"--step={step}", f"--archive={archive}", *words], check=True)


if __name__ == "__main__":
    main()
