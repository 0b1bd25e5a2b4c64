"""Contestants of a benchmark, each in a process of its own, that work one turn at a time.

Parent and child are the same script: the parent starts a `Worker` with the arguments that make the script call
`work_in_turns`, and asks it for a turn whenever it is next.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import IO, Any


class Worker:
    """A contestant at work.

    Args:
        name: Of the contestant.
        command: The Python to run it with, the script and its arguments.
        verbose: Whether its standard error is shown.

    Attributes:
        facts: What it said of itself when it was ready; empty before that.
        turns: The figures of each turn, `seconds` and `cpu_seconds` among them.
    """

    def __init__(self, name: str, command: Sequence[str], verbose: bool) -> None:
        self.name = name
        self.facts: dict[str, Any] = {}
        self.turns: list[dict[str, float]] = []
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if verbose else subprocess.DEVNULL,
            text=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"},
        )

    def wait_until_ready(self) -> None:
        """Wait until it is built and warmed up.

        Raises:
            SystemExit: It did not start.
        """
        self.facts = self._answer()

    def take_turn(self) -> None:
        """Work once and keep the figures.

        Raises:
            SystemExit: It died.
        """
        self._process.stdin.write("turn\n")  # type: ignore[union-attr]
        self._process.stdin.flush()  # type: ignore[union-attr]
        self.turns.append(self._answer())

    def median(self, figure: str = "seconds") -> float:
        """The median of a figure over the turns."""
        return statistics.median(turn[figure] for turn in self.turns)

    def least(self, figure: str = "seconds") -> float:
        """The least of a figure over the turns: what other work on the machine disturbed least."""
        return min(turn[figure] for turn in self.turns)

    def close(self) -> None:
        """Let the process end."""
        self._process.communicate()

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline()  # type: ignore[union-attr]
        if not line:
            raise SystemExit(f"{self.name} did not start or died; see why with --verbose")
        return json.loads(line)


def ratio(worker: Worker, other: Worker) -> float:
    """The worker's seconds over the other's of the same round, the median over the rounds."""
    pairs = zip(worker.turns, other.turns, strict=True)
    return statistics.median(own["seconds"] / theirs["seconds"] for own, theirs in pairs)


def answers_apart() -> IO[str]:
    """The standard output, for `work_in_turns` alone: what a library prints from here on goes to the standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers


def work_in_turns(
    answers: IO[str], facts: dict[str, Any], turn: Callable[[], dict[str, float]], in_a_row: int = 1
) -> None:
    """Say the facts, then work for each line of the standard input and answer with the figures.

    Args:
        answers: From `answers_apart`.
        facts: Of the contestant that is ready.
        turn: Works once; what it returns is added to `seconds` and `cpu_seconds`.
        in_a_row: How often it works in a turn, once more before the clock starts where that is more than once; the
            figures are of one of them.
    """
    print(json.dumps({**facts, "versions": _versions()}), file=answers, flush=True)
    for _ in sys.stdin:
        if in_a_row > 1:
            turn()
        began, cpu_began = time.perf_counter(), time.process_time()
        for _ in range(in_a_row):
            figures = turn()
        seconds = (time.perf_counter() - began) / in_a_row
        cpu_seconds = (time.process_time() - cpu_began) / in_a_row
        print(json.dumps({"seconds": seconds, "cpu_seconds": cpu_seconds, **figures}), file=answers, flush=True)


def _versions() -> str:
    known = ["keras", "tensorflow", "torch", "monai", "segmentation_models_pytorch", "onnxruntime", "openvino"]
    return ", ".join(f"{name} {sys.modules[name].__version__}" for name in known if name in sys.modules)
