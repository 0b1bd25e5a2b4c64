"""Decoders that hang: what reads a video gives up after a time, with one line; nobody waits for ever.

A decoder hangs here as a real one does: in C, beyond the reach of Python (`sleep` of the C library).
"""

import ctypes
import subprocess
import sys
import time
from threading import Event

import pytest

from polypseg.errors import DataError
from polypseg.predict.video import frames, source
from polypseg.predict.video.frames import FrameReader, frames_of
from polypseg.predict.video.source import open_source
from polypseg.predict.video.work import predict_video
from predict.tiny_model import write_tiny_model
from predict.video_making import moving_scene, red_predictor, write_video

av = pytest.importorskip("av", reason='pip install "polypseg[video]"')
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="hangs in the C library's sleep")


MESSAGE = r"film\.mp4: the decoder did not read its next frame within 0\.5 s, expected less than 1 s; .*ffmpeg -i"


class Hanging:
    """Lets readers hang after some packets; `end` wakes them."""

    def __init__(self, monkeypatch, after: int) -> None:
        self._ended, self._after, self._real = Event(), after, FrameReader._next_packet
        monkeypatch.setattr(FrameReader, "_next_packet", lambda reader, packets: self._next(reader, packets))
        for module in (frames, source):
            monkeypatch.setattr(module, "FILE_SECONDS", 0.5)
        monkeypatch.setattr("polypseg.predict.video.stages._JOIN_SECONDS", 0.1)

    def _next(self, reader, packets):
        if reader._num_packets == self._after:
            while not self._ended.is_set():
                ctypes.CDLL(None).usleep(10_000)
        return self._real(reader, packets)

    def end(self) -> None:
        self._ended.set()


@pytest.fixture
def hang(monkeypatch):
    made = []

    def set_up(after=3):
        made.append(Hanging(monkeypatch, after))
        return made[-1]

    yield set_up
    for each in made:
        each.end()


@pytest.fixture
def film(tmp_path):
    return write_video(tmp_path / "film.mp4", moving_scene(12), codec="mpeg4")


def test_frames_that_came_before_are_given_and_the_file_is_left_open(hang, film):
    hanging, seen = hang(after=3), []

    def see(read):
        for frame in read:
            seen.append(frame.number)

    with frames_of(film) as (reader, read), pytest.raises(DataError, match=MESSAGE):
        see(read)
    assert seen == [0, 1, 2]
    assert reader.source.container.streams.video  # the thread that hangs may still use it
    hanging.end()


def test_who_takes_frames_may_take_longer(monkeypatch, film):
    """The limit is of the file, not of the model: FFmpeg's own clock starts again at each packet."""
    for module in (frames, source):
        monkeypatch.setattr(module, "FILE_SECONDS", 0.3)
    with frames_of(film) as (_, read):
        assert next(read).number == 0
        time.sleep(1)
        assert [frame.number for frame in read] == list(range(1, 12))


def test_a_file_that_is_read_to_its_end_is_closed(film):
    with frames_of(film) as (reader, read):
        assert len(list(read)) == 12
    with pytest.raises(AssertionError, match="not open"):
        list(reader.source.container.demux())


@pytest.mark.parametrize("is_ended_by_ffmpeg", [True, False])
def test_a_file_that_does_not_open_in_time_is_an_error_that_names_it(is_ended_by_ffmpeg, monkeypatch, film):
    ended = Event()

    def opens(*_, timeout, **__):
        if is_ended_by_ffmpeg:
            time.sleep(timeout)
            raise av.error.ExitError(1, "Immediate exit requested")
        while not ended.is_set():
            ctypes.CDLL(None).usleep(10_000)

    monkeypatch.setattr(source, "FILE_SECONDS", 0.3)
    monkeypatch.setattr("polypseg.predict.video.stages._JOIN_SECONDS", 0.1)
    monkeypatch.setattr(av, "open", opens)
    with pytest.raises(DataError, match=r"film\.mp4: the decoder did not read its header within 0\.3 s"):
        open_source(film)
    ended.set()


def test_ffmpeg_gives_up_a_file_of_which_nothing_comes(monkeypatch, film):
    """FFmpeg asks before each read whether its time is over: with no time at all it opens nothing."""
    monkeypatch.setattr(source, "FILE_SECONDS", 0.0)
    with pytest.raises(DataError, match="did not read its header within 0 s"):
        open_source(film)


COMMAND = """
import ctypes, sys
from polypseg.predict.video import frames, source
from polypseg.cli import app

real = frames.FrameReader._next_packet

def hangs(reader, packets):
    if reader._num_packets == 3:
        ctypes.CDLL(None).sleep(1000)
    return real(reader, packets)

frames.FrameReader._next_packet = hangs
frames.FILE_SECONDS = source.FILE_SECONDS = 1.0
app(sys.argv[1:])
"""


@pytest.mark.slow
def test_the_command_ends_though_a_thread_hangs(film, tmp_path):
    write_tiny_model(tmp_path / "tiny.onnx")
    words = ["predict", "tiny.onnx", "film.mp4", "-o", "out.mp4", "--engine", "onnxruntime"]
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *words], cwd=tmp_path, capture_output=True, text=True, timeout=100
    )
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    [line] = done.stderr.splitlines()
    assert line.startswith(
        "error: film.mp4: the decoder did not read its next frame within 1 s, expected less than 1 s"
    )


def test_a_video_whose_decoder_hangs_is_an_error_that_names_it(hang, film, tmp_path):
    hang()
    began = time.monotonic()
    with pytest.raises(DataError, match=MESSAGE):
        predict_video(film, tmp_path / "out.mp4", red_predictor())
    assert time.monotonic() - began < 20
    assert not (tmp_path / "out.mp4").exists()
