"""A thread for each engine, that gathers what waits into batches.

Decisions:
- An engine need not be safe to call from two threads, so that a thread of its own runs it. One engine on all cores
  answers a lone request soonest; several on a core each answer more of many.
- Nothing waits for company: a batch is what waits already when the engine becomes free, so that a lone request is never
  slower for it. docs/reference/api.md says what that gains.
- Requests whose client has left or whose time is up are passed over.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from polypseg.errors import RequestError
from polypseg.predict.engines.engine import Engine, Outputs
from polypseg.predict.mirroring import run_augmented
from polypseg.records.model_facts import ModelFacts


@dataclass(frozen=True)
class EngineResult:
    """What an engine says of one image.

    Attributes:
        outputs: Of a batch of one.
        seconds: That the run of the whole batch took.
    """

    outputs: Outputs
    seconds: float


@dataclass(frozen=True)
class _Waiting:
    batch: NDArray[np.float32]
    way: tuple[str, bool]
    """Test-time augmentation, and whether attention is wanted: what runs together must agree on both."""
    run: "Future[EngineResult]" = field(default_factory=Future)


class Batcher:
    """Runs one model for many callers at once.

    Args:
        engines: Of the same model; each is called by a thread of this object's alone.
        batch_size: Images that the model sees at once, at most.
        observe: Told the size and the seconds of each batch.
    """

    def __init__(
        self, engines: Sequence[Engine], batch_size: int, observe: Callable[[int, float], None] | None = None
    ) -> None:
        self._batch_size, self._observe = batch_size, observe
        self._waiting: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._is_closed = False
        self._threads = [
            threading.Thread(target=self._serve, args=(engine,), name="polypseg-engine", daemon=True)
            for engine in engines
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, batch: NDArray[np.float32], tta: str = "none", attention: bool = False) -> "Future[EngineResult]":
        """The run of one image, soon.

        Args:
            batch: Shape (1, size, size, 3), float32 in [0, 1].
            tta: As `run_augmented`.
            attention: As `run_augmented`.

        Raises:
            RequestError: 503, after `close`.
        """
        waiting = _Waiting(batch, (tta, attention))
        with self._changed:
            if self._is_closed:
                raise RequestError(503, "Shutting down", "the server is shutting down")
            self._waiting.append(waiting)
            self._changed.notify()
        return waiting.run

    def close(self) -> None:
        """End the threads, once what waits has run."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _serve(self, engine: Engine) -> None:
        while group := self._next_group():
            began = perf_counter()
            try:
                outputs = _run(engine, group)
            except Exception as error:
                for waiting in group:
                    waiting.run.set_exception(error)
                continue
            seconds = perf_counter() - began
            if self._observe is not None:
                self._observe(len(group), seconds)
            for index, waiting in enumerate(group):
                own = slice(index, index + 1)
                maps = {level: values[own] for level, values in outputs.attention.items()}
                waiting.run.set_result(EngineResult(Outputs(outputs.probabilities[own], maps), seconds))

    def _next_group(self) -> list[_Waiting]:
        """What runs together next: the oldest and those right behind it that go the same way; empty at the end."""
        group: list[_Waiting] = []
        with self._changed:
            while not group:
                while not self._waiting and not self._is_closed:
                    self._changed.wait()
                if not self._waiting:
                    return []
                while self._waiting and len(group) < self._batch_size:
                    if group and self._waiting[0].way != group[0].way:
                        break
                    first = self._waiting.popleft()
                    if first.run.set_running_or_notify_cancel():
                        group.append(first)
        return group


def _run(engine: Engine, group: list[_Waiting]) -> Outputs:
    batch = np.concatenate([waiting.batch for waiting in group]) if len(group) > 1 else group[0].batch
    return run_augmented(engine, batch, *group[0].way)


class BatchedEngine:
    """An engine whose every run goes through a batcher, so that other threads may call it too."""

    def __init__(self, engine: Engine, batcher: Batcher) -> None:
        self.name, self.facts, self.size, self.threshold = engine.name, engine.facts, engine.size, engine.threshold
        self._batcher = batcher

    name: str
    facts: ModelFacts
    size: int
    threshold: float

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """As `Engine.run`."""
        return self._outputs(batch, attention=False).probabilities

    def run_with_attention(self, batch: NDArray[np.float32]) -> Outputs:
        """As `Engine.run_with_attention`."""
        return self._outputs(batch, attention=True)

    def _outputs(self, batch: NDArray[np.float32], attention: bool) -> Outputs:
        runs = [self._batcher.submit(one[np.newaxis], "none", attention) for one in batch]
        found = [run.result().outputs for run in runs]
        levels = found[0].attention
        maps = {level: np.concatenate([one.attention[level] for one in found]) for level in levels}
        return Outputs(np.concatenate([one.probabilities for one in found]), maps)
