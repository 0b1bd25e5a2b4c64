"""What frames know of one another: probabilities smoothed over time, and short detections withheld.

Decisions:
- Smoothing works at the model's own size: resizing back is linear, so that it commutes, and costs less there.
- Smoothing looks back only. A frame without a picture is jumped over.
- A detection is a chain of components (8-connected) of consecutive frames that share at least one pixel; chains that
  meet are one detection, and so are the parts of one that splits. Its length counts frames from its first to its last.
- Withheld are detections of at most `withhold_frames` frames, in all their frames. Whether a component belongs to one
  is known `withhold_frames` frames later at the latest: so many frames wait. At the end of a video all is known.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, Protocol, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from polypseg.arrays import Mask, Probability
from polypseg.errors import UsageError, unknown_name
from polypseg.predict.video.options import SMOOTHINGS

LARGEST_TABLE = 1 << 20
"""Pairs of components for which a table is faster than sorting; more are noise, not polyps."""

FEW_COMPONENTS = 16
"""Up to so many are measured one after another."""

T = TypeVar("T")
Labels = NDArray[np.int32]


class Smoother(Protocol):
    """Takes the frames' maps one after another."""

    def smooth(self, probability: Probability) -> Probability:
        """The map of this frame, smoothed over what came before it."""


class Unsmoothed:
    """Each frame's own map."""

    def smooth(self, probability: Probability) -> Probability:
        """As `Smoother.smooth`."""
        return probability


class Exponential:
    """The weighted mean s = a·p + (1 - a)·s, with a = 2 / (num_frames + 1); the first frame is its own mean.

    Args:
        num_frames: The weights' mean age is that of a window of so many frames.
    """

    def __init__(self, num_frames: int) -> None:
        self._weight = np.float32(2 / (num_frames + 1))
        self._mean: Probability | None = None

    def smooth(self, probability: Probability) -> Probability:
        """As `Smoother.smooth`."""
        before = probability if self._mean is None else self._mean
        self._mean = self._weight * probability + (1 - self._weight) * before
        return self._mean


class Window:
    """The mean over the last `num_frames` maps, or over all while there are fewer."""

    def __init__(self, num_frames: int) -> None:
        self._maps: deque[Probability] = deque(maxlen=num_frames)

    def smooth(self, probability: Probability) -> Probability:
        """As `Smoother.smooth`."""
        self._maps.append(probability)
        return np.asarray(np.mean(self._maps, axis=0, dtype=np.float32))


def make_smoother(smoothing: str, num_frames: int) -> Smoother:
    """The smoother of a name of `SMOOTHINGS`.

    Raises:
        UsageError: An unknown name.
    """
    if smoothing not in SMOOTHINGS:
        raise UsageError(unknown_name("smoothing", smoothing, SMOOTHINGS))
    if smoothing == "exponential":
        return Exponential(num_frames)
    return Window(num_frames) if smoothing == "window" else Unsmoothed()


@dataclass
class ComponentChain:
    """A chain of components; one that met an older chain points to it.

    Attributes:
        first: Number of the frame where it begins, counting frames with a picture.
        last: Number of its last frame so far.
    """

    first: int
    last: int
    merged_into: "ComponentChain | None" = field(default=None, repr=False)

    def root(self) -> "ComponentChain":
        """The chain that this one is part of."""
        chain = self
        while chain.merged_into is not None:
            chain = chain.merged_into
        return chain

    def length(self) -> int:
        """Frames from the first to the last."""
        chain = self.root()
        return chain.last - chain.first + 1


class Decided(NamedTuple, Generic[T]):
    """A frame whose detections are known to be long or short.

    Attributes:
        item: What came in with the mask.
        mask: What is shown, (H, W) bool; None where there was no picture.
        num_components: Components of the mask.
        num_withheld: Components that were taken out of it.
        num_ended: Detections that were withheld and whose last frame this is.
        components: Those that are shown. Where chains meet later, `Detection.root` is the same for both.
    """

    item: T
    mask: Mask | None
    num_components: int = 0
    num_withheld: int = 0
    num_ended: int = 0
    components: "Components | None" = None


class Components(NamedTuple):
    """The components of a frame before any is withheld; measured only where they are asked for."""

    labels: Labels
    corner: tuple[int, int]
    detections: list[ComponentChain]
    is_withheld: list[bool]

    def measured(self) -> list["Component"]:
        """Those that are shown, in the order of their labels.

        >>> spots = np.array([[1, 0, 1], [1, 0, 1]], bool)
        >>> [decided] = withhold_short([("frame", spots)], 0)
        >>> [(component.area_px, component.box) for component in decided.components.measured()]
        [(2, (0, 0, 1, 2)), (2, (2, 0, 1, 2))]
        """
        measure = _measured_each if len(self.detections) <= FEW_COMPONENTS else _measured_all
        areas, boxes = measure(self.labels, len(self.detections))
        top, left = self.corner
        return [
            Component(detection, areas[i], (boxes[i][0] + left, boxes[i][1] + top, boxes[i][2], boxes[i][3]))
            for i, (detection, is_withheld) in enumerate(zip(self.detections, self.is_withheld, strict=True))
            if not is_withheld
        ]


_Box = tuple[int, int, int, int]


def _measured_each(labels: Labels, num: int) -> tuple[list[int], list[_Box]]:
    """Areas and boxes of components, one after another: 40 times as fast as all at once where there is one."""
    areas, boxes = [], []
    for label in range(1, num + 1):
        pixels = (labels == label).view(np.uint8)
        areas.append(int(np.count_nonzero(pixels)))
        x, y, width, height = cv2.boundingRect(pixels)
        boxes.append((x, y, width, height))
    return areas, boxes


def _measured_all(labels: Labels, num: int) -> tuple[list[int], list[_Box]]:
    """The same, in one pass over all pixels, however many components there are."""
    rows, columns = np.nonzero(labels)
    owners = labels[rows, columns] - 1
    low, high = np.full((2, num), np.iinfo(np.int64).max), np.full((2, num), -1)
    for axis, places in enumerate((rows, columns)):
        np.minimum.at(low[axis], owners, places)
        np.maximum.at(high[axis], owners, places)
    sides = (high - low + 1).tolist()
    (top, left), areas = low.tolist(), np.bincount(owners, minlength=num).tolist()
    return areas, [(left[i], top[i], sides[1][i], sides[0][i]) for i in range(num)]


class Component(NamedTuple):
    """A component that is shown.

    Attributes:
        detection: The chain that it belongs to; final once the video has ended.
        area_px: Number of pixels.
        box: (x, y, width, height) in pixels.
    """

    detection: ComponentChain
    area_px: int
    box: tuple[int, int, int, int]


class _Waiting(NamedTuple, Generic[T]):
    """A frame that waits for a decision: its components lie in `labels`, whose upper left corner is at `corner`."""

    item: T
    number: int
    mask: Mask | None
    labels: Labels
    corner: tuple[int, int]
    detections: list[ComponentChain]


def withhold_short(masks: Iterable[tuple[T, Mask | None]], withhold_frames: int) -> Iterator[Decided[T]]:
    """The frames in their order, without the detections of at most `withhold_frames` frames.

    Args:
        masks: Pairs of anything and a mask (H, W) bool; None where a frame has no picture: it neither counts nor ends a
            detection. A mask of another size than the one before it shares no pixel with it.
        withhold_frames: 0 withholds nothing and waits for nothing.

    >>> spot, empty = np.ones((1, 1), bool), np.zeros((1, 1), bool)
    >>> masks = enumerate([spot, empty, spot, spot, empty])
    >>> [(frame.item, frame.mask.item(), frame.num_withheld) for frame in withhold_short(masks, 1)]
    [(0, False, 1), (1, False, 0), (2, True, 0), (3, True, 0), (4, False, 0)]
    """
    waiting: deque[_Waiting[T]] = deque()
    before: _Waiting[T] | None = None
    number = -1
    for item, mask in masks:
        if mask is None:
            waiting.append(_Waiting(item, number, None, _NO_LABELS, (0, 0), []))
        else:
            number += 1
            before = _linked(_found(item, number, mask), before)
            waiting.append(before)
        while waiting and number - waiting[0].number >= withhold_frames:
            yield _decide(waiting.popleft(), withhold_frames)
    while waiting:
        yield _decide(waiting.popleft(), withhold_frames)


_NO_LABELS: Labels = np.zeros((0, 0), np.int32)


def _found(item: T, number: int, mask: Mask) -> _Waiting[T]:
    """A frame and its components, each a detection of its own."""
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    if width == 0:
        return _Waiting(item, number, mask, _NO_LABELS, (0, 0), [])
    inside = mask[y : y + height, x : x + width].astype(np.uint8)
    num_labels, labels = cv2.connectedComponents(inside, connectivity=8)
    return _Waiting(item, number, mask, labels, (y, x), [ComponentChain(number, number) for _ in range(num_labels - 1)])


def _linked(frame: _Waiting[T], before: "_Waiting[T] | None") -> _Waiting[T]:
    """The frame, its components joined to those of the frame before that they share a pixel with."""
    if before is None or not (before.detections and frame.detections) or not _same_size(frame, before):
        return frame
    for old, new in _touching(before, frame):
        older, newer = before.detections[old - 1].root(), frame.detections[new - 1].root()
        older.last = frame.number
        if older is not newer:
            first, second = (older, newer) if older.first <= newer.first else (newer, older)
            second.merged_into = first
    return frame


def _same_size(frame: _Waiting[T], before: _Waiting[T]) -> bool:
    return frame.mask is not None and before.mask is not None and frame.mask.shape == before.mask.shape


def _touching(before: _Waiting[T], frame: _Waiting[T]) -> list[tuple[int, int]]:
    """Pairs of labels, one of each frame, that share a pixel."""
    top, left = (max(a, b) for a, b in zip(before.corner, frame.corner, strict=True))
    bottom, right = (
        min(a + length_a, b + length_b)
        for a, length_a, b, length_b in zip(
            before.corner, before.labels.shape, frame.corner, frame.labels.shape, strict=True
        )
    )
    if bottom <= top or right <= left:
        return []
    old, new = (
        part.labels[top - part.corner[0] : bottom - part.corner[0], left - part.corner[1] : right - part.corner[1]]
        for part in (before, frame)
    )
    num_new = len(frame.detections) + 1
    pairs = (old.astype(np.int64) * num_new + new)[(old > 0) & (new > 0)]
    return [divmod(pair, num_new) for pair in _distinct(pairs, num_new * (len(before.detections) + 1))]


def _distinct(numbers: NDArray[np.int64], end: int) -> list[int]:
    """The distinct numbers below `end`; sorting them all, as np.unique does, would take longer than the model."""
    if end > LARGEST_TABLE:
        return [int(number) for number in np.unique(numbers)]
    is_there = np.zeros(end, bool)
    is_there[numbers] = True
    return [int(number) for number in np.flatnonzero(is_there)]


def _decide(frame: _Waiting[T], withhold_frames: int) -> Decided[T]:
    if frame.mask is None:
        return Decided(frame.item, None)
    short = [detection.length() <= withhold_frames for detection in frame.detections]
    ended = {id(d.root()) for d, is_short in zip(frame.detections, short, strict=True) if is_short}
    num_ended = sum(root.last == frame.number for root in _by_id(frame.detections, ended))
    num_withheld = sum(short)
    components = Components(frame.labels, frame.corner, frame.detections, short)
    if not num_withheld:
        return Decided(frame.item, frame.mask, len(short), components=components)
    mask = frame.mask.copy()
    (y, x), (height, width) = frame.corner, frame.labels.shape
    mask[y : y + height, x : x + width] &= ~np.array([False, *short])[frame.labels]
    return Decided(frame.item, mask, len(short) - num_withheld, num_withheld, num_ended, components)


def _by_id(detections: list[ComponentChain], wanted: set[int]) -> list[ComponentChain]:
    return list({id(d.root()): d.root() for d in detections if id(d.root()) in wanted}.values())
