"""The PraNet protocol: Dice, IoU and E-measure over 256 thresholds, S-measure, weighted F-measure, MAE.

It is what PraNet, SANet, UACANet, Polyp-PVT, CaraNet and their kin publish, taken over from salient object detection.
An 8-bit map of the reference's size is compared with the reference at the thresholds 0/255 … 255/255; a pixel is
polyp where its value is the threshold or more.

Decisions:
- The input is a map's 8-bit levels (`thresholds.to_levels` makes them of a float map). Everything but the weighted
  F-measure then follows from eight histograms: four quadrants around the polyp's centre, polyp and background.
- The published code stretches every map to 0 … 1 first (`min_max`). That turns the faintest doubt about a frame
  without a polyp into a full false positive, so it is off unless asked for. A constant map stays as it is (so does
  MATLAB's mapminmax): there is nothing to stretch.
- `mean` over thresholds is the same whether images or thresholds are averaged first. `max` is not: the papers take
  the maximum of the mean curve over all images, which the curves allow; the maximum of each image is larger.
- Equal to PySODMetrics 1.6 within 1e-6 (docs/explanation/metrics.md says where that differs from the MATLAB code).
  Apart from it: a quadrant without a pixel (polyp at the edge) is left out, where PySODMetrics divides by zero; a
  quadrant in which both map and reference are constant scores 1 (even where they differ: so the formula has it),
  where PySODMetrics depends on how the mean is rounded.

Degenerate cases, v being the mean of the (stretched) map:

    reference  Dice, IoU at a threshold        weighted F   S-measure  E-measure at a threshold         MAE
    empty      0, whatever is predicted        0            1 - v      share not predicted · n/(n-1)    v
    full       as `overlap`                    as any       v          share predicted · n/(n-1)        1 - v
    one pixel  as `overlap`                    as any       as any     as any                           as any

A map equal to the reference gets 1 everywhere (E-measure n/(n-1), n being the number of pixels), but at the threshold
0, which predicts all pixels. A black map gets Dice, IoU and weighted F 0 where there is a polyp, an E-measure of 0.25,
and an S-measure above 0, as its background is right. The weighted F's window finds no errors beyond the image: a black
map over a polyp within 3 px of the image's edge gets more than 0, over a polyp as small as a pixel there even 0.78.
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from polypseg.arrays import Mask
from polypseg.metrics.thresholds import (
    NUM_LEVELS,
    CountCurve,
    Curve,
    Histogram,
    Levels,
    check_levels,
    counts_at_levels,
    level_histogram,
)
from polypseg.metrics.weighted import weighted_f_of

_EPS = float(np.spacing(1.0))


class SaliencyScores(NamedTuple):
    """The PraNet protocol of one image; each curve of shape (256,), thresholds 0/255 … 255/255."""

    dice: Curve
    iou: Curve
    e_measure: Curve
    adaptive_e_measure: float
    s_measure: float
    weighted_f: float
    mean_absolute_error: float


def saliency_scores(levels: Levels, reference: Mask, min_max: bool = False) -> SaliencyScores:
    """All scores of the protocol in one pass over the image.

    Args:
        levels: Shape (H, W), uint8, the map at the reference's size.
        reference: Shape (H, W), bool.
        min_max: Stretch the map to 0 … 1 first, as the published code does.

    Raises:
        DataError: Another shape or dtype.

    Reference:
        Fan et al., "PraNet: Parallel Reverse Attention Network for Polyp Segmentation", MICCAI 2020, section 3.

    >>> scores = saliency_scores(np.array([[0, 255], [0, 255]], np.uint8), np.array([[0, 1], [0, 1]], bool))
    >>> bool(scores.dice[255] == 1), round(float(scores.dice.mean()), 4), round(scores.s_measure, 4)
    (True, 0.9987, 1.0)
    """
    levels, reference = check_levels(levels, reference)
    quadrants = _quadrant_histograms(levels, reference)
    histogram = quadrants.sum(axis=(0, 1))
    values = level_values(histogram, min_max)
    return SaliencyScores(
        **protocol_curves(histogram, min_max)._asdict(),
        adaptive_e_measure=_adaptive_e_measure(histogram, values),
        s_measure=_s_measure(quadrants, values),
        weighted_f=weighted_f_of(levels, values, reference),
        mean_absolute_error=_mean_absolute_error(histogram, values),
    )


def threshold_curves(histogram: Histogram, min_max: bool = False) -> CountCurve:
    """The counts at the thresholds 0/255 … 255/255, from an image's histogram (2, 256)."""
    return counts_at_levels(_moved(histogram, level_values(histogram, min_max)))


class ProtocolCurves(NamedTuple):
    """The part of the protocol that follows from an image's histogram, each curve of shape (256,)."""

    dice: Curve
    iou: Curve
    e_measure: Curve


def protocol_curves(histogram: Histogram, min_max: bool = False) -> ProtocolCurves:
    """Dice, IoU and E-measure at the thresholds 0/255 … 255/255, from an image's histogram (2, 256)."""
    counts = threshold_curves(histogram, min_max)
    return ProtocolCurves(
        dice=_zero_without_overlap(counts.dice, counts),
        iou=_zero_without_overlap(counts.iou, counts),
        e_measure=_e_measure(counts),
    )


def s_measure(levels: Levels, reference: Mask, min_max: bool = False) -> float:
    """How alike map and reference are in structure: half by object, half by four regions around its centre.

    Args and errors as `saliency_scores`.

    Returns:
        In [0, 1]. Empty reference: 1 - mean of the map; full reference: mean of the map.

    Reference:
        Fan, Cheng, Liu, Li, Borji, "Structure-measure: A New Way to Evaluate Foreground Maps", ICCV 2017.
    """
    levels, reference = check_levels(levels, reference)
    quadrants = _quadrant_histograms(levels, reference)
    return _s_measure(quadrants, level_values(quadrants.sum(axis=(0, 1)), min_max))


def e_measure(levels: Levels, reference: Mask, min_max: bool = False) -> Curve:
    """How well map and reference align, pixel by pixel and in their means, at each of 256 thresholds.

    Args and errors as `saliency_scores`.

    Returns:
        Shape (256,), in [0, n/(n-1)] for n pixels: the published formula divides by n - 1. Empty reference: the
        share that is not predicted; full reference: the share that is.

    Reference:
        Fan et al., "Enhanced-alignment Measure for Binary Foreground Map Evaluation", IJCAI 2018.
    """
    return _e_measure(threshold_curves(level_histogram(levels, reference), min_max))


def weighted_f_measure(levels: Levels, reference: Mask, min_max: bool = False) -> float:
    """F1 in which an error weighs less beside the polyp and less where its neighbours are right.

    Args and errors as `saliency_scores`.

    Returns:
        In [0, 1]. Empty reference: 0, whatever is predicted.

    Reference:
        Margolin, Zelnik-Manor, Tal, "How to Evaluate Foreground Maps?", CVPR 2014.
    """
    levels, reference = check_levels(levels, reference)
    return weighted_f_of(levels, level_values(level_histogram(levels, reference), min_max), reference)


def level_values(histogram: Histogram, min_max: bool = False) -> Curve:
    """What each of the 256 levels stands for: level/255, stretched so that the map spans 0 … 1 if `min_max`.

    A constant map is not stretched. Levels that the map does not hold have no meaning.
    """
    values = np.arange(NUM_LEVELS) / 255
    present = np.flatnonzero(histogram.any(axis=0))
    lowest, highest = values[present[0]], values[present[-1]]
    if not min_max or lowest == highest:
        return values
    return np.asarray(np.clip((values - lowest) / (highest - lowest), 0.0, 1.0))


def _moved(histogram: Histogram, values: Curve) -> Histogram:
    """The histogram over the levels that the stretched values fall to, rounded down as PySODMetrics does."""
    stretched = (values * 255).astype(np.uint8)
    moved = np.zeros_like(histogram)
    for row in range(2):
        np.add.at(moved[row], stretched, histogram[row])
    return moved


def _quadrant_histograms(levels: Levels, reference: Mask) -> NDArray[np.int64]:
    """Shape (2, 2, 2, 256): above or below, left or right of the polyp's centre, background or polyp, level."""
    height, width = levels.shape
    row, column = height, width
    in_row = cv2.reduce(reference.view(np.uint8), 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S).ravel()
    in_column = cv2.reduce(reference.view(np.uint8), 0, cv2.REDUCE_SUM, dtype=cv2.CV_32S).ravel()
    if num_polyp := int(in_row.sum()):
        # the centre's own row and column belong to the upper left; a half is rounded to even, as by PySODMetrics
        row = round(int(np.arange(height) @ in_row) / num_polyp) + 1
        column = round(int(np.arange(width) @ in_column) / num_polyp) + 1
    histograms = np.zeros((2, 2, 2, NUM_LEVELS), np.int64)
    for below, rows in enumerate((slice(0, row), slice(row, height))):
        for right, columns in enumerate((slice(0, column), slice(column, width))):
            if rows.start < height and columns.start < width:
                histograms[below, right] = level_histogram(levels[rows, columns], reference[rows, columns])
    return histograms


def _zero_without_overlap(curve: Curve, counts: CountCurve) -> Curve:
    """The curve as the protocol has it: an image without a polyp scores 0, even if nothing is predicted."""
    return np.where(counts.true_positive > 0, curve, 0.0)


def _mean_absolute_error(histogram: Histogram, values: Curve) -> float:
    return float(np.sum(histogram[0] * values + histogram[1] * (1 - values)) / histogram.sum())


def _e_measure(counts: CountCurve) -> Curve:
    """The E-measure of the four kinds of pixels, weighted by their numbers."""
    num_pixels = int(sum(field[0] for field in counts))
    predicted = (counts.true_positive + counts.false_positive) / num_pixels
    polyp = float((counts.true_positive + counts.false_negative)[0] / num_pixels)
    if polyp == 0:
        total = (1 - predicted) * num_pixels
    elif polyp == 1:
        total = predicted * num_pixels
    else:
        total = np.zeros(NUM_LEVELS)
        kinds = ((1, 1), (1, 0), (0, 1), (0, 0))  # predicted, reference; in the order of the counts' fields
        for field, (is_predicted, is_polyp) in zip(counts, kinds, strict=True):
            first, second = is_predicted - predicted, is_polyp - polyp
            alignment = 2 * first * second / (first**2 + second**2 + _EPS)
            total = total + field * (alignment + 1) ** 2 / 4
    return np.asarray(total / (num_pixels - 1 + _EPS))


def _adaptive_e_measure(histogram: Histogram, values: Curve) -> float:
    """The E-measure at twice the map's mean."""
    mean = float(np.sum(histogram.sum(axis=0) * values) / histogram.sum())
    binary = np.zeros_like(histogram)
    chosen = values >= min(2 * mean, 1)
    binary[:, 0], binary[:, 1] = histogram[:, ~chosen].sum(axis=1), histogram[:, chosen].sum(axis=1)
    return float(_e_measure(counts_at_levels(binary))[1])


def _s_measure(quadrants: NDArray[np.int64], values: Curve) -> float:
    background, polyp = quadrants.sum(axis=(0, 1))
    num_background, num_polyp = int(background.sum()), int(polyp.sum())
    mean = float(np.sum((background + polyp) * values) / (num_background + num_polyp))
    if not num_polyp:
        return 1 - mean
    if not num_background:
        return mean
    share = num_polyp / (num_polyp + num_background)
    by_object = share * _object_score(polyp, values) + (1 - share) * _object_score(background, 1 - values)
    parts = [part for row in quadrants for part in row if part.any()]
    by_region = sum(_region_score(part, values) * int(part.sum()) for part in parts) / int(quadrants.sum())
    return max(0.0, 0.5 * by_object + 0.5 * by_region)


def _object_score(at_level: NDArray[np.int64], values: Curve) -> float:
    """2x̄ / (x̄² + 1 + σ) of the values of one class."""
    num_pixels = int(at_level.sum())
    mean, squares = _mean_and_squares(at_level, values)
    deviation = np.sqrt(squares / (num_pixels - 1)) if num_pixels > 1 else 0.0
    return float(2 * mean / (mean**2 + 1 + deviation + _EPS))


def _region_score(part: Histogram, values: Curve) -> float:
    """The SSIM of map and reference in one quadrant, from its (2, 256) histogram."""
    both = part.sum(axis=0)
    num_pixels, num_polyp = int(both.sum()), int(part[1].sum())
    freedom = num_pixels - 1 + _EPS
    mean, squares = _mean_and_squares(both, values)
    share = num_polyp / num_pixels
    variance, share_variance = squares / freedom, num_polyp * (1 - share) / freedom
    covariance = float(np.sum((part[1] * (1 - share) - part[0] * share) * (values - mean))) / freedom
    alpha = 4 * mean * share * covariance
    beta = (mean**2 + share**2) * (variance + share_variance)
    if alpha != 0:
        return alpha / (beta + _EPS)
    return 1.0 if beta == 0 else 0.0


def _mean_and_squares(at_level: NDArray[np.int64], values: Curve) -> tuple[float, float]:
    """Mean of the values and sum of the squared deviations from it, exactly 0 for a constant."""
    present = np.flatnonzero(at_level)
    if present.size == 1:
        return float(values[present[0]]), 0.0
    mean = float(np.sum(at_level * values) / at_level.sum())
    return mean, float(np.sum(at_level * (values - mean) ** 2))
