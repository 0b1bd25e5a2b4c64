"""`kill -9` at a random moment, then the command that goes on: the results must be those of a call that nobody killed.

    PYTHONPATH=tests python -m reliability.kills --train 30 --predict 30 --evaluate 20 --export 10 --server 20

Each command runs in a process of its own, forked from this one, which has imported everything already: what is killed
is the work, not the imports. The exit code is 1 if a result differed, or something was lost that had been accepted.
"""

import argparse
import csv
import hashlib
import io
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import httpx
import numpy as np

from polypseg.data.synthetic import make_synthetic
from predict.tiny_model import write_tiny_model
from preprocess.odd_files import encoded, frame
from reliability.odd_inputs import working_in

SMALL = [
    *("--set", "data.size=32", "--set", "data.batch_size=4", "--set", "data.augment=flip", "--set", "model.filters=4"),
    *("--set", "model.depth=1", "--set", "train.tensorboard=false", "--set", "split.near_duplicate_bits=-1"),
    *("--set", "split.kind=ratio", "--set", "split.validation=0.25", "--set", "split.test=0.25", "--no-evaluate"),
]
ONNX = ("--engine", "onnxruntime")
TIMES = ("seconds", "image_seconds", "time", "started", "finished", "command", "id")
"""What may differ between two calls."""


class Work(NamedTuple):
    """A command that is killed.

    Attributes:
        first: What is typed.
        again: What is typed to go on.
        has_begun: Whether there is something to go on with; else `first` is typed again.
        result: What must be equal.
    """

    first: tuple[object, ...]
    again: tuple[object, ...]
    has_begun: Callable[[], bool]
    result: Callable[[], dict[str, str]]


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def pictures(folder: str) -> dict[str, str]:
    return {str(path): digest(path.read_bytes()) for path in sorted(Path(folder).rglob("*.png"))}


def table(path: str) -> dict[str, str]:
    """The cells of a CSV file but for times."""
    with Path(path).open(newline="", encoding="utf-8") as opened:
        rows = [{key: cell for key, cell in row.items() if key not in TIMES} for row in csv.DictReader(opened)]
    return {path: json.dumps(rows)}


def weights(path: str) -> dict[str, str]:
    """The numbers of a `.keras` file."""
    import h5py

    found: dict[str, str] = {}

    def note(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            found[f"{path}:{name}"] = digest(np.asarray(item).tobytes())

    with zipfile.ZipFile(path) as archive, h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as opened:
        opened.visititems(note)
    return found


def figures(path: str) -> dict[str, str]:
    """The metrics of a summary."""
    return {path: json.dumps(json.loads(Path(path).read_text())["metrics"], sort_keys=True)}


WORK = {
    "train": Work(
        ("train", "--data", "data", "--runs", "work", "--name", "run", "--epochs", "4", *SMALL),
        ("train", "--runs", "work", "--name", "run", "--resume", "--no-evaluate"),
        lambda: Path("work/run/config.toml").is_file(),
        lambda: table("work/run/history.csv") | weights("work/run/checkpoints/best.keras"),
    ),
    "predict": Work(
        ("predict", "tiny.onnx", "many", "-o", "work", "--overlays", "--coco", *ONNX),
        ("predict", "tiny.onnx", "many", "-o", "work", "--overlays", "--coco", "--resume", *ONNX),
        lambda: Path("work").is_dir(),
        lambda: pictures("work") | table("work/predictions.csv") | {"coco": digest(_coco())},
    ),
    "evaluate": Work(
        ("evaluate", "tiny.onnx", "--data", "set", "-o", "work/scored", "--no-leaks"),
        ("evaluate", "tiny.onnx", "--data", "set", "-o", "work/scored", "--no-leaks"),
        lambda: True,
        lambda: pictures("work") | table("work/scored/scores.csv") | figures("work/scored/summary.json"),
    ),
    "export": Work(
        ("export", "run", "-o", "work/model.onnx", "--data", "data"),
        ("export", "run", "-o", "work/model.onnx", "--data", "data"),
        lambda: True,
        lambda: {"model": digest(_graph(Path("work/model.onnx")))},
    ),
}


def _coco() -> bytes:
    found = [json.loads(path.read_text()) for path in sorted(Path("work").glob("coco*.json"))]
    return json.dumps([[record[key] for key in ("images", "annotations")] for record in found]).encode()


def _graph(path: Path) -> bytes:
    """The nodes' kinds and the weights of an exported model; names count what a process made, its facts hold times."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(path).graph
    weights = sorted(digest(numpy_helper.to_array(stored).tobytes()) for stored in graph.initializer)
    return json.dumps([sorted(node.op_type for node in graph.node), weights]).encode()


def forked(words: tuple[object, ...], log: str) -> int:
    """A command in a process of its own, that has just begun: its process id."""
    pid = os.fork()
    if pid:
        return pid
    code = 99
    try:
        with suppress(OSError):
            os.setpgid(0, 0)
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", 1), os.fdopen(2, "w", 1)
        from polypseg.cli import app

        try:
            app([str(word) for word in words], standalone_mode=True)
        except SystemExit as end:
            code = int(end.code or 0)
        sys.stdout.flush()
    finally:
        os._exit(code)


def ended(pid: int) -> int:
    """The exit code of a process that is waited for; -9 where it was killed."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _cpu_seconds(pid: int) -> float:
    """Of the processor, that a process has used: where it is in its work, however busy the machine is."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def kill_many(name: str, count: int, rng: np.random.Generator) -> list[str]:
    """Kill a command so many times, and go on each time; what must not be, a line each."""
    work, wrong, num_killed = WORK[name], [], 0
    shutil.rmtree("work", ignore_errors=True)
    Path("work").mkdir()
    pid = forked(work.first, "log.txt")
    _, status, used = os.wait4(pid, 0)
    if status != 0:
        raise SystemExit(f"{name} fails by itself: {Path('log.txt').read_text()[-2000:]}")
    seconds, expected = used.ru_utime + used.ru_stime, work.result()
    for number in range(count):
        print(f"{name:10} {number:3} times so far, {num_killed} killed at work, {len(wrong)} wrong", file=sys.stderr)
        shutil.rmtree("work")
        Path("work").mkdir()
        pid, moment = forked(work.first, "log.txt"), float(rng.uniform(0.02, 0.95)) * seconds
        while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None and _cpu_seconds(pid) < moment:
            time.sleep(0.005)
        os.kill(pid, signal.SIGKILL)  # of one that ended by itself, and was not waited for, nothing comes
        num_killed += ended(pid) == -signal.SIGKILL
        Path("again.txt").unlink(missing_ok=True)
        code = ended(forked(work.again if work.has_begun() else work.first, "again.txt"))
        if code != 0:
            wrong.append(f"{name}: does not go on ({code}): {Path('again.txt').read_text()[-500:]}")
            continue
        found = work.result()
        differing = sorted(key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key))
        left = [str(path) for path in Path("work").rglob(".*") if ".part" in path.name or ".lock" in path.name]
        if differing:
            wrong.append(f"{name}: differs in {differing[:5]}: {_apart(expected, found, differing[0])}")
        wrong += [f"{name}: left behind {left}"] if left else []
    print(f"{name:10} {count:3} times, {num_killed} killed at work, {len(wrong)} wrong", flush=True)
    return wrong


def _apart(expected: dict[str, str], found: dict[str, str], key: str) -> str:
    """Where two results begin to differ, with what stands there in each."""
    one, other = expected.get(key, "missing"), found.get(key, "missing")
    pairs = enumerate(zip(one, other, strict=False))
    place = next((number for number, (left, right) in pairs if left != right), min(len(one), len(other)))
    seen = slice(max(0, place - 60), place + 60)
    return f"from letter {place} on {one[seen]!r}, not {other[seen]!r}"


def kill_servers(count: int, rng: np.random.Generator) -> list[str]:
    """Kill a server with requests and a video on their way; no answer may be another than that of a whole server."""
    from serve.films import video

    image, film, wrong, num_whole = encoded(frame(rng), "PNG"), video(40), [], 0
    temporary = Path("tmp")
    temporary.mkdir(exist_ok=True)
    tempfile.tempdir = str(temporary.resolve())
    expected = None
    for _ in range(count + 1):
        Path("serve.txt").unlink(missing_ok=True)
        pid = forked(("serve", "tiny.onnx", "--port", "0", "--quiet", *ONNX), "serve.txt")
        address = started()
        with suppress(httpx.HTTPError):
            httpx.post(f"{address}/v1/video", content=film, headers={"Content-Type": "video/mp4"}, trust_env=False)
        homes = list(temporary.glob("polypseg-serve-*"))
        if len(homes) != 1:
            wrong.append(f"server: {len(homes)} folders of servers, 1 of which is alive")
        began = time.monotonic()
        right = _mask(_asked(address, image))
        seconds, expected = time.monotonic() - began, expected or right
        if right != expected:
            wrong.append("server: another answer after a kill")
        with ThreadPoolExecutor(4) as pool:
            asked = [pool.submit(_asked, address, image) for _ in range(4)]
            time.sleep(float(rng.uniform(0, 4)) * seconds)
            os.kill(pid, signal.SIGKILL)
            ended(pid)
        whole = [answer.result() for answer in asked if answer.result()]
        num_whole += len(whole)
        wrong += ["server: another answer"] * sum(_mask(answer) != expected for answer in whole)
    print(f"server     {count:3} times, {num_whole} whole answers before the kill, {len(wrong)} wrong", flush=True)
    return wrong


def _asked(address: str, image: bytes) -> bytes:
    """The bytes of an answer; none where the server was killed."""
    try:
        answer = httpx.post(
            f"{address}/v1/segment", content=image, headers={"Content-Type": "image/png"}, trust_env=False, timeout=60
        )
    except httpx.HTTPError:
        return b""
    return answer.content


def _mask(answer: bytes) -> str:
    return json.dumps(json.loads(answer)["mask"])


def started(log: str = "serve.txt") -> str:
    """The address of a server that was forked with a log, once it is ready."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        said = Path(log).read_text() if Path(log).exists() else ""
        found = re.search(r"http://\S+", said)
        if found:
            with suppress(httpx.HTTPError):
                if httpx.get(f"{found[0]}/readyz", trust_env=False).status_code == 200:
                    return found[0]
        time.sleep(0.05)
    raise SystemExit("the server does not start")


def lay_out(num_images: int) -> None:
    """What the commands need, in the working folder."""
    write_tiny_model(Path("tiny.onnx"))
    make_synthetic("data", 12, seed=1, side_range=(40, 48))
    make_synthetic("set", num_images, seed=2, side_range=(64, 96))
    shutil.copytree("set/images", "many")


def drive(
    counts: dict[str, int], seed: int, folder: Path, num_images: int = 40, network: str = "attention_unet"
) -> list[str]:
    """What must not be, of so many kills of each command."""
    rng, wrong = np.random.default_rng(seed), []
    train = WORK["train"]
    WORK["train"] = train._replace(first=(*train.first, "--set", f"model.name={network}"))
    with working_in(folder):
        lay_out(num_images)
        if counts.get("train") or counts.get("export"):
            from polypseg.cli.console import import_keras_quietly

            import_keras_quietly()  # imported, and not used: a fork of what has threads may hang
            import polypseg.export.onnx
            import polypseg.train.fit  # noqa: F401
        if counts.get("export"):
            if ended(forked(WORK["train"].first, "log.txt")) != 0:
                raise SystemExit(f"the training fails: {Path('log.txt').read_text()[-2000:]}")
            shutil.move("work/run", "run")
            shutil.rmtree("work")
        for name in WORK:
            if counts.get(name):
                wrong += kill_many(name, counts[name], rng)
        if counts.get("server"):
            before = tempfile.tempdir
            try:
                wrong += kill_servers(counts["server"], rng)
            finally:
                tempfile.tempdir = before
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, count in (("train", 30), ("predict", 30), ("evaluate", 20), ("export", 10), ("server", 20)):
        parser.add_argument(f"--{name}", type=int, default=count)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--network", default="attention_unet", help="what is trained; unet takes half the time")
    arguments = vars(parser.parse_args())
    seed, network = arguments.pop("seed"), arguments.pop("network")
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        wrong = drive(arguments, seed, Path(folder), network=network)
    print(f"wrong: {len(wrong)}", *wrong[:40], sep="\n")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
