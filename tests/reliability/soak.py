"""A server under load for long: many clients, slow and broken ones among them, and videos meanwhile.

    PYTHONPATH=tests python -m reliability.soak --requests 20000 --videos 50 --clients 32

The server is a process of its own. Of each 20 requests one is broken (a damaged image, a wrong parameter, a body that
ends early, a connection that is dropped, a silent one). Printed are the answers by status, the times of those that were
whole, and the server's memory: after a tenth of the requests, and at the end. The exit code is 1 where an answer was
another than is due, where the memory grew by more than 5 %, or where the slowest hundredth took more than three times
the median.
"""

import argparse
import os
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Lock, Thread
from typing import NamedTuple

import httpx
import numpy as np

from preprocess.odd_files import encoded, frame, without_end
from reliability.kills import forked, started
from reliability.odd_inputs import working_in
from serve.films import video
from serve.models import write_red_model

PNG = {"Content-Type": "image/png"}
DUE = {
    "whole": (200,),
    "damaged": (400,),
    "parameter": (422,),
    "early end": (),
    "dropped": (),
    "silent": (),
    "video": (202,),
}
GROWTH, SPREAD, BROKEN_EVERY = 0.05, 3.0, 20
BROKEN = ("damaged", "parameter", "early end", "dropped", "silent")


class Seen(NamedTuple):
    """What clients saw.

    Attributes:
        answers: By kind of request and status.
        seconds: Of the whole ones.
        memory: Bytes of the server, by the number of requests answered.
        jobs: Videos by how they ended.
    """

    answers: Counter[tuple[str, int]]
    seconds: list[float]
    memory: list[tuple[int, int]]
    jobs: Counter[str]

    def wrong(self) -> list[str]:
        """What must not be."""
        found = [
            f"{kind}: {number} answers of status {status}"
            for (kind, status), number in self.answers.items()
            if status not in (*DUE[kind], 429)
        ]
        begin, end = self.memory[0][1], self.memory[-1][1]
        if end > (1 + GROWTH) * begin:
            found.append(f"memory grew from {begin / 1e6:.0f} to {end / 1e6:.0f} MB")
        half, most = np.percentile(self.seconds, (50, 99))
        if most > SPREAD * half:
            found.append(f"the slowest hundredth took {most * 1000:.0f} ms, the median {half * 1000:.0f} ms")
        return found + [f"{number} videos {state}" for state, number in self.jobs.items() if state != "done"]


class Clients:
    """Sends requests, a kind at a time, and notes what comes."""

    def __init__(self, client: httpx.Client, address: str, pid: int, num_requests: int) -> None:
        rng = np.random.default_rng(0)
        image = encoded(frame(rng), "PNG")
        self.contents = {"whole": image, "parameter": image, "damaged": without_end(image, rng)}
        self._client, self.address, self.pid, self.num_requests = client, address, pid, num_requests
        self.seen = Seen(Counter(), [], [], Counter())
        self._lock, self._count = Lock(), 0

    def send(self, number: int) -> None:
        """One request; of 20 one is broken."""
        kind = BROKEN[number // BROKEN_EVERY % len(BROKEN)] if number % BROKEN_EVERY == 0 else "whole"
        if DUE[kind]:
            began = time.monotonic()
            query = "?threshold=2" if kind == "parameter" else ""
            answer = self._client.post(f"/v1/segment{query}", content=self.contents[kind], headers=PNG)
            self._note(kind, answer.status_code, time.monotonic() - began)
        else:
            self._break_off(kind)
            self._note(kind, 0, 0.0)

    def _break_off(self, kind: str) -> None:
        url = httpx.URL(self.address)
        with suppress(OSError), socket.create_connection((url.host, url.port), timeout=30) as connection:
            if kind == "silent":
                return
            content = self.contents["whole"]
            head = "POST /v1/segment HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
            sent = content if kind == "dropped" else content[: len(content) // 2]
            connection.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + sent)

    def _note(self, kind: str, status: int, seconds: float) -> None:
        with self._lock:
            self._count += 1
            if DUE[kind]:
                self.seen.answers[kind, status] += 1
            if kind == "whole" and status == 200:
                self.seen.seconds.append(seconds)
            if self._count % max(1, self.num_requests // 10) == 0:
                self.seen.memory.append((self._count, memory_of(self.pid)))

    def film(self, num_videos: int, client: httpx.Client) -> None:
        """Videos, one after another, each fetched and removed."""
        content = video(20)
        for _ in range(num_videos):
            answer = client.post("/v1/video", content=content, headers={"Content-Type": "video/mp4"})
            with self._lock:
                self.seen.answers["video", answer.status_code] += 1
            if answer.status_code != 202:
                continue
            job = f"/v1/jobs/{answer.json()['id']}"
            while (state := client.get(job).json()["state"]) in ("queued", "running"):
                time.sleep(0.2)
            client.delete(job)
            with self._lock:
                self.seen.jobs[state] += 1


def memory_of(pid: int) -> int:
    """Bytes that a process holds in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def drive(num_requests: int, num_videos: int, num_clients: int, folder: Path) -> Seen:
    """What so many clients saw of a server that was started for them."""
    with working_in(folder):
        model = write_red_model(Path("red.onnx"), 64)
        pid = forked(("serve", model, "--port", "0", "--quiet", "--engine", "onnxruntime"), "serve.txt")
        try:
            address = started()
            limits = httpx.Limits(max_connections=num_clients + 2)
            with httpx.Client(base_url=address, trust_env=False, timeout=120, limits=limits) as client:
                clients = Clients(client, address, pid, num_requests)
                films = Thread(target=clients.film, args=(num_videos, client))
                films.start()
                with ThreadPoolExecutor(num_clients) as pool:
                    for _ in pool.map(clients.send, range(num_requests)):
                        pass
                films.join()
                ready = client.get("/readyz").status_code
                clients.seen.answers["whole", ready] += 1
            clients.seen.memory.append((num_requests, memory_of(pid)))
            began = time.monotonic()
            os.kill(pid, signal.SIGTERM)
            os.waitpid(pid, 0)
            print(
                f"ended {time.monotonic() - began:.1f} s after SIGTERM; log: {Path('serve.txt').stat().st_size} bytes"
            )
            pid = 0
        finally:
            if pid:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
    return clients.seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--videos", type=int, default=50)
    parser.add_argument("--clients", type=int, default=32)
    arguments = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        seen = drive(arguments.requests, arguments.videos, arguments.clients, Path(folder))
    for (kind, status), number in sorted(seen.answers.items()):
        print(f"{kind:12} {status:4} {number:7}")
    half, most = np.percentile(seen.seconds, (50, 99))
    print(f"{arguments.requests} requests in {time.monotonic() - began:.0f} s")
    print(f"median {half * 1000:.0f} ms, 99th percentile {most * 1000:.0f} ms")
    print("memory, MB:", ", ".join(f"{count}: {size / 1e6:.0f}" for count, size in seen.memory))
    print("videos:", dict(seen.jobs))
    wrong = seen.wrong()
    print(f"wrong: {len(wrong)}", *wrong, sep="\n")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
