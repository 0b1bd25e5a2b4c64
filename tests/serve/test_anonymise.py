"""Uploads without what tells the patient."""

import base64
import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from annotate.frames import picture, write

from .films import finished, start
from .running import png, serving

CORNER = slice(4, 30), slice(10, 120)
"""Where a name is burnt in."""


def overlay(answer):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(answer["overlay"]["png"]))).convert("RGB"))


def test_uploads_are_anonymised(red_model):
    """A name is burnt into the surround of a picture: nothing of it reaches the answer."""
    frame, _ = picture()
    named = write(frame, "DOE JANE", (14, 24))
    title_page = write(np.zeros_like(frame), "DOE JANE", (200, 240), 1.0)
    with serving(red_model) as plain, serving(red_model, anonymise=True) as client:
        before, after = (
            one.post("/v1/segment", content=png(named), params={"overlay": True}).json() for one in (plain, client)
        )
        refused = client.post("/v1/segment", content=png(title_page))
    assert "anonymised" not in before["note"]
    assert after["note"].startswith("anonymised: ")
    assert before["image"] == after["image"]
    assert overlay(before)[CORNER].max() > 200
    assert overlay(after)[CORNER].max() == 0
    assert overlay(after)[240, 320].max() > 30
    assert refused.status_code == 422
    assert refused.json()["title"] == "Nothing to show"


def film(frames):
    """The bytes of an mp4 of the frames, with a title."""
    av = pytest.importorskip("av")
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        container.metadata["title"] = "DOE JANE"
        stream = container.add_stream("libx264", rate=10, options={"crf": "10"})
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def shown(content):
    """The frames of a video file."""
    av = pytest.importorskip("av")
    with av.open(io.BytesIO(content)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_videos_are_anonymised(red_model):
    """The name is in no frame of the video that comes back, nor of the single frames, nor among the file's tags."""
    named = film([write(picture(seed)[0], "DOE JANE", (14, 24)) for seed in (0, 0, 1)])
    sent = {"content": named, "headers": {"Content-Type": "video/mp4"}, "params": {"numbers": "0,2"}}
    with serving(red_model) as plain, serving(red_model, anonymise=True) as client:
        before = plain.post("/v1/video/frames", **sent)
        after = client.post("/v1/video/frames", **sent)
        job = finished(client, start(client, named))
        video = client.get(job["result"]["video"]).content
    assert job["result"]["notes"][0].startswith("anonymised: ")
    pictures = []
    for answer in (before, after):
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            assert archive.namelist() == ["frame_000000.png", "frame_000002.png"]
            pictures.append([np.asarray(Image.open(archive.open(name))) for name in archive.namelist()])
    assert all(one[CORNER].max() > 200 for one in pictures[0])
    assert all(one[CORNER].max() < 20 for one in [*pictures[1], *shown(video)])  # black, as H.264 keeps it
    assert all(one[240, 320].max() > 30 for one in [*pictures[1], *shown(video)])
    assert b"DOE JANE" in named
    assert b"DOE JANE" not in video


def test_a_video_without_a_picture_is_refused(red_model):
    page = write(np.zeros_like(picture()[0]), "DOE JANE", (200, 240), 1.0)
    sent = {"headers": {"Content-Type": "video/mp4"}, "params": {"numbers": "0"}}
    with serving(red_model, anonymise=True) as client:
        told = finished(client, start(client, film([page] * 3)))
        refused = client.post("/v1/video/frames", content=film([page] * 3), **sent)
    assert (told["state"], told["result"]) == ("failed", None)
    assert "no picture was found in it" in told["error"]["detail"]
    assert refused.status_code == 400
    assert "no picture was found in it" in refused.json()["detail"]
