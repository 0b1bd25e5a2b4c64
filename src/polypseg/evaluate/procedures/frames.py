"""The frames of procedures, by name and in time.

Decisions:
- The name of a frame is its file's name without the ending, or its number in a video file.
- Frames of a folder are in natural order: 9 before 10, whether numbers are filled up with zeros or not.
- A folder tells no time: the frame rate is asked for, and never guessed.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from polypseg.errors import ScoreError, UsageError, plural
from polypseg.metrics.procedures.tables import Numbers, Places


@dataclass(frozen=True)
class Frames:
    """The frames of all procedures, in order.

    Attributes:
        names: Of the P procedures.
        procedure: Shape (F,): of each frame.
        keys: The name of each frame.
        seconds: Shape (F,): since the procedure's first frame.
    """

    names: tuple[str, ...]
    procedure: Places
    keys: tuple[str, ...]
    seconds: Numbers

    @cached_property
    def places(self) -> Mapping[tuple[str, str], int]:
        """The place of each frame by procedure and name."""
        owners = [self.names[number] for number in self.procedure.tolist()]
        return {pair: place for place, pair in enumerate(zip(owners, self.keys, strict=True))}

    def keys_of(self, name: str) -> list[str]:
        """The names of a procedure's frames, in order."""
        begins, ends = np.searchsorted(self.procedure, [self.names.index(name), self.names.index(name) + 1])
        return list(self.keys[begins:ends])


def frames_from(
    procedures: Mapping[str, Sequence[str]], seconds: Mapping[str, Sequence[float]] | None, rate: float | None
) -> Frames:
    """The frames of procedures whose names are known.

    Args:
        procedures: The frames' names of each procedure, in order.
        seconds: Their times, where they are known.
        rate: Frames a second, for procedures whose times are not known.

    Raises:
        ScoreError: A procedure without a frame, or a frame that is there twice.
        UsageError: No time and no rate.
    """
    if rate is not None and not rate > 0:
        raise UsageError(f"--frame-rate {rate:g}: expected more than 0 frames a second")
    keys: list[str] = []
    owner: list[int] = []
    times: list[float] = []
    for place, (name, own) in enumerate(procedures.items()):
        _check_procedure(name, own)
        keys += own
        owner += [place] * len(own)
        known = None if seconds is None else seconds.get(name)
        if known is None and rate is None:
            raise UsageError(f"{name}: its frames have no time; name the frames a second with --frame-rate")
        times += [number / float(rate or 1) for number in range(len(own))] if known is None else list(known)
    return Frames(tuple(procedures), np.array(owner, np.int64), tuple(keys), np.array(times, np.float64))


def natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """A key that sorts numbers in a text by their value.

    >>> sorted(["b10", "b9", "a", "7"], key=natural)
    ['7', 'a', 'b9', 'b10']
    """
    parts = re.findall(r"\d+|\D+", text)
    return tuple((0, int(part), part) if part.isdigit() else (1, 0, part) for part in parts)


def check_same_frames(filmed: Frames, referenced: Frames, filmed_name: str = "videos") -> None:
    """Nothing, if both sides have the same frames; the first is called by its name.

    Raises:
        ScoreError: A procedure or frames are missing on one side.
    """
    for one, other, side, hint in (
        (filmed, referenced, "references", "a frame without a lesion needs a reference that says so (a black mask)"),
        (referenced, filmed, filmed_name, "remove the references that belong to no frame"),
    ):
        lacking = [name for name in one.names if name not in other.names]
        if lacking:
            raise ScoreError(
                f"procedure {lacking[0]}: missing in the {side} ({len(lacking)} of {len(one.names)} are), which have "
                f"{', '.join(other.names[:3])}; expected the same names on both sides"
            )
        for name in one.names:
            absent = set(one.keys_of(name)) - set(other.keys_of(name))
            if absent:
                first = min(absent, key=natural)
                raise ScoreError(
                    f"{name}: {plural(len(absent), 'frame is', 'frames are')} missing in the {side}, as {first}; {hint}"
                )


def _check_procedure(name: str, keys: Sequence[str]) -> None:
    if not keys:
        raise ScoreError(f"{name}: a procedure without frames; remove it or add its frames")
    if len(set(keys)) < len(keys):
        seen: set[str] = set()
        twice = next(key for key in keys if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ScoreError(f"{name}: frame {twice} is there twice; expected each once: remove one")
