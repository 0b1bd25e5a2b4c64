"""How far the two outlines lie apart: Hausdorff distance 95 %, average surface distance, normalised surface Dice.

Decisions:
- The border of a mask is its pixels with one of the four neighbours outside the mask; what lies beyond the image
  counts as outside, so a polyp cut by the image's edge has its border there.
- A distance is Euclidean, from a border pixel's centre to the nearest border pixel of the other mask, in pixels of
  the image's own size. Both directions are measured.
- Hausdorff 95 %: the larger of the two directed 95th percentiles (linear interpolation), not the percentile of both
  directions together. Average surface distance: mean over both directions together. Normalised surface Dice: share
  of all border pixels that lie within the tolerance. So does MONAI; DeepMind's surface-distance places the outline
  between the pixels and weighs it by length, which gives other numbers.
- Images differ in size, so each distance is also given in % of the image diagonal.
- An outline that does not exist has no distance: with one empty mask the distances are NaN, and evaluate counts
  such images beside the mean. The normalised surface Dice is then 0, as a missed polyp must not vanish from it.

Degenerate cases:

    predicted  reference  Hausdorff 95 %, average  normalised surface Dice
    empty      empty      0                        1
    empty      any other  NaN                      0
    any other  empty      NaN                      0
    equal masks           0                        1
    one pixel  one pixel  the distance of the two  1 within the tolerance, else 0
"""

import math
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from polypseg.arrays import Mask, check_mask, check_same_shape
from polypseg.errors import UsageError


class BoundaryDistances(NamedTuple):
    """Distances in pixels from each border pixel to the other mask's border, and the scores that follow."""

    from_predicted: NDArray[np.float64]
    from_reference: NDArray[np.float64]
    diagonal_px: float

    @property
    def hausdorff_95_px(self) -> float:
        """As `hausdorff_distance_95_px`."""
        if not self._comparable:
            return 0.0 if self._both_empty else math.nan
        return float(max(np.percentile(self.from_predicted, 95), np.percentile(self.from_reference, 95)))

    @property
    def average_px(self) -> float:
        """As `average_surface_distance_px`."""
        if not self._comparable:
            return 0.0 if self._both_empty else math.nan
        total = float(self.from_predicted.sum() + self.from_reference.sum())
        return total / (self.from_predicted.size + self.from_reference.size)

    def within(self, tolerance_px: float) -> float:
        """As `normalised_surface_dice`."""
        if not tolerance_px >= 0:
            raise UsageError(f"tolerance_px is {tolerance_px}; expected 0 or more")
        if not self._comparable:
            return 1.0 if self._both_empty else 0.0
        near = np.count_nonzero(self.from_predicted <= tolerance_px)
        near += np.count_nonzero(self.from_reference <= tolerance_px)
        return float(near / (self.from_predicted.size + self.from_reference.size))

    def percent_of_diagonal(self, distance_px: float) -> float:
        """A distance in % of the image's diagonal."""
        return 100 * distance_px / self.diagonal_px

    @property
    def _comparable(self) -> bool:
        return bool(self.from_predicted.size and self.from_reference.size)

    @property
    def _both_empty(self) -> bool:
        return not (self.from_predicted.size or self.from_reference.size)


def boundary_distances(predicted: Mask, reference: Mask) -> BoundaryDistances:
    """The distances between two outlines, in both directions.

    Args:
        predicted: Shape (H, W), bool.
        reference: Shape (H, W), bool.

    Returns:
        One distance a border pixel, infinite where the other mask is empty, and the diagonal √(H² + W²).

    Raises:
        DataError: Not (H, W) bool, or of different shape.

    >>> row = np.zeros((1, 6), bool)
    >>> near, far = row.copy(), row.copy()
    >>> near[0, 1] = far[0, 4] = True
    >>> boundary_distances(near, far).from_predicted
    array([3.])
    """
    predicted, reference = check_mask(predicted, "predicted"), check_mask(reference, "reference")
    check_same_shape(predicted, reference)
    diagonal_px = math.hypot(*predicted.shape)
    left, top, width, height = cv2.boundingRect((predicted | reference).view(np.uint8))
    if not width:
        return BoundaryDistances(np.zeros(0), np.zeros(0), diagonal_px)
    here = np.s_[top : top + height, left : left + width]
    # Both masks lie inside the box, so what is beyond it is outside of both, as beyond the image.
    predicted_border, reference_border = _border(predicted[here]), _border(reference[here])
    return BoundaryDistances(
        from_predicted=_distances(predicted_border, reference_border),
        from_reference=_distances(reference_border, predicted_border),
        diagonal_px=diagonal_px,
    )


def hausdorff_distance_95_px(predicted: Mask, reference: Mask) -> float:
    """The distance within which 95 % of each outline finds the other one, in pixels: 0 is best.

    Args and errors as `boundary_distances`.

    Returns:
        The larger of the two directed 95th percentiles. Two empty masks: 0. One empty mask: NaN.

    Reference:
        Huttenlocher, Klanderman, Rucklidge, "Comparing images using the Hausdorff distance", IEEE TPAMI 15(9), 1993.
    """
    return boundary_distances(predicted, reference).hausdorff_95_px


def average_surface_distance_px(predicted: Mask, reference: Mask) -> float:
    """The mean distance from one outline to the other, over both directions together, in pixels: 0 is best.

    Args and errors as `boundary_distances`.

    Returns:
        Two empty masks: 0. One empty mask: NaN.

    Reference:
        Heimann et al., "Comparison and evaluation of methods for liver segmentation from CT datasets", IEEE TMI
        28(8), 2009 (average symmetric surface distance).
    """
    return boundary_distances(predicted, reference).average_px


def normalised_surface_dice(predicted: Mask, reference: Mask, tolerance_px: float) -> float:
    """The share of both outlines that lies within the tolerance of the other one: 1 is best.

    Args:
        predicted: Shape (H, W), bool.
        reference: Shape (H, W), bool.
        tolerance_px: In pixels, 0 or more; a distance equal to it is within.

    Returns:
        In [0, 1]. Two empty masks: 1. One empty mask: 0.

    Raises:
        DataError: As `boundary_distances`.
        UsageError: A negative tolerance.

    Reference:
        Nikolov et al., "Clinically applicable segmentation of head and neck anatomy for radiotherapy", JMIR 23(7),
        2021.
    """
    return boundary_distances(predicted, reference).within(tolerance_px)


def _border(mask: Mask) -> Mask:
    """The pixels of the mask with a 4-neighbour outside of it."""
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    inner = cv2.erode(mask.view(np.uint8), cross, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return np.asarray(mask & (inner == 0))


def _distances(border: Mask, other: Mask) -> NDArray[np.float64]:
    """The distance from each pixel of a border to the nearest pixel of the other one."""
    if not border.any():
        return np.zeros(0)
    if not other.any():
        return np.full(np.count_nonzero(border), np.inf)
    # OpenCV's exact transform gives float32; a square is a whole number, which brings the last digits back
    # (below 2048 px; beyond, a distance may be off by 0.0003 px).
    nearest = cv2.distanceTransform((~other).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[border]
    return np.asarray(np.sqrt(np.rint(np.square(nearest, dtype=np.float64))))
