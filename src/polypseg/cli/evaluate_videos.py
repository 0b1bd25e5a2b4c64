"""`polypseg evaluate` for whole procedures: a model on videos, or saved findings, against lesions in time."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polypseg.cli.evaluate_modes import PROTOCOLS
from polypseg.cli.evaluate_options import EvaluateCall, Judged

if TYPE_CHECKING:
    from polypseg.evaluate.procedures.facts import Facts
    from polypseg.evaluate.procedures.references import References
    from polypseg.records.deployment import Deployment, DeploymentFolder

TRUE_COLON_NAME = "true_colon.json"

GIVEN_THRESHOLD = 0.5
"""For saved findings, whose program is not known."""


def concerns_videos(judged: Judged, protocol: str | None) -> bool:
    """Whether a call is about procedures rather than single images."""
    if judged.videos is not None or protocol in PROTOCOLS:
        return True
    predictions = judged.predictions
    if predictions is None:
        return False
    if predictions.suffix.lower() in (".json", ".csv") or (predictions / "findings.csv").is_file():
        return True
    from polypseg.evaluate.procedures.video_tables import find_video_tables

    return bool(find_video_tables(predictions))


def evaluate_videos(call: EvaluateCall) -> None:
    """Evaluate procedures, write the report's folder and print the main figures."""
    from polypseg.errors import UsageError

    if call.judged.references is None:
        raise UsageError("name --references: a folder of masks, COCO boxes with lesion ids (.json) or intervals (.csv)")
    has_model = call.model is not None
    if (call.judged.predictions is not None) == has_model or (has_model and call.judged.videos is None):
        raise UsageError("name a model and --videos DIR, or --predictions FILE (a COCO results list or findings.csv)")
    if call.tuned.threshold is not None and not 0 <= call.tuned.threshold <= 1:
        raise UsageError(f"threshold {call.tuned.threshold:g}: expected a value in [0, 1]")
    out = call.out or (call.judged.predictions or Path(str(call.judged.videos))).with_suffix("").parent / "deployment"
    with _alone(out, call.scoring.overwrite or call.scoring.restart):
        if call.summing.protocol in PROTOCOLS:
            _true_colon(call, out)
        else:
            _evaluate(call, out)


@contextmanager
def _alone(out: Path, overwrite: bool) -> Iterator[None]:
    """Nobody else writes to the folder; a report that is there is only replaced where it was asked for."""
    from polypseg.errors import UsageError
    from polypseg.records.lock import alone_in

    out.mkdir(parents=True, exist_ok=True)
    try:
        with alone_in(out):
            there = [name for name in ("deployment.json", TRUE_COLON_NAME) if (out / name).exists()]
            if there and not overwrite:
                raise UsageError(f"{out / there[0]}: exists; replace it with --overwrite, or name another folder (-o)")
            yield
    finally:
        with suppress(OSError):  # where it failed before anything was written, no folder stays
            out.rmdir()


def _evaluate(call: EvaluateCall, out: Path) -> None:
    from polypseg.evaluate.procedures.case_pictures import check_films
    from polypseg.evaluate.procedures.deployment import DeploymentOptions, report_deployment
    from polypseg.evaluate.procedures.figures import FigureOptions
    from polypseg.evaluate.procedures.films import find_films
    from polypseg.evaluate.procedures.references import open_references
    from polypseg.records.deployment import DeploymentFolder

    references = open_references(Path(str(call.judged.references)), call.summing.frame_rate)
    if call.procedures.case_pictures and call.judged.predictions is not None and references.frames is not None:
        check_films(find_films(Path(str(call.judged.videos))), references.frames)
    facts, smoothed, threshold, title = _facts(call, references)
    options = DeploymentOptions(
        threshold=threshold,
        validation=call.procedures.names(),
        budget=call.procedures.budget,
        burden=call.procedures.burden,
        withhold=call.over_time.withhold,
        figures=FigureOptions(area_limits=call.summing.limits(), seed=call.summing.seed),
        provenance=_provenance(call, references),
    )
    record = report_deployment(title, facts, options, out, smoothed)
    if call.procedures.case_pictures:
        _draw_cases(call, facts, references, DeploymentFolder(out))
    written = _write_more(call, facts, references, out)
    _show(record)
    _print(f"wrote {', '.join(str(path) for path in [out / 'deployment.json', *written])}")


def _facts(call: EvaluateCall, references: "References") -> tuple["Facts", dict[str, "Facts"], float, str]:
    """What is known, with other smoothings too; the threshold and whose findings they are."""
    from polypseg.evaluate.procedures.facts import facts_of_model, facts_of_predictions

    if call.judged.predictions is not None:
        facts = facts_of_predictions(call.judged.predictions, references)
        threshold = GIVEN_THRESHOLD if call.tuned.threshold is None else call.tuned.threshold
        return facts, {}, threshold, call.judged.predictions.stem
    from polypseg.cli.console import import_keras_for, track
    from polypseg.evaluate.procedures.films import find_films
    from polypseg.evaluate.procedures.watch import Smoothing, operating_point, watch
    from polypseg.predict.engines.packaged import resolve
    from polypseg.predict.predictor import PredictOptions, load
    from polypseg.preprocess import field_rule

    path = resolve(call.model)
    films = find_films(Path(str(call.judged.videos)))
    import_keras_for(path)
    predictor = load(
        path, options=PredictOptions(call.tuned.threshold, call.running.tta, field=field_rule(call.running.field))
    )
    own = Smoothing(call.over_time.smooth, call.over_time.smooth_frames)
    others = [one for one in (Smoothing(), Smoothing("exponential")) if one.name != own.name]
    frames, watched = watch(films, predictor, references, [own, *others], call.summing.frame_rate, track)
    facts = facts_of_model(frames, watched[own], references)
    smoothed = {one.name: facts_of_model(frames, watched[one], references) for one in others}
    return facts, smoothed, operating_point(predictor), path.stem


def _draw_cases(call: EvaluateCall, facts: "Facts", references: "References", folder: "DeploymentFolder") -> None:
    from polypseg.evaluate.procedures.case_pictures import Filmed, draw_cases
    from polypseg.evaluate.procedures.films import find_films

    filmed = Filmed(find_films(Path(str(call.judged.videos))), references.frames)
    first = folder.read().points[0]
    drawn = draw_cases(facts, first.procedures, first.threshold, call.over_time.withhold, filmed, folder)
    _print(f"the page contains {len(drawn)} pictures of the data, which lie in {folder.pictures_folder} too")


def _provenance(call: EvaluateCall, references: "References") -> dict[str, str]:
    from polypseg.cli.console import command_line

    told = {
        "command": command_line(),
        "model": call.model,
        "videos": call.judged.videos,
        "predictions": call.judged.predictions,
        "references": f"{call.judged.references} ({references.kind})",
        "frame rate": call.summing.frame_rate,
        "smoothing": call.over_time.smooth,
        "withheld": call.over_time.withhold,
        "validation procedures": call.procedures.validation,
    }
    return {name: str(value) for name, value in told.items() if value not in (None, "")}


def _write_more(call: EvaluateCall, facts: "Facts", references: "References", out: Path) -> list[Path]:
    """The page, where Matplotlib is installed, and the files in COCO's format where they are asked for."""
    from importlib.util import find_spec

    from polypseg.records.deployment import DeploymentFolder

    written = []
    if find_spec("matplotlib") is not None:
        from polypseg.report.deployment import write_deployment_page

        written.append(write_deployment_page(DeploymentFolder(out)))
    if call.procedures.coco_results:
        from polypseg.evaluate.procedures.coco_results import write_coco_results

        written += write_coco_results(facts, out)
    return written


def _true_colon(call: EvaluateCall, out: Path) -> None:
    import json

    from polypseg.errors import UsageError
    from polypseg.evaluate.procedures.true_colon import evaluate_files
    from polypseg.records.atomic import write_text

    if call.judged.predictions is None or call.judged.references is None:
        raise UsageError(f"--protocol {call.summing.protocol} needs --predictions and --references, both COCO (.json)")
    threshold = 0.2 if call.tuned.threshold is None else call.tuned.threshold
    result = evaluate_files(
        call.judged.references,
        call.judged.predictions,
        threshold,
        "stem_int_suffix" if call.summing.protocol == PROTOCOLS[1] else "stem",
    )
    path = out / TRUE_COLON_NAME
    write_text(path, json.dumps(result.as_dict(), indent=1) + "\n")
    frame, lesions, matched = result.frame, result.lesion, result.matched
    _print(f"frame TPR {frame['tpr']:.4f}, FPR {frame['fpr']:.4f} at {frame['conf']:g}")
    if lesions is not None:
        _print(
            f"lesions found {lesions['summary']['detected_any']} of {lesions['summary']['n_lesions']}, mean latency "
            f"{lesions['summary']['mean_latency_frames']} frames"
        )
    else:
        _print("note: no box of the references carries a unique_id: there are no figures of lesions")
    _print(f"matched threshold {matched['threshold']:.6g}: TPR {matched['achieved_tpr']:.4f}")
    num_predictions, num_boxes = result.num_left_out
    if num_predictions:
        _print(f"note: {num_predictions:,} predictions name no frame of the references, and are left out")
    if num_boxes:
        _print(f"note: {num_boxes:,} boxes of the references belong to no image, and are left out")
    _print(f"wrote {path}")


def _show(record: "Deployment") -> None:
    from rich.table import Table

    from polypseg.cli.console import console

    table = Table("figure", *(point.name for point in record.points), box=None, pad_edge=False)
    for label, cells in _rows(record):
        table.add_row(label, *cells)
    console.print(table)
    for note in record.notes:
        console.print("[yellow]note:[/yellow]", end=" ")
        _print(note)


def _rows(record: "Deployment") -> list[tuple[str, list[str]]]:
    def shown(value: Any) -> str:
        return "–" if value is None else f"{value:.4f}"

    points = record.points
    rows = [
        ("threshold", [f"{point.threshold:.4g}" for point in points]),
        ("frame sensitivity", [shown(point.frames.sensitivity.value) for point in points]),
        ("specificity of clean frames", [shown(point.frames.specificity.value) for point in points]),
    ]
    for place, alerts in enumerate(points[0].alerts):
        cells = [shown(point.alerts[place].per_minute.value) for point in points]
        rows.append((f"false alerts a minute: {alerts.definition}", cells))
    found = [f"{point.lesions.num_found} of {point.lesions.num_lesions}" for point in points]
    rows += [
        ("lesions found", found),
        ("median latency, s", [shown(point.lesions.median_latency_seconds) for point in points]),
    ]
    if points[0].boundary is not None:
        rows.append(("Dice where found", [shown(point.boundary.dice.value) for point in points if point.boundary]))
    rows.append(("area under AFROC", [shown(record.afroc_area)] + [""] * (len(points) - 1)))
    return rows


def _print(text: str) -> None:
    from rich.markup import escape

    from polypseg.cli.console import console

    console.print(escape(text))
