"""Training a project's model again, behind the routes: one at a time, its progress, the gate, and the way back.

Decisions:
- What passes the gate is served at once. What does not waits for a person to say so (`use=new`), until the next
  training or the end of the server.
- The old model answers what it has accepted; then it is closed.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import monotonic

from polypseg.annotate.training import CancelledError, StartModel, Trained, Training
from polypseg.errors import PolypsegError, RequestError
from polypseg.serve.project_schemas import Retrain, RetrainComparison, RetrainStatus
from polypseg.serve.served import ServedFile, ServedHistory

logger = logging.getLogger("polypseg.serve")

Serve = Callable[[ServedFile], Awaitable[None]]


class Retraining:
    """The trainings of one project, one at a time. Used from the event loop only.

    Args:
        folder: Of the project.
        models: That it was served with.
        start: Gives what a training begins with.
        serve: Puts a model in the served one's place.
    """

    def __init__(self, folder: Path, models: ServedHistory, start: Callable[[], StartModel], serve: Serve) -> None:
        self._folder, self._models, self._start, self._serve = folder, models, start, serve
        self._training: Training | None = None
        self._task: asyncio.Task[None] | None = None
        self._trained: Trained | None = None
        self._status: RetrainStatus = "idle"
        self._message = ""
        self._began = self._ended = 0.0

    async def begin(self) -> RetrainStatus:
        """Begin a training.

        Raises:
            RequestError: 409, one runs.
            ProjectError: There are too few labelled frames.
        """
        if self._task is not None and not self._task.done():
            raise RequestError(409, "A training runs", "one training runs at a time; wait for it")
        self._training = await asyncio.to_thread(Training, self._folder, self._start())
        self._trained, self._message, self._status = None, "", "training"
        self._began, self._ended = monotonic(), 0.0
        self._task = asyncio.create_task(self._work(self._training))
        return self._status

    def describe(self) -> Retrain:
        """How far it is."""
        training = self._training
        if training is None:
            return Retrain(status="idle")
        status = "comparing" if self._status == "training" and training.stage == "comparing" else self._status
        return Retrain(
            status=status,
            epoch=training.epochs_done(),
            epochs=training.epochs,
            seconds=round((self._ended or monotonic()) - self._began, 1),
            message=self._message,
            comparison=None if self._trained is None else RetrainComparison.of(self._trained.comparison),
            better=None if self._trained is None else not self._trained.comparison.is_worse,
        )

    async def use_new(self) -> None:
        """Serve the trained model, whatever the gate says.

        Raises:
            RequestError: 409, there is none.
        """
        if self._trained is None or self._status not in ("waiting", "done"):
            raise RequestError(409, "No new model", "no model was trained since the server began; train one first")
        served = await asyncio.to_thread(self._models.trained, self._trained.path)
        await self._adopt(served, "a person chose it")
        self._status, self._message = "done", "the new model is served, as a person chose"

    async def use_previous(self) -> None:
        """Serve the model before.

        Raises:
            RequestError: 409, there is none.
        """
        previous = await asyncio.to_thread(self._models.previous)
        if previous is None:
            raise RequestError(409, "No previous model", "the project was served with no other model, or it is gone")
        await self._adopt(previous, "a person went back to it")
        if self._trained is not None and self._status in ("waiting", "done"):
            is_new = previous.path == self._trained.path
            self._status, self._message = ("done" if is_new else "waiting"), "a person went back to the model before"

    async def cancel(self) -> None:
        """End the training that runs; the model that is served stays.

        Where it was at its very end, its model may be served already: `describe` says so.

        Raises:
            RequestError: 409, none runs.
        """
        if self._task is None or self._task.done():
            raise RequestError(409, "No training runs", "there is nothing to cancel")
        await self.close()

    async def close(self) -> None:
        """End a training that runs; nothing of it is served."""
        if self._training is not None:
            self._training.cancel()
        if self._task is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _work(self, training: Training) -> None:
        try:
            trained = await asyncio.to_thread(training.work)
            self._trained = trained
            if trained.comparison.is_worse:
                reasons = "; ".join(trained.comparison.reasons)
                self._status, self._message = "waiting", f"the new model is worse: {reasons}"
                return
            served = await asyncio.to_thread(self._models.trained, trained.path)
            await self._adopt(served, "it passed the comparison")
            self._status, self._message = "done", "the new model is served"
        except CancelledError:
            self._status, self._message = "cancelled", "the training was cancelled; the old model is served"
        except PolypsegError as error:
            self._status, self._message = "failed", str(error)
        except Exception as error:
            logger.exception("a training failed")
            self._status, self._message = "failed", f"a fault of the server's own: {type(error).__name__}"
        finally:
            self._ended = monotonic()

    async def _adopt(self, served: ServedFile, reason: str) -> None:
        await self._serve(served)
        await asyncio.to_thread(self._models.note, served, reason)
