"""Videos that lie behind a web server or in an S3-compatible store: planned, predicted, noticed when they change."""

import threading
from collections import Counter
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from archive.archive_making import make_job, make_videos, opened, run_here, tables
from polypseg.archive.manifest import read_manifest
from polypseg.archive.options import Job
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
    job = Job(tmp_path / "remote", local.model, "onnxruntime", 1)
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


def test_a_web_server(tmp_path):
    pytest.importorskip("aiohttp")
    videos = make_videos(tmp_path / "videos", 2)
    other = make_videos(tmp_path / "others", 3)[2].read_bytes()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=str(tmp_path / "videos")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    signed = "?X-Amz-Signature=" + 300 * "a"  # longer than a file's name may be
    addresses = [f"http://127.0.0.1:{server.server_port}/{path.name}{signed}\n" for path in videos]
    (tmp_path / "list.txt").write_text("".join(addresses))
    try:
        check_remote(tmp_path, str(tmp_path / "list.txt"), lambda: videos[0].write_bytes(other))
    finally:
        server.shutdown()
        server.server_close()


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
