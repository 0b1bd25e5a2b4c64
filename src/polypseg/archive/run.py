"""The run: every video of the manifest that has no result goes to a slot, until none is left.

Decisions:
- A slot takes the next video when it is done with the one before: nothing queues, and a manifest of a million rows is
  read as it is needed.
- A slot gets a video once its worker is ready. One that a cluster has no room for holds nothing back.
- What failed is tried again at the end, up to `tries` times in all, then set aside; what another run has in hand is
  waited for. When a run returns, its part of the archive is done.
- The first fault of the store ends the run; the slots finish what they are at.
"""

import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from polypseg.archive.manifest import ManifestEntry, read_manifest
from polypseg.archive.slots import Slot, WorkerDiedError
from polypseg.archive.store import State, Store
from polypseg.archive.worker import Came, Outcome
from polypseg.errors import BusyError, UsageError
from polypseg.progress import Track, silent

POLL_SECONDS = 0.5
"""How often a run asks whether a video in others' hands is done."""

NOT_DONE = (Came.FAULTY, Came.CHANGED, Came.MISSING)


@dataclass(frozen=True)
class ArchivePart:
    """One of several parts into which the videos fall by their digests.

    Attributes:
        index: 1 to `count`.
        count: Of all parts.
    """

    index: int = 1
    count: int = 1

    def holds(self, video: str) -> bool:
        """Whether a video falls into this part; each falls into one, whatever else the archive holds.

        >>> [ArchivePart(index, 3).holds("00000004" + "0" * 56) for index in (1, 2, 3)]
        [False, True, False]
        """
        return int(video[:8], 16) % self.count == self.index - 1

    @staticmethod
    def of(text: str) -> "ArchivePart":
        """The part of a text as "2/5".

        Raises:
            UsageError: Another text, or no such part.
        """
        index, _, count = text.partition("/")
        if index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count):
            return ArchivePart(int(index), int(count))
        raise UsageError(f"part {text!r}: expected I/N with I from 1 to N, as 2/5")


WHOLE = ArchivePart()


@dataclass
class RunSummary:
    """What came of a run.

    Attributes:
        came: Videos by what came of them in this call.
        before: Videos that were done, faulty or set aside before, by state.
        num_aside: Videos that this call set aside.
        num_deaths: Workers that died.
        num_frames: That this call predicted.
        seconds: That it took.
        reasons: Of the videos that are not done: path and reason.
    """

    came: Counter[Came] = field(default_factory=Counter)
    before: Counter[State] = field(default_factory=Counter)
    num_aside: int = 0
    num_deaths: int = 0
    num_frames: int = 0
    seconds: float = 0.0
    reasons: list[str] = field(default_factory=list)

    @property
    def num_before(self) -> int:
        """Videos that were dealt with before."""
        return self.before.total()


class _Came(NamedTuple):
    """What came of a video, and of the worker that was at it."""

    entry: ManifestEntry
    outcome: Outcome
    is_dead: bool = False


def run_archive(
    store: Store, slots: Sequence[Slot], part: ArchivePart = WHOLE, tries: int = 3, track: Track = silent
) -> RunSummary:
    """What came of it, once every video of this part has been dealt with.

    Args:
        store: From `open_run`.
        slots: Where videos are predicted; they are closed at the end.
        part: Which videos.
        tries: A video that fails so often is set aside, at least 1.
        track: Shows progress by videos.

    Raises:
        ArchiveError: The store is full or cannot be written, or no worker can be started.
        UsageError: Less than one try.
    """
    if tries < 1:
        raise UsageError(f"tries {tries}: expected at least 1")
    began, summary = time.perf_counter(), RunSummary()
    source = _Source(store, part, summary)
    try:
        for came in track(_outcomes(source, slots), "predicting videos", source.total):
            _take(came, store, tries, source, summary)
    finally:
        for slot in slots:
            slot.close()
        summary.seconds = time.perf_counter() - began
    return summary


class _Source:
    """Gives out the videos that are open, then those that must be tried again."""

    def __init__(self, store: Store, part: ArchivePart, summary: RunSummary) -> None:
        self._known = store.states()
        ours = (entry for entry in read_manifest(store.archive) if part.holds(entry.video))
        counted = Counter(self._known.get(bytes.fromhex(entry.video), State.OPEN) for entry in ours)
        self.total = counted.pop(State.OPEN, 0)
        summary.before = counted
        ours = (entry for entry in read_manifest(store.archive) if part.holds(entry.video))
        self._pending = filter(self._is_open, ours)
        self._head, self._num_given = next(self._pending, None), 0
        self._again: deque[tuple[float, ManifestEntry]] = deque()

    def _is_open(self, entry: ManifestEntry) -> bool:
        return bytes.fromhex(entry.video) not in self._known

    def next(self) -> ManifestEntry | None:
        """The next video; None where none is ready now."""
        entry = self._head
        if entry is not None:
            self._head, self._num_given = next(self._pending, None), self._num_given + 1
        elif self._again and self._again[0][0] <= time.monotonic():
            entry = self._again.popleft()[1]
        return entry

    def put_back(self, entry: ManifestEntry, delay: float = 0.0) -> None:
        """Give a video out again, not before so many seconds."""
        self._again.append((time.monotonic() + delay, entry))

    @property
    def is_next_missing(self) -> bool:
        """Whether the next video needs no worker, as there was no file when the archive was planned."""
        return self._head is not None and self._head.is_missing

    @property
    def num_waiting(self) -> int:
        """Videos that are not in hand; those of the manifest that are still to be read as counted at the beginning."""
        to_read = 0 if self._head is None else max(1, self.total - self._num_given)
        return to_read + len(self._again)

    @property
    def is_waiting(self) -> bool:
        """Whether a video is to be given out later."""
        return bool(self._again)


def _outcomes(source: _Source, slots: Sequence[Slot]) -> Iterator[_Came]:
    """What comes of the videos, in the order in which it does."""
    with ThreadPoolExecutor(len(slots)) as threads:
        crew = _Crew(slots, threads)
        try:
            while True:
                yield from crew.hand_out(source)
                if not crew.is_at_work and not source.num_waiting:
                    return
                yield from crew.gathered(POLL_SECONDS if source.is_waiting else None)
        except KeyboardInterrupt:
            for slot in slots:  # else their threads wait until their videos are done
                slot.close()
            raise
        finally:
            crew.begin_no_more()


class _Crew:
    """The slots, by what they are at: each is without a worker, at the beginning of one, ready, or at a video."""

    def __init__(self, slots: Sequence[Slot], threads: ThreadPoolExecutor) -> None:
        self._threads = threads
        self._empty, self._ready = deque(slots), deque[Slot]()
        self._beginning, self._at_work = dict[Future[None], Slot](), dict[Future[_Came], Slot]()

    @property
    def is_at_work(self) -> bool:
        """Whether a video is in hand."""
        return bool(self._at_work)

    def hand_out(self, source: _Source) -> Iterator[_Came]:
        """Give videos to the slots that are ready, and begin workers for the others; what needs none is given back."""
        while (self._ready or source.is_next_missing) and (entry := source.next()) is not None:
            if entry.is_missing:
                yield _Came(entry, Outcome(Came.MISSING, entry.fault))
                continue
            slot = self._ready.popleft()
            self._at_work[self._threads.submit(_try, slot, entry)] = slot
        while self._empty and len(self._beginning) < source.num_waiting:
            slot = self._empty.popleft()
            self._beginning[self._threads.submit(slot.begin)] = slot

    def gathered(self, seconds: float | None) -> Iterator[_Came]:
        """What came of videos, after a wait for the next one or the next worker."""
        if not self._at_work and not self._beginning:
            time.sleep(POLL_SECONDS / 5)
            return
        pending: list[Future[Any]] = [*self._at_work, *self._beginning]
        finished, _ = wait(pending, seconds, FIRST_COMPLETED)
        for future in finished:
            if future in self._beginning:
                slot = self._beginning.pop(future)
                future.result()
                self._ready.append(slot)
                continue
            slot, came = self._at_work.pop(future), future.result()
            (self._empty if came.is_dead else self._ready).append(slot)
            yield came

    def begin_no_more(self) -> None:
        """Close the slots that wait for a worker, perhaps for ever."""
        for slot in self._beginning.values():
            slot.close()


def _try(slot: Slot, entry: ManifestEntry) -> _Came:
    try:
        return _Came(entry, slot.do(entry))
    except WorkerDiedError as error:
        return _Came(entry, Outcome(Came.FAILED, str(error)), True)


def _take(tried: _Came, store: Store, tries: int, source: _Source, summary: RunSummary) -> None:
    """Count what came of a video, and see to what must be tried again."""
    entry, outcome, is_dead = tried
    summary.num_deaths += is_dead
    if outcome.came is Came.ELSEWHERE:
        source.put_back(entry, POLL_SECONDS)
        return
    if outcome.came is Came.FAILED:
        is_aside = False
        with suppress(BusyError):  # another run has begun with it
            is_aside = store.add_failure(entry.video, outcome.reason, tries)
        if not is_aside:
            source.put_back(entry)
            return
        summary.num_aside += 1
        summary.reasons.append(f"{entry.path}: set aside after {tries} tries: {outcome.reason}")
    elif outcome.came in NOT_DONE:
        summary.reasons.append(f"{entry.path}: {outcome.came}: {outcome.reason}")
    summary.came[outcome.came] += 1
    summary.num_frames += outcome.num_frames
