"""The process: a socket, an application, and an end that loses nothing and comes soon.

Decisions:
- At the first signal the server takes no more work (503) but still answers for jobs, until what was accepted is
  finished and its clients have heard of it, or `shutdown_seconds` are over; a second signal ends it at once.
- A run of an engine cannot be stopped from outside. Where one still lasts when all else has ended, the process ends
  without it, its files removed: `LAST_SECONDS` after the rest.
- glibc gives threads memory of their own (up to eight parts a core), and each part keeps the most that its threads ever
  held: under load a server grows until all have met the largest requests. Few parts keep it flat, and small.
- uvicorn's own log of requests is off: it holds addresses and paths. What is logged is `guard.py`'s line.
"""

import ctypes
import functools
import logging
import os
import socket
import threading
from contextlib import suppress
from time import monotonic
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from polypseg.errors import UsageError
from polypseg.serve.connections import BACKLOG, KEEP_ALIVE_SECONDS, BoundedProtocol, make_limits, sweep
from polypseg.serve.service import Service

SENDING_SECONDS = 2
"""For answers that are still being sent when the server has drained."""

LAST_SECONDS = 1.5
"""For the end itself: threads and files."""

MALLOC_ARENAS, _M_ARENA_MAX = 2, -8
"""Parts of memory in which all threads share, and glibc's number of that setting (malloc.h)."""

logger = logging.getLogger("polypseg.serve")


def share_memory() -> bool:
    """Let all threads share few parts of memory, and say whether that was set.

    It is not where the user set their number (MALLOC_ARENA_MAX), or the C library is no glibc. Call it before threads
    start.
    """
    if "MALLOC_ARENA_MAX" in os.environ:
        return False
    with suppress(AttributeError, OSError, TypeError):  # no such function, or no C library of that kind
        return bool(ctypes.CDLL(None).mallopt(_M_ARENA_MAX, MALLOC_ARENAS))
    return False


class DrainingServer(uvicorn.Server):
    """A uvicorn server that first drains, then ends.

    Args:
        config: Of uvicorn.
        service: Whose work is finished.
        is_whole_process: Whether the process ends with it, by force where an engine still runs.
    """

    def __init__(self, config: uvicorn.Config, service: Service, is_whole_process: bool) -> None:
        super().__init__(config)
        self._service, self._is_whole_process = service, is_whole_process

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain; the second time, end at once."""
        drain = self._service.drain
        if drain.is_draining:
            drain.until = 0.0
            super().handle_exit(sig, frame)
            self.force_exit = True
            self._end_within(LAST_SECONDS)
            return
        drain.begin(self._service.settings.shutdown_seconds)
        self._end_within(self._service.settings.shutdown_seconds + SENDING_SECONDS + LAST_SECONDS)

    async def on_tick(self, counter: int) -> bool:
        """Whether to end now; once a second connections that are overdue are ended."""
        drain = self._service.drain
        if drain.is_draining and (not self._service.num_unfinished or monotonic() > drain.until):
            self.should_exit = True
        if counter % 10 == 0:
            sweep(self.server_state.connections)
        return await super().on_tick(counter)

    def _end_within(self, seconds: float) -> None:
        if not self._is_whole_process:
            return
        timer = threading.Timer(seconds, self._end_by_force)
        timer.daemon = True
        timer.start()

    def _end_by_force(self) -> None:
        logger.warning("ended while the engine was still running")
        self._service.abandon()
        logging.shutdown()
        os._exit(1)


def make_server(app: FastAPI, host: str, port: int, is_whole_process: bool = False) -> DrainingServer:
    """A server for an application that `create_app` made.

    Args:
        app: The application.
        host: Of the socket that it will be given.
        port: Of the socket.
        is_whole_process: Whether the process has nothing else to do and ends with the server.
    """
    service: Service = app.state.service
    protocol: Any = functools.partial(BoundedProtocol, make_limits(service.settings))
    for name in ("PIL", "python_multipart"):  # they tell of what they find in damaged files and forms
        logging.getLogger(name).setLevel(logging.CRITICAL)
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=protocol,
        backlog=BACKLOG,
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=SENDING_SECONDS,
    )
    return DrainingServer(config, service, is_whole_process)


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
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise UsageError(
            f"cannot listen on {host} port {port} ({error.strerror}); choose others: --host, --port"
        ) from error
    return listening
