"""Clients that are silent, slow or many: nobody else waits for them."""

import json
import resource
import socket
from contextlib import suppress
from time import monotonic, sleep

import numpy as np
import pytest

from polypseg.serve.connections import FEWEST_CONNECTIONS, RESERVED_FILES, connections_within
from serve.running import picture, png, serving, wait_until

PNG = {"Content-Type": "image/png"}
IMAGE = png(picture())


def connect(client, sent=b""):
    """A connection on which this was sent."""
    connection = socket.create_connection((client.base_url.host, client.base_url.port), timeout=10)
    connection.sendall(sent)
    return connection


def head(length, path="/v1/segment", more=""):
    return (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: {length}\r\n{more}\r\n"
    ).encode()


def read_all(connection):
    """What is answered until the connection is closed."""
    connection.settimeout(10)
    found = b""
    with suppress(ConnectionResetError):  # the rest of what was sent is not read by the server
        while piece := connection.recv(4096):
            found += piece
    return found


def is_open(connection):
    connection.setblocking(False)
    try:
        return connection.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def num_open(client):
    return len(client.server.server_state.connections)


def test_silent_connections_give_way(red_model):
    with serving(red_model, max_connections=20, head_seconds=60) as client:
        assert client.get("/healthz").status_code == 200
        silent = [connect(client) for _ in range(60)]
        assert wait_until(lambda: sum(map(is_open, silent)) < 20)
        assert num_open(client) <= 20
        for _ in range(3):
            assert client.get("/healthz").status_code == 200
            assert client.post("/v1/segment", content=IMAGE, headers=PNG).status_code == 200
        assert sum(map(is_open, silent)) <= 20
        assert is_open(silent[-1])  # the one that has waited longest goes first
        for connection in silent:
            connection.close()


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nX: y"])
def test_a_head_that_does_not_come_is_not_waited_for(red_model, sent):
    with serving(red_model, head_seconds=0.5) as client, connect(client, sent) as connection:
        began = monotonic()
        assert connection.recv(1) == b""
        assert 0.4 < monotonic() - began < 4


def test_a_head_that_comes_byte_by_byte_is_not_waited_for_either(red_model):
    with serving(red_model, head_seconds=0.8) as client, connect(client, b"GET / HTTP/1.1\r\nX: ") as connection:
        began = monotonic()
        while is_open(connection):
            assert monotonic() - began < 6
            try:
                connection.send(b"y")
            except OSError:
                break
            sleep(0.1)


def test_bodies_that_do_not_come_give_way_and_those_at_work_do_not(red_model):
    with serving(red_model, max_connections=16, idle_seconds=60) as client:
        held = [connect(client, head(1000)) for _ in range(16)]
        assert wait_until(lambda: num_open(client) == 16)
        sleep(1.2)  # they have been idle for longer than a second
        assert client.get("/healthz").status_code == 200
        assert sum(map(is_open, held)) < 16
        for connection in held:
            connection.close()


def test_where_all_are_at_work_one_more_is_told_to_come_again(red_model, monkeypatch):
    monkeypatch.setattr("polypseg.serve.connections.PATIENCE_SECONDS", 60)
    with serving(red_model, max_connections=16) as client:
        busy = [connect(client, head(1000)) for _ in range(16)]
        assert wait_until(lambda: num_open(client) == 16)
        with connect(client, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n") as connection:
            answer = read_all(connection)
        assert answer.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        assert b"\r\nRetry-After: 1\r\n" in answer
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["title"] == "Busy"
        for connection in busy:
            connection.close()


def test_a_body_that_pauses_too_long_is_408(red_model):
    with serving(red_model, idle_seconds=0.4) as client, connect(client, head(1000) + b"x") as connection:
        answer = read_all(connection)
        assert answer.startswith(b"HTTP/1.1 408")
        assert b"nothing came for 0.4 seconds" in answer
        assert b"connection: close" in answer


def test_a_body_that_trickles_is_408(red_model, monkeypatch):
    monkeypatch.setattr("polypseg.serve.uploads.SLOWEST_AFTER_SECONDS", 0.5)
    with serving(red_model) as client, connect(client, head(10**6)) as connection:
        with suppress(OSError):  # it is closed at last
            for _ in range(40):
                connection.send(b"x")
                sleep(0.1)
        answer = read_all(connection)
        assert answer.startswith(b"HTTP/1.1 408")
        assert b"fewer than 1,000 bytes a second" in answer


@pytest.mark.slow
def test_an_answer_that_nobody_reads_is_given_up(red_model):
    noise = png(np.random.default_rng(0).integers(0, 255, (700, 900, 3), np.uint8))
    with serving(red_model, stall_seconds=0.5) as client, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((client.base_url.host, client.base_url.port))
        query = "?overlay=1&probability=1"
        connection.sendall(head(len(noise), "/v1/segment" + query) + noise)
        connection.sendall(head(len(noise), "/v1/segment" + query) + noise)
        assert wait_until(lambda: num_open(client) == 1)
        assert wait_until(lambda: num_open(client) == 0, 15)


@pytest.mark.parametrize("sent", [b"no HTTP at all\r\n\r\n", b"GET / HTTP/1.1\r\nX: " + b"y" * 100_000])
def test_what_is_no_http_is_a_problem(client, sent):
    with connect(client, sent) as connection:
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"application/problem+json" in answer


def test_connections_leave_files_free(monkeypatch):
    limits = [(1024, 4096)]
    monkeypatch.setattr(resource, "getrlimit", lambda which: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda which, limit: limits.append(limit))
    assert connections_within(512) == 512  # 512 + 256 fit into 1024
    assert limits == [(1024, 4096)]
    assert connections_within(2000) == 2000
    assert limits[-1] == (2000 + RESERVED_FILES, 4096)
    assert connections_within(10_000) == 4096 - RESERVED_FILES
    limits.append((100, 100))
    assert connections_within(512) == FEWEST_CONNECTIONS
