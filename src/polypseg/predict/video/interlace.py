"""Interlaced video: found, and taken apart where that is asked for.

Decisions:
- A frame counts as interlaced where its file says so, or where its lines alternate as a moving edge in two fields does
  (files of capture cards often say nothing). Every `LOOK_EVERY`-th frame is looked at.
- Lines are taken apart by FFmpeg's `bwdif`, which sees the frames before and after: one frame out for each frame in.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from polypseg.predict.video.source import import_av

LOOK_EVERY = 5
EDGE, FLAT = 20, 8
"""Levels: lines that differ by more are an edge, and lines that differ by less are equal."""

COMBED_SHARE = 0.0007
"""Of the pixels. Of 300 images of Kvasir-SEG none has more than 0.0002; 60 with every second line moved by 2 pixels
have 0.0013 at least, by 8 pixels 0.0096."""

T = TypeVar("T")


def is_combed(luma: NDArray[np.uint8]) -> bool:
    """Whether the lines of a picture alternate in many places: line equals the next but one, and not the next.

    Args:
        luma: Shape (H, W), uint8.

    >>> still = np.zeros((16, 16), np.uint8)
    >>> torn = still.copy(); torn[::2, 4:8] = 200
    >>> is_combed(still), is_combed(torn)
    (False, True)
    """
    lines = luma.astype(np.int16)
    if len(lines) < 8:
        return False
    near, far = np.abs(lines[1:] - lines[:-1]), np.abs(lines[2:] - lines[:-2])
    edges = near > EDGE
    alternating = edges[:-3] & edges[1:-2] & edges[2:-1] & (far[:-2] < FLAT) & (far[1:-1] < FLAT)
    return float(alternating.mean()) > COMBED_SHARE


def looks_interlaced(decoded: Any) -> bool:
    """`is_combed` of a decoded frame."""
    plane = decoded.reformat(format="gray").to_ndarray()
    return is_combed(np.asarray(plane, np.uint8)[:, ::2])


class Pending(NamedTuple, Generic[T]):
    """What belongs to a decoded frame while the filter holds it."""

    item: T
    decoded: Any


class Deinterlacer:
    """Runs decoded frames through `bwdif`, in order."""

    def __init__(self) -> None:
        self._graph: Any = None
        self._kind: tuple[object, ...] = ()

    def through(self, frames: Iterable[Pending[T]]) -> Iterator[Pending[T]]:
        """The same items with their frames taken apart; an item without a frame keeps its place."""
        held: deque[Pending[T]] = deque()
        ready: deque[Any] = deque()
        for pending in frames:
            decoded = pending.decoded
            if decoded is not None and self._kind_of(decoded) != self._kind:
                yield from _paired(held, ready, self._flush())
                self._open(decoded)
            held.append(pending)
            yield from _paired(held, ready, [] if decoded is None else self._push(decoded))
        yield from _paired(held, ready, self._flush())

    @staticmethod
    def _kind_of(decoded: Any) -> tuple[object, ...]:
        return decoded.width, decoded.height, decoded.format.name

    def _open(self, decoded: Any) -> None:
        graph = import_av().filter.Graph()
        self._kind = width, height, pixels = self._kind_of(decoded)
        begin = graph.add_buffer(width=width, height=height, format=pixels, time_base=decoded.time_base)
        bwdif = graph.add("bwdif", "mode=send_frame:parity=auto:deint=all")
        end = graph.add("buffersink")
        begin.link_to(bwdif)
        bwdif.link_to(end)
        graph.configure()
        self._graph = graph

    def _push(self, decoded: Any) -> list[Any]:
        self._graph.push(decoded)
        return self._pull()

    def _flush(self) -> list[Any]:
        if self._graph is None:
            return []
        self._graph.push(None)
        found, self._graph, self._kind = self._pull(), None, ()
        return found

    def _pull(self) -> list[Any]:
        av, found = import_av(), []
        while True:
            try:
                found.append(self._graph.pull())
            except (BlockingIOError, av.error.EOFError, EOFError):
                return found


def _paired(held: deque[Pending[T]], ready: deque[Any], more: list[Any]) -> Iterator[Pending[T]]:
    """The items whose frames are ready, in order."""
    ready.extend(more)
    while held:
        if held[0].decoded is None:
            yield held.popleft()
        elif ready:
            yield held.popleft()._replace(decoded=ready.popleft())
        else:
            return
