"""Two or more evaluations over the same images: what differs, by how much, and whether it could be chance.

Decisions:
- Only what was measured on the same images, against the same reference pixels, with the same settings is compared.
  Anything else is refused, and the error names the images.
- An image that one run was trained on and the other was not is no fair ground, however equal its pixels are.
- The difference is the first's score minus the second's; a win is an image that the first does better, whichever
  way the metric counts.
- With more than two evaluations the p-values of a metric are adjusted for the number of pairs (Holm).
"""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from polypseg.errors import ScoreError, UsageError, listed, unknown_name
from polypseg.evaluate.leaks import TRAINING
from polypseg.metrics.statistics import Comparison, Draws, compare_paired, holm
from polypseg.metrics.table import COLUMNS
from polypseg.records.atomic import write_text
from polypseg.records.comparison import ComparisonRecord, DifferingImage
from polypseg.records.evaluation import Evaluation
from polypseg.records.reading import as_json
from polypseg.records.scores import Scores

METRICS = (
    "dice",
    "iou",
    "precision",
    "recall",
    "f2",
    "nsd_percent",
    "hd95_percent",
    "weighted_f",
    "s_measure",
    "mae",
    "lesion_sensitivity",
    "num_false",
)
"""What is compared over the images with a polyp."""

NEGATIVE_METRICS = ("specificity", "num_false", "predicted_px")
"""What is compared over the images without one."""

LOWER_IS_BETTER = frozenset(column.name for column in COLUMNS if column.better == "lower") | {"predicted_px"}

_DECISIVE_SETTINGS = ("tolerance_px", "tolerance_percent", "min_iou", "min_area_px", "min_max")
"""Settings without which the columns mean different things; the threshold is part of the method that is judged."""


@dataclass(frozen=True)
class PairedResult:
    """Two evaluations in one metric.

    Attributes:
        first: Label of the one.
        second: Label of the other.
        metric: Column of scores.csv.
        images: polyp or polyp-free.
        first_mean: Over the images that both have a value for.
        second_mean: The same of the other.
        comparison: Difference (first minus second), p-values, wins of the first, losses, ties.
        wilcoxon_p: Adjusted for the number of pairs of evaluations.
        permutation_p: The same.
        largest: The images in which they differ most, the largest difference first.
    """

    first: str
    second: str
    metric: str
    images: str
    first_mean: float
    second_mean: float
    comparison: Comparison
    wilcoxon_p: float
    permutation_p: float
    largest: tuple[DifferingImage, ...]


def compare(
    evaluations: Sequence[tuple[str, Evaluation]],
    metrics: Sequence[str] = METRICS,
    num_cases: int = 10,
    confidence: float = 0.95,
    num_resamples: int = 10_000,
    seed: int = 0,
) -> list[PairedResult]:
    """Every pair of evaluations in every metric.

    Args:
        evaluations: Label and evaluation, two or more.
        metrics: Columns of scores.csv, for the images with a polyp.
        num_cases: How many of the images in which they differ most are kept.
        confidence: Of the interval of a difference.
        num_resamples: Of bootstrap and permutation test.
        seed: Of both.

    Raises:
        UsageError: Fewer than two, labels that repeat, or a metric that is none.
        ScoreError: They were scored on different images, references, splits or settings; the error says which.
    """
    labels = [label for label, _ in evaluations]
    if len(labels) < 2 or len(set(labels)) != len(labels):
        raise UsageError(
            f"compare needs two or more evaluations with different names; got {', '.join(labels) or 'none'}"
        )
    scores = comparable_scores(evaluations)
    for metric in metrics:
        if metric not in scores[0].values:
            raise UsageError(unknown_name("metric", metric, scores[0].values))
    draws = Draws(confidence, num_resamples, seed)
    results: list[PairedResult] = []
    for images, columns in (("polyp", metrics), ("polyp-free", NEGATIVE_METRICS)):
        chosen = [each.select(each.has_polyp if images == "polyp" else each.is_polyp_free) for each in scores]
        if not len(chosen[0]):
            continue
        for metric in columns:
            pairs = [
                _paired((labels[i], labels[j]), (chosen[i], chosen[j]), metric, images, num_cases, draws)
                for i, j in combinations(range(len(labels)), 2)
            ]
            results += _adjusted(pairs)
    return results


def comparable_scores(evaluations: Sequence[tuple[str, Evaluation]]) -> list[Scores]:
    """The scores of each evaluation, their rows in one order.

    Raises:
        ScoreError: Two of them cannot be compared; the error says why, and names the images.
    """
    (first_label, first), *others = [(label, _sorted(evaluation.scores())) for label, evaluation in evaluations]
    for label, scores in others:
        labels = first_label, label
        _same_names(labels, first, scores)
        _same_references(labels, first, scores)
        _same_splits(labels, first, scores)
    _same_settings(evaluations)
    return [first, *(scores for _, scores in others)]


def save_comparison(results: Sequence[PairedResult], scores: Sequence[tuple[str, Scores]], folder: Path) -> list[Path]:
    """The paths of comparison.json (all results) and comparison.csv (the metric compared first, one row per image).

    Args:
        results: From `compare`.
        scores: Label and scores of each evaluation, their rows in one order (`comparable_scores`).
        folder: Made if there is none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    json_path, csv_path = folder / "comparison.json", folder / "comparison.csv"
    write_text(json_path, as_json([_record(result) for result in results]))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    metrics = list(dict.fromkeys(result.metric for result in results))
    writer.writerow(["name", "reference_px", *(f"{metric} {label}" for metric in metrics for label, _ in scores)])
    for place, name in enumerate(scores[0][1].names):
        values = [float(each.values[metric][place]) for metric in metrics for _, each in scores]
        writer.writerow([name, int(scores[0][1].reference_px[place]), *map(repr, values)])
    write_text(csv_path, text.getvalue())
    return [json_path, csv_path]


def _paired(
    labels: tuple[str, str],
    scores: tuple[Scores, Scores],
    metric: str,
    images: str,
    num_cases: int,
    draws: Draws,
) -> PairedResult:
    first, second = (each.values[metric] for each in scores)
    comparison = compare_paired(first, second, scores[0].groups(), *draws)
    groups = scores[0].groups()
    if groups is not None and len(set(groups)) < 2:  # one draw cannot tell how others would fall out
        comparison = comparison._replace(difference=comparison.difference._replace(low=math.nan, high=math.nan))
    if metric in LOWER_IS_BETTER:
        comparison = comparison._replace(wins=comparison.losses, losses=comparison.wins)
    both = np.isfinite(first) & np.isfinite(second)
    distance = np.where(both, np.abs(first - second), 0.0)
    order = [place for place in np.argsort(-distance, kind="stable")[:num_cases] if distance[place] > 0]
    largest = tuple(
        DifferingImage(name=scores[0].names[place], first=float(first[place]), second=float(second[place]))
        for place in order
    )
    first_mean, second_mean = (float(values[both].mean()) if both.any() else math.nan for values in (first, second))
    p_values = comparison.wilcoxon_p, comparison.permutation_p
    return PairedResult(*labels, metric, images, first_mean, second_mean, comparison, *p_values, largest)


def _adjusted(pairs: Sequence[PairedResult]) -> list[PairedResult]:
    """The results of one metric, their p-values adjusted for how many there are."""
    wilcoxon = _holm([pair.wilcoxon_p for pair in pairs])
    permutation = _holm([pair.permutation_p for pair in pairs])
    return [
        PairedResult(**{**vars(pair), "wilcoxon_p": one, "permutation_p": other})
        for pair, one, other in zip(pairs, wilcoxon, permutation, strict=True)
    ]


def _holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values; a comparison without a pair stays NaN, and does not count among them."""
    there = [value for value in p_values if not math.isnan(value)]
    adjusted = iter(holm(there))
    return [value if math.isnan(value) else next(adjusted) for value in p_values]


def _same_names(labels: tuple[str, str], first: Scores, second: Scores) -> None:
    only_first = sorted(set(first.names) - set(second.names))
    only_second = sorted(set(second.names) - set(first.names))
    if only_first or only_second:
        parts = [
            f"\nonly in {label} ({len(names)}):{listed(names, 5)}"
            for label, names in zip(labels, (only_first, only_second), strict=True)
            if names
        ]
        raise ScoreError(
            f"{labels[0]} and {labels[1]} were scored on different images, so a difference between them would mean "
            f"nothing; score both on the same ones (--names FILE):{''.join(parts)}"
        )


def _same_references(labels: tuple[str, str], first: Scores, second: Scores) -> None:
    digests = zip(first.names, first.text.reference_digest, second.text.reference_digest, strict=True)
    differing = [name for name, one, other in digests if one != other]
    if differing:
        raise ScoreError(
            f"{labels[0]} and {labels[1]} were scored against different references (or one could not score an image) "
            f"in {len(differing)} of {len(first)} images; use the same masks at the same size:{listed(differing, 5)}"
        )


def _same_splits(labels: tuple[str, str], first: Scores, second: Scores) -> None:
    splits = zip(first.names, first.splits, second.splits, strict=True)
    differing = [
        f"{name}: {one} for {labels[0]}, {other} for {labels[1]}"
        for name, one, other in splits
        if (one in TRAINING or other in TRAINING) and one != other
    ]
    if differing:
        raise ScoreError(
            f"{labels[0]} and {labels[1]} were split differently: one has learned from images that the other is tested "
            f"on; train both on one split (--splits){listed(differing, 5)}"
        )


def _same_settings(evaluations: Sequence[tuple[str, Evaluation]]) -> None:
    known = [
        (label, evaluation.record().settings) for label, evaluation in evaluations if evaluation.record_path.is_file()
    ]
    for label, settings in known[1:]:
        for key in _DECISIVE_SETTINGS:
            first, other = getattr(known[0][1], key), getattr(settings, key)
            if first != other:
                raise ScoreError(
                    f"{known[0][0]} was scored with {key} {first}, {label} with {other}; score both with the same "
                    "settings"
                )


def _sorted(scores: Scores) -> Scores:
    return scores.take(sorted(range(len(scores)), key=lambda place: scores.names[place]))


def _record(result: PairedResult) -> ComparisonRecord:
    difference, chance = result.comparison.difference, result.comparison
    return ComparisonRecord(
        first=result.first,
        second=result.second,
        metric=result.metric,
        images=result.images,
        first_mean=result.first_mean,
        second_mean=result.second_mean,
        difference=difference.value,
        low=difference.low,
        high=difference.high,
        num_pairs=difference.num_values,
        num_missing=difference.num_missing,
        wilcoxon_p=chance.wilcoxon_p,
        permutation_p=chance.permutation_p,
        wilcoxon_p_holm=result.wilcoxon_p,
        permutation_p_holm=result.permutation_p,
        wins=chance.wins,
        losses=chance.losses,
        ties=chance.ties,
        largest=result.largest,
    )
