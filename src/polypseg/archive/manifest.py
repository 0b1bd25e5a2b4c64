"""The manifest: which videos an archive holds, a row each, sorted by path.

Decisions:
- A video is known by its digest: of its bytes (`content`), or of path, size and time of change where reading all of it
  takes too long (`stamp`). The digest names its results, and is the only name of a video there.
- A row is passed from file to file in order, never held: a manifest of a million videos needs no memory.
- Paths are written as the bytes that the file system has, so that a name that is no UTF-8 is found again.
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from polypseg.errors import ArchiveError
from polypseg.records.reading import FileKind, Saved, read_json, stream_rows

MANIFEST_NAME, FACTS_NAME = "manifest.csv", "archive.json"

MANIFEST = FileKind("manifest of an archive", ArchiveError, "plan the archive again: polypseg archive plan")
FACTS = FileKind("record of an archive", ArchiveError, "name a folder that polypseg archive plan made")

IDENTITIES = ("content", "stamp")
"""What a video's digest is made of: its bytes, or its path, size and time of change."""


class ArchiveFacts(Saved):
    """What holds for all of an archive.

    Attributes:
        identify: A name of `IDENTITIES`.
    """

    format: int = 1
    identify: str = "content"


class ManifestEntry(NamedTuple):
    """A video.

    Attributes:
        video: Its digest, 64 hexadecimal digits.
        path: Absolute, or a URL.
        num_bytes: Of the file; 0 where it was missing.
        modified: Time of the last change in ns, or what a server tells instead; empty where the file was missing.
        changed: Time of any change in ns, of a local file.
        seconds: As its header tells; 0 where nothing is known.
        num_frames: As its header tells, or an estimate; 0 where nothing is known.
        codec: As H.264 is `h264`; empty where nothing is known.
        height: In pixels, as its header tells.
        width: In pixels, as its header tells.
        fault: Why it cannot be opened; empty for nothing.
    """

    video: str
    path: str
    num_bytes: int
    modified: str
    changed: str = ""
    seconds: float = 0.0
    num_frames: int = 0
    codec: str = ""
    height: int = 0
    width: int = 0
    fault: str = ""

    @property
    def is_missing(self) -> bool:
        """Whether there was no file to read when the archive was planned."""
        return not self.modified

    @property
    def is_remote(self) -> bool:
        """Whether its path is a URL."""
        return is_url(self.path)


COLUMNS = ManifestEntry._fields
_KINDS: tuple[Any, ...] = (str, str, int, str, str, float, int, str, int, int, str)


def is_url(path: str) -> bool:
    """Whether a path is an address for fsspec, as s3://bucket/video.mp4.

    >>> is_url("https://host/video.mp4"), is_url("/videos/a.mp4")
    (True, False)
    """
    return "://" in path


def read_facts(archive: Path) -> ArchiveFacts:
    """What holds for all of an archive.

    Raises:
        ArchiveError: No archive, or a damaged one.
    """
    facts = read_json(archive / FACTS_NAME, ArchiveFacts, FACTS)
    if facts.format != 1 or facts.identify not in IDENTITIES:
        raise FACTS.damaged(archive / FACTS_NAME, f"format {facts.format}, identify {facts.identify!r}")
    return facts


def read_manifest(archive: Path) -> Iterator[ManifestEntry]:
    """The videos of an archive, one after another.

    Raises:
        ArchiveError: No archive, or a damaged manifest.
    """
    read_facts(archive)
    return read_entries(archive / MANIFEST_NAME)


def read_entries(path: Path) -> Iterator[ManifestEntry]:
    """The videos of a manifest file, one after another."""
    for number, cells in enumerate(stream_rows(path, COLUMNS, MANIFEST), 2):
        try:
            yield ManifestEntry(*(kind(cell) for kind, cell in zip(_KINDS, cells, strict=True)))
        except ValueError as error:
            raise MANIFEST.damaged(path, f"row {number}: {error}") from error


class ManifestWriter:
    """Writes a manifest row by row; use it in a `with`."""

    def __init__(self, path: Path) -> None:
        self._file: IO[str] = path.open("w", encoding="utf-8", errors="surrogateescape", newline="")
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._writer.writerow(COLUMNS)

    def __enter__(self) -> "ManifestWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, entry: ManifestEntry) -> None:
        """Add a video."""
        self._writer.writerow(entry)

    def flush(self) -> None:
        """Bring the rows so far into the file."""
        self._file.flush()
