"""Dice, IoU, precision, recall, specificity, accuracy, F-beta; of the map itself soft Dice and mean absolute error.

Decisions:
- What looks at masks follows from four numbers of pixels, so `count` looks at the masks
  once and `Counts` answers the rest: `count(predicted, reference).dice`. The functions of two masks are the
  same thing in one step.
- What an empty mask means is decided here, once: two empty masks agree perfectly (1.0), one empty mask is
  the worst (0.0). Precision and recall keep to it where their formula is 0/0. Specificity is the recall of
  the background, so for it "empty" reads "full". Averages over images leave out images without a polyp,
  where a Dice is either 0 or 1 and says little (evaluate reports those apart).

Degenerate cases, where `partial` is neither empty nor full, p its share of the pixels:

    predicted  reference  dice      iou  precision  recall  specificity  accuracy
    empty      empty      1         1    1          1       1            1
    empty      partial    0         0    0          0       1            1 - p
    empty      full       0         0    0          0       0            0
    partial    empty      0         0    0          0       1 - p        1 - p
    partial    full       2p/(1+p)  p    1          p       0            p
    full       empty      0         0    0          0       0            0
    full       partial    2p/(1+p)  p    p          1       0            p
    full       full       1         1    1          1       1            1
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from polypseg.arrays import Mask, Probability, check_mask, check_probability, check_same_shape


class Counts(NamedTuple):
    """Numbers of pixels by what was predicted and what is true, and the ratios that follow from them.

    Integers, so they add up over any number of images without loss (`pooled`).
    """

    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int

    @property
    def num_pixels(self) -> int:
        """All pixels."""
        return self.true_positive + self.false_positive + self.false_negative + self.true_negative

    @property
    def num_predicted(self) -> int:
        """Pixels predicted to be polyp."""
        return self.true_positive + self.false_positive

    @property
    def num_reference(self) -> int:
        """Pixels that are polyp in the reference."""
        return self.true_positive + self.false_negative

    @property
    def background(self) -> "Counts":
        """The same pixels with background taken for polyp: its `dice` is the Dice of the background."""
        return Counts(self.true_negative, self.false_negative, self.false_positive, self.true_positive)

    @property
    def dice(self) -> float:
        """As `dice`."""
        return self.f_beta(1.0)

    @property
    def iou(self) -> float:
        """As `iou`."""
        union = self.true_positive + self.false_positive + self.false_negative
        return self.true_positive / union if union else 1.0

    @property
    def precision(self) -> float:
        """As `precision`."""
        if self.num_predicted:
            return self.true_positive / self.num_predicted
        return 0.0 if self.num_reference else 1.0

    @property
    def recall(self) -> float:
        """As `recall`."""
        if self.num_reference:
            return self.true_positive / self.num_reference
        return 0.0 if self.num_predicted else 1.0

    @property
    def specificity(self) -> float:
        """As `specificity`."""
        return self.background.recall

    @property
    def accuracy(self) -> float:
        """As `accuracy`."""
        return (self.true_positive + self.true_negative) / self.num_pixels

    def f_beta(self, beta: float = 2.0) -> float:
        """As `f_beta`."""
        weighted = (1 + beta**2) * self.true_positive
        total = weighted + beta**2 * self.false_negative + self.false_positive
        return weighted / total if total else 1.0


def count(predicted: Mask, reference: Mask) -> Counts:
    """The pixels of two masks, counted by agreement.

    Args:
        predicted: Shape (H, W), bool.
        reference: Shape (H, W), bool.

    Raises:
        DataError: Not (H, W) bool (a 0/255 mask is not guessed at), or of different shape.

    >>> count(np.array([[1, 1, 0, 0]], bool), np.array([[0, 1, 1, 0]], bool))
    Counts(true_positive=1, false_positive=1, false_negative=1, true_negative=1)
    """
    predicted, reference = check_mask(predicted, "predicted"), check_mask(reference, "reference")
    check_same_shape(predicted, reference)
    num_both = int(np.count_nonzero(predicted & reference))
    num_predicted, num_reference = int(np.count_nonzero(predicted)), int(np.count_nonzero(reference))
    return Counts(
        true_positive=num_both,
        false_positive=num_predicted - num_both,
        false_negative=num_reference - num_both,
        true_negative=predicted.size - num_predicted - num_reference + num_both,
    )


def pooled(counts: Iterable[Counts]) -> Counts:
    """The counts of all images taken as one large image: a large polyp weighs more than a small one.

    >>> pooled([Counts(1, 0, 0, 3), Counts(0, 2, 2, 0)]).dice
    0.3333333333333333
    """
    totals = [0, 0, 0, 0]
    for each in counts:
        totals = [total + part for total, part in zip(totals, each, strict=True)]
    return Counts(*totals)


def dice(predicted: Mask, reference: Mask) -> float:
    """Twice the overlap over the summed areas: 2|A∩B| / (|A| + |B|).

    Args:
        predicted: Shape (H, W), bool.
        reference: Shape (H, W), bool.

    Returns:
        1.0 for equal masks (two empty ones included), 0.0 for disjoint ones (one empty mask included).

    Raises:
        DataError: As `count`.

    Reference:
        Dice, "Measures of the amount of ecologic association between species", Ecology 26(3), 1945.

    >>> dice(np.array([[1, 1, 0]], bool), np.array([[0, 1, 1]], bool))
    0.5
    """
    return count(predicted, reference).dice


def iou(predicted: Mask, reference: Mask) -> float:
    """Intersection over union, the Jaccard index: |A∩B| / |A∪B|.

    Args and errors as `dice`, of which it is a monotone function: IoU = Dice / (2 - Dice).

    Returns:
        1.0 for equal masks (two empty ones included), 0.0 for disjoint ones (one empty mask included).

    >>> round(iou(np.array([[1, 1, 0]], bool), np.array([[0, 1, 1]], bool)), 4)
    0.3333
    """
    return count(predicted, reference).iou


def precision(predicted: Mask, reference: Mask) -> float:
    """Share of the predicted pixels that are polyp: TP / (TP + FP).

    Args and errors as `dice`.

    Returns:
        In [0, 1]. Nothing predicted: 1.0 if the reference is empty too, else 0.0.

    >>> precision(np.array([[1, 1, 1, 0]], bool), np.array([[0, 1, 1, 1]], bool)) == 2 / 3
    True
    """
    return count(predicted, reference).precision


def recall(predicted: Mask, reference: Mask) -> float:
    """Share of the polyp pixels that were found, also called sensitivity: TP / (TP + FN).

    Args and errors as `dice`.

    Returns:
        In [0, 1]. Empty reference: 1.0 if nothing was predicted either, else 0.0.

    >>> recall(np.array([[1, 0, 0, 0]], bool), np.array([[1, 1, 1, 1]], bool))
    0.25
    """
    return count(predicted, reference).recall


def specificity(predicted: Mask, reference: Mask) -> float:
    """Share of the background pixels that were left alone: TN / (TN + FP), the recall of the background.

    Args and errors as `dice`.

    Returns:
        In [0, 1]. Full reference: 1.0 if everything was predicted, else 0.0.

    >>> specificity(np.array([[1, 0, 0, 0]], bool), np.array([[0, 0, 0, 0]], bool))
    0.75
    """
    return count(predicted, reference).specificity


def accuracy(predicted: Mask, reference: Mask) -> float:
    """Share of the pixels that are right: (TP + TN) / all.

    A polyp fills 15 % of a mean Kvasir-SEG image, so an empty prediction already scores about 0.85.
    Args and errors as `dice`.

    >>> accuracy(np.array([[1, 0, 0, 0]], bool), np.array([[0, 0, 0, 0]], bool))
    0.75
    """
    return count(predicted, reference).accuracy


def f_beta(predicted: Mask, reference: Mask, beta: float = 2.0) -> float:
    """Recall counted `beta` times as important as precision: (1+β²)TP / ((1+β²)TP + β²FN + FP).

    F1 is the Dice coefficient.

    Args:
        predicted: Shape (H, W), bool.
        reference: Shape (H, W), bool.
        beta: Greater than 0; 2 is the F2 of the Kvasir papers.

    Returns:
        In [0, 1]; empty masks as for `dice`.

    Raises:
        DataError: As `count`.

    Reference:
        van Rijsbergen, "Information Retrieval", 2nd edition, 1979, chapter 7.

    >>> f_beta(np.array([[1, 0]], bool), np.array([[1, 1]], bool)) == 5 / 9
    True
    """
    return count(predicted, reference).f_beta(beta)


def soft_dice(probability: Probability, reference: Mask) -> float:
    """Dice of the map itself, no threshold: 2·Σ p·g / (Σ p + Σ g).

    It rewards a confident map beside a right one, and moves with calibration: the Dice of training losses, and
    what some papers choose their checkpoint by.

    Args:
        probability: Shape (H, W), float in [0, 1].
        reference: Shape (H, W), bool.

    Returns:
        In [0, 1]. An empty reference: 1.0 under an all-zero map, else 0.0.

    Raises:
        DataError: Not a map in [0, 1] (NaN included), not a mask, or of different shape.

    Reference:
        Milletari, Navab, Ahmadi, "V-Net", 3DV 2016 (there with squares in the denominator; here without).

    >>> soft_dice(np.array([[0.5, 0.5]]), np.array([[False, True]]))
    0.5
    """
    probability, reference = check_probability(probability), check_mask(reference, "reference")
    check_same_shape(probability, reference)
    total = float(probability.sum(dtype=np.float64)) + int(np.count_nonzero(reference))
    return 2 * float(probability.sum(where=reference, dtype=np.float64)) / total if total else 1.0


def mean_absolute_error(probability: Probability, reference: Mask) -> float:
    """Mean over the pixels of |probability - reference|, no threshold: 0 is best.

    Args:
        probability: Shape (H, W), float in [0, 1].
        reference: Shape (H, W), bool.

    Returns:
        In [0, 1]. Defined for empty, full and constant maps alike.

    Raises:
        DataError: Not a map in [0, 1] (NaN included), not a mask, or of different shape.

    >>> mean_absolute_error(np.array([[0.25, 0.5]]), np.array([[False, True]]))
    0.375
    """
    probability, reference = check_probability(probability), check_mask(reference, "reference")
    check_same_shape(probability, reference)
    return float(np.mean(np.where(reference, 1 - probability, probability), dtype=np.float64))
