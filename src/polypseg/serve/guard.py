"""What every request passes first: the name of the host, the token, whether the server still takes work.

It also counts and times requests, and writes the one line that is logged of each: method, route, status, time. Neither
an address nor a name of a client or a file is in it.
"""

import hmac
import logging
from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from polypseg.errors import RequestError
from polypseg.serve.metrics import Metrics
from polypseg.serve.problems import CLIENT_GONE, problem_response
from polypseg.serve.settings import Settings
from polypseg.serve.uploads import Body

logger = logging.getLogger("polypseg.serve")

PRIVATE = ("/v1/", "/metrics")
"""Paths that need the token, where one is set; the page and the documentation hold nothing of anybody."""


class Guard:
    """Wraps an application.

    Args:
        app: That answers what is let through.
        settings: Token and host names.
        metrics: Told of each request.
        state: Whether the server is shutting down.
    """

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics, state: "DrainState") -> None:
        self._app, self._settings, self._metrics, self._state = app, settings, metrics, state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = perf_counter(), CLIENT_GONE

        async def send_noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = _with_safety(list(message.get("headers", ())), scope["path"])
            await send(message)

        try:
            await self._answer(scope, receive, send_noting)
        finally:
            seconds = perf_counter() - began
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.requests.labels(route, str(status)).inc()
            self._metrics.request_seconds.labels(route).observe(seconds)
            logger.info("%s %s %d %.1f ms", scope["method"], route, status, 1000 * seconds)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._check(scope)
        except RequestError as error:
            await Body(receive).drain()
            await problem_response(error)(scope, receive, send)
            return
        has_begun = False

        async def send_noting(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, send_noting)
        except Exception as error:
            if has_begun:
                raise
            await problem_response(error)(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        allowed = self._settings.allowed_hosts
        if allowed and host_name(headers.get(b"host", "")) not in allowed:
            raise RequestError(421, "Another host", f"this server answers to {', '.join(allowed)} only")
        if not scope["path"].startswith(PRIVATE):
            return
        token = self._settings.token
        if token is not None and not _carries(headers.get(b"authorization", ""), token):
            raise RequestError(401, "A token is needed", "send the header Authorization: Bearer TOKEN")
        if self._state.is_draining and scope["method"] == "POST":
            raise RequestError(503, "Shutting down", "the server is shutting down", retry_seconds=10)


class DrainState:
    """Whether the server takes no more work; set once, when it is told to end."""

    is_draining = False


def host_name(header: str) -> str:
    """The name in a `Host` header, without its port.

    >>> host_name("localhost:8000"), host_name("[::1]:8000"), host_name("127.0.0.1")
    ('localhost', '::1', '127.0.0.1')
    """
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].lower()


def _carries(authorization: str, token: str) -> bool:
    scheme, _, given = authorization.partition(" ")
    return hmac.compare_digest(given.strip().encode("latin-1"), token.encode()) and scheme.lower() == "bearer"


def _with_safety(headers: list[tuple[bytes, bytes]], path: str) -> list[tuple[bytes, bytes]]:
    safety = {b"x-content-type-options": b"nosniff", b"referrer-policy": b"no-referrer"}
    if path.startswith(PRIVATE):
        safety[b"cache-control"] = b"no-store"
    present = {name.lower() for name, _ in headers}
    return headers + [(name, value) for name, value in safety.items() if name not in present]
