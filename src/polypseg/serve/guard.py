"""What every request passes first: the name of the host, where it comes from, the token, whether work is still taken.

Decisions:
- A page of another site must not change anything here, even blindly: a browser tells by `Sec-Fetch-Site`, or at least
  by `Origin`, which page sends a request. One of another site is refused unless `cors_origins` names it; so is one of
  another port, which counts as the same site. Programs send neither header.
- A parameter that comes twice is refused: which of the two was meant is not known.
- Where the answer comes before the whole body did, the connection is closed with it.

It also counts and times requests, and writes the one line that is logged of each: method, route, status, time. Neither
an address nor a name of a client or a file is in it.
"""

import asyncio
import base64
import hmac
import logging
from collections import Counter
from time import monotonic, perf_counter
from urllib.parse import parse_qsl, urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from polypseg.errors import RequestError
from polypseg.serve.log import REQUEST_LINE
from polypseg.serve.metrics import Metrics
from polypseg.serve.problems import CLIENT_GONE, problem_response
from polypseg.serve.settings import Settings
from polypseg.serve.uploads import Body

logger = logging.getLogger("polypseg.serve")

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""That are told by their names in the log."""

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
"""That change nothing."""

PRIVATE = ("/v1/", "/metrics", "/project", "/label-studio")
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
        began, status, is_complete = perf_counter(), CLIENT_GONE, not _has_body(scope)

        async def receive_noting() -> Message:
            nonlocal is_complete
            message = await receive()
            is_complete = is_complete or not message.get("more_body", False)
            return message

        async def send_noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = _with_safety(list(message.get("headers", ())), scope["path"], not is_complete)
            await send(message)

        try:
            await self._answer(scope, receive_noting, send_noting)
        finally:
            seconds = perf_counter() - began
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.requests.labels(route, str(status)).inc()
            self._metrics.request_seconds.labels(route).observe(seconds)
            method = scope["method"] if scope["method"] in METHODS else "other"
            logger.info(REQUEST_LINE, method, route, status, 1000 * seconds)

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
        except asyncio.CancelledError:
            if has_begun or not self._state.is_draining:
                raise
            await problem_response(_shutting_down())(scope, receive, send)  # the one who waits still hears of the end
        except Exception as error:
            if has_begun:
                raise
            await problem_response(error)(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        allowed = self._settings.allowed_hosts
        if allowed and host_name(headers.get(b"host", "")) not in allowed:
            raise RequestError(421, "Another host", f"this server answers to {', '.join(allowed)} only")
        if is_foreign(scope["method"], headers, self._settings.cors_origins):
            raise RequestError(
                403, "Another site", "pages of other sites may not send this; --cors-origin names those that may"
            )
        if not scope["path"].startswith(PRIVATE):
            return
        token = self._settings.token
        if token is not None and not _carries(headers.get(b"authorization", ""), token):
            raise RequestError(401, "A token is needed", "send the header Authorization: Bearer TOKEN")
        if self._state.is_draining and scope["method"] in ("POST", "PUT"):
            raise _shutting_down()
        _refuse_repeated(scope["query_string"].decode("latin-1"))


class DrainState:
    """Whether the server takes no more work; set once, when it is told to end.

    Attributes:
        is_draining: Whether it is.
        until: When it stops waiting for accepted work, by `monotonic`.
    """

    def __init__(self) -> None:
        self.is_draining, self.until = False, float("inf")

    def begin(self, seconds: float) -> None:
        """Take no more work, and wait so long for what was accepted."""
        if not self.is_draining:
            self.is_draining, self.until = True, monotonic() + seconds


def _shutting_down() -> RequestError:
    return RequestError(503, "Shutting down", "the server is shutting down", retry_seconds=10)


def is_foreign(method: str, headers: dict[bytes, str], allowed: tuple[str, ...]) -> bool:
    """Whether a request would change something and comes from a page of another site.

    Args:
        method: Of the request.
        headers: By their names in lower case.
        allowed: Origins of other sites that may.
    """
    origin, site = headers.get(b"origin", ""), headers.get(b"sec-fetch-site", "")
    if method in SAFE_METHODS or (origin and (origin in allowed or "*" in allowed)):
        return False
    if site:
        return site not in ("same-origin", "none")
    if not origin:
        return False
    try:
        return urlsplit(origin).netloc.lower() != headers.get(b"host", "").lower()
    except ValueError:
        return True


def _refuse_repeated(query: str) -> None:
    counted = Counter(name for name, _ in parse_qsl(query, keep_blank_values=True))
    repeated = [name for name, number in counted.items() if number > 1]
    if repeated:
        raise RequestError(422, "A parameter does not fit", f"{repeated[0][:100]}: given several times; expected once")


def _has_body(scope: Scope) -> bool:
    return any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"])


def host_name(header: str) -> str:
    """The name in a `Host` header, without its port.

    >>> host_name("localhost:8000"), host_name("[::1]:8000"), host_name("127.0.0.1")
    ('localhost', '::1', '127.0.0.1')
    """
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].lower()


def _carries(authorization: str, token: str) -> bool:
    """Whether a header holds the token: as a bearer's, or as the password of anybody (as Label Studio sends it)."""
    scheme, _, given = authorization.partition(" ")
    password = given.strip().encode("latin-1")
    if scheme.lower() == "basic":
        try:
            password = base64.b64decode(password, validate=True).partition(b":")[2]
        except ValueError:
            return False
    return hmac.compare_digest(password, token.encode()) and scheme.lower() in ("bearer", "basic")


def _with_safety(headers: list[tuple[bytes, bytes]], path: str, closes: bool) -> list[tuple[bytes, bytes]]:
    safety = {b"x-content-type-options": b"nosniff", b"referrer-policy": b"no-referrer"}
    if path.startswith(PRIVATE):
        safety[b"cache-control"] = b"no-store"
    if closes:
        safety[b"connection"] = b"close"
    present = {name.lower() for name, _ in headers}
    return headers + [(name, value) for name, value in safety.items() if name not in present]
