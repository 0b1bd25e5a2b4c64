"""summary.json: every aggregate of an evaluation, each by its name, and where it all comes from.

Decisions:
- A mean is one over the images with a polyp. `mean`, `median`, `pooled` (all their pixels as one image),
  `two_class_mean` (each image's mean of polyp and background, then over images) and `two_class_pooled` (the same of
  the pooled pixels) stand side by side, because papers call each of them Dice.
- Images without a polyp stand apart (`negatives`).
- Intervals draw whole groups (sequences, patients) where the data have groups.
- A single image or group has no interval.
- `num_missing` counts the images in which a score does not exist (a distance to an outline that is not there).
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from polypseg.errors import ScoreError
from polypseg.evaluate.curves import sum_curves
from polypseg.evaluate.negatives import negative_figures, negative_strata
from polypseg.evaluate.protocols import PROTOCOLS, pooled_counts, protocol_figures
from polypseg.evaluate.strata import AREA_LIMITS, AREA_WAY, all_strata, places_by_stratum
from polypseg.metrics.calibration import brier_score, expected_calibration_error
from polypseg.metrics.overlap import Counts
from polypseg.metrics.statistics import Interval, bootstrap_means, bootstrap_ratio
from polypseg.metrics.table import COLUMNS
from polypseg.records.atomic import replacing, write_text
from polypseg.records.evaluation import Evaluation
from polypseg.records.scores import Scores

STRATUM_METRICS = ("dice", "iou", "precision", "recall", "f2", "nsd_percent", "hd95_percent", "lesion_sensitivity")
"""What is worked out for each stratum."""

_POOLED = {
    "dice": ((2, 0, 0, 0), (2, 1, 1, 0)),
    "iou": ((1, 0, 0, 0), (1, 1, 1, 0)),
    "precision": ((1, 0, 0, 0), (1, 1, 0, 0)),
    "recall": ((1, 0, 0, 0), (1, 0, 1, 0)),
    "specificity": ((0, 0, 0, 1), (0, 1, 0, 1)),
    "accuracy": ((1, 0, 0, 1), (1, 1, 1, 1)),
    "f2": ((5, 0, 0, 0), (5, 1, 4, 0)),
}
"""Weights of true positive, false positive, false negative, true negative in a ratio's numerator and denominator."""


@dataclass(frozen=True)
class SummaryOptions:
    """How scores are summed up.

    Attributes:
        confidence: Of all intervals.
        num_resamples: Of each bootstrap.
        seed: Of each bootstrap.
        area_limits: In % of the image: below the first a polyp is small, above the second large.
        strata_table: A CSV file with a row an image; None without.
        strata_columns: Columns of it to make strata of.
        alarm_area_px: Area in pixels from which on a false finding is an alarm.
        frame_rate: Frames a second, for figures a minute; None leaves them out.
    """

    confidence: float = 0.95
    num_resamples: int = 10_000
    seed: int = 0
    area_limits: tuple[float, float] = AREA_LIMITS
    strata_table: Path | None = None
    strata_columns: Sequence[str] = ()
    alarm_area_px: int = 100
    frame_rate: float | None = None

    def bootstrap(self) -> dict[str, Any]:
        """The keywords of every bootstrap."""
        return {"confidence": self.confidence, "num_resamples": self.num_resamples, "seed": self.seed}


def summarise(
    evaluation: Evaluation, options: SummaryOptions | None = None, provenance: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The summary of a finished evaluation, after summary.json and curves.npz are written.

    Args:
        evaluation: Its scores and histograms are there.
        options: How.
        provenance: What the caller knows besides (command, near-duplicates, …); goes into `provenance`.

    Raises:
        ScoreError: The evaluation is not finished, or nothing of it was scored.
    """
    options = options or SummaryOptions()
    scores, record = evaluation.scores(), evaluation.record()
    if not scores.is_scored.any():
        raise ScoreError(f"{evaluation.folder}: none of the {len(scores)} images could be scored")
    min_max = bool(record["settings"]["min_max"])
    curves = sum_curves(evaluation.histograms(), scores, min_max, options.alarm_area_px)
    polyps = scores.select(scores.has_polyp)
    ways = all_strata(scores, options.area_limits, options.strata_table, options.strata_columns)
    summary = {
        "num_images": int(scores.is_scored.sum()),
        "num_polyp_images": len(polyps),
        "num_polyp_free_images": int(scores.is_polyp_free.sum()),
        "left_out": _left_out(scores, record),
        "metrics": metric_figures(polyps, curves["histogram"], options),
        "strata": stratum_figures(scores, ways, options),
        "negatives": _negatives(scores, ways, options),
        "model_size": _model_size(scores, record),
        "protocols": {name: protocol_figures(name, scores, curves) for name in PROTOCOLS},
        "average_precision": float(curves["average_precision"]),
        "intervals": {**options.bootstrap(), "over": "groups" if polyps.groups() else "images"},
        "settings": record["settings"],
        "provenance": {**_provenance(record, scores), **(provenance or {})},
    }
    with replacing(evaluation.curves_path) as temporary:
        np.savez(temporary, allow_pickle=False, **curves)
    plain: dict[str, Any] = _plain(summary)
    write_text(evaluation.summary_path, json.dumps(plain, indent=1, allow_nan=False))
    return plain


def metric_figures(polyps: Scores, histogram: NDArray[np.int64], options: SummaryOptions) -> dict[str, dict[str, Any]]:
    """Each metric's aggregates over the images with a polyp.

    Args:
        polyps: The rows of the images with a polyp.
        histogram: Shape (2, 256), their pixels by class and level.
        options: Of the bootstrap.

    Returns:
        By column: mean, low, high (its interval), median, num_images, num_missing; and where they exist pooled,
        pooled_low, pooled_high, two_class_mean, two_class_pooled.
    """
    columns = [column.name for column in COLUMNS if column.better]
    draws = options.bootstrap()
    table = np.stack([polyps.values[column] for column in columns], axis=1)
    intervals = [_with_spread(interval, polyps) for interval in bootstrap_means(table, polyps.groups(), **draws)]
    figures = {
        column: {**_mean(interval), "median": _median(polyps.values[column])}
        for column, interval in zip(columns, intervals, strict=True)
    }
    if not len(polyps):
        return figures
    for column, interval in _pooled_ratios(polyps, options).items():
        figures[column] |= {"pooled": interval.value, "pooled_low": interval.low, "pooled_high": interval.high}
    counts = pooled_counts(polyps)
    figures["precision"]["pooled"] = counts.precision  # 0 rather than nothing where nothing was predicted
    for column in ("dice", "iou"):
        figures[column]["two_class_mean"] = figures[f"two_class_{column}"]["mean"]
        both = getattr(counts, column), getattr(counts.background, column)
        figures[column]["two_class_pooled"] = sum(both) / 2
    figures["mae"]["pooled"] = float(np.average(polyps.values["mae"], weights=_num_pixels(polyps)))
    figures["ece"]["pooled"] = expected_calibration_error(histogram)
    figures["brier"]["pooled"] = brier_score(histogram)
    return figures


def _negatives(scores: Scores, ways: Mapping[str, Sequence[str]], options: SummaryOptions) -> dict[str, Any] | None:
    """The images without a polyp, all together and by stratum: of every way but the polyp's area."""
    found = negative_figures(scores, options.alarm_area_px, options.frame_rate, **options.bootstrap())
    others = {way: strata for way, strata in ways.items() if way != AREA_WAY}
    return found and {
        **found,
        "strata": negative_strata(scores, others, options.alarm_area_px, **options.bootstrap()),
    }


def stratum_figures(
    scores: Scores, ways: Mapping[str, Sequence[str]], options: SummaryOptions
) -> dict[str, dict[str, dict[str, Any]]]:
    """Aggregates of the images with a polyp by way of dividing them and by stratum.

    Args:
        scores: All rows.
        ways: The stratum of each row, by way.
        options: Of the bootstrap.
    """
    return {
        way: {
            stratum: _stratum(scores.select(chosen), options)
            for stratum, chosen in places_by_stratum(strata, scores.has_polyp).items()
        }
        for way, strata in ways.items()
    }


def _stratum(scores: Scores, options: SummaryOptions) -> dict[str, Any]:
    table = np.stack([scores.values[column] for column in STRATUM_METRICS], axis=1)
    drawn = bootstrap_means(table, scores.groups(), **options.bootstrap())
    intervals = [_with_spread(interval, scores) for interval in drawn]
    return {
        "num_images": len(scores),
        **{
            column: {**_mean(interval), "median": _median(scores.values[column])}
            for column, interval in zip(STRATUM_METRICS, intervals, strict=True)
        },
    }


def _pooled_ratios(scores: Scores, options: SummaryOptions) -> dict[str, Interval]:
    fields = np.stack([scores.values[field] for field in Counts._fields], axis=1)
    ratios = {name: (fields @ np.array(top), fields @ np.array(bottom)) for name, (top, bottom) in _POOLED.items()}
    ratios["lesion_sensitivity"] = scores.values["num_found"], scores.values["num_lesions"]
    return {
        name: _with_spread(bootstrap_ratio(top, bottom, scores.groups(), **options.bootstrap()), scores)
        for name, (top, bottom) in ratios.items()
    }


def _model_size(scores: Scores, record: Mapping[str, Any]) -> dict[str, Any] | None:
    """Loss, Dice and IoU as Keras' evaluate gives them: at the model's size, over all images."""
    chosen = scores.select(scores.is_scored)
    columns = {"loss": "loss", "dice": "model_size_dice", "iou": "model_size_iou"}
    if not np.isfinite(chosen.values["model_size_dice"]).any():
        return None
    means = {name: float(chosen.values[column].mean()) for name, column in columns.items()}
    return {"size": record["source"].get("size"), "num_images": len(chosen), **means}


def _provenance(record: Mapping[str, Any], scores: Scores) -> dict[str, Any]:
    return {
        **record["source"],
        "data_digest": record["data_digest"],
        "threshold": record["settings"]["threshold"],
        "seed_threshold": record["settings"].get("seed_threshold", 0.0),
        "threshold_source": record["threshold_source"],
        "polypseg": record["polypseg"],
        "started": record["started"],
        "num_resized": sum(1 for size in scores.text["resized_from"] if size),
    }


def _left_out(scores: Scores, record: Mapping[str, Any]) -> list[dict[str, str]]:
    faulty = zip(scores.names, scores.text["fault"], strict=True)
    return [*record.get("skipped", []), *({"name": name, "reason": fault} for name, fault in faulty if fault)]


def _mean(interval: Interval) -> dict[str, Any]:
    return {
        "mean": interval.value,
        "low": interval.low,
        "high": interval.high,
        "num_images": interval.num_values,
        "num_missing": interval.num_missing,
    }


def _with_spread(interval: Interval, scores: Scores) -> Interval:
    """The interval, unknown where all images are one group: one draw cannot tell how others would fall out."""
    groups = scores.groups()
    num_units = len(scores) if groups is None else len(set(groups))
    return interval if num_units > 1 else interval._replace(low=math.nan, high=math.nan)


def _median(values: NDArray[np.float64]) -> float:
    present = values[np.isfinite(values)]
    return float(np.median(present)) if present.size else math.nan


def _num_pixels(scores: Scores) -> NDArray[np.float64]:
    return scores.values["height_px"] * scores.values["width_px"]


def _plain(value: Any) -> Any:
    """The value as JSON has it: named tuples as tables, NaN as null."""
    if isinstance(value, Interval):
        return _plain(_mean(value))
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value
