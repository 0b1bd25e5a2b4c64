"""The first step: which videos there are, in a manifest.

Decisions:
- A video whose size and times are as before is not read again; a second call costs what is new. One of a server that
  tells neither time nor tag is read each time.
- What a killed call has read is kept (`.manifest.part.csv`) and not read again.
- A file that cannot be opened as a video has a row too, with its fault: a list of thousands never stops at one.
  Nor does it where a file crashes the decoder: a process of its own opens them (`archive/opening.py`).
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, groupby
from pathlib import Path
from time import monotonic, perf_counter

from polypseg.archive.images import Chunk, digest_of_images, is_chunk
from polypseg.archive.inputs import UNKNOWN, FileStamp, digest_of_content, digest_of_stamp, find_paths, here, stamp_of
from polypseg.archive.manifest import (
    FACTS_NAME,
    IDENTITIES,
    MANIFEST_NAME,
    ArchiveFacts,
    ManifestEntry,
    ManifestWriter,
    read_entries,
    read_facts,
)
from polypseg.archive.opening import Opener
from polypseg.archive.store import forgotten_videos
from polypseg.errors import ArchiveError, DataError, UsageError, unknown_name
from polypseg.progress import Track, silent
from polypseg.records.atomic import put_in_place, replacing, write_text
from polypseg.records.lock import alone_in

PART_NAME, EARLIER_NAME = ".manifest.part.csv", ".manifest.earlier.csv"
FLUSH_SECONDS = 2.0


@dataclass
class PlanSummary:
    """What came of a plan.

    Attributes:
        num_videos: Rows of the manifest.
        num_new: Of them, those whose path was not known.
        num_changed: Of them, those whose content is another than before.
        num_gone: Paths that were known and are not found any more.
        num_forgotten: Videos that were found and stay out, as `forget` asked for.
        num_faulty: Of the rows, those that cannot be opened.
        num_bytes: Of all files.
        video_seconds: Of all videos, as their headers tell.
        seconds: That the work took.
    """

    num_videos: int = 0
    num_new: int = 0
    num_changed: int = 0
    num_gone: int = 0
    num_forgotten: int = 0
    num_faulty: int = 0
    num_bytes: int = 0
    video_seconds: float = 0.0
    seconds: float = 0.0


def plan_archive(
    source: str, archive: Path, identify: str = "content", track: Track = silent, with_images: bool = False
) -> PlanSummary:
    """What came of it, once the manifest of an archive is written or brought up to date.

    Args:
        source: As of `find_paths`.
        archive: The folder of the archive; made if missing.
        identify: A name of `IDENTITIES`.
        track: Shows progress; its total is 0, as it is not known.
        with_images: As of `find_paths`.

    Raises:
        ArchiveError: A damaged archive.
        BusyError: Another process plans it.
        DataError: Nothing was found, or the source cannot be read.
        UsageError: The archive tells its videos apart in another way.
    """
    began = perf_counter()
    if identify not in IDENTITIES:
        raise UsageError(unknown_name("way to tell videos apart", identify, IDENTITIES))
    paths = find_paths(source, archive, with_images)
    first = next(paths, None)
    if first is None:
        raise DataError(f"{source}: holds no videos" + ("" if with_images else "; images count with --images"))
    archive.mkdir(parents=True, exist_ok=True)  # a wrong source leaves nothing behind
    with alone_in(archive):
        _check_facts(archive, identify)
        _keep_part(archive)
        known = _Known(_before(archive))
        summary, forgotten, written_at = PlanSummary(), forgotten_videos(archive), monotonic()
        with ManifestWriter(archive / PART_NAME) as writer, Opener() as opener:
            for path in track(chain([first], paths), "looking at videos", 0):
                before = known.find(path)
                entry = _entry(path, before, identify, opener)
                if entry.video in forgotten:
                    summary.num_forgotten += 1
                    continue
                writer.add(entry)
                _count(summary, entry, before)
                if monotonic() - written_at > FLUSH_SECONDS:
                    writer.flush()
                    written_at = monotonic()
        summary.num_gone = known.num_passed()
        put_in_place(archive / PART_NAME, archive / MANIFEST_NAME)
        (archive / EARLIER_NAME).unlink(missing_ok=True)
    summary.seconds = perf_counter() - began
    return summary


def _check_facts(archive: Path, identify: str) -> None:
    path = archive / FACTS_NAME
    if not path.exists():
        write_text(path, ArchiveFacts(identify=identify).model_dump_json(indent=1) + "\n")
        return
    before = read_facts(archive).identify
    if before != identify:
        raise UsageError(f"{archive}: tells its videos apart by {before}, not by {identify}; name another folder")


class _Known:
    """Rows of before, sorted by path, taken in step with the paths that are found."""

    def __init__(self, entries: Iterator[ManifestEntry]) -> None:
        self._entries = entries
        self._next = next(entries, None)
        self._num_passed = 0

    def find(self, path: str) -> ManifestEntry | None:
        """The row of a path; None where there was none. Paths are asked for in order."""
        while self._next is not None and self._next.path < path:
            self._step()
            self._num_passed += 1
        if self._next is None or self._next.path != path:
            return None
        found = self._next
        self._step()
        return found

    def num_passed(self) -> int:
        """Rows that nobody asked for, those to come too."""
        while self._next is not None:
            self._step()
            self._num_passed += 1
        return self._num_passed

    def _step(self) -> None:
        self._next = next(self._entries, None)


def _before(archive: Path) -> Iterator[ManifestEntry]:
    """What is known: the manifest, and what a killed call has read since."""
    files = [path for path in (archive / EARLIER_NAME, archive / MANIFEST_NAME) if path.exists()]
    return _merged([_readable(path) for path in files])


def _merged(sources: list[Iterator[ManifestEntry]]) -> Iterator[ManifestEntry]:
    """The rows of all, sorted by path; where a path is in several, that of the first."""
    ranked = (((entry.path, rank, entry) for entry in source) for rank, source in enumerate(sources))
    for _, group in groupby(heapq.merge(*ranked), key=lambda item: item[0]):
        yield next(group)[2]


def _readable(path: Path) -> Iterator[ManifestEntry]:
    """The rows of a file up to where a kill cut it off."""
    try:
        yield from read_entries(path)
    except ArchiveError:
        if path.name == MANIFEST_NAME:
            raise


def _keep_part(archive: Path) -> None:
    """Put what a killed call has read among what is known."""
    part, earlier = archive / PART_NAME, archive / EARLIER_NAME
    if not part.exists():
        return
    sources = [_readable(path) for path in (part, earlier) if path.exists()]
    with replacing(earlier) as temporary, ManifestWriter(temporary) as writer:
        for entry in _merged(sources):
            writer.add(entry)
    part.unlink()


def _entry(path: str, before: ManifestEntry | None, identify: str, opener: Opener) -> ManifestEntry:
    """The row of a path."""
    try:
        stamp = stamp_of(path)
    except OSError as error:
        return ManifestEntry(digest_of_stamp(path, FileStamp(0, "")), path, 0, "", fault=_reason(error))
    is_told = identify == "stamp" or stamp.modified != UNKNOWN  # else only the bytes say whether it changed
    if before is not None and is_told and (before.num_bytes, before.modified, before.changed) == stamp:
        return before
    if is_chunk(path):
        return _chunk_entry(path, stamp, identify)
    if identify == "stamp":
        entry = ManifestEntry(digest_of_stamp(path, stamp), path, *stamp)
        return entry if entry.is_remote else _probed(entry, Path(path), opener)
    try:
        with here(path) as copy:
            return _probed(ManifestEntry(digest_of_content(copy), path, *stamp), copy, opener)
    except OSError as error:
        return ManifestEntry(digest_of_stamp(path, stamp), path, 0, "", fault=_reason(error))


def _chunk_entry(path: str, stamp: FileStamp, identify: str) -> ManifestEntry:
    """The row of a chunk of images; its frames are its images."""
    try:
        digest = digest_of_stamp(path, stamp) if identify == "stamp" else digest_of_images(path)
        return ManifestEntry(digest, path, *stamp, num_frames=len(Chunk.of(path).images()), codec="images")
    except OSError as error:
        return ManifestEntry(digest_of_stamp(path, stamp), path, 0, "", fault=_reason(error))


def _probed(entry: ManifestEntry, file: Path, opener: Opener) -> ManifestEntry:
    """The row with what the video's header tells, or with its fault."""
    return entry._replace(**opener.header(file)._asdict())


def _count(summary: PlanSummary, entry: ManifestEntry, before: ManifestEntry | None) -> None:
    summary.num_videos += 1
    summary.num_new += before is None
    summary.num_changed += before is not None and before.video != entry.video
    summary.num_faulty += bool(entry.fault)
    summary.num_bytes += entry.num_bytes
    summary.video_seconds += entry.seconds


def _reason(error: OSError) -> str:
    return (error.strerror or str(error) or type(error).__name__).splitlines()[0]
