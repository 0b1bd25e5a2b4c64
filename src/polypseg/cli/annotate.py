"""`polypseg annotate`: the page on a folder of frames, to correct masks."""

from pathlib import Path
from typing import Annotated

import typer

from polypseg.cli.prediction_options import EngineName

PROJECT = "project"
"""How a project is called where nobody says."""


def annotate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of images, or of a project.")],
    model: Annotated[
        str | None,
        typer.Option(help="Model that proposes masks: a run folder, an .onnx or .keras file, or an included model."),
    ] = None,
    project: Annotated[
        str, typer.Option(help="Name of the project, a folder in DIR; or its path, with a / in it.")
    ] = PROJECT,
    reference: Annotated[
        Path | None,
        typer.Option(
            help="Data set that the model was trained on; a share of it is stored, mixed into trainings and evaluated."
        ),
    ] = None,
    anonymise: Annotated[
        bool,
        typer.Option(
            "--anonymise", help="Correct copies in which everything outside the endoscope's picture is blanked."
        ),
    ] = False,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 allows other machines.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0: any free port.")] = 8000,
    token: Annotated[
        str | None,
        typer.Option(envvar="POLYPSEG_TOKEN", show_envvar=True, help="Bearer token that requests must send."),
    ] = None,
    engine: EngineName = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="Maximum number of processor cores.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Do not log requests.")] = False,
) -> None:
    """Correct masks in the browser: open the page on a folder of images.

    The images stay where and as they are. Corrections are saved in a project, a folder in DIR, at once. It is a data
    set: train, evaluate and data check take it. Without --model, the model that the project used last proposes
    the masks; at first it is the included one.

    [bold]Examples[/bold]

    polypseg annotate frames

    polypseg annotate frames --model runs/kvasir --project second-reading

    polypseg train --data frames/project --set train.start_from=polyp-lite
    """
    from polypseg.annotate.anonymised_project import COPIES
    from polypseg.annotate.beginning import project_for, project_place
    from polypseg.cli.console import console
    from polypseg.cli.serving import keep_reference, run_server
    from polypseg.errors import UsageError
    from polypseg.serve.settings import Settings

    found = project_for(folder, project)
    if found is None:
        found = project_place(folder, project)
        _begin(folder, found, anonymise)
        console.print(f"began the project {found}")
    elif anonymise and not (found / COPIES).is_dir():
        raise UsageError(f"{found}: was begun with the images as they are; begin another one (--project NAME)")
    if reference is not None:
        keep_reference(found, reference)
    settings = Settings(model=model, engine=engine, threads=threads, project=found, token=token, anonymise=anonymise)
    run_server(settings, host, port, quiet)


def _begin(images: Path, folder: Path, anonymise: bool) -> None:
    """Make a project of images, or of anonymous copies of them."""
    from polypseg.annotate.anonymised_project import begin_anonymised_project
    from polypseg.annotate.beginning import begin_project
    from polypseg.cli.console import messages, track

    name = images.resolve().name
    if not anonymise:
        begin_project(images, folder, name)
        return
    done = begin_anonymised_project(images, folder, name, track)
    for fault in done.faults:
        messages.print(f"note: {fault.name}: {fault.reason}", markup=False)
    messages.print(f"note: which copy is of which image: {done.key}; do not pass it on", markup=False)
