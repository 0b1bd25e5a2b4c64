"""`polypseg predict`: images, folders, patterns, standard input or a video to masks at their own size."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import typer

from polypseg.cli.command_class import takes
from polypseg.cli.predict_options import PredictCall
from polypseg.errors import plural

if TYPE_CHECKING:
    from polypseg.predict.images.outputs import OutputOptions
    from polypseg.predict.images.work import PredictedImages, WorkOptions
    from polypseg.predict.predictor import PredictOptions, Predictor
    from polypseg.predict.video.options import VideoOptions


@takes(PredictCall)
def predict(given: PredictCall) -> None:
    """Predict masks of images or of a video, at their own size.

    Writes masks/ (black and white PNG) and predictions.csv (one row per image: area, box, components, probabilities,
    seconds). The EXIF orientation is applied. Files that cannot be read are listed at the end, and the exit code is 1.
    With -o NAME.png, writes the mask of one image to that file. Run folders and .keras files need the extra train.

    [bold]Examples[/bold]

    polypseg predict frame.jpg -o results

    polypseg predict polyp-lite frames/ -o results --overlays --coco

    polypseg predict runs/kvasir "frames/*.png" -o results --tta flips --probabilities npz --resume

    polypseg predict model.onnx video.mp4 -o out.mp4 --withhold 6

    For a video, writes the video with masks, a CSV with one row per frame, and a timeline. A damaged video is predicted
    as far as possible, and the exit code is 1. Ctrl-C stops and keeps what is done (exit code 130).
    """
    from polypseg.errors import UsageError

    if given.out is None:
        raise UsageError("missing -o: name a folder for the results (for a video: -o NAME.mp4)")
    if given.resume and given.overwrite:
        raise UsageError("--resume and --overwrite exclude each other")
    named, paths = _split(given.model, list(given.words or ()))
    films = _films(named, paths, given.camera, given.out)
    if films:
        _film(given, named, films[0], given.out)
    else:
        _images(given, named, paths, given.out)


def _film(given: PredictCall, named: str | None, film: Path | int, out: Path) -> None:
    """Predict a video, once nothing speaks against it."""
    from polypseg.cli.stored_options import calibration_choice
    from polypseg.errors import UsageError
    from polypseg.predict.video.writer import check_output

    if given.written.review is not None or given.written.review_for != "both":
        raise UsageError("--review is for images; predict the frames of the video as images")
    _refuse_missing(film)
    check_output(out)
    options = given.masks.options(given.written.attention, *calibration_choice(given.calibration))
    call = _Call(named, given.engine, given.threads, options)
    _predict_video(film, out, call, given.film.options(given.over_time), given.overwrite)


def _images(given: PredictCall, named: str | None, paths: list[str], out: Path) -> None:
    """Predict images to a folder, or one image to a file."""
    from polypseg.cli.stored_options import calibration_choice
    from polypseg.errors import UsageError
    from polypseg.predict.images.outputs import OutputOptions
    from polypseg.predict.images.work import WorkOptions

    options = given.masks.options(given.written.attention, *calibration_choice(given.calibration))
    call = _Call(named, given.engine, given.threads, options)
    written = given.written.options()
    if not _is_picture(out):
        work = WorkOptions(given.batch_size, given.max_pixels, given.resume)
        _predict_images(paths, out, call, written, work, given.overwrite)
        return
    if given.resume or written != OutputOptions() or given.calibration not in (None, "none"):
        raise UsageError(f"-o {out} takes one mask and nothing else; for more results name a folder: -o FOLDER")
    _predict_to_file(paths, out, call, given.max_pixels, given.overwrite)


class _Call(NamedTuple):
    """How a model is opened; not before the inputs are known to be there."""

    model: str | None
    engine: str
    threads: int | None
    options: "PredictOptions"

    def load(self, streams: int = 1) -> tuple[Path, "Predictor"]:
        """The model's path, and the model ready to predict."""
        from polypseg.cli.console import import_keras_for
        from polypseg.predict.engines.packaged import resolve
        from polypseg.predict.predictor import load

        path = resolve(self.model)
        import_keras_for(path)
        return path, load(path, self.engine, self.threads, self.options, streams)


def _split(model: str | None, words: list[str]) -> tuple[str | None, list[str]]:
    """The model, or None for the packaged default, and the paths."""
    if model is None and words and _is_model(words[0], bool(words[1:])):
        return words[0], words[1:]
    return model, words


def _is_model(word: str, more_follow: bool) -> bool:
    """Whether the first word names a model: a file of one, a run folder, a packaged one, or what looks like one."""
    from glob import has_magic

    from polypseg.predict.engines.packaged import packaged_models
    from polypseg.predict.images.sources import STDIN
    from polypseg.predict.kinds import is_runnable

    path = Path(word)
    if is_runnable(word):
        return True
    if path.exists() or word == STDIN:
        return False
    known = {packaged.name for packaged in packaged_models()}
    looks_like_one = path.name == word and not path.suffix and not has_magic(word)
    return word in known or (bool(known) and more_follow and looks_like_one)


def _films(model: str | None, paths: list[str], camera: int | None, out: Path) -> list[Path | int]:
    """The one video or camera that is predicted; empty where images are.

    Raises:
        UsageError: A model that cannot be used or that stands among the images, a video that is not alone, or a place
            for results that is another kind's.
    """
    from polypseg.errors import UsageError
    from polypseg.predict.kinds import VIDEO_SUFFIXES, is_runnable, is_unusable_model, is_video

    for path in [*([model] if model else []), *paths]:
        if is_unusable_model(path):
            raise UsageError(
                f"{path}: a model that cannot be used: expected .onnx, .keras, .xml with .bin, .tflite with .json "
                "or a run"
            )
    late = [path for path in paths if is_runnable(path)]
    if late:
        raise UsageError(f"{late[0]}: a model among the images; name one model, first or with --model")
    films: list[Path | int] = [Path(path) for path in paths if is_video(path)]
    films += [] if camera is None else [camera]
    if films and (camera is not None) + len(paths) > 1:
        raise UsageError("predict one video or camera at a time, and nothing else with it")
    if not films and out.suffix.lower() in VIDEO_SUFFIXES:
        raise UsageError(f"{out}: named like a video, and images are given; name a folder for their results")
    return films


def _refuse_missing(film: Path | int) -> None:
    from polypseg.errors import DataError

    if isinstance(film, Path) and not film.exists():
        raise DataError(f"{film}: no such file or folder")


def _is_picture(out: Path) -> bool:
    """Whether the results' name is that of a picture instead of a folder."""
    from polypseg.preprocess import IMAGE_SUFFIXES

    return out.suffix.lower() in IMAGE_SUFFIXES and not out.is_dir()


def _predict_to_file(paths: list[str], out: Path, call: _Call, max_pixels: int, overwrite: bool) -> None:
    """The mask of one image as one file."""
    from rich.markup import escape

    from polypseg.cli.console import console
    from polypseg.errors import UsageError
    from polypseg.predict.images.outputs import write_mask
    from polypseg.predict.images.sources import find_sources
    from polypseg.records.lock import alone_at

    sources = find_sources(paths)
    if out.suffix.lower() != ".png":
        raise UsageError(f"-o {out}: a mask is written as PNG; name a file that ends in .png, or a folder")
    if len(sources) != 1:
        raise UsageError(f"-o {out} is one file, and {len(sources)} images are to be predicted; name a folder")
    if out.resolve() == Path(sources[0].path).resolve():
        raise UsageError(f"-o {out} is the image itself; name another file")
    if out.exists() and not overwrite:
        raise UsageError(f"{out} exists; replace it with --overwrite, or name another file")
    _, predictor = call.load()
    prediction = predictor.predict(sources[0].read(max_pixels))
    out.parent.mkdir(parents=True, exist_ok=True)
    with alone_at(out):
        write_mask(prediction, out)
    share = 100 * float(prediction.mask.mean())
    console.print(escape(f"wrote {out}: polyp in {share:.1f} % of the image"))


def _predict_images(
    paths: list[str],
    out: Path,
    call: _Call,
    written: "OutputOptions",
    options: "WorkOptions",
    overwrite: bool,
) -> None:
    from dataclasses import replace

    from polypseg.cli.console import track
    from polypseg.cli.stored_options import note_unused
    from polypseg.predict.engines.onnx_engine import carried_levels
    from polypseg.predict.images.outputs import OutputFolder
    from polypseg.predict.images.resume import record_of
    from polypseg.predict.images.sources import find_sources
    from polypseg.predict.images.work import predict_images, streams_for

    sources = find_sources(paths, leave_out=out)
    streams = streams_for(len(sources), call.threads) if options.batch_size == 1 else 1
    path, predictor = call.load(streams)
    streams = streams if path.suffix.lower() == ".onnx" else 1  # Keras runs one batch at a time
    note_unused(path, predictor)
    promise = predictor.options.calibration
    if promise is not None:
        written = replace(written, outer=promise.outer is not None, inner=promise.inner is not None)
    levels = carried_levels(predictor.engine.facts) if written.attention else ()
    output = OutputFolder(out, written, levels)
    output.check(sources, may_replace=options.resume or overwrite)
    record = record_of(path, predictor)
    options = replace(options, streams=streams)
    _show_images(predict_images(sources, output, predictor, record, options, track))


def _show_images(summary: "PredictedImages") -> None:
    """Print what was done; raise where files are faulty."""
    from rich.markup import escape

    from polypseg.cli.console import console
    from polypseg.errors import DataError, listed

    if summary.num_predicted or summary.num_done_before:
        rate = summary.num_predicted / summary.seconds if summary.seconds else 0.0
        before = f"; {summary.num_done_before:,} were already done" if summary.num_done_before else ""
        plural = "" if summary.num_predicted == 1 else "s"
        console.print(
            f"predicted {summary.num_predicted:,} image{plural} in {summary.seconds:.1f} s "
            f"({rate:.1f} a second){before}"
        )
        console.print(
            escape(f"wrote {', '.join(map(str, summary.written))}, masks in {summary.written[0].parent / 'masks'}")
        )
    for note in summary.notes[:5]:
        console.print(f"[yellow]note:[/yellow] {escape(note)}")
    if len(summary.notes) > 5:
        console.print(f"[yellow]note:[/yellow] {len(summary.notes) - 5} more files with such a note")
    if summary.faults:
        total = summary.num_predicted + summary.num_done_before + len(summary.faults)
        others = "" if len(summary.faults) == total else "; the others are done"
        raise DataError(
            f"{len(summary.faults):,} of {total:,} image{'s' * (total != 1)} could not be predicted{others}:"
            f"{listed(summary.faults, 1000)}"
        )


def _predict_video(source: Path | int, out: Path, call: _Call, options: "VideoOptions", overwrite: bool) -> None:
    from importlib.util import find_spec

    from rich.markup import escape

    from polypseg.cli.console import console, track
    from polypseg.cli.stored_options import note_unused
    from polypseg.errors import UsageError
    from polypseg.predict.video.work import predict_video

    there = [str(path) for path in (out, out.with_suffix(".csv"), out.with_suffix(".png")) if path.exists()]
    if there and not overwrite:
        raise UsageError(f"{', '.join(there)}: exists; replace it with --overwrite, or name another file")
    path, predictor = call.load()
    note_unused(path, predictor)
    if options.smoothing != "none" and predictor.options.calibration is not None and predictor.options.stored:
        console.print("[yellow]note:[/yellow] --smooth: the stored calibration is for frames as they are, not used")
        predictor = predictor.with_options(calibration=None)
    summary = predict_video(source, out, predictor, options, track)
    written = [summary.video, summary.table]
    if find_spec("matplotlib") is not None:
        from polypseg.report.timeline import timeline

        written.append(timeline(summary.table, summary.table.with_suffix(".png")))
    for note in summary.notes():
        console.print(f"[yellow]note:[/yellow] {escape(note)}")
    console.print(
        f"predicted {plural(summary.num_frames, 'frame')} in {summary.seconds:.1f} s "
        f"({summary.frames_per_second:.1f} a second), {summary.num_with_polyp:,} of them with a polyp "
        f"({summary.num_tracks:,} numbered)"
    )
    console.print(escape(f"wrote {', '.join(map(str, written))}"))
    if summary.interrupted and isinstance(source, Path):  # of a camera it is the usual end
        raise typer.Exit(130)
    if not summary.is_whole:
        raise typer.Exit(1)
