"""Videos as recorders, phones and capture cards make them: jumping clocks, mirrors, fields, HDR, odd containers."""

import re
import struct
from fractions import Fraction
from threading import Event

import cv2
import numpy as np
import pytest

from polypseg.errors import DataError, UsageError
from polypseg.predict.video import colours
from polypseg.predict.video.clock import STRETCH, Clock, Stretches
from polypseg.predict.video.complaints import Complaints
from polypseg.predict.video.frames import FrameReader
from polypseg.predict.video.interlace import is_combed
from polypseg.predict.video.options import VideoOptions
from polypseg.predict.video.orientation import UPRIGHT, Orientation, from_matrix
from polypseg.predict.video.source import open_source
from polypseg.predict.video.work import predict_video
from predict.test_video import rows_of
from predict.video_making import FRAME, moving_scene, read_video, red_predictor, write_video

av = pytest.importorskip("av", reason='pip install "polypseg[video]"')


def read(path, **options):
    """The reader, and all its frames."""
    source = open_source(path)
    try:
        reader = FrameReader(source, Event(), **options)
        return reader, list(reader.frames())
    finally:
        source.container.close()


def faults(frames):
    return {frame.number: "+".join(frame.faults) for frame in frames if frame.faults}


def evenly(frames, rate=25):
    return [frame.seconds * rate for frame in frames] == list(range(len(frames)))


def part(path, codec, num_frames, begins_at=0, **options):
    """A recording at 25 frames a second whose clock begins at a time in seconds."""
    tick = Fraction(1, 25)
    pts = [begins_at * 25 + number for number in range(num_frames)]
    return write_video(path, moving_scene(num_frames), pts, codec, "yuv420p", options, tick=tick)


class TestEnds:
    @pytest.mark.parametrize("suffix", ["ts", "m2ts"])
    def test_a_transport_stream_that_ends_within_a_packet_is_cut_short(self, tmp_path, suffix):
        whole = part(tmp_path / f"whole.{suffix}", "libx264", 24, bf="0").read_bytes()
        path = tmp_path / f"cut.{suffix}"
        path.write_bytes(whole)
        assert read(path)[0].fault == ""
        for content in (whole[: len(whole) * 2 // 3 // 192 * 192 - 50], whole[: len(whole) // 2] + bytes(188 * 192)):
            path.write_bytes(content)
            assert read(path)[0].fault == "the file is cut short: it ends within a packet"

    def test_what_a_container_says_of_its_end_is_told(self, tmp_path):
        whole = write_video(tmp_path / "whole.mkv", moving_scene(24)).read_bytes()
        path = tmp_path / "cut.mkv"
        path.write_bytes(whole)
        assert read(path)[0].fault == ""
        path.write_bytes(whole[: len(whole) * 9 // 10])
        assert read(path)[0].fault.startswith(("the file is cut short", "the file is damaged"))

    def test_packets_that_are_missing_in_a_transport_stream_are_told(self, tmp_path):
        """Of 188 bytes each, and numbered; the frames after the gap have no damage that the decoder would see."""
        content = part(tmp_path / "whole.ts", "libx264", 36, g="36", bf="0").read_bytes()
        packets = [content[place : place + 188] for place in range(0, len(content), 188)]
        path = tmp_path / "gap.ts"
        middle = len(packets) // 2
        path.write_bytes(b"".join(packets[:middle] + packets[middle + 5 :]))
        assert read(tmp_path / "whole.ts")[0].fault == ""
        assert read(path)[0].fault == "the file is damaged: packets of it are missing in 1 place"

    @pytest.mark.parametrize(("codec", "suffix"), [("libx264", "ts"), ("mpeg2video", "mpg"), ("mpeg4", "ts")])
    def test_a_file_that_begins_between_two_key_frames_is_noted(self, tmp_path, codec, suffix):
        content = part(tmp_path / f"whole.{suffix}", codec, 36, g="12", bf="0").read_bytes()
        unit = 188 if suffix == "ts" else 2048
        path = tmp_path / f"late.{suffix}"
        head = content[: 3 * unit] if suffix == "ts" else b""  # its tables, as a receiver has read them before
        path.write_bytes(head + content[len(content) // 4 // unit * unit :])
        reader, frames = read(path)
        (note,) = reader.notes()
        assert re.fullmatch(
            r"it begins between two key frames: \d+ packets before the first give no picture, or a .*", note
        )
        assert 24 <= len([frame for frame in frames if not frame.faults]) < 36
        assert not read(tmp_path / f"whole.{suffix}")[0].notes()

    def test_two_films_in_one_file_are_told(self, tmp_path):
        film = write_video(tmp_path / "one.mp4", moving_scene(6)).read_bytes()
        path = tmp_path / "two.mp4"
        path.write_bytes(film + film)
        reader, frames = read(path)
        assert (len(frames), reader.fault) == (
            6,
            "it holds 2 films one behind the other, and the first was read; split it",
        )
        path.write_bytes(film + b"\0\0\0\x10free" + bytes(8))
        assert read(path)[0].fault == ""

    def test_a_clock_that_begins_late_is_no_missing_part(self, tmp_path):
        """A Matroska file of 12 frames at 25 a second that begins after an hour tells 3,600.48 s as its length."""
        pts = [FRAME * (number + 90_000) for number in range(12)]
        path = write_video(tmp_path / "late.mkv", moving_scene(12), pts)
        reader, frames = read(path)
        assert (len(frames), reader.fault, evenly(frames)) == (12, "", True)
        source = open_source(path)
        assert source.seconds_promised == pytest.approx(0.48, abs=0.05)
        source.container.close()

    @pytest.mark.parametrize("level", [0, 90])
    def test_a_film_that_shows_nothing_is_a_fault(self, tmp_path, level):
        nothing = [np.full((64, 96, 3), level, np.uint8)] * 6
        reader, frames = read(write_video(tmp_path / "nothing.mp4", nothing))
        assert (len(frames), reader.fault) == (6, "every frame is black or of one colour")
        reader, _ = read(write_video(tmp_path / "begins.mp4", [*nothing, *moving_scene(4, (64, 96))]))
        assert (reader.fault, reader.notes()) == ("", ["6 of 10 frames are black or of one colour"])


class TestClock:
    @pytest.mark.parametrize("suffix", ["ts", "m2ts", "vob", "mpg"])
    @pytest.mark.parametrize("num_b_frames", ["0", "2"])
    @pytest.mark.parametrize("begins", [(0, 0), (3000, 0), (0, 700)], ids=["restarts", "goes back", "leaps"])
    def test_joined_recordings_go_on_one_frame_later(self, tmp_path, suffix, num_b_frames, begins):
        codec = "libx264" if suffix.endswith("ts") else "mpeg2video"
        joined = tmp_path / f"joined.{suffix}"
        content = b""
        for number, begin in enumerate(begins):
            path = part(tmp_path / f"{number}.{suffix}", codec, 24, begin, g="12", bf=num_b_frames)
            content += path.read_bytes()
        joined.write_bytes(content)
        reader, frames = read(joined)
        assert len(frames) == 48
        assert evenly(frames)
        assert faults(frames) == {24: "rejoined"}
        assert reader.fault == ""

    def test_what_is_written_and_told(self, tmp_path):
        joined = tmp_path / "joined.ts"
        joined.write_bytes(b"".join(part(tmp_path / f"{n}.ts", "libx264", 12).read_bytes() for n in range(3)))
        summary = predict_video(joined, tmp_path / "out.mp4", red_predictor())
        assert (summary.num_rejoined, summary.is_whole) == (2, True)
        assert summary.notes() == [
            "the clock of the file starts again or leaps 2 times (joined recordings?); time goes on one frame later, "
            "where the table says rejoined"
        ]
        assert [row["frame"] for row in rows_of(summary.table) if row["fault"] == "rejoined"] == ["12", "24"]
        assert read_video(summary.video)[1] == pytest.approx([number / 25 for number in range(36)], abs=1e-3)

    def test_a_pause_of_seconds_stays(self, tmp_path):
        pts = [*range(10), *range(10 + 75, 20 + 75)]  # three seconds without a picture
        path = write_video(tmp_path / "pause.ts", moving_scene(20), pts, options={"bf": "0"}, tick=Fraction(1, 25))
        _, frames = read(path)
        assert [frame.seconds * 25 for frame in frames] == pts
        assert faults(frames) == {}

    def test_a_long_pause_of_a_format_that_promises_its_clock_stays(self, tmp_path):
        pts = [0, FRAME, 60 * 12_800, 60 * 12_800 + FRAME]
        _, frames = read(write_video(tmp_path / "slides.mkv", moving_scene(4), pts))
        assert float(frames[2].seconds) == pytest.approx(60)
        assert faults(frames) == {}

    def test_by_hand(self):
        class Packet:
            def __init__(self, time):
                self.pts = self.dts = time

        stretches = Stretches(Fraction(1, 100), Fraction(25), may_leap=True)  # 4 ticks a frame; a leap is over 1,000
        clock = Clock(Fraction(1, 100), Fraction(25))
        packets = [Packet(time) for time in (500, 504, 508, 8, 12, 1012, 2020, 2024)]
        for packet in packets:
            stretches.move(packet)
        assert [packet.pts // STRETCH for packet in packets] == [0, 0, 0, 1, 1, 1, 2, 2]
        stamps = [clock.stamp(packet.pts) for packet in packets]
        assert [seconds * 100 for seconds, _, _ in stamps] == [0, 4, 8, 12, 16, 1016, 1020, 1024]
        assert [is_after_jump for _, _, is_after_jump in stamps] == [False] * 3 + [True] + [False] * 2 + [True, False]
        assert not any(is_mended for _, is_mended, _ in stamps)

    @pytest.mark.parametrize("suffix", ["avi", "mxf", "mkv", "flv", "mov", "ts"])
    def test_frames_that_refer_to_later_ones_are_in_time_in_every_container(self, tmp_path, suffix):
        _, frames = read(part(tmp_path / f"b.{suffix}", "libx264", 24, bf="2", g="12"))
        assert [round(float(frame.seconds), 3) for frame in frames] == [round(n / 25, 3) for n in range(24)]
        assert faults(frames) == {}


def with_matrix(path, matrix):
    """The mp4 with a display matrix (a, b, c, d of ISO/IEC 14496-12) in its track."""
    content = bytearray(path.read_bytes())
    unity = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)
    place = content.find(unity, content.find(b"tkhd"))
    a, b, c, d = (65536 * value for value in matrix)
    content[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    return path


def corner():
    """A picture whose upper left is red and whose upper right is half red: no two orientations look alike."""
    image = np.zeros((32, 64, 3), np.uint8)
    image[:16, :32, 0], image[:16, 32:, 0] = 250, 120
    return image


# Column x and row y of the shown picture are a·x + c·y and b·x + d·y of the stored ones, both counted from the side
# where they begin: (-1, 0, 0, 1) sends x to -x, which mirrors left to right, and so on.
SHOWN = {
    (1, 0, 0, 1): lambda image: image,
    (-1, 0, 0, 1): lambda image: image[:, ::-1],
    (1, 0, 0, -1): lambda image: image[::-1],
    (-1, 0, 0, -1): lambda image: image[::-1, ::-1],
    (0, 1, 1, 0): lambda image: image.transpose(1, 0, 2),
    (0, 1, -1, 0): lambda image: np.rot90(image, -1),
    (0, -1, 1, 0): lambda image: np.rot90(image, 1),
    (0, -1, -1, 0): lambda image: image[::-1, ::-1].transpose(1, 0, 2),
}


class TestOrientation:
    @pytest.mark.parametrize("matrix", SHOWN, ids=str)
    def test_every_one_is_shown_as_a_player_does(self, tmp_path, matrix):
        path = with_matrix(write_video(tmp_path / "turned.mp4", [corner()] * 3), matrix)
        reader, frames = read(path)
        expected = SHOWN[matrix](corner())
        assert frames[0].image.shape == expected.shape
        assert np.abs(frames[0].image.astype(int) - expected).mean() < 8
        assert reader.is_turned == (matrix[0] == 0)
        assert reader.notes() == []

    def test_the_written_video_needs_no_turn(self, tmp_path):
        path = with_matrix(write_video(tmp_path / "turned.mp4", [corner()] * 3), (0, 1, 1, 0))
        summary = predict_video(path, tmp_path / "out.mp4", red_predictor(), VideoOptions(view="none"))
        images, _ = read_video(summary.video)
        assert np.abs(images[0].astype(int) - corner().transpose(1, 0, 2)).mean() < 8

    def test_other_turns_are_the_nearest_and_told(self, tmp_path):
        path = write_video(tmp_path / "turned.mp4", [corner()] * 3, rotation=80)
        reader, frames = read(path)
        assert frames[0].image.shape == (64, 32, 3)
        assert reader.notes() == ["the file asks for a turn by no quarter; the nearest one is shown"]

    def test_a_matrix_that_says_nothing_is_none(self):
        assert from_matrix(0, 0, 0, 0) == UPRIGHT == from_matrix(65536, 0, 0, 65536)
        assert from_matrix(0, 65536, -65536, 0) == Orientation(True, False, True)


def woven(step, num_frames=12, size=(96, 128)):
    """Frames of two fields each, the second one moved by `step` pixels, as a capture card makes of a moving camera."""
    whole = moving_scene(1, (size[0], 3 * size[1]))[0]
    images = []
    for number in range(num_frames):
        first, second = (whole[:, place : place + size[1]] for place in (2 * step * number, 2 * step * number + step))
        image = first.copy()
        image[1::2] = second[1::2]
        images.append(image)
    return images


class TestInterlace:
    def test_torn_lines_are_told(self, tmp_path):
        reader, frames = read(write_video(tmp_path / "torn.mp4", woven(8)))
        assert reader.notes() == [
            "3 of 3 frames looked at are interlaced, moving outlines are torn: use --deinterlace"
        ]  # frames 0, 5 and 10
        assert len(frames) == 12

    def test_a_file_that_says_so_is_told(self, tmp_path):
        path = tmp_path / "flagged.mpg"
        options = {"flags": "+ilme+ildct", "g": "6", "bf": "0"}
        write_video(path, moving_scene(12), list(range(12)), "mpeg2video", options=options, tick=Fraction(1, 25))
        reader, _ = read(path)
        assert reader.notes()[0].startswith("12 of 12 frames looked at are interlaced")

    def test_whole_frames_are_not(self, tmp_path):
        reader, _ = read(write_video(tmp_path / "whole.mp4", moving_scene(30)))
        assert reader.notes() == []
        assert not is_combed(np.tile(np.arange(64, dtype=np.uint8) * 4, (64, 1)).T)  # a slope from line to line

    @pytest.mark.data
    def test_no_real_picture_is_taken_for_torn(self, real_data):
        paths = sorted((real_data / "kvasir-seg" / "images").glob("*.jpg"))[:60]
        greys = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in paths]
        assert not any(is_combed(grey) for grey in greys)
        torn = [grey.copy() for grey in greys]
        for grey in torn:
            grey[1::2] = np.roll(grey, 8, 1)[1::2]
        assert all(is_combed(grey) for grey in torn)

    def test_lines_are_taken_apart(self, tmp_path):
        path = write_video(tmp_path / "torn.mp4", woven(8))
        plain, mended = read(path)[1], read(path, deinterlace=True)[1]
        assert [frame.seconds for frame in mended] == [frame.seconds for frame in plain]
        assert [frame.number for frame in mended] == list(range(12))
        greys = [cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY) for frame in mended]
        assert not any(is_combed(grey) for grey in greys)
        for first, second in zip(plain, mended, strict=True):  # the lines of the first field stay what they were
            assert np.abs(first.image[::2].astype(int) - second.image[::2])[4:-4].mean() < 4

    def test_the_option_reaches_the_video(self, tmp_path):
        path = write_video(tmp_path / "torn.mp4", woven(8))
        for number, options in enumerate((VideoOptions(view="none"), VideoOptions(view="none", deinterlace=True))):
            summary = predict_video(path, tmp_path / f"{number}.mp4", red_predictor(), options)
            images, _ = read_video(summary.video)
            torn = [is_combed(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)) for image in images]
            assert all(torn) != options.deinterlace
            assert "interlaced" in summary.notes()[0]
            assert ("taken apart by bwdif" in summary.notes()[0]) == options.deinterlace

    def test_lost_frames_and_new_sizes_keep_their_places(self, tmp_path):
        for name, size in (("one", (64, 64)), ("two", (96, 128))):
            write_video(tmp_path / f"{name}.h264", moving_scene(5, size))
        both = tmp_path / "both.h264"
        both.write_bytes((tmp_path / "one.h264").read_bytes() + (tmp_path / "two.h264").read_bytes())
        _, frames = read(both, deinterlace=True)
        assert [frame.number for frame in frames] == list(range(10))
        assert [frame.image.shape[:2] for frame in frames] == [(64, 64)] * 5 + [(96, 128)] * 5


class TestColours:
    def deep_video(self, path, transfer, level):
        """A grey 10-bit video with a transfer function; level of 1,023, full range."""
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx265", rate=25, options={"crf": "4", "x265-params": "log-level=none"})
            stream.height = stream.width = 64
            stream.pix_fmt = "yuv420p10le"
            context = stream.codec_context
            context.colorspace, context.color_primaries, context.color_trc, context.color_range = 9, 9, transfer, 1
            for _ in range(3):
                image = np.full((64, 64, 3), round(65535 * level), np.uint16)
                frame = av.VideoFrame.from_ndarray(image, format="rgb48le")
                frame = frame.reformat(format="yuv420p10le", dst_colorspace=9, dst_color_range="MPEG")
                frame.colorspace, frame.color_trc, frame.color_primaries, frame.color_range = 9, transfer, 9, 1
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path

    def test_white_of_hdr_by_hand(self):
        # PQ's level of 203 cd/m² is 0.5807 (BT.2408); that is 1 of white. mobius with j = 0.3, p = 1000/203 = 4.926:
        # a = -0.09·3.926/(0.09 - 0.6 + 4.926) = -0.0800, b = (0.09 - 2.9557 + 4.926)/3.926 = 0.5248,
        # (0.2754 + 0.3149 + 0.09)/(0.5248 + 0.0800)·(1 - 0.0800)/(1 + 0.5248) = 0.6786; then BT.709's curve:
        # 1.099·0.6786^0.45 - 0.099 = 0.8240 of 255 = 210.1.
        level = np.full((1, 1, 3), round(0.5807 * 65535), np.uint16)
        assert colours.tone_mapped(level, colours.PQ).ravel().tolist() == pytest.approx([210] * 3, abs=1)
        # HLG's 0.75 is the same white (BT.2408): its scene light is (exp((0.75 - c)/a) + b)/12 = 0.2650, to the power
        # of 1.2 of 1,000 cd/m² 203.
        level = np.full((1, 1, 3), round(0.75 * 65535), np.uint16)
        assert colours.tone_mapped(level, colours.HLG).ravel().tolist() == pytest.approx([210] * 3, abs=1)

    def test_black_and_brightest(self):
        levels = np.array([[[0] * 3, [65535] * 3]], np.uint16)
        assert colours.tone_mapped(levels, colours.PQ).tolist() == [[[0] * 3, [255] * 3]]

    @pytest.mark.parametrize(("transfer", "level"), [(16, 0.5807), (18, 0.75)])
    def test_a_video_of_hdr_is_brought_down_and_told(self, tmp_path, transfer, level):
        reader, frames = read(self.deep_video(tmp_path / "hdr.mp4", transfer, level))
        assert np.abs(frames[1].image.astype(int) - 210).max() <= 3
        assert reader.notes() == ["HDR colours, brought to those of a usual screen"]

    def test_ten_bits_are_told(self, tmp_path):
        reader, frames = read(self.deep_video(tmp_path / "deep.mp4", 1, 0.5))
        assert np.abs(frames[1].image.astype(int) - 128).max() <= 2
        assert reader.notes() == ["10-bit colours, rounded to 8 bits"]


def with_edit(path, first, num_frames):
    """The mp4 whose edit list shows `num_frames` from the frame `first` on."""
    content = bytearray(path.read_bytes())
    place = content.find(b"elst") + 12
    begin = int.from_bytes(content[place + 4 : place + 8], "big")  # of the first frame, which B-frames delay
    content[place : place + 8] = struct.pack(">Ii", num_frames * 40, begin + first * FRAME)  # thousandths, and ticks
    path.write_bytes(content)
    return path


def packed(path, images):
    """An AVI as DivX wrote it: a frame and the one before it that refers to it share a packet; an empty one follows."""
    whole = path.with_name("unpacked.avi")
    write_video(whole, images, list(range(len(images))), "mpeg4", options={"bf": "1", "g": "100"}, tick=Fraction(1, 25))
    with av.open(str(whole)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        contents = [bytes(packet) for packet in source.demux(video=0) if packet.size]
        note = b"\x00\x00\x01\xb2DivX503b1393p"
        chunks = [note + contents[0]]
        nothing = b"\x00\x00\x01\xb6\x50\x00"  # a frame that is not coded
        for index in range(1, len(contents), 2):
            pair = contents[index : index + 2]
            chunks += [b"".join(pair)] + [nothing] * (len(pair) - 1)
        for number, chunk in enumerate(chunks):
            packet = av.Packet(chunk)
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, 25), number == 0
            packet.pts = packet.dts = number
            target.mux(packet)
    return path


class TestContainers:
    @pytest.mark.parametrize("num_b_frames", ["0", "2"])
    def test_an_edit_list_is_followed_and_no_cut(self, tmp_path, num_b_frames):
        images = [np.full((32, 32, 3), 4 * number, np.uint8) for number in range(50)]
        for image in images:
            image[:, :16] += 16  # something to be seen
            image[:, 16:] -= np.minimum(image[:, 16:], 16)
        path = write_video(tmp_path / "cut.mp4", images, options={"g": "10", "bf": num_b_frames, "crf": "1"})
        reader, frames = read(with_edit(path, 25, 20))
        assert evenly(frames)
        greys = [float(frame.image.mean()) for frame in frames]
        assert greys == pytest.approx([4 * number for number in range(25, 45)], abs=3)
        assert (reader.fault, faults(frames)) == ("", {})

    def test_packed_frames_come_once_and_in_order(self, tmp_path):
        images = [np.full((32, 32, 3), 20 + 8 * number, np.uint8) for number in range(21)]
        _, frames = read(packed(tmp_path / "packed.avi", images))
        greys = [float(frame.image.mean()) for frame in frames]
        assert greys == sorted(greys)
        assert len(greys) == 21
        assert evenly(frames)

    def test_two_streams_of_pictures_are_told(self, tmp_path):
        path = tmp_path / "two.mkv"
        with av.open(str(path), "w") as container:
            streams = [container.add_stream("libx264", rate=25) for _ in range(2)]
            for stream, side in zip(streams, (64, 96), strict=True):
                stream.height = stream.width = side
                stream.pix_fmt = "yuv420p"
            for _ in range(5):
                for stream in streams:
                    image = np.zeros((stream.height, stream.width, 3), np.uint8)
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            for stream in streams:
                container.mux(stream.encode(None))
        reader, frames = read(path)
        side = frames[0].image.shape[0]
        assert reader.notes() == [
            f"it holds 2 streams of pictures; read is stream {(64, 96).index(side)} ({side}x{side})"
        ]

    def test_a_cover_beside_the_film_is_passed_over(self, tmp_path):
        from av.stream import Disposition

        path = tmp_path / "covered.mp4"
        with av.open(str(path), "w") as container:
            cover, film = container.add_stream("mjpeg", rate=25), container.add_stream("libx264", rate=25)
            for stream, pixels in ((cover, "yuvj420p"), (film, "yuv420p")):
                stream.height = stream.width = 64
                stream.pix_fmt = pixels
            cover.disposition = Disposition.attached_pic
            container.mux(cover.encode(av.VideoFrame.from_ndarray(np.full((64, 64, 3), 255, np.uint8))))
            container.mux(cover.encode(None))
            for _ in range(4):
                container.mux(film.encode(av.VideoFrame.from_ndarray(np.full((64, 64, 3), 90, np.uint8))))
            container.mux(film.encode(None))
        reader, frames = read(path)
        assert [round(float(frame.image.mean())) for frame in frames] == pytest.approx([90] * 4, abs=2)
        assert reader.notes() == []

    def test_a_folder_is_no_place_for_a_video(self, tmp_path):
        path = write_video(tmp_path / "film.mp4", moving_scene(3))
        (tmp_path / "out.mp4").mkdir()
        with pytest.raises(UsageError, match=r"out\.mp4: is a folder; a video is written into a file"):
            predict_video(path, tmp_path / "out.mp4", red_predictor())

    def test_what_is_no_video_makes_no_folder(self, tmp_path):
        (tmp_path / "film.mp4").write_bytes(b"nothing\n" * 99)
        with pytest.raises(DataError, match="not a video that can be read"):
            predict_video(tmp_path / "film.mp4", tmp_path / "new" / "out.mp4", red_predictor())
        assert not (tmp_path / "new").exists()


class TestDamage:
    def change(self, path, at, num_bytes):
        content = bytearray(path.read_bytes())
        content[at : at + num_bytes] = np.random.default_rng(at).integers(0, 256, num_bytes, np.uint8).tobytes()
        path.write_bytes(content)
        return path

    @pytest.mark.parametrize("suffix", ["avi", "mov"])
    def test_a_jpeg_that_is_cut_within_is_a_fault(self, tmp_path, suffix):
        path = tmp_path / f"film.{suffix}"
        write_video(path, moving_scene(6), list(range(6)), "mjpeg", "yuvj420p", {}, tick=Fraction(1, 25))
        whole = read(path)[1]
        content = bytearray(path.read_bytes())
        second = content.find(b"\xff\xd8\xff", content.find(b"\xff\xd8\xff") + 3)
        end = content.find(b"\xff\xd9", second)
        middle = (second + end) // 2
        content[middle : middle + 2] = b"\xff\xd9"  # half a scan, then the marker of an end
        path.write_bytes(content)
        _, frames = read(path)
        assert faults(frames) == {1: "damaged"}
        np.testing.assert_array_equal(frames[0].image, whole[0].image)
        np.testing.assert_array_equal(frames[2].image, whole[2].image)

    def test_a_sum_that_does_not_fit_is_a_fault(self, tmp_path):
        path = tmp_path / "film.mkv"
        write_video(path, moving_scene(4), list(range(4)), "ffv1", "yuv420p", {"slicecrc": "1"}, tick=Fraction(1, 25))
        size = path.stat().st_size
        assert set(faults(read(self.change(path, size // 2, 4))[1]).values()) == {"damaged"}

    def test_damage_that_the_decoder_only_mentions_is_a_fault(self, tmp_path, monkeypatch):
        path = tmp_path / "film.mkv"
        options = {"g": "10", "bf": "2"}
        write_video(path, moving_scene(40, (192, 256)), list(range(40)), options=options, tick=Fraction(1, 25))
        assert faults(read(path)[1]) == {}
        for share in (0.3, 0.5, 0.7):
            self.change(path, int(share * path.stat().st_size), 200)
        found = faults(read(path)[1])
        monkeypatch.setattr(Complaints, "heard", False)
        without = faults(read(path)[1])
        assert set(without) < set(found)
        assert len(found) > len(without) + 5

    def test_lines_of_an_intact_file_are_no_damage(self):
        complaints = Complaints("h264")
        for line, is_damage in (("mmco: unref short failure", False), ("error while decoding MB 3 4", True)):
            with complaints:
                av.logging.log(av.logging.ERROR, "h264", line)
            assert complaints.heard == is_damage
            with complaints:
                av.logging.log(av.logging.ERROR, "libx264", line)
            assert not complaints.heard
