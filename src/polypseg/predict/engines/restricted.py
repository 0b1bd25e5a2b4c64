"""An exported model in OpenVINO on fewer instructions than the processor has: what it gives on older processors.

oneDNN reads `ONEDNN_MAX_CPU_ISA` once, so the model runs in a process of its own. ONNX Runtime has no such setting.

    with RestrictedEngine(path) as engine:
        engine.run(batch)
"""

import io
import os
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from polypseg.errors import ModelError
from polypseg.machine import instruction_set, onednn_instruction_set
from polypseg.predict.engines.checking import ATTENTION, PROBABILITY
from polypseg.predict.engines.engine import Engine, Outputs
from polypseg.predict.engines.onnx_engine import carried_levels
from polypseg.records.onnx_metadata import read_facts

OLDEST = "AVX2"
"""The oldest instructions that are promised."""
LIMIT = "ONEDNN_MAX_CPU_ISA"


def engine_label(name: str) -> str:
    """An engine and the instruction set that it has here, as `openvino on AVX2`."""
    own = onednn_instruction_set() if name == "openvino" else instruction_set()
    return f"{name} on {own}" if own and name != "keras" else name


class RestrictedEngine:
    """Implements `Engine` for an `.onnx` file.

    Args:
        path: The file.
        limit: A value of `ONEDNN_MAX_CPU_ISA`.
    """

    def __init__(self, path: Path, limit: str = OLDEST) -> None:
        self.name = f"openvino on {limit}"
        self.facts = read_facts(path)
        self.size, self.threshold = self.facts.size, self.facts.threshold
        self._path = path
        command = [sys.executable, "-m", "polypseg.predict.engines.restricted", str(path)]
        environment = {**os.environ, LIMIT: limit}
        self._process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """As `Engine.run`."""
        return np.asarray(self._ask(batch, False)[PROBABILITY], np.float32)

    def run_with_attention(self, batch: NDArray[np.float32]) -> Outputs:
        """As `Engine.run_with_attention`."""
        levels = carried_levels(self.facts)
        found = self._ask(batch, True)
        return Outputs(found[PROBABILITY], {level: found[f"{ATTENTION}{level}"] for level in levels})

    def close(self) -> None:
        """End the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):  # of a process that ended by itself
                    pipe.close()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, batch: NDArray[np.float32], with_attention: bool) -> dict[str, NDArray[np.float32]]:
        given, answers = self._process.stdin, self._process.stdout
        found = None
        if given is not None and answers is not None:
            try:
                _send(given, batch=batch, with_attention=np.array(with_attention))
                found = _receive(answers)
            except BrokenPipeError:
                found = None
        if found is None:
            raise ModelError(f"{self._path}: {self.name} ended before it answered; its own messages stand above")
        return found


def serve(path: Path, questions: BinaryIO, answers: BinaryIO) -> None:
    """Answer one batch after another, until no more come."""
    from polypseg.predict.engines.openvino_engine import OpenVinoEngine

    engine = OpenVinoEngine(path)
    while (question := _receive(questions)) is not None:
        _send(answers, **_answer(engine, **question))


def _answer(engine: Engine, batch: NDArray[Any], with_attention: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """The arrays of an answer."""
    if not with_attention:
        return {PROBABILITY: engine.run(batch)}
    found = engine.run_with_attention(batch)
    maps = {f"{ATTENTION}{level}": values for level, values in found.attention.items()}
    return {PROBABILITY: found.probabilities, **maps}


def _send(pipe: BinaryIO | Any, **arrays: Any) -> None:
    content = io.BytesIO()
    np.savez(content, **arrays)
    pipe.write(struct.pack("<Q", content.tell()) + content.getvalue())
    pipe.flush()


def _receive(pipe: BinaryIO | Any) -> dict[str, NDArray[Any]] | None:
    """The arrays of a message; None where the pipe has ended."""
    head = pipe.read(8)
    if len(head) < 8:
        return None
    (length,) = struct.unpack("<Q", head)
    content = pipe.read(length)
    if len(content) < length:
        return None
    with np.load(io.BytesIO(content), allow_pickle=False) as opened:
        return dict(opened)


if __name__ == "__main__":
    own_output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not stand among the answers
    serve(Path(sys.argv[1]), sys.stdin.buffer, own_output)
