"""`polypseg serve`: the page and the REST API around one model."""

from pathlib import Path
from typing import Annotated

import typer

from polypseg.cli.prediction_options import CalibrationChoice, EngineName

BOUNDS = "Limits"


def serve(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL]",
            envvar="POLYPSEG_MODEL",
            help="A run folder, an .onnx or .keras file, or an included model.",
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(envvar="POLYPSEG_HOST", help="Address to listen on; 0.0.0.0 allows other machines.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(envvar="POLYPSEG_PORT", min=0, max=65535, help="Port; 0: any free port.")] = 8000,
    token: Annotated[
        str | None,
        typer.Option(envvar="POLYPSEG_TOKEN", show_envvar=True, help="Bearer token that requests must send."),
    ] = None,
    engine: EngineName = "auto",
    engines: Annotated[
        int, typer.Option(min=1, max=64, help="Engines in parallel: more requests per second, each slower.")
    ] = 1,
    threads: Annotated[int | None, typer.Option(min=1, help="Maximum number of processor cores per engine.")] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Maximum number of images per batch, from different requests.")
    ] = None,
    calibration: CalibrationChoice = None,
    project: Annotated[
        Path | None, typer.Option(help="Folder of a project of corrections to open (see polypseg annotate).")
    ] = None,
    reference: Annotated[
        Path | None, typer.Option(help="Data set that the model was trained on, for trainings of the project.")
    ] = None,
    anonymise: Annotated[
        bool,
        typer.Option(
            "--anonymise", help="Blank everything outside the endoscope's picture in uploads, and text inside it."
        ),
    ] = False,
    label_studio: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Act as a machine learning backend of this Label Studio server, at /label-studio."
        ),
    ] = None,
    label_studio_key: Annotated[
        str | None,
        typer.Option(envvar="POLYPSEG_LABEL_STUDIO_KEY", show_envvar=True, help="Access token of Label Studio."),
    ] = None,
    cors_origin: Annotated[
        list[str] | None, typer.Option(metavar="ORIGIN", help="Other site that may call the API; can be repeated.")
    ] = None,
    max_connections: Annotated[
        int | None, typer.Option(min=16, help="Maximum number of open connections.", rich_help_panel=BOUNDS)
    ] = None,
    queue_size: Annotated[
        int | None, typer.Option(min=1, help="Maximum number of images waiting.", rich_help_panel=BOUNDS)
    ] = None,
    request_seconds: Annotated[
        float | None, typer.Option(min=0.01, help="Time limit for an image in seconds.", rich_help_panel=BOUNDS)
    ] = None,
    max_image_bytes: Annotated[
        int | None, typer.Option(min=1, help="Maximum size of an image in bytes.", rich_help_panel=BOUNDS)
    ] = None,
    max_image_pixels: Annotated[
        int | None,
        typer.Option(min=1, help="Maximum number of pixels of an image or video frame.", rich_help_panel=BOUNDS),
    ] = None,
    max_video_bytes: Annotated[
        int | None, typer.Option(min=1, help="Maximum size of a video in bytes.", rich_help_panel=BOUNDS)
    ] = None,
    job_seconds: Annotated[
        float | None, typer.Option(min=1, help="Time in seconds to keep the result of a video.", rich_help_panel=BOUNDS)
    ] = None,
    shutdown_seconds: Annotated[
        float | None,
        typer.Option(min=0, help="Time in seconds to finish accepted work at the end.", rich_help_panel=BOUNDS),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Do not log requests.")] = False,
) -> None:
    """Serve the web page and the REST API: images and videos in, masks out.

    The server accepts connections from this machine only. With --host 0.0.0.0, also set a token. Images stay in memory
    and are deleted after the answer; videos are stored in a private folder until they are deleted or too old. The log
    holds method, route, status and time. Ctrl-C finishes accepted work, for --shutdown-seconds (6) at most; a second
    Ctrl-C stops at once.

    [bold]Examples[/bold]

    polypseg serve

    polypseg serve runs/kvasir --port 9000

    POLYPSEG_TOKEN=secret polypseg serve --host 0.0.0.0
    """
    from polypseg.cli.serving import keep_reference, run_server
    from polypseg.errors import UsageError
    from polypseg.serve.settings import Settings

    if token == "":
        raise UsageError("the token is empty; set one, or leave out --token and POLYPSEG_TOKEN")
    given = {
        "batch_size": batch_size,
        "max_connections": max_connections,
        "queue_size": queue_size,
        "request_seconds": request_seconds,
        "max_image_bytes": max_image_bytes,
        "max_image_pixels": max_image_pixels,
        "max_video_bytes": max_video_bytes,
        "job_seconds": job_seconds,
        "shutdown_seconds": shutdown_seconds,
    }
    settings = Settings(
        model=model,
        engine=engine,
        num_engines=engines,
        threads=threads,
        calibration=calibration,
        project=project,
        anonymise=anonymise,
        label_studio=label_studio,
        label_studio_key=label_studio_key,
        token=token,
        cors_origins=tuple(cors_origin or ()),
        **{name: value for name, value in given.items() if value is not None},  # type: ignore[arg-type]
    )
    if reference is not None:
        keep_reference(project, reference)
    run_server(settings, host, port, quiet)
