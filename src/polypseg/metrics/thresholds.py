"""All thresholds at once: one histogram of an image answers for each of 256 cut-offs.

Decisions:
- Whatever looks at more than one threshold reads a map as an 8-bit file stores it (`to_levels`): 256 levels,
  k standing for k/255. So a model scored in memory and its maps scored from disk give the same numbers to the
  last digit, and everything follows from 2x256 integers an image, which add up over images and processes.
- At level k a pixel is polyp where its level is k or more. `threshold_of` says which probability that is.
- Empty masks as in `overlap`.
- `ThresholdCurves` is the running sum over images: its memory does not grow with their number.
"""

from typing import Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from polypseg.arrays import Mask, Probability, check_mask, check_probability, check_same_shape
from polypseg.errors import DataError, ScoreError

NUM_LEVELS = 256

Levels = NDArray[np.uint8]
"""A probability map as an 8-bit file stores it, shape (H, W): 0 is 0.0, 255 is 1.0."""

Histogram = NDArray[np.int64]
"""Numbers of pixels, shape (2, 256): row 0 those of the background, row 1 those of the polyp, a column a level."""

Curve = NDArray[np.float64]
"""A score at each level, shape (256,)."""

_EXACT_FLOAT32 = 2**24


def to_levels(probability: Probability) -> Levels:
    """The map as an 8-bit file stores it: 255·probability, rounded half up.

    Args:
        probability: Shape (H, W), float in [0, 1].

    Returns:
        Shape (H, W), uint8. A map that came from an 8-bit file (level/255) gets its levels back.

    Raises:
        DataError: Not a map in [0, 1] (NaN included).

    >>> to_levels(np.array([[0.0, 0.49, 0.5, 1.0]]))
    array([[  0, 125, 128, 255]], dtype=uint8)
    """
    return (check_probability(probability) * np.float32(255) + np.float32(0.5)).astype(np.uint8)


def check_levels(levels: Levels, reference: Mask) -> tuple[Levels, Mask]:
    """Both arrays themselves, once they are known to be (H, W) uint8 and (H, W) bool.

    Raises:
        DataError: Another shape or dtype, or two shapes.
    """
    levels = np.asarray(levels)
    if levels.ndim != 2 or levels.dtype != np.uint8 or 0 in levels.shape:
        raise DataError(
            f"levels: expected (H, W) uint8, found {levels.shape} {levels.dtype}; convert floats with to_levels(…)"
        )
    reference = check_mask(reference, "reference")
    check_same_shape(levels, reference)
    return levels, reference


def threshold_of(level: int) -> float:
    """The probability from which on a pixel counts as polyp at this level: (level - ½) / 255.

    It lies between two levels, so it cuts a float map and its 8-bit file into the same masks.

    >>> threshold_of(128)
    0.5
    """
    return (level - 0.5) / 255


def level_histogram(levels: Levels, reference: Mask) -> Histogram:
    """Numbers of pixels by class and level.

    Args:
        levels: Shape (H, W), uint8.
        reference: Shape (H, W), bool.

    Returns:
        Shape (2, 256), int64: background, polyp. Histograms of several images may be added up.

    Raises:
        DataError: Another shape or dtype.

    >>> level_histogram(np.array([[0, 0, 7]], np.uint8), np.array([[0, 0, 1]], bool))[:, [0, 7]]
    array([[2, 0],
           [0, 1]])
    """
    levels, reference = check_levels(levels, reference)
    if levels.size > _EXACT_FLOAT32:  # OpenCV counts in float32
        joint = levels.ravel().astype(np.int64) + NUM_LEVELS * reference.ravel()
        return np.bincount(joint, minlength=2 * NUM_LEVELS).reshape(2, NUM_LEVELS)
    channels = [levels, reference.view(np.uint8)]
    counted = cv2.calcHist(channels, [1, 0], None, [2, NUM_LEVELS], [0, 2, 0, NUM_LEVELS])
    return np.asarray(counted, np.int64)


class CountCurve(NamedTuple):
    """Numbers of pixels at each of the 256 levels, each field of shape (256,), and the ratios that follow."""

    true_positive: NDArray[np.int64]
    false_positive: NDArray[np.int64]
    false_negative: NDArray[np.int64]
    true_negative: NDArray[np.int64]

    @property
    def dice(self) -> Curve:
        """Dice at each level; 1 where both masks are empty."""
        overlap = 2 * self.true_positive
        return _ratio(overlap, overlap + self.false_positive + self.false_negative, 1.0)

    @property
    def iou(self) -> Curve:
        """Intersection over union at each level; 1 where both masks are empty."""
        return _ratio(self.true_positive, self.true_positive + self.false_positive + self.false_negative, 1.0)

    @property
    def precision(self) -> Curve:
        """Precision at each level; where nothing is predicted, 1 if there is no polyp either, else 0."""
        num_predicted = self.true_positive + self.false_positive
        return _ratio(self.true_positive, num_predicted, np.where(self.false_negative == 0, 1.0, 0.0))

    @property
    def recall(self) -> Curve:
        """Recall at each level; where there is no polyp, 1 if nothing is predicted either, else 0."""
        num_reference = self.true_positive + self.false_negative
        return _ratio(self.true_positive, num_reference, np.where(self.false_positive == 0, 1.0, 0.0))


def counts_at_levels(histogram: Histogram) -> CountCurve:
    """The counts that each of the 256 masks `levels >= k` would give.

    Args:
        histogram: Shape (2, 256), of one image or summed over many.

    >>> curve = counts_at_levels(level_histogram(np.array([[0, 9]], np.uint8), np.array([[0, 1]], bool)))
    >>> curve.dice[[0, 1, 9, 10]]
    array([0.66666667, 1.        , 1.        , 0.        ])
    """
    num_background, num_polyp = histogram.sum(axis=1)
    false_positive, true_positive = np.cumsum(histogram[:, ::-1], axis=1)[:, ::-1]
    return CountCurve(true_positive, false_positive, num_polyp - true_positive, num_background - false_positive)


class PrecisionRecall(NamedTuple):
    """Precision and recall, each (256,), by level, and the area under them."""

    precision: Curve
    recall: Curve
    average_precision: float


def roc_area(histogram: Histogram) -> float:
    """The area under the ROC curve: how likely a pixel of the polyp has a higher level than one of the background.

    Equal levels count one half.

    Args:
        histogram: Shape (2, 256), from `level_histogram`.

    Returns:
        In [0, 1]: 1 where every polyp pixel is above every other, 0.5 for a constant map. NaN where there is no pixel
        of the polyp, or of the background.

    Reference:
        Hanley, McNeil, "The Meaning and Use of the Area under a ROC Curve", Radiology 143(1), 1982.

    >>> roc_area(level_histogram(np.array([[1, 5, 9]], np.uint8), np.array([[0, 0, 1]], bool)))
    1.0
    """
    background, polyp = np.asarray(histogram, np.float64)
    num_pairs = background.sum() * polyp.sum()
    if not num_pairs:
        return float("nan")
    below = np.cumsum(background) - background
    return float(np.sum(polyp * (below + background / 2)) / num_pairs)


def precision_recall(histogram: Histogram) -> PrecisionRecall:
    """Precision and recall at each level; pooled over images where the histogram is a sum.

    The average precision is Σ (recall_k - recall_k+1) · precision_k, without interpolation.

    Returns:
        Average precision NaN where there is no polyp pixel.
    """
    curve = counts_at_levels(histogram)
    steps = -np.diff(curve.recall, append=0.0)
    average = float(np.sum(steps * curve.precision)) if histogram[1].sum() else float("nan")
    return PrecisionRecall(curve.precision, curve.recall, average)


class FrameCurve(NamedTuple):
    """What an alarm would see at each level, each field of shape (256,)."""

    threshold: Curve
    sensitivity: Curve
    mean_recall: Curve
    false_positive_frames: Curve


class _Sums(NamedTuple):
    """Sums over images, each field of shape (256,)."""

    dice: Curve
    iou: Curve
    recall: Curve
    found: Curve
    alarmed: Curve

    def plus(self, other: "_Sums") -> "_Sums":
        """Field by field."""
        return _Sums(*(own + added for own, added in zip(self, other, strict=True)))


class ThresholdCurves:
    """Sums over images of what depends on the threshold; memory does not grow with their number.

    Images with and without a polyp are kept apart: a mean Dice is one over images with a polyp.

    Args:
        min_area_px: A frame raises an alarm from so many predicted pixels on. An alarm in a frame without a polyp
            is a false positive; a frame with a polyp is found where the alarm also touches the polyp.
    """

    def __init__(self, min_area_px: int = 1) -> None:
        self.min_area_px = min_area_px
        self.num_polyp_images = 0
        self.num_polyp_free_images = 0
        self.histogram: Histogram = np.zeros((2, NUM_LEVELS), np.int64)
        self._sums = _Sums(*np.zeros((5, NUM_LEVELS)))

    def add(self, histogram: Histogram) -> None:
        """Counts one image in, by its (2, 256) histogram."""
        curve = counts_at_levels(histogram)
        self.histogram = self.histogram + histogram
        if histogram[1].any():
            self.num_polyp_images += 1
            alarmed = curve.true_positive + curve.false_positive >= self.min_area_px
            found = (alarmed & (curve.true_positive > 0)).astype(np.float64)
            none = np.zeros(NUM_LEVELS)
            self._sums = self._sums.plus(_Sums(curve.dice, curve.iou, curve.recall, found, none))
        else:
            self.num_polyp_free_images += 1
            alarms = (curve.false_positive >= self.min_area_px).astype(np.float64)
            self._sums = self._sums._replace(alarmed=self._sums.alarmed + alarms)

    def merge(self, other: "ThresholdCurves") -> None:
        """Counts in all images of another one, as another process has summed them.

        Raises:
            ScoreError: The two were made with different areas.
        """
        if other.min_area_px != self.min_area_px:
            raise ScoreError(f"cannot merge curves of min_area_px {self.min_area_px} and {other.min_area_px}")
        self.num_polyp_images += other.num_polyp_images
        self.num_polyp_free_images += other.num_polyp_free_images
        self.histogram = self.histogram + other.histogram
        self._sums = self._sums.plus(other._sums)

    @property
    def mean_dice(self) -> Curve:
        """Mean over the images with a polyp of their Dice, by level; NaN without such an image."""
        return _ratio(self._sums.dice, self.num_polyp_images, np.nan)

    @property
    def mean_iou(self) -> Curve:
        """Mean over the images with a polyp of their IoU, by level; NaN without such an image."""
        return _ratio(self._sums.iou, self.num_polyp_images, np.nan)

    def best_threshold(self, score: Literal["dice", "iou"] = "dice") -> float:
        """The probability at which the mean Dice or IoU is largest; of equal ones, that nearest to 0.5.

        Raises:
            ScoreError: No image with a polyp was added.
        """
        if not self.num_polyp_images:
            raise ScoreError("no image with a polyp was scored, so no threshold can be chosen; add some first")
        curve = {"dice": self.mean_dice, "iou": self.mean_iou}[score]
        # from level 1 on: level 0 predicts everything everywhere
        best = 1 + np.flatnonzero(curve[1:] >= curve[1:].max() - 1e-12)
        return threshold_of(int(best[np.argmin(np.abs(best - 128))]))

    @property
    def frames(self) -> FrameCurve:
        """Frames with a polyp that are found against frames without one that raise an alarm.

        Returns:
            sensitivity: share of the frames with a polyp that are found; mean_recall: mean share of the polyp's
            pixels; false_positive_frames: share of the frames without a polyp that raise an alarm. NaN where no
            such frame was added.
        """
        return FrameCurve(
            threshold=(np.arange(NUM_LEVELS) - 0.5) / 255,
            sensitivity=_ratio(self._sums.found, self.num_polyp_images, np.nan),
            mean_recall=_ratio(self._sums.recall, self.num_polyp_images, np.nan),
            false_positive_frames=_ratio(self._sums.alarmed, self.num_polyp_free_images, np.nan),
        )


def _ratio(
    numerator: NDArray[np.number], denominator: NDArray[np.number] | int, where_zero: float | NDArray[np.float64]
) -> Curve:
    """The quotient, and `where_zero` where the denominator is 0."""
    ratio: Curve = np.array(np.broadcast_to(where_zero, numerator.shape), np.float64)
    np.divide(numerator, denominator, out=ratio, where=np.asarray(denominator) != 0)
    return ratio
