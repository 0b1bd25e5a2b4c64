"""The figures of the TRUE-Colon protocol, by its own definitions, equal to its package to the last digit.

Decisions:
- Definitions and names are those of the package `true-colon` 0.1.1; docs/explanation/deployment.md tells where and why
  this package's own figures differ. Nothing here is mended.
- Sums are taken in the package's order, so that rounding is the same. What it does threshold by threshold is done in
  one pass: a greedy match of detections in order of their scores is, at each threshold, a beginning of the same match.

Reference:
    Doerrich et al., "TRUE-Colon: Exposing a Consistent Transfer Asymmetry in Real-Time Polyp Detection", MICCAI
    EndoLINA workshop 2026, arXiv:2608.13711.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from polypseg.metrics.procedures.tables import Flags, Numbers, Places

GRID = (0.001, 0.005, 0.01, *(step / 100 for step in range(5, 101, 5)))
"""The thresholds of its curves."""

FRAMES_A_SECOND, LEAST_HITS, WINDOWS = 30.0, 15, (1, 3, 5)
"""Its assumed frame rate; the hits that a lesion needs within so many seconds, in a row or not."""

REJECT_ALL = 1.0 + 1e-9
"""Its threshold above every score."""

Figures = dict[str, Any]


class Boxes(NamedTuple):
    """Boxes of frames: `frame` (N,) and `box` (N, 4), x, y, width, height."""

    frame: Places
    box: Numbers


class Pairs(NamedTuple):
    """Every pair of a detection and a reference in one frame, and their IoU."""

    detection: Places
    reference: Places
    iou: Numbers


def pairs_of(detections: Boxes, references: Boxes) -> Pairs:
    """All pairs within frames; `references` are sorted by frame."""
    begins = np.searchsorted(references.frame, detections.frame, side="left")
    numbers = np.searchsorted(references.frame, detections.frame, side="right") - begins
    detection = np.repeat(np.arange(len(detections.frame)), numbers)
    reference = begins[detection] + np.arange(len(detection)) - np.repeat(np.cumsum(numbers) - numbers, numbers)
    return Pairs(detection, reference, corner_iou(references.box[reference], detections.box[detection]))


def corner_iou(first: Numbers, second: Numbers) -> Numbers:
    """IoU by the boxes' corners, as the package rounds it.

    >>> corner_iou(np.array([[0, 0, 2, 2.0]]), np.array([[1, 0, 2, 2.0]]))
    array([0.33333333])
    """
    ends_a, ends_b = first[:, :2] + first[:, 2:], second[:, :2] + second[:, 2:]
    sides = np.maximum(0.0, np.minimum(ends_a, ends_b) - np.maximum(first[:, :2], second[:, :2]))
    shared = sides[:, 0] * sides[:, 1]
    area_a, area_b = (
        np.maximum(0.0, (ends - box[:, :2])[:, 0]) * np.maximum(0.0, (ends - box[:, :2])[:, 1])
        for ends, box in ((ends_a, first), (ends_b, second))
    )
    union = area_a + area_b - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))


def frame_scores(num_frames: int, detections: Boxes, scores: Numbers, references: Boxes, min_iou: float) -> Any:
    """The score of each frame with a lesion, and of each without; 0 where nothing valid is detected."""
    pairs = pairs_of(detections, references)
    valid = pairs.iou > min_iou
    best, top = np.zeros(num_frames), np.full(num_frames, -np.inf)
    np.maximum.at(best, detections.frame[pairs.detection[valid]], scores[pairs.detection[valid]])
    np.maximum.at(top, detections.frame, scores)
    is_positive = np.bincount(references.frame, minlength=num_frames) > 0
    return best[is_positive], np.where(np.isfinite(top), top, 0.0)[~is_positive]


def frame_figures(positive: Numbers, negative: Numbers, threshold: float) -> Figures:
    """The confusion of frames at a threshold, and its rates."""
    tp, fp = int(np.count_nonzero(positive >= threshold)), int(np.count_nonzero(negative >= threshold))
    tn, fn = len(negative) - fp, len(positive) - tp
    precision, recall = _divided(tp, tp + fp), _divided(tp, tp + fn)
    return {
        "conf": float(threshold),
        **{"tp": tp, "fp": fp, "tn": tn, "fn": fn},
        **{"precision": precision, "recall": recall, "sensitivity": recall},
        "specificity": _divided(tn, tn + fp),
        **{"tpr": recall, "fpr": _divided(fp, fp + tn)},
        **{f"f{beta}": _f_beta(precision, recall, float(beta)) for beta in (1, 2)},
    }


def matched_figures(positive: Numbers, negative: Numbers, target: float = 0.045, tolerance: float = 0.005) -> Figures:
    """Its matched threshold: the lowest score of a clean frame whose false-positive rate is at most the target."""
    counts = {"n_pos_frames": len(positive), "n_neg_frames": len(negative)}
    if not len(negative):
        rates = {"achieved_fpr": 0.0, "achieved_tpr": _reaching(positive, 0.0)}
        return {"target_fpr": target, "threshold": 0.0, **rates, "feasible": False, **counts}
    candidates = [*np.unique(negative[negative > 0]).tolist(), REJECT_ALL]
    spent = [_reaching(negative, candidate) for candidate in candidates]
    within = [place for place, rate in enumerate(spent) if rate <= target]
    gaps = [abs(rate - target) for rate in spent]
    place = within[0] if within else int(np.argmin(gaps))
    return {
        "target_fpr": target,
        "threshold": candidates[place],
        "achieved_fpr": spent[place],
        "achieved_tpr": _reaching(positive, candidates[place]),
        "feasible": bool(within) or gaps[place] <= tolerance,
        **counts,
    }


def afroc_figures(
    num_frames: int, detections: Boxes, scores: Numbers, references: Boxes, min_iou: float, grid: Sequence[float] = GRID
) -> tuple[Figures, Figures]:
    """FROC and AFROC on the grid; detections are in the package's order, the highest score first.

    Each reference is claimed once, by the best overlap among those not claimed; every other detection is a false mark.
    """
    thresholds = sorted(float(threshold) for threshold in grid)
    is_clean = np.bincount(references.frame, minlength=num_frames) == 0
    is_hit = _claimed(pairs_of(detections, references), len(detections.frame), len(references.frame), min_iou)
    on_clean = is_clean[detections.frame]
    first_alert = np.zeros(len(on_clean), bool)
    clean_places = np.flatnonzero(on_clean)
    _, first = np.unique(detections.frame[clean_places], return_index=True)
    first_alert[clean_places[first]] = True
    cut = np.searchsorted(-scores, [-threshold for threshold in thresholds], side="right")
    sums = [np.concatenate([[0], np.cumsum(flags)])[cut].tolist() for flags in (is_hit, ~is_hit, first_alert)]
    tps, fps, alerted = sums
    total, num_clean = len(references.frame), int(is_clean.sum())
    told = {"iou_thr": float(min_iou), "conf_thresholds": thresholds}
    hits = {"tpr_loc": [tp / total if total else 0.0 for tp in tps], "tp": tps, "fp": fps, "total_gt": total}
    froc = {**told, "fp_per_image": [fp / num_frames if num_frames else 0.0 for fp in fps], **hits}
    afroc = {**told, "fpf": [number / num_clean if num_clean else 0.0 for number in alerted], **hits}
    return {**froc, "n_images": num_frames}, {**afroc, "n_images": num_frames, "n_neg_images": num_clean}


def lesion_record(name: str, num_visible: int, hits: Sequence[int], num_hits: int, first: int | None) -> Figures:
    """What is told of a lesion.

    Args:
        name: Its id; what is before the first `_` names the video.
        num_visible: Frames that show it.
        hits: The frame numbers in which it is detected; those without a number are left out.
        num_hits: Frames in which it is detected.
        first: The first frame number that shows it.
    """
    share = num_hits / num_visible if num_visible else 0.0
    latency = max(0, min(hits) - first) if first is not None and hits else None
    within = {}
    for seconds in WINDOWS:
        ends = (first or 0) + int(seconds * FRAMES_A_SECOND) - 1
        inside = sum(1 for hit in hits if first is not None and first <= hit <= ends)
        within[f"detected_within_{seconds}s"] = first is not None and bool(hits) and inside >= LEAST_HITS
    return {
        "lesion_id": name,
        "video_name": name.split("_", 1)[0],
        "n_frames_visible": num_visible,
        "n_frames_detected": num_hits,
        "det_fraction": share,
        "detected_any": num_hits > 0,
        "detected_25pct": share >= 0.25,
        "detected_50pct": share >= 0.5,
        "first_visible_frame": first,
        "first_detected_frame": min(hits) if hits else None,
        "latency_frames": latency,
        "latency_seconds": None if latency is None else latency / FRAMES_A_SECOND,
        **within,
        "size_mm": None,
        "histology_class": None,
    }


def lesion_summary(records: Sequence[Figures], excluded: frozenset[str] = frozenset()) -> Figures:
    """The cohort's figures, of records in order of the lesions' ids.

    Args:
        records: From `lesion_record`.
        excluded: Lesions whose latency does not enter the mean.
    """
    num = len(records)
    counts = {key: sum(bool(one[key]) for one in records) for key in _COUNTED}
    timed = [one for one in records if one["latency_frames"] is not None and one["lesion_id"] not in excluded]
    means: Figures = {}
    for key in ("latency_frames", "latency_seconds"):
        means[f"mean_{key}"] = sum(float(one[key]) for one in timed) / len(timed) if timed else None
    share = 0.0
    for one in records:  # from left to right, as rounding is to be the package's; sum() compensates in newer Pythons
        share += one["det_fraction"]
    return {
        "n_lesions": num,
        **counts,
        **{f"pct_{key}": 100.0 * counts[key] / num if num else 0.0 for key in _COUNTED[:3]},
        "mean_det_fraction": share / num if num else 0.0,
        **means,
        "n_latency_lesions": len(timed),
        "excluded_lesion_ids": sorted(excluded & {one["lesion_id"] for one in records}),
    }


_COUNTED = (
    "detected_any",
    "detected_25pct",
    "detected_50pct",
    *(f"detected_within_{seconds}s" for seconds in WINDOWS),
)


def _claimed(pairs: Pairs, num_detections: int, num_references: int, min_iou: float) -> Flags:
    """Which detections claim a reference; they choose in their order."""
    is_hit, is_taken = np.zeros(num_detections, bool), np.zeros(num_references, bool)
    best: tuple[float, int] = (0.0, -1)
    numbers = zip(pairs.detection.tolist(), pairs.reference.tolist(), pairs.iou.tolist(), strict=True)
    current = -1
    for detection, reference, iou in numbers:
        if detection != current:
            if best[1] >= 0:
                is_hit[current] = is_taken[best[1]] = True
            current, best = detection, (0.0, -1)
        if iou > min_iou and iou > best[0] and not is_taken[reference]:
            best = (iou, reference)
    if best[1] >= 0:
        is_hit[current] = is_taken[best[1]] = True
    return is_hit


def _divided(top: float, bottom: float) -> float:
    return float(top / bottom) if bottom > 0 else 0.0


def _reaching(scores: Numbers, threshold: float) -> float:
    return _divided(int(np.count_nonzero(scores >= threshold)), len(scores))


def _f_beta(precision: float, recall: float, beta: float) -> float:
    squared = beta * beta
    bottom = squared * precision + recall
    return float((1.0 + squared) * (precision * recall) / bottom) if bottom > 0 else 0.0
