"""FROC and AFROC over all thresholds, and the threshold that is matched to a burden of false alerts.

Decisions:
- Each distinct score is a threshold, so that a curve has all the points that there are; the highest is first.
- The matched threshold is the lowest at which the burden keeps within the budget, there and at every higher threshold:
  the number of stretches is not monotone (a lower threshold joins two), and a lucky dip is no operating point.
- All scores are tried, those of findings on lesions too. Where not even the highest score keeps within the budget,
  there is no threshold: NaN, sensitivity 0, and `is_within` says so.
- A threshold that is matched and evaluated on the same procedures is optimistic: the caller chooses on some and
  evaluates on others.

Reference:
    Chakraborty, "Observer Performance Methods for Diagnostic Imaging", CRC Press, 2017 (FROC, AFROC and its area).
"""

import math
from typing import NamedTuple

import numpy as np

from polypseg.errors import ScoreError, UsageError, unknown_name
from polypseg.metrics.procedures.alerts import CLEAN_FRAMES, DEFINITIONS, count_alerts, is_definition, num_reaching
from polypseg.metrics.procedures.frames import frame_sums, ratio
from polypseg.metrics.procedures.tables import Numbers, Procedures

FALSE_POSITIVE_RATE = "false-positive-rate"
"""The burden that is a share of the clean frames; every other one is false alerts a minute."""


class FrocCurves(NamedTuple):
    """A value a threshold, shape (T,); the highest threshold is first.

    Attributes:
        thresholds: All scores.
        sensitivity: Share of the lesions, counted in each of their frames, that are found.
        frame_sensitivity: Share of the frames with a lesion in which one is found.
        false_per_frame: False findings a frame: the abscissa of FROC.
        false_positive_rate: Share of the clean frames in which anything is found: of AFROC; NaN without one.
    """

    thresholds: Numbers
    sensitivity: Numbers
    frame_sensitivity: Numbers
    false_per_frame: Numbers
    false_positive_rate: Numbers

    @property
    def afroc_area(self) -> float:
        """The area under AFROC, its last point joined to (1, 1); 1 is best, NaN without clean frames or lesions."""
        if np.isnan(self.false_positive_rate).any() or np.isnan(self.sensitivity).any():
            return math.nan
        x = np.concatenate([[0.0], self.false_positive_rate, [1.0]])
        y = np.concatenate([[0.0], self.sensitivity, [1.0]])
        return float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2))


class Matched(NamedTuple):
    """A threshold that keeps within a budget.

    Attributes:
        threshold: NaN where no score keeps within it.
        burden: What is there.
        sensitivity: Share of the frames with a lesion in which one is found, there.
        is_within: Whether there is such a threshold.
    """

    threshold: float
    burden: float
    sensitivity: float
    is_within: bool


def curves(procedures: Procedures) -> FrocCurves:
    """FROC, AFROC and frame sensitivity at every threshold."""
    thresholds = procedures.thresholds
    false = procedures.finding_score[~procedures.is_true]
    clean = ~procedures.has_lesion
    return FrocCurves(
        thresholds,
        _share(procedures.sight_score, thresholds),
        _share(procedures.found_score[procedures.has_lesion], thresholds),
        num_reaching(false, thresholds) / max(1, procedures.num_frames),
        _share(procedures.top_score[clean], thresholds),
    )


def burdens(procedures: Procedures, definition: str, thresholds: Numbers) -> Numbers:
    """The burden of false alerts at each threshold.

    Args:
        procedures: The facts.
        definition: `false-positive-rate`, or a definition of `alerts` for false alerts a minute.
        thresholds: Shape (T,).

    Raises:
        UsageError: An unknown definition.
        ScoreError: It is not known: no clean frame, or no length in time.
    """
    if definition == FALSE_POSITIVE_RATE:
        if procedures.has_lesion.all():
            raise ScoreError("no frame is without a lesion: the false-positive rate is unknown; add such frames")
        num_clean = int(np.count_nonzero(~procedures.has_lesion))
        return np.asarray(count_alerts(procedures, CLEAN_FRAMES, thresholds) / num_clean)
    if not is_definition(definition):
        choices = [FALSE_POSITIVE_RATE, *DEFINITIONS, "alerts-15frames"]
        raise UsageError(unknown_name("burden of false alerts", definition, choices))
    minutes = float(np.sum(frame_sums(procedures, np.inf).minutes))
    if not minutes > 0:
        raise ScoreError("a procedure has a single frame: false alerts a minute are unknown; leave it out")
    return np.asarray(count_alerts(procedures, definition, thresholds) / minutes)


def match(procedures: Procedures, definition: str, budget: float) -> Matched:
    """The lowest threshold within a budget of false alerts.

    Args:
        procedures: Those on which it is chosen.
        definition: As of `burdens`.
        budget: The most that is allowed: a share, or alerts a minute.

    Raises:
        UsageError: A negative budget.
        ScoreError: As `burdens`.
    """
    if not budget >= 0:
        raise UsageError(f"budget {budget:g}: expected 0 or more false alerts")
    thresholds = procedures.thresholds
    spent = burdens(procedures, definition, thresholds)
    num_within = len(spent) if np.all(spent <= budget) else int(np.argmax(spent > budget))
    if num_within == 0:
        return Matched(math.nan, 0.0, 0.0, False)
    chosen = float(thresholds[num_within - 1])
    found = frame_sums(procedures, chosen)
    return Matched(chosen, float(spent[num_within - 1]), ratio(found.num_found, found.num_lesion_frames), True)


def _share(scores: Numbers, thresholds: Numbers) -> Numbers:
    """The share of the scores that reach each threshold; NaN where there are none."""
    if not len(scores):
        return np.full(len(thresholds), np.nan)
    return np.asarray(num_reaching(scores, thresholds) / len(scores))
