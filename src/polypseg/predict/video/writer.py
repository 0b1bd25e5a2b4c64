"""Writes a video: H.264 in mp4 or mkv, each frame at its own time.

Decisions:
- The file is NAME.part.mp4 until it is finished, and playable at any moment: mp4 is written in fragments of about a
  second, which become an ordinary, seekable mp4 at the end (FFmpeg's `hybrid_fragmented`). A killed run loses about a
  second.
- No frame refers to a later one (no B-frames): time stamps come out as they went in.
- Colours are stored in 4:2:0, which every player shows and which needs even sides: an odd side gets one more row or
  column, equal to its last.
- Where FFmpeg was built without libx264, MPEG-4 Part 2 takes its place.
"""

from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from polypseg.arrays import Image
from polypseg.errors import DataError, UsageError
from polypseg.predict.video.source import import_av
from polypseg.records.atomic import put_in_place

SUFFIXES = {".mp4": "mp4", ".mkv": "matroska"}
FRAGMENTS = "frag_keyframe+empty_moov+default_base_moof+hybrid_fragmented"
PRESET = "veryfast"
"""x264's: twice as fast as its own choice, for files a tenth larger."""

MPEG4_TIME_BASE = Fraction(1, 60_000)
"""MPEG-4 Part 2 counts time in at most 65,535 parts of a second."""


@dataclass(frozen=True)
class VideoLook:
    """What a written video shares with its source.

    Attributes:
        time_base: Seconds of one unit of time.
        rate: Frames a second, on average.
        aspect: Width of a pixel over its height.
        matrix: Of the colours, by ISO/IEC 23091-2.
    """

    time_base: Fraction
    rate: Fraction
    aspect: Fraction = Fraction(1)
    matrix: int = 5


def check_output(path: Path) -> None:
    """Nothing, if a video can be written under this name.

    Raises:
        UsageError: Another ending, or a folder.
    """
    if path.is_dir():
        raise UsageError(f"{path}: is a folder; a video is written into a file: name one that ends in .mp4 or .mkv")
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{path}: expected a name that ends in {' or '.join(SUFFIXES)}, found {path.suffix or 'none'}")


def pick_codec() -> str:
    """`libx264` where FFmpeg has it, else `mpeg4`."""
    return "libx264" if "libx264" in import_av().codecs_available else "mpeg4"


class VideoWriter:
    """Writes frames to NAME.part.mp4; `finish` moves it to NAME.mp4.

    Args:
        path: Ends in .mp4 or .mkv.
        size: Height and width of the frames in pixels.
        look: What it shares with its source.
        quality: 0 (lossless) to 51.
    """

    def __init__(self, path: Path, size: tuple[int, int], look: VideoLook, quality: int) -> None:
        self.path, self.size, self.codec = path, size, pick_codec()
        self.part = path.with_suffix(f".part{path.suffix}")
        self._matrix = look.matrix if look.matrix != 9 else 1
        kind = SUFFIXES[path.suffix.lower()]
        options = {"flush_packets": "1"} | ({"movflags": FRAGMENTS} if kind == "mp4" else {})
        self._container = self._told(import_av().open, str(self.part), "w", format=kind, options=options)
        self._stream = self._add_stream(look, quality)
        self._last_pts = -1
        self._is_closed = False

    def write(self, image: Image, seconds: Fraction) -> None:
        """Add a frame (H, W, 3) uint8 of any size at its time, later than the one before.

        Raises:
            DataError: It cannot be written, as on a full disk.
        """
        frame = import_av().VideoFrame.from_ndarray(self._fitted(image), format="rgb24")
        frame = frame.reformat(
            format="yuv420p", dst_colorspace=self._matrix, dst_color_range="MPEG", interpolation="BILINEAR"
        )
        frame.time_base = self._stream.codec_context.time_base
        frame.pts = self._last_pts = max(round(seconds / frame.time_base), self._last_pts + 1)
        self._mux(frame)

    def flush(self) -> None:
        """Bring what the encoder still holds into the part file, and close it; nothing can be added then."""
        self._mux(None)
        self._is_closed = True
        self._told(self._container.close)

    def finish(self) -> Path:
        """Where the whole video lies; after `flush`."""
        put_in_place(self.part, self.path)
        return self.path

    def close(self) -> None:
        """Close the part file where `flush` did not, without the frames that the encoder still holds."""
        if not self._is_closed:
            with suppress(Exception):  # what went wrong is told already
                self._container.close()

    def _add_stream(self, look: VideoLook, quality: int) -> Any:
        stream = self._container.add_stream(self.codec, rate=look.rate.limit_denominator(60_000))
        context = stream.codec_context
        height, width = self.size
        context.height, context.width, context.pix_fmt = height + height % 2, width + width % 2, "yuv420p"
        context.time_base = look.time_base
        context.gop_size = max(1, round(look.rate))
        context.max_b_frames = 0
        context.colorspace, context.color_range = self._matrix, 1
        context.sample_aspect_ratio = look.aspect
        if self.codec == "libx264":
            context.options = {"preset": PRESET, "crf": str(quality)}
        else:
            context.time_base = max(look.time_base, MPEG4_TIME_BASE)
            step = str(1 + round(quality * 30 / 51))  # its own scale goes from 1 to 31
            context.options = {"qmin": step, "qmax": step}
        stream.time_base = context.time_base
        return stream

    def _fitted(self, image: Image) -> Image:
        """The image at the video's size, an odd side repeated by one row or column."""
        height, width = self.size
        if image.shape[:2] != self.size:
            image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
        if height % 2 or width % 2:
            padded = cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
            return np.asarray(padded, np.uint8)
        return np.ascontiguousarray(image)

    def _mux(self, frame: Any) -> None:
        for packet in self._told(self._stream.encode, frame):
            self._told(self._container.mux, packet)

    def _told(self, work: Any, *arguments: Any, **options: Any) -> Any:
        """What the work returns; its errors told as ours."""
        try:
            return work(*arguments, **options)
        except (import_av().error.FFmpegError, OSError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise DataError(
                f"{self.path}: cannot be written: {reason.splitlines()[0]}; what was written lies in {self.part.name}"
            ) from error
