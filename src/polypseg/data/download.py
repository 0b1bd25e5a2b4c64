"""A public data set in a folder: fetched, checked and unpacked, so that the folder is either whole or not there.

Decisions:
- What has arrived stays in a .part file beside the folder; the next call asks only for the rest (HTTP Range). A
  server that cannot do that, or whose file has changed since, sends all of it again. (pooch 1.9 asks for no range
  and keeps nothing of a download that was cut off: with it the tests of going on, of a changed file and of a part
  that is longer or whole already cannot pass, and a gigabyte starts again.)
- An archive is not trusted: no path out of its folder, no link, no more bytes than it announces or than allowed.
- Unpacking happens in a folder of another name, which is renamed when all is done.
"""

import hashlib
import shutil
import stat
import time
import zipfile
import zlib
from collections.abc import Iterator
from http.client import HTTPException, HTTPResponse
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from polypseg.data.catalogue import PublicDataSet
from polypseg.data.layouts import recognise
from polypseg.errors import DataError, DownloadError
from polypseg.progress import Track, silent
from polypseg.records.atomic import write_text

CHUNK_BYTES = 1 << 20
MAX_UNPACKED_BYTES = 4 << 30
MAX_FILES = 100_000
ATTEMPTS = 4
TIMEOUT_SECONDS = 60.0


class UnusableArchiveError(DownloadError):
    """The archive is no ZIP archive, damaged, unsafe, too large, or holds no data set."""


class Downloaded(NamedTuple):
    """A data set that has arrived.

    Attributes:
        folder: Where it is.
        sha256: Of the archive that it came in, in hex.
        was_checked: Whether that was compared with a known digest.
    """

    folder: Path
    sha256: str
    was_checked: bool


def download(
    known: PublicDataSet, to: Path, sha256: str | None = None, mirror: str | None = None, track: Track = silent
) -> Downloaded:
    """The data set in the folder `to`, downloaded and unpacked.

    Args:
        known: From the catalogue.
        to: Must not exist, or be empty. The archive lies beside it while it is being fetched.
        sha256: What the archive's digest must be; the catalogue's where that knows it, else that of the first download
            to this place, which is kept beside it in NAME.sha256.
        mirror: Address of a folder to fetch the archive from, in place of the owners' one.
        track: Shows progress, in MiB.

    Raises:
        DownloadError: It cannot be downloaded without signing in, the server cannot be reached, the connection broke
            several times, the digest is another, the archive is damaged or unsafe, or the disk is full.
        DataError: The folder already holds something.
    """
    if known.url is None:
        raise DownloadError(
            f"{known.title} has no address for a direct download: get it from {known.home}, unpack it, and then "
            "run: polypseg data check FOLDER"
        )
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise DataError(f"{to}: is already there; check it with: polypseg data check {to}, or name another with --to")
    url = known.url if mirror is None else f"{mirror.rstrip('/')}/{PurePosixPath(urlsplit(known.url).path).name}"
    to.parent.mkdir(parents=True, exist_ok=True)
    archive = to.with_name(f"{to.name}.zip")
    if not archive.exists():
        fetch(url, archive, track)
    pin = to.with_name(f"{to.name}.sha256")
    expected = sha256 or known.sha256 or _pinned(pin)
    found = _digest(archive)
    if expected is not None and found != expected.lower():
        archive.unlink()
        raise DownloadError(
            f"{url}: the archive is not what was expected (SHA-256 {found}, expected {expected}); it was deleted: "
            f"try again, and if this repeats, ask the owners whether the file was changed{_of_earlier(expected, pin)}"
        )
    _settle(archive, to, track)
    write_text(pin, f"{found}  {archive.name}\n")
    return Downloaded(to, found, expected is not None)


def _pinned(pin: Path) -> str | None:
    """The digest of the first download to a place, kept beside it; None where there was none."""
    try:
        return pin.read_text(encoding="utf-8").split()[0]
    except (OSError, ValueError, IndexError):
        return None


def _of_earlier(expected: str, pin: Path) -> str:
    return f" ({pin} holds what came the first time)" if expected == _pinned(pin) else ""


def fetch(url: str, path: Path, track: Track = silent, pause_seconds: float = 1.0) -> None:
    """Fetch a file over HTTP into `path`, going on where an earlier call or attempt was cut off.

    Args:
        url: http or https.
        path: What has arrived so far is in `path` + ".part" until all has.
        track: Shows progress, in MiB.
        pause_seconds: Before the second attempt; doubled before each further one.

    Raises:
        DownloadError: No such file, no connection, cut off four times, or too little space.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise DownloadError(f"{url}: expected an address that begins with https:// or http://")
    part = path.with_name(f"{path.name}.part")
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(pause_seconds * 2 ** (attempt - 1))
        try:
            is_whole = _fetch_rest(url, part, track)
        except HTTPError as error:
            raise DownloadError(
                f"{url}: the server answers {error.code} {error.reason}; is the address right?"
            ) from error
        except (HTTPException, OSError) as error:  # URLError and timeouts are OSErrors
            if isinstance(error, OSError) and error.filename is not None and not isinstance(error, URLError):
                raise  # the disk's, not the network's
            failure: object = error.reason if isinstance(error, URLError) else error
            is_whole = False
        else:
            failure = "the connection was closed before the end"
        if is_whole:
            part.replace(path)
            _validator_path(part).unlink(missing_ok=True)
            return
    arrived = f"{part.stat().st_size / CHUNK_BYTES:.1f} MiB" if part.exists() else "nothing"
    raise DownloadError(
        f"{url}: cannot be fetched: {failure}; {arrived} arrived. Look at your connection and run the same command "
        "again: it goes on from there"
    )


def unpack(archive: Path, folder: Path, max_bytes: int = MAX_UNPACKED_BYTES, track: Track = silent) -> None:
    """Unpack a ZIP archive into a new folder.

    Raises:
        UnusableArchiveError: No ZIP archive, damaged, encrypted, more than `max_bytes`, or a member that is a link or
            would land outside of the folder. Nothing is left then.
        DownloadError: Too little space.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [_checked(member, archive) for member in opened.infolist() if not _is_litter(member)]
            total = sum(member.file_size for member in members)
            if total > max_bytes or len(members) > MAX_FILES:
                raise UnusableArchiveError(
                    f"{archive}: unpacked it would be {total:,} bytes in {len(members):,} files, more than the allowed "
                    f"{max_bytes:,} in {MAX_FILES:,}; this is not the data set"
                )
            _need_space(folder.parent, total)
            for member in track(members, "unpacking", len(members)):
                _extract(opened, member, folder)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:  # the last: encrypted, or packed unknown
        shutil.rmtree(folder, ignore_errors=True)
        raise UnusableArchiveError(f"{archive}: not a ZIP archive, or a damaged one ({error})") from error
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _settle(archive: Path, to: Path, track: Track) -> None:
    """Unpack beside `to`, make sure that it is a data set, and rename it; the archive goes when all is well."""
    unpacking = to.with_name(f".{to.name}.unpacking")
    shutil.rmtree(unpacking, ignore_errors=True)
    try:
        unpack(archive, unpacking, track=track)
        try:
            recognise(unpacking)
        except DataError as error:
            raise UnusableArchiveError(f"{archive}: the archive holds no data set: {error}") from error
        inner = [path for path in unpacking.iterdir() if not path.name.startswith(".")]
        root = inner[0] if len(inner) == 1 and inner[0].is_dir() else unpacking
        if to.exists():
            to.rmdir()
        root.replace(to)
    except UnusableArchiveError as error:
        archive.unlink()
        raise UnusableArchiveError(f"{error}; it was deleted: try again, or look at the address") from error
    finally:
        shutil.rmtree(unpacking, ignore_errors=True)
    archive.unlink()


def _fetch_rest(url: str, part: Path, track: Track) -> bool:
    """Append what is missing to the .part file; whether all is there now."""
    have = part.stat().st_size if part.exists() else 0
    request = Request(url, headers={"User-Agent": "polypseg"})
    if have:
        request.add_header("Range", f"bytes={have}-")
        if _validator_path(part).exists():  # the server then sends all of a file that has changed since
            request.add_header("If-Range", _validator_path(part).read_text(encoding="ascii"))
    try:
        response = urlopen(request, timeout=TIMEOUT_SECONDS)
    except HTTPError as error:
        if error.code != 416 or not have:
            raise
        is_whole = error.headers.get("Content-Range") == f"bytes */{have}"
        if not is_whole:
            part.unlink()  # longer than the file itself: not this file
        return is_whole
    with response:
        goes_on = response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        length = response.headers.get("Content-Length")
        missing = int(length) if length else None
        if response.status == 206 and not goes_on:
            part.unlink()  # another piece than the one asked for
            return False
        _need_space(part.parent, missing or 0)
        validator = response.headers.get("ETag") or response.headers.get("Last-Modified")
        if validator and not validator.startswith("W/"):
            _validator_path(part).write_text(validator, encoding="ascii")
        arrived = 0
        with part.open("ab" if goes_on else "wb") as opened:
            num_chunks = -(-(missing or 0) // CHUNK_BYTES)
            for chunk in track(
                _chunks(response), f"downloading {PurePosixPath(urlsplit(url).path).name} (MiB)", num_chunks
            ):
                opened.write(chunk)
                arrived += len(chunk)
    return missing is None or arrived == missing


def _chunks(response: HTTPResponse) -> Iterator[bytes]:
    while chunk := response.read(CHUNK_BYTES):
        yield chunk


def _validator_path(part: Path) -> Path:
    """Where the server's mark of the file's version is kept (ETag or date)."""
    return part.with_name(f"{part.name}.version")


def _is_litter(member: zipfile.ZipInfo) -> bool:
    path = PurePosixPath(member.filename)
    return member.is_dir() or "__MACOSX" in path.parts or path.name in (".DS_Store", "Thumbs.db")


def _checked(member: zipfile.ZipInfo, archive: Path) -> zipfile.ZipInfo:
    name = member.filename
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in path.parts[0] or "\0" in name:
        raise UnusableArchiveError(
            f"{archive}: the archive would write outside of its folder ({name!r}); nothing was unpacked"
        )
    if stat.S_ISLNK(member.external_attr >> 16):
        raise UnusableArchiveError(
            f"{archive}: the archive holds a link ({name!r}), not only files; nothing was unpacked"
        )
    if member.flag_bits & 1:
        raise UnusableArchiveError(f"{archive}: the archive is encrypted; unpack it by hand")
    return member


def _extract(opened: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path) -> None:
    """Write one member; zipfile itself gives no more bytes than the archive announces, and checks their CRC."""
    target = folder / member.filename
    target.parent.mkdir(parents=True, exist_ok=True)
    with opened.open(member) as source, target.open("wb") as file:
        shutil.copyfileobj(source, file, CHUNK_BYTES)


def _need_space(folder: Path, num_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if num_bytes > free:
        raise DownloadError(
            f"{folder}: {num_bytes:,} bytes are needed, {free:,} are free; make room or name another folder"
        )


def _digest(path: Path) -> str:
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
