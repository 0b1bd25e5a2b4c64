"""Whether what is stored is what was written, and whether the videos are what was read."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from polypseg.archive.inputs import here, why_changed
from polypseg.archive.manifest import ManifestEntry, read_facts, read_manifest
from polypseg.archive.store import State, Store, find_runs
from polypseg.archive.video import RECORD_NAME, digests_below, read_record
from polypseg.errors import ArchiveError, BusyError
from polypseg.progress import Track, silent


@dataclass
class VerifySummary:
    """What was found.

    Attributes:
        num_results: Results that were read.
        num_inputs: Videos that were looked at.
        damaged: Results that are not what was written: place and reason.
        changed: Videos that are not what was planned: path and reason.
        num_left: Folders that killed processes left behind.
        num_removed: Of the damaged results and left folders, those that were removed.
    """

    num_results: int = 0
    num_inputs: int = 0
    damaged: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    num_left: int = 0
    num_removed: int = 0


def verify_archive(archive: Path, inputs: bool = False, remove: bool = False, track: Track = silent) -> VerifySummary:
    """What was found.

    Args:
        archive: The folder of the archive.
        inputs: Whether the videos are looked at too.
        remove: Whether damaged results and what killed processes left are removed, so that the next run makes them.
        track: Shows progress by results or videos.

    Raises:
        ArchiveError: No archive, or a damaged manifest.
    """
    summary, identify = VerifySummary(), read_facts(archive).identify
    for store, _ in find_runs(archive):
        videos = [video.hex() for video, state in store.states().items() if state is State.DONE]
        for video in track(videos, f"reading results of {store.run}", len(videos)):
            summary.num_results += 1
            reason = _why_damaged(store, video)
            if reason:
                summary.damaged.append(f"{store.place(video)}: {reason}")
                summary.num_removed += remove and _removed(store, video)
        left = list(store.folder.glob("??/.*.part"))
        summary.num_left += len(left)
        if remove:
            summary.num_removed += sum(_swept(store, folder) for folder in left)
    for entry in track(read_manifest(archive), "looking at videos" if inputs else "reading the manifest", 0):
        if not inputs:
            continue  # a manifest that is gone or damaged is a fault of the archive, too
        summary.num_inputs += 1
        reason = _why_other(entry, identify)
        if reason:
            summary.changed.append(f"{entry.path}: {reason}")
    return summary


def _why_damaged(store: Store, video: str) -> str:
    place = store.place(video)
    try:
        record = read_record(place)
    except ArchiveError as error:
        return str(error).removeprefix(f"{place / RECORD_NAME}: ").partition("; ")[0]
    try:
        found = digests_below(place)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if record.video != video:
        return "is the result of another video"
    return "; ".join(_differences(record.files, found))


def _differences(written: dict[str, str], found: dict[str, str]) -> Iterator[str]:
    for name in sorted(written.keys() | found.keys()):
        if name not in found:
            yield f"{name} is missing"
        elif name not in written:
            yield f"{name} was added"
        elif written[name] != found[name]:
            yield f"{name} was changed or damaged"


def _why_other(entry: ManifestEntry, identify: str) -> str:
    if entry.is_missing:
        return entry.fault
    try:
        with here(entry.path) as copy:
            return why_changed(entry, copy, identify)
    except OSError as error:
        return error.strerror or str(error)


def _removed(store: Store, video: str) -> bool:
    try:
        return store.remove(video)
    except BusyError:
        return False


def _swept(store: Store, folder: Path) -> bool:
    """Whether what a killed process left was removed; a process that is at work keeps it."""
    video = folder.name[1:65]
    try:
        with store.alone(video):
            shutil.rmtree(folder, ignore_errors=True)
    except BusyError:
        return False
    return not folder.exists()
