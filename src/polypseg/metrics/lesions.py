"""Lesion by lesion: how many polyps were found, how many findings are none.

Decisions:
- A lesion is an 8-connected component of the reference, a finding one of the prediction. Components smaller than
  `min_area_px` are left out on both sides: in 143 of Kvasir-SEG's 1000 masks the top left pixel alone is white, which
  would be a lesion that nobody finds (of 1206 components 143 have one pixel, all others 500 or more).
- A lesion is found, and a finding true, where the two meet: by any shared pixel (`min_iou` 0), or with that IoU or
  more, component against component. With any overlap one finding may find two lesions, and two findings lying on
  one lesion are both true; above an IoU of 0.5 the pairs are one to one.
- An image gives counts, which add up over images: a ratio of sums, not a mean of ratios.

Degenerate cases (lesions, found, findings, false findings), for masks of min_area_px and more:
both masks empty 0, 0, 0, 0; nothing predicted n, 0, 0, 0; no polyp 0, 0, n, n; full against full 1, 1, 1, 0.
Sensitivity is NaN where there is no lesion.
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from polypseg.arrays import Mask, check_mask, check_same_shape
from polypseg.errors import UsageError


class LesionCounts(NamedTuple):
    """Numbers of lesions and findings of an image, or of many."""

    num_lesions: int
    num_found: int
    num_findings: int
    num_false: int
    largest_false_px: int
    """Area in pixels of the largest false finding, 0 where there is none."""

    @property
    def sensitivity(self) -> float:
        """Share of the lesions that were found; NaN where there is none."""
        return self.num_found / self.num_lesions if self.num_lesions else float("nan")

    @property
    def precision(self) -> float:
        """Share of the findings that are lesions; NaN where nothing was found."""
        return 1 - self.num_false / self.num_findings if self.num_findings else float("nan")


def count_lesions(predicted: Mask, reference: Mask, min_iou: float = 0.0, min_area_px: int = 10) -> LesionCounts:
    """Lesions and findings, matched by their overlap.

    Args:
        predicted: Shape (H, W), bool.
        reference: Shape (H, W), bool.
        min_iou: In [0, 1]; 0 means any shared pixel.
        min_area_px: Components of fewer pixels are left out; 1 leaves out none.

    Raises:
        DataError: Not (H, W) bool, or of different shape.
        UsageError: `min_iou` outside [0, 1].

    >>> predicted = np.array([[1, 1, 0, 1, 0, 0]], bool)
    >>> reference = np.array([[0, 1, 0, 0, 0, 1]], bool)
    >>> count_lesions(predicted, reference, min_area_px=1)
    LesionCounts(num_lesions=2, num_found=1, num_findings=2, num_false=1, largest_false_px=1)
    """
    if not 0 <= min_iou <= 1:
        raise UsageError(f"min_iou is {min_iou}; expected 0 (any shared pixel) to 1")
    predicted, reference = check_mask(predicted, "predicted"), check_mask(reference, "reference")
    check_same_shape(predicted, reference)
    left, top, width, height = cv2.boundingRect((predicted | reference).view(np.uint8))
    if not width:
        return LesionCounts(0, 0, 0, 0, 0)
    here = np.s_[top : top + height, left : left + width]
    finding_labels, finding_px = _components(predicted[here])
    lesion_labels, lesion_px = _components(reference[here])
    findings, lesions, shared = _meetings(finding_labels, lesion_labels)
    matched = shared >= min_iou * (finding_px[findings] + lesion_px[lesions] - shared)
    counted_findings, counted_lesions = finding_px >= min_area_px, lesion_px >= min_area_px
    matched &= counted_findings[findings] & counted_lesions[lesions]
    false = counted_findings.copy()
    false[findings[matched]] = False
    return LesionCounts(
        num_lesions=int(counted_lesions.sum()),
        num_found=np.unique(lesions[matched]).size,
        num_findings=int(counted_findings.sum()),
        num_false=int(false.sum()),
        largest_false_px=int(finding_px[false].max(initial=0)),
    )


def _components(mask: Mask) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The labels (H, W), 0 being background, and the area in pixels of each component from label 1 on."""
    num_labels, labels = cv2.connectedComponents(mask.view(np.uint8), connectivity=8, ltype=cv2.CV_32S)
    return np.asarray(labels, np.int32), np.bincount(labels.ravel(), minlength=num_labels)[1:]


def _meetings(
    finding_labels: NDArray[np.int32], lesion_labels: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Finding, lesion (both from 0 on) and the number of pixels that they share, for each pair that shares any."""
    both = (finding_labels > 0) & (lesion_labels > 0)
    num_lesions = int(lesion_labels.max()) + 1
    pairs = finding_labels[both].astype(np.int64) * num_lesions + lesion_labels[both]
    if num_lesions * int(finding_labels.max() + 1) <= finding_labels.size:
        shared = np.bincount(pairs)  # ten times faster than sorting, where the table of all pairs is small
        pairs = np.flatnonzero(shared)
        shared = shared[pairs]
    else:
        pairs, shared = np.unique(pairs, return_counts=True)
    return pairs // num_lesions - 1, pairs % num_lesions - 1, shared
