"""`polypseg archive run`: predict every video of an archive that has no result yet."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from polypseg.cli.command_class import takes
from polypseg.cli.prediction_options import VIDEO, Deinterlace, EngineName, MaskMaking, OverTime
from polypseg.errors import plural

if TYPE_CHECKING:
    from polypseg.archive.options import ArchiveJob, ArchiveOptions
    from polypseg.archive.run import RunSummary
    from polypseg.archive.slots import Slot

WORKERS, WRITTEN = "Workers", "Output"


@dataclass(frozen=True, kw_only=True)
class Workers:
    """Who does the work."""

    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of workers; default: one per core, or all that fit on the cluster.",
            rich_help_panel=WORKERS,
        ),
    ] = None
    part: Annotated[
        str,
        typer.Option(metavar="I/N", help="Predict the I-th of N parts, as 2/5.", rich_help_panel=WORKERS),
    ] = "1/1"
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Use Ray: local (this machine), auto (the cluster of this machine) or an address.",
            rich_help_panel=WORKERS,
        ),
    ] = None
    cpus: Annotated[int, typer.Option(min=1, help="Processor cores per worker.", rich_help_panel=WORKERS)] = 1
    gpus: Annotated[float, typer.Option(min=0, help="GPUs per worker; with --ray only.", rich_help_panel=WORKERS)] = 0
    tries: Annotated[
        int, typer.Option(min=1, help="Set a video aside after this many failures.", rich_help_panel=WORKERS)
    ] = 3
    timeout: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="SECONDS",
            help="Stop a worker that needs longer than this for one video.",
            rich_help_panel=WORKERS,
        ),
    ] = None
    retry: Annotated[
        bool, typer.Option("--retry", help="Try the videos again that were set aside.", rich_help_panel=WORKERS)
    ] = False


@dataclass(frozen=True, kw_only=True)
class ArchiveRunCall:
    """What the command line says."""

    archive: Annotated[Path, typer.Argument(metavar="ARCHIVE", help="Folder of the archive.")]
    model: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Included model, .onnx file or run folder (default: polyp-lite)."),
    ] = None
    staff: Workers = field(default_factory=Workers)
    masks: Annotated[
        str, typer.Option(metavar="NAME", help="Write masks: none, rle (a table) or png.", rich_help_panel=WRITTEN)
    ] = "none"
    video: Annotated[bool, typer.Option("--video", help="Write videos with their masks.", rich_help_panel=WRITTEN)] = (
        False
    )
    frames_every: Annotated[
        str, typer.Option(metavar="SECONDS", help="Predict one frame per interval, as 0.2s.", rich_help_panel=VIDEO)
    ] = "0"
    over_time: OverTime = field(default_factory=OverTime)
    deinterlace: Deinterlace = False
    making: MaskMaking = field(default_factory=MaskMaking)
    engine: EngineName = "auto"

    def options(self) -> "ArchiveOptions":
        """How the videos are predicted."""
        from polypseg.archive.options import ArchiveOptions
        from polypseg.predict.video.options import VideoOptions

        over_time = self.over_time
        video = VideoOptions(
            over_time.smooth, over_time.smooth_frames, over_time.withhold, deinterlace=self.deinterlace
        )
        return ArchiveOptions(self.making.options(), video, self.masks, self.video, _seconds(self.frames_every))


@takes(ArchiveRunCall)
def run(given: ArchiveRunCall) -> None:
    """Predict every video of the archive that has no result yet.

    A result appears whole or not at all, under a name made of the video's digest, the model's and the options. Call it
    again after a stop, or on several machines at once: only what is missing is done. Damaged videos become rows with
    their fault. A video that ends its worker --tries times is set aside. The exit code is 1 if a video could not be
    predicted.

    [bold]Examples[/bold]

    polypseg archive run archive --model polyp-lite --withhold 6

    polypseg archive run archive --workers 8 --masks rle --frames-every 0.2s

    polypseg archive run archive --ray auto --gpus 0.5
    """
    from polypseg.archive.manifest import read_facts
    from polypseg.archive.run import ArchivePart, run_archive
    from polypseg.archive.store import open_run
    from polypseg.cli.console import console, track

    staff = given.staff
    options, chosen = given.options(), ArchivePart.of(staff.part)
    read_facts(given.archive)  # before a model is loaded for nothing
    num_workers = _num_workers(staff)
    job = _job(given.archive, given.model, given.engine, staff.cpus, options)
    store = open_run(job.archive, job.load()[1])
    if staff.retry:
        again = plural(store.allow_again(), "video that was set aside is", "videos that were set aside are")
        console.print(f"{again} tried again")
    slots = [_slot(job, store.run, staff) for _ in range(num_workers)]
    console.print(f"run {store.run}, {len(slots)} workers")
    _show_run(run_archive(store, slots, chosen, staff.tries, track))


def _seconds(text: str) -> float:
    """The seconds of a text as 0.2s or 0.2."""
    from polypseg.errors import UsageError

    try:
        return float(text.strip().removesuffix("s"))
    except ValueError:
        raise UsageError(f"--frames-every {text}: expected seconds, as 0.2s") from None


def _job(archive: Path, model: str | None, engine: str, cpus: int, options: "ArchiveOptions") -> "ArchiveJob":
    """The job, with paths that hold on every machine."""
    from polypseg.archive.options import ArchiveJob
    from polypseg.cli.console import import_keras_for
    from polypseg.predict.engines.hub import fetch, is_hub
    from polypseg.predict.engines.packaged import resolve

    path = resolve(model)
    import_keras_for(path)
    if is_hub(model):
        model = fetch(str(model)).address  # each machine fetches this very commit
    named = model if model is None or not Path(model).exists() else str(path.absolute())
    return ArchiveJob(archive.absolute(), named, engine, cpus, options)


def _num_workers(staff: Workers) -> int:
    """How many workers to use, once this process is connected to Ray where that is asked for."""
    from polypseg.errors import UsageError
    from polypseg.machine import usable_cores

    if staff.ray is None:
        if staff.gpus:
            raise UsageError("--gpus needs --ray, which places workers on GPUs")
        return staff.workers or max(1, usable_cores() // staff.cpus)
    from polypseg.archive.ray_slots import connect, room_for

    connect(staff.ray)
    room = room_for(staff.cpus, staff.gpus)
    workers = staff.workers or max(1, room)
    if room < workers:
        _tell_room(staff, room, workers)
    return workers


def _slot(job: "ArchiveJob", run: str, staff: Workers) -> "Slot":
    """Where one video at a time is predicted."""
    if staff.ray is None:
        from polypseg.archive.slots import ProcessSlot

        return ProcessSlot(job, run, staff.timeout)
    from polypseg.archive.ray_slots import RaySlot

    return RaySlot(job, run, staff.timeout, staff.cpus, staff.gpus)


def _tell_room(staff: Workers, room: int, workers: int) -> None:
    """Say that workers wait for machines; refuse where none can come."""
    from polypseg.cli.console import console
    from polypseg.errors import UsageError

    needs = f"{staff.cpus} CPU" + (f" and {staff.gpus:g} GPU" if staff.gpus else "")
    if staff.ray == "local" and not room:
        raise UsageError(f"--ray local: this machine holds no worker of {needs}; use fewer --cpus or --gpus")
    console.print(
        f"[yellow]note:[/yellow] the cluster has room for {room:,} of {workers:,} workers of {needs}; the others begin "
        "when there is room"
    )


def _show_run(done: "RunSummary") -> None:
    """Print what was done; raise where videos are not done."""
    from polypseg.archive.worker import Came
    from polypseg.cli.console import console
    from polypseg.errors import ArchiveError, listed

    rate = done.num_frames / done.seconds if done.seconds else 0.0
    before = done.num_before + done.came[Came.BEFORE]
    states = ", ".join(f"{number:,} {state}" for state, number in sorted(done.before.items()))
    console.print(
        f"predicted {plural(done.came[Came.DONE], 'video')}, {plural(done.num_frames, 'frame')} "
        f"in {done.seconds:.1f} s ({rate:.1f} a "
        f"second); {before:,} were dealt with before{f' ({states})' if states else ''}"
    )
    if done.num_deaths:
        console.print(f"[yellow]note:[/yellow] workers died {done.num_deaths:,} times, and were replaced")
    if done.reasons:
        raise ArchiveError(
            f"{plural(len(done.reasons), 'video is', 'videos are')} "
            f"not done; the others are:{listed(done.reasons, 100)}"
        )
