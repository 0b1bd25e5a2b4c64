"""`polypseg archive`: many videos, planned, predicted exactly once each, summarised."""

from pathlib import Path
from typing import Annotated

import typer

from polypseg.cli.archive_run import run
from polypseg.cli.console import one_line_errors
from polypseg.errors import plural

app = typer.Typer(
    no_args_is_help=True,
    help="Predict an archive of videos: each exactly once, on one machine or on a Ray cluster.",
    rich_markup_mode="rich",
)

Archive = Annotated[Path, typer.Argument(metavar="ARCHIVE", help="Folder of the archive.")]
RunOption = Annotated[
    str | None,
    typer.Option("--run", metavar="NAME", help="Name of the run, or its beginning; needed if there are several."),
]


@app.command()
@one_line_errors
def plan(
    source: Annotated[
        str,
        typer.Argument(
            metavar="DIR|LIST",
            help="Folder with videos; or a text file with a path or URL per line; or a CSV or Parquet file with a "
            "column path; or the URL of a folder (s3://…).",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="ARCHIVE", help="Folder of the archive.")],
    identify: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="How to tell videos apart: content (SHA-256 of every file) or stamp (path, size and time; fast).",
        ),
    ] = "content",
    images: Annotated[
        bool,
        typer.Option("--images", help="Take images too, in chunks of a folder (about 256); a list may name folders."),
    ] = False,
) -> None:
    """List the videos in ARCHIVE/manifest.csv: digest, size, time, duration, frames, codec.

    Call it again after videos were added or changed: only those are read. Files that cannot be opened stay in the list,
    with the reason.

    [bold]Examples[/bold]

    polypseg archive plan /videos -o archive

    polypseg archive plan list.txt -o archive --identify stamp

    polypseg archive plan /frames -o archive --images
    """
    from rich.markup import escape

    from polypseg.archive.manifest import MANIFEST_NAME
    from polypseg.archive.plan import plan_archive
    from polypseg.cli.console import console, track

    done = plan_archive(source, out, identify, track, images)
    console.print(
        f"{plural(done.num_videos, 'video')}, {done.video_seconds / 3600:,.1f} hours, {done.num_bytes / 1e9:,.2f} GB: "
        f"{done.num_new:,} new, {done.num_changed:,} changed, {done.num_gone:,} gone, {done.num_faulty:,} faulty"
    )
    if done.num_forgotten:
        console.print(f"[yellow]note:[/yellow] {done.num_forgotten:,} forgotten videos were found and left out")
    console.print(escape(f"wrote {out / MANIFEST_NAME}"))


app.command()(one_line_errors(run))


@app.command()
@one_line_errors
def status(archive: Archive, run: RunOption = None) -> None:
    """Show what the archive holds and how far its runs are."""
    from rich.table import Table

    from polypseg.archive.status import archive_status
    from polypseg.archive.store import State
    from polypseg.cli.console import console

    found = archive_status(archive, run)
    console.print(
        f"{plural(found.num_videos, 'video')} ({plural(found.num_rows, 'file')}, {found.num_missing:,} missing), "
        f"{plural(found.num_frames, 'frame')}, {found.video_seconds / 3600:,.1f} hours, {found.num_bytes / 1e9:,.2f} GB"
    )
    if not found.runs:
        console.print("no run yet: polypseg archive run")
        return
    table = Table("run", "model", "done", "faulty", "set aside", "open", "hours done", box=None)
    for each in found.runs:
        counts = [f"{each.states[state]:,}" for state in (State.DONE, State.FAULTY, State.ASIDE, State.OPEN)]
        table.add_row(each.run, str(each.record.get("model")), *counts, f"{each.seconds_done / 3600:,.1f}")
    console.print(table)
    for each in found.runs:
        if each.num_stray:
            console.print(
                f"[yellow]note:[/yellow] {each.run}: {each.num_stray:,} results of videos not in the manifest"
            )


@app.command()
@one_line_errors
def verify(
    archive: Archive,
    inputs: Annotated[bool, typer.Option("--inputs", help="Check the videos too.")] = False,
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove damaged results; the next run makes them again.")
    ] = False,
) -> None:
    """Check that no result has changed; with --inputs, also that no video has changed since the plan."""
    from polypseg.archive.verify import verify_archive
    from polypseg.cli.console import console, track
    from polypseg.errors import ArchiveError, listed

    found = verify_archive(archive, inputs, remove, track)
    looked = f", {plural(found.num_inputs, 'video')}" if inputs else ""
    console.print(f"read {found.num_results:,} results{looked}")
    if found.num_left:
        console.print(
            f"[yellow]note:[/yellow] {plural(found.num_left, 'folder')} of work that is going on or was killed"
        )
    if remove:
        console.print(f"removed {found.num_removed:,}; the next run makes them again")
    faults = found.damaged + found.changed
    if faults:
        mend = "" if remove else "; --remove removes damaged results, plan notes changed videos"
        raise ArchiveError(
            f"{plural(len(found.damaged), 'result is', 'results are')} damaged, {plural(len(found.changed), 'video')} "
            f"changed{mend}:"
            f"{listed(faults, 1000)}"
        )


@app.command()
@one_line_errors
def summary(
    archive: Archive,
    run: RunOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for the tables (default: ARCHIVE/summary/RUN).")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing summary.")] = False,
) -> None:
    """Write Parquet tables: frames (one folder per video), detections, and one row per procedure (also as CSV).

    DuckDB, Polars, pandas and Spark read them without polypseg.
    """
    from rich.markup import escape

    from polypseg.archive.store import the_run
    from polypseg.archive.summary import summarise
    from polypseg.cli.console import console, track

    done = summarise(the_run(archive, run), out, overwrite, track)
    console.print(
        f"{plural(done.num_procedures, 'procedure')}, {done.num_done:,} of them done: "
        f"{plural(done.num_frames, 'frame')}, {done.num_detections:,} detections, in {done.seconds:.1f} s"
    )
    console.print(escape(f"wrote {done.folder}"))


@app.command()
@one_line_errors
def forget(
    archive: Archive,
    digest: Annotated[str, typer.Argument(help="Digest of the video (column video), or at least its first 8 digits.")],
) -> None:
    """Remove all that the archive holds of a video: results of all runs, rows of manifest and summaries.

    The video itself stays where it is. Its digest is kept in forgotten.txt, so that it does not come back.
    """
    from rich.markup import escape

    from polypseg.archive.forget import forget_video
    from polypseg.cli.console import console

    done = forget_video(archive, digest)
    console.print(
        f"forgot {done.video}: results of {plural(len(done.runs), 'run')}, {plural(done.num_rows, 'row')} of summaries"
    )
    for path in done.paths:
        console.print(escape(f"the video itself is still there: {path}"))
