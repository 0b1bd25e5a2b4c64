"""Videos and chunks of images where they lie: found in a folder, a list, a table or at an address; told apart; brought
here to be read.

Decisions:
- Whatever is found is sorted by path, as the manifest is.
- A list is a text file with a path or an address a line; a table is a CSV or Parquet file with a column `path`. A
  relative path counts from the list's folder.
- A local file is the same where its size and times are. Where they differ, its bytes decide (`content`), or size and
  time of its content (`stamp`).
"""

import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from polypseg.archive.images import Chunk, chunks_of, digest_of_images, image_names, is_chunk, sizes_and_times
from polypseg.archive.manifest import ManifestEntry, is_url
from polypseg.errors import DataError, missing_extra
from polypseg.predict.kinds import VIDEO_SUFFIXES, is_video
from polypseg.records.reading import FileKind, read_text, stream_cells

LIST = FileKind("list of videos", DataError, "name a folder, or a file with a path a line")
_SERVER_TELLS = (
    *("ETag", "etag", "LastModified", "Last-Modified", "last_modified", "mtime", "created"),
    *("md5Hash", "Content-MD5", "Digest", "checksum"),
)
_CHUNK = 1 << 22


UNKNOWN = "unknown"
"""The time of a file whose server tells no time and no tag."""


class FileStamp(NamedTuple):
    """What tells whether a file is what it was.

    Attributes:
        num_bytes: Its size.
        modified: Time of the last change of its content in ns; of a URL what the server tells instead.
        changed: Time of any change in ns; empty for a URL.
    """

    num_bytes: int
    modified: str
    changed: str = ""


def find_paths(source: str, leave_out: Path, with_images: bool = False) -> Iterator[str]:
    """The paths and addresses of the videos of a folder, a list or a table, sorted, each once.

    Args:
        source: A folder, or a file that lists videos; either may be a URL.
        leave_out: A folder whose files do not count: the archive's own.
        with_images: Whether images of folders count too, in chunks; a list may name folders then.

    Raises:
        DataError: No such folder or file, or a damaged one.
        MissingExtraError: fsspec is not installed (URLs), or PyArrow is not (Parquet).
    """
    if is_url(source):
        if with_images:
            raise DataError(f"{source}: images at an address are not predicted; copy or mount their folder")
        yield from _remote(source)
        return
    path = Path(source)
    if path.is_dir():
        yield from _below(str(path.absolute()), str(leave_out.absolute()), with_images)
        return
    listed = _listed(path)
    folder = path.parent.absolute()
    names = {name if is_url(name) else str(folder / name) for name in listed}
    if with_images:
        folders = [name for name in names if not is_url(name) and Path(name).is_dir()]
        names = names.difference(folders).union(*(_below(name, str(leave_out.absolute()), True) for name in folders))
    yield from sorted(names)


def stamp_of(path: str) -> FileStamp:
    """Size and times of a file or an address.

    Raises:
        OSError: It is not there, or cannot be looked at.
    """
    if is_chunk(path):
        return FileStamp(*sizes_and_times(path))
    if is_url(path):
        files, inner = _file_system(path)
        with _refusal(path):
            told = files.info(inner)
        words = [str(told[key]) for key in _SERVER_TELLS if told.get(key)]
        return FileStamp(int(told.get("size") or 0), " ".join(words) or UNKNOWN)
    found = Path(path).stat()
    return FileStamp(found.st_size, str(found.st_mtime_ns), str(found.st_ctime_ns))


def digest_of_content(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def digest_of_stamp(path: str, stamp: FileStamp) -> str:
    """The SHA-256 of path, size and time of change, in hex."""
    words = f"{path}\0{stamp.num_bytes}\0{stamp.modified}"
    return hashlib.sha256(words.encode("utf-8", "surrogateescape")).hexdigest()


@contextmanager
def here(path: str) -> Iterator[Path]:
    """The file on this machine: a local one where it lies, an address as a copy that is removed at the end; of a chunk
    of images the folder that holds them.

    Raises:
        OSError: It cannot be read.
    """
    if is_chunk(path):
        yield Chunk.of(path).folder
        return
    if not is_url(path):
        yield Path(path)
        return
    files, inner = _file_system(path)
    with tempfile.TemporaryDirectory(prefix="polypseg-") as folder:
        copy = Path(folder) / ("video" + _suffix(inner))
        with _refusal(path), files.open(inner, "rb") as opened, copy.open("wb") as written:
            while chunk := opened.read(_CHUNK):
                written.write(chunk)
        yield copy


def why_changed(entry: ManifestEntry, copy: Path, identify: str) -> str:
    """What tells that a video is no longer what the manifest says; empty where it is.

    Args:
        entry: Of the manifest.
        copy: The file on this machine.
        identify: A name of `IDENTITIES`.

    Raises:
        OSError: It cannot be read.
    """
    stamp = stamp_of(entry.path)
    if stamp == FileStamp(entry.num_bytes, entry.modified, entry.changed) and not (
        entry.is_remote and identify != "stamp"
    ):
        return ""
    if identify == "content":
        found = digest_of_images(entry.path) if is_chunk(entry.path) else digest_of_content(copy)
        return "" if found == entry.video else f"its bytes changed since it was planned (SHA-256 {found[:12]}…)"
    if stamp[:2] == (entry.num_bytes, entry.modified):
        return ""
    return f"size or time changed since it was planned ({stamp.num_bytes:,} bytes, {entry.num_bytes:,} then)"


def _below(
    folder: str, leave_out: str, with_images: bool = False, above: frozenset[str] = frozenset()
) -> Iterator[str]:
    """The videos below a folder in the order of their paths as texts; links to folders are followed, but not up."""
    real = os.path.realpath(folder)
    if real in above:
        return
    with os.scandir(folder) as found:
        items = list(found)
    chunks = [chunk.path for chunk in chunks_of(folder, image_names(items))] if with_images else []
    found_here: list[os.DirEntry[str] | str] = [*items, *chunks]
    inside = sorted(found_here, key=lambda item: _order(item, folder))
    for item in inside:
        if isinstance(item, str):
            yield item
        elif item.is_dir():
            if item.path != leave_out:
                yield from _below(item.path, leave_out, with_images, above | {real})
        elif not item.name.startswith(".") and is_video(item.path):
            yield item.path


def _order(item: "os.DirEntry[str] | str", folder: str) -> str:
    """What an item of a folder, or a chunk of its images, is sorted by: its path, as the manifest has it."""
    if isinstance(item, str):
        return item.removeprefix(folder + "/")
    return item.name + ("/" if item.is_dir() else "")


def _listed(path: Path) -> list[str]:
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return _column(path)
    if suffix == ".csv":
        return [name for (name,) in stream_cells(path, ["path"], LIST) if name]
    if is_video(str(path)):
        return [path.name]
    lines = (line.strip() for line in read_text(path, LIST).splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _column(path: Path) -> list[str]:
    try:
        from pyarrow import ArrowException, parquet
    except ModuleNotFoundError as error:
        raise missing_extra("pyarrow", "archive") from error
    try:
        return [name for name in parquet.read_table(path, columns=["path"])["path"].to_pylist() if name]
    except (OSError, ArrowException) as error:
        raise LIST.damaged(path, str(error).splitlines()[0]) from error


def _remote(source: str) -> Iterator[str]:
    """The videos at an address: one, or all below a folder of a store."""
    files, inner = _file_system(source)
    if _suffix(inner) in VIDEO_SUFFIXES:
        yield source
        return
    try:
        found = files.find(inner)
    except (OSError, NotImplementedError) as error:
        raise DataError(f"{source}: cannot be listed ({error}); give a file with an address a line") from error
    names = (files.unstrip_protocol(name) for name in found)
    yield from sorted({name for name in names if _suffix(name) in VIDEO_SUFFIXES})


def _suffix(address: str) -> str:
    """The suffix of an address, in lower case and without what signs the address; empty for none.

    >>> _suffix("https://host/a.MP4?X-Amz-Signature=0.9/b"), _suffix("bucket/b.mov"), _suffix("https://host/watch")
    ('.mp4', '.mov', '')
    """
    is_http = address.startswith(("http://", "https://"))
    suffix = Path(address.partition("?")[0] if is_http else address).suffix.lower()
    return suffix if suffix[1:].isalnum() else ""


@contextmanager
def _refusal(address: str) -> Iterator[None]:
    """Say what a server answered, where fsspec says the address alone."""
    try:
        yield
    except FileNotFoundError as error:
        if error.strerror:
            raise
        cause = error.__cause__
        status = getattr(cause, "status", None)  # of aiohttp: its text would hold the address, and so its signature
        reason = f"{status} {getattr(cause, 'message', '')}".strip() if status else str(cause or "no such file")
        raise FileNotFoundError(errno.ENOENT, f"cannot be fetched ({reason})", address) from error


def _file_system(address: str) -> tuple[Any, str]:
    try:
        from fsspec.core import url_to_fs
    except ModuleNotFoundError as error:
        raise missing_extra("fsspec", "archive") from error
    try:
        files, inner = url_to_fs(address)
    except (ImportError, ValueError) as error:
        raise DataError(f"{address}: fsspec cannot open it ({error})") from error
    return files, str(inner)
