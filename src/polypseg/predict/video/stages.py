"""Stages that work side by side: each an iterator that runs in a thread of its own, a few items ahead of the next.

Decisions:
- The queues between the stages are bounded, so that the slowest stage sets the pace and memory stays flat.
- A stage's exception is raised where its items are taken; whoever leaves the pipeline ends all its stages.
- The main thread only waits, so that Ctrl-C never falls into the middle of a stage's work; after it, taking goes on.
- No thread can be ended from outside: one that hangs (in a decoder, on a disk) is left to itself once its time is over,
  and what it may still use stays open. Time in which this process was stopped or suspended does not count.
"""

from collections.abc import Callable, Iterable, Iterator
from queue import Empty, Full, Queue
from threading import Event, Thread
from types import TracebackType
from typing import Final, Generic, NamedTuple, Self, TypeVar

T = TypeVar("T")

QUEUE_LENGTH = 4
"""Items that wait between two stages: enough that a stage which stutters does not starve the next."""

_POLL_SECONDS = 0.1
_JOIN_SECONDS = 5.0


class Patience(NamedTuple):
    """How long whoever takes items waits for one.

    Attributes:
        seconds: That one item may take.
        error: Is raised after that.
    """

    seconds: float
    error: Exception


class _End:
    """Wakes whoever waits for an item when there are no more."""


_END: Final = _End()


class Ahead(Generic[T]):
    """An iterator over items that a thread of its own makes; from `Pipeline.ahead`."""

    def __init__(self, items: Iterable[T], length: int, abandoned: Event, patience: Patience | None = None) -> None:
        self._items, self._abandoned, self._patience = items, abandoned, patience
        self._waiting: Queue[T | _End] = Queue(length)
        self._is_done = Event()
        self._error: BaseException | None = None
        self.thread = Thread(target=self._work, daemon=True)
        self.thread.start()

    def __iter__(self) -> Self:
        """Itself."""
        return self

    def __next__(self) -> T:
        """The next item."""
        num_waits = 0
        while not self._abandoned.is_set():
            is_last = self._is_done.is_set()
            try:
                item = self._waiting.get(not is_last, _POLL_SECONDS)
            except Empty:
                if is_last:
                    break
                num_waits += 1
                if self._patience is not None and num_waits * _POLL_SECONDS >= self._patience.seconds:
                    raise self._patience.error from None
                continue
            if not isinstance(item, _End):
                return item
            break
        if self._error is not None:
            raise self._error
        raise StopIteration

    def _work(self) -> None:
        try:
            for item in self._items:
                if not self._put(item):
                    return
        except BaseException as raised:  # told where the items are taken
            self._error = raised
        self._is_done.set()
        self._put(_END)

    def _put(self, item: "T | _End") -> bool:
        while not self._abandoned.is_set():
            try:
                self._waiting.put(item, timeout=_POLL_SECONDS)
            except Full:
                continue
            return True
        return False


class Pipeline:
    """Threads that end together: at the latest when the block `with Pipeline() as pipeline` is left."""

    def __init__(self) -> None:
        self._abandoned = Event()
        self._threads: list[Thread] = []

    def __enter__(self) -> Self:
        """The pipeline, without a stage yet."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End the stages; one that waits for a device, or hangs, is left to itself after some seconds."""
        self._abandoned.set()
        for thread in self._threads:
            thread.join(_JOIN_SECONDS)

    def finally_close(self, close: Callable[[], None]) -> None:
        """Close a source after the pipeline's end; not if a thread may still use it, as one that hangs."""
        if not any(thread.is_alive() for thread in self._threads):
            close()

    def ahead(self, items: Iterable[T], length: int = QUEUE_LENGTH, patience: Patience | None = None) -> Iterator[T]:
        """The items in their order, made in a thread of their own, up to `length` ahead of whoever takes them.

        Args:
            items: What the thread makes.
            length: Of the queue.
            patience: How long one item may take; None waits.

        >>> with Pipeline() as pipeline:
        ...     list(pipeline.ahead(number * number for number in range(4)))
        [0, 1, 4, 9]
        """
        stage = Ahead(items, length, self._abandoned, patience)
        self._threads.append(stage.thread)
        return stage
