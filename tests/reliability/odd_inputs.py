"""Damaged and odd images through every road: API, `predict`, `data check`, `evaluate`, server, processes of their own.

    PYTHONPATH=tests python -m reliability.odd_inputs --count 1200 --seed 0 --processes 20

Counted are tracebacks, answers that take more than ten seconds, five-hundreds, and silent repairs: a file that had to
be refused and was not, or was read with other pixels (by more than 1 % on average) without a note. All roads must agree
on which files can be used; so what holds for one holds for all. The exit code is 1 if anything was counted.
"""

import argparse
import csv
import json
import os
import resource
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import numpy as np
from PIL import Image as PillowImage
from typer.testing import CliRunner

from polypseg.cli import app
from polypseg.errors import ImageError, PolypsegError
from polypseg.preprocess import read_image
from predict.tiny_model import write_tiny_model
from reliability.odd_images import HEIGHT, WIDTH, Must, Odd, odd_images
from serve.running import serving

PATIENCE_SECONDS = 10.0
TOLERANCE = 0.01
NOT_SERVED = (".jp2", ".avif", ".gif", ".ppm", ".pgm")
"""Formats that the server does not take (docs/reference/api.md)."""

LOOKS_LIKE_A_TRACEBACK = ("Traceback (most recent", 'File "/')


@dataclass
class Tally:
    """What came of the files.

    Attributes:
        num_files: On each road.
        num_accepted: On each road.
        slowest: Seconds of the slowest file on each road (of all files where they go together).
        wrong: What must not be, a line each.
    """

    num_files: Counter[str] = field(default_factory=Counter)
    num_accepted: Counter[str] = field(default_factory=Counter)
    slowest: dict[str, float] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def note(self, road: str, seconds: float, num_files: int, accepted: set[str]) -> None:
        self.num_files[road] += num_files
        self.num_accepted[road] += len(accepted)
        self.slowest[road] = max(self.slowest.get(road, 0.0), seconds)
        if seconds > PATIENCE_SECONDS + 0.1 * (num_files - 1):
            self.wrong.append(f"{road}: {seconds:.1f} s for {num_files} files: a hang")

    def table(self) -> str:
        head = f"{'road':12} {'files':>6} {'accepted':>9} {'refused':>8} {'seconds':>8}"
        lines = [
            f"{road:12} {number:6} {self.num_accepted[road]:9} {number - self.num_accepted[road]:8} "
            f"{self.slowest[road]:8.2f}"
            for road, number in self.num_files.items()
        ]
        return "\n".join([head, *lines, f"wrong: {len(self.wrong)}", *self.wrong[:40]])


def typed(*words: object) -> tuple[int, str]:
    """A command in this process: its exit code and what it printed, with the traceback of an error nobody expected."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as the command line does
        result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        return 99, f"Traceback (most recent call last): {result.exception!r}"
    return result.exit_code, result.output


def by_api(odds: Sequence[Odd], folder: Path, tally: Tally) -> set[str]:
    """The names that `read_image` takes; silent repairs are found here."""
    accepted, slowest = set(), 0.0
    for odd in odds:
        began = perf_counter()
        try:
            found = read_image(folder / odd.name)
        except ImageError as error:
            if odd.must is Must.BE_READ:
                tally.wrong.append(f"API: {odd.name} ({odd.kind}) refused: {error}")
            if "\n" in str(error):
                tally.wrong.append(f"API: {odd.name} ({odd.kind}): more than one line: {error}")
        except Exception as error:
            tally.wrong.append(f"API: {odd.name} ({odd.kind}): {error!r}")
        else:
            accepted.add(odd.name)
            if odd.must is Must.BE_REFUSED or (odd.must is not Must.NOT_FAIL and not _is_true(found, odd)):
                tally.wrong.append(f"API: {odd.name} ({odd.kind}): a silent repair")
        slowest = max(slowest, perf_counter() - began)
    tally.note("API", slowest, 1, set())
    tally.num_files["API"], tally.num_accepted["API"] = len(odds), len(accepted)
    return accepted


def _is_true(found: np.ndarray, odd: Odd) -> bool:
    if odd.truth is None or found.shape != odd.truth.shape:
        return False
    return float(np.abs(found.astype(int) - odd.truth).mean() / 255) <= TOLERANCE


def by_predict(odds: Sequence[Odd], images: Path, tally: Tally) -> set[str]:
    """The names that `polypseg predict` gives a mask; each has a row."""
    began = perf_counter()
    code, output = typed("predict", "tiny.onnx", images, "-o", "predicted", "--engine", "onnxruntime")
    seconds = perf_counter() - began
    _look("predict", code, (1,), output, tally)
    with Path("predicted/predictions.csv").open(newline="", encoding="utf-8") as opened:
        rows = {Path(row["path"]).name: row for row in csv.DictReader(opened)}
    for odd in odds:
        if odd.name not in rows:
            tally.wrong.append(f"predict: {odd.name} ({odd.kind}) has no row")
        elif bool(rows[odd.name]["fault"]) == Path("predicted/masks", f"{rows[odd.name]['name']}.png").is_file():
            tally.wrong.append(f"predict: {odd.name} ({odd.kind}) has neither mask nor fault, or both")
    accepted = {name for name, row in rows.items() if not row["fault"]}
    tally.note("predict", seconds, len(odds), accepted)
    return accepted


def by_check(odds: Sequence[Odd], tally: Tally) -> set[str]:
    """The names that `polypseg data check` finds usable; their masks are whole."""
    began = perf_counter()
    code, output = typed("data", "check", "set", "--bits", -1, "--json", "found.json")
    seconds = perf_counter() - began
    _look("data check", code, (1,), output, tally)
    faults = {fault["name"].removeprefix("set/") for fault in json.loads(Path("found.json").read_text())["faults"]}
    accepted = {odd.name for odd in odds if Path(odd.name).stem not in faults}
    tally.note("data check", seconds, len(odds), accepted)
    return accepted


def by_evaluate(odds: Sequence[Odd], tally: Tally) -> set[str]:
    """The names that `polypseg evaluate` scores with `--skip-bad`; without it, it stops with a line."""
    words = ("evaluate", "tiny.onnx", "--data", "set", "-o", "scored", "--no-leaks")
    began = perf_counter()
    code, output = typed(*words)
    _look("evaluate", code, (1,), output, tally)
    code, output = typed(*words, "--skip-bad", "--restart")
    seconds = perf_counter() - began
    _look("evaluate --skip-bad", code, (0,), output, tally)
    with Path("scored/scores.csv").open(newline="", encoding="utf-8") as opened:
        scored = {row["name"] for row in csv.DictReader(opened) if not row["fault"]}
    accepted = {odd.name for odd in odds if Path(odd.name).stem in scored}
    tally.note("evaluate", seconds, 2 * len(odds), accepted)
    tally.num_files["evaluate"] = len(odds)
    return accepted


def by_server(odds: Sequence[Odd], usable: set[str], tally: Tally) -> set[str]:
    """The names that the server answers with a mask, and those that it would but for their format."""
    accepted, slowest = {name for name in usable if name.endswith(NOT_SERVED)}, 0.0
    with serving(Path("tiny.onnx")) as client:
        for odd in odds:
            began = perf_counter()
            answer = client.post("/v1/segment", content=odd.content, headers={"Content-Type": "image/png"})
            slowest = max(slowest, perf_counter() - began)
            if answer.status_code == 200:
                accepted.add(odd.name)
                if "phone" in odd.kind and "2 pictures" not in answer.json()["note"]:
                    tally.wrong.append(f"serve: {odd.name} ({odd.kind}): no note")
            elif answer.status_code not in (400, 413) or any(mark in answer.text for mark in LOOKS_LIKE_A_TRACEBACK):
                tally.wrong.append(f"serve: {odd.name} ({odd.kind}): {answer.status_code} {answer.text[:300]}")
        if client.get("/readyz").status_code != 200:
            tally.wrong.append("serve: not ready any more")
    tally.note("serve", slowest, 1, set())
    tally.num_files["serve"], tally.num_accepted["serve"] = len(odds), len(accepted)
    return accepted


def by_processes(odds: Sequence[Odd], images: Path, tally: Tally) -> set[str]:
    """The names that `polypseg predict` takes, each file in a process of its own; timed by the processor's clock.

    On a busy machine the start of a process may take longer than any file does.
    """
    accepted, slowest = set(), 0.0
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    for odd in odds:
        words = ["predict", "tiny.onnx", images / odd.name, "-o", f"alone/{odd.name}.out", "--engine", "onnxruntime"]
        done = subprocess.run([sys.executable, "-m", "polypseg", *words], capture_output=True, text=True, timeout=120)
        before, used = used, resource.getrusage(resource.RUSAGE_CHILDREN)
        slowest = max(slowest, used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime)
        _look(f"process {odd.name} ({odd.kind})", done.returncode, (0, 1), done.stdout + done.stderr, tally)
        accepted |= {odd.name} if done.returncode == 0 else set()
    tally.note("processes", slowest, 1, set())
    tally.num_files["processes"], tally.num_accepted["processes"] = len(odds), len(accepted)
    return accepted


def _look(road: str, code: int, expected: tuple[int, ...], output: str, tally: Tally) -> None:
    if code not in expected or any(mark in output for mark in LOOKS_LIKE_A_TRACEBACK):
        tally.wrong.append(f"{road}: exit code {code}, expected {expected}: {output[-600:]}")


def lay_out(odds: Sequence[Odd]) -> Path:
    """The files in the working folder: a data set of images with whole masks; gives the folder of the images."""
    images, masks = Path("set/images"), Path("set/masks")
    images.mkdir(parents=True)
    masks.mkdir()
    write_tiny_model(Path("tiny.onnx"))
    for odd in odds:
        (images / odd.name).write_bytes(odd.content)
        shape = (HEIGHT, WIDTH) if odd.truth is None else odd.truth.shape[:2]
        mask = np.zeros(shape, np.uint8)
        mask[20:40, 30:60] = 255
        PillowImage.fromarray(mask).save(masks / f"{Path(odd.name).stem}.png")
    return images


@contextmanager
def working_in(folder: Path):
    """The working folder, until the block ends."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def drive(count: int, seed: int, num_processes: int, folder: Path) -> Tally:
    """What came of so many files, laid out in an empty folder, on every road."""
    odds, tally = odd_images(count, seed), Tally()
    with working_in(folder), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of some damages and reads on
        images = lay_out(odds)
        usable = by_api(odds, images, tally)
        roads: dict[str, Callable[[], set[str]]] = {
            "predict": lambda: by_predict(odds, images, tally),
            "data check": lambda: by_check(odds, tally),
            "evaluate": lambda: by_evaluate(odds, tally),
            "serve": lambda: by_server(odds, usable, tally),
        }
        kinds = {odd.name: odd.kind for odd in odds}
        for road, goes in roads.items():
            try:
                unlike = goes() ^ usable
            except (OSError, PolypsegError, KeyError) as error:  # what it should have written is not there
                tally.wrong.append(f"{road}: {error!r}")
                continue
            tally.wrong += [f"{road}: {name} ({kinds[name]}): not as the API" for name in sorted(unlike)]
        if num_processes:
            sample = odds[:: max(1, len(odds) // num_processes)][:num_processes]
            unlike = by_processes(sample, images, tally) ^ (usable & {odd.name for odd in sample})
            tally.wrong += [f"processes: {name} ({kinds[name]}): not as the API" for name in sorted(unlike)]
    return tally


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=20)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="odd-") as folder:
        tally = drive(arguments.count, arguments.seed, arguments.processes, Path(folder))
    print(tally.table())
    sys.exit(bool(tally.wrong))


if __name__ == "__main__":
    main()
