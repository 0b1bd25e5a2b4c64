"""The tables of a report: rows of text, made from a summary, as a page or a Markdown file lays them out.

Decisions:
- A figure has three decimals, from 10 on one, as the command line prints it; what is undefined is a dash.
- A metric that was not worked out for any image is not a row; it is named below the table.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from polypseg.metrics.statistics import Draws, Interval, bootstrap_mean
from polypseg.metrics.table import COLUMNS, LABELS, NEGATIVE_FIGURES
from polypseg.records.explanation import Explanation
from polypseg.records.gates import GatesRecord
from polypseg.records.model_facts import StatedScore
from polypseg.records.scores import Scores
from polypseg.records.summary import HeldPromise, MeanFigures, StratumFigures, Summary

NEGATIVE_STRATUM = ("images", "over 0.1 % of the image", "interval", "any false pixel")
"""Headings of `negative_stratum_rows`, after the stratum: shares of the frames."""

GATE_COLUMNS = ("mean", "spread", "Dice lost if constant")
"""Headings of `gate_rows`, after the gate itself."""

MEANINGS = {column.name: column.meaning for column in COLUMNS}
PROTOCOL_TITLES = {
    "pranet": "PraNet and its successors: 256 thresholds, then means",
    "kvasir": "Kvasir papers: one score per image at the threshold, then the mean",
    "duck": "DUCK-Net: all pixels pooled",
}


class MetricRow(NamedTuple):
    """One metric over the images with a polyp, as text."""

    name: str
    label: str
    meaning: str
    better: str
    mean: str
    interval: str
    median: str
    pooled: str
    two_class: str
    missing: str


def metric_rows(summary: Summary) -> tuple[list[MetricRow], list[str]]:
    """One row per metric that was worked out, and the labels of those that were not."""
    better = {column.name: column.better for column in COLUMNS}
    rows, absent = [], []
    for name, template in LABELS.items():
        figures = summary.metrics.get(name)
        label = template.format(**vars(summary.settings))
        if figures is None or not figures.num_images:
            absent.append(label)
            continue
        cells = (
            figure(figures.mean),
            interval(figures),
            figure(figures.median),
            figure(figures.pooled, ""),
            figure(figures.two_class_mean, ""),
            str(figures.num_missing or ""),
        )
        rows.append(MetricRow(name, label, MEANINGS[name], better[name], *cells))
    return rows, absent


def stratum_rows(strata: Mapping[str, StratumFigures]) -> list[list[str]]:
    """Stratum, images, mean Dice, its interval, median Dice, mean IoU, mean recall, lesions found."""
    return [
        [
            name,
            str(figures.num_images),
            figure(figures.dice.mean),
            interval(figures.dice),
            figure(figures.dice.median),
            figure(figures.iou.mean),
            figure(figures.recall.mean),
            figure(figures.lesion_sensitivity.mean),
        ]
        for name, figures in strata.items()
    ]


def negative_rows(summary: Summary) -> list[list[str]]:
    """Words, figure and interval of each figure of the images without a polyp; none where there is no such image."""
    negatives = summary.negatives
    if negatives is None:
        return []
    rows = []
    for name, label, factor, unit in NEGATIVE_FIGURES:
        if found := negatives.figure(name):
            scaled = found.times(factor)
            rows.append([label.format(**vars(negatives)), f"{figure(scaled.mean)}{unit}", interval(scaled)])
    return rows


def negative_stratum_rows(summary: Summary) -> dict[str, list[list[str]]]:
    """By way of dividing the images without a polyp, a row a stratum: its cells are those of `NEGATIVE_STRATUM`."""
    strata = summary.negatives.strata if summary.negatives else {}
    rows: dict[str, list[list[str]]] = {}
    for way, found in strata.items():
        for stratum, figures in found.items():
            large, any_ = figures.large_false_positive.times(100), figures.any_false_positive.times(100)
            cells = [str(figures.num_images), f"{figure(large.mean)} %", interval(large), f"{figure(any_.mean)} %"]
            rows.setdefault(way, []).append([stratum, *cells])
    return rows


def gate_rows(record: GatesRecord) -> list[list[str]]:
    """Gate, mean and spread of its coefficients, and the Dice that is lost where they are all set to that mean."""
    rows = []
    for gate in record.gates:
        lost = "–" if gate.dice_lost is None else f"{round(gate.dice_lost, 4) + 0.0:.4f}"  # no -0.0000
        rows.append([f"gate {gate.level}", f"{gate.mean:.3f}", f"{gate.spread:.3f}", lost])
    return rows


PROMISE_COLUMNS = ("risk found", "level", "times the level", "groups", "images", "area over the mask")
"""Headings of `promise_rows`, after the mask."""

MAP_COLUMNS = ("on the polyp (AUROC)", "energy inside", "deletion", "insertion", "random weights", "Dice lost")
"""Headings of `map_rows`, after the map."""


def promise_rows(held: HeldPromise | None) -> list[list[str]]:
    """Of the outer and the inner mask: what was found of what a calibration promises; empty without one."""
    rows, names = [], {"outer": "outer mask, missed", "inner": "inner mask, false"}
    if held is None:
        return []
    for side, found in held.sides.items():
        level, counts = held.level, [str(found.num_groups), str(found.num_images)]
        stretch = "–" if found.stretch is None else f"{found.stretch:.2f}"
        rows.append([names[side], f"{found.risk:.3f}", f"{level:g}", f"{found.risk / level:.2f}", *counts, stretch])
    return rows


def map_rows(record: Explanation) -> list[list[str]]:
    """Of each kind of map how faithful it is; what was not measured is a dash."""
    keys = ("auroc", "energy_inside", "deletion", "insertion", "randomised", "dice_lost")
    rows = []
    for each in record.maps:
        values = [getattr(each, key) for key in keys]
        rows.append([each.name, *("–" if value is None else f"{round(value, 3) + 0.0:.3f}" for value in values)])
    return rows


def protocol_rows(summary: Summary) -> list[tuple[str, list[tuple[str, str]]]]:
    """Title of each line of papers, and its figures under the names that they use."""
    return [
        (PROTOCOL_TITLES.get(name, name), [(label, figure(value)) for label, value in figures.items()])
        for name, figures in summary.protocols.items()
        if any(value is not None for value in figures.values())
    ]


def without_leaks(scores: Scores, leaked: Sequence[str], draws: Draws) -> tuple[int, str, str] | None:
    """Number of images with a polyp that no training image shows, their mean Dice and its interval; None without any.

    Args:
        scores: The rows of the images with a polyp.
        leaked: Names to leave out.
        draws: Of the summary's bootstrap.
    """
    fresh = scores.select(~np.isin(np.array(scores.names), leaked))
    if not len(fresh):
        return None
    drawn = bootstrap_mean(fresh.dice, fresh.groups(), *draws)
    return len(fresh), figure(drawn.value), interval(drawn)


def figure(value: float | None, missing: str = "–") -> str:
    """A figure to the third decimal, from 10 on to the first.

    >>> figure(0.77436), figure(12.3456), figure(None)
    ('0.774', '12.3', '–')
    """
    if value is None or value != value:
        return missing
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"


def interval(figures: MeanFigures | Interval | StatedScore) -> str:
    """The interval of a figure.

    >>> interval(Interval(0.3, 0.25, 0.5, 0.95, 10, 0))
    '0.250–0.500'
    """
    low, high = figures.low, figures.high
    if low is None or high is None or low != low or high != high:
        return "–"
    return f"{figure(low)}–{figure(high)}"
