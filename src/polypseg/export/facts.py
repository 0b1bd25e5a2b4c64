"""What the file will say of itself: everything that the run's record tells.

Figures are taken from the run's evaluations, and only those of this very checkpoint at this very threshold.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from polypseg import __version__
from polypseg.data.protocols import protocol_of
from polypseg.data.terms_of_use import terms_of_split, terms_of_use
from polypseg.errors import ModelError, ScoreError
from polypseg.export.graph import OPSET
from polypseg.export.source import ExportSource
from polypseg.machine import installed_versions
from polypseg.records.digests import file_digests
from polypseg.records.evaluation import RUN_FOLDER, Evaluation
from polypseg.records.model_facts import STATED_SCORES, ModelFacts, Network, StatedFigures, StatedScore
from polypseg.records.split import SPLIT_NAMES
from polypseg.records.summary import MeanFigures, Summary
from polypseg.records.threshold import DEFAULT, NAME, load_threshold

TOOLS = ("keras", "tensorflow-cpu", "tensorflow", "tf2onnx", "onnx", "onnxruntime", "openvino", "nncf")
LICENCE = "not stated; the terms of the training data apply"


def facts_of(source: ExportSource, name: str = "", model_version: str = "", licence: str = "") -> ModelFacts:
    """The facts of a source, before its graph is proved.

    Args:
        source: The model and its run.
        name: Of the model; empty for the run's or the file's name.
        model_version: Of the model.
        licence: Of the weights; empty for "not stated".

    Raises:
        ModelError: The run's threshold was chosen for another checkpoint.
    """
    digest = file_digests([source.path])[source.path]
    own = source.engine.facts
    made_by = {"polypseg": __version__, **installed_versions(TOOLS)}
    return ModelFacts(
        size=own.size,
        field=own.field,
        threshold=own.threshold,
        peak_threshold=own.peak_threshold,
        recalibration=own.recalibration,
        threshold_source=_threshold_source(source, digest),
        name=name or (source.run.folder.resolve().name if source.run else source.path.stem),
        version=model_version,
        num_parameters=own.num_parameters,
        network=Network.model_validate(source.run.config().model.model_dump()) if source.run else None,
        opset=OPSET,
        licence=licence or LICENCE,
        source_digest=digest,
        exported_by=", ".join(f"{name} {number}" for name, number in made_by.items()),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        **_training_facts(source)._asdict(),
        figures=_figures(source, digest, own),
    )


class _Training(NamedTuple):
    """What `ModelFacts` says of the training, by the same names."""

    terms: str
    training_data: str = "unknown"
    checkpoint_chosen_by: str = "unknown"
    protocol: str = ""
    split_digest: str = ""
    seen_images: str = ""


def _training_facts(source: ExportSource) -> _Training:
    if source.run is None or source.manifest is None:
        return _Training(terms_of_use("", []).text)
    environment, manifest = source.run.environment(), source.manifest
    folder = environment.data
    terms = terms_of_split(manifest, source.run.config().sources, folder)
    counts = ", ".join(f"{len(manifest.names(split))} {split}" for split in SPLIT_NAMES)
    cited = f" ({terms.citation})" if terms.citation else ""
    return _Training(
        terms.text + cited,
        f"{terms.title or Path(folder).name}: {counts}; split: {manifest.source}",
        environment.checkpoint_chosen_by,
        protocol_of(manifest),
        manifest.digest(),
        source.run.seen().pack(),
    )


def _threshold_source(source: ExportSource, digest: str) -> str:
    stored = load_threshold(source.run.folder) if source.run else DEFAULT
    if source.run and not stored.is_for(digest):
        raise ModelError(
            f"{source.run.folder / NAME}: was chosen for an earlier checkpoint; choose it again: polypseg evaluate "
            f"{source.run.folder} --tune-threshold"
        )
    return stored.words


def _figures(source: ExportSource, digest: str, own: ModelFacts) -> dict[str, StatedFigures]:
    """Scores with intervals by the name of the evaluation."""
    threshold = own.shown(own.threshold)
    found = {}
    folder = source.run.folder / RUN_FOLDER if source.run else None
    for path in sorted(folder.glob("*/summary.json")) if folder else []:
        try:
            summary = Evaluation(path.parent).summary()
        except ScoreError:
            continue  # a damaged evaluation has no figures to carry
        facts = summary.provenance
        if facts.model_digest == digest and abs(facts.threshold - threshold) < 1e-9:
            found[path.parent.name] = figures_of(summary)
    return found


def figures_of(summary: Summary) -> StatedFigures:
    """What a model file carries of an evaluation's summary."""
    negatives, facts = summary.negatives, summary.provenance
    measured: dict[str, MeanFigures | None] = {name: summary.metrics.get(name) for name in STATED_SCORES[:4]}
    measured |= {name: negatives.figure(name) if negatives else None for name in STATED_SCORES[4:]}
    scores = {name: _stated(mean) for name, mean in measured.items() if mean is not None and mean.mean is not None}
    return StatedFigures(
        data=Path(facts.data or "").name,
        split=facts.split,
        num_images=summary.num_images,
        num_polyp_images=summary.num_polyp_images,
        threshold=facts.threshold,
        confidence=summary.intervals.confidence,
        **scores,
    )


def _stated(mean: MeanFigures) -> StatedScore:
    return StatedScore(mean=_rounded(mean.mean), low=_rounded(mean.low), high=_rounded(mean.high))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)  # shown with three digits; four would round twice
