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

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from polypseg.errors import ScoreError
from polypseg.evaluate.curves import sum_curves
from polypseg.evaluate.negatives import negative_figures, negative_strata
from polypseg.evaluate.protocols import PROTOCOLS, pooled_counts, protocol_figures
from polypseg.evaluate.strata import AREA_LIMITS, AREA_WAY, all_strata, places_by_stratum
from polypseg.metrics.calibration import brier_score, expected_calibration_error
from polypseg.metrics.overlap import Counts
from polypseg.metrics.statistics import Draws, Interval, bootstrap_means, bootstrap_ratio
from polypseg.metrics.table import COLUMNS
from polypseg.records.atomic import write_text
from polypseg.records.curves import write_curves
from polypseg.records.evaluation import Evaluation
from polypseg.records.evaluation_record import EvaluationRecord, LeftOutImage
from polypseg.records.reading import as_json
from polypseg.records.scores import Scores
from polypseg.records.summary import (
    Circumstances,
    Intervals,
    MetricFigures,
    ModelSizeFigures,
    NegativeFigures,
    Provenance,
    StratumFigures,
    Summary,
)

STRATUM_METRICS = ("dice", "iou", "precision", "recall", "f2", "nsd_percent", "hd95_percent", "lesion_sensitivity")
"""What is worked out for each stratum."""

UNTOLD = Circumstances()
"""Of scores that somebody sums up by hand."""

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
        strata_table: A CSV file with one row per image; None without.
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

    @property
    def draws(self) -> Draws:
        """Of every bootstrap."""
        return Draws(self.confidence, self.num_resamples, self.seed)


def summarise(
    evaluation: Evaluation, options: SummaryOptions | None = None, circumstances: Circumstances = UNTOLD
) -> Summary:
    """The summary of a finished evaluation, after summary.json and curves.npz are written.

    Args:
        evaluation: Its scores and histograms are there.
        options: How.
        circumstances: What the caller knows besides (command, near-duplicates, …); goes into `provenance`.

    Raises:
        ScoreError: The evaluation is not finished, or nothing of it was scored.
    """
    options = options or SummaryOptions()
    scores, record = evaluation.scores(), evaluation.record()
    if not scores.is_scored.any():
        raise ScoreError(f"{evaluation.folder}: none of the {len(scores)} images could be scored")
    curves = sum_curves(evaluation.histograms(), scores, record.settings.min_max, options.alarm_area_px)
    polyps = scores.select(scores.has_polyp)
    ways = all_strata(scores, options.area_limits, options.strata_table, options.strata_columns)
    summary = Summary(
        num_images=int(scores.is_scored.sum()),
        num_polyp_images=len(polyps),
        num_polyp_free_images=int(scores.is_polyp_free.sum()),
        left_out=_left_out(scores, record),
        metrics=metric_figures(polyps, curves.histogram, options.draws),
        strata=stratum_figures(scores, ways, options.draws),
        negatives=_negatives(scores, ways, options),
        model_size=_model_size(scores, record),
        protocols={name: {**protocol_figures(name, scores, curves)} for name in PROTOCOLS},
        average_precision=float(curves.average_precision),
        intervals=Intervals(**options.draws._asdict(), over="groups" if polyps.groups() else "images"),
        settings=record.settings,
        provenance=_provenance(record, scores, circumstances),
    )
    write_curves(evaluation.curves_path, curves)
    write_text(evaluation.summary_path, as_json(summary))
    return summary


def metric_figures(polyps: Scores, histogram: NDArray[np.int64], draws: Draws) -> dict[str, MetricFigures]:
    """Each metric's aggregates over the images with a polyp, by its column.

    Args:
        polyps: The rows of the images with a polyp.
        histogram: Shape (2, 256), their pixels by class and level.
        draws: Of the bootstrap.
    """
    columns = [column.name for column in COLUMNS if column.better]
    means = _mean_intervals(polyps, columns, draws)
    more = _pooled_figures(polyps, histogram, draws, means) if len(polyps) else {}
    return {
        column: MetricFigures.with_median(means[column], _median(polyps.values[column]), more.get(column, {}))
        for column in columns
    }


def _pooled_figures(
    polyps: Scores, histogram: NDArray[np.int64], draws: Draws, means: Mapping[str, Interval]
) -> dict[str, dict[str, float]]:
    """By column, what there is besides mean and median."""
    counts = pooled_counts(polyps)
    found: dict[str, dict[str, float]] = {
        "mae": {"pooled": float(np.average(polyps.values["mae"], weights=polyps.num_pixels))},
        "ece": {"pooled": expected_calibration_error(histogram)},
        "brier": {"pooled": brier_score(histogram)},
    }
    for column, interval in _pooled_ratios(polyps, draws).items():
        # a precision of 0 rather than nothing where nothing was predicted
        pooled = counts.precision if column == "precision" else interval.value
        found[column] = {"pooled": pooled, "pooled_low": interval.low, "pooled_high": interval.high}
        if column in ("dice", "iou"):
            both = getattr(counts, column) + getattr(counts.background, column)
            found[column] |= {
                "two_class_mean": means[f"two_class_{column}"].value,
                "two_class_pooled": both / 2,
            }
    return found


def _negatives(scores: Scores, ways: Mapping[str, Sequence[str]], options: SummaryOptions) -> NegativeFigures | None:
    """The images without a polyp, all together and by stratum: of every way but the polyp's area."""
    others = {way: strata for way, strata in ways.items() if way != AREA_WAY}
    strata = negative_strata(scores, others, options.alarm_area_px, options.draws)
    return negative_figures(scores, options.alarm_area_px, options.frame_rate, options.draws, strata)


def stratum_figures(
    scores: Scores, ways: Mapping[str, Sequence[str]], draws: Draws
) -> dict[str, dict[str, StratumFigures]]:
    """Aggregates of the images with a polyp by way of dividing them and by stratum.

    Args:
        scores: All rows.
        ways: The stratum of each row, by way.
        draws: Of the bootstrap.
    """
    return {
        way: {
            stratum: _stratum(scores.select(chosen), draws)
            for stratum, chosen in places_by_stratum(strata, scores.has_polyp).items()
        }
        for way, strata in ways.items()
    }


def _stratum(scores: Scores, draws: Draws) -> StratumFigures:
    means = _mean_intervals(scores, STRATUM_METRICS, draws)
    figures = {
        column: MetricFigures.with_median(mean, _median(scores.values[column]), {}) for column, mean in means.items()
    }
    return StratumFigures(num_images=len(scores), **figures)


def _mean_intervals(scores: Scores, columns: Sequence[str], draws: Draws) -> dict[str, Interval]:
    """The mean of each column, with its interval."""
    table = np.stack([scores.values[column] for column in columns], axis=1)
    intervals = [_with_spread(interval, scores) for interval in bootstrap_means(table, scores.groups(), *draws)]
    return dict(zip(columns, intervals, strict=True))


def _pooled_ratios(scores: Scores, draws: Draws) -> dict[str, Interval]:
    fields = np.stack([scores.values[field] for field in Counts._fields], axis=1)
    ratios = {
        **{name: (fields @ np.array(top), fields @ np.array(bottom)) for name, (top, bottom) in _POOLED.items()},
        "lesion_sensitivity": (scores.values["num_found"], scores.values["num_lesions"]),
    }
    return {
        name: _with_spread(bootstrap_ratio(top, bottom, scores.groups(), *draws), scores)
        for name, (top, bottom) in ratios.items()
    }


def _model_size(scores: Scores, record: EvaluationRecord) -> ModelSizeFigures | None:
    """Loss, Dice and IoU as Keras' evaluate gives them: at the model's size, over all images."""
    chosen = scores.select(scores.is_scored)
    if not np.isfinite(chosen.values["model_size_dice"]).any():
        return None
    loss, dice, iou = (float(chosen.values[name].mean()) for name in ("loss", "model_size_dice", "model_size_iou"))
    return ModelSizeFigures(size=record.source.size, num_images=len(chosen), loss=loss, dice=dice, iou=iou)


def _provenance(record: EvaluationRecord, scores: Scores, circumstances: Circumstances) -> Provenance:
    return Provenance(
        **record.source.stated(),
        **circumstances.stated(),
        data_digest=record.data_digest,
        threshold=record.settings.threshold,
        peak_threshold=record.settings.peak_threshold,
        threshold_source=record.threshold_source,
        polypseg=record.polypseg,
        started=record.started,
        num_resized=scores.num_resized,
    )


def _left_out(scores: Scores, record: EvaluationRecord) -> tuple[LeftOutImage, ...]:
    faulty = zip(scores.names, scores.faults, strict=True)
    return (*record.skipped, *(LeftOutImage(name=name, reason=fault) for name, fault in faulty if fault))


def _with_spread(interval: Interval, scores: Scores) -> Interval:
    """The interval, unknown where all images are one group: one draw cannot tell how others would fall out."""
    groups = scores.groups()
    num_units = len(scores) if groups is None else len(set(groups))
    return interval if num_units > 1 else interval._replace(low=math.nan, high=math.nan)


def _median(values: NDArray[np.float64]) -> float:
    present = values[np.isfinite(values)]
    return float(np.median(present)) if present.size else math.nan
