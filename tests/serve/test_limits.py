"""What is full, slow, gone or too late: nobody else waits for it."""

import asyncio
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

import pytest
from starlette.requests import ClientDisconnect, Request

from polypseg.errors import RequestError
from polypseg.serve.api import _unless_left
from polypseg.serve.uploads import Budget, MemorySink, Upload
from serve.models import GatedEngine
from serve.running import picture, png, serving, wait_until

PNG = {"Content-Type": "image/png"}
IMAGE = png(picture())


def segment(client):
    return client.post("/v1/segment", content=IMAGE, headers=PNG)


def accepted(client):
    return client.service.segmenter.num_accepted


def raw(client, head, body=b""):
    """A connection on which this was sent."""
    connection = socket.create_connection((client.base_url.host, client.base_url.port), timeout=10)
    connection.sendall(head.encode() + b"\r\nHost: localhost\r\n\r\n" + body)
    return connection


def upload(client, length, body):
    return raw(client, f"POST /v1/segment HTTP/1.1\r\nContent-Type: image/png\r\nContent-Length: {length}", body)


def test_a_full_queue_is_429_and_what_was_accepted_is_answered():
    engine = GatedEngine()
    with serving(engine=engine, queue_size=3, batch_size=1) as client, ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(segment, client) for _ in range(3)]
        assert wait_until(lambda: accepted(client) == 3)
        refused = segment(client)
        assert refused.status_code == 429
        assert 1 <= int(refused.headers["retry-after"]) <= 30
        two = client.post("/v1/segment/batch", files=[("images", IMAGE)] * 2)
        assert two.status_code == 429
        engine.gate.set()
        assert [one.result(20).status_code for one in waiting] == [200] * 3
        assert segment(client).status_code == 200


def test_a_request_that_takes_too_long_is_504_and_leaves_the_queue():
    engine = GatedEngine()
    with serving(engine=engine, request_seconds=0.3, batch_size=1) as client:
        assert segment(client).status_code == 504
        assert segment(client).status_code == 504
        assert accepted(client) == 0
        engine.gate.set()
        assert wait_until(lambda: segment(client).status_code == 200)
        assert engine.batches[1:] == [1] * (len(engine.batches) - 1)


def test_a_client_that_leaves_is_passed_over():
    engine = GatedEngine()
    with serving(engine=engine, batch_size=1) as client, ThreadPoolExecutor(1) as pool:
        first = pool.submit(segment, client)
        assert wait_until(lambda: accepted(client) == 1)
        leaving = [upload(client, len(IMAGE), IMAGE) for _ in range(5)]
        assert wait_until(lambda: accepted(client) == 6)
        for connection in leaving:
            connection.close()
        assert wait_until(lambda: accepted(client) == 1)
        engine.gate.set()
        assert first.result(20).status_code == 200
        assert segment(client).status_code == 200
        assert sum(engine.batches) == 3  # to warm up, the first, the last: none for those that left


def test_work_has_ended_when_its_client_counts_as_gone():
    ended = []

    async def work():
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(True)

    async def receive():
        return {"type": "http.disconnect"}

    async def scenario():
        with pytest.raises(ClientDisconnect):
            await _unless_left(Request({"type": "http"}, receive), work())
        assert ended == [True]

    asyncio.run(scenario())


def test_slow_and_unfinished_uploads_hold_nothing(red_model):
    with serving(red_model, upload_seconds=1.5) as client:
        slow = [upload(client, 1000, b"x") for _ in range(50)]
        began = monotonic()
        assert [segment(client).status_code for _ in range(5)] == [200] * 5
        assert accepted(client) == 0
        assert slow[0].recv(100).startswith(b"HTTP/1.1 408")
        assert monotonic() - began < 8
        for connection in slow:
            connection.close()
        assert segment(client).status_code == 200


def test_a_body_that_ends_early_is_let_go(red_model):
    with serving(red_model) as client:
        for _ in range(10):
            upload(client, len(IMAGE), IMAGE[:50]).close()
        assert segment(client).status_code == 200
        assert wait_until(lambda: "polypseg_upload_bytes 0.0" in client.get("/metrics").text)


def test_a_declared_length_is_refused_before_it_comes(red_model):
    with serving(red_model, max_image_bytes=1000) as client:
        head = (
            "POST /v1/segment HTTP/1.1\r\nContent-Type: image/png\r\nExpect: 100-continue\r\nContent-Length: 999999999"
        )
        with raw(client, head) as connection:
            assert connection.recv(100).startswith(b"HTTP/1.1 413")


@pytest.mark.slow
def test_all_uploads_together_are_bounded(red_model):
    with serving(red_model, max_upload_memory=150_000) as client:
        held = [upload(client, 100_000, b"x" * 60_000) for _ in range(2)]
        assert wait_until(lambda: "polypseg_upload_bytes 120000.0" in client.get("/metrics").text)
        refused = client.post("/v1/segment", content=b"x" * 60_000, headers=PNG)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        for connection in held:
            connection.close()
        assert wait_until(lambda: segment(client).status_code == 200)


@pytest.mark.parametrize(
    ("boundary", "body"),
    [
        ("", b""),
        ("; boundary=b", b""),
        ("; boundary=b", b"--b\r\nContent-Disposition: form-data; name=image\r\n\r\nx"),
        ("; boundary=b", b"no form at all"),
        ("; boundary=b", b"--b\r\nno header\r\n\r\nx\r\n--b--\r\n"),
        ("; boundary=" + "b" * 300, b"--b--"),
        ("; boundary=b", b"--b\r\n" + b"A: b\r\n" * 1000 + b"\r\nx\r\n--b--\r\n"),
        ("; boundary=b", b"--b\r\nContent-Disposition: form-data; name=image; x=" + b"y" * 99999 + b"\r\n\r\n--b--"),
    ],
)
def test_a_damaged_form_is_400(client, boundary, body):
    answer = client.post("/v1/segment", content=body, headers={"Content-Type": "multipart/form-data" + boundary})
    # A form that ends within a part is one without an image to some versions of the parser.
    expected = [(400, "A damaged form")] + ([(422, "Not a file")] if body.endswith(b"x") else [])
    assert (answer.status_code, answer.json()["title"]) in expected


def test_a_form_without_the_field_is_422(client):
    empty = client.post(
        "/v1/segment", content=b"--b--\r\n", headers={"Content-Type": "multipart/form-data; boundary=b"}
    )
    assert empty.status_code in (400, 422)
    nameless = b'--b\r\nContent-Disposition: form-data; filename="x"\r\n\r\nx\r\n--b--\r\n'
    answer = client.post("/v1/segment", content=nameless, headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert answer.status_code == 422


def test_budget_and_sink_by_hand():
    seen = []
    budget = Budget(10, seen.append)
    with Upload(budget) as upload_bytes:
        sink = MemorySink(6, upload_bytes)
        sink.write(b"abc")
        sink.write(b"def")
        assert sink.content() == b"abcdef"
        sink.write(b"g")  # the seventh
        with pytest.raises(RequestError, match="at most 6 bytes"):
            sink.content()
        with pytest.raises(RequestError, match="too many uploads"):
            MemorySink(6, upload_bytes).write(b"12345")  # 6 + 5 are more than 10
    assert seen == [3, 6, 0]


def test_many_clients_at_once_get_right_answers(red_model):
    before = threading.active_count()  # other tests' frameworks keep threads of their own
    with serving(red_model, queue_size=200) as client, ThreadPoolExecutor(16) as pool:
        boxes = [(x, y, 10, 5) for x in range(0, 50, 5) for y in range(0, 35, 5)]

        def area(box):
            sent = png(picture(box=box, colour=(255, 0, 0)))
            answer = client.post("/v1/segment?format=json&threshold=0.3", content=sent, headers=PNG).json()
            return abs(answer["polyps"][0]["box"][0] - box[0]) <= 4 and abs(answer["polyps"][0]["box"][1] - box[1]) <= 4

        assert all(pool.map(area, boxes))
        assert threading.active_count() - before < 60
