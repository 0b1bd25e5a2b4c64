"""All that an archive holds of a video, removed: for a patient who withdraws.

Decisions:
- The digest stays in a list (`forgotten.txt`), so that no later plan or run brings the video back. A digest of the
  content tells nothing of it, but recognises a copy; where that is too much, remove the line and the source.
- The video itself is never touched.
"""

from dataclasses import dataclass
from pathlib import Path

from polypseg.archive.manifest import MANIFEST_NAME, ManifestWriter, read_entries, read_facts
from polypseg.archive.plan import EARLIER_NAME, PART_NAME
from polypseg.archive.store import add_forgotten, find_runs, forgotten_videos
from polypseg.archive.summary import PROCEDURES_NAME, SUMMARY_NAME, forget_rows
from polypseg.errors import UsageError
from polypseg.records.atomic import remove_folder, replacing
from polypseg.records.lock import alone_in

SHORTEST = 8


@dataclass(frozen=True)
class Forgotten:
    """What was removed.

    Attributes:
        video: The video's digest.
        paths: Where the manifest said that it lies; the files themselves are still there.
        runs: The runs that held results of it.
        num_rows: Rows of the summary's tables that were removed.
    """

    video: str
    paths: list[str]
    runs: list[str]
    num_rows: int


def forget_video(archive: Path, digest: str) -> Forgotten:
    """What was removed of a video: its results of all runs, its rows of manifest and summary.

    Args:
        archive: The folder of the archive.
        digest: Of the video, or at least its first `SHORTEST` digits.

    Raises:
        ArchiveError: No archive, or a damaged one.
        BusyError: A run is at the video, or another process plans the archive.
        UsageError: No such video, or several.
    """
    video = _full(archive, digest.lower())
    add_forgotten(archive, video)
    runs = [store.run for store, _ in find_runs(archive) if store.remove(video)]
    with alone_in(archive):
        paths = _leave_out(archive / MANIFEST_NAME, video)
        for name in (PART_NAME, EARLIER_NAME):  # of a plan that was killed: it begins again
            (archive / name).unlink(missing_ok=True)
    num_rows = 0
    for folder in archive.glob(f"{SUMMARY_NAME}/*/"):
        if folder.name.startswith("."):  # of a summary that was killed, or that would hold the video if it went on
            remove_folder(folder)
        elif (folder / f"{PROCEDURES_NAME}.parquet").is_file():
            num_rows += forget_rows(folder, video)
    return Forgotten(video, paths, runs, num_rows)


def _full(archive: Path, digest: str) -> str:
    """The whole digest of one that may be cut off."""
    read_facts(archive)
    if len(digest) < SHORTEST:
        raise UsageError(f"digest {digest!r}: expected at least {SHORTEST} of its 64 digits")
    found = {entry.video for entry in read_entries(archive / MANIFEST_NAME) if entry.video.startswith(digest)}
    found |= {video for video in forgotten_videos(archive) if video.startswith(digest)}
    for store, _ in find_runs(archive):
        found |= {video for video in map(bytes.hex, store.states()) if video.startswith(digest)}
    if len(found) > 1:
        raise UsageError(f"digest {digest!r}: {len(found)} videos begin so; give more digits")
    if not found:
        raise UsageError(f"digest {digest!r}: {archive} holds no such video; see column video of {MANIFEST_NAME}")
    return found.pop()


def _leave_out(manifest: Path, video: str) -> list[str]:
    """The paths of a video, once the manifest is without it."""
    paths = []
    with replacing(manifest) as temporary, ManifestWriter(temporary) as writer:
        for entry in read_entries(manifest):
            if entry.video == video:
                paths.append(entry.path)
            else:
                writer.add(entry)
    return paths
