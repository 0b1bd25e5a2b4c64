"""Numbers for what is seen: a polyp keeps its number over frames, and when it leaves the field for under a second.

Decisions:
- A region continues the track that lies nearest to it, in units of both boxes' size, among the tracks that ended less
  than `MAX_GAP_SECONDS` ago. A track is looked for where its own motion would have brought it, slowed down.
- The longer a track is gone, the farther away it may come back. One of more than four times the area is another, unless
  one lies on the other: a polyp comes out from behind a fold in a single frame.
- Pairs are taken nearest first (place, size and time count), one region a track. A region that is left over and lies on
  the box of a track is a part of that polyp (a mask that falls into pieces) and gets its number too.
- A number is never given twice in a video; they count from 1.
- It looks back only: nothing is delayed, and memory is that of the tracks of the last second.

Reference:
    Zhang et al., "ByteTrack: Multi-Object Tracking by Associating Every Detection Box", ECCV 2022, for the idea of
    keeping lost tracks for a while; association here is by distance, as a polyp's box changes its form as it turns.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_GAP_SECONDS = 1.0
"""A track that is gone for longer has ended."""

NEAR, FARTHER_A_SECOND = 1.0, 4.0
"""A region continues a track at this distance, in sizes, at most; and so much more a second that it is gone."""

MOST_GROWTH = 4.0
"""Between the areas of a track's last region and its next."""

SLOWING_SECONDS = 0.2
"""The motion of a track that is gone fades with this time."""

INSIDE = 0.5
"""So much of a box must lie on another to be of one polyp, whatever their sizes."""

Box = Sequence[float]
"""x, y, width, height in pixels."""


@dataclass
class _Track:
    number: int
    box: NDArray[np.float64]
    speed: NDArray[np.float64]
    seconds: float

    def expected(self, seconds: float) -> NDArray[np.float64]:
        """Its box, moved on."""
        gone = seconds - self.seconds
        box = self.box.copy()
        box[:2] += self.speed * SLOWING_SECONDS * (1 - np.exp(-gone / SLOWING_SECONDS))
        return box

    def continue_with(self, box: NDArray[np.float64], seconds: float) -> None:
        """Take a region as its next."""
        if seconds > self.seconds:
            self.speed = (_centre(box) - _centre(self.box)) / (seconds - self.seconds)
        self.box, self.seconds = box, seconds


class Tracker:
    """Takes the regions of a video's frames one after another.

    Args:
        max_gap_seconds: How long a track may be gone.
    """

    def __init__(self, max_gap_seconds: float = MAX_GAP_SECONDS) -> None:
        self._max_gap = max_gap_seconds
        self._tracks: list[_Track] = []
        self.num_tracks = 0

    def follow(self, boxes: Sequence[Box], seconds: float) -> list[int]:
        """The number of each region of a frame.

        Args:
            boxes: Of its regions, in pixels.
            seconds: The time of the frame; rises from call to call.

        >>> tracker = Tracker()
        >>> tracker.follow([(0, 0, 10, 10), (50, 0, 10, 10)], 0.0), tracker.follow([(52, 0, 10, 10)], 0.04)
        ([1, 2], [2])
        """
        self._tracks = [track for track in self._tracks if seconds - track.seconds < self._max_gap]
        found = [np.asarray(box, np.float64) for box in boxes]
        numbers = [0] * len(found)
        expected = {track.number: track.expected(seconds) for track in self._tracks}
        taken: dict[int, _Track] = {}
        for _, place, track in sorted(self._candidates(found, expected, seconds), key=lambda pair: pair[0]):
            if not numbers[place] and track.number not in taken:
                numbers[place], taken[track.number] = track.number, track
                track.continue_with(found[place], seconds)
        for place, box in enumerate(found):
            if not numbers[place]:
                numbers[place] = self._part_of(box, taken, expected) or self._begin(box, seconds)
        return numbers

    def _candidates(
        self, boxes: list[NDArray[np.float64]], expected: dict[int, NDArray[np.float64]], seconds: float
    ) -> list[tuple[float, int, _Track]]:
        """How far apart, region and track of each pair that may belong together."""
        pairs = []
        for track in self._tracks:
            there = expected[track.number]
            limit = NEAR + FARTHER_A_SECOND * (seconds - track.seconds)
            for place, box in enumerate(boxes):
                growth = (box[2] * box[3]) / max(1e-9, there[2] * there[3])
                is_alike = 1 / MOST_GROWTH <= growth <= MOST_GROWTH
                is_within = max(_share_on(box, there), _share_on(there, box)) >= INSIDE  # half hidden, then not
                distance = _distance(box, there)
                if distance <= limit and (is_alike or is_within):
                    unlike = 0.5 * abs(float(np.log(max(1e-9, growth)))) + (seconds - track.seconds)
                    pairs.append((distance + unlike, place, track))
        return pairs

    def _part_of(
        self, box: NDArray[np.float64], taken: dict[int, _Track], expected: dict[int, NDArray[np.float64]]
    ) -> int:
        """The track on whose box, now or expected, a region lies; 0 for none."""
        for number, track in taken.items():
            if max(_share_on(box, track.box), _share_on(box, expected.get(number, track.box))) >= INSIDE:
                return number
        return 0

    def _begin(self, box: NDArray[np.float64], seconds: float) -> int:
        self.num_tracks += 1
        self._tracks.append(_Track(self.num_tracks, box, np.zeros(2), seconds))
        return self.num_tracks


def _centre(box: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(box[:2] + box[2:] / 2)


def _distance(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Between two boxes' centres, in units of their mean side."""
    side = (np.sqrt(first[2] * first[3]) + np.sqrt(second[2] * second[3])) / 2
    return float(np.hypot(*(_centre(first) - _centre(second))) / max(1e-9, side))


def _share_on(box: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """The share of a box that lies on another."""
    low = np.maximum(box[:2], other[:2])
    high = np.minimum(box[:2] + box[2:], other[:2] + other[2:])
    return float(np.prod(np.maximum(0, high - low)) / max(1e-9, box[2] * box[3]))
