"""A server from the command line: its socket, its log, its end; for `serve` and `annotate`."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from polypseg.serve.settings import Settings


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
    from polypseg.serve.log import open_log
    from polypseg.serve.server import make_server, open_socket, share_memory
    from polypseg.serve.settings import LOOPBACK_HOSTS

    is_local = host in LOOPBACK_HOSTS
    settings = settings.model_copy(update={"allowed_hosts": LOOPBACK_HOSTS if is_local else ()})
    share_memory()
    with open_socket(host, port) as listening:
        app = create_app(settings)
        open_log(with_requests=not quiet)
        if not is_local and settings.token is None:
            messages.print("[yellow]note:[/yellow] other machines may call this server, and no token is set")
        note_unused(resolve(settings.model), app.state.service.predictor)
        labelling = app.state.service.labelling
        if labelling is not None:
            for note in [*labelling.project.notes, *(f"{name}: {why}" for name, why in labelling.project.left_out)]:
                messages.print(f"note: {note}", markup=False)
        shown = f"[{host}]" if ":" in host else host
        console.print(f"polypseg serves http://{shown}:{listening.getsockname()[1]} (Ctrl-C ends)")
        asyncio.run(make_server(app, host, port, is_whole_process=True).serve([listening]))
