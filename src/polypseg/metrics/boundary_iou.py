"""Boundary IoU: whether the outline lies where it should, whatever the size of the polyp.

Decisions:
- The band of a mask is what an erosion takes off it: its pixels within `width_px` of the outside, in steps of a square
  of 3 x 3, as the authors' code erodes. What lies beyond the image counts as outside.
- The width is 2 % of the diagonal, at least 1 pixel, rounded as Python rounds.

Degenerate cases: both empty 1, one empty 0, equal masks 1. A mask thinner than two bands is all band: there it is IoU.

Reference:
    Cheng, Girshick, Dollár, Berg, Kirillov, "Boundary IoU: Improving Object-Centric Image Segmentation Evaluation",
    CVPR 2021, equation 2.
"""

import math

import cv2
import numpy as np

from polypseg.arrays import Mask, check_mask, check_same_shape
from polypseg.errors import UsageError

WIDTH = 0.02
"""Share of the diagonal."""


def boundary_iou(predicted: Mask, reference: Mask, width: float = WIDTH) -> float:
    """The IoU of the two bands along the inner side of the outlines: 1 is best.

    Args:
        predicted: Shape (H, W), bool.
        reference: Shape (H, W), bool.
        width: Of the band, as a share of the image's diagonal, more than 0.

    Raises:
        DataError: Not (H, W) bool, or of different shape.
        UsageError: A width of 0 or less.

    >>> reference = np.ones((5, 5), bool)
    >>> predicted = reference.copy()
    >>> predicted[2, 2] = False
    >>> boundary_iou(predicted, reference)
    0.6666666666666666
    """
    if not width > 0:
        raise UsageError(f"width {width:g}: expected a share of the diagonal, more than 0")
    predicted, reference = check_mask(predicted, "predicted"), check_mask(reference, "reference")
    check_same_shape(predicted, reference)
    left, top, wide, high = cv2.boundingRect((predicted | reference).view(np.uint8))
    if not wide:
        return 1.0
    width_px = max(1, round(width * math.hypot(*predicted.shape)))
    here = np.s_[top : top + high, left : left + wide]  # beyond the box both are outside, as beyond the image
    bands = [_band(mask[here], width_px) for mask in (predicted, reference)]
    return float(np.count_nonzero(bands[0] & bands[1]) / np.count_nonzero(bands[0] | bands[1]))


def _band(mask: Mask, width_px: int) -> Mask:
    square = np.ones((3, 3), np.uint8)
    inner = cv2.erode(
        np.ascontiguousarray(mask).view(np.uint8),
        square,
        iterations=width_px,
        borderType=cv2.BORDER_CONSTANT,
        borderValue=0,
    )
    return np.asarray(mask & (inner == 0))
