"""Single frames of a video, as images."""

import io
import zipfile
from pathlib import Path
from tempfile import gettempdir

import numpy as np
import pytest
from PIL import Image

from serve.films import video
from serve.models import write_red_model
from serve.running import serving, wait_until

pytest.importorskip("av")


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with serving(write_red_model(tmp_path_factory.mktemp("model") / "red.onnx")) as running:
        yield running


def ask(client, numbers, content=None):
    content = video() if content is None else content
    return client.post(f"/v1/video/frames?numbers={numbers}", content=content, headers={"Content-Type": "video/mp4"})


def test_frames_come_as_images_at_their_own_size(client):
    answer = ask(client, "6,2,2,3")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/zip")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as opened:
        assert opened.namelist() == ["frame_000002.png", "frame_000003.png", "frame_000006.png"]
        assert {entry.compress_type for entry in opened.infolist()} == {zipfile.ZIP_STORED}
        pixels = [np.asarray(Image.open(opened.open(name))) for name in opened.namelist()]
    assert {one.shape for one in pixels} == {(64, 96, 3)}
    # The red square is in frames 3 to 6; give or take the codec.
    np.testing.assert_allclose([one[32, 48] for one in pixels], [(20, 20, 20), (235, 20, 20), (235, 20, 20)], atol=25)


def test_frames_beyond_the_end_are_left_out(client):
    with zipfile.ZipFile(io.BytesIO(ask(client, "9,10,5000").content)) as opened:
        assert opened.namelist() == ["frame_000009.png"]
    problem = ask(client, "10,11").json()
    assert (problem["status"], problem["title"]) == (404, "No such frame")


@pytest.mark.parametrize(
    ("numbers", "status"),
    [("", 422), ("a", 422), ("1,,2", 422), ("-1", 422), (",".join(map(str, range(101))), 422), ("1&numbers=2", 422)],
)
def test_numbers_that_do_not_fit_are_refused(client, numbers, status):
    assert ask(client, numbers).status_code == status


def test_a_broken_video_is_told_without_a_path(client):
    problem = ask(client, "1", video()[:300]).json()
    assert (problem["status"], problem["title"]) == (400, "Not a video that can be read")
    assert gettempdir() not in problem["detail"]


def test_too_large_frames_are_refused(tmp_path):
    with serving(write_red_model(tmp_path / "red.onnx"), max_image_pixels=1000) as strict:
        assert ask(strict, "1").status_code == 413


def test_nothing_stays_on_disk(client):
    ask(client, "1")
    ask(client, "1", b"no video")
    [home] = {Path(str(client.service.jobs._home))}
    assert wait_until(lambda: not list(home.iterdir()))
