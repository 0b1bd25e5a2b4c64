"""The columns that papers report, each by its own definition: the same masks, three numbers called Dice.

pranet  PraNet and its successors (SANet, UACANet, Polyp-PVT, CaraNet, …): 8-bit map, the reference's size, stretched to
        0 … 1 image by image, 256 thresholds. The published evaluation takes the maximum of the mean curve.
kvasir  The Kvasir papers (ResUNet++, ColonSegNet, TransNetR, TransRUPNet, …): one score per image at 0.5, then the
        mean. They resize the reference to the model's square; the `model size` columns do too.
duck    DUCK-Net and others that flatten the whole test set: all pixels pooled at 0.5, so that an image weighs by the
        area of its polyp. What they call mIoU is the IoU of the polyp class alone.

Images without a polyp are left out: the papers' test sets hold none, and each definition treats them otherwise.

Reference:
    Fan et al., "PraNet", MICCAI 2020; Jha et al., "Real-Time Polyp Detection, Localization and Segmentation in
    Colonoscopy Using Deep Learning", IEEE Access 9, 2021; Dumitru, Peteleaza, Craciun, "Using DUCK-Net for polyp image
    segmentation", Scientific Reports 13, 2023, and the evaluation code that each of them published.
"""

import numpy as np

from polypseg.errors import UsageError, unknown_name
from polypseg.metrics.overlap import Counts
from polypseg.records.curves import EvaluationCurves
from polypseg.records.scores import Scores

PROTOCOLS = ("pranet", "kvasir", "duck")


def protocol_figures(protocol: str, scores: Scores, curves: EvaluationCurves) -> dict[str, float]:
    """The figures of one line of papers, by the names that they use; NaN without an image with a polyp.

    Args:
        protocol: pranet, kvasir or duck.
        scores: All rows.
        curves: From `curves.sum_curves`; pranet needs those of maps that were stretched.

    Raises:
        UsageError: No such protocol.
    """
    if protocol not in PROTOCOLS:
        raise UsageError(unknown_name("protocol", protocol, PROTOCOLS))
    chosen = scores.select(scores.has_polyp)
    if protocol == "pranet":
        return _pranet(chosen, curves)
    return _kvasir(chosen) if protocol == "kvasir" else _duck(chosen)


def pooled_counts(scores: Scores) -> Counts:
    """The pixels of all rows together, by what was predicted and what is true."""
    return Counts(*(int(scores.values[field].sum()) for field in Counts._fields))


def _pranet(scores: Scores, curves: EvaluationCurves) -> dict[str, float]:
    return {
        "meanDic": float(curves.pranet_dice.mean()),
        "meanIoU": float(curves.pranet_iou.mean()),
        "wFm": _mean(scores, "weighted_f"),
        "Sm": _mean(scores, "s_measure"),
        "meanEm": float(curves.pranet_e_measure.mean()),
        "maxEm": float(curves.pranet_e_measure.max()),
        "maxDic": float(curves.pranet_dice.max()),
        "maxIoU": float(curves.pranet_iou.max()),
        "MAE": _mean(scores, "pranet_mae"),
    }


def _kvasir(scores: Scores) -> dict[str, float]:
    figures = {
        "mDSC": _mean(scores, "dice"),
        "mIoU": _mean(scores, "iou"),
        "Recall": _mean(scores, "recall"),
        "Precision": _mean(scores, "precision"),
        "F2": _mean(scores, "f2"),
        "Accuracy": _mean(scores, "accuracy"),
    }
    if np.isfinite(scores.values["model_size_dice"]).any():
        figures["mDSC, model size"] = _mean(scores, "model_size_dice")
        figures["mIoU, model size"] = _mean(scores, "model_size_iou")
    return figures


def _duck(scores: Scores) -> dict[str, float]:
    if not len(scores):
        return dict.fromkeys(("Dice", "mIoU", "Precision", "Recall", "Accuracy"), float("nan"))
    counts = pooled_counts(scores)
    return {
        "Dice": counts.dice,
        "mIoU": counts.iou,
        "Precision": counts.precision,
        "Recall": counts.recall,
        "Accuracy": counts.accuracy,
    }


def _mean(scores: Scores, column: str) -> float:
    return float(scores.values[column].mean()) if len(scores) else float("nan")
