"""System calls that fail: the Nth call below a folder, of open, write, flush, fsync, rename and mmap.

    PYTHONPATH=tests python -m reliability.faults --every 1

A small road (evaluate, predict; with --train a training before them) is gone once to count its calls, then again for
each call and each kind of failure. Each time the command must end with one line and leave whole files, old or new; the
same command, typed again without the failure, must do the work. The exit code is 1 if anything else was seen.
"""

import argparse
import builtins
import errno
import io
import logging
import mmap
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from PIL import Image as PillowImage

from polypseg.data.synthetic import make_synthetic
from predict.tiny_model import write_tiny_model
from reliability.odd_inputs import LOOKS_LIKE_A_TRACEBACK, typed, working_in

ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EMFILE)


class Calls:
    """Counts the calls below a folder, and lets one of them fail.

    Args:
        folder: Calls elsewhere (libraries, temporary files) pass.
        fails_at: The number of the call that fails, from 0; -1 for none.
        error: Its number.
    """

    def __init__(self, folder: Path, fails_at: int = -1, error: int = errno.EIO) -> None:
        self._folder, self._fails_at, self._error = os.path.realpath(folder), fails_at, error
        self.kinds: list[str] = []

    def pass_by(self, kind: str, path: object) -> None:
        """Count a call, and fail if it is its turn."""
        try:
            place = os.path.realpath(os.fspath(path))  # type: ignore[call-overload]
        except TypeError:  # a descriptor, or a buffer
            return
        if not str(place).startswith(self._folder):
            return
        self.kinds.append(kind)
        if len(self.kinds) - 1 == self._fails_at:
            raise OSError(self._error, os.strerror(self._error), str(path))


class FailingFile:
    """A file whose writes and flushes pass by `Calls`."""

    def __init__(self, file: Any, calls: Calls, path: object) -> None:
        self._file, self._calls, self._path = file, calls, path

    def write(self, content: Any) -> Any:
        self._calls.pass_by("write", self._path)
        return self._file.write(content)

    def flush(self) -> None:
        self._calls.pass_by("flush", self._path)
        self._file.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> "FailingFile":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._file)


@contextmanager
def failing(calls: Calls) -> Iterator[Calls]:
    """System calls pass by `calls` until the block ends."""
    real_open, descriptors = io.open, {}

    def opens(path: Any, mode: str = "r", *more: Any, **options: Any) -> Any:
        calls.pass_by("open", path)
        file = real_open(path, mode, *more, **options)
        return FailingFile(file, calls, path) if set(mode) & set("wax+") else file

    def system_open(path: Any, *more: Any, **options: Any) -> int:
        calls.pass_by("open", path)
        found = real["open"](path, *more, **options)
        descriptors[found] = path
        return found

    def on_first(kind: str, name: str) -> Callable[..., Any]:
        def call(path: Any, *more: Any, **options: Any) -> Any:
            calls.pass_by(kind, descriptors.get(path, path) if isinstance(path, int) else path)
            return real[name](path, *more, **options)

        return call

    def sync(descriptor: int) -> None:
        calls.pass_by("fsync", _path_of(descriptor))
        real["fsync"](descriptor)

    def maps(descriptor: int, *more: Any, **options: Any) -> Any:
        if descriptor >= 0:
            calls.pass_by("mmap", _path_of(descriptor))
        return real_mmap(descriptor, *more, **options)

    names = ("open", "fsync", "replace", "rename", "mkdir", "write")
    real = {name: getattr(os, name) for name in names}
    real_mmap = mmap.mmap
    patches = [
        mock.patch.object(builtins, "open", opens),
        mock.patch.object(io, "open", opens),
        mock.patch.object(os, "open", system_open),
        mock.patch.object(os, "fsync", sync),
        mock.patch.object(os, "replace", on_first("rename", "replace")),
        mock.patch.object(os, "rename", on_first("rename", "rename")),
        mock.patch.object(os, "mkdir", on_first("mkdir", "mkdir")),
        mock.patch.object(os, "write", on_first("write", "write")),
        mock.patch.object(mmap, "mmap", maps),
    ]
    for patch in patches:
        patch.start()
    try:
        yield calls
    finally:
        for patch in patches:
            patch.stop()


def _path_of(descriptor: int) -> Path:
    return Path(f"/proc/self/fd/{descriptor}").readlink()


SMALL = [
    *("--set", "data.size=32", "--set", "data.batch_size=4", "--set", "data.augment=none", "--set", "model.filters=4"),
    *("--set", "model.depth=1", "--set", "train.tensorboard=false", "--set", "split.near_duplicate_bits=-1"),
    *("--set", "split.kind=ratio", "--set", "split.validation=0.25", "--set", "split.test=0.25", "--no-evaluate"),
]

ROAD: dict[str, tuple[tuple[object, ...], tuple[object, ...]]] = {
    "evaluate": (
        ("evaluate", "tiny.onnx", "--data", "data", "-o", "work/scored", "--no-leaks"),
        ("evaluate", "tiny.onnx", "--data", "data", "-o", "work/scored", "--no-leaks"),
    ),
    "predict": (
        ("predict", "tiny.onnx", "data/images", "-o", "work/predicted", "--engine", "onnxruntime", "--coco"),
        (
            "predict",
            "tiny.onnx",
            "data/images",
            "-o",
            "work/predicted",
            "--engine",
            "onnxruntime",
            "--coco",
            "--resume",
        ),
    ),
    "train": (
        ("train", "--data", "data", "--runs", "work", "--name", "run", "--epochs", "1", *SMALL),
        ("train", "--runs", "work", "--name", "run", "--epochs", "1", "--resume", "--no-evaluate"),
    ),
}
"""A command, and what is typed to go on with it."""


def lay_out() -> None:
    """What the road needs, in the working folder."""
    write_tiny_model(Path("tiny.onnx"))
    make_synthetic("data", 16, seed=1, side_range=(40, 48))


class Found:
    """What was seen: calls by kind, trials, and what must not be."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.num_trials = 0
        self.wrong: list[str] = []


def drive(stages: list[str], every: int, errors: tuple[int, ...], folder: Path) -> Found:
    """Let every so many-th call of these stages fail in turn, each in each of these ways."""
    found = Found()
    with working_in(folder):
        lay_out()
        for stage in stages:
            calls = _count(stage, found)
            for number in range(0, len(calls.kinds), every):
                for error in errors if every == 1 else (errors[number // every % len(errors)],):
                    _try(stage, number, error, calls.kinds[number], found)
    return found


def _count(stage: str, found: Found) -> Calls:
    shutil.rmtree("work", ignore_errors=True)
    with failing(Calls(Path("work"))) as calls:
        code, output = typed(*ROAD[stage][0])
    if code != 0:
        raise SystemExit(f"{stage} fails by itself: {output}")
    found.calls.update(f"{stage} {kind}" for kind in calls.kinds)
    return calls


def _try(stage: str, number: int, error: int, kind: str, found: Found) -> None:
    shutil.rmtree("work", ignore_errors=True)
    found.num_trials += 1
    name = f"{stage}: call {number} ({kind}) {errno.errorcode[error]}"
    with failing(Calls(Path("work"), number, error)):
        code, output = typed(*ROAD[stage][0])
    if code not in (0, 1) or any(mark in output for mark in LOOKS_LIKE_A_TRACEBACK):
        found.wrong.append(f"{name}: exit code {code}: {output[-300:]}")
    num_errors = sum(line.startswith("error:") for line in output.splitlines())
    if code == 1 and num_errors != 1:
        found.wrong.append(f"{name}: {num_errors} errors told: {output[-300:]}")
    found.wrong += [f"{name}: {path} is not whole" for path in Path("work").rglob("*") if not _is_whole(path)]
    if code == 0:
        return  # what failed was not needed, as the removal of a lock
    has_run = stage != "train" or Path("work/run/config.toml").is_file()
    code, output = typed(*ROAD[stage][1 if has_run else 0])
    if code != 0:
        found.wrong.append(f"{name}: the next call does not go on: exit code {code}: {output[-300:]}")
    left = [str(path) for path in Path("work").rglob(".*.part*")]
    if left:
        found.wrong.append(f"{name}: left behind: {left}")


def _is_whole(path: Path) -> bool:
    """Whether a file that bears its own name can be read to its end; those of another name are being written."""
    if not path.is_file() or path.name.startswith(".") or ".part" in path.name:
        return True
    if path.suffix == ".png":
        with PillowImage.open(path) as opened:
            try:
                opened.load()
            except (OSError, SyntaxError):
                return False
    return path.stat().st_size > 0 or path.suffix in (".csv", ".jsonl", ".npy")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, help="let each so many-th call fail")
    parser.add_argument("--train", action="store_true", help="a training too, which takes seconds a trial")
    arguments = parser.parse_args()
    # TensorFlow warns of what many trainings in one process bring, into the closed output of an earlier command
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    stages = ["evaluate", "predict", *(["train"] if arguments.train else [])]
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        found = drive(stages, arguments.every, ERRORS, Path(folder))
    for kind, number in sorted(found.calls.items()):
        print(f"{kind:20} {number:5} calls")
    print(f"{found.num_trials} trials", f"wrong: {len(found.wrong)}", *found.wrong[:60], sep="\n")
    sys.exit(bool(found.wrong))


if __name__ == "__main__":
    main()
