"""Lesion by lesion: found at all, how soon, for how long, in how many pieces.

Decisions:
- A lesion is found in a frame where a finding meets it. Its persistence is the share of the frames in which it is
  visible in which it is found.
- Latency runs from the first frame in which the lesion is visible to the first in which it is found, zero where that
  is the same frame. A lesion that is never found has no latency: it is NaN, never left out of a count.
- A lasting detection is a stretch of consecutive frames of the video of at least `lasting_seconds` in all of which the
  lesion is found; its latency runs to the beginning of the stretch.
- Fragments are stretches of found frames along the frames in which the lesion is visible: frames in which it is
  hidden interrupt nothing. 1 is best; 0 means never found.
- Size is the median over its frames of the lesion's area, in per cent of the frame.
"""

from typing import NamedTuple

import numpy as np

from polypseg.metrics.procedures.alerts import stretches
from polypseg.metrics.procedures.tables import Flags, Numbers, Places, Procedures

PERSISTENCE = (0.25, 0.5, 0.75)
"""Shares of its visible frames in which a lesion must be found."""

WITHIN_SECONDS = (1.0, 3.0, 5.0)
"""Times after it becomes visible by which a lesion should be found."""


class LesionTable(NamedTuple):
    """A value a lesion, shape (L,).

    Attributes:
        num_visible: Frames in which it is visible.
        num_found: Of them, those in which it is found.
        first_visible: Frame of its procedure, counted from 0.
        first_found: The same; -1 where it is never found.
        latency_frames: From the one to the other; NaN where never found, as the rest.
        latency_seconds: The same in seconds.
        lasting_latency_seconds: To the beginning of the first lasting detection.
        num_fragments: Stretches of found frames.
        percent: Its size.
    """

    num_visible: Places
    num_found: Places
    first_visible: Places
    first_found: Places
    latency_frames: Numbers
    latency_seconds: Numbers
    lasting_latency_seconds: Numbers
    num_fragments: Places
    percent: Numbers

    @property
    def persistence(self) -> Numbers:
        """Share of the visible frames in which it is found."""
        return self.num_found / self.num_visible


def lesion_table(procedures: Procedures, threshold: float, lasting_seconds: float = 0.5) -> LesionTable:
    """What is known of each lesion at a threshold.

    Args:
        procedures: The facts.
        threshold: In [0, 1].
        lasting_seconds: Length of a lasting detection.
    """
    num = len(procedures.lesions)
    order = np.lexsort([procedures.sight_frame, procedures.sight_lesion])
    frame, lesion = procedures.sight_frame[order], procedures.sight_lesion[order]
    found = procedures.sight_score[order] >= threshold
    opens = np.concatenate([[True], np.diff(lesion) != 0])[: len(lesion)]
    first_visible = frame[opens]
    first_found = _first(frame[found], lesion[found], num)
    lasting = _first_lasting(procedures, (frame, lesion, found, opens), procedures.frames_for(lasting_seconds))
    begun, _ = stretches(found, opens)
    starts = np.searchsorted(procedures.procedure, procedures.lesion_procedure)
    seconds = np.append(procedures.seconds, np.nan)  # frame -1 is none
    never = first_found < 0
    return LesionTable(
        np.bincount(lesion, minlength=num),
        np.bincount(lesion[found], minlength=num),
        first_visible - starts,
        np.where(never, -1, first_found - starts),
        np.where(never, np.nan, first_found - first_visible),
        seconds[first_found] - seconds[first_visible],
        seconds[lasting] - seconds[first_visible],
        np.bincount(lesion[begun], minlength=num),
        _medians(procedures.sight_percent[order], np.flatnonzero(opens)),
    )


def _first(frame: Places, lesion: Places, num: int) -> Places:
    """The first frame of each lesion, -1 where it has none; frames rise within a lesion."""
    first = np.full(num, -1, np.int64)
    first[lesion[::-1]] = frame[::-1]
    return first


def _first_lasting(procedures: Procedures, sights: tuple[Places, Places, Flags, Flags], lengths: Places) -> Places:
    """Where the first stretch of enough consecutive frames begins, -1 where there is none."""
    frame, lesion, found, opens = sights
    breaks = opens | np.concatenate([[True], np.diff(frame) != 1])[: len(frame)]
    first, last = stretches(found, breaks)
    enough = last - first + 1 >= lengths[procedures.lesion_procedure[lesion[first]]]
    return _first(frame[first[enough]], lesion[first[enough]], len(procedures.lesions))


def _medians(values: Numbers, opens: Places) -> Numbers:
    return np.array([np.median(part) for part in np.split(values, opens[1:])] if len(opens) else [], np.float64)
