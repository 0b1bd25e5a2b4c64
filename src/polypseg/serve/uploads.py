"""Bodies of requests, read by the event loop with a cap on size, time and memory, before any worker is taken.

Decisions:
- Images are kept in memory; only a video is written to a file, in the server's own private folder.
- A form is read as it comes, part by part, so that nothing is kept of what is too large or not asked for.
- A body that is refused is read on for a moment and thrown away, so that the client gets to read the answer.
- The names that clients give to their files are never looked at.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable
from time import monotonic
from typing import NamedTuple, Protocol

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive

from polypseg.errors import RequestError

TOO_SLOW = 408

SLOWEST_BYTES, SLOWEST_AFTER_SECONDS = 1000, 10.0
"""A body comes with so many bytes a second on average, once so many seconds are over."""

DRAINED_BYTES, DRAINED_SECONDS = 64_000_000, 2.0
"""So much of a refused body is read on, at most."""

ANY_TYPE = ("", "application/octet-stream")
"""Content types that say nothing; what the bytes are is found out by decoding."""

FILENAME = re.compile(rb";\s*filename\*?\s*=", re.IGNORECASE)
"""What makes a field of a form a file; the name itself is not looked at."""

FORM_OVERHEAD_BYTES = 100_000
"""So much may a form hold beside its files; it is let pass, but not told of."""


class Sink(Protocol):
    """Takes the bytes of one file."""

    def write(self, data: bytes) -> None:
        """Take some more.

        Raises:
            RequestError: 413, it is too much.
        """


class Budget:
    """The memory that all images that are being received or wait may take together.

    Args:
        limit: Bytes.
        observe: Told of each change.
    """

    def __init__(self, limit: int, observe: Callable[[int], None] | None = None) -> None:
        self._limit, self._taken, self._observe = limit, 0, observe

    def take(self, num_bytes: int) -> None:
        """Count some bytes.

        Raises:
            RequestError: 429, there is no room.
        """
        if self._taken + num_bytes > self._limit:
            raise RequestError(429, "Busy", "too many uploads at once; come again shortly", retry_seconds=1)
        self._change(num_bytes)

    def give_back(self, num_bytes: int) -> None:
        """Count them no more."""
        self._change(-num_bytes)

    def _change(self, num_bytes: int) -> None:
        self._taken += num_bytes
        if self._observe is not None:
            self._observe(self._taken)


class Upload:
    """The bytes of one request's images, counted in the budget while the block lasts."""

    def __init__(self, budget: Budget) -> None:
        self._budget, self._taken = budget, 0

    def __enter__(self) -> "Upload":
        return self

    def __exit__(self, *_: object) -> None:
        self._budget.give_back(self._taken)

    def count(self, num_bytes: int) -> None:
        """Count some bytes that came.

        Raises:
            RequestError: 429.
        """
        self._budget.take(num_bytes)
        self._taken += num_bytes


class MemorySink:
    """One image's bytes; of an image that is too large nothing is kept, and `content` says so.

    Args:
        max_bytes: Of the image.
        upload: Counts what is kept.

    Attributes:
        is_too_large: Whether more came than is taken.
    """

    def __init__(self, max_bytes: int, upload: Upload) -> None:
        self._max_bytes, self._upload = max_bytes, upload
        self._content, self.is_too_large = bytearray(), False

    def write(self, data: bytes) -> None:
        """As `Sink.write`, but too much is told by `content` only.

        Raises:
            RequestError: 429, all uploads together take too much memory.
        """
        self.is_too_large = self.is_too_large or len(self._content) + len(data) > self._max_bytes
        if self.is_too_large:
            self._content.clear()
        else:
            self._upload.count(len(data))
            self._content += data

    def content(self) -> bytes:
        """The image.

        Raises:
            RequestError: 413.
        """
        if self.is_too_large:
            raise too_large(self._max_bytes)
        return bytes(self._content)


def too_large(max_bytes: int) -> RequestError:
    """The error of more bytes than are taken."""
    return RequestError(413, "Too large", f"at most {max_bytes:,} bytes are taken")


def too_slow(detail: str) -> RequestError:
    """The error of a body that does not come."""
    return RequestError(TOO_SLOW, "Too slow", detail)


class Body:
    """The body of a request, as it comes.

    Args:
        receive: Of the request; nothing was received yet.
        idle_seconds: Between two pieces, at most; None: no bound.
    """

    def __init__(self, receive: Receive, idle_seconds: float | None = None) -> None:
        self._receive, self._idle_seconds, self._is_complete = receive, idle_seconds, False

    async def chunks(self, max_bytes: int) -> AsyncIterator[bytes]:
        """Its bytes.

        Raises:
            RequestError: 408, they come too slowly; 413, there are more.
            ClientDisconnect: The client left.
        """
        total, began = 0, monotonic()
        while not self._is_complete:
            try:
                async with asyncio.timeout(self._idle_seconds):
                    chunk = await self._next()
            except TimeoutError as error:
                raise too_slow(f"nothing came for {self._idle_seconds:g} seconds") from error
            total, seconds = total + len(chunk), monotonic() - began
            if total > max_bytes + FORM_OVERHEAD_BYTES:
                raise too_large(max_bytes)
            if seconds > SLOWEST_AFTER_SECONDS and total < SLOWEST_BYTES * seconds:
                raise too_slow(f"fewer than {SLOWEST_BYTES:,} bytes a second came")
            if chunk:
                yield chunk

    async def drain(self) -> None:
        """Read what is left and throw it away, within bounds; so the client comes to read the answer."""
        total = 0
        with contextlib.suppress(TimeoutError, ClientDisconnect):
            async with asyncio.timeout(DRAINED_SECONDS):
                while not self._is_complete and total < DRAINED_BYTES:
                    total += len(await self._next())

    async def _next(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        self._is_complete = not message.get("more_body", False)
        chunk: bytes = message.get("body", b"")
        return chunk


class BodyBounds(NamedTuple):
    """The bounds of a body.

    Attributes:
        max_bytes: Of all files together.
        seconds: That it may take.
        idle_seconds: Between two pieces, at most.
    """

    max_bytes: int
    seconds: float
    idle_seconds: float


async def read_files(
    request: Request, field: str, kind: str, open_sink: Callable[[], Sink], bounds: BodyBounds
) -> None:
    """Read a body, each file of it into a sink of its own.

    Args:
        request: Not read yet.
        field: The name of the form's field.
        kind: What a file is, as a content type begins: `image` or `video`.
        open_sink: Called at the beginning of each file.
        bounds: Of the body.

    Raises:
        RequestError: 400 a damaged or empty form; 408; 413; 415; 422 another field.
        ClientDisconnect: The client left.
    """
    body = Body(request.receive, bounds.idle_seconds)
    try:
        _refuse_length(request, bounds.max_bytes)
        reader = _reader(request.headers.get("content-type", ""), field, kind, open_sink)
        async with asyncio.timeout(bounds.seconds):
            async for chunk in body.chunks(bounds.max_bytes):
                reader.feed(chunk)
        reader.finish()
    except TimeoutError as error:
        raise too_slow(f"the body did not come within {bounds.seconds:g} seconds") from error
    except RequestError as error:
        if "expect" not in request.headers and error.status != TOO_SLOW:
            await body.drain()
        raise


def _refuse_length(request: Request, max_bytes: int) -> None:
    length = request.headers.get("content-length", "0")
    if length.isdigit() and int(length) > max_bytes + FORM_OVERHEAD_BYTES:
        raise too_large(max_bytes)


def _reader(content_type: str, field: str, kind: str, open_sink: Callable[[], Sink]) -> "_RawReader | _FormReader":
    essence, parameters = parse_options_header(content_type)
    if essence.lower() == b"multipart/form-data":
        return _FormReader(parameters.get(b"boundary", b""), field, kind, open_sink)
    _check_type(essence.decode("latin-1"), kind, f"a form (multipart/form-data) with a file field {field!r}, or ")
    return _RawReader(open_sink())


def _check_type(essence: str, kind: str, others: str = "") -> None:
    if essence.lower() not in ANY_TYPE and not essence.lower().startswith(f"{kind}/"):
        raise RequestError(415, "Unsupported type", f"expected {others}{kind}/… or application/octet-stream")


class _RawReader:
    def __init__(self, sink: Sink) -> None:
        self._sink, self._is_empty = sink, True

    def feed(self, chunk: bytes) -> None:
        self._is_empty = False
        self._sink.write(chunk)

    def finish(self) -> None:
        if self._is_empty:
            raise RequestError(400, "Empty", "the body is empty")


class _FormReader:
    """Reads a form; each part of the name that is asked for goes into a sink."""

    def __init__(self, boundary: bytes, field: str, kind: str, open_sink: Callable[[], Sink]) -> None:
        if not boundary:
            raise self._damaged()
        self._field, self._kind, self._open_sink = field, kind, open_sink
        self._sink: Sink | None = None
        self._num_files, self._is_ended = 0, False
        self._header, self._value = bytearray(), bytearray()
        self._headers: dict[bytes, bytes] = {}
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._headers.clear,
                    "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
                    "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._begin_file,
                    "on_part_data": self._write,
                    "on_end": self._end,
                },
            )
        except FormParserError as error:
            raise self._damaged() from error

    def feed(self, chunk: bytes) -> None:
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise self._damaged() from error

    def finish(self) -> None:
        if not self._is_ended:
            raise self._damaged()
        if not self._num_files:
            raise RequestError(422, "A field is missing", f"the form has no file field {self._field!r}")

    def _end_header(self) -> None:
        self._headers[bytes(self._header).lower()] = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _begin_file(self) -> None:
        _, disposition = parse_options_header(self._headers.get(b"content-disposition", b""))
        if disposition.get(b"name", b"").decode("utf-8", "replace") != self._field:
            raise RequestError(422, "An unknown field", f"the form holds another field than {self._field!r}")
        if not FILENAME.search(self._headers[b"content-disposition"]):
            raise RequestError(
                422, "Not a file", f"the field {self._field!r} holds text; expected a file with a filename"
            )
        essence, _ = parse_options_header(self._headers.get(b"content-type", b""))
        _check_type(essence.decode("latin-1"), self._kind)
        self._sink = self._open_sink()
        self._num_files += 1

    def _write(self, data: bytes, start: int, end: int) -> None:
        if self._sink is not None:
            self._sink.write(data[start:end])

    def _end(self) -> None:
        self._is_ended = True

    @staticmethod
    def _damaged() -> RequestError:
        return RequestError(400, "A damaged form", "the form (multipart/form-data) is damaged or cut short")
