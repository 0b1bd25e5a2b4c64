"""Nested masks around a mask: outer ones that grow to the whole frame, inner ones that shrink to nothing.

    family      outer                                   inner
    threshold   the mask, and all pixels from t on      the pixels of the mask from t on
    dilation    all pixels within a margin of the mask  the pixels of the mask that lie deeper in it than a margin

A calibration (`explain.calibrating`) chooses the value; `nested_mask` applies it, and `entry_steps` tells for every
pixel at which of many values it enters or leaves, so that all values are judged at once.

Decisions:
- The smallest outer mask and the largest inner one are the mask itself: inner ⊆ mask ⊆ outer, always.
- A margin is measured in square roots of the mask's area: it means the same in a frame of any size, and the outlines of
  large polyps are off by more pixels than those of small ones.
- Beyond the edge of a frame is no background: a mask that touches the edge does not shrink there.
- `nested_mask` measures margins in a box around the mask alone, as wide as they reach: in a large frame a distance from
  every pixel would cost more than the prediction.
- No margin finds a polyp in a frame without a mask: its outer mask is empty. The last step, the whole frame, is the
  exception, which makes the family able to hold any risk.
"""

from math import ceil

import cv2
import numpy as np
from numpy.typing import NDArray

from polypseg.arrays import Mask, Probability
from polypseg.records.calibration import Bound, Family, Side

FAMILIES: tuple[Family, ...] = ("threshold", "dilation")

Steps = NDArray[np.float64]
"""Values of a family from the mask on, shape (K - 1,): step k is value k, and step K - 1 the whole frame or nothing."""

LARGEST_MARGIN = 2.0
_NUM_MARGINS, _NUM_THRESHOLDS = 201, 201
_LAST_LOGIT = 9.2
"""Of a probability of 1e-4: below it an int8 model tells no two pixels apart."""


def steps_of(family: Family, side: Side, threshold: float) -> Steps:
    """The values that a calibration chooses from, the mask's own first.

    Args:
        family: Of nested masks.
        side: `outer` or `inner`.
        threshold: Of the mask.

    >>> steps_of("dilation", "outer", 0.5)[[0, 1, -1]].tolist()
    [0.0, 0.01, 2.0]
    >>> steps_of("threshold", "inner", 0.5)[[0, -1]].round(4).tolist()
    [0.5, 0.9999]
    """
    if family == "dilation":
        return np.linspace(0, LARGEST_MARGIN, _NUM_MARGINS)
    end = -_LAST_LOGIT if side == "outer" else _LAST_LOGIT
    start = np.clip(
        np.log(threshold / (1 - threshold)) if 0 < threshold < 1 else np.copysign(end, threshold - 0.5), -9, 9
    )
    values = 1 / (1 + np.exp(-np.linspace(start, end, _NUM_THRESHOLDS)))
    values[0] = threshold
    return np.asarray(values)


def entry_steps(family: Family, side: Side, values: Steps, probability: Probability, mask: Mask) -> NDArray[np.intp]:
    """The step at which each pixel enters the outer mask, or leaves the inner one.

    Args:
        family: Of nested masks.
        side: `outer` or `inner`.
        values: From `steps_of`.
        probability: Shape (H, W), float32 in [0, 1].
        mask: Shape (H, W), bool.

    Returns:
        Shape (H, W), from 0 to K - 1. Outer masks: at step k the mask is all pixels of at most k. Inner masks: all
        pixels above k, so that pixels outside of the mask have 0.
    """
    if family == "dilation":
        distance = _margins(mask, side)
        found = np.searchsorted(values.astype(np.float32), distance, side="left")
    elif side == "outer":
        found = np.searchsorted(-values.astype(np.float32), -probability, side="left")
    else:
        found = np.searchsorted(values.astype(np.float32), probability, side="right")
    return np.where(mask, 0, found) if side == "outer" else np.where(mask, found, 0)


def nested_mask(bound: Bound, side: Side, probability: Probability, mask: Mask) -> Mask:
    """The outer or the inner mask of a bound.

    Args:
        bound: Of a calibration.
        side: `outer` or `inner`.
        probability: Shape (H, W), float32 in [0, 1].
        mask: Shape (H, W), bool.

    >>> row = np.array([[0.1, 0.6, 0.9]], np.float32)
    >>> nested_mask(Bound(family="threshold", value=0.8, risk=0, stretch=1), "inner", row, row >= 0.5).tolist()
    [[False, False, True]]
    """
    value = np.float32(bound.value)
    if bound.family == "dilation":
        found = mask.copy()
        reach = ceil(bound.value * np.count_nonzero(mask) ** 0.5) if side == "outer" else 1
        near = _window(mask, reach)
        margins = _margins(mask[near], side)
        found[near] = found[near] | (margins <= value) if side == "outer" else found[near] & (margins > value)
        return found
    chosen = probability >= value
    return np.asarray(mask | chosen) if side == "outer" else np.asarray(mask & chosen)


def doubtful_band(mask: Mask, outer: Mask | None, inner: Mask | None) -> Mask | None:
    """What lies between the inner and the outer mask, or the mask where there is one of them alone; None without.

    Returns:
        Shape (H, W), bool: pixels that may be polyp or not.
    """
    if outer is None and inner is None:
        return None
    return np.asarray((mask if outer is None else outer) & ~(mask if inner is None else inner))


def _window(mask: Mask, reach: int) -> tuple[slice, slice]:
    """The box around a mask, and so many pixels more on each side, where the frame has them."""
    left, top, wide, high = cv2.boundingRect(mask.view(np.uint8))
    rows = slice(max(0, top - reach), top + high + reach) if high else slice(0, 0)
    return rows, slice(max(0, left - reach), left + wide + reach)


def _margins(mask: Mask, side: Side) -> NDArray[np.float32]:
    """How far each pixel is from the mask (outer) or from what is not (inner), in square roots of its area."""
    area = np.count_nonzero(mask)
    if area == 0 or (side == "inner" and area == mask.size):
        return np.full(mask.shape, np.inf, np.float32)
    zeros = ~mask if side == "outer" else np.ascontiguousarray(mask)
    distance = cv2.distanceTransform(zeros.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(distance / np.float32(np.sqrt(area)), np.float32)
