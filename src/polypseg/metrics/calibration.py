"""Whether a probability of 0.8 is right in 8 of 10 cases: reliability, calibration error, Brier score.

Decisions:
- Computed from an image's histogram (`thresholds.level_histogram`): integers that add up, so pooling over a data
  set costs 4 KiB whatever its size. The map is read at 8 bits; an in-memory float map moves by at most 1/510.
- Class-wise on the polyp class: the probability of polyp against the share of polyp, not the confidence of the
  winning class. Nine of ten pixels are easy background near 0, so a small error here still hides large ones at
  the border: read it beside the diagram.
- M bins of equal width; bin m holds ((m-1)/M, m/M], the first one 0 as well (Guo et al.).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from polypseg.errors import UsageError
from polypseg.metrics.thresholds import NUM_LEVELS, Histogram

_VALUES = np.arange(NUM_LEVELS) / 255


class Reliability(NamedTuple):
    """The points of a reliability diagram, each field of shape (num_bins,); NaN where a bin is empty."""

    num_pixels: NDArray[np.int64]
    mean_probability: NDArray[np.float64]
    polyp_share: NDArray[np.float64]


def reliability(histogram: Histogram, num_bins: int = 15) -> Reliability:
    """What was predicted and what came true, bin by bin.

    Args:
        histogram: Shape (2, 256), of one image or summed over many.
        num_bins: 1 to 255.

    Raises:
        UsageError: More bins than levels, or none.

    Reference:
        Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", ICML 2017, equations 2 and 3.
    """
    if not 1 <= num_bins <= 255:
        raise UsageError(f"num_bins is {num_bins}; expected 1 to 255, as many as an 8-bit map can tell apart")
    # bin m holds (m-1)/M < level/255 <= m/M; integers, so that no rounding moves a level across an edge
    bins = np.maximum((np.arange(NUM_LEVELS) * num_bins + 254) // 255 - 1, 0)
    at_level = histogram.sum(axis=0)
    num_pixels = np.zeros(num_bins, np.int64)
    np.add.at(num_pixels, bins, at_level)
    predicted = np.bincount(bins, at_level * _VALUES, num_bins)
    polyps = np.bincount(bins, histogram[1], num_bins)
    with np.errstate(invalid="ignore"):
        return Reliability(num_pixels, predicted / num_pixels, polyps / num_pixels)


def expected_calibration_error(histogram: Histogram, num_bins: int = 15) -> float:
    """Mean over the pixels of their bin's |polyp share - mean probability|: 0 is best, 1 is worst.

    Args and errors as `reliability`.

    Returns:
        In [0, 1], for empty, full and constant maps too: an empty reference under a constant map p gives p.
        NaN for a histogram without a pixel.

    Reference:
        Naeini, Cooper, Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian Binning", AAAI 2015.

    >>> half = np.zeros((2, 256), np.int64); half[0, 51] = 6; half[1, 51] = 4  # 0.2 predicted, 0.4 true
    >>> round(expected_calibration_error(half), 9)
    0.2
    """
    bins = reliability(histogram, num_bins)
    filled = bins.num_pixels > 0
    if not filled.any():
        return float("nan")
    gaps = np.abs(bins.polyp_share[filled] - bins.mean_probability[filled])
    return float(np.average(gaps, weights=bins.num_pixels[filled]))


def brier_score(histogram: Histogram) -> float:
    """Mean over the pixels of (probability - truth)², truth being 0 or 1: 0 is best, 1 is worst.

    Args:
        histogram: Shape (2, 256), of one image or summed over many.

    Returns:
        In [0, 1]; NaN for a histogram without a pixel.

    Reference:
        Brier, "Verification of forecasts expressed in terms of probability", Monthly Weather Review 78(1), 1950.

    >>> half = np.zeros((2, 256), np.int64); half[0, 0] = 3; half[1, 0] = 1  # a quarter missed entirely
    >>> brier_score(half)
    0.25
    """
    num_pixels = int(histogram.sum())
    if not num_pixels:
        return float("nan")
    return float(np.sum(histogram[0] * _VALUES**2 + histogram[1] * (1 - _VALUES) ** 2) / num_pixels)
