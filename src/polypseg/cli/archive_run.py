"""`polypseg archive run`: predict every video of an archive that has no result yet."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from polypseg.archive.options import ArchiveOptions, Job
    from polypseg.archive.run import RunSummary
    from polypseg.archive.slots import Slot

PREDICTION, WORKERS, WRITTEN, VIDEO = "Prediction", "Workers", "Output", "Video"


def run(
    archive: Annotated[Path, typer.Argument(metavar="ARCHIVE", help="Folder of the archive.")],
    model: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Included model, .onnx file or run folder (default: polyp-lite)."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Workers; default: one per core, or what the cluster holds.", rich_help_panel=WORKERS),
    ] = None,
    part: Annotated[
        str,
        typer.Option(metavar="I/N", help="Predict the I-th of N parts, as 2/5.", rich_help_panel=WORKERS),
    ] = "1/1",
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Use Ray: local (this machine), auto (the cluster of this machine) or an address.",
            rich_help_panel=WORKERS,
        ),
    ] = None,
    cpus: Annotated[int, typer.Option(min=1, help="Processor cores per worker.", rich_help_panel=WORKERS)] = 1,
    gpus: Annotated[float, typer.Option(min=0, help="GPUs per worker; with --ray only.", rich_help_panel=WORKERS)] = 0,
    tries: Annotated[
        int, typer.Option(min=1, help="Set a video aside after so many failures.", rich_help_panel=WORKERS)
    ] = 3,
    timeout: Annotated[
        float | None,
        typer.Option(
            min=0, metavar="SECONDS", help="End a worker after so long at one video.", rich_help_panel=WORKERS
        ),
    ] = None,
    retry: Annotated[
        bool, typer.Option("--retry", help="Try videos again that were set aside.", rich_help_panel=WORKERS)
    ] = False,
    masks: Annotated[
        str, typer.Option(metavar="NAME", help="Write masks: none, rle (a table) or png.", rich_help_panel=WRITTEN)
    ] = "none",
    video: Annotated[
        bool, typer.Option("--video", help="Write videos with their masks.", rich_help_panel=WRITTEN)
    ] = False,
    frames_every: Annotated[
        str, typer.Option(metavar="SECONDS", help="Predict one frame per interval, as 0.2s.", rich_help_panel=VIDEO)
    ] = "0",
    smooth: Annotated[
        str, typer.Option(metavar="NAME", help="Smooth over time: none, exponential or window.", rich_help_panel=VIDEO)
    ] = "none",
    smooth_frames: Annotated[int, typer.Option(help="Number of frames to smooth over.", rich_help_panel=VIDEO)] = 5,
    withhold: Annotated[
        int, typer.Option(metavar="FRAMES", help="Hide detections of at most this many frames.", rich_help_panel=VIDEO)
    ] = 0,
    deinterlace: Annotated[
        bool,
        typer.Option("--deinterlace", help="Take the lines of interlaced frames apart.", rich_help_panel=VIDEO),
    ] = False,
    threshold: Annotated[
        float | None,
        typer.Option(help="Threshold of the probability; default: the model's own.", rich_help_panel=PREDICTION),
    ] = None,
    tta: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Test-time augmentation: none, or flips (mean of four mirror images, four times the work).",
            rich_help_panel=PREDICTION,
        ),
    ] = "none",
    field: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What of a frame the model sees: auto (the lit picture) or whole; unset: as the model was trained.",
            rich_help_panel=PREDICTION,
        ),
    ] = None,
    min_area: Annotated[
        int, typer.Option(min=0, help="Remove smaller components (pixels) from the mask.", rich_help_panel=PREDICTION)
    ] = 0,
    engine: Annotated[
        str,
        typer.Option(metavar="NAME", help="Engine: auto, onnxruntime, openvino or keras.", rich_help_panel=PREDICTION),
    ] = "auto",
) -> None:
    """Predict every video of the archive that has no result yet.

    A result appears whole or not at all, under a name made of the video's digest, the model's and the options. Call it
    again after a stop, or on several machines at once: only what is missing is done. Damaged videos become rows with
    their fault. A video at which workers die is set aside after --tries. The exit code is 1 if a video that was open
    could not be done.

    [bold]Examples[/bold]

    polypseg archive run archive --model polyp-lite --withhold 6

    polypseg archive run archive --workers 8 --masks rle --frames-every 0.2s

    polypseg archive run archive --ray auto --gpus 0.5
    """
    from polypseg.archive.options import ArchiveOptions
    from polypseg.archive.run import Part, run_archive
    from polypseg.archive.store import open_run
    from polypseg.cli.console import console, track
    from polypseg.predict.predictor import PredictOptions
    from polypseg.predict.video.options import VideoOptions
    from polypseg.preprocess import field_rule

    options = ArchiveOptions(
        PredictOptions(threshold, tta, min_area, field=field_rule(field)),
        VideoOptions(smooth, smooth_frames, withhold, deinterlace=deinterlace),
        masks,
        video,
        _seconds(frames_every),
    )
    chosen = Part.of(part)
    job = _job(archive, model, engine, cpus, options)
    store = open_run(job.archive, job.load()[1])
    if retry:
        console.print(f"{store.allow_again():,} videos that were set aside are tried again")
    slots = _slots(job, store.run, (workers, cpus, gpus), ray, timeout)
    console.print(f"run {store.run}, {len(slots)} workers")
    _show_run(run_archive(store, slots, chosen, tries, track))


def _seconds(text: str) -> float:
    """The seconds of a text as 0.2s or 0.2."""
    from polypseg.errors import UsageError

    try:
        return float(text.strip().removesuffix("s"))
    except ValueError:
        raise UsageError(f"--frames-every {text}: expected seconds, as 0.2s") from None


def _job(archive: Path, model: str | None, engine: str, cpus: int, options: "ArchiveOptions") -> "Job":
    """The job, with paths that hold on every machine."""
    from polypseg.archive.manifest import read_facts
    from polypseg.archive.options import Job
    from polypseg.cli.console import import_keras_quietly
    from polypseg.predict.engines.hub import fetch, is_hub
    from polypseg.predict.engines.packaged import resolve

    read_facts(archive)  # before a model is loaded for nothing
    path = resolve(model)
    if path.is_dir() or path.suffix.lower() == ".keras":
        import_keras_quietly()
    if is_hub(model):
        model = fetch(str(model)).address  # each machine fetches this very commit
    named = model if model is None or not Path(model).exists() else str(path.absolute())
    return Job(archive.absolute(), named, engine, cpus, options)


def _slots(
    job: "Job", run: str, size: tuple[int | None, int, float], ray: str | None, timeout: float | None
) -> "Sequence[Slot]":
    from polypseg.errors import UsageError
    from polypseg.machine import usable_cores

    workers, cpus, gpus = size
    if ray is None:
        from polypseg.archive.slots import ProcessSlot

        if gpus:
            raise UsageError("--gpus needs --ray, which places workers on GPUs")
        return [ProcessSlot(job, run, timeout) for _ in range(workers or max(1, usable_cores() // cpus))]
    from polypseg.archive.ray_slots import RaySlot, connect

    cores = connect(ray)
    return [RaySlot(job, run, timeout, cpus, gpus) for _ in range(workers or max(1, cores // cpus))]


def _show_run(done: "RunSummary") -> None:
    """Print what was done; raise where videos are not done."""
    from polypseg.archive.worker import Came
    from polypseg.cli.console import console
    from polypseg.errors import ArchiveError, listed

    rate = done.num_frames / done.seconds if done.seconds else 0.0
    before = done.num_before + done.came[Came.BEFORE]
    states = ", ".join(f"{number:,} {state}" for state, number in sorted(done.before.items()))
    console.print(
        f"predicted {done.came[Came.DONE]:,} videos, {done.num_frames:,} frames in {done.seconds:.1f} s ({rate:.1f} a "
        f"second); {before:,} were dealt with before{f' ({states})' if states else ''}"
    )
    if done.num_deaths:
        console.print(f"[yellow]note:[/yellow] workers died {done.num_deaths:,} times, and were replaced")
    if done.reasons:
        raise ArchiveError(f"{len(done.reasons):,} videos are not done; the others are:{listed(done.reasons, 100)}")
