"""`polypseg serve` as a process of its own."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from time import sleep

import httpx
import pytest
from typer.testing import CliRunner

import polypseg.serve
from polypseg.cli import app
from polypseg.serve.server import LAST_SECONDS, SENDING_SECONDS, open_socket
from polypseg.serve.settings import Settings
from serve.models import GatedEngine
from serve.running import picture, png, serving, wait_until

PNG = {"Content-Type": "image/png"}
IMAGE = png(picture(1500, 2000, (100, 100, 900, 900)))


@pytest.fixture
def process(red_model):
    """A started server: its process and a client."""
    environment = os.environ | {"POLYPSEG_TOKEN": "sesame"}
    command = [sys.executable, "-m", "polypseg", "serve", str(red_model), "--port", "0", "--engine", "onnxruntime"]
    started = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, bufsize=1
    )
    line = started.stdout.readline()
    assert "polypseg serves http://127.0.0.1:" in line, started.stderr.read()
    with httpx.Client(
        base_url=line.split()[2], headers={"Authorization": "Bearer sesame"}, timeout=30, trust_env=False
    ) as client:
        assert wait_until(lambda: is_up(client), 60)
        yield started, client
    started.kill()
    started.wait()
    started.stdout.close()
    started.stderr.close()


def is_up(client):
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def num_accepted(client):
    return float(re.search(r"^polypseg_images_accepted (\S+)", client.get("/metrics").text, re.MULTILINE)[1])


@pytest.mark.slow
def test_answers_and_ends_with_the_accepted_work_done(process):
    started, client = process
    assert httpx.get(client.base_url.join("/v1/models"), trust_env=False).status_code == 401
    assert client.get("/v1/models", headers={"Host": "evil.example"}).status_code == 421
    answers = []

    def ask():
        answers.append(client.post("/v1/segment?overlay=true", content=IMAGE, headers=PNG).status_code)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    # All are in: accepted or answered. Those answered are counted first, so that none counts twice.
    assert wait_until(lambda: len(answers) + num_accepted(client) >= len(threads))
    started.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join(30)
    assert started.wait(30) == 0
    assert answers == [200] * len(threads)
    log = started.stderr.read()
    assert "POST /v1/segment 200" in log
    assert "Traceback" not in log
    assert "127.0.0.1" not in log


def test_draining_server_still_tells_of_jobs_and_ends_when_they_were_heard_of(red_model):
    pytest.importorskip("av")
    from serve.films import finished, start

    engine = GatedEngine()
    with serving(engine=engine) as client:
        job = start(client)
        assert wait_until(lambda: client.get(f"/v1/jobs/{job}").json()["state"] == "running")
        client.server.handle_exit(signal.SIGTERM, None)
        refused = client.post("/v1/segment", content=IMAGE, headers=PNG)
        assert refused.status_code == 503
        assert client.get("/readyz").status_code == 503
        sleep(0.5)
        assert client.thread.is_alive()
        engine.gate.set()
        assert finished(client, job)["state"] == "done"
        client.thread.join(10)
        assert not client.thread.is_alive()


def test_draining_is_bounded_and_a_second_signal_ends_at_once(red_model):
    for seconds, signals in ((0.5, 1), (60, 2)):
        engine = GatedEngine()
        with (
            serving(engine=engine, shutdown_seconds=seconds) as client,
            socket.create_connection((client.base_url.host, client.base_url.port)) as connection,
        ):
            head = "POST /v1/segment HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
            connection.sendall(f"{head}Content-Length: {len(IMAGE)}\r\n\r\n".encode() + IMAGE)
            assert wait_until(lambda: client.service.segmenter.num_accepted == 1)
            for _ in range(signals):
                client.server.handle_exit(signal.SIGTERM, None)
            connection.settimeout(20)
            with suppress(ConnectionResetError):
                connection.recv(1)  # given up, although the engine still runs: no TimeoutError
            client.server._captured_signals.clear()
            engine.gate.set()  # an engine's run itself cannot be stopped
            client.thread.join(10)
            assert not client.thread.is_alive()


def test_the_end_comes_in_under_ten_seconds_even_where_an_engine_hangs():
    # Accepted work, then answers that are being sent, then the end by force (`DrainingServer._end_within`).
    assert Settings().shutdown_seconds + SENDING_SECONDS + LAST_SECONDS < 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.onnx"], "no such file or folder"),
        (["--host", "192.0.2.1"], "cannot listen on 192.0.2.1"),
        (["--engine", "tea"], "unknown engine 'tea'"),
        (["--token", ""], "the token is empty"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(arguments, message, red_model):
    model = [] if arguments[0].endswith(".onnx") else [str(red_model)]
    done = CliRunner().invoke(app, ["serve", *model, "--port", "0", *arguments])
    assert done.exit_code in (1, 2)
    [line] = done.stderr.strip().splitlines()
    assert message in line


def test_answers_are_sent_at_once():
    # asyncio switches Nagle's algorithm off only where a socket names its protocol; else each answer takes 40 ms more.
    with open_socket("127.0.0.1", 0) as listening:
        assert listening.proto == socket.IPPROTO_TCP


def test_a_taken_port_is_told(red_model):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = CliRunner().invoke(app, ["serve", str(red_model), "--port", port])
    assert done.exit_code == 2
    assert f"cannot listen on 127.0.0.1 port {port}" in done.stderr


def test_without_the_extra_the_line_that_installs_it_is_told(monkeypatch, red_model):
    monkeypatch.setattr(polypseg, "serve", polypseg.serve)  # the second import puts another module there
    for name in [name for name in sys.modules if name.startswith(("polypseg.serve", "fastapi", "uvicorn"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    done = CliRunner().invoke(app, ["serve", str(red_model)])
    assert done.exit_code == 1
    assert 'pip install "polypseg[serve]"' in done.stderr


@pytest.mark.slow
def test_serving_imports_no_training_framework():
    code = "import polypseg.serve.api, polypseg.serve.server, polypseg.serve.videos, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"keras", "tensorflow", "jax", "torch"} & set(done.stdout.split())


@pytest.mark.slow
def test_no_runtime_sends_statistics(tmp_path):
    pytest.importorskip("openvino")
    code = (
        "import polypseg.predict.engines.openvino_engine, openvino, nncf, sys; print(sys.modules['openvino_telemetry'])"
    )
    home = {"HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | home, check=True
    )
    assert done.stdout.strip().endswith("None")
    assert not (tmp_path / "intel").exists()


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's memory")
def test_threads_share_few_parts_of_memory_unless_the_user_set_their_number():
    # 16 threads, alive together, each hold 1 MB in small pieces: without the setting each gets an arena of its own,
    # which glibc maps at a multiple of 64 MiB; with it there are at most 2, of which one is the heap. What was there
    # after the imports is not theirs.
    code = """
import sys, threading
from pathlib import Path
from polypseg.serve.server import share_memory
def arenas():
    rows = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    kinds = [(*(int(end, 16) for end in row[0].split("-")), row[1], len(row)) for row in rows]
    guarded = {end for begin, end, kind, _ in kinds if kind == "---p" and end - begin == 4096}  # stacks of threads
    return sum(kind == "rw-p" and length == 5 and begin % (64 << 20) == 0 and begin not in guarded
               for begin, _, kind, length in kinds)
told, before = share_memory(), arenas()
barrier, held = threading.Barrier(17), []
def work():
    held.append([bytes(2000) for _ in range(500)])
    barrier.wait(); barrier.wait()
for _ in range(16):
    threading.Thread(target=work, daemon=True).start()
barrier.wait()
print(told, arenas() - before)
barrier.wait()
"""
    environment = {key: value for key, value in os.environ.items() if key != "MALLOC_ARENA_MAX"}
    bounded = subprocess.check_output([sys.executable, "-c", code], env=environment, text=True).split()
    assert bounded[0] == "True"
    assert int(bounded[1]) <= 1
    told, number = subprocess.check_output(
        [sys.executable, "-c", code], env={**environment, "MALLOC_ARENA_MAX": "16"}, text=True
    ).split()
    assert told == "False"
    assert int(number) > 3
