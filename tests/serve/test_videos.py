"""Videos through a real server. The probability is red: 4 of 10 frames show a red square."""

import io
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import numpy as np
import pytest

from polypseg.predict.video import frames as video_frames
from polypseg.predict.video import source
from polypseg.serve.schemas import VideoFrame
from polypseg.serve.video_file import FileSink, begins_like_a_video
from polypseg.serve.videos import detections, frame_rate
from serve.films import finished, start, video
from serve.models import GatedEngine
from serve.running import picture, png, serving, wait_until

av = pytest.importorskip("av")


def test_a_video_from_upload_to_delete(client):
    job = start(client)
    told = finished(client, job)
    assert (told["state"], told["progress"], told["frames_done"], told["num_frames"]) == ("done", 1.0, 10, 10)
    result = told["result"]
    assert [frame["frame"] for frame in result["frames"]] == list(range(10))
    assert [frame["components"] for frame in result["frames"]] == [0, 0, 0, 1, 1, 1, 1, 0, 0, 0]
    assert result["frames"][4]["area_percent"] == pytest.approx(25, abs=5)  # 32x48 of 64x96
    assert result["frames"][4]["seconds"] == pytest.approx(0.4)
    assert result["detections"] == [{"begin": pytest.approx(0.3), "end": pytest.approx(0.7)}]
    assert result["fps"] == pytest.approx(10)

    shown = client.get(result["video"])
    assert shown.headers["content-type"] == "video/mp4"
    assert shown.headers["accept-ranges"] == "bytes"
    with av.open(io.BytesIO(shown.content)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 10
    part = client.get(result["video"], headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, shown.content[10:20])
    assert client.get(result["video"], headers={"Range": "bytes=99999999-"}).status_code == 416

    assert client.delete(f"/v1/jobs/{job}").status_code == 204
    for address in (f"/v1/jobs/{job}", result["video"]):
        assert client.get(address).status_code == 404
    assert client.delete(f"/v1/jobs/{job}").status_code == 404


@pytest.mark.slow
def test_parameters_act(client):
    few = finished(client, start(client, withhold=4))["result"]
    assert [frame["components"] for frame in few["frames"]] == [0] * 10
    assert [frame["withheld"] for frame in few["frames"]] == [False] * 3 + [True] * 4 + [False] * 3
    assert few["detections"] == []
    high = finished(client, start(client, threshold=1.0))["result"]
    assert high["detections"] == []
    large = finished(client, start(client, min_area=64 * 96))["result"]
    assert large["detections"] == []
    smooth = finished(client, start(client, smoothing="window", threshold=0.3))["result"]
    assert smooth["detections"] != few["detections"]
    assert smooth["detections"][0]["end"] > 0.71
    flipped = finished(client, start(client, tta="flips"))["result"]
    assert flipped["detections"] == [{"begin": pytest.approx(0.3), "end": pytest.approx(0.7)}]


def test_raw_body(client):
    answer = client.post("/v1/video", content=video(3, ()), headers={"Content-Type": "video/mp4"})
    assert finished(client, answer.json()["id"])["result"]["detections"] == []


@pytest.mark.parametrize("content", [b"", b"no video", b"#EXTM3U\nfile:///etc/passwd", png(picture()), b"ffconcat 1"])
def test_what_is_no_video_is_400_at_once(client, content):
    answer = client.post("/v1/video", content=content, headers={"Content-Type": "video/mp4"})
    assert answer.status_code == 400


@pytest.mark.parametrize("cut", [b"\x00\x00\x00\x18ftypmp42" + b"x" * 500, video()[:300], b"OggS" + bytes(99)])
def test_a_damaged_video_is_a_failed_job(client, cut):
    told = finished(client, start(client, cut))
    assert (told["state"], told["error"]["status"], told["result"]) == ("failed", 400, None)
    assert "/" not in told["error"]["detail"]


def test_a_cut_video_tells_its_damage(client):
    content = video(num_frames=30, shows=range(30))
    whole = finished(client, start(client, content))["result"]
    assert (whole["faults"], whole["notes"], whole["frames"][3]["faults"]) == ({}, [], [])
    grey = finished(client, start(client, video(num_frames=30, shows=range(3))))["result"]
    assert grey["notes"] == ["27 of 30 frames are black or of one colour"]
    # An AVI has its index behind the pictures, so that its first part can still be played.
    damaged = finished(client, start(client, cut_avi()))["result"]
    assert damaged["faults"] or damaged["notes"]
    assert all("/" not in note for note in damaged["notes"])
    told = [fault for frame in damaged["frames"] for fault in frame["faults"]]
    assert damaged["faults"] == {fault: told.count(fault) for fault in set(told)}
    assert any("cut short" in note for note in damaged["notes"])


def cut_avi():
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="avi") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuvj420p"
        for number in range(30):
            image = np.random.default_rng(number).integers(0, 255, (64, 96, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    content = buffer.getvalue()
    return content[: len(content) // 2]


def test_bounds_and_types(red_model):
    content = video()
    with serving(red_model, max_video_bytes=len(content), max_image_pixels=64 * 96 - 1) as client:
        assert finished(client, start(client, content))["error"]["status"] == 413
        assert client.post("/v1/video", files={"video": content + b"x"}).status_code == 413
        assert client.post("/v1/video", files={"video": ("x", content, "image/png")}).status_code == 415
        assert client.post("/v1/video", files={"film": content}).status_code == 422
        assert client.post("/v1/video", files=[("video", content[:50])] * 2).status_code == 422
        assert client.post("/v1/video?withhold=101", files={"video": content}).status_code == 422
        assert client.service.jobs.num_unfinished == 0


def test_cancel_a_running_one_and_images_pass_meanwhile():
    engine = GatedEngine()
    with serving(engine=engine) as client, ThreadPoolExecutor(1) as pool:
        job = start(client)
        assert wait_until(lambda: client.get(f"/v1/jobs/{job}").json()["state"] == "running")
        early = client.get(f"/v1/jobs/{job}/video")
        assert early.status_code == 404
        headers = {"Content-Type": "image/png"}
        image = pool.submit(lambda: client.post("/v1/segment", content=png(picture()), headers=headers))
        [record] = client.service.jobs._records.values()
        assert client.delete(f"/v1/jobs/{job}").status_code == 204
        engine.gate.set()
        assert image.result(20).status_code == 200
        assert wait_until(lambda: not record.folder.exists())
        assert record.state == "cancelled"


def test_the_files_go_with_the_server(red_model):
    with serving(red_model) as client:
        job = start(client)
        finished(client, job)
        [record] = client.service.jobs._records.values()
        assert record.output.is_file()
        assert not record.source.exists()
    assert not record.folder.parent.exists()


def frames(*shown):
    return [
        VideoFrame(frame=i, seconds=i / 2, area_percent=0, components=c, max_probability=0, withheld=w)
        for i, (c, w) in enumerate(shown)
    ]


def test_detections_by_hand():
    # Two frames a second: shown from 0 to 0.5; nothing, or all withheld, till 1.5; then shown to the end of the last
    # frame, at first beside another that is withheld.
    seen, both, withheld, none = (1, False), (1, True), (0, True), (0, False)
    found = detections(frames(seen, none, withheld, both, seen), fps=2.0)
    assert [(one.begin, one.end) for one in found] == [(0.0, 0.5), (1.5, 2.5)]
    assert detections(frames(none, withheld), 2.0) == detections([], 0.0) == []


def test_frame_rate():
    assert (frame_rate([]), frame_rate([3.0]), frame_rate([0.0, 0.25])) == (0.0, 0.0, 4.0)


def test_first_bytes_of_containers():
    stream = b"G" + bytes(187) + b"G"
    for good in (b"RIFF....AVI LIST", stream, b"\x1a\x45\xdf\xa3", b"....moov", b"FLV\x01"):
        assert begins_like_a_video(good)
    for bad in (b"RIFF....WEBP", b"G" + bytes(300), b"#EXTM3U", b"", b"\x89PNG"):
        assert not begins_like_a_video(bad)


def test_a_full_disk_is_507(tmp_path):
    from polypseg.errors import RequestError

    sink = FileSink(tmp_path / "source", 10)
    with pytest.raises(RequestError, match="cannot store") as refused:
        FileSink(tmp_path / "none" / "source", 10)
    assert refused.value.status == 507
    sink.close()


def test_a_job_whose_decoder_hangs_fails_and_the_next_one_runs(client, monkeypatch):
    ended, real = Event(), video_frames.FrameReader._next_packet

    def hangs(reader, packets):
        if reader._num_packets == 3 and reader.source.num_expected == 12:
            ended.wait()
        return real(reader, packets)

    monkeypatch.setattr(video_frames.FrameReader, "_next_packet", hangs)
    for module in (video_frames, source):
        monkeypatch.setattr(module, "FILE_SECONDS", 0.5)
    monkeypatch.setattr("polypseg.predict.video.stages._JOIN_SECONDS", 0.1)
    told = finished(client, start(client, video(12)))
    assert (told["state"], told["error"]["status"]) == ("failed", 400)
    assert told["error"]["detail"].startswith("the video: the decoder did not read its next frame within 0.5 s")
    assert finished(client, start(client, video(10)))["state"] == "done"
    asked = client.post("/v1/video/frames", params={"numbers": "11"}, files={"video": video(12)})
    assert (asked.status_code, "did not read its next frame" in asked.json()["detail"]) == (400, True)
    ended.set()
