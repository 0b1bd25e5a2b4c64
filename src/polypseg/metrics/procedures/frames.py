"""Frame by frame: is anything found where a lesion is visible, is nothing found where none is?

Decisions:
- A frame in which a lesion is visible is found where a finding meets any of its lesions. A finding elsewhere in such a
  frame makes it no found frame and no false positive one; it counts as a false finding.
- Specificity and false-positive rate are over clean frames: those in which no lesion is visible.
- Sums a procedure are kept, so that every figure is a ratio of sums and has an interval over procedures.
"""

import math
from typing import NamedTuple

import numpy as np

from polypseg.metrics.procedures.tables import Numbers, Procedures


class FrameSums(NamedTuple):
    """Sums of each procedure, shape (P,).

    Attributes:
        num_frames: All frames.
        num_lesion_frames: Those in which a lesion is visible.
        num_found: Of them, those in which a finding meets a lesion.
        num_clean: Frames without a lesion.
        num_clean_alerted: Of them, those in which anything is found.
        num_sights: Lesions, counted in each frame in which they are visible.
        num_sights_found: Of them, those that a finding meets.
        num_false: False findings.
        false_percent: Their areas added, in per cent of a frame; NaN where areas are unknown.
        minutes: Length.
    """

    num_frames: Numbers
    num_lesion_frames: Numbers
    num_found: Numbers
    num_clean: Numbers
    num_clean_alerted: Numbers
    num_sights: Numbers
    num_sights_found: Numbers
    num_false: Numbers
    false_percent: Numbers
    minutes: Numbers


def frame_sums(procedures: Procedures, threshold: float) -> FrameSums:
    """What is counted in each procedure at a threshold."""
    lesion, clean = procedures.has_lesion, ~procedures.has_lesion
    false = ~procedures.is_true & (procedures.finding_score >= threshold)
    sights = procedures.procedure[procedures.sight_frame]
    false_owner = procedures.procedure[procedures.finding_frame[false]]
    percent = procedures.finding_percent[false]

    def counted(owner: np.ndarray, weights: np.ndarray | None = None) -> Numbers:
        return np.bincount(owner, weights, len(procedures.names)).astype(np.float64)

    num_frames = counted(procedures.procedure)
    return FrameSums(
        num_frames,
        counted(procedures.procedure[lesion]),
        counted(procedures.procedure[lesion & (procedures.found_score >= threshold)]),
        counted(procedures.procedure[clean]),
        counted(procedures.procedure[clean & (procedures.top_score >= threshold)]),
        counted(sights),
        counted(sights[procedures.sight_score >= threshold]),
        counted(false_owner),
        counted(false_owner, percent),
        num_frames * procedures.frame_seconds / 60,
    )


def ratio(top: Numbers, bottom: Numbers) -> float:
    """The sum over the sum; NaN where there is nothing to divide by.

    >>> ratio(np.array([1.0, 2.0]), np.array([4.0, 2.0]))
    0.5
    """
    below = float(np.sum(bottom))
    return float(np.sum(top)) / below if below else math.nan
