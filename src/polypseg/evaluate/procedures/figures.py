"""All figures at one threshold, with intervals over procedures.

Decisions:
- Every share and mean is a ratio of sums over procedures, and its interval draws whole procedures: frames of one
  procedure, and its lesions, are not independent. With one procedure there is no interval.
- Medians of latencies have no interval: many lesions have none, and a median over few says more than it knows.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from polypseg.evaluate.procedures.facts import Facts
from polypseg.metrics.procedures.alerts import DEFINITIONS, alerts_by_procedure, is_in_seconds
from polypseg.metrics.procedures.frames import frame_sums
from polypseg.metrics.procedures.lesions import PERSISTENCE, WITHIN_SECONDS, LesionTable, lesion_table
from polypseg.metrics.procedures.tables import Flags, Numbers, Procedures
from polypseg.metrics.statistics import bootstrap_ratio
from polypseg.records.deployment import Alerts, BoundaryFigures, Figure, FrameFigures, LesionFigures, Point

LOW_DICE, LOW_BOUNDARY_IOU = 0.5, 0.2


@dataclass(frozen=True)
class FigureOptions:
    """How figures are made.

    Attributes:
        definitions: Of false alerts.
        lasting_seconds: Length of a lasting detection.
        area_limits: Of small, medium and large lesions, in per cent of the frame.
        num_resamples: Of the bootstrap.
        seed: Of the bootstrap.
    """

    definitions: tuple[str, ...] = DEFINITIONS
    lasting_seconds: float = 0.5
    area_limits: tuple[float, float] = (5.0, 20.0)
    num_resamples: int = 2000
    seed: int = 0


def point(facts: Facts, procedures: Procedures, name: str, threshold: float, options: FigureOptions) -> Point:
    """The figures of procedures at a threshold.

    Args:
        facts: For outlines and looks.
        procedures: All of `facts`, or those that are evaluated; with the findings that count.
        name: Of the point.
        threshold: The score from which on a finding counts.
        options: How.
    """
    table = lesion_table(procedures, threshold, options.lasting_seconds)
    made = _Maker(procedures, options)
    everything = np.ones(len(procedures.lesions), bool)
    looks = _looks(procedures, table, facts.looks, options.area_limits)
    return Point(
        name=name,
        threshold=threshold,
        procedures=procedures.names,
        frames=made.frames(threshold),
        alerts=tuple(made.alerts(definition, threshold) for definition in options.definitions),
        lesions=made.lesions(table, everything),
        by_look={
            way: {part: made.lesions(table, chosen) for part, chosen in parts.items()} for way, parts in looks.items()
        },
        boundary=made.boundary(facts, threshold),
    )


class _Maker:
    """Makes figures of one set of procedures."""

    def __init__(self, procedures: Procedures, options: FigureOptions) -> None:
        self._procedures, self._options = procedures, options

    def figure(self, tops: Numbers, bottoms: Numbers) -> Figure:
        """The sum over the sum, one value per procedure."""
        found = bootstrap_ratio(tops, bottoms, num_resamples=self._options.num_resamples, seed=self._options.seed)
        is_alone = len(tops) < 2
        return Figure(
            value=known(found.value),
            low=None if is_alone else known(found.low),
            high=None if is_alone else known(found.high),
        )

    def by_lesion(self, values: Numbers, chosen: Flags) -> Figure:
        """The mean of a value a lesion."""
        owner = self._procedures.lesion_procedure[chosen]
        num = len(self._procedures.names)
        sums = np.bincount(owner, values[chosen], num).astype(np.float64)
        return self.figure(sums, np.bincount(owner, minlength=num).astype(np.float64))

    def frames(self, threshold: float) -> FrameFigures:
        """Frame by frame."""
        sums = frame_sums(self._procedures, threshold)
        return FrameFigures(
            num_frames=int(sums.num_frames.sum()),
            num_lesion_frames=int(sums.num_lesion_frames.sum()),
            num_clean=int(sums.num_clean.sum()),
            sensitivity=self.figure(sums.num_found, sums.num_lesion_frames),
            specificity=self.figure(sums.num_clean - sums.num_clean_alerted, sums.num_clean),
            false_positive_rate=self.figure(sums.num_clean_alerted, sums.num_clean),
            lesion_sensitivity=self.figure(sums.num_sights_found, sums.num_sights),
            false_per_frame=self.figure(sums.num_false, sums.num_frames),
            false_percent=self.figure(sums.false_percent, sums.num_false),
        )

    def alerts(self, definition: str, threshold: float) -> Alerts:
        """Under one definition."""
        counted = alerts_by_procedure(self._procedures, definition, threshold).astype(np.float64)
        minutes = frame_sums(self._procedures, np.inf).minutes
        is_timed = bool(np.isfinite(minutes).all())  # a procedure of one frame has no length
        is_known = is_timed or not is_in_seconds(definition)
        unknown = Figure(value=None)
        return Alerts(
            definition=definition,
            num_alerts=int(counted.sum()) if is_known else None,
            per_minute=self.figure(counted, minutes) if is_timed else unknown,
            per_procedure=self.figure(counted, np.ones(len(counted))) if is_known else unknown,
        )

    def lesions(self, table: LesionTable, chosen: Flags) -> LesionFigures:
        """Those of the lesions."""
        found = table.num_found > 0
        fragments = table.num_fragments[chosen & found]
        return LesionFigures(
            num_lesions=int(chosen.sum()),
            num_found=int((found & chosen).sum()),
            found=self.by_lesion(found.astype(float), chosen),
            persistent={
                f"{share:g}": self.by_lesion((table.persistence >= share).astype(float), chosen)
                for share in PERSISTENCE
            },
            within_seconds={
                f"{limit:g}": self.by_lesion((table.latency_seconds <= limit + 1e-9).astype(float), chosen)
                for limit in WITHIN_SECONDS
            },
            persistence=self.by_lesion(table.persistence, chosen),
            median_latency_seconds=_median(table.latency_seconds[chosen]),
            median_lasting_latency_seconds=_median(table.lasting_latency_seconds[chosen]),
            lasting=self.by_lesion(np.isfinite(table.lasting_latency_seconds).astype(float), chosen),
            num_fragments=known(float(fragments.mean())) if len(fragments) else None,
        )

    def boundary(self, facts: Facts, threshold: float) -> BoundaryFigures | None:
        """Of the outlines, where they are known."""
        if not np.isfinite(facts.dice).any():
            return None
        procedures = self._procedures
        kept = np.isin(facts.procedures.procedure[facts.procedures.sight_frame], _places(facts, procedures))
        dice, outline = facts.dice[kept], facts.boundary_iou[kept]
        owner, num = procedures.procedure[procedures.sight_frame], len(procedures.names)
        found = (procedures.sight_score >= threshold) & np.isfinite(dice)

        def mean(values: Numbers, chosen: Flags) -> Figure:
            numbers = np.bincount(owner[chosen], minlength=num).astype(float)
            sums = np.bincount(owner[chosen], values[chosen], num).astype(np.float64)
            return self.figure(sums, numbers)

        everything = np.ones(len(owner), bool)
        return BoundaryFigures(
            num_compared=int(found.sum()),
            dice=mean(dice, found),
            boundary_iou=mean(outline, found),
            empty=mean((procedures.sight_score < threshold).astype(float), everything),
            low_dice=mean((dice < LOW_DICE).astype(float), found),
            low_boundary_iou=mean((outline < LOW_BOUNDARY_IOU).astype(float), found),
        )


def known(value: float) -> float | None:
    """The value; None for NaN."""
    return None if math.isnan(value) else float(value)


def size_parts(percent: Numbers, limits: tuple[float, float]) -> dict[str, Flags]:
    """Small, medium and large lesions; those of unknown size are in none.

    >>> {name: chosen.tolist() for name, chosen in size_parts(np.array([1.0, 5.0]), (5.0, 20.0)).items()}
    {'small': [True, False], 'medium': [False, True], 'large': [False, False]}
    """
    low, high = limits
    return {"small": percent < low, "medium": (percent >= low) & (percent < high), "large": percent >= high}


def _looks(
    procedures: Procedures,
    table: LesionTable,
    looks: Mapping[str, Mapping[str, str]],
    limits: tuple[float, float],
) -> dict[str, dict[str, Flags]]:
    ways = {"size": size_parts(table.percent, limits)}
    for column in sorted({column for told in looks.values() for column in told}):
        values = np.array([looks.get(name, {}).get(column, "") or "unknown" for name in procedures.lesions])
        ways[column] = {str(value): values == value for value in np.unique(values)}
    return {
        way: {part: chosen for part, chosen in parts.items() if chosen.any()}
        for way, parts in ways.items()
        if any(chosen.any() for chosen in parts.values())
    }


def _places(facts: Facts, procedures: Procedures) -> list[int]:
    return [facts.procedures.names.index(name) for name in procedures.names]


def _median(values: Numbers) -> float | None:
    there = values[np.isfinite(values)]
    return float(np.median(there)) if len(there) else None
