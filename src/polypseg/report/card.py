"""A model card, filled from the record: what the model is, what it learned from, how it was judged, what is unknown.

Decisions:
- The sections are those of the paper. What the package knows of itself (research and education, no medical device)
  stands in every card; what only people know is marked as unknown.

Reference:
    Mitchell, Wu, Zaldivar et al., "Model Cards for Model Reporting", FAT* 2019.
"""

from polypseg import __version__
from polypseg.errors import plural
from polypseg.report import facts, tables
from polypseg.report.documents import UNKNOWN, render_markdown
from polypseg.report.report_input import ReportInput, split_counts

CARD_METRICS = (
    "dice",
    "iou",
    "precision",
    "recall",
    "f2",
    "nsd_percent",
    "hd95_percent",
    "lesion_sensitivity",
    "num_false",
    "ece",
)
"""What a card tells; the others are in the page."""

MAP_PICTURE = "explanation.png"
"""The figure that the card shows; it lies beside the card."""


def model_card(record: ReportInput) -> str:
    """The card as Markdown."""
    rows, _ = tables.metric_rows(record.summary)
    run = record.run
    values = {
        "version": __version__,
        "plural": plural,
        "record": record,
        "summary": record.summary,
        "run": run,
        "confidence": f"{100 * record.summary.intervals.confidence:g}",
        "model_facts": facts.model_facts(record),
        "training_facts": facts.training_facts(record),
        "licence": (record.model_says and record.model_says.licence) or UNKNOWN,
        "training_terms_of_use": record.training_terms_of_use,
        "gates": {name: (gates, tables.gate_rows(gates)) for name, gates in run.gates.items()} if run else {},
        "gate_columns": tables.GATE_COLUMNS,
        "promise_rows": tables.promise_rows(record.held),
        "promise_columns": tables.PROMISE_COLUMNS,
        "explanation": record.explanation,
        "map_rows": tables.map_rows(record.explanation) if record.explanation else [],
        "map_columns": tables.MAP_COLUMNS,
        "map_picture": MAP_PICTURE,
        "splits": split_counts(run.split) if run and run.split else {},
        "data_facts": facts.data_facts(record),
        "metric_rows": [row for row in rows if row.name in CARD_METRICS],
        "strata": {way: tables.stratum_rows(strata) for way, strata in record.summary.strata.items()},
        "most_strata": 12,
        "negative_rows": tables.negative_rows(record.summary),
        "negative_strata": tables.negative_stratum_rows(record.summary),
        "negative_head": tables.NEGATIVE_STRATUM,
        "threshold": facts.threshold_words(record),
        "warnings": [f"{text[:1].upper()}{text[1:]}." for text in facts.warnings(record)],
        "scored": facts.scored_words(record),
    }
    return render_markdown("model_card.md.j2", **values)
