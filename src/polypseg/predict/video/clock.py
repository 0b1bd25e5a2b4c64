"""The time of frames: rising, counted from the first, whatever the clock of the source does.

Decisions:
- Recorders split MPEG-TS and VOB files, and joined ones start their clock again, or let it leap. Packets are in
  the order of decoding, so that their clock tells a jump: it goes back by a frame or more, or leaps by more than
  `LEAP_SECONDS` where the format allows leaps (FFmpeg's own rule). After a jump, time goes on one frame interval later.
- A single time stamp that is not after the one before is no jump: its frame is set one unit after it.
- AVI and MXF store packets in order of decoding, without time stamps of their own: frames follow at the source's rate,
  or by the time of decoding where the file has gaps.
"""

from collections import deque
from fractions import Fraction
from statistics import median_low
from typing import Any

LEAP_SECONDS = 10
"""FFmpeg's `dts_delta_threshold`; a smaller gap is a pause, and stays."""

FAR_LEAP_SECONDS = 30 * 3600
"""FFmpeg's `dts_error_threshold`, for formats that promise a clock without leaps."""

STRETCH = 1 << 44
"""Units by which the stretches between two jumps are moved apart, so that each frame tells its own."""

_NUM_STEPS = 15


class Stretches:
    """Finds the jumps of a clock, packet by packet.

    Args:
        time_base: Seconds of one unit.
        rate: Frames a second.
        may_leap: Whether the format allows a clock that leaps.

    Attributes:
        num_jumps: So far.
    """

    def __init__(self, time_base: Fraction, rate: Fraction, may_leap: bool) -> None:
        self._leap = (LEAP_SECONDS if may_leap else FAR_LEAP_SECONDS) / time_base
        self._interval = max(1, round(1 / (rate * time_base)))
        self._last: int | None = None
        self._highest: int | None = None
        self.num_jumps = 0

    def move(self, packet: Any) -> None:
        """Move a packet's time stamps into its stretch."""
        decoded, shown = packet.dts, packet.pts
        leaps, highest = self._interval + self._leap, self._highest
        is_jump = _step(self._last, decoded) <= -self._interval or _step(self._last, decoded) > leaps
        if _step(highest, shown) > leaps and not is_jump:
            is_jump = decoded is None
            shown = None if decoded is not None else shown  # a guess of FFmpeg's over the jump, which is a packet later
        self.num_jumps += is_jump
        self._last = self._last if decoded is None else decoded
        if shown is not None:
            self._highest = shown if is_jump or highest is None else max(highest, shown)
        shift = self.num_jumps * STRETCH
        packet.pts = None if shown is None else shown + shift
        packet.dts = None if decoded is None else decoded + shift


def _step(before: int | None, now: int | None) -> int:
    return 0 if before is None or now is None else now - before


class Clock:
    """Time stamps that rise, counted from the first.

    Args:
        time_base: Seconds of one unit.
        rate: Frames a second, for frames without a time stamp and for the first steps.
    """

    def __init__(self, time_base: Fraction, rate: Fraction) -> None:
        self.time_base = time_base
        self._steps: deque[int] = deque(maxlen=_NUM_STEPS)
        self._nominal = max(1, round(1 / (rate * time_base)))
        self._first: int | None = None
        self._last: int | None = None
        self._stretch = 0

    def stamp(self, pts: int | None) -> tuple[Fraction, bool, bool]:
        """Seconds since the first frame, whether they had to be mended, and whether the clock jumped before it."""
        if pts is not None and self._first is not None and _stretch_of(pts) > self._stretch:
            return self._after_jump(pts), False, True
        ticks, last = self._ticks(pts), self._last
        is_mended = last is not None and ticks <= last
        if last is not None and not is_mended:
            self._steps.append(ticks - last)
        self._last = last + 1 if last is not None and is_mended else ticks
        return self._last * self.time_base, is_mended, False

    def near(self, pts: int | None) -> Fraction:
        """Seconds since the first frame of a frame that gave no picture; later frames do not heed it."""
        if pts is not None and _stretch_of(pts) > self._stretch:
            pts = None
        return max(0, self._ticks(pts)) * self.time_base

    def end(self) -> Fraction:
        """Seconds from the first to the end of the last frame, which lasts as long as the rate says."""
        return Fraction(0) if self._last is None else (self._last + self._nominal) * self.time_base

    def _after_jump(self, pts: int) -> Fraction:
        self._stretch = _stretch_of(pts)
        last = 0 if self._last is None else self._last
        self._last = last + self._interval()
        self._first = pts - self._last
        return self._last * self.time_base

    def _ticks(self, pts: int | None) -> int:
        if pts is None:
            return 0 if self._last is None else self._last + self._interval()
        if self._first is None:
            self._first, self._stretch = pts, _stretch_of(pts)
        return pts - self._first

    def _interval(self) -> int:
        """A frame's usual length: that of the last steps, as a rate that is guessed over a jump may be nonsense."""
        return median_low(self._steps) if len(self._steps) == _NUM_STEPS else self._nominal


def _stretch_of(pts: int) -> int:
    return (pts + STRETCH // 2) // STRETCH
