"""Downloads from a server on this machine: cut off, without Range, changed, damaged and hostile."""

import hashlib
import io
import shutil
import stat
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from polypseg.data import download as module
from polypseg.data.catalogue import PublicDataSet, find_samples, public_data_set
from polypseg.data.download import UnusableArchiveError, download, fetch, unpack
from polypseg.errors import DataError, DownloadError

CONTENT = np.random.default_rng(0).bytes(300_000)


@dataclass
class Server:
    """What the server has, how it misbehaves, and what it was asked."""

    content: bytes = CONTENT
    knows_range: bool = True
    cut_after: list[int] = field(default_factory=list)  # bytes sent by the first, second, … answer before it hangs up
    version: str | None = '"v1"'
    status: int | None = None
    piece_from: int | None = None  # the place from which a misled cache sends the rest, whatever was asked for
    url: str = ""
    asked: list[str | None] = field(default_factory=list)  # the Range of each request


def _answer(server: Server, handler: BaseHTTPRequestHandler) -> None:
    asked = handler.headers.get("Range")
    server.asked.append(asked)
    if server.status is not None:
        handler.send_error(server.status)
        return
    start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and server.knows_range else 0
    if handler.headers.get("If-Range") not in (None, server.version):
        start = 0
    if start and server.piece_from is not None:
        start, server.piece_from = server.piece_from, None
    if start >= len(server.content):
        handler.send_response(416)
        handler.send_header("Content-Range", f"bytes */{len(server.content)}")
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return
    rest = server.content[start:]
    handler.send_response(206 if start else 200)
    if start:
        handler.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
    if server.version:
        handler.send_header("ETag", server.version)
    handler.send_header("Content-Length", str(len(rest)))
    handler.end_headers()
    handler.wfile.write(rest[: server.cut_after.pop(0)] if server.cut_after else rest)
    handler.close_connection = True


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            _answer(state, self)

        def log_message(self, *arguments: object) -> None:
            """Quiet."""

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{running.server_address[1]}"
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    running.shutdown()
    thread.join()
    running.server_close()


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """No test waits; the pauses that would have been made are listed."""
    made: list[float] = []
    monkeypatch.setattr(module.time, "sleep", made.append)
    return made


def _archive(members: dict[str, bytes] | None = None) -> bytes:
    """A ZIP archive; by default of a data set in an outer folder, with the litter that a Mac leaves."""
    if members is None:
        image = io.BytesIO()
        PillowImage.fromarray(np.zeros((8, 8), np.uint8)).save(image, "PNG")
        members = {f"Set/{folder}/{stem}.png": image.getvalue() for folder in ("images", "masks") for stem in "ab"}
        members |= {"__MACOSX/Set/._a": b"x", "Set/.DS_Store": b"x", "Set/boxes.json": b"{}"}
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return written.getvalue()


@pytest.fixture
def known(server: Server) -> PublicDataSet:
    """A data set whose archive the server has."""
    server.content = _archive()
    return replace(public_data_set("kvasir-seg"), name="tiny", title="Tiny", url=f"{server.url}/tiny.zip")


def _left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_fetch_brings_the_file_and_leaves_nothing_else(server: Server, tmp_path: Path) -> None:
    fetch(f"{server.url}/a.zip", tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert _left(tmp_path) == ["a.zip"]
    assert server.asked == [None]


def test_fetch_cut_off_goes_on_where_it_was(server: Server, tmp_path: Path, pauses: list[float]) -> None:
    server.cut_after = [100_000, 50_000]
    fetch(f"{server.url}/a.zip", tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert server.asked == [None, "bytes=100000-", "bytes=150000-"]
    assert pauses == [1.0, 2.0]


def test_fetch_cut_off_each_time_is_an_error_and_the_next_call_goes_on(
    server: Server, tmp_path: Path, pauses: list[float]
) -> None:
    server.cut_after = [10_000] * 4
    with pytest.raises(DownloadError, match=r"closed before the end; 0\.0 MiB arrived.*it goes on from there"):
        fetch(f"{server.url}/a.zip", tmp_path / "a.zip")
    assert not (tmp_path / "a.zip").exists()
    fetch(f"{server.url}/a.zip", tmp_path / "a.zip")
    assert server.asked[-1] == "bytes=40000-"
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_fetch_server_without_range_sends_all_again(server: Server, tmp_path: Path, pauses: list[float]) -> None:
    server.knows_range = False
    server.cut_after = [100_000]
    fetch(f"{server.url}/a.zip", tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_fetch_file_that_changed_meanwhile_is_not_mixed_with_the_old_one(
    server: Server, tmp_path: Path, pauses: list[float]
) -> None:
    server.cut_after = [50_000] * 4
    server.content = b"o" * 300_000
    with pytest.raises(DownloadError):
        fetch(f"{server.url}/a.zip", tmp_path / "a.zip")
    server.content, server.version = CONTENT, '"v2"'
    fetch(f"{server.url}/a.zip", tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_fetch_another_piece_than_the_one_asked_for_is_not_appended(
    server: Server, tmp_path: Path, pauses: list[float]
) -> None:
    server.cut_after = [100_000]
    server.piece_from = 200_000
    fetch(f"{server.url}/a.zip", tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert server.asked == [None, "bytes=100000-", None]


def test_fetch_part_that_is_already_whole(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.zip.part").write_bytes(CONTENT)
    fetch(f"{server.url}/a.zip", tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert server.asked == ["bytes=300000-"]  # answered with 416: there is no more


def test_fetch_part_longer_than_the_file_starts_over(server: Server, tmp_path: Path, pauses: list[float]) -> None:
    (tmp_path / "a.zip.part").write_bytes(CONTENT + b"more")
    fetch(f"{server.url}/a.zip", tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_fetch_missing_file_says_what_the_server_answers(server: Server, tmp_path: Path) -> None:
    server.status = 404
    with pytest.raises(DownloadError, match=r"a.zip: the server answers 404 Not Found; is the address right\?"):
        fetch(f"{server.url}/a.zip", tmp_path / "a.zip")
    assert len(server.asked) == 1  # asking again would not help
    assert _left(tmp_path) == []


def test_fetch_without_network_is_one_line(tmp_path: Path, pauses: list[float]) -> None:
    with pytest.raises(DownloadError, match=r"cannot be fetched: .*refused; nothing arrived") as caught:
        fetch("http://127.0.0.1:1/a.zip", tmp_path / "a.zip")
    assert "\n" not in str(caught.value)


def test_fetch_only_over_http(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    with pytest.raises(DownloadError, match="begins with https:// or http://"):
        fetch(secret.as_uri(), tmp_path / "a.zip")


def test_fetch_full_disk_is_told_before_it_is_full(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(DownloadError, match="300,000 bytes are needed, 1,000 are free"):
        fetch(f"{server.url}/a.zip", tmp_path / "a.zip")


def test_fetch_shows_progress_in_mebibytes(server: Server, tmp_path: Path) -> None:
    told = []

    def track(items, description, total):
        told.append((description, total))
        yield from items

    server.content = bytes(3 * 2**20 + 1)
    fetch(f"{server.url}/a.zip", tmp_path / "a.zip", track)
    assert told == [("downloading a.zip (MiB)", 4)]


def test_download_unpacks_a_data_set(known: PublicDataSet, server: Server, tmp_path: Path) -> None:
    got = download(known, tmp_path / "data" / "tiny")
    assert [sample.name for sample in find_samples(got.folder)[0]] == ["a", "b"]
    assert _left(got.folder) == ["boxes.json", "images", "masks"]  # no outer folder, no litter
    assert _left(tmp_path / "data") == ["tiny", "tiny.sha256"]  # no archive, no .part; what came first is on record
    assert got.sha256 == hashlib.sha256(server.content).hexdigest()
    assert not got.was_checked


def test_download_interrupted_midway_goes_on_at_the_next_call(
    known: PublicDataSet, server: Server, tmp_path: Path, pauses: list[float]
) -> None:
    server.cut_after = [100] * 4
    with pytest.raises(DownloadError, match="run the same command again"):
        download(known, tmp_path / "tiny")
    assert not (tmp_path / "tiny").exists()
    assert len(find_samples(download(known, tmp_path / "tiny").folder)[0]) == 2
    assert server.asked[-1] == "bytes=400-"


def test_download_right_checksum_in_any_case(known: PublicDataSet, server: Server, tmp_path: Path) -> None:
    digest = hashlib.sha256(server.content).hexdigest()
    assert download(known, tmp_path / "tiny", sha256=digest.upper()).was_checked
    assert download(replace(known, sha256=digest), tmp_path / "again").was_checked


def test_download_must_bring_what_it_brought_the_first_time(
    known: PublicDataSet, server: Server, tmp_path: Path
) -> None:
    first = download(known, tmp_path / "tiny")
    shutil.rmtree(tmp_path / "tiny")
    assert download(known, tmp_path / "tiny") == first._replace(was_checked=True)
    shutil.rmtree(tmp_path / "tiny")
    server.content += b"\0"
    with pytest.raises(DownloadError, match=rf"expected {first.sha256}.*tiny\.sha256 holds what came the first time"):
        download(known, tmp_path / "tiny")
    assert _left(tmp_path) == ["tiny.sha256"]


def test_download_wrong_checksum_is_deleted(known: PublicDataSet, server: Server, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=rf"SHA-256 {hashlib.sha256(server.content).hexdigest()}, expected 00ff"):
        download(known, tmp_path / "tiny", sha256="00ff")
    assert _left(tmp_path) == []


def test_download_from_a_mirror(known: PublicDataSet, server: Server, tmp_path: Path) -> None:
    elsewhere = replace(known, url="https://nowhere.invalid/downloads/tiny.zip")
    assert download(elsewhere, tmp_path / "tiny", mirror=f"{server.url}/").folder == tmp_path / "tiny"


def test_download_into_a_folder_that_holds_something_is_refused(
    known: PublicDataSet, server: Server, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError, match="is already there; check it with: polypseg data check"):
        download(known, tmp_path)
    assert server.asked == []


def test_download_into_an_empty_folder(known: PublicDataSet, tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    assert len(find_samples(download(known, tmp_path / "tiny").folder)[0]) == 2


@pytest.mark.parametrize("name", ["cvc-clinicdb", "polypgen"])
def test_download_of_what_needs_a_hand_says_where_to_get_it(tmp_path: Path, name: str) -> None:
    with pytest.raises(DownloadError, match=r"get it from https://.*polypseg data check FOLDER"):
        download(public_data_set(name), tmp_path / "set")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda: b"<html>Sign in</html>", "not a ZIP archive"),
        (lambda: _archive()[:-200], "not a ZIP archive, or a damaged one"),
        (lambda: _archive({"Set/readme.txt": b"x"}), "holds no data set: .*looked for images/"),
        (lambda: _archive({"../escape.png": b"x"}), "would write outside of its folder"),
    ],
)
def test_download_unusable_archive_is_deleted(
    known: PublicDataSet, server: Server, tmp_path: Path, content: Callable[[], bytes], message: str
) -> None:
    server.content = content()
    with pytest.raises(UnusableArchiveError, match=f"{message}.*it was deleted"):
        download(known, tmp_path / "inner" / "tiny")
    assert _left(tmp_path / "inner") == []
    assert _left(tmp_path) == ["inner"]


@pytest.mark.parametrize(
    "name", ["../escape.txt", "a/../../escape.txt", "/etc/escape.txt", "C:/escape.txt", "..\\escape.txt"]
)
def test_unpack_escaping_path_writes_nothing(tmp_path: Path, name: str) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("images/good.png", b"x")
        member = zipfile.ZipInfo("x")
        member.filename = name  # past zipfile's own tidying
        opened.writestr(member, b"x")
    with pytest.raises(UnusableArchiveError, match="would write outside of its folder"):
        unpack(archive, tmp_path / "out")
    assert _left(tmp_path) == ["a.zip"]


def test_unpack_link_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        link = zipfile.ZipInfo("images")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        opened.writestr(link, "/etc")
    with pytest.raises(UnusableArchiveError, match=r"holds a link \('images'\)"):
        unpack(archive, tmp_path / "out")
    assert _left(tmp_path) == ["a.zip"]


def test_unpack_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    archive.write_bytes(_archive({"images/a.png": bytes(2_000_000)}))
    assert archive.stat().st_size < 5000
    with pytest.raises(UnusableArchiveError, match=r"2,000,000 bytes in 1 files, more than the allowed 1,000,000"):
        unpack(archive, tmp_path / "out", max_bytes=1_000_000)
    assert _left(tmp_path) == ["a.zip"]


def test_unpack_member_larger_than_announced_is_damaged(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    honest = _archive({"images/a.png": bytes(100_000)})
    # The size stands in the local header (little-endian) and in the directory: both say 10 bytes.
    archive.write_bytes(honest.replace((100_000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    with pytest.raises(UnusableArchiveError, match="damaged"):
        unpack(archive, tmp_path / "out")
    assert _left(tmp_path) == ["a.zip"]


@pytest.mark.parametrize("place", [60, 200, 2000])
def test_unpack_flipped_byte_is_found(tmp_path: Path, place: int) -> None:
    # Bytes that deflate: a flipped one breaks the stream itself, or only the sum over it.
    content = bytearray(_archive({"images/a.png": np.random.default_rng(0).integers(0, 9, 9000, np.uint8).tobytes()}))
    content[place] ^= 0xFF
    archive = tmp_path / "a.zip"
    archive.write_bytes(content)
    with pytest.raises(UnusableArchiveError, match="damaged one"):
        unpack(archive, tmp_path / "out")
    assert _left(tmp_path) == ["a.zip"]


def test_unpack_stopped_midway_leaves_nothing(tmp_path: Path) -> None:
    def stopping(items, description, total):
        yield next(iter(items))
        raise KeyboardInterrupt

    archive = tmp_path / "a.zip"
    archive.write_bytes(_archive())
    with pytest.raises(KeyboardInterrupt):
        unpack(archive, tmp_path / "out", track=stopping)
    assert _left(tmp_path) == ["a.zip"]


def test_unpack_too_little_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "a.zip"
    archive.write_bytes(_archive())
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1}))
    with pytest.raises(DownloadError, match="are needed, 1 are free") as caught:
        unpack(archive, tmp_path / "out")
    assert not isinstance(caught.value, UnusableArchiveError)  # so that the archive is kept


def test_unpack_unknown_compression_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    # The method stands 8 bytes into a member's own header and 10 into its entry in the list at the end: 99 is none.
    content = bytearray(_archive())
    for mark, place in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        at = content.find(mark)
        while at >= 0:
            content[at + place : at + place + 2] = (99).to_bytes(2, "little")
            at = content.find(mark, at + 4)
    path = tmp_path / "odd.zip"
    path.write_bytes(bytes(content))
    with pytest.raises(UnusableArchiveError, match="not a ZIP archive, or a damaged one"):
        unpack(path, tmp_path / "set")
    assert _left(tmp_path) == ["odd.zip"]
