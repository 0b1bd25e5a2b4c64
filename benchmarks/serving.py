"""How much of the engine's speed the server passes on, how long clients wait, and what hurts it.

    python benchmarks/serving.py                     # the packaged model; all of it, about 15 minutes on 2 cores
    python benchmarks/serving.py --model runs/kvasir --seconds 5 --requests 1000 --clients 1 8

Starts `polypseg serve` as a process and loads it over the loopback. Images are synthetic frames of colonoscopy sizes
(JPEG, 530x622 to 1072x1920), in turn. The bare engine's speed is that of `engine.run` on ready arrays, with as many
engines side by side as the server has, in a process of its own, just before and just after each level of load; the
yardstick is their mean. A server has to decode, restore and describe too, on the same cores: "bare predictor" is
`decode_image`, `predict` and the answer's JSON without a server.

The clients are coroutines over plain sockets with ready-made requests, so that they take little of the machine that the
server runs on; what they and the server take of it is printed, and the processor time of an image, which does not
depend on who else runs on the machine as rates do. A client that is refused (429) comes again after 0.2 seconds;
anything else but 200 is an error.
"""

import argparse
import asyncio
import contextlib
import io
import os
import platform
import subprocess
import sys
import time
from collections import Counter
from importlib.metadata import version
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import numpy as np

SIZES = ((530, 622), (576, 720), (530, 622), (1072, 1920), (622, 529))
"""Four of five about Kvasir-SEG's median, one full HD."""

AGAIN_SECONDS = 0.2

BARE = """
import json, sys, time
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from polypseg.preprocess import decode_image
from polypseg.serve.pipeline import describe
from polypseg.serve.schemas import BatchQuery
from polypseg.serve.service import _open
from polypseg.serve.settings import Settings
model, engine, number, seconds, *names = sys.argv[1:]
predictors = _open(Settings(model=model or None, engine=engine, num_engines=int(number)))
contents = [open(name, "rb").read() for name in names]
batch = np.stack([predictors[0].prepare(decode_image(content)).pixels for content in contents])
def run(predictor, index): predictor.engine.run(batch[index % len(batch)][None])
def whole(predictor, index):
    prediction = predictor.predict(decode_image(contents[index % len(contents)]))
    json.dumps(describe(prediction, BatchQuery(), predictor))
def repeat(work, predictor):
    done = 0
    while time.perf_counter() < until: work(predictor, done); done += 1
    return done
for work in (run, whole):
    for predictor in predictors * 3: work(predictor, 0)
    began, cpu = time.perf_counter(), time.process_time()
    until = began + float(seconds)
    with ThreadPoolExecutor(len(predictors)) as pool:
        done = sum(pool.map(lambda predictor: repeat(work, predictor), predictors))
    print(done / (time.perf_counter() - began), 1000 * (time.process_time() - cpu) / done)
"""
BATCHES = (1, 2, 4, 8)


class Options(NamedTuple):
    """What is measured."""

    model: str
    engine: str
    seconds: float
    num_requests: int
    batch_size: int
    num_engines: int


class Bare(NamedTuple):
    """What the machine does without a server: images a second, and milliseconds of processor an image."""

    engine_rate: float
    engine_ms: float
    whole_rate: float
    whole_ms: float


class Load(NamedTuple):
    """What came of a load: sorted seconds of each answer, how often each status came, cores kept busy on average."""

    latencies: list[float]
    statuses: Counter
    seconds: float
    server_cores: float
    client_cores: float

    @property
    def rate(self) -> float:
        """Answered images a second."""
        return len(self.latencies) / self.seconds

    def percentile(self, share: float) -> float:
        """Seconds below which this share of the answers came."""
        if not self.latencies:
            return float("nan")
        return self.latencies[min(len(self.latencies) - 1, int(share * len(self.latencies)))]

    @property
    def server_ms(self) -> float:
        """Milliseconds of processor that the server took an answered image."""
        return 1000 * self.server_cores * self.seconds / max(1, len(self.latencies))

    @property
    def errors(self) -> dict:
        """What is neither an answer nor a polite refusal."""
        return {status: count for status, count in self.statuses.items() if status not in (200, 429)}


class Server:
    """`polypseg serve` as a process."""

    def __init__(self, options: Options) -> None:
        model = [options.model] if options.model else []
        arguments = ["--port", "0", "--quiet", "--engine", options.engine, "--batch-size", str(options.batch_size)]
        arguments += ["--engines", str(options.num_engines)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "polypseg", "serve", *model, *arguments], stdout=subprocess.PIPE, text=True
        )
        self.port = int(self.process.stdout.readline().split()[2].rsplit(":", 1)[1])

    def memory_mb(self) -> float:
        """What it holds in memory now."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

    def cpu_seconds(self) -> float:
        """What it took of the processor so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(60)
        self.process.stdout.close()


def make_images() -> list[bytes]:
    from PIL import Image

    from polypseg.data.synthetic import synthetic_image

    rng, contents = np.random.default_rng(0), []
    for size in SIZES:
        buffer = io.BytesIO()
        Image.fromarray(synthetic_image(rng, size)[0]).save(buffer, "JPEG", quality=90)
        contents.append(buffer.getvalue())
    return contents


def request(content: bytes) -> bytes:
    head = f"POST /v1/segment HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/jpeg\r\nContent-Length: {len(content)}"
    return head.encode() + b"\r\n\r\n" + content


async def read_answer(reader: asyncio.StreamReader) -> int:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
    await reader.readexactly(int(length.split(b":")[1]))
    return int(head[9:12])


async def ask(port: int, requests: cycle, latencies: list, statuses: Counter, goes_on) -> None:
    """One client on one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while goes_on():
        began = time.perf_counter()
        writer.write(next(requests))
        await writer.drain()
        status = await read_answer(reader)
        statuses[status] += 1
        if status == 200:
            latencies.append(time.perf_counter() - began)
        else:
            await asyncio.sleep(AGAIN_SECONDS)
    writer.close()


async def load(server: Server, images: list[bytes], num_clients: int, goes_on) -> Load:
    latencies: list[float] = []
    statuses: Counter = Counter()
    requests = cycle([request(content) for content in images])
    began, server_cpu, client_cpu = time.perf_counter(), server.cpu_seconds(), time.process_time()
    clients = [ask(server.port, requests, latencies, statuses, lambda: goes_on(latencies)) for _ in range(num_clients)]
    await asyncio.gather(*clients)
    seconds = time.perf_counter() - began
    server_cores, client_cores = server.cpu_seconds() - server_cpu, time.process_time() - client_cpu
    return Load(sorted(latencies), statuses, seconds, server_cores / seconds, client_cores / seconds)


def bare(options: Options, names: list[str]) -> Bare:
    """The bare engine and the bare predictor."""
    seconds = str(min(10.0, options.seconds))
    command = [sys.executable, "-c", BARE, options.model, options.engine, str(options.num_engines), seconds, *names]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return Bare(*map(float, done.stdout.split()))


def show_batches(model: str, engine: str, threads: int) -> None:
    """Processor milliseconds an image of the bare engine by the size of a batch, in turns."""
    from polypseg.predict.predictor import load as load_model

    opened = load_model(model or None, engine, threads).engine
    random = np.random.default_rng(0)
    batches = {size: random.random((size, opened.size, opened.size, 3), np.float32) for size in BATCHES}
    found: dict[int, list[float]] = {size: [] for size in BATCHES}
    for _ in range(13):
        for size, batch in batches.items():
            began = time.process_time()
            opened.run(batch)
            found[size].append(1000 * (time.process_time() - began) / size)
    medians = ", ".join(f"{np.median(times[1:]):.1f}" for times in found.values())
    print(f"{opened.name}, {threads} threads, batches of {BATCHES}: {medians} ms of processor an image")


def for_seconds(seconds: float):
    until = time.perf_counter() + seconds
    return lambda _: time.perf_counter() < until


def show_levels(server: Server, options: Options, images: list[bytes], names: list[str], levels: list[int]) -> None:
    print(
        "clients | images/s | of bare engine | of bare predictor | p50 ms | p95 ms | p99 ms | 429 | errors | "
        "processor ms an image: server, bare engine, bare predictor | cores: server, clients"
    )
    before = bare(options, names) if levels else None
    for num_clients in levels:
        asyncio.run(load(server, images, num_clients, for_seconds(2)))
        found = asyncio.run(load(server, images, num_clients, for_seconds(options.seconds)))
        after = bare(options, names)
        yard = Bare(*np.mean([before, after], axis=0))
        before = after
        times = " | ".join(f"{1000 * found.percentile(share):.0f}" for share in (0.5, 0.95, 0.99))
        print(
            f"{num_clients} | {found.rate:.1f} | {100 * found.rate / yard.engine_rate:.0f} % of {yard.engine_rate:.1f}"
            f" | {100 * found.rate / yard.whole_rate:.0f} % of {yard.whole_rate:.1f} | {times} | "
            f"{found.statuses[429]} | {found.errors or 'none'} | {found.server_ms:.1f}, {yard.engine_ms:.1f}, "
            f"{yard.whole_ms:.1f} | {found.server_cores:.2f}, {found.client_cores:.2f}",
            flush=True,
        )


def show_memory(server: Server, images: list[bytes], num_requests: int) -> None:
    samples: list[float] = []

    def goes_on(latencies: list) -> bool:
        if len(latencies) >= len(samples) * num_requests / 20:
            samples.append(server.memory_mb())
        return len(latencies) < num_requests

    found = asyncio.run(load(server, images, 8, goes_on))
    print("memory in MB, 20 times on the way:", *(f"{sample:.0f}" for sample in samples))
    print(
        f"memory over {len(found.latencies):,} requests of 8 clients: {samples[0]:.0f} MB at first, largest of the "
        f"first fifth {max(samples[:5]):.0f} MB, of the last fifth {max(samples[-4:]):.0f} MB; "
        f"errors: {found.errors or 'none'}"
    )


async def annoy(port: int, content: bytes, num: int) -> None:
    """Uploads that never end, and clients that leave while they wait."""
    whole = request(content)
    slow = [await asyncio.open_connection("127.0.0.1", port) for _ in range(num)]
    try:
        while True:
            for _, writer in slow:
                with contextlib.suppress(OSError):
                    writer.write(whole[:200])
            for _ in range(8):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(whole)
                await asyncio.sleep(0.002)
                writer.transport.abort()
            await asyncio.sleep(0.25)
    finally:
        for _, writer in slow:
            writer.transport.abort()


def show_annoyance(server: Server, options: Options, images: list[bytes]) -> None:
    async def both(is_annoyed: bool) -> Load:
        annoying = asyncio.create_task(annoy(server.port, images[0], 200)) if is_annoyed else None
        found = await load(server, images, 8, for_seconds(options.seconds))
        if annoying is not None:
            annoying.cancel()
            await asyncio.gather(annoying, return_exceptions=True)
        return found

    calm, annoyed, after = (asyncio.run(both(is_annoyed)) for is_annoyed in (False, True, False))
    print(
        f"8 clients: {calm.rate:.1f} images/s alone; {annoyed.rate:.1f} beside 200 uploads that never end and 32 "
        f"clients a second that leave (p99 {1000 * annoyed.percentile(0.99):.0f} ms, errors "
        f"{annoyed.errors or 'none'}); {after.rate:.1f} after them"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="", help="instead of the packaged one")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--clients", type=int, nargs="*", default=[1, 8, 32, 128], help="none leaves the loads out")
    parser.add_argument("--seconds", type=float, default=30, help="of each level of load")
    parser.add_argument("--requests", type=int, default=10_000, help="over which memory is watched; 0 leaves it out")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[4], help="of the server, one after another")
    parser.add_argument("--engines", type=int, default=1, help="of the server, the cores shared out")
    parser.add_argument("--only-batches", action="store_true", help="only ask what batches gain the bare engine")
    arguments = parser.parse_args()
    packages = ", ".join(f"{name} {version(name)}" for name in ("onnxruntime", "fastapi", "uvicorn", "numpy"))
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start")
    print(f"Python {platform.python_version()}, {packages}")
    if arguments.only_batches:
        for threads in sorted({1, os.cpu_count() or 1}):
            show_batches(arguments.model, arguments.engine, threads)
        return
    import tempfile

    images = make_images()
    with tempfile.TemporaryDirectory() as folder:
        names = [str(Path(folder) / f"{number}.jpg") for number in range(len(images))]
        for name, content in zip(names, images, strict=True):
            Path(name).write_bytes(content)
        for batch_size in arguments.batch_sizes:
            what = arguments.model, arguments.engine, arguments.seconds, arguments.requests
            options = Options(*what, batch_size, arguments.engines)
            print(f"batch size {batch_size}, {options.num_engines} x engine {options.engine}")
            server = Server(options)
            try:
                show_levels(server, options, images, names, arguments.clients)
                show_annoyance(server, options, images)
                if options.num_requests:
                    show_memory(server, images, options.num_requests)
            finally:
                server.close()


if __name__ == "__main__":
    main()
