"""What `evaluate`, `compare` and `train` print: tables of a summary, of a comparison and of attention gates."""

import re
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table

from polypseg.errors import plural
from polypseg.metrics.table import COLUMNS, LABELS
from polypseg.report.tables import (
    GATE_COLUMNS,
    NEGATIVE_STRATUM,
    figure,
    gate_rows,
    interval,
    negative_rows,
    negative_stratum_rows,
    stratum_rows,
)

if TYPE_CHECKING:
    from polypseg.evaluate.compare import PairedResult
    from polypseg.records.gates import GatesRecord
    from polypseg.records.summary import Summary

_Table = partial(
    Table,
    box=SIMPLE_HEAD,
    title_justify="left",
    title_style="bold",
    caption_justify="left",
    padding=(0, 0, 0, 1),
    pad_edge=False,
)

SHOWN_STRATA = 12
"""A way of dividing the images into more parts than this is left to summary.json."""


def metric_table(summary: "Summary") -> Table:
    """Every metric over the images with a polyp: mean, interval, median, pooled, two classes, missing."""
    confidence, over = summary.intervals.confidence, summary.intervals.over
    table = _table(f"Over {plural(summary.num_polyp_images, 'image')} with a polyp (intervals: bootstrap over {over})")
    _add_columns(table, "mean", f"{100 * confidence:g} %", "median", "pooled", "2-class", "NaN")
    stretched = " *" if summary.settings.min_max else ""
    if stretched:
        table.caption = "* each map stretched to 0 … 1 first, as PraNet's evaluation does"
    groups = {column.name: column.group for column in COLUMNS}
    for column, label in LABELS.items():
        star = stretched if groups[column] == "saliency" else ""
        figures = summary.of(column)
        table.add_row(
            label.format(**vars(summary.settings)) + star,
            figure(figures.mean),
            interval(figures),
            figure(figures.median),
            figure(figures.pooled, ""),
            figure(figures.two_class_mean, ""),
            str(figures.num_missing or ""),
        )
    return table


def stratum_tables(summary: "Summary") -> Iterator[Table | str]:
    """A table for each way of dividing the images, or a line where there are too many parts."""
    for way, strata in summary.strata.items():
        if len(strata) > SHOWN_STRATA:
            yield f"By {way}: {len(strata)} parts, in summary.json"
            continue
        table = _table(f"By {way}")
        _add_columns(table, "images", "Dice", "interval", "median", "IoU", "recall")
        for row in stratum_rows(strata):
            table.add_row(*row[:-1])  # lesions found would make the table too wide
        yield table


def negative_table(summary: "Summary") -> Table | None:
    """The images without a polyp; None where there is none."""
    if summary.negatives is None:
        return None
    table = _table(f"Over {plural(summary.negatives.num_images, 'image')} without a polyp")
    _add_columns(table, "mean", "95 %")
    for row in negative_rows(summary):
        table.add_row(*row)
    return table


def negative_tables(summary: "Summary") -> Iterator[Table | str]:
    """The images without a polyp, all together, and as `stratum_tables`; nothing where there is none."""
    together = negative_table(summary)
    if together is not None:
        yield together
    for way, rows in negative_stratum_rows(summary).items():
        if len(rows) > SHOWN_STRATA:
            yield f"Without a polyp, by {way}: {len(rows)} parts, in summary.json"
            continue
        table = _table(f"Without a polyp, by {way}")
        _add_columns(table, *NEGATIVE_STRATUM)
        for row in rows:
            table.add_row(*row)
        yield table


def protocol_table(summary: "Summary", protocol: str) -> Table:
    """The figures that one line of papers reports, by its names."""
    stretched = summary.settings.min_max or protocol != "pranet"
    table = _Table(title=f"As {protocol} papers report it" + ("" if stretched else ", but maps not stretched"))
    figures = summary.protocols[protocol]
    for name in figures:
        table.add_column(name, justify="right", min_width=5)
    table.add_row(*(figure(value) for value in figures.values()))
    return table


def _short_label(metric: str) -> str:
    """The label without unit and explanation, for a narrow column.

    >>> _short_label("nsd_percent"), _short_label("recall"), _short_label("predicted_px")
    ('Surface Dice', 'Recall', 'predicted_px')
    """
    return re.split(r", [{%]| \(| per ", LABELS.get(metric, metric))[0]


def comparison_table(results: Sequence["PairedResult"]) -> Table:
    """Two evaluations, metric by metric."""
    first, second, images = results[0].first, results[0].second, results[0].images
    what = "with a polyp" if images == "polyp" else "without a polyp"
    table = _table(f"A = {first}, B = {second}; images {what} (+ A is better, - worse, = the same)")
    table.padding = (0, 0)
    _add_columns(table, "A", "B", "A - B", "95 %", "Wilcoxon", "permuted", "+/-/=")
    for result in results:
        difference = result.comparison.difference
        table.add_row(
            _short_label(result.metric),
            figure(result.first_mean),
            figure(result.second_mean),
            signed(difference.value),
            "–" if difference.low != difference.low else f"{signed(difference.low)} to {signed(difference.high)}",
            p_value(result.wilcoxon_p),
            p_value(result.permutation_p),
            f"{result.comparison.wins}/{result.comparison.losses}/{result.comparison.ties}",
        )
    return table


def gate_table(record: "GatesRecord", name: str = "") -> Table:
    """A row a gate of a run, the finest first; with the name of the run where there are several."""
    frames = plural(record.num_frames, f"{record.measured_on} frame".strip())
    table = _table(f"Attention gates{' of ' if name else ''}{name}, over {frames}")
    _add_columns(table, *GATE_COLUMNS)
    for row in gate_rows(record):
        table.add_row(*row)
    return table


def signed(value: float) -> str:
    """A difference.

    >>> signed(0.01234), signed(-50.0), signed(-0.00012), signed(0.0), signed(float("nan"))
    ('+0.012', '-50.0', '-1e-04', '0', '–')
    """
    if value != value:
        return "–"
    if abs(value) < 0.0005:  # a small difference is not none
        return f"{value:+.0e}" if value else "0"
    return f"{value:+.1f}" if abs(value) >= 10 else f"{value:+.3f}"


def p_value(value: float) -> str:
    """A p-value.

    >>> p_value(0.0312), p_value(0.00001), p_value(float("nan"))
    ('0.031', '< 0.001', '–')
    """
    if value != value:
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _table(title: str) -> Table:
    table = _Table(title=title)
    table.add_column("", no_wrap=True)
    return table


def _add_columns(table: Table, *headings: str) -> None:
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
