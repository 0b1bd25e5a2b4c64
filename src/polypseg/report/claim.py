"""A draft of the CLAIM checklist: what the record tells stands in it, and the rest is marked for the authors.

Decisions:
- An answer is RECORDED where the record answers the whole item, PART where the authors must add to it, UNKNOWN where it
  says nothing. Nothing is guessed: what a person decided (aims, ethics, who drew the masks) is never filled in.
- An answer is a draft of a sentence for a paper, not the page number that the form asks for.
"""

from collections.abc import Callable
from typing import NamedTuple

from polypseg import __version__
from polypseg.errors import plural
from polypseg.report import facts, tables
from polypseg.report.claim_items import ITEMS, ChecklistItem
from polypseg.report.documents import UNKNOWN, render_markdown
from polypseg.report.figures import pick_cases
from polypseg.report.report_input import ReportInput, split_counts
from polypseg.report.tables import figure, interval

RECORDED, PART = "recorded", "in part"

RANDOM_STARTS = ("attention_unet", "unet")
"""Networks that begin with random weights and have no pre-trained ones."""


class ItemAnswer(NamedTuple):
    """What the record says to an item: RECORDED, PART or UNKNOWN, and the words."""

    status: str
    text: str


def claim_checklist(record: ReportInput) -> str:
    """The checklist as Markdown."""
    answers = [(item, answer(item, record)) for item in ITEMS]
    sections: dict[str, list[tuple[ChecklistItem, ItemAnswer]]] = {}
    for item, given in answers:
        sections.setdefault(item.section, []).append((item, given))
    counts = {status: sum(given.status == status for _, given in answers) for status in (RECORDED, PART, UNKNOWN)}
    return render_markdown("claim.md.j2", record=record, sections=sections, counts=counts, version=__version__)


def answer(item: ChecklistItem, record: ReportInput) -> ItemAnswer:
    """What the record says to an item."""
    asked = _ANSWERS.get(item.number)
    return (asked(record) if asked else None) or ItemAnswer(UNKNOWN, "")


def _title(record: ReportInput) -> ItemAnswer | None:
    network = facts.network_words(record)
    return None if network == UNKNOWN else ItemAnswer(PART, f"Deep learning, a convolutional network ({network}).")


def _abstract(record: ReportInput) -> ItemAnswer:
    summary = record.summary
    text = f"{plural(summary.num_images, 'image')} scored; "
    if summary.num_polyp_images:
        dice, iou = facts.headline(record, "dice"), facts.headline(record, "iou")
        return ItemAnswer(PART, f"{text}mean Dice {dice}, mean IoU {iou}.")
    return ItemAnswer(PART, f"{text}none of them with a polyp.")


def _retrospective(record: ReportInput) -> ItemAnswer | None:
    if not record.terms_of_use.is_public:
        return None
    return ItemAnswer(RECORDED, f"Retrospective: images of a published data set, {record.terms_of_use.title}.")


def _sources(record: ReportInput) -> ItemAnswer:
    terms, training = record.terms_of_use, record.training_terms_of_use
    scored = f"Scored: {terms.title or 'data without a known name'} ({terms.citation or 'no citation known'})"
    if training is None:
        trained = (record.model_says and record.model_says.training_data) or UNKNOWN
        return ItemAnswer(PART, f"{scored}. Training data: {trained}.")
    learned = f"Trained on: {training.title or 'unnamed data'} ({training.citation or 'no citation known'})"
    return ItemAnswer(PART, f"{learned}. {scored}; SHA-256 of the scored files {record.source.data_digest}.")


def _criteria(record: ReportInput) -> ItemAnswer:
    skipped = record.run.environment.skipped if record.run and record.run.environment else ()
    trained = f"; in training: {plural(len(skipped), 'file')}" if record.run else ""
    return ItemAnswer(
        PART, f"Files that could not be used were left out: in the evaluation {facts.left_out_words(record)}{trained}."
    )


def _preprocessing(record: ReportInput) -> ItemAnswer | None:
    size = record.source.size
    if size is None:
        return None
    return ItemAnswer(
        RECORDED,
        f"Turned by their EXIF orientation, RGB, squeezed to {size} x {size} px (by area where they shrink), scaled "
        "to 0 … 1. The map is brought back to the image's own size (bilinear). Threshold: "
        f"{facts.threshold_words(record)}.",
    )


def _subsets(record: ReportInput) -> ItemAnswer:
    return ItemAnswer(
        PART, f"Whole images; scored: {record.source.split} split, {plural(len(record.scores), 'image')}."
    )


def _missing(record: ReportInput) -> ItemAnswer:
    figures = record.summary.metrics.get("hd95_px")
    undefined = figures.num_missing if figures and record.summary.num_polyp_images else 0
    return ItemAnswer(
        RECORDED,
        f"Left out: {facts.left_out_words(record)}. A score that does not exist is left out of its mean and counted "
        f"(Hausdorff distance: {plural(undefined, 'image')}). Images without a polyp are reported apart.",
    )


def _reference(record: ReportInput) -> ItemAnswer:
    cited = f" Data set: {record.terms_of_use.citation}." if record.terms_of_use.citation else ""
    return ItemAnswer(
        PART, f"Masks of the polyp's pixels, two-valued (above 127 of 255), at the image's own size.{cited}"
    )


def _partitions(record: ReportInput) -> ItemAnswer | None:
    if record.model_says is not None and record.model_says.protocol:
        return ItemAnswer(
            PART, f"{record.model_says.protocol} Split manifest, SHA-256 {record.model_says.split_digest}."
        )
    if record.run is None or record.run.split is None:
        return None
    split = record.run.split
    counts = ", ".join(f"{name} {images}" for name, (images, _) in split_counts(split).items())
    return ItemAnswer(
        RECORDED, f"{split.source}, seed {split.seed}: {counts} images (splits.json, SHA-256 {split.digest()})."
    )


def _disjoint(record: ReportInput) -> ItemAnswer | None:
    if record.model_says is not None and record.model_says.seen_images:
        return ItemAnswer(PART, f"Near-duplicates of training images: not checked, {record.source.leaks.unchecked}.")
    if record.run is None or record.run.split is None:
        return None
    shared, unchecked = record.run.shared_groups, record.source.leaks.unchecked
    leaks = f"near-duplicates of training images: {f'not checked ({unchecked})' if unchecked else len(record.leaks)}"
    if shared is None:
        return ItemAnswer(PART, f"Image; the data name no sequences or patients. Scored {leaks}.")
    level = (
        "no group (sequence or patient) is in two splits"
        if not shared
        else f"{plural(len(shared), 'group is', 'groups are')} in two splits"
    )
    return ItemAnswer(RECORDED, f"Group: {level}. Scored {leaks}.")


def _sample_size(record: ReportInput) -> ItemAnswer:
    summary = record.summary
    polyps = plural(summary.num_polyp_images, "image with a polyp", "images with a polyp")
    return ItemAnswer(PART, f"{polyps} and {summary.num_polyp_free_images} without one were scored.")


def _model(record: ReportInput) -> ItemAnswer | None:
    network = facts.network_words(record)
    own = record.run.environment if record.run else record.model_says
    if network == UNKNOWN:
        return None
    parameters = UNKNOWN if own is None or own.num_parameters is None else own.num_parameters
    return ItemAnswer(
        PART, f"{network}; {parameters} parameters; one probability a pixel. Code: polypseg {__version__}."
    )


def _software(record: ReportInput) -> ItemAnswer | None:
    words = facts.version_words(record.run.environment) if record.run else UNKNOWN
    scored = f"Scored with polypseg {record.source.polypseg}"
    return ItemAnswer(PART, f"{scored}.") if words == UNKNOWN else ItemAnswer(RECORDED, f"{words}. {scored}.")


def _initial(record: ReportInput) -> ItemAnswer | None:
    config = record.run.config if record.run else None
    if config is None or config.model.name not in RANDOM_STARTS:
        return None
    seed, encoder, weights = config.train.seed, config.model.encoder, config.model.encoder_weights
    if encoder is None:
        return ItemAnswer(RECORDED, f"Random (He normal), seed {seed}; no pre-trained weights.")
    if weights is None:
        return ItemAnswer(RECORDED, f"Random, seed {seed}; no pre-trained weights, the encoder ({encoder}) included.")
    return ItemAnswer(PART, f"Encoder {encoder}: pre-trained weights ({weights}); all else random, seed {seed}.")


def _training(record: ReportInput) -> ItemAnswer | None:
    if record.run is None or record.run.config is None:
        return None
    run = record.run
    machine = facts.machine_words(run.environment)
    return ItemAnswer(
        PART,
        f"{facts.training_words(run)}; augmentation: {facts.augmentation_words(run)}; epochs: "
        f"{facts.epoch_words(run)}; machine: {machine}. Settings: config.toml.",
    )


def _final_model(record: ReportInput) -> ItemAnswer | None:
    words = facts.checkpoint_words(record)
    if words == UNKNOWN:
        return None
    scored = f"; times the test split was scored: {record.run.times_test_was_scored}" if record.run else ""
    return ItemAnswer(RECORDED, f"Checkpoint: {words}; threshold: {facts.threshold_words(record)}{scored}.")


def _ensemble(record: ReportInput) -> ItemAnswer | None:
    words = facts.passes_words(record)
    return None if words == UNKNOWN else ItemAnswer(RECORDED, f"{words[0].upper()}{words[1:]}.")


def _metrics(record: ReportInput) -> ItemAnswer:
    rows, _ = tables.metric_rows(record.summary)
    labels = [row.label for row in rows] + [row[0] for row in tables.negative_rows(record.summary)]
    return ItemAnswer(PART, f"{'; '.join(labels)}. Definitions: polypseg's documentation of metrics.")


def _uncertainty(record: ReportInput) -> ItemAnswer:
    drawn = record.summary.intervals
    return ItemAnswer(
        RECORDED,
        f"{100 * drawn.confidence:g} % percentile intervals of {drawn.num_resamples} bootstrap samples over "
        f"{drawn.over}, seed {drawn.seed}. No other model is compared here.",
    )


def _robustness(record: ReportInput) -> ItemAnswer | None:
    ways = [way for way, strata in record.summary.strata.items() if strata]
    if not ways:
        return None
    curve = "; all scores over the threshold" if record.has_probabilities else ""
    return ItemAnswer(PART, f"Strata by {', '.join(ways)}{curve}.")


def _is_test(record: ReportInput) -> bool:
    return record.source.split == "test"


def _internal(record: ReportInput) -> ItemAnswer | None:
    if _is_test(record):
        return ItemAnswer(RECORDED, f"Test split of the same data: mean Dice {facts.headline(record, 'dice')}.")
    return _other(record, is_internal=True)


def _external(record: ReportInput) -> ItemAnswer | None:
    if record.source.split == "external" and (record.run is not None or record.model_says is not None):
        if not record.summary.num_polyp_images:
            return ItemAnswer(PART, f"{record.data_name}: images without a polyp alone; see item 38.")
        return ItemAnswer(PART, f"{record.data_name}: mean Dice {facts.headline(record, 'dice')}.")
    return _other(record, is_internal=False)


def _other(record: ReportInput, is_internal: bool) -> ItemAnswer | None:
    """What the run's other evaluations, or the model's file, tell: of the own test split, or of other data."""
    if stated := facts.stated_words(record, is_internal):
        return ItemAnswer(PART, f"As the model's file states: {stated}.")
    others = record.run.others if record.run else {}
    found = [
        f"{name}: mean Dice {figure(summary.of('dice').mean)} ({interval(summary.of('dice'))}, "
        f"{plural(summary.num_polyp_images, 'image')})"
        for name, summary in others.items()
        if summary.num_polyp_images and summary.provenance.split == ("test" if is_internal else "external")
    ]
    return ItemAnswer(RECORDED if is_internal else PART, f"{'; '.join(found)}.") if found else None


def _included(record: ReportInput) -> ItemAnswer:
    groups = record.scores.groups()
    counted = f", of {plural(len(set(groups)), 'group')} (sequences or patients)" if groups else ""
    return ItemAnswer(
        PART, f"{plural(len(record.scores), 'image')}{counted}; left out: {facts.left_out_words(record)}."
    )


def _characteristics(record: ReportInput) -> ItemAnswer | None:
    sizes = record.summary.strata.get("polyp area", {})
    if not sizes:
        return None
    counts = ", ".join(f"{name}: {figures.num_images}" for name, figures in sizes.items())
    return ItemAnswer(PART, f"Polyp area of the scored images: {counts}.")


def _performance(record: ReportInput) -> ItemAnswer | None:
    if not record.summary.num_polyp_images:
        return None
    rows, _ = tables.metric_rows(record.summary)
    words = [
        f"{row.label} {row.mean} ({row.interval})" for row in rows if row.name in ("dice", "iou", "precision", "recall")
    ]
    return ItemAnswer(PART, f"{'; '.join(words)}: {record.source.split} split. All others: report.html, summary.json.")


def _diagnostic(record: ReportInput) -> ItemAnswer | None:
    words = [f"{label}: {value} ({spread})" for label, value, spread in tables.negative_rows(record.summary)]
    if record.summary.num_polyp_images:
        lesions = record.summary.of("lesion_sensitivity")
        words.insert(0, f"lesions found, mean over images: {figure(lesions.mean)} ({interval(lesions)})")
    return ItemAnswer(PART, f"{'; '.join(words)}.") if words else None


def _failures(record: ReportInput) -> ItemAnswer | None:
    polyps = record.polyps
    places = pick_cases(polyps.dice, 4)["worst"] if len(polyps) else []
    if not places:
        return None
    worst = [f"{polyps.names[place]} ({figure(float(polyps.dice[place]))})" for place in places]
    return ItemAnswer(PART, f"The lowest Dice: {', '.join(worst)}; pictures and strata: report.html.")


def _limitations(record: ReportInput) -> ItemAnswer:
    known = [f"{text[:1].upper()}{text[1:]}." for text in facts.warnings(record)]
    return ItemAnswer(PART, " ".join(known)) if known else ItemAnswer(UNKNOWN, "")


def _implications(record: ReportInput) -> ItemAnswer:
    return ItemAnswer(PART, "Not a medical device: for research and education.")


def _protocol(record: ReportInput) -> ItemAnswer:
    own = "; of the training: config.toml, splits.json, environment.json, history.csv" if record.run else ""
    return ItemAnswer(PART, f"Of the evaluation: evaluation.json, summary.json, scores.csv{own}.")


def _availability(record: ReportInput) -> ItemAnswer:
    model = record.source.model_digest
    weights = f" Model file: SHA-256 {model}." if model else ""
    return ItemAnswer(
        PART,
        f"Software: polypseg {__version__}, Apache-2.0.{weights} Terms of the scored data: {record.terms_of_use.text}",
    )


_ANSWERS: dict[int, Callable[[ReportInput], ItemAnswer | None]] = {
    1: _title,
    2: _abstract,
    5: _retrospective,
    7: _sources,
    8: _criteria,
    9: _preprocessing,
    10: _subsets,
    12: _missing,
    14: _reference,
    19: _partitions,
    20: _disjoint,
    21: _sample_size,
    22: _model,
    23: _software,
    24: _initial,
    25: _training,
    26: _final_model,
    27: _ensemble,
    28: _metrics,
    29: _uncertainty,
    30: _robustness,
    32: _internal,
    33: _external,
    35: _included,
    36: _characteristics,
    37: _performance,
    38: _diagnostic,
    39: _failures,
    40: _limitations,
    41: _implications,
    42: _protocol,
    43: _availability,
}
"""How each item is answered; the others only the authors can tell."""
