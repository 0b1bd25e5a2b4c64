import logging
from concurrent.futures import ThreadPoolExecutor

import pytest

from polypseg.serve.guard import host_name, is_foreign
from serve.models import GatedEngine
from serve.running import picture, png, serving, wait_until

PNG = {"Content-Type": "image/png"}


def test_token_is_needed_for_everything_that_holds_something(red_model):
    with serving(red_model, token="sesame") as client:
        for path in ("/v1/models", "/v1/jobs/x", "/metrics"):
            refused = client.get(path)
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert client.post("/v1/segment", content=png(picture()), headers=PNG).status_code == 401
        for path in ("/healthz", "/readyz", "/openapi.json", "/docs"):
            assert client.get(path).status_code == 200
        assert client.get("/openapi.json").json()["security"] == [{"token": []}]


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("Bearer sesame", 200),
        ("bearer sesame", 200),
        ("Bearer sesam", 401),
        ("Bearer sesame!", 401),
        ("Basic sesame", 401),
        ("sesame", 401),
        ("Bearer", 401),
        (b"Bearer s\xe9same", 401),
    ],
)
def test_only_the_token_opens(red_model, header, status):
    with serving(red_model, token="sesame") as client:
        assert client.get("/v1/models", headers={"Authorization": header}).status_code == status


def test_a_refused_upload_gets_its_answer(red_model):
    with serving(red_model, token="sesame") as client:
        for _ in range(3):
            assert client.post("/v1/segment", content=b"x" * 30_000_000, headers=PNG).status_code == 401


def test_without_a_token_none_is_needed(client):
    assert client.get("/v1/models").status_code == 200
    assert "security" not in client.get("/openapi.json").json()


@pytest.mark.parametrize(
    ("host", "status"), [("localhost:1", 200), ("127.0.0.1", 200), ("[::1]:9", 200), ("evil.example", 421), ("", 421)]
)
def test_only_own_names_are_answered(red_model, host, status):
    with serving(red_model, allowed_hosts=("localhost", "127.0.0.1", "::1")) as client:
        assert client.get("/healthz", headers={"Host": host}).status_code == status


def test_host_name():
    assert [host_name(text) for text in ("A.b:80", "a.b", "[fe80::1]:80", "[::1", "")] == [
        "a.b",
        "a.b",
        "fe80::1",
        "::1",
        "",
    ]


def test_cross_origin_is_off_unless_named(client, red_model):
    asked = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    assert "access-control-allow-origin" not in client.options("/v1/segment", headers=asked).headers
    assert "access-control-allow-origin" not in client.get("/healthz", headers=asked).headers
    with serving(red_model, token="sesame", cors_origins=("https://a.example",)) as open_client:
        answer = open_client.options("/v1/segment", headers=asked)
        assert answer.headers["access-control-allow-origin"] == "https://a.example"
        other = open_client.options("/v1/segment", headers=asked | {"Origin": "https://b.example"})
        assert "access-control-allow-origin" not in other.headers


SITE, OWN = "sec-fetch-site", {"host": "localhost:8000"}


@pytest.mark.parametrize(
    ("headers", "is_refused"),
    [
        ({}, False),  # a program
        ({SITE: "same-origin"}, False),
        ({SITE: "none"}, False),  # typed by a person
        ({SITE: "cross-site"}, True),
        ({SITE: "same-site"}, True),  # another port of this machine
        ({SITE: "same-origin", "origin": "https://proxy.example"}, False),  # a proxy that changes Host
        ({"origin": "http://localhost:8000"}, False),  # a browser without Sec-Fetch-Site
        ({"origin": "http://LOCALHOST:8000"}, False),
        ({"origin": "http://localhost:3000"}, True),
        ({"origin": "https://evil.example"}, True),
        ({"origin": "null"}, True),  # a sandbox, or a file
        ({"origin": "http://[::1"}, True),
        ({SITE: "cross-site", "origin": "https://good.example"}, False),  # named by --cors-origin
    ],
)
def test_what_is_of_another_site(headers, is_refused):
    told = {name.encode(): value for name, value in (OWN | headers).items()}
    allowed = ("https://good.example",)
    assert is_foreign("POST", told, allowed) == is_foreign("DELETE", told, allowed) == is_refused
    assert not is_foreign("GET", told, allowed)
    assert not is_foreign("POST", told, ("*",)) or "origin" not in headers


def test_a_page_of_another_site_changes_nothing(client):
    pytest.importorskip("av")
    from serve.films import finished, start, video

    job = start(client)
    finished(client, job)
    known = set(client.service.jobs._records)
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
        answers = [
            client.post("/v1/video", files={"video": video()}, headers=headers),
            client.post("/v1/segment", content=png(picture()), headers=headers | PNG),
            client.delete(f"/v1/jobs/{job}", headers=headers),
        ]
        for answer in answers:
            assert (answer.status_code, answer.json()["title"]) == (403, "Another site")
            assert answer.headers["content-type"] == "application/problem+json"
        assert client.get("/healthz", headers=headers).status_code == 200
    assert set(client.service.jobs._records) == known
    assert client.delete(f"/v1/jobs/{job}", headers={"Sec-Fetch-Site": "same-origin"}).status_code == 204


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/segment?threshold=0.1&threshold=0.9", "threshold"),
        ("/v1/segment?format=png&format=json", "format"),
        ("/v1/segment/batch?overlay=1&%6fverlay=1", "overlay"),
        ("/v1/video?withhold=&withhold=", "withhold"),
        ("/v1/models?x=1&x=1", "x"),
    ],
)
def test_a_repeated_parameter_is_422(client, path, name):
    call = client.get if "models" in path else client.post
    answer = call(path)
    assert (answer.status_code, answer.json()["detail"]) == (422, f"{name}: given several times; expected once")


def test_answers_are_not_kept_and_not_guessed_at(client):
    answer = client.get("/v1/models")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "server" not in answer.headers


def test_while_draining_work_is_refused_and_health_told():
    engine = GatedEngine()
    with serving(engine=engine) as client, ThreadPoolExecutor(1) as pool:

        def segment():
            return client.post("/v1/segment", content=png(picture()), headers=PNG)

        accepted = pool.submit(segment)  # without it the server would end at once
        assert wait_until(lambda: client.service.num_unfinished == 1)
        client.service.drain.is_draining = True
        refused, ready = segment(), client.get("/readyz")
        assert (refused.status_code, refused.headers["retry-after"], ready.status_code) == (503, "10", 503)
        assert client.get("/healthz").status_code == 200
        engine.gate.set()
        assert accepted.result(20).status_code == 200


def test_an_internal_error_says_nothing(red_model, caplog):
    class Broken:
        name, size, threshold = "broken", 16, 0.5

        def __init__(self):
            from polypseg.records.model_facts import ModelFacts

            self.facts, self.num_runs = ModelFacts(size=16), 0

        def run(self, batch):
            self.num_runs += 1
            if self.num_runs > 1:
                raise RuntimeError("/secret/path holds a name")
            return batch[..., :1]

    with caplog.at_level(logging.INFO), serving(engine=Broken()) as client:
        answer = client.post("/v1/segment", content=png(picture()), headers=PNG)
    assert answer.status_code == 500
    assert answer.json()["detail"] == "the server failed; this is a fault of its own"
    assert "secret" not in answer.text + caplog.text
    assert "RuntimeError" in caplog.text


def test_the_log_holds_sizes_and_times_only(red_model, caplog):
    # The line comes after the answer, from the server's thread: the level is put back when the server has ended.
    with caplog.at_level(logging.INFO), serving(red_model) as client:
        client.post("/v1/segment?threshold=0.123", files={"image": ("anna.png", png(picture()))})
        client.get("/v1/jobs/anna")
        client.get("/anna/../x")
    lines = [record.getMessage() for record in caplog.records if record.name == "polypseg.serve"]
    assert [line.rsplit(" ", 2)[0] for line in lines] == [
        "POST /v1/segment 200",
        "GET /v1/jobs/{job_id} 404",
        "GET other 404",
    ]
