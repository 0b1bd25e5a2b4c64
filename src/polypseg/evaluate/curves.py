"""What depends on the threshold, summed over the images: everything that a report draws without running the model.

Saved as curves.npz, plain arrays:

threshold                   (256,) probability from which on a pixel is polyp, (k - 1/2) / 255
mean_dice, mean_iou         (256,) means over the images with a polyp
mean_recall                 (256,) mean share of the polyp's pixels found, over the images with a polyp
sensitivity                 (256,) share of the images with a polyp in which an alarm touches it
false_positive_frames       (256,) share of the images without a polyp that raise an alarm
precision, recall           (256,) of all pixels of the images with a polyp taken together
average_precision           () area under the two
bin_num_pixels, bin_mean_probability, bin_polyp_share   (15,) the reliability diagram, images with a polyp
histogram                   (2, 256) pixels by class and level, images with a polyp
polyp_free_histogram        (2, 256) the same of the images without one
pranet_threshold            (256,) k / 255
pranet_dice, pranet_iou, pranet_e_measure   (256,) mean curves of PraNet's protocol, images with a polyp

An alarm is raised by so many predicted pixels as SummaryOptions.alarm_area_px says. NaN where there is no such image.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from polypseg.metrics.calibration import reliability
from polypseg.metrics.saliency import protocol_curves
from polypseg.metrics.thresholds import NUM_LEVELS, Histogram, ThresholdCurves, precision_recall
from polypseg.records.scores import Scores


def sum_curves(
    histograms: NDArray[np.int32], scores: Scores, min_max: bool = False, alarm_area_px: int = 1
) -> dict[str, NDArray[Any]]:
    """The arrays of curves.npz.

    Args:
        histograms: Shape (N, 2, 256), in the order of the scores.
        scores: N rows.
        min_max: Stretch each map for PraNet's protocol, as its rows were.
        alarm_area_px: A frame raises an alarm from so many predicted pixels on.
    """
    sums = ThresholdCurves(alarm_area_px)
    polyp, polyp_free = np.zeros((2, NUM_LEVELS), np.int64), np.zeros((2, NUM_LEVELS), np.int64)
    protocol = np.zeros((3, NUM_LEVELS))
    for place in np.flatnonzero(scores.is_scored):
        histogram = histograms[place].astype(np.int64)
        sums.add(histogram)
        if scores.has_polyp[place]:
            polyp += histogram
            protocol += np.stack(protocol_curves(histogram, min_max))
        else:
            polyp_free += histogram
    with np.errstate(invalid="ignore"):
        protocol = protocol / np.float64(sums.num_polyp_images)
    frames = sums.frames
    return {
        **frames._asdict(),
        "mean_dice": sums.mean_dice,
        "mean_iou": sums.mean_iou,
        **_pooled(polyp),
        "histogram": polyp,
        "polyp_free_histogram": polyp_free,
        "pranet_threshold": np.arange(NUM_LEVELS) / 255,
        **dict(zip(("pranet_dice", "pranet_iou", "pranet_e_measure"), protocol, strict=True)),
    }


def _pooled(histogram: Histogram) -> dict[str, NDArray[Any]]:
    curve, bins = precision_recall(histogram), reliability(histogram)
    return {
        "precision": curve.precision,
        "recall": curve.recall,
        "average_precision": np.array(curve.average_precision),
        "bin_num_pixels": bins.num_pixels,
        "bin_mean_probability": bins.mean_probability,
        "bin_polyp_share": bins.polyp_share,
    }
