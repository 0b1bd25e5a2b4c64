"""How a risk is held: conformal risk control and risk-controlling prediction sets, pure mathematics.

A unit (a sequence, a patient, a frame of its own) has a loss in [0, 1] at each of K steps; it never rises from one step
to the next and is 0 at the last. `controlled_step` is the first step at which the risk is held:

    on average         (l_1 + … + l_n + 1) / (n + 1) ≤ level            conformal risk control
    with a confidence  p(mean loss) ≤ 1 - confidence, from there on     Hoeffding-Bentkus bound, fixed sequence of tests

Both suppose nothing but that new units are drawn as the n were.

Decisions:
- Frames of a unit are alike; only units are exchangeable. A unit's loss is the mean over its frames.
- A loss that can rise (the share of an inner mask that is no polyp) is replaced by its largest value from there on.

References:
    Angelopoulos, Bates, Fisch, Lei, Schuster, "Conformal Risk Control", ICLR 2024, theorem 1.
    Bates, Angelopoulos, Lei, Malik, Jordan, "Distribution-Free, Risk-Controlling Prediction Sets", Journal of the ACM
    68(6), 2021, section 3.1; Angelopoulos et al., "Learn then Test", 2021, proposition 2.
"""

from bisect import bisect_left
from collections.abc import Sequence
from math import ceil, exp, lgamma, log

import numpy as np
from numpy.typing import NDArray

from polypseg.errors import UsageError

Losses = NDArray[np.float64]
"""Shape (N, K): one row per frame or unit, one column per step."""

_ROUNDING = 1e-12


def check_level(level: float, confidence: float | None = None) -> None:
    """Nothing, if both are shares that can be held.

    Raises:
        UsageError: One lies outside (0, 1).
    """
    if not 0 < level < 1:
        raise UsageError(f"level {level:g}: expected a share between 0 and 1, as 0.1 (without 0 and 1)")
    if confidence is not None and not 0 < confidence < 1:
        raise UsageError(f"confidence {confidence:g}: expected a value between 0 and 1, as 0.9 (without 0 and 1)")


def fewest_units(level: float, confidence: float | None = None) -> int:
    """How many units without any loss are needed, so that a risk can be held at all.

    On average 1 / (n + 1) ≤ level; with a confidence (1 - level)^n ≤ 1 - confidence.

    >>> fewest_units(0.05), fewest_units(0.1), fewest_units(0.1, 0.9)
    (19, 9, 22)
    """
    check_level(level, confidence)
    if confidence is None:
        return max(1, ceil(1 / level - 1 - _ROUNDING / level))
    return max(1, ceil(log(1 - confidence) / log(1 - level) - _ROUNDING))


def unit_losses(losses: Losses, units: Sequence[int]) -> Losses:
    """The mean loss of each unit's frames, shape (n, K).

    Args:
        losses: Shape (N, K), one row per frame.
        units: To which unit each frame belongs, from 0 to n - 1.

    >>> unit_losses(np.array([[1.0, 0], [0, 0], [0.5, 0]]), [0, 0, 1]).tolist()
    [[0.5, 0.0], [0.5, 0.0]]
    """
    places = np.asarray(units)
    sums = np.zeros((int(places.max()) + 1, losses.shape[1]))
    np.add.at(sums, places, losses)
    return np.asarray(sums / np.bincount(places)[:, np.newaxis])


def never_rising(losses: Losses) -> Losses:
    """Each row's largest value from there on.

    >>> never_rising(np.array([[0.2, 0.5, 0.1, 0.0]])).tolist()
    [[0.5, 0.5, 0.1, 0.0]]
    """
    return np.asarray(np.maximum.accumulate(losses[:, ::-1], axis=1)[:, ::-1])


def controlled_step(losses: Losses, level: float, confidence: float | None = None) -> int | None:
    """The first step from which on the risk is held.

    Args:
        losses: Shape (n, K), of units, never rising.
        level: The risk, in (0, 1).
        confidence: In (0, 1); None holds the risk on average.

    Returns:
        From 0 to K - 1; None where too few units are there to hold it even at the last step.

    Raises:
        UsageError: A level or a confidence outside (0, 1).
    """
    check_level(level, confidence)
    means, count = losses.mean(axis=0), len(losses)

    def is_held(step: int) -> bool:
        if confidence is None:
            return bool((means[step] * count + 1) / (count + 1) <= level + _ROUNDING)
        return hoeffding_bentkus(float(means[step]), count, level) <= 1 - confidence + _ROUNDING

    steps = range(means.size)
    first = bisect_left(steps, True, key=is_held)  # means never rise: once held, held from there on
    return None if first == means.size else first


def hoeffding_bentkus(mean: float, count: int, level: float) -> float:
    """How likely a mean as low as this is, at most, if the risk were above the level: a p-value.

        min( exp(-n h(min(mean, level), level)),  e · P(Binomial(n, level) ≤ ⌈n · mean⌉) ),
        h(a, b) = a ln(a / b) + (1 - a) ln((1 - a) / (1 - b))

    Args:
        mean: Of n losses in [0, 1].
        count: n.
        level: The risk that is tested, in (0, 1).

    >>> round(hoeffding_bentkus(0.0, 22, 0.1), 6) == round(0.9**22, 6)
    True
    """
    low = min(mean, level)
    hoeffding = exp(-count * (_times_log(low, low / level) + _times_log(1 - low, (1 - low) / (1 - level))))
    most = min(count, ceil(count * mean - _ROUNDING))
    below = sum(exp(_log_binomial(hits, count, level)) for hits in range(most + 1))
    return float(min(1.0, hoeffding, exp(1) * below))


def _log_binomial(hits: int, count: int, level: float) -> float:
    choices = lgamma(count + 1) - lgamma(hits + 1) - lgamma(count - hits + 1)
    return choices + hits * log(level) + (count - hits) * log(1 - level)


def _times_log(factor: float, ratio: float) -> float:
    return factor * log(ratio) if factor > 0 else 0.0
