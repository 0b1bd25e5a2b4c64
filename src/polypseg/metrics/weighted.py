"""The weighted F-measure of a float map: the one part of the PraNet protocol that needs the pixels' places.

Only two places cost time, and both are small: the background pixels with an error (their distance to the polyp), and
the polyp with a band of three pixels around it (the 7x7 window that spreads its errors). Everything else is cropped.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from polypseg.arrays import Mask
from polypseg.metrics.thresholds import Curve, Levels

_EPS = float(np.spacing(1.0))
_REACH = 3
"""Half of the 7x7 window."""

_HALVING_PX = 5.0
"""A false pixel weighs 2 - ½^(distance / 5 px): 1 beside the polyp, 2 far from it."""

_NEAREST_FIRST = sorted(
    ((row, column) for row in range(-4, 5) for column in range(-4, 5) if 0 < row**2 + column**2 <= 2 * _REACH**2),
    key=lambda offset: (offset[0] ** 2 + offset[1] ** 2, offset[1], offset[0]),
)
"""Offsets to the nearest polyp pixel of a pixel in the band; of equally near ones the first column, then row, counts
(as in SciPy's distance transform, hence in PySODMetrics)."""


def weighted_f_of(levels: Levels, values: Curve, reference: Mask) -> float:
    """The weighted F-measure (β = 1) of a map and a mask; 0 for an empty mask.

    Args:
        levels: Shape (H, W), uint8.
        values: Shape (256,), what each level stands for, in [0, 1] and rising.
        reference: Shape (H, W), bool.
    """
    num_polyp = int(np.count_nonzero(reference))
    if not num_polyp:
        return 0.0
    missed = _missed(levels, values, reference)
    false = _false(levels, values, reference)
    found = num_polyp - missed
    recall = 1 - missed / num_polyp
    precision = found / (found + false + _EPS)
    return float(2 * recall * precision / (recall + precision + _EPS))


def _false(levels: Levels, values: Curve, reference: Mask) -> float:
    """The sum of the errors outside the polyp, each weighed by its distance to the polyp."""
    num_zero = int(np.searchsorted(values, 0, side="right"))  # so many levels stand for 0: no error
    wrong = (levels >= num_zero) & ~reference
    left, top, width, height = cv2.boundingRect((wrong | reference).view(np.uint8))
    here = np.s_[top : top + height, left : left + width]
    places = np.flatnonzero(wrong[here])
    background = (~reference[here]).view(np.uint8)
    distance = cv2.distanceTransform(background, cv2.DIST_L2, cv2.DIST_MASK_PRECISE).ravel()[places]
    # OpenCV's last digit varies from call to call; a squared distance is a whole number, whose root does not
    distance = np.sqrt(np.rint(distance * distance))
    weights = 2 - np.exp2(distance / np.float32(-_HALVING_PX))
    return float(np.bincount(levels[here].ravel()[places], weights, values.size) @ values)


def _missed(levels: Levels, values: Curve, reference: Mask) -> float:
    """The sum of the errors inside the polyp, each at most the Gaussian mean of the errors around it."""
    left, top, width, height = cv2.boundingRect(reference.view(np.uint8))
    # a margin in which the window and the search for the nearest polyp pixel never leave the array
    margin = 2 * _REACH + 1
    errors = np.zeros((height + 2 * margin, width + 2 * margin))
    polyp = np.zeros(errors.shape, np.uint8)
    inner = np.s_[margin:-margin, margin:-margin]
    here = np.s_[top : top + height, left : left + width]
    polyp[inner] = reference[here]
    errors[inner] = np.where(reference[here], (1 - values)[levels[here]], 0)
    if not errors.any():
        return 0.0
    band = cv2.dilate(polyp, np.ones((2 * _REACH + 1, 2 * _REACH + 1), np.uint8)) & (1 - polyp)
    # beyond the image there is nothing to spread from
    band[: max(0, margin - top)] = 0
    band[:, : max(0, margin - left)] = 0
    band[margin + reference.shape[0] - top :] = 0
    band[:, margin + reference.shape[1] - left :] = 0
    _spread(errors, polyp, np.flatnonzero(band))
    line = np.exp(-(np.arange(-_REACH, _REACH + 1.0) ** 2) / (2 * 5.0**2))
    line /= line.sum()
    around = cv2.sepFilter2D(errors, cv2.CV_64F, line, line, borderType=cv2.BORDER_CONSTANT)
    return float(np.minimum(around, errors)[polyp.view(bool)].sum())


def _spread(errors: NDArray[np.float64], polyp: NDArray[np.uint8], pending: NDArray[np.intp]) -> None:
    """Gives each pending pixel of the band the error of the polyp pixel nearest to it."""
    flat_errors, flat_polyp = errors.ravel(), polyp.ravel()
    for row, column in _NEAREST_FIRST:
        nearest = pending + (row * errors.shape[1] + column)
        hit = flat_polyp[nearest] > 0
        flat_errors[pending[hit]] = flat_errors[nearest[hit]]
        pending = pending[~hit]
        if not pending.size:
            return
