"""The process: a socket, an application, and an end that loses nothing.

Decisions:
- At the first signal the server takes no more work (503) but still answers for jobs, until what was accepted is
  finished and its clients have heard of it, or `shutdown_seconds` are over; a second signal ends it at once.
- uvicorn's own log of requests is off: it holds addresses and paths. What is logged is `guard.py`'s line.
"""

import logging
import socket
from time import monotonic
from types import FrameType

import uvicorn
from fastapi import FastAPI

from polypseg.errors import UsageError
from polypseg.serve.service import Service

KEEP_ALIVE_SECONDS = 15

SENDING_SECONDS = 2
"""For answers that are still being sent when the server has drained."""


class DrainingServer(uvicorn.Server):
    """A uvicorn server that first drains, then ends."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service, self._until = service, float("inf")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain; the second time, end at once."""
        if self._service.drain.is_draining:
            self._until = 0.0
            super().handle_exit(sig, frame)
            self.force_exit = True
            return
        self._service.drain.is_draining = True
        self._until = monotonic() + self._service.settings.shutdown_seconds

    async def on_tick(self, counter: int) -> bool:
        """Whether to end now."""
        draining = self._service.drain.is_draining
        if draining and (not self._service.num_unfinished or monotonic() > self._until):
            self.should_exit = True
        return await super().on_tick(counter)


def make_server(app: FastAPI, host: str, port: int) -> DrainingServer:
    """A server for an application that `create_app` made."""
    service: Service = app.state.service
    for name in ("PIL", "python_multipart"):  # they tell of what they find in damaged files and forms
        logging.getLogger(name).setLevel(logging.CRITICAL)
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=SENDING_SECONDS,
    )
    return DrainingServer(config, service)


def open_socket(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        UsageError: The port is taken, or the host is not of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Without the protocol asyncio does not switch Nagle's algorithm off, and each answer waits 40 ms for a receipt.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(2048)
    except OSError as error:
        listening.close()
        raise UsageError(
            f"cannot listen on {host} port {port} ({error.strerror}); choose others: --host, --port"
        ) from error
    return listening


def log_requests() -> None:
    """Let the line of each request appear on standard error."""
    logger = logging.getLogger("polypseg.serve")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
