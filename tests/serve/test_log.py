import asyncio
import io
import logging
import sys

import pytest

from polypseg.serve import log


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(log, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def stream():
    return io.StringIO()


@pytest.fixture
def logger(stream, clock):
    made = logging.Logger("polypseg.serve", logging.INFO)
    made.addHandler(log.BoundedHandler(stream))
    return made


def test_lines_of_a_kind_are_bounded_and_counted(logger, stream, clock):
    for number in range(1000):
        logger.info(log.REQUEST_LINE, "GET", "/healthz", 200, number / 10)
    logger.info(log.REQUEST_LINE, "GET", "/healthz", 503, 1.0)
    assert len(stream.getvalue().splitlines()) == 20 + 1
    clock[0] = 10.0
    logger.info(log.REQUEST_LINE, "GET", "/healthz", 200, 1.0)
    told, line = stream.getvalue().splitlines()[21:]
    assert told.endswith("left out 980 more lines like: GET /healthz 200")
    assert line.endswith("GET /healthz 200 1.0 ms")


def test_kinds_are_bounded_too(logger, stream):
    for number in range(10_000):
        logger.info(log.REQUEST_LINE, f"METHOD{number}", "other", 404, 1.0)
    assert len(stream.getvalue().splitlines()) == log.MAX_KINDS + log.LINES_A_WINDOW


def test_a_library_repeats_itself_with_other_values(stream, clock):
    logger = logging.Logger("asyncio", logging.INFO)
    logger.addHandler(log.BoundedHandler(stream))
    for number in range(5000):
        logger.error("socket.accept() out of system resource %d", number)
    assert len(stream.getvalue().splitlines()) == 20


def test_a_long_line_is_cut(logger, stream):
    logger.info("x" * 10**6)
    assert len(stream.getvalue()) < 10_000


def test_what_was_left_out_is_told_at_the_end(logger, stream):
    for _ in range(21):
        logger.warning("again")
    logger.handlers[0].close()
    assert stream.getvalue().endswith("left out 1 more lines like: polypseg.serve: again\n")


def test_a_request_that_the_end_breaks_off_is_a_line_without_its_traceback():
    stream = io.StringIO()
    try:
        raise asyncio.CancelledError("Task cancelled, timeout graceful shutdown exceeded")
    except asyncio.CancelledError:
        record = logging.LogRecord("uvicorn.error", logging.ERROR, "", 0, "Exception in ASGI\n", (), sys.exc_info())
    log.BoundedHandler(stream).emit(record)
    assert stream.getvalue().endswith(" a request was broken off: the server ends\n")
    assert len(stream.getvalue().splitlines()) == 1
