"""The manifest: what is listed, told apart, read again, left out."""

import hashlib
import os
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pyarrow
import pytest
from pyarrow import parquet

from archive.archive_making import make_videos
from polypseg.archive import plan as planning
from polypseg.archive.forget import forget_video
from polypseg.archive.inputs import find_paths
from polypseg.archive.manifest import ManifestEntry, ManifestWriter, read_entries, read_manifest
from polypseg.archive.plan import PART_NAME, plan_archive
from polypseg.errors import ArchiveError, BusyError, DataError, UsageError
from polypseg.records.lock import alone_in


@pytest.fixture
def videos(tmp_path):
    return make_videos(tmp_path / "videos", 3)


def planned(tmp_path, source="videos", **options):
    summary = plan_archive(str(tmp_path / source), tmp_path / "archive", **options)
    return summary, list(read_manifest(tmp_path / "archive"))


def counted(monkeypatch):
    """The files whose bytes are read."""
    read, digest = [], planning.digest_of_content
    monkeypatch.setattr(planning, "digest_of_content", lambda path: read.append(path.name) or digest(path))
    return read


def test_rows_say_what_the_files_are(tmp_path, videos):
    summary, entries = planned(tmp_path)
    assert [entry.path for entry in entries] == [str(path) for path in videos]
    for entry, path in zip(entries, videos, strict=True):
        assert entry.video == hashlib.sha256(path.read_bytes()).hexdigest()
        assert entry.num_bytes == path.stat().st_size
        # six frames at 25 a second: 6 / 25 = 0.24 s
        assert entry[5:] == (0.24, 6, "h264", 64, 96, "")
    assert (summary.num_videos, summary.num_new, summary.num_faulty) == (3, 3, 0)
    assert summary.video_seconds == pytest.approx(0.72)


def test_again_reads_only_what_is_new_or_changed(tmp_path, videos, monkeypatch):
    planned(tmp_path)
    read = counted(monkeypatch)
    assert planned(tmp_path)[0].num_new == 0
    assert read == []
    (tmp_path / "videos/0.mp4").write_bytes(videos[2].read_bytes())
    videos[1].write_bytes(videos[2].read_bytes())
    videos[0].unlink()
    summary, entries = planned(tmp_path)
    assert read == ["0.mp4", "001.mp4"] or read == ["001.mp4", "0.mp4"]
    assert (summary.num_new, summary.num_changed, summary.num_gone) == (1, 1, 1)
    assert len({entry.video for entry in entries}) == 1


def test_a_touch_changes_no_digest(tmp_path, videos):
    before = planned(tmp_path)[1]
    os.utime(videos[0], (1, 1))
    summary, after = planned(tmp_path)
    assert summary.num_changed == 0
    assert [entry.video for entry in after] == [entry.video for entry in before]


def test_by_stamp_no_byte_is_read_and_a_touch_is_another_video(tmp_path, videos, monkeypatch):
    read = counted(monkeypatch)
    before = planned(tmp_path, identify="stamp")[1]
    os.utime(videos[0], (1, 1))
    summary, after = planned(tmp_path, identify="stamp")
    assert (read, summary.num_changed) == ([], 1)
    assert [a.video == b.video for a, b in zip(before, after, strict=True)] == [False, True, True]
    with pytest.raises(UsageError, match="tells its videos apart by stamp, not by content"):
        planned(tmp_path)


def test_damaged_and_missing_files_have_rows(tmp_path, videos):
    videos[0].write_bytes(b"\0\0\0\x18ftypmp42" + bytes(500))
    (tmp_path / "list.txt").write_text("# two\nvideos/000.mp4\n\nvideos/gone.mp4\n")
    summary, entries = planned(tmp_path, "list.txt")
    assert [entry.fault for entry in entries] == [
        "the index of the video is missing: the file is cut short, or not a video; copy it again",
        "No such file or directory",
    ]
    assert (summary.num_faulty, entries[0].is_missing, entries[1].is_missing) == (2, False, True)


def test_lists_and_tables_name_the_same_videos(tmp_path, videos):
    names = ["videos/001.mp4", str(videos[0]), "videos/001.mp4"]
    (tmp_path / "list.txt").write_text("\n".join(names))
    (tmp_path / "list.csv").write_text("patient,path\n" + "".join(f"x,{name}\n" for name in names))
    parquet.write_table(pyarrow.table({"path": names}), tmp_path / "list.parquet")
    for name in ("list.txt", "list.csv", "list.parquet"):
        assert list(find_paths(str(tmp_path / name), tmp_path)) == [str(videos[0]), str(videos[1])]
    (tmp_path / "other.csv").write_text("file\nx\n")
    with pytest.raises(DataError, match="lacks the columns path"):
        list(find_paths(str(tmp_path / "other.csv"), tmp_path))


def test_folders_are_walked_in_the_order_of_paths(tmp_path):
    for name in ("a.mp4", "a/b.mp4", "a-b/c.mp4", "a/c/d.mp4", "a.d/e.mp4", "z.txt", ".hidden.mp4", "archive/o.mp4"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    (tmp_path / "in/a/loop").symlink_to(tmp_path / "in")
    found = list(find_paths(str(tmp_path / "in"), tmp_path / "in/archive"))
    assert found == sorted(found)
    names = [str(Path(path).relative_to(tmp_path / "in")) for path in found]
    assert names == ["a-b/c.mp4", "a.d/e.mp4", "a.mp4", "a/b.mp4", "a/c/d.mp4"]


def test_a_name_that_is_no_utf8_comes_back(tmp_path, videos):
    odd = os.fsencode(tmp_path / "videos") + b'/caf\xe9, "1".mp4'
    videos[2].rename(os.fsdecode(odd))
    entry = planned(tmp_path)[1][-1]
    assert os.fsencode(entry.path) == odd


def test_what_a_killed_plan_has_read_is_not_read_again(tmp_path, videos, monkeypatch):
    entries = planned(tmp_path)[1]
    archive = tmp_path / "archive"
    (archive / "manifest.csv").unlink()
    for cut in (1, 2):  # killed twice: the second one had come further
        with ManifestWriter(archive / PART_NAME) as writer:
            for entry in entries[:cut]:
                writer.add(entry)
        with (archive / PART_NAME).open("a") as opened:
            opened.write("0123,/half a ro")
        planning._keep_part(archive)
    read = counted(monkeypatch)
    assert planned(tmp_path)[1] == entries
    assert read == ["002.mp4"]
    assert sorted(path.name for path in archive.iterdir()) == ["archive.json", "manifest.csv"]


def test_a_forgotten_video_stays_out(tmp_path, videos):
    video = planned(tmp_path)[1][0].video
    forget_video(tmp_path / "archive", video[:10])
    summary, entries = planned(tmp_path)
    assert (summary.num_forgotten, len(entries)) == (1, 2)
    assert video not in {entry.video for entry in entries}


def test_a_damaged_manifest_is_told(tmp_path, videos):
    planned(tmp_path)
    manifest = tmp_path / "archive/manifest.csv"
    whole = manifest.read_text()
    for text, said in (
        (whole.replace(",6,", ",six,", 1), "row 2: invalid literal"),
        (whole[:-20], "line 4: . cells, 11 expected"),
        ("a,b\n", "its columns are a, b"),
        ("", "its columns are missing"),
    ):
        manifest.write_text(text)
        with pytest.raises(ArchiveError, match=said):
            list(read_manifest(tmp_path / "archive"))
    with pytest.raises(ArchiveError, match="cannot read the record of an archive"):
        list(read_manifest(tmp_path / "nothing"))


def test_nothing_found_and_nobody_else(tmp_path):
    (tmp_path / "videos").mkdir()
    with pytest.raises(DataError, match="holds no videos"):
        planned(tmp_path)
    assert not (tmp_path / "archive").exists()
    (tmp_path / "videos/empty.mp4").write_bytes(b"")
    planned(tmp_path)
    with alone_in(tmp_path / "archive"), pytest.raises(BusyError, match="is at work here"):
        planned(tmp_path)
    with pytest.raises(UsageError, match="unknown way to tell videos apart 'name'"):
        planned(tmp_path, identify="name")


def test_addresses_of_a_store(tmp_path, videos):
    memory = fsspec.filesystem("memory")
    for path in videos:
        memory.pipe(f"/hospital/{path.name}", path.read_bytes())
    summary = plan_archive("memory://hospital", tmp_path / "archive")
    entries = list(read_manifest(tmp_path / "archive"))
    assert [entry.path for entry in entries] == [f"memory:///hospital/{path.name}" for path in videos]
    assert entries[0].video == hashlib.sha256(videos[0].read_bytes()).hexdigest()
    assert (summary.num_faulty, entries[0].num_frames) == (0, 6)
    memory.rm("/hospital", recursive=True)


def test_addresses_of_a_web_server(tmp_path, videos):
    pytest.importorskip("aiohttp")
    handler = partial(_Silent, directory=str(tmp_path / "videos"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        address = f"http://127.0.0.1:{server.server_port}/000.mp4"
        (tmp_path / "list.txt").write_text(f"{address}\n{address[:-5]}9.mp4\n")
        there, gone = planned(tmp_path, "list.txt")[1]
    finally:
        server.shutdown()
        server.server_close()
    assert (there.video, there.num_frames) == (hashlib.sha256(videos[0].read_bytes()).hexdigest(), 6)
    assert gone.is_missing


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def test_entries_are_read_one_after_another(tmp_path):
    path = tmp_path / "manifest.csv"
    with ManifestWriter(path) as writer:
        for number in range(10):
            writer.add(ManifestEntry(f"{number:064x}", f"/{number}", 1, "1"))
    with path.open("a") as opened:
        opened.write("damaged\n")
    entries = read_entries(path)
    assert [next(entries).path for _ in range(10)] == [f"/{number}" for number in range(10)]
    with pytest.raises(ArchiveError, match="line 12: 1 cells"):
        next(entries)
