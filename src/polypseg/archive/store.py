"""Where results lie, and how a video's result appears there: whole, once, or not at all.

    ARCHIVE/results/RUN/run.json          what the results follow from
    ARCHIVE/results/RUN/ab/VIDEO/         the result of a video, put in place by one rename
    ARCHIVE/results/RUN/ab/VIDEO.fault    why a video cannot be predicted at all: final
    ARCHIVE/results/RUN/ab/VIDEO.failed   what went wrong so far, a try after another
    ARCHIVE/results/RUN/ab/VIDEO.aside    the same, of a video that has had all its tries

VIDEO is the input's digest, `ab` its first two digits, RUN a digest of the model's and of all options. The names alone
tell the state of a video, so that a million of them are counted without opening one.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

from polypseg.errors import ArchiveError, plural
from polypseg.records.atomic import building, remove_folder, write_text
from polypseg.records.lock import alone_at, alone_in
from polypseg.records.reading import FileKind, read_json, read_text

RESULTS_NAME, RUN_NAME, FORGOTTEN_NAME = "results", "run.json", "forgotten.txt"
FAULT, FAILED, ASIDE = ".fault", ".failed", ".aside"

RunSettings = dict[str, str | float | int | bool]
"""What results follow from, by name."""

RUN = FileKind("record of a run", ArchiveError, "name another archive, or remove this run's folder")
REASONS = FileKind("list of reasons", ArchiveError, "remove it, and run again")
FORGOTTEN = FileKind("list of forgotten videos", ArchiveError, "restore it: without it forgotten videos come back")


class State(StrEnum):
    """How far a video is."""

    OPEN = "open"
    DONE = "done"
    FAULTY = "faulty"
    ASIDE = "set aside"


class Store:
    """The results of one run.

    Args:
        archive: The folder of the archive.
        run: The run's name, from `run_name`.
    """

    def __init__(self, archive: Path, run: str) -> None:
        self.archive, self.run = archive, run
        self.folder = archive / RESULTS_NAME / run

    def place(self, video: str) -> Path:
        """Where the result of a video lies."""
        return self.folder / video[:2] / video

    def state(self, video: str) -> State:
        """How far a video is."""
        place = self.place(video)
        if place.is_dir():
            return State.DONE
        for state, ending in ((State.FAULTY, FAULT), (State.ASIDE, ASIDE)):
            if place.with_name(video + ending).exists():
                return state
        return State.OPEN

    def states(self) -> dict[bytes, State]:
        """How far each video is that is not open, by the bytes of its digest."""
        return {bytes.fromhex(video): state for video, state in self._states()}

    def reasons(self, video: str) -> list[str]:
        """Why a video is faulty or set aside, or what went wrong so far; empty for nothing."""
        place = self.place(video)
        for ending in (FAULT, ASIDE, FAILED):
            path = place.with_name(video + ending)
            if path.exists():
                return read_json(path, list[str], REASONS)
        return []

    @contextmanager
    def alone(self, video: str) -> Iterator[None]:
        """Nobody else works at a video until the block ends.

        Raises:
            BusyError: Somebody does.
        """
        place = self.place(video)
        place.parent.mkdir(parents=True, exist_ok=True)
        with alone_at(place):
            yield

    @contextmanager
    def making(self, video: str) -> Iterator[Path]:
        """A folder for the result of a video, which takes its place when the block ends; inside of `alone`."""
        place = self.place(video)
        self.sweep(video)
        with building(place) as folder:
            yield folder
        for ending in (FAILED, ASIDE):
            place.with_name(video + ending).unlink(missing_ok=True)

    def sweep(self, video: str) -> None:
        """Remove what killed processes left of a video; inside of `alone`."""
        for left in self.place(video).parent.glob(f".{video}.*.part"):
            shutil.rmtree(left, ignore_errors=True)

    def mark_faulty(self, video: str, reason: str) -> None:
        """Keep why a video cannot be predicted."""
        place = self.place(video)
        _write_reasons(place.with_name(video + FAULT), [reason])
        for ending in (FAILED, ASIDE):
            place.with_name(video + ending).unlink(missing_ok=True)

    def add_failure(self, video: str, reason: str, tries: int) -> bool:
        """Keep what went wrong with a try; whether it was the last of so many, and the video is set aside.

        Raises:
            BusyError: Another process has begun with the video since.
        """
        place = self.place(video)
        with self.alone(video):
            if self.state(video) is not State.OPEN:
                return False
            reasons = [*self.reasons(video), reason]
            is_last = len(reasons) >= tries
            _write_reasons(place.with_name(video + (ASIDE if is_last else FAILED)), reasons)
            if is_last:
                place.with_name(video + FAILED).unlink(missing_ok=True)
        return is_last

    def allow_again(self) -> int:
        """Give videos that were set aside their tries again; how many there were."""
        aside = [video for video, state in self._states() if state is State.ASIDE]
        for video in aside:
            self.place(video).with_name(video + ASIDE).unlink(missing_ok=True)
        return len(aside)

    def remove(self, video: str) -> bool:
        """Remove all that this run holds of a video; whether there was anything.

        Raises:
            BusyError: Somebody works at it.
        """
        place = self.place(video)
        if not place.parent.is_dir():
            return False
        with self.alone(video):
            was_there = remove_folder(place)
            for ending in (FAULT, FAILED, ASIDE):
                file = place.with_name(video + ending)
                was_there |= file.exists()
                file.unlink(missing_ok=True)
            self.sweep(video)
        return was_there

    def _states(self) -> Iterator[tuple[str, State]]:
        endings = {FAULT: State.FAULTY, ASIDE: State.ASIDE}
        for folder in sorted(path for path in self.folder.glob("??") if path.is_dir()):
            with os.scandir(folder) as found:
                for item in found:
                    video, dot, ending = item.name.partition(".")
                    state = endings.get(dot + ending) if dot else State.DONE
                    if state is not None and len(video) == 64:
                        yield video, state


def run_name(record: RunSettings) -> str:
    """The name of the run whose results follow from a record."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:16]


def open_run(archive: Path, record: RunSettings) -> Store:
    """The store of a run, made if missing."""
    store = Store(archive, run_name(record))
    if not store.folder.exists():
        store.folder.parent.mkdir(exist_ok=True)
        with building(store.folder) as folder:
            write_text(folder / RUN_NAME, json.dumps(record, indent=1) + "\n")
    return store


def find_runs(archive: Path) -> list[tuple[Store, RunSettings]]:
    """The runs of an archive and what their results follow from, the oldest first.

    Raises:
        ArchiveError: A damaged record.
    """
    records = sorted(archive.glob(f"{RESULTS_NAME}/[!.]*/{RUN_NAME}"), key=lambda path: (path.stat().st_mtime_ns, path))
    return [(Store(archive, path.parent.name), read_json(path, RunSettings, RUN)) for path in records]


def the_run(archive: Path, name: str | None = None) -> Store:
    """The run of that name, or of a name that begins so; the only one where none is named.

    Raises:
        ArchiveError: None, or several.
    """
    runs = [store for store, _ in find_runs(archive) if store.run.startswith(name or "")]
    if len(runs) == 1:
        return runs[0]
    if not runs:
        what = f"no run {name!r}" if name else "no run yet: polypseg archive run"
        raise ArchiveError(f"{archive}: holds {what}")
    raise ArchiveError(
        f"{archive}: holds {plural(len(runs), 'run')}; name one: {', '.join(store.run for store in runs)}"
    )


def forgotten_videos(archive: Path) -> frozenset[str]:
    """The digests of videos that `forget` removed, and that stay out.

    Raises:
        ArchiveError: Their list is there and cannot be read.
    """
    path = archive / FORGOTTEN_NAME
    if not path.exists():
        return frozenset()
    return frozenset(read_text(path, FORGOTTEN).split())


def add_forgotten(archive: Path, video: str) -> None:
    """Keep that a video stays out of the archive."""
    with alone_in(archive):
        write_text(
            archive / FORGOTTEN_NAME, "".join(f"{each}\n" for each in sorted({*forgotten_videos(archive), video}))
        )


def _write_reasons(path: Path, reasons: list[str]) -> None:
    write_text(path, json.dumps(reasons, indent=1) + "\n")
