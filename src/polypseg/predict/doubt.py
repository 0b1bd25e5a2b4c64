"""Two scores of a frame, for two kinds of failure: how doubtful is its mark, and how doubtful is its outline.

    mark      that what is marked is no polyp: the share of all pixels from 0.1 on that do not reach 0.9; 0 if none
    outline   that the Dice is low: 1 - 2 Σ_mask p / (|mask| + Σ p), the Dice that the model expects of its own mask;
              without a mark the largest probability of the frame

Both are worked out on the model's own map, whatever the size of the frame: a few passes over 256 x 256 values.

Decisions:
- They were compared with ten others (benchmarks/doubt_scores.py; docs/explanation/doubt.md): agreement under a mirror
  and under scale is no better, and costs two predictions more.
- A frame without a mark cannot tell of a polyp that was missed: its probabilities are those of a frame without a polyp.
  Its score is low; who knows that every frame shows a polyp finds the missed ones by their empty masks.

Reference:
    Borges et al., "Soft Dice Confidence: A Near-Optimal Confidence Estimator for Selective Prediction in Semantic
    Segmentation", 2024.
"""

from collections.abc import Sequence
from math import ceil, isnan, nan
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from polypseg.errors import UsageError

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


def check_budget(budget: float) -> None:
    """Nothing, if it is a share of frames.

    Raises:
        UsageError: It is not in (0, 1].
    """
    if not 0 < budget <= 1:
        raise UsageError(f"review {budget:g}: expected a share of the frames, above 0 and at most 1, as 0.1")


def to_review(doubts: Sequence[Doubt], budget: float) -> list[int]:
    """The places of the frames to look at again, the most doubtful first.

    Args:
        doubts: Of each frame; NaN where it could not be predicted: such a frame is left out.
        budget: Share of the frames, rounded up.

    >>> to_review([Doubt(0.1, 0.2), Doubt(0.9, 0.1), Doubt(0.0, 0.5)], 0.5)
    [1, 2]
    """
    check_budget(budget)
    known = [place for place, doubt in enumerate(doubts) if not isnan(doubt.outline)]
    ordered = sorted(known, key=lambda place: (-max(doubts[place]), place))
    return ordered[: ceil(budget * len(known) - 1e-9)]
