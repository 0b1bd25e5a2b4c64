"""The deployment report: from facts to its folder."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from polypseg import __version__
from polypseg.errors import ScoreError, plural
from polypseg.evaluate.procedures.facts import Facts
from polypseg.evaluate.procedures.figures import FigureOptions, known, point
from polypseg.evaluate.procedures.findings import NO_TRACK, TABLE_COLUMNS
from polypseg.metrics.procedures.alerts import alerts_by_procedure, is_in_seconds
from polypseg.metrics.procedures.curves import FALSE_POSITIVE_RATE, burdens, curves, match
from polypseg.metrics.procedures.frames import frame_sums, ratio
from polypseg.metrics.procedures.lesions import lesion_table
from polypseg.metrics.procedures.tables import Procedures
from polypseg.records.deployment import (
    FRAME_COLUMNS,
    Deployment,
    DeploymentFolder,
    MatchedPoint,
    Point,
    Table,
    Variation,
)

WITHHELD = (0, 3, 6, 12)
"""Frames, in the sensitivity analyses."""

ALERT = "alerts-0.5s"
"""The definition in the sensitivity analyses."""


@dataclass(frozen=True)
class DeploymentOptions:
    """What is reported.

    Attributes:
        threshold: The score from which on a finding counts.
        validation: Procedures on which the matched threshold is chosen, and which are not evaluated; none to choose it
            on all, which is optimistic.
        budget: Of false alerts, for the matched threshold.
        burden: Its definition: `false-positive-rate`, or one of false alerts a minute.
        withhold: Frames; findings of shorter tracks do not count.
        figures: How figures are made.
        provenance: Command and inputs.
    """

    threshold: float
    validation: tuple[str, ...] = ()
    budget: float = 0.045
    burden: str = FALSE_POSITIVE_RATE
    withhold: int = 0
    figures: FigureOptions = field(default_factory=FigureOptions)
    provenance: Mapping[str, str] = field(default_factory=dict)


def report_deployment(
    title: str, facts: Facts, options: DeploymentOptions, out: Path, smoothed: Mapping[str, Facts] | None = None
) -> Deployment:
    """The record, once all files but the page are written to `out`.

    Args:
        title: Whose findings.
        facts: All that is known.
        options: What is reported.
        out: The folder.
        smoothed: The facts with other smoothings by name, for the sensitivity analyses.

    Raises:
        ScoreError: Validation procedures are not there, or are all there are.
    """
    everything = facts.withheld(options.withhold)
    evaluated, matched = _matched(everything, options)
    points = [point(facts, evaluated, "the model's threshold", options.threshold, options.figures)]
    if matched is not None and matched.threshold is not None:
        points.append(point(facts, evaluated, "the matched threshold", matched.threshold, options.figures))
    drawn = curves(evaluated)
    record = Deployment(
        title=title,
        points=tuple(points),
        matched=matched,
        afroc_area=known(drawn.afroc_area),
        variations=tuple(_variations(facts, options, smoothed or {}, evaluated.names)),
        provenance={"polypseg": __version__, **options.provenance},
        notes=tuple(_notes(everything, facts, matched)),
    )
    folder = DeploymentFolder(out)
    folder.write(record, _tables(facts, everything, points[0], options), drawn)
    return record


def _matched(procedures: Procedures, options: DeploymentOptions) -> tuple[Procedures, MatchedPoint | None]:
    """The procedures that are evaluated, and the threshold that is matched on the others."""
    chosen_on, evaluated = procedures, procedures
    if options.validation:
        chosen_on = procedures.chosen(list(options.validation))
        others = [name for name in procedures.names if name not in options.validation]
        if not others:
            raise ScoreError("all procedures are for validation, and none is left to evaluate; name fewer")
        evaluated = procedures.chosen(others)
    try:
        found = match(chosen_on, options.burden, options.budget)
    except ScoreError:
        if options.validation:
            raise
        return evaluated, None
    return evaluated, MatchedPoint(
        definition=options.burden,
        budget=options.budget,
        threshold=known(found.threshold),
        burden=found.burden,
        sensitivity=found.sensitivity,
        chosen_on=chosen_on.names,
        is_optimistic=not options.validation,
    )


def _variations(
    facts: Facts, options: DeploymentOptions, smoothed: Mapping[str, Facts], names: tuple[str, ...]
) -> Iterator[Variation]:
    """Each smoothing with each number of withheld frames, at a few thresholds from the model's own upwards."""
    rising = sorted({options.threshold, *(options.threshold + part * (1 - options.threshold) for part in (0.4, 0.8))})
    own = str(options.provenance.get("smoothing", "none"))
    for smoothing, known_facts in {own: facts, **smoothed}.items():
        has_tracks = bool((known_facts.findings.track != NO_TRACK).any())
        for withhold in WITHHELD if has_tracks else (0,):
            procedures = known_facts.withheld(withhold).chosen(list(names))
            for threshold in rising:
                sums = frame_sums(procedures, threshold)
                found = lesion_table(procedures, threshold).num_found > 0
                at = np.array([threshold])
                yield Variation(
                    smoothing=smoothing,
                    withhold=withhold,
                    threshold=threshold,
                    sensitivity=known(ratio(sums.num_found, sums.num_lesion_frames)),
                    false_positive_rate=known(ratio(sums.num_clean_alerted, sums.num_clean)),
                    found=float(found.mean()) if len(found) else None,
                    alerts_per_minute=(float(burdens(procedures, ALERT, at)[0]) if np.sum(sums.minutes) > 0 else None),
                )


def _notes(procedures: Procedures, facts: Facts, matched: MatchedPoint | None) -> Iterator[str]:
    yield from facts.notes
    clean = frame_sums(procedures, np.inf).num_clean
    without = [name for name, number in zip(procedures.names, clean, strict=True) if number == 0]
    if len(without) == len(procedures.names):
        yield "no procedure has a frame without a lesion: false alerts and specificity are unknown"
    elif without:
        yield (
            f"{len(without)} of {len(procedures.names)} procedures have no frame without a lesion, as {without[0]}: "
            "specificity is that of the others"
        )
    rates = np.round(1 / procedures.frame_seconds, 2)
    if len(set(rates[np.isfinite(rates)])) > 1:
        yield (
            f"frame rates differ between procedures ({rates.min():g} to {rates.max():g} a second): definitions in "
            "frames last longer in some than in others; those in seconds do not"
        )
    if not np.isfinite(procedures.frame_seconds).all():
        single = int(np.count_nonzero(~np.isfinite(procedures.frame_seconds)))
        counted = plural(single, "procedure is", "procedures are")
        yield f"{counted} a single frame without a length: false alerts per minute are unknown"
    if not procedures.is_located:
        yield "the references tell when a lesion is visible, not where: any finding in such a frame counts as found"
    if len(procedures.names) < 2:
        yield "one procedure: figures have no intervals"
    if not len(procedures.lesions):
        yield "no lesion in any procedure: sensitivity is unknown"
    if not facts.has_outlines and procedures.is_located:
        yield "no masks on both sides: outlines are not compared"
    if not len(procedures.finding_score):
        yield "nothing was found in any frame: there is no threshold to match"
        return
    if matched is not None and matched.is_optimistic:
        yield "the matched threshold was chosen on the procedures that are evaluated, and is optimistic"
    if matched is not None and matched.threshold is None:
        yield f"no threshold keeps within {matched.budget:g} ({matched.definition}): the highest score is a false alert"


def _tables(facts: Facts, procedures: Procedures, first: Point, options: DeploymentOptions) -> dict[str, Table]:
    return {
        "procedures": _procedure_table(procedures, first, options),
        "lesions": _lesion_rows(facts, procedures, first, options),
        "frames": _frame_rows(facts, procedures),
        "findings": _finding_rows(facts),
    }


def _procedure_table(procedures: Procedures, first: Point, options: DeploymentOptions) -> Table:
    sums = frame_sums(procedures, first.threshold)
    definitions = options.figures.definitions
    counted = [alerts_by_procedure(procedures, definition, first.threshold) for definition in definitions]
    has_length = np.isfinite(sums.minutes).tolist()
    columns = ("procedure", "set", *sums._fields, "num_lesions", *definitions)
    lesions = np.bincount(procedures.lesion_procedure, minlength=len(procedures.names))
    rows = (
        (
            name,
            "evaluated" if name in first.procedures else "validation",
            *(float(column[place]) for column in sums),
            int(lesions[place]),
            *(
                int(column[place]) if has_length[place] or not is_in_seconds(definition) else ""
                for definition, column in zip(definitions, counted, strict=True)
            ),
        )
        for place, name in enumerate(procedures.names)
    )
    return Table(columns, rows)


def _lesion_rows(facts: Facts, procedures: Procedures, first: Point, options: DeploymentOptions) -> Table:
    table = lesion_table(procedures, first.threshold, options.figures.lasting_seconds)
    ways = sorted({column for told in facts.looks.values() for column in told})
    columns = ("procedure", "lesion", *table._fields, "persistence", *ways)
    values: list[Any] = [*table, table.persistence]
    rows = (
        (
            procedures.names[procedures.lesion_procedure[place]],
            name,
            *(column[place].item() for column in values),
            *(facts.looks.get(name, {}).get(way, "") for way in ways),
        )
        for place, name in enumerate(procedures.lesions)
    )
    return Table(columns, rows)


def _frame_rows(facts: Facts, procedures: Procedures) -> Table:
    numbers = np.bincount(procedures.sight_frame, minlength=procedures.num_frames)
    scores = (procedures.found_score, procedures.false_score, procedures.top_score)
    columns = (procedures.procedure, procedures.seconds, numbers, *(np.maximum(0.0, column) for column in scores))
    rows = (
        (procedures.names[owner], facts.keys[place], *values)
        for place, (owner, *values) in enumerate(_rows_of(*columns))
    )
    return Table(FRAME_COLUMNS, rows)


def _finding_rows(facts: Facts) -> Table:
    found, names = facts.findings, facts.procedures.names
    owners = facts.procedures.procedure[found.frame]
    rows = (
        (names[owner], facts.keys[frame], *box, score, percent, "" if track == NO_TRACK else track)
        for owner, frame, box, score, percent, track in _rows_of(
            owners, found.frame, found.box, found.score, found.percent, found.track
        )
    )
    return Table(TABLE_COLUMNS, rows)


def _rows_of(*columns: NDArray[Any]) -> Iterator[tuple[Any, ...]]:
    """The rows of columns of equal length, as plain numbers, made a few at a time."""
    for begins in range(0, len(columns[0]), 4096):
        yield from zip(*(column[begins : begins + 4096].tolist() for column in columns), strict=True)
