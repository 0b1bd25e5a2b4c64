"""The frames of a video, one after another: decoded, upright, in time, and with what is wrong with each.

Decisions:
- Every packet of the file counts: one that cannot be decoded is a frame without a picture (`dropped`).
- A frame that the decoder could restore only in part is `damaged`, and so are those after a dropped or damaged one up
  to the next key frame: they are built on pictures that were lost.
- Time is counted from the first frame, in the source's own units. A frame whose time stamp is not after the one before
  is `mistimed` and set one unit after it. A frame without a time stamp follows at the source's rate.
- The rotation that a file asks for is applied, by quarter turns.
- Colours are turned to RGB by the matrix that the source names; where it names none, by ITU-R BT.709 from 720 lines on
  and BT.601 below, as players do.
"""

import time
from collections.abc import Iterator
from fractions import Fraction
from threading import Event
from typing import Any, NamedTuple

import numpy as np

from polypseg.arrays import Image
from polypseg.errors import DataError
from polypseg.predict.video.source import VideoSource, import_av

DROPPED, DAMAGED, MISTIMED, RESIZED = "dropped", "damaged", "mistimed", "resized"

BT709, BT601 = 1, 5
MATRICES = {1: BT709, 4: 4, 5: BT601, 6: BT601, 7: 7, 9: 9}
"""The numbers of colour matrices that are known, by those of ISO/IEC 23091-2; 2 is unspecified, 0 RGB."""

MAX_FAILURES = 20
"""So many reads in a row that give nothing end a file."""

SHORT_BY_SECONDS = 0.25
"""A file that ends so much before its header says is cut short; less is rounding."""


class Frame(NamedTuple):
    """A frame.

    Attributes:
        number: Counted from 0, those without a picture too.
        seconds: Since the first frame.
        image: Shape (H, W, 3), uint8, upright; None where it was dropped.
        faults: Of `DROPPED`, `DAMAGED`, `MISTIMED`, `RESIZED`.
    """

    number: int
    seconds: Fraction
    image: Image | None
    faults: tuple[str, ...] = ()


class Clock:
    """Time stamps that rise, counted from the first.

    Args:
        time_base: Seconds of one unit.
        rate: Frames a second, for frames without a time stamp.
    """

    def __init__(self, time_base: Fraction, rate: Fraction) -> None:
        self.time_base = time_base
        self._interval = max(1, round(1 / (rate * time_base)))
        self._first: int | None = None
        self._last: int | None = None

    def stamp(self, pts: int | None) -> tuple[Fraction, bool]:
        """Seconds since the first frame, and whether they had to be mended."""
        ticks = self._ticks(pts)
        is_mended = self._last is not None and ticks <= self._last
        self._last = self._last + 1 if self._last is not None and is_mended else ticks
        return self._last * self.time_base, is_mended

    def near(self, pts: int | None) -> Fraction:
        """Seconds since the first frame of a frame that gave no picture; later frames do not heed it."""
        return max(0, self._ticks(pts)) * self.time_base

    def end(self) -> Fraction:
        """Seconds from the first to the end of the last frame, which lasts as long as the rate says."""
        return Fraction(0) if self._last is None else (self._last + self._interval) * self.time_base

    def _ticks(self, pts: int | None) -> int:
        if pts is None:
            return 0 if self._last is None else self._last + self._interval
        if self._first is None:
            self._first = pts
        return pts - self._first


class FrameReader:
    """Reads the frames of a source.

    Args:
        source: From `open_source`.
        stopped: Set by whoever wants no more frames.
        max_frames: Stop after so many frames with a picture.

    Attributes:
        fault: What is wrong with the source as a whole; known when the frames are read.
        matrix: Of the colours; known from the first picture on.
        is_turned: Whether frames are turned by 90 or 270 degrees; known from the first picture on.
        clock: That counts their time.
    """

    def __init__(self, source: VideoSource, stopped: Event, max_frames: int | None = None) -> None:
        self.source, self.stopped, self.max_frames = source, stopped, max_frames
        self.fault = ""
        self.matrix = BT601
        self.is_turned = False
        self.clock = Clock(Fraction(source.stream.time_base), source.rate)
        self._num_packets = self._num_pictures = self._number = 0
        self._is_broken = False
        self._shape: tuple[int, ...] | None = None

    def frames(self) -> Iterator[Frame]:
        """The frames in the order in which they are shown.

        Raises:
            DataError: Not one picture can be decoded.
        """
        context = self.source.stream.codec_context
        context.thread_type = "SLICE"  # threads by frame would tell a fault of another packet than its own
        for packet in self._packets():
            yield from self._decode(packet)
            if self._is_enough():
                return
        if not self._num_pictures and not self.stopped.is_set():
            raise DataError(
                f"{self.source.name}: not one of its {self._num_packets:,} frames can be decoded; is it damaged?"
            )
        self.fault = self.fault or self._cut_short()

    def _is_enough(self) -> bool:
        return self.stopped.is_set() or (self.max_frames is not None and self._num_pictures >= self.max_frames)

    def _packets(self) -> Iterator[Any]:
        """The packets, and an empty one at the end; reading goes on after a fault."""
        av = import_av()
        failures = 0
        while not self.stopped.is_set():
            try:
                for packet in self.source.container.demux(self.source.stream):
                    failures = 0
                    self._num_packets += packet.size > 0
                    yield packet
                    if self.stopped.is_set():
                        return
                return
            except BlockingIOError:  # a device that has no picture yet
                time.sleep(0.005)
            except (av.error.FFmpegError, OSError) as error:
                failures += 1
                if self.source.is_device or failures >= MAX_FAILURES:
                    lost = "the device was lost" if self.source.is_device else "reading stops early"
                    self.fault = f"{lost} after {self._num_pictures:,} frames ({str(error).splitlines()[0]})"
                    return

    def _decode(self, packet: Any) -> Iterator[Frame]:
        av = import_av()
        try:
            decoded = packet.decode()
        except (av.error.FFmpegError, ValueError):
            if packet.size > 0:
                self._is_broken = True
                yield Frame(self._next_number(), self.clock.near(packet.pts), None, (DROPPED,))
            return
        for frame in decoded:
            yield self._frame(frame)
            if self._is_enough():
                return

    def _frame(self, decoded: Any) -> Frame:
        faults = []
        self._is_broken = bool(decoded.is_corrupt) or (self._is_broken and not decoded.key_frame)
        if self._is_broken:
            faults.append(DAMAGED)
        seconds, is_mended = self.clock.stamp(decoded.pts)
        if is_mended:
            faults.append(MISTIMED)
        image = self._upright(decoded)
        if self._shape is None:
            self._shape = image.shape
        elif self._shape != image.shape:
            faults.append(RESIZED)
        self._num_pictures += 1
        return Frame(self._next_number(), seconds, image, tuple(faults))

    def _upright(self, decoded: Any) -> Image:
        matrix = MATRICES.get(int(decoded.colorspace), BT709 if decoded.height >= 720 else BT601)
        quarters = round(decoded.rotation / 90) % 4
        if self._shape is None:
            self.matrix, self.is_turned = matrix, quarters % 2 == 1
        pixels = decoded.reformat(format="rgb24", src_colorspace=matrix).to_ndarray()
        return np.ascontiguousarray(np.rot90(pixels, quarters)) if quarters else np.asarray(pixels)

    def _next_number(self) -> int:
        self._number += 1
        return self._number - 1

    def _cut_short(self) -> str:
        if self.stopped.is_set():
            return ""
        promised, seconds = self.source.num_promised, self.source.seconds_promised
        if self._num_packets < promised:
            return f"the file is cut short: it promises {promised:,} frames, {self._num_packets:,} are there"
        found = float(self.clock.end())
        if not promised and seconds - found >= SHORT_BY_SECONDS:
            return f"the file is cut short: it promises {seconds:.1f} s, {found:.1f} s are there"
        return ""
