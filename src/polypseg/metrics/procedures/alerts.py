"""False alerts, counted as published systems count them: each definition has a name.

    clean-frames   frames without a lesion in which anything is found
    false-frames   frames with a false finding, whether a lesion is visible elsewhere in them or not
    runs           stretches of consecutive frames with a false finding, however short
    alerts-0.5s    such stretches of at least half a second; also alerts-1s, alerts-2s
    alerts-Kframes such stretches of at least K frames

Decisions:
- A stretch ends with its procedure, and with a single frame without a false finding: nothing is bridged.
- Numbers of stretches are exact at every threshold at once. A stretch of frames at a threshold t begins where the score
  reaches t and the score before it does not, so that their number is a difference of two counts; one of at least k
  frames is a stretch of the minimum over k frames.

Reference:
    Holzwanger et al., "Benchmarking definitions of false-positive alerts during computer-aided polyp detection in
    colonoscopy", Endoscopy 53(9), 2021 (0.5, 1 and 2 seconds).
"""

import re

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from polypseg.errors import UsageError, unknown_name
from polypseg.metrics.procedures.tables import NEVER, Flags, Numbers, Places, Procedures

CLEAN_FRAMES, FALSE_FRAMES, RUNS = "clean-frames", "false-frames", "runs"
DEFINITIONS = (CLEAN_FRAMES, FALSE_FRAMES, RUNS, "alerts-0.5s", "alerts-1s", "alerts-2s")
"""What a report counts; `alerts-Kframes` is a definition for every K."""

_LASTING = re.compile(r"alerts-(\d+(?:\.\d+)?)(s|frames)")


def alert_scores(procedures: Procedures, definition: str) -> Numbers:
    """Shape (F,): one score per frame, of which the alerts of a definition are the stretches (or the frames).

    Raises:
        UsageError: An unknown definition.
    """
    if definition == CLEAN_FRAMES:
        return np.where(procedures.has_lesion, NEVER, procedures.top_score)
    if definition in (FALSE_FRAMES, RUNS):
        return procedures.false_score
    return _lowest_ahead(procedures, shortest_alert(procedures, definition))


def shortest_alert(procedures: Procedures, definition: str) -> Places:
    """Shape (P,): frames that an alert lasts at least.

    >>> from polypseg.metrics.procedures.alerts import _LASTING
    >>> _LASTING.fullmatch("alerts-15frames").groups()
    ('15', 'frames')
    """
    match = _LASTING.fullmatch(definition)
    if match is None or float(match[1]) <= 0:
        raise UsageError(unknown_name("definition of a false alert", definition, [*DEFINITIONS, "alerts-15frames"]))
    if match[2] == "s":
        return procedures.frames_for(float(match[1]))
    if "." in match[1]:
        raise UsageError(f"{definition}: expected a whole number of frames, as alerts-15frames")
    return np.full(len(procedures.names), int(match[1]), np.int64)


def is_definition(name: str) -> bool:
    """Whether false alerts have such a definition.

    >>> is_definition("runs"), is_definition("alerts-7frames"), is_definition("alerts")
    (True, True, False)
    """
    return name in DEFINITIONS or _LASTING.fullmatch(name) is not None


def is_in_seconds(definition: str) -> bool:
    """Whether it asks how long an alert lasts, which nobody can say of a procedure of a single frame.

    >>> is_in_seconds("alerts-0.5s"), is_in_seconds("alerts-15frames"), is_in_seconds("runs")
    (True, False, False)
    """
    match = _LASTING.fullmatch(definition)
    return match is not None and match[2] == "s"


def count_alerts(procedures: Procedures, definition: str, thresholds: Numbers) -> Places:
    """The number of false alerts in all procedures, at each threshold.

    Args:
        procedures: The facts.
        definition: One of the module's names.
        thresholds: Shape (T,), any order.
    """
    scores = alert_scores(procedures, definition)
    if definition in (CLEAN_FRAMES, FALSE_FRAMES):
        return num_reaching(scores, thresholds)
    before = _before(procedures, scores)
    rising = scores > before
    return num_reaching(scores[rising], thresholds) - num_reaching(before[rising], thresholds)


def alerts_by_procedure(procedures: Procedures, definition: str, threshold: float) -> Places:
    """Shape (P,): the number of false alerts of each procedure at one threshold."""
    scores = alert_scores(procedures, definition)
    begins = scores >= threshold
    if definition not in (CLEAN_FRAMES, FALSE_FRAMES):
        begins &= ~(_before(procedures, scores) >= threshold)
    return np.bincount(procedures.procedure[begins], minlength=len(procedures.names))


def stretches(is_in: Flags, is_first: Flags) -> tuple[Places, Places]:
    """First and last place of each stretch of true values; a stretch ends where another procedure begins.

    >>> first, last = stretches(np.array([1, 1, 0, 1, 1], bool), np.array([1, 0, 0, 0, 1], bool))
    >>> first.tolist(), last.tolist()
    ([0, 3, 4], [1, 3, 4])
    """
    if not len(is_in):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    opens = is_in & (is_first | ~np.concatenate([[False], is_in[:-1]]))
    closes = is_in & np.concatenate([is_first[1:] | ~is_in[1:], [True]])
    return np.flatnonzero(opens), np.flatnonzero(closes)


def num_reaching(scores: Numbers, thresholds: Numbers) -> Places:
    """Shape (T,): how many scores reach each threshold.

    >>> num_reaching(np.array([0.2, 0.5, 0.5]), np.array([0.5, 0.1])).tolist()
    [2, 3]
    """
    ordered = np.sort(scores)
    return len(ordered) - np.searchsorted(ordered, thresholds, side="left")


def _before(procedures: Procedures, scores: Numbers) -> Numbers:
    """The score of the frame before; NEVER at the beginning of a procedure."""
    shifted = np.concatenate([[NEVER], scores[:-1]])[: len(scores)]
    return np.where(procedures.is_first, NEVER, shifted)


def _lowest_ahead(procedures: Procedures, lengths: Places) -> Numbers:
    """The lowest false score of the frames of an alert that begins here; NEVER where too few follow."""
    lowest = np.full(procedures.num_frames, NEVER)
    bounds = np.searchsorted(procedures.procedure, np.arange(len(procedures.names) + 1))
    for place, length in enumerate(lengths.tolist()):
        here = procedures.false_score[bounds[place] : bounds[place + 1]]
        if len(here) >= length:
            lowest[bounds[place] : bounds[place + 1] - length + 1] = sliding_window_view(here, length).min(axis=1)
    return lowest
