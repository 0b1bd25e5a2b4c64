"""What a report says besides figures: what was judged, on what, how, and what a reader must know.

A fact is (label, value), both text; a value that the record does not tell is UNKNOWN.
"""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from polypseg.config import LossConfig, TrainConfig
from polypseg.data.protocols import protocol_of
from polypseg.errors import plural
from polypseg.records.environment import Environment
from polypseg.records.evaluation_record import SavedSettings
from polypseg.records.threshold import DEFAULT, NAME
from polypseg.report.documents import UNKNOWN
from polypseg.report.report_input import ReportInput, RunFacts
from polypseg.report.tables import figure, interval

Fact = tuple[str, str]


def model_facts(record: ReportInput) -> list[Fact]:
    """What was judged, what chose its checkpoint and its threshold."""
    source, run = record.source, record.run
    if source.kind == "predictions":
        return [
            ("predictions", short_path(source.subject)),
            ("model that made them", UNKNOWN),
            ("what chose its checkpoint", UNKNOWN),
            ("threshold", threshold_words(record)),
        ]
    says = record.model_says
    own = says if run is None else run.environment
    known = own.num_parameters if own is not None else None
    named = f"{says.name} {says.version}".strip() if says else ""
    path = short_path(source.subject)
    return [
        ("run" if source.run is not None else "model", f"{named} ({Path(path).name})" if named else path),
        ("network", network_words(record)),
        ("parameters", f"{known:,}" if known is not None else UNKNOWN),
        *([("precision", says.precision)] if says else []),
        ("input", f"RGB, squeezed to {source.size} x {source.size} px, scaled to 0 … 1"),
        ("maps averaged", passes_words(record)),
        ("what chose the checkpoint", checkpoint_words(record)),
        ("threshold", threshold_words(record)),
        ("model file, SHA-256", str(source.model_digest)),
    ]


def short_path(path: Any) -> str:
    """A path as a report shows it: a relative one as it is, of an absolute one the last two parts.

    >>> short_path("runs/kvasir"), short_path("/home/me/data/kvasir-seg"), short_path("unknown")
    ('runs/kvasir', 'data/kvasir-seg', 'unknown')
    """
    given = Path(str(path))
    return str(Path(*given.parts[1:][-2:])) if given.is_absolute() else str(path)


def training_facts(record: ReportInput) -> list[Fact]:
    """How the model was trained: from its run, or what its file says; empty where neither is known."""
    if record.run is not None:
        return _run_facts(record.run)
    says = record.model_says
    if says is None:
        return []
    facts = [
        ("protocol", says.protocol),
        ("data", says.training_data),
        ("split, SHA-256", says.split_digest),
        ("terms of the data", says.terms),
        ("exported by", says.exported_by),
        ("exported on", says.created),
        ("proved equal to its source on", says.proved_on),
    ]
    return [(label, value) for label, value in facts if value]


def _run_facts(run: RunFacts) -> list[Fact]:
    environment = run.environment
    facts = [("data", short_path(environment.data if environment else UNKNOWN))]
    facts += (
        [("protocol", protocol_of(run.split)), ("split", run.split.source), ("split, SHA-256", run.split.digest())]
        if run.split
        else [("split", UNKNOWN)]
    )
    facts += [("training", training_words(run)), ("augmentation", augmentation_words(run))]
    facts.append(("epochs", epoch_words(run)))
    facts.append(("command", (environment and environment.command) or UNKNOWN))
    starts = [start.time for start in environment.starts] if environment else []
    facts.append(("started", ", resumed ".join(starts) or UNKNOWN))
    facts.append(("machine", machine_words(environment)))
    facts.append(("versions", version_words(environment)))
    return facts


def data_facts(record: ReportInput) -> list[Fact]:
    """Which images were scored, and what their owners allow."""
    summary, source, terms = record.summary, record.source, record.terms_of_use
    counted = plural(summary.num_polyp_images, "image with a polyp", "images with a polyp")
    facts = [
        ("data", data_words(record)),
        ("split", source.split),
        ("images", f"{counted}, {summary.num_polyp_free_images} without one"),
        ("left out", left_out_words(record)),
        ("resized to the reference", f"{source.num_resized} of {len(record.scores)} predictions"),
        ("data, SHA-256", source.data_digest),
        ("terms of the data", terms.text),
        ("to be cited", terms.citation or UNKNOWN),
    ]
    if source.split_source is not None:
        facts.insert(2, ("split made by", source.split_source))
    return facts


def data_words(record: ReportInput) -> str:
    """The data set that was scored, as far as polypseg knows it, and its folder."""
    title, folder = record.terms_of_use.title, short_path(record.data) if record.data else ""
    if not folder:
        return title or UNKNOWN
    return f"{title} in {folder}" if title else f"{folder} (none of the data sets that polypseg knows)"


def stated_words(record: ReportInput, is_internal: bool) -> str:
    """What the scored model's own file says of its figures on its test split, or on other data; may be empty."""
    figures = record.model_says.figures.values() if record.model_says else ()
    return "; ".join(
        f"{stated.data}: mean Dice {figure(stated.dice.mean)} ({interval(stated.dice)}, "
        f"{plural(stated.num_polyp_images, 'image')})"
        for stated in figures
        if stated.dice and stated.num_polyp_images and stated.split == ("test" if is_internal else "external")
    )


def evaluation_facts(record: ReportInput) -> list[Fact]:
    """How it was scored."""
    source, intervals, settings = record.source, record.summary.intervals, record.summary.settings
    drawn = f"{100 * intervals.confidence:g} %, percentiles of {intervals.num_resamples} bootstrap samples"
    return [
        ("command", source.command or UNKNOWN),
        ("started", source.started or UNKNOWN),
        ("polypseg", source.polypseg),
        ("intervals", f"{drawn} over {intervals.over}, seed {intervals.seed}"),
        ("scored at", "the reference's own size; predictions of another size are resized, bilinear"),
        ("findings", f"8-connected, of {settings.min_area_px} px or more; one meets a lesion {_meeting(settings)}"),
        ("stretched to 0 … 1 for PraNet's protocol", "yes" if settings.min_max else "no"),
        ("times the test split was scored", scored_words(record)),
    ]


def warnings(record: ReportInput) -> Iterator[str]:
    """What a reader of the figures must know besides them."""
    yield from record.source.notes
    yield from record.unreadable
    run, summary = record.run, record.summary
    if run is not None and run.is_unchanged is False:
        yield "the run's checkpoint has changed since this evaluation; score it again with polypseg evaluate"
    if run is not None and run.times_test_was_scored > 1:
        yield (
            f"the test split of this run was scored {run.times_test_was_scored} times; the more often, the more it has "
            "become a validation split"
        )
    if run is not None and run.shared_groups:
        yield f"{plural(len(run.shared_groups), 'group')} (sequences or patients) are in more than one split"
    for name, gates in (run.gates if run is not None else {}).items():
        yield from (f"{name}: {text}" if name else text for text in gates.warnings())
    if "--threshold" in record.source.threshold_source:
        yield "the threshold was given by hand; nothing tells on which images it was chosen"
    if record.source.checkpoint_chosen_by == UNKNOWN:
        yield "it is not known on which images the checkpoint was chosen; if on these, the figures flatter it"
    if summary.num_polyp_images and summary.of("dice").low is None:
        yield "all images with a polyp are one image or one group: no interval can be told"
    if summary.negatives is None:
        yield "no image without a polyp was scored: how often the model raises a false alarm is unknown"


def threshold_words(record: ReportInput) -> str:
    """The threshold and where it comes from."""
    peak = record.source.peak_threshold
    surer = f" (components with a pixel of at least {peak:.4g})" if peak > record.source.threshold else ""
    words = f"{record.source.threshold:.4g}{surer}, {record.source.threshold_source}"
    chosen = record.run.threshold if record.run else DEFAULT
    if chosen.threshold == record.source.threshold and NAME in words:
        num_ways = len(chosen.perturbations)
        frames = "images" if num_ways < 2 else f"frames, each image in {num_ways} perturbations"
        words += f": {chosen.chosen_by or UNKNOWN}, {chosen.num_frames or UNKNOWN} {frames}"
    return words


def passes_words(record: ReportInput) -> str:
    """Whether a map is the mean of several: of an ensemble's models, of mirror images."""
    if record.source.kind == "predictions":
        return UNKNOWN
    models = "several models (an ensemble)" if record.source.engine == "ensemble" else "one model"
    tta = record.source.tta
    if tta == "doubt":
        return (
            f"{models}, one pass; frames in doubt are compared with their mirror images (test-time augmentation {tta})"
        )
    if tta != "none":
        return f"{models}, mirror images of each frame averaged (test-time augmentation {tta})"
    return "none: one model, one pass" if models == "one model" else f"{models}, one pass each"


def checkpoint_words(record: ReportInput) -> str:
    """What chose the checkpoint, and its epoch; a mean of several runs' weights is of none."""
    words = record.source.checkpoint_chosen_by
    run = record.run
    one_epoch = run is not None and run.is_unchanged is not False and " val_" in words
    best = run.best_epoch if run is not None and one_epoch else None
    return words if run is None or best is None else f"{words} (epoch {best['epoch']:g}: {best[run.monitor]:.4f})"


def network_words(record: ReportInput) -> str:
    """The network and what shapes it (what it does without is left out), or what an exported file says of it."""
    says, run = record.model_says, record.run
    if says is not None:
        work = f"{says.multiply_adds / 1e9:.2f} billion multiply-adds an image" if says.multiply_adds else ""
        gates = f"attention gates at {plural(len(says.attention_levels), 'level')}" if says.attention_levels else ""
        return ", ".join(filter(None, (gates, work))) or UNKNOWN
    if run is None or run.config is None:
        return UNKNOWN
    model = run.config.model.model_dump()
    shape = [_setting(key.replace("_", " "), value) for key, value in model.items() if key != "name" and value]
    return f"{model['name']}: {', '.join(shape)}"


def _setting(name: str, value: Any) -> str:
    """A setting in words.

    >>> _setting("deep supervision", True), _setting("decoder filters", (8, 16)), _setting("depth", 4)
    ('deep supervision', 'decoder filters 8 16', 'depth 4')
    """
    if value is True:
        return name
    return f"{name} {' '.join(map(str, value)) if isinstance(value, tuple) else value}"


def training_words(run: RunFacts) -> str:
    """Loss, optimiser and schedule."""
    if run.config is None:
        return UNKNOWN
    train, data = run.config.train, run.config.data
    start, teacher = (path and Path(path).name for path in (train.start_from, train.teacher))  # no path of a machine
    better = {"val_loss": "a lower validation loss", "val_dice": "a higher validation Dice"}[train.monitor]
    extras = [
        f"from the weights of {start}" if start else "",
        f"taught by {teacher}, which has {100 * train.teacher_weight:g} % of the say" if teacher else "",
        f"gradients of a norm of at most {train.clip_norm:g}" if train.clip_norm else "",
        f"moving average of the weights, momentum {train.ema_momentum:g}" if train.ema_momentum else "",
        "mixed precision" if train.mixed_precision else "",
    ]
    return "; ".join(
        [
            _loss_words(run.config.loss),
            f"{_optimizer_words(train)}, {_schedule_words(train)}",
            *filter(None, extras),
            f"stops after {train.early_stopping_patience} epochs without {better}",
            f"batches of {data.batch_size}",
            f"seed {train.seed}",
        ]
    )


def augmentation_words(run: RunFacts) -> str:
    """The preset, and what else is done to a share of the training images."""
    if run.config is None:
        return UNKNOWN
    data = run.config.data
    shares = (
        (data.polyp_removal, "shown without their polyp"),
        (data.copy_paste, "given another image's polyp"),
        (data.jpeg, "compressed again"),
        (data.colour_transfer, "in another image's colours"),
        (data.elastic, "bent"),
        (data.close_ups, "shown as a close-up"),
    )
    return ", ".join([data.augment, *(f"{100 * share:g} % {what}" for share, what in shares if share)])


def _loss_words(loss: LossConfig) -> str:
    if loss.name != "bce_dice":
        return f"the loss {loss.name} of polypseg 0.1"
    return f"binary cross-entropy + {loss.dice_weight:g} x (1 - Dice)"


def _optimizer_words(train: TrainConfig) -> str:
    if train.optimizer == "adam":
        return "Adam"
    slower = f", the encoder at {train.encoder_rate:g} of the rate" if train.encoder_rate != 1 else ""
    return f"AdamW, weight decay {train.weight_decay:g}{slower}"


def _schedule_words(train: TrainConfig) -> str:
    course = {
        "plateau": f"x {train.plateau_factor:g} after {train.plateau_patience} epochs without a lower validation loss",
        "cosine": "down to 0 by half a cosine",
        "one_cycle": f"up to it in the first {100 * train.warmup:g} % of the steps, then down to 0 by half a cosine",
    }
    return f"learning rate {train.learning_rate:g}, {course[train.schedule]}"


def epoch_words(run: RunFacts) -> str:
    """How many epochs were trained, of how many at most, and how long; of a group each member's number."""
    histories = run.member_histories or {"": run.history}
    if not any(histories.values()):
        return UNKNOWN
    most = f" of at most {run.config.train.epochs}" if run.config else ""
    took = timedelta(seconds=round(sum(row.get("seconds", 0.0) for rows in histories.values() for row in rows)))
    counts = ", ".join(f"{name} {len(rows)}".strip() for name, rows in histories.items())
    return f"{counts}{most}, {took} (h:mm:ss)"


def machine_words(environment: Environment | None) -> str:
    """Processor, cores, platform."""
    if environment is None:
        return UNKNOWN
    known = [words for words in (environment.processor, environment.platform) if words]
    if environment.cores is not None:
        known.insert(min(1, len(known)), f"{environment.cores} cores")
    return ", ".join(known) or UNKNOWN


def version_words(environment: Environment | None) -> str:
    """Python, packages and backend of the training."""
    if environment is None:
        return UNKNOWN
    packages = [f"{name} {version}" for name, version in environment.packages.items()]
    python = [f"Python {environment.python}"] if environment.python else []
    backend = [f"backend {environment.backend}"] if environment.backend else []
    return ", ".join(python + packages + backend) or UNKNOWN


def left_out_words(record: ReportInput) -> str:
    """How many files or images were left out."""
    left_out = record.summary.left_out
    return plural(len(left_out), "file or image", "files or images") if left_out else "none"


def scored_words(record: ReportInput) -> str:
    """How often the run's test split was scored."""
    if record.run is not None:
        return str(record.run.times_test_was_scored)
    times = record.source.times_test_was_scored
    return UNKNOWN if times is None else f"{times}, up to this evaluation"


def headline(record: ReportInput, metric: str) -> str:
    """Mean of a metric with its interval, in words."""
    figures = record.summary.of(metric)
    if figures.mean is None:
        return UNKNOWN
    if figures.low is None:
        return figure(figures.mean)
    confidence = 100 * record.summary.intervals.confidence
    return f"{figure(figures.mean)} ({confidence:g} % interval {figure(figures.low)} to {figure(figures.high)})"


def _meeting(settings: SavedSettings) -> str:
    return f"from an IoU of {settings.min_iou:g} on" if settings.min_iou else "where they share a pixel"
