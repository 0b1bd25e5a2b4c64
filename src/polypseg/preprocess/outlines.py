"""Outlines: lines drawn around what should have been filled, closed, open or dashed."""

import cv2
import numpy as np
from numpy.typing import NDArray

from polypseg.arrays import Mask

OUTLINE_PX, OUTLINE_DEPTH = 4.0, 0.02
"""Half of an outline's line is at most so thick, in pixels or as a share of the image's diagonal."""

OUTLINED = 0.3
"""An outline encloses at least so much background, as a share of what it covers. None of 3,298 real masks does that is
so thin; the thick ones reach 0.52."""

BENT = 2.5
"""An open or dashed line's convex hull has more than so many times its area. The thin ones of 3,298 real masks, small
polyps side by side among them, reach 2.13."""


def is_outline(mask: Mask) -> bool:
    """Whether a mask (H, W) bool is thin lines, closed, open or dashed, around more background than they cover.

    >>> ring = np.zeros((40, 40), bool); ring[5:35, 5:35] = True; ring[7:33, 7:33] = False
    >>> is_outline(ring), is_outline(~ring)
    (True, False)
    """
    area = int(np.count_nonzero(mask))
    if area == 0:
        return False
    left, top, wide, high = cv2.boundingRect(mask.view(np.uint8))
    if area > 0.5 * wide * high:  # an ellipse fills 0.79 of its box
        return False
    inside = np.pad(mask[top : top + high, left : left + wide].view(np.uint8), 1)
    limit = max(OUTLINE_PX, OUTLINE_DEPTH * float(np.hypot(*mask.shape)))
    if cv2.distanceTransform(inside, cv2.DIST_L2, 3).max() > limit:
        return False
    if _hull_ratio(inside, round(2 * limit)) > BENT:
        return True
    areas = np.sort(cv2.connectedComponentsWithStats((~mask).view(np.uint8), connectivity=4)[2][1:, cv2.CC_STAT_AREA])
    return float(areas[:-1].sum()) >= OUTLINED * area  # all of the background but its largest part, which is outside


def _hull_ratio(lines: NDArray[np.uint8], gap_px: int) -> float:
    """The largest area of a hull over that of the lines (H, W) in it; lines less than a gap apart go together."""
    wide = np.pad(lines, gap_px)
    round_px = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (gap_px | 1,) * 2)
    number, parts = cv2.connectedComponents(cv2.dilate(wide, round_px), connectivity=8)
    found = 0.0
    for part in range(1, number):
        points = cv2.findNonZero(((parts == part) & (wide > 0)).view(np.uint8))
        found = max(found, cv2.contourArea(cv2.convexHull(points)) / len(points))
    return found
