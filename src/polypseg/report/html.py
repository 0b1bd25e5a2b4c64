"""One page that holds everything: tables, charts, pictures and where they come from, without a network.

Decisions:
- The page stands alone: charts are inline SVG, pictures are data URIs, the style is in the page, there is no script.
- The same evaluation gives the same page, byte by byte: it bears the time of the evaluation, not its own.
- Pictures of the data are in it unless the caller leaves them out, with the terms of the data beside them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup

from polypseg import __version__
from polypseg.errors import plural
from polypseg.metrics.table import LABELS
from polypseg.overlay import DOUBTFUL, OUTLINE, Colour
from polypseg.records.atomic import write_text
from polypseg.report import facts, panels, tables
from polypseg.report.cases import any_missing, choose_cases
from polypseg.report.curve_panels import (
    level_of,
    plot_alarms,
    plot_panel,
    plot_precision_recall,
    plot_reliability,
    plot_thresholds,
)
from polypseg.report.documents import render_html, trusted
from polypseg.report.explanation import plot_explanation
from polypseg.report.figures import KINDS, plot_training_curves
from polypseg.report.report_input import ReportInput, split_counts
from polypseg.report.svg import inline_svg
from polypseg.report.tables import figure, interval

MOST_STRATA = 12
"""A way of dividing the images into more parts than this is folded away."""

MOST_PAIRS = 50
"""More near-duplicates than this are left to summary.json."""


class Chart(NamedTuple):
    """A chart and the words below it."""

    svg: Markup
    caption: str
    is_wide: bool = False


def write_page(record: ReportInput, path: Path, with_images: bool = True, num_cases: int = 4) -> Path:
    """The path, once the page is written there.

    Args:
        record: What the page is filled from.
        path: Ends in .html.
        with_images: Put pictures of the data into it.
        num_cases: Images in each group of cases.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, render_page(record, with_images, num_cases))
    return path


def render_page(record: ReportInput, with_images: bool = True, num_cases: int = 4) -> str:
    """The page; arguments as `write_page`."""
    metric_rows, absent = tables.metric_rows(record.summary)
    cases = choose_cases(record, num_cases, with_images)
    values = {
        "version": __version__,
        "plural": plural,
        "record": record,
        "summary": record.summary,
        "source": record.source,
        "run": record.run,
        "tiles": list(_tiles(record)),
        "warnings": [f"{text[:1].upper()}{text[1:]}." for text in facts.warnings(record)],
        "metric_rows": metric_rows,
        "absent": absent,
        "protocols": tables.protocol_rows(record.summary),
        "strata": {way: tables.stratum_rows(strata) for way, strata in record.summary.strata.items()},
        "most_strata": MOST_STRATA,
        "negative_rows": tables.negative_rows(record.summary),
        "negative_strata": tables.negative_stratum_rows(record.summary),
        "negative_head": ["", *tables.NEGATIVE_STRATUM],
        "scatter": list(_distribution_charts(record)),
        "curves": list(_curve_charts(record)),
        "alarms": list(_alarm_charts(record)),
        "training": list(_training_charts(record)),
        "cases": cases,
        "with_images": with_images,
        "key": [(label, f"#{bytes(colour).hex()}") for label, colour in _kinds(record)],
        "some_missing": any_missing(cases),
        "most_pairs": MOST_PAIRS,
        "fresh": _without_leaks(record),
        "split_rows": _split_rows(record),
        "others": _other_rows(record),
        "model_facts": facts.model_facts(record),
        "training_facts": facts.training_facts(record),
        "data_facts": facts.data_facts(record),
        "gates": {name: (found, tables.gate_rows(found)) for name, found in record.run.gates.items()}
        if record.run
        else {},
        "gate_columns": ["", *tables.GATE_COLUMNS],
        "promise_rows": tables.promise_rows(record.held),
        "promise_head": ["", *tables.PROMISE_COLUMNS],
        "explanation": record.explanation,
        "map_rows": tables.map_rows(record.explanation) if record.explanation else [],
        "map_head": ["", *tables.MAP_COLUMNS],
        "map_chart": list(_explanation_charts(record)),
        "evaluation_facts": facts.evaluation_facts(record),
    }
    return render_html("page.html.j2", **values)


def _kinds(record: ReportInput) -> list[tuple[str, Colour]]:
    """What the colours of the pictures mean."""
    band = [("doubtful: between inner and outer mask (second picture)", DOUBTFUL)] if record.held else []
    return [*KINDS, ("the reference's border", OUTLINE), *band]


def _tiles(record: ReportInput) -> Iterator[tuple[str, str, str]]:
    """The figures that the page begins with: label, value, detail."""
    summary, negatives = record.summary, record.summary.negatives
    if record.summary.num_polyp_images:
        counted = plural(record.summary.num_polyp_images, "image")
        for name in ("dice", "iou"):
            figures = summary.of(name)
            spread = "" if figures.low is None else f"{interval(figures)}, "
            yield f"mean {LABELS[name]}", figure(figures.mean), spread + counted
        lesions = summary.of("lesion_sensitivity")
        if lesions.num_images:
            found = lesions.pooled
            yield "lesions found", "–" if found is None else f"{100 * found:.1f} %", "pooled over all lesions"
    if negatives is None:
        yield "false alarms", "unknown", "no image without a polyp was scored"
    elif negatives.alarm.mean is not None:
        share = f"{100 * negatives.alarm.mean:.1f} %"
        yield "frames with a false alarm", share, f"of {plural(negatives.num_images, 'polyp-free image')}"
    if record.run is not None:
        yield "test split scored", f"{record.run.times_test_was_scored} ×", "in all evaluations of this run"


def _distribution_charts(record: ReportInput) -> Iterator[Chart]:
    dice = record.polyps.dice
    known = np.isfinite(dice)
    if not known.any():
        return
    dice, shares = dice[known], record.polyps.polyp_percent[known] / 100
    spread = f"mean {dice.mean():.3f}, median {np.median(dice):.3f}, lowest {dice.min():.3f}, highest {dice.max():.3f}"
    chart = plot_panel(lambda axes: panels.draw_histogram(axes, dice))
    caption = f"{plural(dice.size, 'image')} with a polyp; {spread}."
    yield _chart(chart, "histogram", f"Histogram of the Dice of {caption}", caption)
    chart = plot_panel(lambda axes: panels.draw_against_area(axes, dice, shares))
    caption = (
        f"One point per image; polyps cover {100 * shares.min():.2g} to {100 * shares.max():.2g} % of their images."
    )
    yield _chart(chart, "area", f"Dice against the polyp's area. {caption}", caption)


def _curve_charts(record: ReportInput) -> Iterator[Chart]:
    """Reliability, precision and recall, and the threshold: of maps that hold probabilities."""
    if not record.has_probabilities or not record.summary.num_polyp_images:
        return
    curves, summary, threshold = record.curves, record.summary, record.source.threshold
    error, brier = figure(summary.of("ece").pooled), figure(summary.of("brier").pooled)
    caption = (
        f"Expected calibration error {error}, Brier score {brier}; all pixels of the images with a polyp, read at 8 "
        "bits. Most pixels are easy background: look at the diagram, not at the error alone."
    )
    yield _chart(plot_reliability(curves), "reliability", f"Reliability diagram. {caption}", caption)
    area = figure(record.summary.average_precision)
    caption = f"All pixels of the images with a polyp together; average precision {area}."
    yield _chart(
        plot_precision_recall(curves, threshold), "precision-recall", f"Precision against recall. {caption}", caption
    )
    place = level_of(threshold)
    caption = (
        f"At the used threshold, {threshold:.3g}: mean Dice {figure(float(curves.mean_dice[place]))}. A better one "
        "that is seen here must not be taken: choose it on validation images (polypseg evaluate --tune-threshold)."
    )
    yield _chart(plot_thresholds(curves, threshold), "thresholds", f"Scores against the threshold. {caption}", caption)


def _alarm_charts(record: ReportInput) -> Iterator[Chart]:
    """Sensitivity against false alarms; of polyp-free images alone, the alarms against the threshold."""
    negatives = record.summary.negatives
    if negatives is None or not record.has_probabilities:
        return
    curves, threshold = record.curves, record.source.threshold
    alarm = f"An alarm is {negatives.alarm_area_px} predicted pixels or more in a frame"
    if record.summary.num_polyp_images:
        caption = f"{alarm}; a polyp frame is found where the alarm also touches the polyp. A point a threshold."
        chart = plot_alarms(curves, threshold)
        yield _chart(chart, "alarms", f"Sensitivity against the share of frames with a false alarm. {caption}", caption)
    else:
        caption = f"{alarm}. Only images without a polyp were scored."
        chart = plot_thresholds(curves, threshold)
        yield _chart(chart, "alarms", f"Share of frames with a false alarm against the threshold. {caption}", caption)


def _explanation_charts(record: ReportInput) -> Iterator[Chart]:
    """The bars of `polypseg explain`."""
    if record.explanation is not None:
        caption = "The dotted line is what a map that says nothing gets."
        svg = inline_svg(plot_explanation(record.explanation), "explanation", f"How faithful the maps are. {caption}")
        yield Chart(trusted(svg), caption, is_wide=True)


def _training_charts(record: ReportInput) -> Iterator[Chart]:
    """The curves of a run; of a group, those of each member."""
    run = record.run
    if run is None:
        return
    for name, history in (run.member_histories or {"": run.history}).items():
        if not history:
            continue
        best = run.best_row(history)
        caption = f"{name}: {plural(len(history), 'epoch')}".removeprefix(": ")
        if best is not None:
            words = {"val_loss": "lowest validation loss", "val_dice": "highest validation Dice"}[run.monitor]
            caption += f"; {words} {best[run.monitor]:.4f} in epoch {best['epoch']:g}"
        caption += ". Dice and IoU here are those at the model's own size."
        chart = plot_training_curves(history, run.monitor)
        svg = inline_svg(chart, f"training{name}", f"Training curves. {caption}")
        yield Chart(trusted(svg), caption, is_wide=True)


def _chart(figure_: Any, name: str, alt: str, caption: str) -> Chart:
    return Chart(trusted(inline_svg(figure_, name, alt)), caption)


def _without_leaks(record: ReportInput) -> tuple[int, str, str] | None:
    if not record.leaks or not record.summary.num_polyp_images:
        return None
    leaked = sorted({leak.scored for leak in record.leaks})
    return tables.without_leaks(record.polyps, leaked, record.summary.intervals.draws)


def _split_rows(record: ReportInput) -> list[list[str]]:
    """Split, images, share, groups."""
    if record.run is None or record.run.split is None:
        return []
    counts = split_counts(record.run.split)
    total = sum(images for images, _ in counts.values())
    return [
        [name, str(images), f"{100 * images / total:.1f} %", str(groups or "–")]
        for name, (images, groups) in counts.items()
    ]


def _other_rows(record: ReportInput) -> list[list[str]]:
    """Name, images with a polyp, mean Dice, interval, images without a polyp, frames with a false alarm."""
    rows = []
    for name, summary in (record.run.others if record.run else {}).items():
        dice = summary.of("dice")
        alarm = summary.negatives.alarm.mean if summary.negatives else None
        rows.append(
            [
                name,
                str(summary.num_polyp_images),
                figure(dice.mean),
                interval(dice),
                str(summary.num_polyp_free_images),
                "–" if alarm is None else f"{100 * alarm:.1f} %",
            ]
        )
    return rows
