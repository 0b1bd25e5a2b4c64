"""`polypseg evaluate`: a run, a model, or another program's maps against their references."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from polypseg.cli.command_class import takes
from polypseg.cli.evaluate_options import EvaluateCall
from polypseg.errors import plural

if TYPE_CHECKING:
    from polypseg.evaluate.plan import Plan
    from polypseg.evaluate.selection import Selection
    from polypseg.records.evaluation import Evaluation
    from polypseg.records.summary import Summary


@takes(EvaluateCall)
def evaluate(given: EvaluateCall) -> None:
    """Evaluate a run, a model or saved predictions: all usual metrics, with intervals.

    A run is evaluated on its own test split, at the images' own sizes and the run's threshold. With --data, a run, a
    model file or an included model is evaluated on all images of a folder. With --predictions and --references, saved
    maps of any program are evaluated (grey images with the names of the masks, 0 no polyp, 255 polyp).

    Writes scores.csv (one row per image), summary.json (means, medians, pooled figures, intervals, strata, images
    without a polyp, provenance), curves.npz and the predicted masks. After an interruption, the same command
    continues. Images without a polyp are reported separately. Each run counts how often its test split was used.

    [bold]Examples[/bold]

    polypseg evaluate runs/kvasir

    polypseg evaluate runs/kvasir --tune-threshold

    polypseg evaluate runs/kvasir --data data/cvc-clinicdb --strata-csv light.csv --by light

    polypseg evaluate polyp-lite --data data/cvc-clinicdb

    polypseg evaluate runs/kvasir --negatives frames-without-polyps --frame-rate 25

    polypseg evaluate --predictions results/PraNet/Kvasir --references TestDataset/Kvasir/masks --protocol pranet

    polypseg evaluate polyp-lite --videos procedures/ --references lesions.json --frame-rate 25 -o deployment

    With --videos, whole procedures are evaluated: false alerts, lesions found and when, curves, and a report page.
    """
    from polypseg.cli.evaluate_modes import refuse_for_images, refuse_for_procedures
    from polypseg.cli.evaluate_videos import concerns_videos, evaluate_videos

    if concerns_videos(given.judged, given.summing.protocol):
        refuse_for_procedures(given)
        evaluate_videos(given)
    else:
        refuse_for_images(given)
        _evaluate_images(given)


def _evaluate_images(given: EvaluateCall) -> None:
    from polypseg.cli.console import console
    from polypseg.predict.engines.packaged import resolve

    _refuse(given)
    model = given.model
    if model is not None and not Path(model).exists():
        model = str(resolve(model))
    given = replace(given, model=model)
    split = _tune(given) if given.tuned.tune_threshold else given.chosen.split
    if split == "validation" and _is_cross_validation(model):
        evaluation, summary = _out_of_fold(given)
    else:
        evaluation, summary = _whole(given, given.chosen.selection(split))
    _show(summary, given.summing.protocol)
    _show_promise(summary)
    console.print(f"wrote {evaluation.scores_path}, {evaluation.summary_path}")


def _refuse(given: EvaluateCall) -> None:
    """Nothing, if the options go together; before anything is read."""
    from polypseg.cli.console import note_earlier_option
    from polypseg.errors import UsageError, unknown_name
    from polypseg.evaluate.protocols import PROTOCOLS
    from polypseg.predict.predictor import PredictOptions
    from polypseg.preprocess import field_rule

    protocol = given.summing.protocol
    note_earlier_option(given.scoring.restart, "--restart", "--overwrite")
    note_earlier_option(given.scoring.min_area is not None, "--min-area", "--min-lesion-area")
    note_earlier_option(given.chosen.without_polyps, "--data DIR --negatives", "--negatives DIR")
    given.summing.limits()
    PredictOptions(tta=given.running.tta, field=field_rule(given.running.field))  # refuses a wrong name
    if protocol is not None and protocol not in PROTOCOLS:
        raise UsageError(unknown_name("protocol", protocol, PROTOCOLS))
    if given.tuned.unperturbed and not given.tuned.tune_threshold:
        raise UsageError("--unperturbed belongs to --tune-threshold; a split is always scored as it is")


def _whole(given: EvaluateCall, selection: "Selection") -> tuple["Evaluation", "Summary"]:
    """All images that were chosen, scored by the one model or against the given maps."""
    from polypseg.cli.console import command_line, track
    from polypseg.evaluate.evaluation import evaluate
    from polypseg.evaluate.plan import with_field, with_tta
    from polypseg.evaluate.promise import with_calibration
    from polypseg.preprocess import field_rule

    options, summary_options = given.score_options(), given.summing.options()
    plan = with_field(with_tta(_plan(given, selection), given.running.tta), field_rule(given.running.field))
    if given.tuned.threshold is not None:
        plan = replace(
            plan, threshold=given.tuned.threshold, peak_threshold=0.0, threshold_source="given (--threshold)"
        )
    plan = with_calibration(plan, given.running.calibration)
    return evaluate(plan, given.out, options, summary_options, given.summing.leaks, command_line(), track)


def _show_promise(summary: "Summary") -> None:
    """Print what was found of a calibration's promise, where one was scored."""
    from polypseg.cli.console import console
    from polypseg.report.tables import PROMISE_COLUMNS, promise_rows

    for name, *values in promise_rows(summary.provenance.held):
        shown = ", ".join(f"{label} {value}" for label, value in zip(PROMISE_COLUMNS, values, strict=True))
        console.print(f"{name}: {shown}", markup=False)


def _plan(given: EvaluateCall, selection: "Selection") -> "Plan":
    """The plan of whatever was named."""
    from polypseg.cli.console import import_keras_for, track
    from polypseg.errors import UsageError
    from polypseg.evaluate.plan import plan_model, plan_predictions, plan_run

    model, judged, negatives = given.model, given.judged, given.chosen.negatives
    data = negatives or given.chosen.data
    if (model is None) == (judged.predictions is None):
        raise UsageError("name one of: a run, a model file, or --predictions FOLDER (see --help)")
    if negatives is not None and given.chosen.data is not None:
        raise UsageError(
            "--data and --negatives are evaluated apart, each in a call of its own: no figure is over both"
        )
    if judged.predictions is not None:
        if negatives is not None and judged.images is not None:
            raise UsageError("--negatives is the folder of the images; leave out --images")
        if given.chosen.data is not None:
            raise UsageError("--data belongs to a run or a model; for --predictions name --references (and --images)")
        return plan_predictions(judged.predictions, judged.references, judged.images or negatives, selection, track)
    if judged.references is not None or judged.images is not None:
        raise UsageError("--references and --images belong to --predictions; for a run or a model name --data")
    path = Path(str(model))
    import_keras_for(path)
    if path.is_file():
        if data is None:
            raise UsageError(
                f"{path}: a model file has no data of its own; name --data DIR (or --negatives DIR), or give its run"
            )
        return plan_model(path, data, selection, track)
    return plan_run(path, data, selection, track)


def _is_cross_validation(model: str | None) -> bool:
    from polypseg.records.run import Run

    run = Run(Path(str(model)))
    return bool(run.members()) and bool(run.config().split.folds)


def _refuse_for_folds(options: dict[str, object]) -> None:
    from polypseg.errors import UsageError

    given = [name for name, value in options.items() if value is not None]
    if given:
        raise UsageError(
            f"{', '.join(given)}: the validation of a cross-validation is scored whole, at its stored threshold and in "
            "its own folder; leave it out, or score one fold"
        )


def _out_of_fold(given: EvaluateCall) -> tuple["Evaluation", "Summary"]:
    """Each image of a cross-validation, scored by the member that did not see it."""
    from polypseg.cli.console import command_line, import_keras_quietly, track
    from polypseg.evaluate.group import out_of_fold

    chosen = given.chosen
    options, summary_options = given.score_options(), given.summing.options()
    _refuse_for_folds(
        {"--names": chosen.names, "--threshold": given.tuned.threshold, "--out": given.out, "--splits": chosen.splits}
    )
    import_keras_quietly()
    folder = Path(str(given.model))
    return out_of_fold(folder, chosen.data, options, summary_options, command_line(), track, given.running.tta)


def _tune(given: EvaluateCall) -> str:
    """The split that is scored after the threshold was chosen on it: validation, and no other."""
    from polypseg.cli.console import console, import_keras_quietly, track
    from polypseg.data.perturbations import PERTURBATIONS, UNPERTURBED
    from polypseg.errors import UsageError
    from polypseg.evaluate.threshold import tune_threshold

    split = given.chosen.split
    if given.model is None or given.judged.predictions is not None or Path(given.model).is_file():
        raise UsageError("--tune-threshold needs a run folder: its validation split chooses the threshold")
    if split not in (None, "validation"):
        raise UsageError(
            f"--tune-threshold with --split {split}: a threshold is chosen on the validation split and on nothing "
            "else; leave out --split, then score the test split without --tune-threshold"
        )
    if given.tuned.threshold is not None:
        raise UsageError("--threshold and --tune-threshold exclude one another")
    run = Path(given.model)
    if run.exists():
        import_keras_quietly()
    perturbations = UNPERTURBED if given.tuned.unperturbed else PERTURBATIONS
    running = given.running
    tuned = tune_threshold(run, given.chosen.data, running.batch_size, track, running.tta, perturbations)
    ways = "" if given.tuned.unperturbed else f" in {len(perturbations)} perturbations"
    console.print(
        f"threshold {tuned.threshold:.4f}: mean Dice {tuned.dice:.4f} over {plural(tuned.num_frames, 'frame')} "
        f"(validation images{ways}; {tuned.dice_at_half:.4f} at 0.5)"
    )
    console.print(
        f"peak threshold {tuned.peak_threshold:g}: a component without a pixel of that probability is left out, mean "
        f"Dice {tuned.dice_with_peak:.4f}; both stored in {run / 'threshold.json'}"
    )
    return "validation"


def _show(summary: "Summary", protocol: str | None) -> None:
    from rich.markup import escape

    from polypseg.cli.console import console
    from polypseg.cli.scores_table import metric_table, negative_tables, protocol_table, stratum_tables

    facts = summary.provenance
    against = f"against {facts.references}" if facts.references else "declared free of polyps"
    label = "all of" if facts.split in ("external", "all") else f"{facts.split} split of"
    where = f"{label} {facts.data}" if facts.data is not None else against
    console.print(escape(f"{facts.subject}: {where}; threshold {facts.threshold:.4g} ({facts.threshold_source})"))
    if not facts.num_scored_now:
        console.print(
            "nothing to do: this model was already evaluated on these data with these settings (--overwrite repeats it)"
        )
    if summary.num_polyp_images:
        console.print(metric_table(summary))
        for table in stratum_tables(summary):
            console.print(table)
    for table in negative_tables(summary):
        console.print(table)
    if protocol is not None and summary.num_polyp_images:
        console.print(protocol_table(summary, protocol))
    if small := summary.model_size:
        loss = "" if small.loss is None else f"loss {small.loss:.4f}, "
        console.print(
            f"at the model's own size ({small.size} px, all {small.num_images} images): {loss}"
            f"Dice {small.dice:.4f}, IoU {small.iou:.4f}"
        )
    if facts.times_test_was_scored:
        console.print(f"times this run's test split was scored: {facts.times_test_was_scored}")
    for note in facts.notes:
        console.print(f"[yellow]note:[/yellow] {escape(note)}")
