"""Reading videos: whole, damaged, cut short, out of order, and what is none."""

from fractions import Fraction
from threading import Event

import numpy as np
import pytest

from polypseg.errors import DataError, UsageError
from polypseg.predict.video import source as video_source
from polypseg.predict.video.frames import Clock, FrameReader
from polypseg.predict.video.source import device_address, open_source
from predict.video_making import FRAME, moving_scene, read_video, spots, with_zeros, write_video

av = pytest.importorskip("av", reason='pip install "polypseg[video]"')


def read(path, max_frames=None):
    """The reader, and all its frames."""
    source = open_source(path)
    try:
        reader = FrameReader(source, Event(), max_frames)
        return reader, list(reader.frames())
    finally:
        source.container.close()


def faults(frames):
    return {frame.number: "+".join(frame.faults) for frame in frames if frame.faults}


def test_frames_are_those_of_the_file(tmp_path):
    path = write_video(tmp_path / "whole.mp4", moving_scene(25))
    reader, frames = read(path)
    images, seconds = read_video(path)
    assert [frame.number for frame in frames] == list(range(25))
    assert [float(frame.seconds) for frame in frames] == seconds
    np.testing.assert_array_equal([frame.image for frame in frames], images)
    assert faults(frames) == {}
    assert reader.fault == ""
    assert reader.clock.end() == 1


def test_what_is_known_beforehand(tmp_path):
    source = open_source(write_video(tmp_path / "whole.mp4", moving_scene(30)))
    assert (source.num_promised, source.num_expected, source.rate) == (30, 30, 25)
    assert source.seconds_promised == pytest.approx(1.2)
    assert not source.has_sound
    source.container.close()
    source = open_source(write_video(tmp_path / "whole.mkv", moving_scene(30)))
    assert (source.num_promised, source.num_expected) == (0, 30)  # 1.2 s at 25 frames a second
    source.container.close()


def test_frames_that_refer_to_later_ones_come_in_the_order_of_time(tmp_path):
    path = write_video(tmp_path / "b.mp4", moving_scene(25), options={"bf": "3", "g": "12"})
    _, frames = read(path)
    assert [frame.seconds for frame in frames] == [Fraction(index, 25) for index in range(25)]
    assert faults(frames) == {}


def test_unequal_steps_stay(tmp_path):
    pts = [100, 612, 700, 3000, 3001, 9000]  # counted from the first
    _, frames = read(write_video(tmp_path / "v.mp4", moving_scene(6), pts))
    assert [frame.seconds * 12_800 for frame in frames] == [0, 512, 600, 2900, 2901, 8900]


def test_max_frames(tmp_path):
    reader, frames = read(write_video(tmp_path / "a.mp4", moving_scene(12)), max_frames=5)
    assert len(frames) == 5
    assert reader.fault == ""  # stopped on purpose, not cut short


def test_packets_of_zeros_are_dropped_and_what_builds_on_them_is_damaged(tmp_path):
    # Key frames are 0, 10, 20, 30, 40: whatever is lost, the frame 10 after it stands on whole pictures again.
    path = with_zeros(write_video(tmp_path / "zeros.mp4", moving_scene(50)), 0.3, 0.5)
    reader, frames = read(path)
    found = faults(frames)
    assert [frame.number for frame in frames] == list(range(50))
    assert set(found.values()) == {"dropped", "damaged"}
    lost = [number for number, fault in found.items() if fault == "dropped"]
    assert all(frames[number].image is None for number in lost)
    assert [float(frame.seconds) for frame in frames] == pytest.approx([number / 25 for number in range(50)])
    after = max(lost) + 1
    assert all(found.get(number) == "damaged" for number in range(after, -(-after // 10) * 10))
    assert all(number not in found for number in range(-(-after // 10) * 10, 50))
    assert reader.fault == ""


def test_file_cut_short(tmp_path):
    path = write_video(tmp_path / "cut.mp4", moving_scene(50), muxer={"movflags": "faststart"})
    content = path.read_bytes()
    path.write_bytes(content[: 2 * len(content) // 3])
    reader, frames = read(path)
    whole = [frame for frame in frames if frame.image is not None]
    assert 20 < len(whole) < 50
    assert all(frame.faults == ("dropped",) for frame in frames[len(whole) :])
    assert reader.fault == f"the file is cut short: it promises 50 frames, {len(frames)} are there"


def test_file_cut_short_that_counts_no_frames(tmp_path):
    path = write_video(tmp_path / "cut.mkv", moving_scene(50))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    reader, frames = read(path)
    assert 10 < len(frames) < 45
    assert reader.fault == f"the file is cut short: it promises 2.0 s, {len(frames) / 25:.1f} s are there"


def test_time_stamps_out_of_order(tmp_path):
    # Frame 4 is stamped 7.5 frames late: 5, 6 and 7 lie before it, and are set one tick after the frame before.
    whole = write_video(tmp_path / "a.mp4", moving_scene(10))
    with av.open(str(whole)) as source, av.open(str(tmp_path / "late.mp4"), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if packet.size:
                packet.pts += (7 * FRAME // 2) * (number == 4)
                packet.stream = stream
                target.mux(packet)
    _, frames = read(tmp_path / "late.mp4")
    late = 4 * FRAME + 7 * FRAME // 2
    ticks = [frame.seconds * 12_800 for frame in frames]
    assert ticks == [0, FRAME, 2 * FRAME, 3 * FRAME, late, late + 1, late + 2, late + 3, 8 * FRAME, 9 * FRAME]
    assert faults(frames) == dict.fromkeys((5, 6, 7), "mistimed")


def test_clock_by_hand():
    clock = Clock(Fraction(1, 100), Fraction(25))  # a frame lasts 4 ticks
    assert clock.stamp(50) == (0, False, False)
    assert clock.stamp(None) == (Fraction(4, 100), False, False)
    assert clock.near(57) == Fraction(7, 100)
    assert clock.near(30) == 0  # before the first: not below 0
    assert clock.stamp(54) == (Fraction(5, 100), True, False)
    assert clock.end() == Fraction(9, 100)


def test_stream_without_time_stamps_follows_its_rate(tmp_path):
    _, frames = read(write_video(tmp_path / "raw.h264", moving_scene(10)))
    assert [frame.seconds for frame in frames] == [Fraction(number, 25) for number in range(10)]
    assert faults(frames) == {}


@pytest.mark.parametrize("rotation", [0, 90, 180, -90])
def test_rotation_is_applied(tmp_path, rotation):
    # The upper left quarter is red; turned by 90 degrees against the clock it lies in the lower left one.
    image = np.zeros((32, 64, 3), np.uint8)
    image[:16, :32, 0] = 250
    reader, frames = read(write_video(tmp_path / "turned.mp4", [image] * 3, rotation=rotation))
    expected = np.rot90(image, rotation // 90)[..., 0] > 125
    assert frames[0].image.shape[:2] == ((32, 64) if rotation in (0, 180) else (64, 32))
    assert np.mean((frames[0].image[..., 0] > 125) == expected) > 0.97
    assert reader.is_turned == (abs(rotation) == 90)


def test_frames_of_another_size(tmp_path):
    small, large = moving_scene(5, (64, 64)), moving_scene(5, (96, 128))
    for name, images in (("one", small), ("two", large)):
        write_video(tmp_path / f"{name}.h264", images)
    both = tmp_path / "both.h264"
    both.write_bytes((tmp_path / "one.h264").read_bytes() + (tmp_path / "two.h264").read_bytes())
    _, frames = read(both)
    assert [frame.image.shape[:2] for frame in frames] == [(64, 64)] * 5 + [(96, 128)] * 5
    assert faults(frames) == dict.fromkeys(range(5, 10), "resized")


@pytest.mark.parametrize(
    ("codec", "pixels", "suffix"), [("mjpeg", "yuvj420p", "avi"), ("ffv1", "bgr0", "mkv"), ("mpeg4", "yuv420p", "avi")]
)
def test_colours_of_other_codecs(tmp_path, codec, pixels, suffix):
    image = np.full((32, 32, 3), (200, 60, 40), np.uint8)
    options = {"qmin": "1", "qmax": "2"} if codec != "ffv1" else {}
    path = tmp_path / f"colours.{suffix}"
    write_video(path, [image] * 3, [0, 1, 2], codec, pixels, options, tick=Fraction(1, 25))
    _, frames = read(path)
    assert np.abs(frames[1].image.astype(int) - image).max() <= 4


def test_colours_follow_the_matrix_of_the_file(tmp_path):
    image = np.full((32, 32, 3), (200, 60, 40), np.uint8)
    path = tmp_path / "bt709.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.height, stream.width, stream.pix_fmt = 32, 32, "yuv420p"
        stream.codec_context.colorspace = 1
        frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p", dst_colorspace="ITU709")
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    reader, frames = read(path)
    assert reader.matrix == 1
    assert np.abs(frames[0].image.astype(int) - image).max() <= 4  # read as BT.601 red would be 20 off


def test_all_frames_damaged(tmp_path):
    path = with_zeros(write_video(tmp_path / "none.mp4", moving_scene(10)), 0, 1)
    with pytest.raises(DataError, match=r"none\.mp4: not one of its 10 frames can be decoded; is it damaged\?"):
        read(path)


def test_no_frames_at_all(tmp_path):
    path = tmp_path / "empty.mp4"
    whole = write_video(path, moving_scene(10), muxer={"movflags": "frag_keyframe+empty_moov"}).read_bytes()
    path.write_bytes(whole[: whole.find(b"moof") - 4])
    with pytest.raises(DataError, match=r"empty\.mp4: not one of its 0 frames can be decoded"):
        read(path)


def test_sound_alone_is_no_video(tmp_path):
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=48_000)
        for number in range(4):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 48_000, number * 1024
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(DataError, match=r"sound\.mp4: holds sound only; expected a video"):
        open_source(path)


def cut_index(path):
    whole = write_video(path, moving_scene(10)).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])  # the index of an ordinary mp4 is at its end


def picture(path):
    from PIL import Image

    Image.fromarray(moving_scene(1)[0]).save(path, format="JPEG")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, r"film\.mp4: no such file"),
        (lambda path: path.mkdir(), r"film\.mp4: is a folder; expected a video file"),
        (lambda path: path.write_bytes(b""), r"film\.mp4: the file is empty \(0 bytes\); expected a video"),
        (lambda path: path.write_bytes(b"nothing\n" * 99), r"film\.mp4: not a video that can be read"),
        (lambda path: path.write_bytes(bytes(range(256)) * 9), r"film\.mp4: not a video that can be read"),
        (picture, r"film\.mp4: not a video that can be read"),
        (cut_index, r"film\.mp4: the index of the video is missing: the file is cut short"),
    ],
    ids=["missing", "folder", "empty", "text", "bytes", "picture", "cut"],
)
def test_what_is_no_video_is_told_in_one_line(tmp_path, make, message):
    make(tmp_path / "film.mp4")
    with pytest.raises(DataError, match=message) as caught:
        open_source(tmp_path / "film.mp4")
    assert "\n" not in str(caught.value)


def test_text_under_its_own_name_is_no_video(tmp_path):
    (tmp_path / "notes.txt").write_text("a line\n" * 99)  # FFmpeg would draw it as a terminal
    with pytest.raises(DataError, match=r"notes\.txt: not a video that can be read"):
        open_source(tmp_path / "notes.txt")


def test_playlist_is_no_video(tmp_path):
    write_video(tmp_path / "a.ts", moving_scene(5))
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:0.2,\na.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(DataError, match=r"list\.m3u8: not a video that can be read"):
        open_source(tmp_path / "list.m3u8")


def test_frames_beyond_the_allowed_pixels(tmp_path, monkeypatch):
    path = write_video(tmp_path / "large.mp4", moving_scene(2, (64, 96)))
    monkeypatch.setattr(video_source, "MAX_PIXELS", 64 * 96 - 1)
    with pytest.raises(DataError, match=r"large\.mp4: frames of 64x96 pixels are more than the allowed 6,143"):
        open_source(path)


def test_device_that_is_not_there():
    with pytest.raises(UsageError, match="device -1: expected 0 or more"):
        open_source(-1)
    with pytest.raises(DataError, match=r"device 987: .*(no such device|cannot be opened)") as caught:
        open_source(987)
    assert "\n" not in str(caught.value)


def test_device_that_is_no_camera(tmp_path, monkeypatch):
    (tmp_path / "video0").write_bytes(b"not a device")
    monkeypatch.setattr(video_source, "device_address", lambda index: (str(tmp_path / "video0"), "v4l2", {}))
    with pytest.raises(DataError, match=r"device 0: .*video0 cannot be opened as a camera \("):
        open_source(0)
    monkeypatch.setattr(video_source, "device_address", lambda index: ("video0", "no such format", {}))
    with pytest.raises(DataError, match=r"device 0: video0 cannot be opened as a camera \(no container format"):
        open_source(0)


@pytest.mark.parametrize(
    ("system", "expected"),
    [
        ("Linux", ("/dev/video1", "v4l2", {})),
        ("Darwin", ("1:none", "avfoundation", {"framerate": "30"})),
        ("Windows", ("video=Second", "dshow", {})),
    ],
)
def test_address_of_a_device(monkeypatch, system, expected):
    class Device:
        def __init__(self, name, kind):
            self.name, self.media_types = name, [kind]

    found = [Device("First", "video"), Device("Microphone", "audio"), Device("Second", "video")]
    monkeypatch.setattr("platform.system", lambda: system)
    monkeypatch.setattr(av, "enumerate_input_devices", lambda kind: found, raising=False)
    assert device_address(1) == expected
    if system == "Windows":
        with pytest.raises(DataError, match="device 2: no such device; there are 2"):
            device_address(2)


def test_frames_from_spots_are_what_the_other_tests_take_them_for(tmp_path):
    path = write_video(tmp_path / "spots.mp4", spots([(8, 8), None]))
    images, _ = read_video(path)
    assert ((images[0][..., 0] > 125) == (spots([(8, 8)])[0][..., 0] > 125)).mean() > 0.99
    assert images[1].max() < 30


def test_cover_picture_of_a_sound_file_is_no_video(tmp_path):
    from av.stream import Disposition

    path = tmp_path / "cover.mp4"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=48_000)
        cover = container.add_stream("mjpeg", rate=25)
        cover.height = cover.width = 32
        cover.pix_fmt = "yuvj420p"
        cover.disposition = Disposition.attached_pic
        noise = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        noise.sample_rate, noise.pts = 48_000, 0
        for stream, frame in ((cover, av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))), (sound, noise)):
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    with av.open(str(path)) as container:
        assert len(container.streams.video) == 1
    with pytest.raises(DataError, match=r"cover\.mp4: holds sound only; expected a video"):
        open_source(path)


def test_pictures_that_cannot_be_decoded_are_told(tmp_path):
    # The name of the codec in the index is overwritten by one that FFmpeg does not know.
    path = write_video(tmp_path / "odd.mp4", moving_scene(3))
    content = path.read_bytes()
    path.write_bytes(content.replace(b"avc1\0\0\0\0", b"zzz9\0\0\0\0").replace(b"avcC", b"zzzC"))
    with pytest.raises(
        DataError, match=r"odd\.mp4: this FFmpeg cannot decode its pictures; convert it to H\.264 first"
    ):
        open_source(path)
