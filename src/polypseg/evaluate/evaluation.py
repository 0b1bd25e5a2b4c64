"""A whole evaluation: scored, counted, looked through for leaks, summed up."""

from dataclasses import replace
from pathlib import Path

from polypseg.data.samples import further_pictures
from polypseg.errors import plural
from polypseg.evaluate.leaks import TRAINING, find_leaks
from polypseg.evaluate.plan import Plan
from polypseg.evaluate.promise import promise_summary
from polypseg.evaluate.score import ScoreOptions, score
from polypseg.evaluate.selection import EXTERNAL
from polypseg.evaluate.summary import SummaryOptions, summarise
from polypseg.predict.engines.packaged import FOLDER
from polypseg.progress import Track, silent
from polypseg.records.evaluation import Evaluation, run_evaluation
from polypseg.records.evaluations import CountedEvaluation, add_evaluation, read_evaluations, times_test_was_scored
from polypseg.records.lock import alone_in
from polypseg.records.scores import Scores
from polypseg.records.summary import Circumstances, LeakReport, Summary


def evaluate(
    plan: Plan,
    folder: Path | None = None,
    score_options: ScoreOptions | None = None,
    summary_options: SummaryOptions | None = None,
    search_leaks: bool = True,
    command: str = "",
    track: Track = silent,
) -> tuple[Evaluation, Summary]:
    """The finished evaluation and its summary.

    Args:
        plan: What is scored (`plan_run`, `plan_model`, `plan_predictions`).
        folder: Where it goes; None for `default_folder`.
        score_options: How images are scored.
        summary_options: How scores are summed up.
        search_leaks: Look for near-duplicates of the run's training images.
        command: What the user typed, for the record.
        track: Shows progress.

    Raises:
        BusyError: Another process works in the folder.
        ScoreError: An image cannot be scored, or the folder holds a stopped evaluation with other settings.
    """
    folder = folder or default_folder(plan)
    folder.mkdir(parents=True, exist_ok=True)
    with alone_in(folder):
        return _evaluate(plan, folder, score_options, summary_options, search_leaks, command, track)


def _evaluate(
    plan: Plan,
    folder: Path,
    score_options: ScoreOptions | None,
    summary_options: SummaryOptions | None,
    search_leaks: bool,
    command: str,
    track: Track,
) -> tuple[Evaluation, Summary]:
    """As `evaluate`, in a folder in which nobody else works."""
    evaluation, num_scored = score(plan, folder, score_options, track)
    scores = evaluation.scores()
    _count(plan, evaluation, scores)
    faulty = [name for name, fault in zip(scores.names, scores.faults, strict=True) if fault]
    leaks = find_leaks(plan, faulty, search_leaks, track)
    circumstances = Circumstances(
        command=command,
        times_test_was_scored=times_test_was_scored(plan.run) if plan.run else None,
        num_scored_now=num_scored,
        leaks=leaks,
        notes=tuple(notes(plan, scores, leaks)),
    )
    if held := promise_summary(scores, evaluation.record()):
        circumstances = circumstances.model_copy(update={"held": held})
    return evaluation, summarise(evaluation, summary_options, circumstances)


def default_folder(plan: Plan) -> Path:
    """Where an evaluation goes unless told otherwise.

    In the run folder, evaluation/SPLIT, or evaluation/DATA for other data; beside a model file or a folder of
    predictions, NAME-evaluation; for a packaged model the same in the working folder. Test-time augmentation is a part
    of the name: evaluation/SPLIT-flips.
    """
    if plan.field is not None:
        folder = default_folder(replace(plan, field=None))
        return folder.with_name(f"{folder.name}-{plan.field}-field")
    if plan.tta != "none":
        folder = default_folder(replace(plan, tta="none"))
        return folder.with_name(f"{folder.name}-{plan.tta}")
    if plan.run is not None:
        data = Path(plan.source.data_folder).name
        label = plan.label if plan.label != EXTERNAL else data
        is_taken = plan.label == EXTERNAL and data in (*TRAINING, "test", "all")
        return run_evaluation(plan.run, f"{EXTERNAL}-{data}" if is_taken else label).folder
    if plan.source.model is not None:
        model = Path(plan.source.model)
        model = Path(model.name) if model.parent == FOLDER else model
        return model.with_name(f"{model.stem}-evaluation") / Path(plan.source.data_folder).name
    predictions = Path(plan.source.subject)
    return predictions.with_name(f"{predictions.name}-evaluation")


def notes(plan: Plan, scores: Scores, leaks: LeakReport) -> list[str]:
    """What a reader of the figures must know besides them, a sentence each."""
    found = list(plan.notes)
    if scores.num_resized:
        found.append(
            f"{scores.num_resized} of {len(scores)} predictions were resized to their reference's size (bilinear)"
        )
    several = further_pictures(
        path for case in plan.cases for path in (case.image_path, case.reference_path, case.prediction_path)
    )
    if several:
        names = ", ".join(path.name for path in several[:5]) + (f", … ({len(several) - 5} more)" * (len(several) > 5))
        found.append(
            f"{plural(len(several), 'file holds', 'files hold')} further pictures; of each the first one was read: "
            f"{names}"
        )
    num_faulty = sum(1 for fault in scores.faults if fault)
    if num_faulty or plan.skipped:
        found.append(
            f"{plural(num_faulty + len(plan.skipped), 'file or image was', 'files or images were')} "
            "left out; summary.json lists them"
        )
    if plan.label not in TRAINING:
        seen = sum(split in TRAINING for split in scores.splits)
        if seen:
            found.append(f"{seen} of {len(scores)} images are training or validation images of this run")
    found += _leak_notes(leaks)
    return found


def _leak_notes(leaks: LeakReport) -> list[str]:
    found = []
    if leaks.pairs:
        scored = list(dict.fromkeys(leak.scored for leak in leaks.pairs))
        names = ", ".join(scored[:5]) + (f", … ({len(scored) - 5} more)" if len(scored) > 5 else "")
        count = f"{len(scored)} scored images show" if len(scored) > 1 else "1 scored image shows"
        found.append(f"{count} what a training or validation image shows: {names}")
    if leaks.unchecked:
        found.append(f"near-duplicates of training images: not checked, {leaks.unchecked}")
    return found


def _count(plan: Plan, evaluation: Evaluation, scores: Scores) -> None:
    """Write the evaluation down in the run, once, however often it was stopped and continued."""
    if plan.run is None:
        return
    identity = evaluation.record().id
    if any(entry.id == identity for entry in read_evaluations(plan.run)):
        return
    counted = CountedEvaluation(
        id=identity,
        split=plan.label,
        splits=tuple(sorted(set(scores.splits))),
        data_digest=plan.data_digest(),
        model_digest=plan.source.model_digest,
        threshold=plan.threshold,
        peak_threshold=plan.peak_threshold,
        tta=plan.tta,
        num_images=len(scores),
        folder=str(evaluation.folder),
    )
    add_evaluation(plan.run, counted)
