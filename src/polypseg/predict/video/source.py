"""A video file or a capture device, opened: what holds the pictures, and what is known of them beforehand.

Decisions:
- FFmpeg guesses a format from anything, text and playlists too; only the formats of `FORMATS` are tried.
- A cover picture of a sound file is no video.
- A file that takes too long to open is given up: FFmpeg is asked to end by itself, and where it does not, the thread in
  which it hangs is left to itself.
- A device is known by its index: /dev/videoN on Linux, the N-th of AVFoundation on macOS and of DirectShow on Windows.
"""

import io
import platform
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from polypseg.errors import DataError, UsageError, missing_extra
from polypseg.predict.video.stages import Patience, Pipeline
from polypseg.preprocess import MAX_PIXELS

FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,av1,obu,ivf,flv,asf,ogg,mxf,nut,dv,"
    "gif,wmv,yuv4mpegpipe,mjpeg"
)
"""FFmpeg's names of what counts as a video."""

DEVICE_SECONDS = 10.0
"""A device that gives no picture for so long is given up."""

FILE_SECONDS = 60.0
"""A file that is not open, or gives no next frame, after so long is given up; a second is much."""

DEFAULT_RATE = Fraction(25)
"""Frames a second where a source does not tell."""


SLOWEST_RATE, FASTEST_RATE = Fraction(1, 100), 1000


NO_TIME_STAMPS = ("avi", "mxf")
"""Formats that number packets in order of decoding."""

TS_SYNC, TS_PACKETS = b"\x47", (188, 192, 204)
"""The first byte of a packet of MPEG-TS (in one of 192 bytes the fifth), and how long packets are."""

_TS_DISCONT = 0x0200
"""FFmpeg's flag of a format whose clock may leap."""


class VideoSource(NamedTuple):
    """An open source.

    Attributes:
        name: For messages: the path, or "device 0".
        container: PyAV's.
        stream: The one that holds the pictures.
        is_device: Whether it ends only when it is stopped.
        remarks: What a user should know of its streams.
    """

    name: str
    container: Any
    stream: Any
    is_device: bool
    remarks: tuple[str, ...] = ()

    @property
    def rate(self) -> Fraction:
        """Frames a second, on average; a guess where the source does not tell, or tells nonsense."""
        told = (self.stream.average_rate, self.stream.guessed_rate)
        return next((Fraction(rate) for rate in told if rate and SLOWEST_RATE <= rate <= FASTEST_RATE), DEFAULT_RATE)

    @property
    def has_sound(self) -> bool:
        """Whether there is sound beside the pictures."""
        return bool(self.container.streams.audio)

    @property
    def lacks_time_stamps(self) -> bool:
        """Whether packets tell when they are decoded, and not when they are shown."""
        return not self.is_device and self.container.format.name in NO_TIME_STAMPS

    @property
    def may_leap(self) -> bool:
        """Whether the format allows a clock that leaps, as MPEG-TS and MPEG-PS do."""
        return not self.is_device and bool(int(self.container.format.flags) & _TS_DISCONT)

    @property
    def num_promised(self) -> int:
        """Frames that the file says it shows; 0 where it does not.

        An edit list of an mp4 leaves frames out: its index holds those that are to be read.
        """
        if self.is_device:
            return 0
        stored, indexed = int(self.stream.frames), len(getattr(self.stream, "index_entries", ()))
        return min(stored, indexed) if indexed and "mp4" in self.container.format.name else stored

    @property
    def seconds_promised(self) -> float:
        """The video's length by its header; 0 where it does not tell, or where it may be the sound's.

        A Matroska file tells where its clock ends, which need not begin at 0.
        """
        if self.is_device:
            return 0.0
        begin = float(self.container.start_time or 0) / 1_000_000 if "matroska" in self.container.format.name else 0.0
        if self.stream.duration is not None:
            return max(0.0, float(self.stream.duration * self.stream.time_base) - begin)
        if self.container.duration is not None and len(self.container.streams) == 1:
            return max(0.0, float(self.container.duration) / 1_000_000 - begin)
        return 0.0

    @property
    def num_films(self) -> int:
        """How many mp4 files lie one behind the other in this one, of which FFmpeg reads the first."""
        is_mp4 = not self.is_device and "mp4" in self.container.format.name
        return sum(kind == b"moov" for kind in _boxes(Path(self.name))) if is_mp4 else 1

    @property
    def ends_within_packet(self) -> bool:
        """Whether an MPEG-TS file, which promises no length, ends in half a packet, or in what is none."""
        if self.is_device or self.container.format.name != "mpegts":
            return False
        with Path(self.name).open("rb") as opened:
            head, size = opened.read(8 + max(TS_PACKETS)), opened.seek(0, io.SEEK_END)
            for lead, length in ((length - 188 if length == 192 else 0, length) for length in TS_PACKETS):
                if head[lead : lead + 1] == head[lead + length : lead + length + 1] == TS_SYNC:
                    opened.seek(size - size % length - length + lead)
                    return size % length != 0 or opened.read(1) != TS_SYNC
        return False

    @property
    def num_expected(self) -> int:
        """Frames that are promised, else an estimate from the length; 0 where nothing is known."""
        return self.num_promised or round(self.seconds_promised * self.rate)


def import_av() -> Any:
    """PyAV.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import av
    except ModuleNotFoundError as error:
        raise missing_extra("av", "video") from error
    return av


def open_source(source: Path | int) -> VideoSource:
    """The source, open; close its container.

    Raises:
        DataError: No such file or device, not a video, cut off before its index, or larger than the allowed pixels.
        MissingExtraError: PyAV is not installed.
        UsageError: A negative index.
    """
    name, container = open_device(source) if isinstance(source, int) else open_file(source)
    try:
        stream, remarks = _pictures(container, name)
        opened = VideoSource(name, container, stream, isinstance(source, int), remarks)
        context = opened.stream.codec_context
        if context.width * context.height > MAX_PIXELS:
            raise DataError(
                f"{name}: frames of {context.height}x{context.width} pixels are more than the allowed {MAX_PIXELS:,}"
            )
    except BaseException:
        container.close()
        raise
    return opened


def open_file(path: Path) -> tuple[str, Any]:
    """The name and the container of a file."""
    av = import_av()
    if not path.is_file():
        there = "is a folder" if path.is_dir() else "not a regular file (a pipe, a socket or a device)"
        what = f"{there}; expected a video file" if path.exists() else "no such file"
        raise DataError(f"{path}: {what}")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty (0 bytes); expected a video")
    try:
        return str(path), _opened_in_time(path)
    except av.error.ExitError as error:
        raise hanging(str(path), "header") from error
    except PermissionError as error:
        raise DataError(f"{path}: cannot read the file: {error.strerror}") from error
    except (av.error.FFmpegError, ValueError) as error:
        if _lacks_index(path):
            raise DataError(
                f"{path}: the index of the video is missing: the file is cut short, or not a video; copy it again"
            ) from error
        raise DataError(
            f"{path}: not a video that can be read (mp4, mkv, avi, …); is it damaged or wrongly named?"
        ) from (error)


def hanging(name: str, part: str) -> DataError:
    """The error of a file in which the decoder, or the disk, hangs."""
    return DataError(
        f"{name}: the decoder did not read its {part} within {FILE_SECONDS:g} s, expected less than 1 s; copy the file "
        "again, or convert it first (ffmpeg -i FILE new.mp4)"
    )


def _opened_in_time(path: Path) -> Any:
    """The container of a file, opened in a thread, so that nobody waits for a decoder that hangs."""
    options: dict[str, Any] = {"options": {"format_whitelist": FORMATS}, "metadata_errors": "replace"}

    def containers() -> Iterator[Any]:
        yield import_av().open(str(path), timeout=FILE_SECONDS, **options)

    with Pipeline() as pipeline:
        return next(pipeline.ahead(containers(), patience=Patience(FILE_SECONDS + 1, hanging(str(path), "header"))))


def _lacks_index(path: Path) -> bool:
    """Whether a file begins as an mp4 and holds no box `moov`, without which nothing in it can be found."""
    with path.open("rb") as opened:
        if opened.read(8)[4:] != b"ftyp":
            return False
    return b"moov" not in _boxes(path)


def _boxes(path: Path) -> Iterator[bytes]:
    """The kinds of an mp4's outermost boxes, up to one of no length."""
    with path.open("rb") as opened:
        while len(header := opened.read(16)) >= 8:
            yield header[4:8]
            size = int.from_bytes(header[:4], "big")
            length = int.from_bytes(header[8:], "big") if size == 1 else size
            if length < 8:  # to the end of the file, or nonsense
                return
            opened.seek(length - len(header), 1)


def device_address(index: int) -> tuple[str, str, dict[str, str]]:
    """What FFmpeg opens for a device: address, format, options.

    Raises:
        DataError: DirectShow has no device of that index.
    """
    system = platform.system()
    if system == "Darwin":
        return f"{index}:none", "avfoundation", {"framerate": "30"}
    if system == "Windows":
        names = [
            device.name for device in import_av().enumerate_input_devices("dshow") if "video" in device.media_types
        ]
        if index >= len(names):
            raise DataError(f"device {index}: no such device; there are {len(names)}")
        return f"video={names[index]}", "dshow", {}
    return f"/dev/video{index}", "v4l2", {}


def open_device(index: int) -> tuple[str, Any]:
    """The name and the container of a camera or capture device."""
    av = import_av()
    if index < 0:
        raise UsageError(f"device {index}: expected 0 or more")
    name = f"device {index}"
    address, file_format, options = device_address(index)
    try:
        return name, av.open(address, format=file_format, options=options, timeout=DEVICE_SECONDS)
    except FileNotFoundError as error:
        raise DataError(f"{name}: no such device ({address}); is it connected?") from error
    except PermissionError as error:
        raise DataError(
            f"{name}: {address} may not be read; add yourself to its group (video), or ask for it"
        ) from error
    except (av.error.FFmpegError, ValueError, OSError) as error:
        raise DataError(f"{name}: {address} cannot be opened as a camera ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).splitlines()[0]


def _pictures(container: Any, name: str) -> tuple[Any, tuple[str, ...]]:
    """The stream of moving pictures that a player takes, and what is to be told of the others."""
    from av.stream import Disposition

    still = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
    moving = [stream for stream in container.streams.video if not stream.disposition & still]
    decodable = [stream for stream in moving if stream.codec_context is not None]
    if not decodable:
        if moving:
            raise DataError(f"{name}: this FFmpeg cannot decode its pictures; convert it to H.264 first")
        what = "sound only" if container.streams.audio else "no moving pictures"
        raise DataError(f"{name}: holds {what}; expected a video")
    best = container.streams.best("video") if len(decodable) > 1 else decodable[0]
    chosen = next((stream for stream in decodable if stream is best), decodable[0])
    if len(moving) == 1:
        return chosen, ()
    size = f"{chosen.codec_context.width}x{chosen.codec_context.height}"
    return chosen, (f"it holds {len(moving)} streams of pictures; read is stream {chosen.index} ({size})",)
