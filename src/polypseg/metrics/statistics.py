"""How sure a figure is: bootstrap intervals over images or groups, and paired comparisons.

Decisions:
- An interval is a percentile interval of a seeded bootstrap. Images are drawn, or whole groups where images come in
  groups (frames of one video, images of one patient): frames that resemble each other are not independent, and an
  interval over single frames would be too narrow.
- A NaN is a value that does not exist. It is left out of the figure, and every result says how many were
  (`num_missing`). A pair with a NaN on either side is no pair.
- A pooled figure is a ratio of sums (`bootstrap_ratio`), and a mean is one of them (of values over ones): resamples
  are products of how often a group was drawn with the sums of each group, for all columns at once.
- Resamples are drawn in batches of bounded size.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from polypseg.errors import ScoreError, UsageError

Values = NDArray[np.float64]
_BATCH = 2_000_000
"""Drawn indices held at once, 16 MB."""

_EXACT_SIGN_FLIPS = 13
"""Up to so many pairs all 2^n sign patterns are tried instead of drawn ones."""


class Interval(NamedTuple):
    """A figure with the interval that its bootstrap gives.

    NaN where there is no value at all; `low` and `high` equal `value` for a single image or group.
    """

    value: float
    low: float
    high: float
    confidence: float
    num_values: int
    num_missing: int


class Comparison(NamedTuple):
    """What two series over the same images say about each other; the difference is first minus second."""

    difference: Interval
    wilcoxon_p: float
    permutation_p: float
    wins: int
    losses: int
    ties: int


def bootstrap_mean(
    values: Sequence[float] | Values,
    groups: Sequence[str] | None = None,
    confidence: float = 0.95,
    num_resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """The mean over images, and its interval.

    Args:
        values: One value per image; NaN where there is none.
        groups: The group of each image; whole groups are drawn. None draws single images.
        confidence: In (0, 1).
        num_resamples: 1 or more.
        seed: Of the draws; the same seed gives the same interval.

    Raises:
        UsageError: Lengths differ, or an argument is out of range.

    Reference:
        Efron, Tibshirani, "An Introduction to the Bootstrap", 1993, section 13.3 (percentile interval); Field,
        Welsh, "Bootstrapping clustered data", JRSS B 69(3), 2007.

    >>> bootstrap_mean([0.5, 0.5, float("nan")])
    Interval(value=0.5, low=0.5, high=0.5, confidence=0.95, num_values=2, num_missing=1)
    """
    return bootstrap_means(np.asarray(values, np.float64)[:, None], groups, confidence, num_resamples, seed)[0]


def bootstrap_means(
    values: Values,
    groups: Sequence[str] | None = None,
    confidence: float = 0.95,
    num_resamples: int = 10_000,
    seed: int = 0,
) -> list[Interval]:
    """The means of many columns, as `bootstrap_mean` gives each of them, in one go.

    Args:
        values: Shape (N, K): one row per image, one column per metric; NaN where there is no value.
        groups: As `bootstrap_mean`, as are the rest and the errors.
        confidence: In (0, 1).
        num_resamples: 1 or more.
        seed: Of the draws, which all columns share.
    """
    missing = np.isnan(values)
    ones = np.where(missing, np.nan, 1.0)
    return _bootstrap_ratios(values, ones, groups, Draws(confidence, num_resamples, seed))


def bootstrap_ratio(
    numerators: Sequence[float] | Values,
    denominators: Sequence[float] | Values,
    groups: Sequence[str] | None = None,
    confidence: float = 0.95,
    num_resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """The sum of all numerators over the sum of all denominators, and its interval: a pooled figure.

    The pooled Dice has numerators 2·TP and denominators 2·TP + FP + FN of each image.
    Args and errors as `bootstrap_mean`.

    Returns:
        NaN where the denominators sum to 0; resamples in which they do are left out of the interval.

    >>> bootstrap_ratio([2, 6], [4, 6], num_resamples=100).value
    0.8
    """
    tops, bottoms = np.asarray(numerators, np.float64), np.asarray(denominators, np.float64)
    if tops.shape != bottoms.shape:
        raise UsageError(f"{len(tops)} numerators have {len(bottoms)} denominators; expected one an image")
    draws = Draws(confidence, num_resamples, seed)
    return _bootstrap_ratios(tops[:, None], bottoms[:, None], groups, draws)[0]


def compare_paired(
    first: Sequence[float] | Values,
    second: Sequence[float] | Values,
    groups: Sequence[str] | None = None,
    confidence: float = 0.95,
    num_resamples: int = 10_000,
    seed: int = 0,
) -> Comparison:
    """The mean difference of two series over the same images, its interval, and whether it could be chance.

    Args:
        first: One value per image; NaN where there is none.
        second: The same images in the same order.
        groups: As `bootstrap_mean`; whole groups are drawn, and change sign together in the permutation test.
        confidence: In (0, 1).
        num_resamples: Of the bootstrap, and of the sign flips where there are too many to try all.
        seed: Of the draws.

    Returns:
        Wilcoxon's signed-rank p (two-sided; it ranks single images and knows no groups) and the p of a paired
        permutation (sign-flip) test of the mean difference. Both 1 where no pair differs, NaN without a pair.
        A win is an image in which `first` is larger.

    Raises:
        UsageError: Lengths differ, or an argument is out of range.

    Reference:
        Wilcoxon, "Individual comparisons by ranking methods", Biometrics Bulletin 1(6), 1945; Phipson, Smyth,
        "Permutation P-values should never be zero", SAGMB 9(1), 2010.

    >>> compare_paired([0.9, 0.8, 0.7], [0.5, 0.8, 0.6]).wins
    2
    """
    one, other = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if one.shape != other.shape:
        raise UsageError(f"{len(one)} values are compared with {len(other)}; expected the same images in both")
    differences = one - other
    interval = bootstrap_mean(differences, groups, confidence, num_resamples, seed)
    kept, members, num_groups = _present(differences, groups)
    sums = np.bincount(members, kept, num_groups).astype(np.float64)
    return Comparison(
        difference=interval,
        wilcoxon_p=_wilcoxon(kept),
        permutation_p=_sign_flips(sums, num_resamples, seed),
        wins=int(np.count_nonzero(kept > 0)),
        losses=int(np.count_nonzero(kept < 0)),
        ties=int(np.count_nonzero(kept == 0)),
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values of several comparisons, adjusted so that the chance of any false claim keeps its level.

    Reference:
        Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Statistics 6(2), 1979.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        running = max(running, min(1.0, p_values[place] * (len(p_values) - rank)))
        adjusted[place] = running
    return adjusted


class Draws(NamedTuple):
    """How a bootstrap draws; `*draws` are the last arguments of every function here.

    Attributes:
        confidence: Of the interval, in (0, 1).
        num_resamples: How many.
        seed: The same seed gives the same interval.
    """

    confidence: float
    num_resamples: int
    seed: int

    def batches(self, num_groups: int) -> Iterator[NDArray[np.int64]]:
        """Resamples, each (resamples, groups): numbers of groups, drawn with replacement."""
        if not 0 < self.confidence < 1:
            raise UsageError(f"confidence is {self.confidence}; expected more than 0 and less than 1, as 0.95")
        if self.num_resamples < 1:
            raise UsageError(f"num_resamples is {self.num_resamples}; expected 1 or more")
        if not num_groups:
            return
        rng = np.random.default_rng(self.seed)
        rows = max(1, _BATCH // num_groups)
        for start in range(0, self.num_resamples, rows):
            yield rng.integers(0, num_groups, (min(rows, self.num_resamples - start), num_groups))


def _bootstrap_ratios(tops: Values, bottoms: Values, groups: Sequence[str] | None, draws: Draws) -> list[Interval]:
    """The intervals of sum(tops) / sum(bottoms), column by column; a NaN in either counts in neither."""
    missing = np.isnan(tops) | np.isnan(bottoms)
    both = np.where(np.concatenate([missing, missing], axis=1), 0.0, np.concatenate([tops, bottoms], axis=1))
    both, members, num_groups = _present(both, groups)
    sums = np.zeros((num_groups, both.shape[1]))
    np.add.at(sums, members, both)
    resampled = [np.zeros((0, both.shape[1]))]
    for drawn in draws.batches(num_groups):
        places = drawn + np.arange(len(drawn))[:, None] * num_groups
        times_drawn = np.bincount(places.ravel(), minlength=drawn.size).reshape(drawn.shape)
        resampled.append(times_drawn.astype(np.float64) @ sums)
    tops_drawn, bottoms_drawn = np.split(np.concatenate(resampled), 2, axis=1)
    totals = np.split(sums.sum(axis=0), 2)
    intervals = []
    for column, (top, bottom) in enumerate(zip(*totals, strict=True)):
        there = bottoms_drawn[:, column] != 0
        drawn_ratios = tops_drawn[there, column] / bottoms_drawn[there, column]
        num_missing = int(missing[:, column].sum())
        value = float(top / bottom) if bottom else math.nan
        intervals.append(_interval(value, drawn_ratios, draws.confidence, len(missing) - num_missing, num_missing))
    return intervals


def _present(values: Values, groups: Sequence[str] | None) -> tuple[Values, NDArray[np.intp], int]:
    """The values without NaN, the number of each one's group, and how many groups there are."""
    if values.ndim not in (1, 2):
        raise UsageError(f"values have {values.ndim} axes; expected one value per image, or one row per image")
    if groups is not None and len(groups) != len(values):
        raise UsageError(f"{len(values)} values have {len(groups)} groups; expected one group per value")
    there = ~np.isnan(values) if values.ndim == 1 else ~np.isnan(values).any(axis=1)
    kept = values[there]
    if np.isinf(kept).any():
        raise ScoreError("a value is infinite; expected finite ones, or NaN where there is none")
    if groups is None:
        return kept, np.arange(len(kept)), len(kept)
    names, members = np.unique(np.asarray(groups, str)[there], return_inverse=True)
    return kept, members.reshape(-1), len(names)


def _interval(value: float, resampled: Values, confidence: float, num_values: int, num_missing: int) -> Interval:
    if not resampled.size:
        return Interval(value, math.nan, math.nan, confidence, num_values, num_missing)
    tail = (1 - confidence) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return Interval(value, float(low), float(high), confidence, num_values, num_missing)


def _wilcoxon(differences: Values) -> float:
    from scipy.stats import wilcoxon  # half a second to import, and only comparisons need it

    if not differences.size:
        return math.nan
    if not differences.any():
        return 1.0
    return float(wilcoxon(differences).pvalue)


def _sign_flips(sums: Values, num_resamples: int, seed: int) -> float:
    """Share of the sign patterns that make the sum at least as far from 0 as it is."""
    if not sums.size:
        return math.nan
    observed = abs(sums.sum()) * (1 - 1e-12)  # sums that differ by rounding alone are equal
    if sums.size <= _EXACT_SIGN_FLIPS:
        bits = np.arange(2**sums.size)[:, None] >> np.arange(sums.size) & 1
        return float(np.mean(np.abs((1 - 2 * bits) @ sums) >= observed))
    rng, extreme, rows = np.random.default_rng(seed), 0, max(1, _BATCH // sums.size)
    for start in range(0, num_resamples, rows):
        signs = rng.integers(0, 2, (min(rows, num_resamples - start), sums.size), dtype=np.int8) * 2 - 1
        extreme += int(np.count_nonzero(np.abs(signs @ sums) >= observed))
    return (extreme + 1) / (num_resamples + 1)
