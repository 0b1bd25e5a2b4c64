"""`polypseg evaluate`: a run, a model, or another program's maps against their references."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from polypseg.cli.mask_options import MaskChannel, PolypColours, PolypLabels, PolypValues

if TYPE_CHECKING:
    from polypseg.evaluate.plan import Plan
    from polypseg.evaluate.score import ScoreOptions
    from polypseg.evaluate.selection import Selection
    from polypseg.evaluate.summary import SummaryOptions
    from polypseg.records.evaluation import Evaluation

WHAT, WHICH, HOW, SUMMED, PROCEDURES = "What to evaluate", "Images", "Scoring", "Summary", "Whole procedures"


def evaluate(
    context: typer.Context,
    model: Annotated[
        str | None,
        typer.Argument(metavar="RUN|MODEL", help="A run folder; with --data also a model file or an included model."),
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            help="Folder of masks or probability maps of another program; for procedures a COCO results list or "
            "findings.csv.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    references: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the reference masks; for procedures also COCO boxes with lesion ids (.json) or "
            "intervals (.csv).",
            rich_help_panel=WHAT,
        ),
    ] = None,
    videos: Annotated[
        Path | None,
        typer.Option(help="Folder of video files, or of folders of frames, one per procedure.", rich_help_panel=WHAT),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of the images for --predictions, for figures.", rich_help_panel=WHAT)
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of images and masks; default: the run's own data.", rich_help_panel=WHICH),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="test, validation, train or all; default: test, or all of other data.",
            rich_help_panel=WHICH,
        ),
    ] = None,
    splits: Annotated[
        Path | None, typer.Option(help="Split (splits.json) instead of the run's own.", rich_help_panel=WHICH)
    ] = None,
    names: Annotated[
        Path | None,
        typer.Option(help="Evaluate only the names in this text file, one per line.", rich_help_panel=WHICH),
    ] = None,
    negatives: Annotated[
        bool, typer.Option("--negatives", help="The images show no polyp and have no masks.", rich_help_panel=WHICH)
    ] = False,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Skip files that cannot be read, and list them.", rich_help_panel=WHICH)
    ] = False,
    polyp_values: PolypValues = "",
    polyp_colours: PolypColours = "",
    mask_channel: MaskChannel = "",
    polyp_labels: PolypLabels = "",
    threshold: Annotated[
        float | None,
        typer.Option(help="Threshold; default: the run's own (0.5 unless tuned).", rich_help_panel=HOW),
    ] = None,
    tune_threshold: Annotated[
        bool,
        typer.Option(
            "--tune-threshold",
            help="Choose the threshold on the validation split (original and perturbed images), store it, and "
            "evaluate that split.",
            rich_help_panel=HOW,
        ),
    ] = False,
    unperturbed: Annotated[
        bool,
        typer.Option("--unperturbed", help="With --tune-threshold: use the original images only.", rich_help_panel=HOW),
    ] = False,
    tta: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Test-time augmentation: none, or flips (mean of four mirror images, four times the work).",
            rich_help_panel=HOW,
        ),
    ] = "none",
    field: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Part of the frame that the model sees: auto (the lit picture, without black surround and panels) "
            "or whole; default: as in its training.",
            rich_help_panel=HOW,
        ),
    ] = None,
    tolerance: Annotated[
        float, typer.Option(min=0, help="Tolerance of the surface Dice in pixels.", rich_help_panel=HOW)
    ] = 2.0,
    min_area: Annotated[
        int,
        typer.Option(min=1, help="Ignore smaller components (pixels) when counting lesions.", rich_help_panel=HOW),
    ] = 10,
    min_max: Annotated[
        bool,
        typer.Option("--min-max", help="Stretch each map to 0 … 1, as PraNet's protocol does.", rich_help_panel=HOW),
    ] = False,
    save_maps: Annotated[
        bool, typer.Option("--save-maps", help="Write probability maps as 8-bit PNG.", rich_help_panel=HOW)
    ] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Images per batch.", rich_help_panel=HOW)] = 8,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace existing results.", rich_help_panel=HOW)
    ] = False,
    restart: Annotated[bool, typer.Option("--restart", hidden=True)] = False,
    protocol: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Print figures as papers report them: pranet (stretches maps), kvasir, duck; for procedures "
            "true-colon or true-colon-realcolon.",
            rich_help_panel=SUMMED,
        ),
    ] = None,
    area_limits: Annotated[
        str,
        typer.Option(
            metavar="LOW,HIGH",
            help="Limits of small, medium and large polyps in % of the image.",
            rich_help_panel=SUMMED,
        ),
    ] = "5,20",
    strata_csv: Annotated[
        Path | None, typer.Option(help="CSV with one row per image and the columns for --by.", rich_help_panel=SUMMED)
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN", help="Group by this column of --strata-csv; can be repeated.", rich_help_panel=SUMMED
        ),
    ] = None,
    alarm_area: Annotated[
        int,
        typer.Option(min=1, help="Smallest false finding (pixels) that counts as an alarm.", rich_help_panel=SUMMED),
    ] = 100,
    frame_rate: Annotated[
        float | None,
        typer.Option(
            min=0, help="Frames per second, to report alarms per minute; of folders of frames.", rich_help_panel=SUMMED
        ),
    ] = None,
    validation: Annotated[
        str,
        typer.Option(
            metavar="NAME,…",
            help="Procedures on which the matched threshold is chosen; the others are evaluated.",
            rich_help_panel=PROCEDURES,
        ),
    ] = "",
    budget: Annotated[
        float, typer.Option(min=0, help="False alerts allowed at the matched threshold.", rich_help_panel=PROCEDURES)
    ] = 0.045,
    burden: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="What --budget counts: false-positive-rate, or per minute clean-frames, false-frames, runs, "
            "alerts-0.5s, alerts-15frames, …",
            rich_help_panel=PROCEDURES,
        ),
    ] = "false-positive-rate",
    withhold: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="FRAMES",
            help="Hide detections of at most this many frames.",
            rich_help_panel=PROCEDURES,
        ),
    ] = 0,
    smooth: Annotated[
        str,
        typer.Option(metavar="NAME", help="Smooth over time: none, exponential or window.", rich_help_panel=PROCEDURES),
    ] = "none",
    smooth_frames: Annotated[
        int, typer.Option(min=2, max=100, help="Number of frames to smooth over.", rich_help_panel=PROCEDURES)
    ] = 5,
    coco_results: Annotated[
        bool,
        typer.Option(
            "--coco-results",
            help="Write findings as a COCO results list, and the references with their lesion ids.",
            rich_help_panel=PROCEDURES,
        ),
    ] = False,
    case_pictures: Annotated[
        bool,
        typer.Option(
            "--case-pictures",
            help="Put pictures of missed, found and false cases into the page.",
            rich_help_panel=PROCEDURES,
        ),
    ] = False,
    leaks: Annotated[
        bool,
        typer.Option(
            "--leaks/--no-leaks", help="Search for near-duplicates of training images.", rich_help_panel=SUMMED
        ),
    ] = True,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the bootstrap.", rich_help_panel=SUMMED)] = 0,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for the results.", show_default="RUN/evaluation/SPLIT"),
    ] = None,
) -> None:
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

    polypseg evaluate runs/kvasir --data frames-without-polyps --negatives --frame-rate 25

    polypseg evaluate --predictions results/PraNet/Kvasir --references TestDataset/Kvasir/masks --protocol pranet

    polypseg evaluate polyp-lite --videos procedures/ --references lesions.json --frame-rate 25 -o deployment

    With --videos, whole procedures are evaluated: false alerts, lesions found and when, curves, and a report page.
    """
    import shlex
    import sys
    from dataclasses import replace

    from polypseg.cli.evaluate_modes import refuse_for_images, refuse_for_procedures
    from polypseg.cli.evaluate_videos import VideoCall, concerns_videos, evaluate_videos

    command = shlex.join(["polypseg", *sys.argv[1:]])
    if concerns_videos(videos, predictions, protocol):
        refuse_for_procedures(context, protocol, predictions)
        evaluate_videos(
            VideoCall(
                model, videos, predictions, references, protocol, threshold, validation, budget, burden, withhold,
                smooth, smooth_frames, frame_rate, _two_numbers(area_limits), coco_results, seed, out, field, tta,
                command, overwrite, case_pictures,
            )
        )  # fmt: skip
        return
    refuse_for_images(context)
    from polypseg.cli.console import console, note_earlier_option, track
    from polypseg.errors import UsageError, unknown_name
    from polypseg.evaluate.evaluation import evaluate as evaluate_plan
    from polypseg.evaluate.plan import with_field, with_tta
    from polypseg.evaluate.protocols import PROTOCOLS
    from polypseg.evaluate.score import ScoreOptions
    from polypseg.evaluate.selection import Selection
    from polypseg.evaluate.summary import SummaryOptions
    from polypseg.metrics.table import ScoreSettings
    from polypseg.predict.engines.packaged import resolve
    from polypseg.predict.predictor import PredictOptions
    from polypseg.preprocess import field_rule, mask_rule

    if model is not None and not Path(model).exists():
        model = str(resolve(model))
    note_earlier_option(restart, "--restart", "--overwrite")
    PredictOptions(tta=tta, field=field_rule(field))  # refuses a wrong name before anything is read
    if protocol is not None and protocol not in PROTOCOLS:
        raise UsageError(unknown_name("protocol", protocol, PROTOCOLS))
    settings = ScoreSettings(tolerance_px=tolerance, min_area_px=min_area, min_max=min_max or protocol == "pranet")
    summary_options = SummaryOptions(
        seed=seed,
        area_limits=_two_numbers(area_limits),
        strata_table=strata_csv,
        strata_columns=tuple(by or ()),
        alarm_area_px=alarm_area,
        frame_rate=frame_rate,
    )
    if unperturbed and not tune_threshold:
        raise UsageError("--unperturbed belongs to --tune-threshold; a split is always scored as it is")
    if tune_threshold:
        if model is None or predictions is not None or Path(model).is_file():
            raise UsageError("--tune-threshold needs a run folder: its validation split chooses the threshold")
        split = _tune(_Tuning(Path(model), data, batch_size, tta, unperturbed), split, threshold)
    rule = mask_rule(polyp_values, polyp_colours, mask_channel, polyp_labels)
    selection = Selection(split, splits, names, negatives, skip_bad, rule or None)
    options = ScoreOptions(settings, batch_size, save_maps, skip_bad, overwrite or restart, processes=True)
    if split == "validation" and _is_cross_validation(model):
        _refuse_for_folds({"--names": names, "--threshold": threshold, "--out": out, "--splits": splits})
        evaluation, summary = _out_of_fold(Path(str(model)), data, options, summary_options, tta)
        _show(summary, protocol)
        console.print(f"wrote {evaluation.scores_path}, {evaluation.summary_path}")
        return
    plan = with_field(
        with_tta(_plan(model, data, (predictions, references, images), selection), tta), field_rule(field)
    )
    if threshold is not None:
        plan = replace(plan, threshold=threshold, peak_threshold=0.0, threshold_source="given (--threshold)")
    evaluation, summary = evaluate_plan(plan, out, options, summary_options, leaks, command, track)
    _show(summary, protocol)
    console.print(f"wrote {evaluation.scores_path}, {evaluation.summary_path}")


def _plan(
    model: str | None, data: Path | None, folders: tuple[Path | None, Path | None, Path | None], selection: "Selection"
) -> "Plan":
    """The plan of whatever was named."""
    from polypseg.cli.console import import_keras_quietly, track
    from polypseg.errors import UsageError
    from polypseg.evaluate.plan import plan_model, plan_predictions, plan_run

    predictions, references, images = folders
    if (model is None) == (predictions is None):
        raise UsageError("name one of: a run, a model file, or --predictions FOLDER (see --help)")
    if predictions is not None:
        if data is not None:
            raise UsageError("--data belongs to a run or a model; for --predictions name --references (and --images)")
        return plan_predictions(predictions, references, images, selection, track)
    if references is not None or images is not None:
        raise UsageError("--references and --images belong to --predictions; for a run or a model name --data")
    path = Path(str(model))
    if path.exists() and path.suffix.lower() != ".onnx":
        import_keras_quietly()
    if path.is_file():
        if data is None:
            raise UsageError(f"{path}: a model file has no data of its own; name --data DIR, or give its run folder")
        return plan_model(path, data, selection, track)
    return plan_run(path, data, selection, track)


def _is_cross_validation(model: str | None) -> bool:
    from polypseg.records.run import Run

    run = Run(Path(str(model)))
    return bool(run.members()) and bool(run.config().split.folds)


def _refuse_for_folds(options: dict[str, Any]) -> None:
    from polypseg.errors import UsageError

    given = [name for name, value in options.items() if value is not None]
    if given:
        raise UsageError(
            f"{', '.join(given)}: the validation of a cross-validation is scored whole, at its stored threshold and in "
            "its own folder; leave it out, or score one fold"
        )


def _out_of_fold(
    folder: Path,
    data: Path | None,
    options: "ScoreOptions",
    summary_options: "SummaryOptions",
    tta: str,
) -> tuple["Evaluation", dict[str, Any]]:
    """Each image of a cross-validation, scored by the member that did not see it."""
    import shlex
    import sys

    from polypseg.cli.console import import_keras_quietly, track
    from polypseg.evaluate.group import out_of_fold

    import_keras_quietly()
    command = shlex.join(["polypseg", *sys.argv[1:]])
    return out_of_fold(folder, data, options, summary_options, command, track, tta)


class _Tuning(NamedTuple):
    """How a threshold is chosen, on which run."""

    run: Path
    data: Path | None
    batch_size: int
    tta: str
    unperturbed: bool


def _tune(tuning: _Tuning, split: str | None, threshold: float | None) -> str:
    """The split that is scored after the threshold was chosen on it: validation, and no other."""
    from polypseg.cli.console import console, import_keras_quietly, track
    from polypseg.data.perturbations import PERTURBATIONS, UNPERTURBED
    from polypseg.errors import UsageError
    from polypseg.evaluate.threshold import tune_threshold

    if split not in (None, "validation"):
        raise UsageError(
            f"--tune-threshold with --split {split}: a threshold is chosen on the validation split and on nothing "
            "else; leave out --split, then score the test split without --tune-threshold"
        )
    if threshold is not None:
        raise UsageError("--threshold and --tune-threshold exclude one another")
    if tuning.run.exists():
        import_keras_quietly()
    perturbations = UNPERTURBED if tuning.unperturbed else PERTURBATIONS
    tuned = tune_threshold(tuning.run, tuning.data, tuning.batch_size, track, tuning.tta, perturbations)
    ways = "" if tuning.unperturbed else f" in {len(perturbations)} perturbations"
    console.print(
        f"threshold {tuned.threshold:.4f}: mean Dice {tuned.dice:.4f} over {tuned.num_frames} frames "
        f"(validation images{ways}; {tuned.dice_at_half:.4f} at 0.5)"
    )
    console.print(
        f"peak threshold {tuned.peak_threshold:g}: a component without a pixel of that probability is left out, mean "
        f"Dice {tuned.dice_with_peak:.4f}; both stored in {tuning.run / 'threshold.json'}"
    )
    return "validation"


def _show(summary: dict[str, Any], protocol: str | None) -> None:
    from rich.markup import escape

    from polypseg.cli.console import console
    from polypseg.cli.scores_table import metric_table, negative_tables, protocol_table, stratum_tables

    facts = summary["provenance"]
    judged = facts.get("run") or facts.get("model") or facts["predictions"]
    against = f"against {facts.get('references')}" if facts.get("references") else "declared free of polyps"
    label = "all of" if facts["split"] in ("external", "all") else f"{facts['split']} split of"
    where = f"{label} {facts['data']}" if "data" in facts else against
    console.print(escape(f"{judged}: {where}; threshold {facts['threshold']:.4g} ({facts['threshold_source']})"))
    if not facts["num_scored_now"]:
        console.print(
            "nothing to do: this model was already evaluated on these data with these settings (--overwrite repeats it)"
        )
    if summary["num_polyp_images"]:
        console.print(metric_table(summary))
        for table in stratum_tables(summary):
            console.print(table)
    for table in negative_tables(summary):
        console.print(table)
    if protocol is not None and summary["num_polyp_images"]:
        console.print(protocol_table(summary, protocol))
    if summary["model_size"]:
        small = summary["model_size"]
        loss = "" if small["loss"] is None else f"loss {small['loss']:.4f}, "
        console.print(
            f"at the model's own size ({small['size']} px, all {small['num_images']} images): {loss}"
            f"Dice {small['dice']:.4f}, IoU {small['iou']:.4f}"
        )
    if facts["times_test_was_scored"]:
        console.print(f"times this run's test split was scored: {facts['times_test_was_scored']}")
    for note in facts["notes"]:
        console.print(f"[yellow]note:[/yellow] {escape(note)}")


def _two_numbers(text: str) -> tuple[float, float]:
    """Two numbers with a comma between them."""
    from polypseg.errors import UsageError

    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"--area-limits {text!r}: expected two numbers with a comma, as 5,20") from error
    return low, high
