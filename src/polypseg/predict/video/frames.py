"""The frames of a video, one after another: decoded, upright, in time, and with what is wrong with each.

Decisions:
- Every packet of the file counts: one that cannot be decoded is a frame without a picture (`dropped`).
- A frame that the decoder could restore only in part is `damaged`, and so are those after a dropped or damaged one up
  to the next key frame: they are built on pictures that were lost.
- FFmpeg hands out damaged JPEG frames without a word; its decoder is told to refuse them, and what a lenient second one
  restores is `damaged`.
- Nobody waits for a frame longer than `FILE_SECONDS` (`frames_ahead`): a decoder may hang in a damaged file.
- A file that begins between two key frames gives damaged pictures, or none, up to the next one: that is noted.
- A frame that shows nothing (black, of one colour) is predicted like any other, as a film may hold some; they are
  counted, and a film of nothing else is a fault.
- Packets of MPEG-TS are numbered: a gap is damage, but not right before a key frame, where recordings were joined.
- Time is counted from the first frame, in the source's own units (clock.py). A frame whose time stamp is not after the
  one before is `mistimed` and set one unit after it; one before which the source's clock jumps is `rejoined`. A frame
  without a time stamp follows at the source's rate.
- A picture is turned and mirrored as its file asks (orientation.py), its colours are RGB (colours.py), and its lines
  are taken apart where the caller asks for it (interlace.py).
"""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple

from polypseg.arrays import Image
from polypseg.errors import DataError, plural
from polypseg.predict.video.clock import Clock, Stretches
from polypseg.predict.video.colours import BT601, is_hdr, matrix_of, to_rgb
from polypseg.predict.video.complaints import Complaints
from polypseg.predict.video.interlace import LOOK_EVERY, Deinterlacer, Pending, looks_interlaced
from polypseg.predict.video.orientation import UPRIGHT, orientation
from polypseg.predict.video.source import FILE_SECONDS, VideoSource, hanging, import_av, open_source
from polypseg.predict.video.stages import Patience, Pipeline
from polypseg.preprocess.emptiness import empty_reason

DROPPED, DAMAGED, MISTIMED, RESIZED = "dropped", "damaged", "mistimed", "resized"
REJOINED = "rejoined"

MAX_FAILURES = 20
"""So many reads in a row that give nothing end a file."""

SHORT_BY_SECONDS = 0.25
"""A file that ends so much before its header says is cut short; less is rounding."""

JOINT_PACKETS = 4
"""A gap in the numbers of packets is a joint of two recordings if a key frame follows before so many others."""

FEW_INTERLACED = 0.05
"""A smaller share of the frames looked at is chance: stripes, text."""

REORDERED = 32
"""Packets at most between a frame's packet and its picture, and no more than any codec allows."""

REFUSING = ("mjpeg", "mjpegb", "jpegls", "jpeg2000", "png")
"""Codecs of whole pictures that FFmpeg fills up without a word where data are damaged."""


class Frame(NamedTuple):
    """A frame.

    Attributes:
        number: Counted from 0, those without a picture too.
        seconds: Since the first frame.
        image: Shape (H, W, 3), uint8, upright; None where it was dropped.
        faults: Of `DROPPED`, `DAMAGED`, `MISTIMED`, `REJOINED`, `RESIZED`.
    """

    number: int
    seconds: Fraction
    image: Image | None
    faults: tuple[str, ...] = ()


@contextmanager
def frames_of(file: Path, stopped: Event | None = None) -> "Iterator[tuple[FrameReader, Iterator[Frame]]]":
    """The reader of a file and its frames, read ahead in a thread; the file is closed at the end.

    Raises:
        DataError: As `open_source` and `FrameReader.frames_ahead`.
    """
    source, pipeline = open_source(file), Pipeline()
    try:
        with pipeline:
            reader = FrameReader(source, stopped or Event())
            yield reader, reader.frames_ahead(pipeline)
    finally:
        pipeline.finally_close(source.container.close)


class FrameReader:
    """Reads the frames of a source.

    Args:
        source: From `open_source`.
        stopped: Set by whoever wants no more frames.
        max_frames: Stop after so many frames with a picture.
        deinterlace: Whether lines are taken apart.

    Attributes:
        fault: What is wrong with the source as a whole; known when the frames are read.
        remarks: What else a user should know of its pictures; known when the frames are read.
        matrix: Of the colours; known from the first picture on.
        is_turned: Whether rows and columns are swapped; known from the first picture on.
        clock: That counts their time.
    """

    def __init__(
        self, source: VideoSource, stopped: Event, max_frames: int | None = None, deinterlace: bool = False
    ) -> None:
        self.source, self.stopped, self.max_frames = source, stopped, max_frames
        self.deinterlace = deinterlace
        self.fault = ""
        self.remarks: list[str] = list(source.remarks)
        self.matrix = BT601
        self.is_turned = False
        base = Fraction(source.stream.time_base)
        self.clock = Clock(base, source.rate)
        self._stretches = Stretches(base, source.rate, source.may_leap)
        self._num_packets = self._num_pictures = self._number = 0
        self._num_seen = self._num_interlaced = self._num_empty = self._num_before_key = 0
        self._is_broken = False
        self._shape: tuple[int, ...] | None = None
        self._lenient: Any = None
        self._complaints = Complaints(source.stream.codec_context.name)
        self._container_complaints = Complaints("" if source.is_device else source.container.format.name)
        self._is_container_damaged = False
        self._num_gaps = self._num_jumps_seen = 0
        self._since_gap: int | None = None
        self._complained_of: deque[int] = deque(maxlen=REORDERED)

    def frames_ahead(self, pipeline: Pipeline) -> Iterator[Frame]:
        """The frames, read in a thread of the pipeline; one that takes too long ends them.

        Raises:
            DataError: As `frames`, or no frame came in `FILE_SECONDS`.
        """
        name = self.source.name
        lost = f"{name}: no picture came for {FILE_SECONDS:g} s, expected some a second; is it still connected?"
        error = DataError(lost) if self.source.is_device else hanging(name, "next frame")
        return pipeline.ahead(self.frames(), patience=Patience(FILE_SECONDS, error))

    def frames(self) -> Iterator[Frame]:
        """The frames in the order in which they are shown.

        Raises:
            DataError: Not one picture can be decoded.
        """
        context = self.source.stream.codec_context
        context.thread_type = "SLICE"  # threads by frame would tell a fault of another packet than its own
        if context.name in REFUSING:
            context.options = {**context.options, "err_detect": "explode"}
        seen = self._seen()
        for frame, decoded in Deinterlacer().through(seen) if self.deinterlace else seen:
            yield frame if decoded is None else self._frame(frame, decoded)
            if self._is_enough():
                return
        if not self._num_pictures and not self.stopped.is_set():
            raise DataError(
                f"{self.source.name}: not one of its {self._num_packets:,} frames can be decoded; is it damaged?"
            )
        self.fault = self.fault or self._cut_short()
        if self._num_empty == self._num_pictures and not self.source.is_device:
            self.fault = self.fault or "every frame is black or of one colour"

    def notes(self) -> list[str]:
        """The remarks, and what the frames so far tell of the whole."""
        found = list(self.remarks)
        if self._num_before_key:
            found.append(
                f"it begins between two key frames: {plural(self._num_before_key, 'packet')} before the first give no "
                "picture, or a damaged one"
            )
        if 0 < self._num_empty < self._num_pictures:
            found.append(f"{self._num_empty:,} of {self._num_pictures:,} frames are black or of one colour")
        if self._num_interlaced > FEW_INTERLACED * self._num_seen:
            done = "taken apart by bwdif" if self.deinterlace else "moving outlines are torn: use --deinterlace"
            found.append(f"{self._num_interlaced:,} of {self._num_seen:,} frames looked at are interlaced, {done}")
        return found

    def _is_enough(self) -> bool:
        return self.stopped.is_set() or (self.max_frames is not None and self._num_pictures >= self.max_frames)

    def _packets(self) -> Iterator[Any]:
        """The packets, and an empty one at the end; reading goes on after a fault."""
        av = import_av()
        failures = 0
        while not self.stopped.is_set():
            try:
                packets = self.source.container.demux(self.source.stream)
                while (packet := self._next_packet(packets)) is not None:
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

    def _next_packet(self, packets: Iterator[Any]) -> Any:
        with self._container_complaints:
            packet = next(packets, None)
        self._is_container_damaged = self._is_container_damaged or self._container_complaints.heard
        return packet

    def _seen(self) -> Iterator[Pending[Frame]]:
        """Number, time and faults of each frame, still without its picture, and what the decoder gave."""
        has_key = self.source.is_device
        for packet in self._packets():
            self._stretches.move(packet)
            has_key = has_key or packet.is_keyframe
            self._num_before_key += not has_key and packet.size > 0
            self._is_broken = self._is_broken or not has_key
            self._look_for_gap(packet)
            try:
                with self._complaints:
                    decoded = packet.decode()
            except (import_av().error.FFmpegError, ValueError):
                yield from self._restored(packet)
                continue
            is_told = self._complaints.heard  # of this packet's frame, which may come later than others
            self._is_broken = self._is_broken or is_told
            if is_told and packet.pts is not None:
                self._complained_of.append(packet.pts)
            for frame in decoded:
                is_damaged = bool(frame.is_corrupt) or frame.pts in self._complained_of
                self._is_broken = is_damaged or (self._is_broken and not frame.key_frame)
                yield self._stamped(frame, self._time_of(frame), self._is_broken)

    def _look_for_gap(self, packet: Any) -> None:
        """Count a gap before a packet once so many others came that it is no joint of two recordings."""
        if packet.is_keyframe or self._stretches.num_jumps > self._num_jumps_seen:
            self._since_gap = None
        elif self._since_gap is not None:
            self._since_gap += 1
            self._num_gaps += self._since_gap == JOINT_PACKETS
        if packet.is_corrupt:
            self._since_gap = 0
        self._num_jumps_seen = self._stretches.num_jumps

    def _restored(self, packet: Any) -> Iterator[Pending[Frame]]:
        """The frame of a packet that the decoder refuses."""
        if packet.size == 0:
            return
        found = self._leniently(packet) if self.source.stream.codec_context.name in REFUSING else None
        if found is not None:
            yield self._stamped(found, self._time_of(packet), True)
            return
        self._is_broken = True
        yield Pending(Frame(self._next_number(), self.clock.near(self._time_of(packet)), None, (DROPPED,)), None)

    def _leniently(self, packet: Any) -> Any:
        """What can be restored of a picture; None where nothing can."""
        av = import_av()
        if self._lenient is None:
            self._lenient = av.CodecContext.create(self.source.stream.codec_context.name, "r")
        try:
            found = self._lenient.decode(av.Packet(bytes(packet)))
        except (av.error.FFmpegError, ValueError):
            return None
        return found[0] if found else None

    def _time_of(self, item: Any) -> int | None:
        """The time stamp of a packet or a decoded frame, in the source's units."""
        found = item.dts if self.source.lacks_time_stamps else item.pts
        return None if found is None else int(found)

    def _stamped(self, decoded: Any, pts: int | None, is_damaged: bool) -> Pending[Frame]:
        seconds, is_mended, is_after_jump = self.clock.stamp(pts)
        named = ((DAMAGED, is_damaged), (MISTIMED, is_mended), (REJOINED, is_after_jump))
        faults = tuple(fault for fault, is_so in named if is_so)
        number = self._next_number()
        if number % LOOK_EVERY == 0 or decoded.interlaced_frame:
            self._num_seen += 1
            self._num_interlaced += bool(decoded.interlaced_frame) or looks_interlaced(decoded)
        return Pending(Frame(number, seconds, None, faults), decoded)

    def _frame(self, frame: Frame, decoded: Any) -> Frame:
        """The frame with its picture."""
        image = self._upright(decoded)
        faults = frame.faults
        if self._shape is None:
            self._shape = image.shape
        elif self._shape != image.shape:
            faults = (*faults, RESIZED)
        self._num_pictures += 1
        self._num_empty += bool(empty_reason(image))
        return frame._replace(image=image, faults=faults)

    def _upright(self, decoded: Any) -> Image:
        matrix, turned = matrix_of(decoded), orientation(decoded)
        if self._shape is None:
            self.matrix, self.is_turned = matrix, turned.transpose
            self._remark(decoded, turned.is_exact)
        image = to_rgb(decoded, matrix)
        return image if turned == UPRIGHT else turned.apply(image)

    def _remark(self, decoded: Any, is_exact: bool) -> None:
        bits = max(component.bits for component in decoded.format.components)
        if is_hdr(decoded):
            self.matrix = 1
            self.remarks.append("HDR colours, brought to those of a usual screen")
        elif bits > 8:
            self.remarks.append(f"{bits}-bit colours, rounded to 8 bits")
        if not is_exact:
            self.remarks.append("the file asks for a turn by no quarter; the nearest one is shown")

    def _next_number(self) -> int:
        self._number += 1
        return self._number - 1

    def _cut_short(self) -> str:
        if self._num_gaps:
            return f"the file is damaged: packets of it are missing in {plural(self._num_gaps, 'place')}"
        if self.stopped.is_set() or self._stretches.num_jumps:
            return ""
        promised, seconds = self.source.num_promised, self.source.seconds_promised
        if self._num_packets < promised:
            return f"the file is cut short: it promises {plural(promised, 'frame')}, {self._num_packets:,} are there"
        found = float(self.clock.end())
        if self.source.num_films > 1:
            return f"it holds {self.source.num_films} films one behind the other, and the first was read; split it"
        if not promised and seconds - found >= SHORT_BY_SECONDS:
            return f"the file is cut short: it promises {seconds:.1f} s, {found:.1f} s are there"
        if self.source.ends_within_packet:
            return "the file is cut short: it ends within a packet"
        return "the file is damaged: parts of it could not be read" if self._is_container_damaged else ""
