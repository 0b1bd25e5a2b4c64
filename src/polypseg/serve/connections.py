"""Connections: how many are open, and how long each may keep the server waiting.

Decisions:
- uvicorn bounds only an idle keep-alive connection. Here every wait for a client is bounded: for the head of a request,
  and for an answer to be read. The wait for a body is bounded by `uploads.py`, which can answer it (408).
- Where all places are taken, the connection that has waited longest for its client gives way to the new one, so that
  silent sockets never shut others out. Only where all places are at work is the new one refused (503).
- The limit leaves descriptors free for files and for what the kernel has accepted already: asyncio answers a lack of
  them with thousands of log lines a second.
"""

import asyncio
from http import HTTPStatus
from typing import Any, NamedTuple

from uvicorn.protocols.http.h11_impl import H11Protocol

from polypseg.serve.problems import MEDIA_TYPE
from polypseg.serve.schemas import Problem
from polypseg.serve.settings import Settings

BACKLOG = 128
"""Connections that the kernel holds ready, and that asyncio accepts in one go."""

RESERVED_FILES = 128 + BACKLOG
"""Descriptors that connections may not take: the model, videos, and what is accepted in one go."""

FEWEST_CONNECTIONS = 16

KEEP_ALIVE_SECONDS = 15
"""An idle connection is kept so long after an answer."""

CLOSING_SECONDS = 5.0
"""For the last bytes of a connection that is being closed."""

PATIENCE_SECONDS = 1.0
"""A body that gave nothing for so long may give way to another connection."""


class Limits(NamedTuple):
    """The bounds of connections.

    Attributes:
        max_connections: Open at once.
        head_seconds: From a new connection to the whole head of its first request.
        stall_seconds: For which a client may leave an answer unread.
    """

    max_connections: int
    head_seconds: float
    stall_seconds: float


def make_limits(settings: Settings) -> Limits:
    """The limits of a server, the number of connections cut to what the process may open."""
    number = connections_within(settings.max_connections)
    return Limits(number, settings.head_seconds, settings.stall_seconds)


def connections_within(wanted: int) -> int:
    """As many connections as are wanted, or as the process may open; its soft limit is raised where that helps."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows, which knows no such limit
        return wanted
    needed, infinity = wanted + RESERVED_FILES, resource.RLIM_INFINITY
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != infinity and soft < needed:
        soft = needed if hard == infinity else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == infinity else max(FEWEST_CONNECTIONS, min(wanted, soft - RESERVED_FILES))


class BoundedProtocol(H11Protocol):
    """One connection. `sweep` ends those that keep the server waiting too long.

    Args:
        limits: The bounds.
        uvicorn: What uvicorn gives to its protocol.
    """

    def __init__(self, limits: Limits, **uvicorn: Any) -> None:
        super().__init__(**uvicorn)
        self._limits = limits
        self._began = self._progress = self.loop.time()
        self._head_seconds = limits.head_seconds
        self._stalled: float | None = None
        self._closing: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a place, or that of the connection that waits longest; refuse where all are at work."""
        super().connection_made(transport)
        if len(self.connections) <= self._limits.max_connections:
            return
        longest = self._longest_waiting()
        if longest is None:
            detail = "too many connections at once; come again shortly"
            self._refuse(Problem(title="Busy", status=503, detail=detail))
        else:
            longest.end()

    def data_received(self, data: bytes) -> None:
        """Note that something came."""
        self._progress = self.loop.time()
        super().data_received(data)

    def on_response_complete(self) -> None:
        """Begin to wait for the next request."""
        self._began = self.loop.time()
        self._head_seconds = KEEP_ALIVE_SECONDS + self._limits.head_seconds
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Begin to wait for the client to read."""
        self._stalled = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Note that the client reads."""
        self._stalled = None
        super().resume_writing()

    @property
    def is_at_rest(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def waits_for_body(self) -> bool:
        """Whether the client has not sent all that it announced, and it is not the server that stopped reading."""
        return not self.is_at_rest and self.cycle.more_body and not self.flow.read_paused

    @property
    def waiting_since(self) -> tuple[int, float] | None:
        """How it ranks among those that wait for their client, the first to give way first; None where it is at work.

        Those that never asked for anything come first, then those between two requests, then those in a body or an
        answer; among these the one that waits longest.
        """
        if self.is_at_rest:
            return 0 if self.cycle is None else 1, self._began
        if self.waits_for_body and self.loop.time() - self._progress > PATIENCE_SECONDS:
            return 2, self._progress
        return None if self._stalled is None else (2, self._stalled)

    def is_overdue(self) -> bool:
        """Whether it has kept the server waiting too long."""
        now = self.loop.time()
        if self.transport.is_closing():
            self._closing = now if self._closing is None else self._closing
            return now - self._closing > CLOSING_SECONDS
        if self._stalled is not None and now - self._stalled > self._limits.stall_seconds:
            return True
        return self.is_at_rest and now - self._began > self._head_seconds

    def end(self) -> None:
        """Close it at once, whatever is still to be sent."""
        self.connections.discard(self)
        self.transport.abort()

    def _longest_waiting(self) -> "BoundedProtocol | None":
        others = (one for one in self.connections if one is not self and isinstance(one, BoundedProtocol))
        waiting = [(since, one) for one in others if (since := one.waiting_since) is not None]
        return min(waiting, key=lambda pair: pair[0])[1] if waiting else None

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP; where an answer has begun already, only the end is left."""
        if self.is_at_rest:
            self._refuse(
                Problem(title="Not HTTP", status=400, detail="the request is no HTTP, or its head is too long")
            )
        else:
            self.end()

    def _refuse(self, problem: Problem) -> None:
        body = problem.model_dump_json().encode()
        head = (
            f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}\r\nContent-Type: {MEDIA_TYPE}\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n"
            + ("Retry-After: 1\r\n" if problem.status == HTTPStatus.SERVICE_UNAVAILABLE else "")
        )
        self.transport.write(f"{head}\r\n".encode() + body)
        self.transport.close()


def sweep(connections: set[Any]) -> None:
    """End each connection that is overdue."""
    for connection in list(connections):
        if isinstance(connection, BoundedProtocol) and connection.is_overdue():
            connection.end()
