"""What depends on the threshold, summed over the images: what `records.curves` saves."""

import numpy as np
from numpy.typing import NDArray

from polypseg.metrics.calibration import reliability
from polypseg.metrics.saliency import protocol_curves
from polypseg.metrics.thresholds import NUM_LEVELS, ThresholdCurves, precision_recall
from polypseg.records.curves import NUM_BINS, EvaluationCurves
from polypseg.records.scores import Scores


def sum_curves(
    histograms: NDArray[np.int32], scores: Scores, min_max: bool = False, alarm_area_px: int = 1
) -> EvaluationCurves:
    """The curves of an evaluation.

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
    curve, bins = precision_recall(polyp), reliability(polyp, NUM_BINS)
    pranet_dice, pranet_iou, pranet_e_measure = protocol
    return EvaluationCurves(
        **sums.frames._asdict(),
        mean_dice=sums.mean_dice,
        mean_iou=sums.mean_iou,
        precision=curve.precision,
        recall=curve.recall,
        average_precision=np.array(curve.average_precision),
        bin_num_pixels=bins.num_pixels,
        bin_mean_probability=bins.mean_probability,
        bin_polyp_share=bins.polyp_share,
        histogram=polyp,
        polyp_free_histogram=polyp_free,
        pranet_threshold=np.arange(NUM_LEVELS) / 255,
        pranet_dice=pranet_dice,
        pranet_iou=pranet_iou,
        pranet_e_measure=pranet_e_measure,
    )
