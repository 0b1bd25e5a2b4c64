"""What is scored and what is known of it: a run, a model with a folder of data, or maps that another program wrote.

Decisions:
- A run brings its own data and its test split. A folder that does not hold that split is other data: all of it is
  scored, as `external`.
- Predictions and references must pair completely. A missing prediction would raise the mean unseen.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from polypseg.config import LossConfig
from polypseg.data.annotated import DRAWN
from polypseg.data.catalogue import find_samples
from polypseg.data.masks import rule_of
from polypseg.data.samples import Fault, Sample, find_images, pair_samples, refuse
from polypseg.errors import PairingError, ScoreError, UsageError, listed, unknown_name
from polypseg.evaluate.foreign import judge_predictions, judge_references
from polypseg.evaluate.selection import (
    EXTERNAL,
    ImageToScore,
    Selection,
    add_digests,
    cases_of,
    choose_split,
    keep_named,
    label_splits,
)
from polypseg.predict.engines.engine import Engine
from polypseg.predict.engines.opening import open_engine
from polypseg.predict.mirroring import TTAS
from polypseg.preprocess import AUTOMATIC, FieldRule, MaskRule, unicode_name
from polypseg.progress import Track, silent
from polypseg.records.calibration import Bound
from polypseg.records.digests import file_digests, model_file_digest
from polypseg.records.evaluation_record import AppliedRecalibration, EvaluationSource
from polypseg.records.model_facts import DEFAULT_THRESHOLD, ModelFacts
from polypseg.records.reading import read_names
from polypseg.records.run import Run, open_run
from polypseg.records.split import Split, load_split
from polypseg.records.threshold import load_threshold
from polypseg.train.samples import run_samples


@dataclass(frozen=True)
class Plan:
    """Everything that scoring needs to know.

    Attributes:
        cases: The images, in order of their names.
        label: What the whole is called: test, validation, train, all, or external.
        threshold: A pixel is polyp where its probability is at least this.
        threshold_source: Where the threshold comes from, in words.
        source: What is judged, as it is saved: model or predictions, digests, data folder, split.
        engine: What predicts; None where the predictions are files.
        loss: The training's loss; None where there is no run.
        run: The run that is judged; None where there is none.
        manifest: The splits, to know what was trained on; None where unknown.
        skipped: What was left out before scoring.
        peak_threshold: A component counts only where one of its pixels reaches this; 0 counts all.
        tta: Test-time augmentation of the engine (`predict.mirroring.TTAS`); `with_tta` sets it.
        field: Instead of the model's own way: what of each image it sees; `with_field` sets it.
        notes: What a reader of the scores should know of the files, a sentence each.
        outer: How the outer mask of a calibration is made (`evaluate.promise`); None without one, as the next.
        inner: How the inner mask is made.
        is_recalibrated: Whether the engine's recalibration is applied; the thresholds are then for what comes of it.
    """

    cases: Sequence[ImageToScore]
    label: str
    threshold: float
    threshold_source: str
    source: EvaluationSource
    engine: Engine | None = None
    loss: LossConfig | None = None
    run: Run | None = None
    manifest: Split | None = None
    skipped: Sequence[Fault] = field(default_factory=tuple)
    peak_threshold: float = 0.0
    tta: str = "none"
    field: FieldRule | None = None
    notes: Sequence[str] = ()
    outer: Bound | None = None
    inner: Bound | None = None
    is_recalibrated: bool = False

    def data_digest(self) -> str:
        """SHA-256 over the names and file digests of images and references: one value, the same data."""
        lines = (f"{case.name} {case.digests[0]} {case.digests[1]}\n" for case in self.cases)
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def plan_run(folder: Path, data: Path | None = None, selection: Selection | None = None, track: Track = silent) -> Plan:
    """A run on a split of its own data, or on other data.

    Args:
        folder: The run folder.
        data: A folder of images and masks; None for the run's own.
        selection: Which of the images; None for the test split.
        track: Shows the progress of hashing.

    Raises:
        RunError: Not a run.
        ModelError: A run without a finished epoch.
        SplitError: The data no longer match the run's manifest.
        DataError: Files do not pair.
    """
    selection = selection or Selection()
    run = open_run(folder)
    engine = open_engine(folder)
    environment = run.environment()
    manifest = load_split(selection.manifest) if selection.manifest else run.split()
    is_own_data = data is None
    data = data or Path(environment.data)
    if is_own_data and selection.mask_rule is None:
        found = run_samples(run)
    else:
        found = find_samples(data, selection.negatives, selection.mask_rule or AUTOMATIC)
    own_rule = rule_of(run.config().data)
    label, cases, faults = _cases_in(data, *found, manifest, selection, track, own_rule)
    model = folder if run.members() else run.best_path
    source = EvaluationSource(
        kind="run",
        run=str(folder),
        model=str(model),
        model_digest=model_digest(model),
        size=engine.size,
        engine=engine.name,
        data=str(data.resolve()),
        split=label,
        checkpoint_chosen_by=environment.checkpoint_chosen_by,
        split_source=manifest.source,
        split_digest=manifest.digest(),
    )
    where = _threshold_source(folder, str(source.model_digest))
    loss = run.config().loss if run.config().loss.name == "bce_dice" else None
    return _as_shown(Plan(cases, label, engine.threshold, where, source, engine, loss, run, manifest, faults))


def plan_model(path: Path, data: Path, selection: Selection | None = None, track: Track = silent) -> Plan:
    """A model file on a folder of data; arguments and errors as `plan_run`.

    Raises:
        UsageError: A split is asked for, and there is no manifest that knows it.
    """
    selection = selection or Selection()
    manifest = load_split(selection.manifest) if selection.manifest else None
    if manifest is None and selection.split not in (None, "all"):
        raise UsageError(
            f"--split {selection.split}: a model file knows no split; give its run folder instead, "
            "or the manifest (--splits splits.json), or the names (--names FILE)"
        )
    engine = open_engine(path)
    found = find_samples(data, selection.negatives, selection.mask_rule or AUTOMATIC)
    label, cases, faults = _cases_in(data, *found, manifest, selection, track)
    source = EvaluationSource(
        kind="model",
        model=str(path),
        model_digest=model_digest(path),
        size=engine.size,
        engine=engine.name,
        facts=ModelFacts(**engine.facts.model_dump(exclude_defaults=True, exclude={"self_test"})),
        data=str(data.resolve()),
        split=label,
        checkpoint_chosen_by=engine.facts.checkpoint_chosen_by or "unknown",
    )
    if manifest is not None:
        source = source.model_copy(update={"split_source": manifest.source, "split_digest": manifest.digest()})
    where = engine.facts.threshold_source or (
        "default" if engine.threshold == DEFAULT_THRESHOLD else "stored in the model"
    )
    return _as_shown(Plan(cases, label, engine.threshold, where, source, engine, manifest=manifest, skipped=faults))


def _as_shown(plan: Plan) -> Plan:
    """The plan of a model, whose probabilities and thresholds are those that a user sees."""
    if plan.engine is None:
        return plan
    facts = plan.engine.facts
    plan = replace(plan, threshold=facts.shown(plan.threshold), peak_threshold=facts.shown(facts.peak_threshold))
    if facts.recalibration is None:
        return plan
    applied = AppliedRecalibration(words=facts.recalibration.words, digest=facts.recalibration.digest)
    source = plan.source.model_copy(update={"recalibration": applied})
    return replace(plan, is_recalibrated=True, source=source)


def with_field(plan: Plan, field: FieldRule | None) -> Plan:
    """The plan, whose model sees the lit field of each image or all of it; None for the model's own way.

    Raises:
        UsageError: A field is asked for and no model predicts, or there is no such rule.
    """
    if plan.engine is None:
        if field is not None:
            raise UsageError("--field is for a run or a model; predictions that are files are scored as they are")
        return plan
    facts = plan.engine.facts
    if field is not None and field != facts.field:
        plan.engine.facts = facts.model_copy(update={"field": field})
    return replace(plan, field=field, source=plan.source.model_copy(update={"field": plan.engine.facts.field}))


def with_tta(plan: Plan, tta: str) -> Plan:
    """The plan with test-time augmentation, on record in its source.

    Raises:
        UsageError: An unknown name, or files are judged, which nothing augments.
    """
    if tta not in TTAS:
        raise UsageError(unknown_name("test-time augmentation", tta, TTAS))
    if tta == "none":
        return plan
    if plan.engine is None:
        raise UsageError("--tta is for a run or a model; predictions that are files are scored as they are")
    return replace(plan, tta=tta, source=plan.source.model_copy(update={"tta": tta}))


def plan_predictions(
    predictions: Path,
    references: Path | None,
    images: Path | None = None,
    selection: Selection | None = None,
    track: Track = silent,
) -> Plan:
    """Maps that another program wrote, against their references.

    Args:
        predictions: Grey or black and white images; 0 is no polyp, 255 is polyp.
        references: Masks of the same stems (a suffix as `_mask` is allowed); None where no image shows a polyp.
        images: The images themselves, for pictures; None without.
        selection: Which of them, by names; a split is not known here.
        track: Shows the progress of hashing.

    Raises:
        PairingError: A folder is missing or empty, or files do not pair.
        UsageError: Neither references nor `selection.negatives`, or both; or a split.
        ScoreError: The folder as a whole cannot be maps of these references (`evaluate/foreign.py`).
    """
    selection = selection or Selection()
    if (references is None) != selection.negatives:
        raise UsageError("give --references FOLDER, or --negatives FOLDER where no image shows a polyp (not both)")
    if selection.split is not None or selection.manifest is not None:
        raise UsageError("--split and --splits belong to a run; choose among predictions with --names FILE")
    pairs, faults = _pair_predictions(predictions, references, selection)
    shown = {unicode_name(path.stem): path for path in find_images(images)} if images else {}
    cases = [
        ImageToScore(pair.name, shown.get(pair.name), pair.mask_path, pair.image_path, mask_rule=pair.mask_rule)
        for pair in pairs
    ]
    cases = keep_named(cases, selection.names)
    notes = judge_predictions(predictions, cases, judge_references(cases, track), track)
    unseen = [case.name for case in cases if images and case.image_path is None]
    if unseen:
        raise PairingError(f"{images}: has no image for {len(unseen)} of the predictions:{listed(unseen)}")
    source = EvaluationSource(
        kind="predictions",
        predictions=str(predictions.resolve()),
        references=str(references.resolve()) if references else None,
        images=str(images.resolve()) if images else None,
        split=EXTERNAL,
        checkpoint_chosen_by="unknown",
    )
    cases = add_digests(cases, track)
    return Plan(cases, EXTERNAL, DEFAULT_THRESHOLD, "default", source, skipped=tuple(faults), notes=notes)


def _cases_in(
    data: Path,
    samples: list[Sample],
    faults: list[Fault],
    manifest: Split | None,
    selection: Selection,
    track: Track,
    own_rule: MaskRule = AUTOMATIC,
) -> tuple[str, list[ImageToScore], tuple[Fault, ...]]:
    """The label and the cases of the samples of a folder of data, and what was left out."""
    label, is_own = EXTERNAL, False
    if manifest is not None:
        label, samples, is_own = choose_split(samples, manifest, selection.split, data)
    if is_own and selection.mask_rule is None:  # the run's own masks mean what they meant to it, wherever they are now
        samples = [s if s.mask_rule == DRAWN else replace(s, mask_rule=own_rule) for s in samples]
    if selection.negatives and samples and all(sample.mask_path for sample in samples):
        raise UsageError("--negatives is for images without masks, but these have masks; leave it out")
    if not is_own:
        refuse(faults, selection.skip_bad, PairingError)
    cases = keep_named(cases_of(samples), selection.names)
    if not is_own:
        judge_references(cases, track)
    cases = add_digests(cases, track)
    cases = label_splits(cases, manifest, is_own) if manifest is not None else cases
    return label, cases, () if is_own else tuple(faults)


def _pair_predictions(
    predictions: Path, references: Path | None, selection: Selection
) -> tuple[list[Sample], list[Fault]]:
    """Prediction and reference of each name; the prediction stands in the place of a sample's image."""
    if references is None:
        return [Sample(unicode_name(path.stem), path, None) for path in find_images(predictions)], []
    pairs, unpaired = pair_samples(predictions, references, selection.mask_rule or AUTOMATIC)
    faults = [fault._replace(reason=_as_prediction(fault.reason)) for fault in unpaired]
    if selection.names is not None:
        wanted = read_names(selection.names, ScoreError)
        faults = [fault for fault in faults if Path(fault.name).stem in wanted]
    refuse(faults, selection.skip_bad, PairingError)
    return pairs, faults


def _as_prediction(reason: str) -> str:
    """A pairing's fault in the words of predictions and references."""
    reason = reason.replace("no image of that name in", "no prediction of that name in")
    return reason.replace("no mask of that name in", "no reference of that name in")


def _threshold_source(folder: Path, model_digest: str) -> str:
    """Where a run's threshold comes from, in words."""
    stored = load_threshold(folder)
    if stored.is_for(model_digest):
        return stored.source
    return f"{stored.words}, for an earlier checkpoint; choose it again with --tune-threshold"


def model_digest(path: Path) -> str:
    """SHA-256 of a model file in hex; of a group of runs, over the digests of its members' models."""
    members = Run(path).members()
    if not members:
        return model_file_digest(path) if path.suffix.lower() == ".onnx" else file_digests([path])[path]
    digests = file_digests([member.best_path for member in members])
    return hashlib.sha256("".join(digests.values()).encode()).hexdigest()
