"""Videos that lie behind a web server or in an S3-compatible store: planned, predicted, noticed when they change."""

import hashlib
import os
import threading
from collections import Counter
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from archive.archive_making import make_job, make_videos, opened, run_here, tables
from polypseg.archive.manifest import read_manifest
from polypseg.archive.options import ArchiveJob
from polypseg.archive.plan import plan_archive
from polypseg.archive.verify import verify_archive
from polypseg.archive.worker import Came

pytestmark = pytest.mark.filterwarnings("ignore")  # of aiohttp, botocore and moto


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def check_remote(tmp_path, source, replace):
    """What is predicted from a store equals what is predicted from the disk; `replace` changes its first video."""
    local = make_job(tmp_path, 2, archive="local")
    run_here(local)
    job = ArchiveJob(tmp_path / "remote", local.model, "onnxruntime", 1)
    summary = plan_archive(source, job.archive)
    assert (summary.num_videos, summary.num_faulty) == (2, 0)
    entries = list(read_manifest(job.archive))
    assert all(entry.is_remote for entry in entries)
    assert run_here(job).came == Counter({Came.DONE: 2})
    assert tables(job)[:2] == tables(local)[:2]  # frames and detections hold digests alone
    assert verify_archive(job.archive, inputs=True).changed == []
    assert run_here(job).num_before == 2
    replace()
    assert "its bytes changed" in verify_archive(job.archive, inputs=True).changed[0]
    plan_archive(source, job.archive)
    assert run_here(job).came == Counter({Came.DONE: 1})
    assert opened(job).states().keys() >= {bytes.fromhex(entry.video) for entry in read_manifest(job.archive)}


@pytest.mark.slow
def test_a_web_server(tmp_path):
    pytest.importorskip("aiohttp")
    videos = make_videos(tmp_path / "videos", 2)
    other = make_videos(tmp_path / "others", 3)[2].read_bytes()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=str(tmp_path / "videos")))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    signed = "?X-Amz-Signature=" + 300 * "a"  # longer than a file's name may be
    addresses = [f"http://127.0.0.1:{server.server_port}/{path.name}{signed}\n" for path in videos]
    (tmp_path / "list.txt").write_text("".join(addresses))
    try:
        check_remote(tmp_path, str(tmp_path / "list.txt"), lambda: videos[0].write_bytes(other))
    finally:
        server.shutdown()
        server.server_close()


class Untimed(Silent):
    """Tells no time, as some servers do."""

    def send_header(self, keyword, value):
        if keyword != "Last-Modified":
            super().send_header(keyword, value)


@pytest.mark.parametrize("handler", [Silent, Untimed])
def test_other_bytes_of_the_same_length_are_noticed_by_a_new_plan(tmp_path, handler):
    pytest.importorskip("aiohttp")
    first, second = make_videos(tmp_path / "videos", 2)
    size = max(path.stat().st_size for path in (first, second))
    other = second.read_bytes().ljust(size, b"\0")
    first.write_bytes(first.read_bytes().ljust(size, b"\0"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(tmp_path / "videos")))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    source = f"http://127.0.0.1:{server.server_port}/000.mp4"
    try:
        plan_archive(source, tmp_path / "archive")
        assert plan_archive(source, tmp_path / "archive").num_changed == 0
        first.write_bytes(other)
        os.utime(first, (2e9, 2e9))
        assert plan_archive(source, tmp_path / "archive").num_changed == 1
        [entry] = read_manifest(tmp_path / "archive")
        assert entry.video == hashlib.sha256(other).hexdigest()
    finally:
        server.shutdown()
        server.server_close()


def test_what_a_server_refuses_is_told_without_the_signature(tmp_path):
    pytest.importorskip("aiohttp")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    closed = ThreadingHTTPServer(("127.0.0.1", 0), Silent)
    closed.server_close()
    ports = [server.server_port, closed.server_port]
    (tmp_path / "list.txt").write_text("".join(f"http://127.0.0.1:{port}/gone.mp4?secret\n" for port in ports))
    try:
        plan_archive(str(tmp_path / "list.txt"), tmp_path / "archive")
    finally:
        server.shutdown()
        server.server_close()
    faults = {entry.path: entry.fault for entry in read_manifest(tmp_path / "archive")}
    assert [
        fault.partition(" host")[0] for _, fault in sorted(faults.items(), key=lambda item: "Cannot" in item[1])
    ] == [
        "cannot be fetched (404 File not found)",
        "cannot be fetched (Cannot connect to",
    ]
    assert all(entry.is_missing for entry in read_manifest(tmp_path / "archive"))
    assert not any("secret" in fault for fault in faults.values())


@pytest.mark.slow
def test_an_s3_store(tmp_path, monkeypatch):
    pytest.importorskip("s3fs", reason="pip install s3fs")
    moto = pytest.importorskip("moto.server", reason='pip install "moto[server]"')
    import fsspec

    videos = make_videos(tmp_path / "videos", 2)
    other = make_videos(tmp_path / "others", 3)[2].read_bytes()
    server = moto.ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    try:
        store = fsspec.filesystem("s3", use_listings_cache=False)
        store.mkdir("hospital")
        for path in videos:
            store.pipe(f"hospital/videos/{path.name}", path.read_bytes())

        def replace():
            store.pipe("hospital/videos/000.mp4", other)
            fsspec.filesystem("s3").invalidate_cache()

        check_remote(tmp_path, "s3://hospital/videos/", replace)
    finally:
        server.stop()
