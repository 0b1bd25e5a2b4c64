"""How far an archive is, from the manifest and the names of results alone."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from polypseg.archive.manifest import read_manifest
from polypseg.archive.store import RunSettings, State, find_runs, the_run


@dataclass
class RunStatus:
    """How far a run is.

    Attributes:
        run: Its name.
        record: What its results follow from.
        states: Videos of the manifest by state.
        seconds_done: Length of the videos that are done.
        num_stray: Results of videos that the manifest does not hold (any more).
    """

    run: str
    record: RunSettings
    states: Counter[State] = field(default_factory=Counter)
    seconds_done: float = 0.0
    num_stray: int = 0


@dataclass
class ArchiveStatus:
    """What an archive holds, and how far its runs are.

    Attributes:
        num_videos: Videos of the manifest; one that lies there twice counts once.
        num_rows: Rows of the manifest.
        num_missing: Rows of files that were missing when it was planned.
        num_frames: As the headers tell.
        video_seconds: As the headers tell.
        num_bytes: Of all files.
        runs: The oldest first.
    """

    num_videos: int = 0
    num_rows: int = 0
    num_missing: int = 0
    num_frames: int = 0
    video_seconds: float = 0.0
    num_bytes: int = 0
    runs: list[RunStatus] = field(default_factory=list)


def archive_status(archive: Path, run: str | None = None) -> ArchiveStatus:
    """What an archive holds, and how far its runs are.

    Args:
        archive: The folder of the archive.
        run: The name of one run, or how it begins; None for all.

    Raises:
        ArchiveError: No archive, a damaged one, or no such run.
    """
    status, seen = ArchiveStatus(), set[bytes]()
    wanted = the_run(archive, run).run if run else None
    runs = [
        (RunStatus(store.run, record), store.states())
        for store, record in find_runs(archive)
        if wanted in (None, store.run)
    ]
    for entry in read_manifest(archive):
        video = bytes.fromhex(entry.video)
        status.num_rows += 1
        if video in seen:
            continue
        seen.add(video)
        status.num_missing += entry.is_missing
        status.num_frames += entry.num_frames
        status.video_seconds += entry.seconds
        status.num_bytes += entry.num_bytes
        for each, states in runs:
            state = states.get(video, State.OPEN)
            each.states[state] += 1
            each.seconds_done += entry.seconds * (state is State.DONE)
    status.num_videos = len(seen)
    for each, states in runs:
        each.num_stray = sum(video not in seen for video in states)
        status.runs.append(each)
    return status
