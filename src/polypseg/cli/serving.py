"""A server from the command line: its socket, its log, its end; for `serve` and `annotate`."""

from pathlib import Path
from typing import TYPE_CHECKING

from polypseg.errors import plural

if TYPE_CHECKING:
    from polypseg.serve.settings import Settings


NO_REFERENCE = (
    "no reference set: when the model is trained again, what it knew before is neither mixed in nor tested, and it may "
    "forget it (--reference DIR)"
)


def keep_reference(project: Path | None, source: Path) -> None:
    """Store a share of a data set in a project, where it has none yet.

    Raises:
        UsageError: There is no project.
    """
    from polypseg.annotate.reference import store_reference
    from polypseg.cli.console import console, track
    from polypseg.errors import UsageError
    from polypseg.records.lock import alone_in
    from polypseg.records.project import read_project

    if project is None:
        raise UsageError("--reference belongs to a project; name one (--project)")
    read_project(project)
    with alone_in(project):
        found = store_reference(project, source, track=track)
    console.print(
        f"reference set: {plural(found.train, 'frame is', 'frames are')} trained with, {found.test} to compare models"
    )


def run_server(settings: "Settings", host: str, port: int, quiet: bool) -> None:
    """Serve until Ctrl-C.

    Args:
        settings: Of the server; what it answers to on the loopback is added.
        host: Address to listen on.
        port: 0 for any free one.
        quiet: Do not log requests.

    Raises:
        UsageError: It cannot listen there, or the token is empty.
    """
    import asyncio

    from polypseg.cli.console import console, messages
    from polypseg.cli.stored_options import note_unused
    from polypseg.predict.engines.packaged import resolve
    from polypseg.serve.api import create_app
    from polypseg.serve.log import bounded_log
    from polypseg.serve.server import make_server, open_socket, share_memory
    from polypseg.serve.settings import LOOPBACK_HOSTS

    is_local = host in LOOPBACK_HOSTS
    settings = settings.model_copy(update={"allowed_hosts": LOOPBACK_HOSTS if is_local else ()})
    share_memory()
    with open_socket(host, port) as listening:
        app = create_app(settings)
        with bounded_log(with_requests=not quiet):
            if not is_local and settings.token is None:
                messages.print("[yellow]note:[/yellow] other machines may call this server, and no token is set")
            service = app.state.service
            note_unused(resolve(service.settings.model), service.predictor)
            if service.project is not None:
                labelling = service.project.labelling
                for note in [*labelling.project.notes, *(f"{name}: {why}" for name, why in labelling.project.left_out)]:
                    messages.print(f"note: {note}", markup=False)
                if not labelling.has_reference:
                    messages.print(f"note: {NO_REFERENCE}", markup=False)
            shown = f"[{host}]" if ":" in host else host
            console.print(f"polypseg serves http://{shown}:{listening.getsockname()[1]} (Ctrl-C ends)")
            asyncio.run(make_server(app, host, port, is_whole_process=True).serve([listening]))
