"""A video from file to file: what is written, what is counted, what is left when it ends early."""

import csv
import os
import resource
import signal
import subprocess
import sys
import time
import weakref
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from polypseg.errors import DataError, MissingExtraError, UsageError
from polypseg.predict.predictor import Prediction
from polypseg.predict.video import source as video_source
from polypseg.predict.video import writer as video_writer
from polypseg.predict.video.options import VideoOptions
from polypseg.predict.video.work import draw_mask, predict_video
from polypseg.predict.video.writer import VideoLook, VideoWriter
from polypseg.preprocess import whole_frame
from polypseg.records.video_table import COLUMNS
from predict.video_making import (
    Redness,
    moving_scene,
    read_video,
    red_predictor,
    spots,
    with_zeros,
    write_video,
)

av = pytest.importorskip("av", reason='pip install "polypseg[video]"')


def rows_of(table):
    with Path(table).open(newline="", encoding="utf-8") as opened:
        return list(csv.DictReader(opened))


def column(table, name):
    return [float(row[name]) for row in rows_of(table)]


@pytest.fixture
def spotted(tmp_path):
    """A red square that is there in frames 2 to 11, and a lone one far from it in frame 5."""
    images = spots([None, None, *[(8, 8)] * 10, None, None])
    images[5][40:56, 64:80, 0] = 250
    return write_video(tmp_path / "spotted.mp4", images)


def test_every_frame_is_as_if_predicted_alone(tmp_path):
    path = write_video(tmp_path / "scene.mp4", moving_scene(30))
    predictor = red_predictor(threshold=0.7, min_area_px=20)
    summary = predict_video(path, tmp_path / "out.mp4", predictor)
    images, seconds = read_video(path)
    alone = [predictor.predict(image) for image in images]
    assert column(summary.table, "area_px") == [prediction.mask.sum() for prediction in alone]
    assert column(summary.table, "max_probability") == pytest.approx([p.probability.max() for p in alone])
    assert column(summary.table, "seconds") == pytest.approx(seconds)
    written, times = read_video(summary.video)
    assert times == seconds
    for found, prediction in zip(written, alone, strict=True):
        assert np.abs(found.astype(int) - prediction.overlay()).mean() < 6  # what 4:2:0 and x264 lose
    assert any(prediction.mask.any() for prediction in alone)


def test_summary_and_table_by_hand(tmp_path, spotted):
    summary = predict_video(spotted, tmp_path / "out.mp4", red_predictor())
    assert summary.video == tmp_path / "out.mp4"
    assert summary.table == tmp_path / "out.csv"
    assert (summary.num_frames, summary.num_with_polyp, summary.num_with_withheld) == (14, 10, 0)
    assert (summary.size, summary.codec, summary.is_whole, summary.interrupted) == ((64, 96), "libx264", True, False)
    assert summary.video_seconds == pytest.approx(14 / 25)
    assert summary.notes() == ["4 of 14 frames are black or of one colour"]  # the first two and the last two
    rows = rows_of(summary.table)
    assert tuple(rows[0]) == COLUMNS
    assert [row["frame"] for row in rows] == [str(number) for number in range(14)]
    assert [row["num_components"] for row in rows] == list("00111211111100")
    # The square at (8, 8) is number 1 in all its frames, the lone one of frame 5 number 2; both are of one size.
    assert [set(row["tracks"].split("+")) - {""} for row in rows] == [
        set(), set(), {"1"}, {"1"}, {"1"}, {"1", "2"}, *[{"1"}] * 6, set(), set()
    ]  # fmt: skip
    assert summary.num_tracks == 2
    assert rows[0]["area_px"] == "0"
    assert {rows[0][f"box_{part}"] for part in ("x", "y", "width", "height")} == {"nan"}
    # Through 32 x 32 and back the square of 16 x 16 keeps its place to about two pixels.
    box = [float(rows[3][f"box_{part}"]) for part in ("x", "y", "width", "height")]
    assert box == pytest.approx([8, 8, 16, 16], abs=3)
    area = float(rows[3]["area_px"])
    assert area == pytest.approx(256, rel=0.25)
    assert float(rows[3]["area_percent"]) == pytest.approx(100 * area / (64 * 96))
    assert {path.name for path in tmp_path.iterdir()} == {"spotted.mp4", "out.mp4", "out.csv"}


def test_numbers_are_drawn_where_asked_for(tmp_path, spotted):
    drawn, plain = (
        predict_video(spotted, tmp_path / f"{number}.mp4", red_predictor(), VideoOptions(numbers=number))
        for number in (True, False)
    )
    with_number, without = (read_video(summary.video)[0][4].astype(int) for summary in (drawn, plain))
    different = np.abs(with_number - without).max(axis=-1) > 60
    rows, columns = np.nonzero(different)
    assert different.any()
    assert rows.max() < 26
    assert columns.max() < 30  # a label beside the corner of the square at (8, 8), nowhere else
    assert np.abs(with_number[40:] - without[40:]).mean() < 2
    assert rows_of(drawn.table) == rows_of(plain.table)


def test_short_detections_are_withheld_in_table_and_picture(tmp_path, spotted):
    summary = predict_video(spotted, tmp_path / "out.mp4", red_predictor(), VideoOptions(withhold_frames=1))
    assert (summary.num_withheld, summary.num_with_withheld, summary.num_with_polyp) == (1, 1, 10)
    rows = rows_of(summary.table)
    assert [row["num_components"] for row in rows] == list("00111111111100")
    assert [row["num_withheld"] for row in rows] == list("00000100000000")
    images, _ = read_video(summary.video)
    assert images[5][40:56, 64:80, 2].max() < 60  # the lone square stays red, without the tint's blue
    assert images[5][10:22, 10:22, 2].min() > 60
    everything = predict_video(spotted, tmp_path / "none.mp4", red_predictor(), VideoOptions(withhold_frames=10))
    assert (everything.num_with_polyp, everything.num_withheld) == (0, 2)


def test_smoothing_by_hand(tmp_path, spotted):
    # Red 250 is 0.98; both halve it in frame 12, the first without it, to 0.49, which a threshold of 0.4 keeps.
    predictor = red_predictor(threshold=0.4)
    plain = predict_video(spotted, tmp_path / "plain.mp4", predictor)
    window = predict_video(spotted, tmp_path / "window.mp4", predictor, VideoOptions("window", 2))
    mean = predict_video(spotted, tmp_path / "mean.mp4", predictor, VideoOptions("exponential", 3))
    shown = [np.flatnonzero(np.array(column(s.table, "num_components")) > 0).tolist() for s in (plain, window, mean)]
    assert shown == [list(range(2, 12)), list(range(2, 13)), list(range(2, 13))]
    assert column(window.table, "max_probability")[12] == pytest.approx(0.49, abs=0.02)
    assert column(mean.table, "max_probability")[13] == pytest.approx(0.245, abs=0.02)


@pytest.mark.slow
def test_views_and_quality(tmp_path, spotted):
    def run(name, **options):
        return predict_video(spotted, tmp_path / f"{name}.mp4", red_predictor(), VideoOptions(**options)).video

    source, _ = read_video(spotted)
    plain, overlaid, outlined = (read_video(run(view, view=view))[0][4] for view in ("none", "overlay", "contour"))
    faint = read_video(run("faint", opacity=0.1))[0][4]
    inside = (slice(12, 20), slice(12, 20))
    assert np.abs(plain.astype(int) - source[4]).mean() < 3
    assert plain[inside][..., 2].mean() < faint[inside][..., 2].mean() < overlaid[inside][..., 2].mean()
    assert outlined[inside][..., 2].mean() < 40 < outlined[8:24, 8:24, 2].mean()
    assert run("coarse", quality=45).stat().st_size < run("fine", quality=5).stat().st_size


@pytest.mark.parametrize("view", ["overlay", "contour"])
def test_drawing_within_the_box_equals_drawing_the_whole(view):
    from polypseg.overlay import contour, line_width_px

    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (90, 240, 3), np.uint8)
    mask = np.zeros((90, 240), bool)
    mask[0:30, 200:240] = mask[40:60, 30:80] = mask[50, 100] = True
    whole = Prediction(image, mask.astype(np.float32), mask, 0.5, 0.0, whole_frame(mask.shape)).overlay()
    if view == "contour":
        whole = contour(image, mask, width_px=line_width_px(mask.shape))
    before = image.copy()
    np.testing.assert_array_equal(draw_mask(image, mask, view), whole)
    np.testing.assert_array_equal(image, before)
    assert draw_mask(image, ~mask & mask, view) is image


def test_unequal_steps_and_length_are_kept(tmp_path):
    pts = [0, 512, 700, 3000, 3001, 9000]
    path = write_video(tmp_path / "steps.mp4", moving_scene(6), pts)
    for suffix, within in (("mp4", 1e-9), ("mkv", 0.001)):  # mkv counts milliseconds
        _, seconds = read_video(predict_video(path, tmp_path / f"out.{suffix}", red_predictor()).video)
        assert seconds == pytest.approx([at / 12_800 for at in pts], abs=within)


@pytest.mark.parametrize("size", [(65, 97), (64, 97), (65, 96)])
def test_odd_sizes_get_one_more_row_or_column(tmp_path, size):
    images = moving_scene(5, size)
    path = write_video(tmp_path / "odd.mkv", images, codec="ffv1", pixels="bgr0", options={}, tick=Fraction(1, 1000))
    summary = predict_video(path, tmp_path / "out.mp4", red_predictor(), VideoOptions(view="none", quality=5))
    assert summary.size == size
    written, _ = read_video(summary.video)
    assert written[0].shape == (66 if size[0] == 65 else 64, 98 if size[1] == 97 else 96, 3)
    assert np.abs(written[2][: size[0], : size[1]].astype(int) - images[2]).mean() < 6


def test_rotation_and_pixel_aspect(tmp_path):
    path = tmp_path / "wide.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 32, 64, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(16, 15)
        stream.set_display_rotation(90)
        for image in moving_scene(3, (32, 64)):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    summary = predict_video(path, tmp_path / "out.mp4", red_predictor())
    assert summary.size == (64, 32)
    with av.open(str(summary.video)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, stream.sample_aspect_ratio) == (32, 64, Fraction(15, 16))
        assert next(container.decode(video=0)).rotation == 0


@pytest.mark.parametrize("height", [64, 720])
def test_colours_stay(tmp_path, height):
    # From 720 lines on players take untagged colours by BT.709: what is written says so, and comes back the same.
    image = np.full((height, 64, 3), (200, 60, 40), np.uint8)
    path = tmp_path / "red.mkv"
    write_video(path, [image] * 3, [0, 1, 2], codec="ffv1", pixels="bgr0", options={}, tick=Fraction(1, 25))
    summary = predict_video(path, tmp_path / "out.mp4", red_predictor(), VideoOptions(view="none", quality=1))
    with av.open(str(summary.video)) as container:
        frame = next(container.decode(video=0))
    assert frame.colorspace == (1 if height == 720 else 5)
    assert np.abs(frame.to_ndarray(format="rgb24").astype(int) - image).max() <= 4


def test_damaged_frames_are_listed_and_counted(tmp_path):
    path = with_zeros(write_video(tmp_path / "zeros.mp4", moving_scene(50)), 0.3, 0.5)
    summary = predict_video(path, tmp_path / "out.mp4", red_predictor(), VideoOptions(withhold_frames=6))
    rows = rows_of(summary.table)
    counts = [sum(row["fault"] == fault for row in rows) for fault in ("dropped", "damaged", "")]
    assert len(rows) == sum(counts) == 50
    assert [summary.num_dropped, summary.num_damaged] == counts[:2]
    assert min(counts) > 0
    assert summary.num_frames == 50 - counts[0] == len(read_video(summary.video)[0])
    assert not summary.is_whole
    assert summary.notes() == [
        f"{counts[1]} damaged frames, predicted as far as restored",
        f"{counts[0]} frames that could not be decoded, in the table only",
    ]
    dropped = next(row for row in rows if row["fault"] == "dropped")
    assert dropped["area_px"] == dropped["num_components"] == dropped["max_probability"] == "nan"


def test_frames_of_another_size_are_shown_at_the_first_ones(tmp_path):
    for name, size in (("one", (64, 64)), ("two", (96, 128))):
        write_video(tmp_path / f"{name}.h264", moving_scene(5, size))
    both = tmp_path / "both.h264"
    both.write_bytes((tmp_path / "one.h264").read_bytes() + (tmp_path / "two.h264").read_bytes())
    summary = predict_video(both, tmp_path / "out.mp4", red_predictor(), VideoOptions(withhold_frames=2))
    assert (summary.num_frames, summary.num_resized, summary.size) == (10, 5, (64, 64))
    assert {image.shape for image in read_video(summary.video)[0]} == {(64, 64, 3)}
    assert summary.notes() == ["5 frames of another size than the first, shown at its size"]
    assert replace(summary, num_resized=1).notes() == ["1 frame of another size than the first, shown at its size"]


def test_sound_is_not_copied_and_that_is_told(tmp_path):
    path = tmp_path / "loud.mp4"
    with av.open(str(path), "w") as container:
        stream, sound = container.add_stream("libx264", rate=25), container.add_stream("aac", rate=48_000)
        stream.height = stream.width = 64
        stream.pix_fmt = "yuv420p"
        for number, image in enumerate(moving_scene(5, (64, 64))):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            noise = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            noise.sample_rate, noise.pts = 48_000, 1024 * number
            container.mux(sound.encode(noise))
        container.mux(stream.encode(None))
        container.mux(sound.encode(None))
    summary = predict_video(path, tmp_path / "out.mp4", red_predictor())
    assert summary.has_sound
    assert summary.is_whole
    assert summary.notes() == ["sound is not copied"]
    with av.open(str(summary.video)) as container:
        assert not container.streams.audio


def test_not_one_frame_leaves_nothing_behind(tmp_path):
    path = with_zeros(write_video(tmp_path / "none.mp4", moving_scene(10), muxer={"movflags": "faststart"}), 0, 1)
    with pytest.raises(DataError, match=r"none\.mp4: not one of its 10 frames can be decoded"):
        predict_video(path, tmp_path / "out.mp4", red_predictor())
    assert [found.name for found in tmp_path.iterdir()] == ["none.mp4"]


def test_an_error_of_the_model_is_raised_and_leaves_the_old_video(tmp_path, spotted):
    class Breaks(Redness):
        def run(self, batch):
            raise DataError("the model is broken")

    (tmp_path / "out.mp4").write_bytes(b"an older result")
    with pytest.raises(DataError, match="the model is broken"):
        predict_video(spotted, tmp_path / "out.mp4", red_predictor().__class__(Breaks()))
    assert (tmp_path / "out.mp4").read_bytes() == b"an older result"


def test_places_that_are_refused(tmp_path, spotted):
    before = spotted.read_bytes()
    for name in ("out.avi", "out"):
        with pytest.raises(UsageError, match=r"expected a name that ends in \.mp4 or \.mkv"):
            predict_video(spotted, tmp_path / name, red_predictor())
    (tmp_path / "link.mp4").symlink_to(spotted)
    for name in ("spotted.mp4", "link.mp4"):
        with pytest.raises(UsageError, match="would overwrite the source"):
            predict_video(spotted, tmp_path / name, red_predictor())
    assert spotted.read_bytes() == before
    spotted.rename(tmp_path / "film.part.mp4")  # the source lies where the part file would
    with pytest.raises(UsageError, match="would overwrite the source"):
        predict_video(tmp_path / "film.part.mp4", tmp_path / "film.mp4", red_predictor())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"smoothing": "windows"}, "unknown smoothing 'windows'; did you mean 'window'"),
        ({"view": "mask"}, "unknown view 'mask'"),
        ({"smoothing_frames": 1}, "smoothing_frames 1: expected 2 to 100"),
        ({"withhold_frames": 101}, "withhold_frames 101: expected 0 to 100"),
        ({"withhold_frames": -1}, "withhold_frames -1: expected 0 to 100"),
        ({"opacity": 1.5}, "opacity 1.5: expected 0 to 1"),
        ({"quality": 52}, "quality 52: expected 0 to 51"),
        ({"max_frames": 0}, "max_frames 0: expected at least 1"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(UsageError, match=message):
        VideoOptions(**options)


def test_missing_pyav_is_told(tmp_path, spotted, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtraError, match=r'av is not installed.*pip install "polypseg\[video\]"'):
        predict_video(spotted, tmp_path / "out.mp4", red_predictor())


def test_progress_counts_frames(tmp_path, spotted):
    told = []

    def track(items, description, total):
        told.append((description, total))
        yield from items

    predict_video(spotted, tmp_path / "out.mp4", red_predictor(), track=track)
    predict_video(spotted, tmp_path / "out.mp4", red_predictor(), VideoOptions(max_frames=3), track)
    assert told == [("predicting frames", 14), ("predicting frames", 3)]


def interrupting(after):
    """A track that is interrupted as by Ctrl-C."""

    def track(items, description, total):
        for number, item in enumerate(items):
            if number == after:
                raise KeyboardInterrupt
            yield item

    return track


def test_interrupted_file_leaves_a_playable_part(tmp_path):
    path = write_video(tmp_path / "long.mp4", moving_scene(200))
    summary = predict_video(
        path, tmp_path / "out.mp4", red_predictor(), VideoOptions(withhold_frames=3), interrupting(20)
    )
    assert summary.interrupted
    assert (summary.video.name, summary.table.name) == ("out.part.mp4", "out.part.csv")
    assert not (tmp_path / "out.mp4").exists()
    images, _ = read_video(summary.video)
    assert 20 < len(images) == summary.num_frames == len(rows_of(summary.table)) < 100
    assert summary.notes()[-1].startswith("stopped before the end; what was done can be played: ")
    assert summary.fault == ""


class Camera:
    """A container that never ends, as a capture device's: a file's packets over and over, their time running on."""

    def __init__(self, path, fails_after=None):
        self.file = av.open(str(path))
        self.streams, self.fails_after = self.file.streams, fails_after
        self.closed = self.was_asked = False
        packets = [packet for packet in self.file.demux(video=0) if packet.size]
        self.packets = [(bytes(packet), packet.stream, packet.time_base, packet.is_keyframe) for packet in packets]

    def demux(self, stream):
        for number in range(10**9):
            if not self.was_asked:
                self.was_asked = True
                raise BlockingIOError  # no picture yet
            if number == self.fails_after:
                raise OSError(19, "No such device")
            content, stream, base, _ = self.packets[number % len(self.packets)]
            packet = av.Packet(content)
            packet.stream, packet.time_base = stream, base
            packet.pts = packet.dts = 1_000_000 + 512 * number
            yield packet

    def close(self):
        self.closed = True
        self.file.close()


@pytest.fixture
def camera(tmp_path, monkeypatch):
    def connect(**options):
        path = write_video(tmp_path / "seen.avi", moving_scene(20), codec="mjpeg", pixels="yuvj420p", options={})
        container = Camera(path, **options)
        monkeypatch.setattr(video_source, "open_device", lambda index: (f"device {index}", container))
        return container

    return connect


def test_capture_ends_by_ctrl_c_and_is_whole(tmp_path, camera):
    container = camera()
    summary = predict_video(0, tmp_path / "out.mp4", red_predictor(), VideoOptions(withhold_frames=2), interrupting(30))
    assert summary.interrupted
    assert summary.is_whole
    assert (summary.video, summary.table) == (tmp_path / "out.mp4", tmp_path / "out.csv")
    images, seconds = read_video(summary.video)
    assert 30 < len(images) == summary.num_frames == len(rows_of(summary.table))
    assert seconds[0] == 0
    assert seconds == sorted(seconds)
    assert container.closed


def test_capture_of_so_many_frames(tmp_path, camera):
    camera()
    summary = predict_video(0, tmp_path / "out.mkv", red_predictor(), VideoOptions(max_frames=12))
    assert (summary.num_frames, summary.interrupted) == (12, False)
    assert len(read_video(tmp_path / "out.mkv")[0]) == 12


def test_capture_ends_when_the_device_is_lost(tmp_path, camera):
    camera(fails_after=15)
    summary = predict_video(0, tmp_path / "out.mp4", red_predictor())
    assert summary.num_frames == len(read_video(summary.video)[0])
    assert summary.fault.startswith("the device was lost after ")
    assert not summary.is_whole


def run_in_a_process(code, *arguments):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])}
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], env=environment, stderr=subprocess.PIPE)


SLOWLY = """
import signal, sys, time
from pathlib import Path
from polypseg.predict.predictor import Predictor
from polypseg.predict.video.work import predict_video
from predict.video_making import Redness

signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background inherits that it is ignored

class Slow(Redness):
    def run(self, batch):
        time.sleep(0.02)
        return super().run(batch)

summary = predict_video(Path(sys.argv[1]), Path(sys.argv[2]), Predictor(Slow()))
sys.exit(3 if summary.interrupted else 0)
"""


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_killed_run_leaves_a_playable_part(tmp_path, suffix):
    # 25 frames lie between two key frames: once the file has grown by several, those before are safe.
    path, out = write_video(tmp_path / "long.mp4", moving_scene(600)), tmp_path / f"out{suffix}"
    with run_in_a_process(SLOWLY, path, out) as process:
        part = tmp_path / f"out.part{suffix}"
        wait_until(lambda: (tmp_path / "out.part.csv").exists() and num_rows(tmp_path / "out.part.csv") > 125)
        process.kill()
    assert not out.exists()
    images, _ = read_video(part)
    assert len(images) >= 75
    rows = rows_of(tmp_path / "out.part.csv")
    assert [row["frame"] for row in rows][:125] == [str(number) for number in range(125)]


@pytest.mark.slow
def test_ctrl_c_of_a_process_ends_it_in_order(tmp_path):
    path = write_video(tmp_path / "long.mp4", moving_scene(600))
    with run_in_a_process(SLOWLY, path, tmp_path / "out.mp4") as process:
        wait_until(lambda: (tmp_path / "out.part.csv").exists() and num_rows(tmp_path / "out.part.csv") > 25)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 3
    assert len(read_video(tmp_path / "out.part.mp4")[0]) == num_rows(tmp_path / "out.part.csv") - 1 < 600


def num_rows(path):
    return path.read_text(encoding="utf-8").count("\n")


def wait_until(is_so, seconds=60):
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.slow
def test_full_disk_is_told_and_leaves_what_was_written(tmp_path):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (64, 96, 3), np.uint8) for _ in range(150)]
    path = write_video(tmp_path / "noise.mp4", images)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, limits[1]))
    try:
        with pytest.raises(
            DataError, match=r"out\.mp4: cannot be written: File too large; .* lies in out\.part\.mp4"
        ) as told:
            predict_video(path, tmp_path / "out.mp4", red_predictor(), VideoOptions(quality=5))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(told.value)
    assert not (tmp_path / "out.mp4").exists()
    assert len(read_video(tmp_path / "out.part.mp4")[0]) >= 25


@pytest.mark.slow
def test_memory_does_not_grow_with_the_video(tmp_path):
    """As many frames are held after a long video as after a short one: those in queues, and those that wait."""
    held, most = set(), []

    class Watching(Redness):
        def run(self, batch):
            most.append(len(held))
            return super().run(batch)

    class Watched(np.ndarray):
        pass

    from polypseg.predict.video import frames as video_frames

    real = video_frames.FrameReader._frame

    def counted(reader, frame, decoded):
        frame = real(reader, frame, decoded)
        image = frame.image.view(Watched)
        held.add(frame.number)
        weakref.finalize(image, held.discard, frame.number)
        return frame._replace(image=image)

    path = write_video(tmp_path / "long.mp4", spots([(8, 8)] * 300))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(video_frames.FrameReader, "_frame", counted)
        predictor = red_predictor().__class__(Watching())
        predict_video(path, tmp_path / "out.mp4", predictor, VideoOptions(withhold_frames=6))
    # 4 wait before the model, 6 for a decision, 4 and 4 before drawing and encoding, and one in each hand.
    assert 6 < max(most) <= 4 + 6 + 4 + 4 + 6
    assert not held


def test_mpeg4_takes_the_place_of_a_missing_x264(tmp_path, spotted, monkeypatch):
    monkeypatch.setattr(video_writer, "pick_codec", lambda: "mpeg4")
    fine = predict_video(spotted, tmp_path / "fine.mp4", red_predictor(), VideoOptions(quality=1))
    coarse = predict_video(spotted, tmp_path / "coarse.mp4", red_predictor(), VideoOptions(quality=50))
    assert fine.codec == "mpeg4"
    images, seconds = read_video(fine.video)
    assert seconds == pytest.approx([number / 25 for number in range(14)], abs=1e-4)
    assert images[4][10:22, 10:22, 2].min() > 60
    assert coarse.video.stat().st_size < fine.video.stat().st_size


def test_codec_is_x264_where_it_is_there(monkeypatch):
    assert video_writer.pick_codec() == "libx264"
    monkeypatch.setattr(av, "codecs_available", {"mpeg4"})
    assert video_writer.pick_codec() == "mpeg4"


def test_writer_keeps_time_rising(tmp_path):
    writer = VideoWriter(tmp_path / "out.mp4", (32, 32), VideoLook(Fraction(1, 25), Fraction(25)), 20)
    for seconds in (Fraction(0), Fraction(1, 1000), Fraction(2, 1000)):  # all round to 0
        writer.write(np.zeros((32, 32, 3), np.uint8), seconds)
    writer.flush()
    assert read_video(writer.finish())[1] == [0, 0.04, 0.08]


@pytest.mark.slow
def test_video_needs_no_training_framework():
    code = (
        "import polypseg.predict.video.work, sys; assert not {'av', 'keras', 'tensorflow', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
