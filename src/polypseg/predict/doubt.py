"""Two scores of a frame, for two kinds of failure: how doubtful is its mark, and how doubtful is its outline.

    mark      that what is marked is no polyp: the share of all pixels from 0.1 on that do not reach 0.9; 0 if none
    outline   that the Dice is low: 1 - 2 Σ_mask p / (|mask| + Σ p), the Dice that the model expects of its own mask;
              without a mark the largest probability of the frame

Both are worked out on the model's own map, whatever the size of the frame: a few passes over 256 x 256 values.

Decisions:
- They were compared with ten others (benchmarks/doubt_scores.py; docs/explanation/doubt.md): agreement under a mirror
  and under scale is no better, and costs two predictions more.
- A frame without a mark cannot tell of a polyp that was missed: its probabilities are those of a frame without a polyp.
  Among frames that all show one, an empty mask itself is the failure.
- One order cannot serve both kinds of failure. There is one for each, and `both` takes from them in turn, so that
  either gets half of the budget at least: it was chosen on validation frames (docs/explanation/doubt.md).

Reference:
    Borges et al., "Soft Dice Confidence: A Near-Optimal Confidence Estimator for Selective Prediction in Semantic
    Segmentation", 2024.
"""

from collections.abc import Sequence
from itertools import zip_longest
from math import ceil, isnan, nan
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from polypseg.errors import UsageError, unknown_name

_LOW, _HIGH = np.float32(0.1), np.float32(0.9)


class Doubt(NamedTuple):
    """The two scores of a frame, each from 0 (sure) to 1.

    Attributes:
        mark: That what is marked is no polyp.
        outline: That the outline is wrong, or a polyp missed.
    """

    mark: float
    outline: float


UNKNOWN = Doubt(nan, nan)


def doubt_of(probability: NDArray[np.float32], threshold: float, is_marked: bool) -> Doubt:
    """The scores of a frame.

    Args:
        probability: What the model says, shape (H, W), in [0, 1].
        threshold: Of the mask.
        is_marked: Whether its mask has a pixel.

    >>> doubt_of(np.array([[0.0, 0.5, 1.0, 1.0]], np.float32), 0.6, True)  # 1 - 2 · 2 / (2 + 2.5)
    Doubt(mark=0.333333, outline=0.111111)
    >>> doubt_of(np.array([[0.0, 0.25]], np.float32), 0.6, False)
    Doubt(mark=0.0, outline=0.25)
    """
    chosen = probability >= np.float32(threshold)
    area, total = int(np.count_nonzero(chosen)), float(probability.sum(dtype=np.float64))
    if not is_marked or not area:
        return Doubt(0.0, round(float(probability.max()), 6))
    soft = int(np.count_nonzero(probability >= _LOW))
    sure = int(np.count_nonzero(probability >= _HIGH))
    inside = float(probability.sum(dtype=np.float64, where=chosen))
    return Doubt(round((soft - sure) / soft if soft else 0.0, 6), round(1 - 2 * inside / (area + total), 6))


def check_budget(budget: float, what: str = "both") -> None:
    """Nothing, if it is a share of frames, to look for something known.

    Raises:
        UsageError: It is not in (0, 1], or an unknown name.
    """
    if what not in REVIEW_FOR:
        raise UsageError(unknown_name("kind of review", what, REVIEW_FOR))
    if not 0 < budget <= 1:
        raise UsageError(f"review {budget:g}: expected a share of the frames, above 0 and at most 1, as 0.1")


REVIEW_FOR = ("both", "marks", "misses")
"""What is looked for: marks that are no polyp, polyps that are missed or badly outlined, or both in turn."""


class Again(NamedTuple):
    """A frame to look at again.

    Attributes:
        place: Of the frame.
        reason: `mark`: what is marked may be no polyp; `missed`: nothing is marked, a polyp may be missed; `outline`:
            the outline may be wrong.
    """

    place: int
    reason: str


def review_order(doubts: Sequence[Doubt], is_marked: Sequence[bool], what: str = "both") -> list[Again]:
    """All frames, the one to look at first first.

    Args:
        doubts: Of each frame; NaN where it could not be predicted: such a frame is left out.
        is_marked: Whether its mask has a pixel.
        what: A name of `REVIEW_FOR`.

    >>> doubts = [Doubt(0.1, 0.2), Doubt(0.9, 0.1), Doubt(0.0, 0.05)]
    >>> [again.place for again in review_order(doubts, [True, True, False])]
    [1, 2, 0]
    >>> [tuple(again) for again in review_order(doubts, [True, True, False], "misses")]
    [(2, 'missed'), (0, 'outline'), (1, 'outline')]
    """
    known = [place for place, doubt in enumerate(doubts) if not isnan(doubt.outline)]
    marks = sorted((place for place in known if is_marked[place]), key=lambda place: (-doubts[place].mark, place))
    misses = sorted(known, key=lambda place: (is_marked[place], -doubts[place].outline, place))
    for_marks = [Again(place, "mark") for place in marks]
    for_misses = [Again(place, "outline" if is_marked[place] else "missed") for place in misses]
    if what == "misses":
        return for_misses
    if what == "marks":
        return for_marks + [again for again in for_misses if again.reason == "missed"]
    turns = (again for pair in zip_longest(for_marks, for_misses) for again in pair if again is not None)
    found: dict[int, Again] = {}
    for again in turns:
        found.setdefault(again.place, again)
    return list(found.values())


def to_review(doubts: Sequence[Doubt], is_marked: Sequence[bool], budget: float, what: str = "both") -> list[Again]:
    """The frames to look at again, the first one first.

    Args:
        doubts: Of each frame; NaN where it could not be predicted.
        is_marked: Whether its mask has a pixel.
        budget: Share of the frames, rounded up.
        what: A name of `REVIEW_FOR`.

    Raises:
        UsageError: No share, or an unknown name.
    """
    check_budget(budget, what)
    ordered = review_order(doubts, is_marked, what)
    return ordered[: ceil(budget * len(ordered) - 1e-9)]
