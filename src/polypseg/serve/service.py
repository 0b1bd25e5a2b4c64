"""What the routes share: the model, the images and the videos on their way, and how it all begins and ends."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from time import monotonic

import numpy as np

from polypseg.errors import RequestError
from polypseg.predict.engines.engine import Engine
from polypseg.predict.predictor import PredictOptions, Predictor, load
from polypseg.records.calibration import load_calibration
from polypseg.serve.batching import BatchedEngine
from polypseg.serve.guard import DrainState
from polypseg.serve.jobs import JobRecord, Jobs, JobTrack
from polypseg.serve.label_studio_images import LabelStudio
from polypseg.serve.metrics import Metrics
from polypseg.serve.schemas import JobState, ServedModel, VideoResult
from polypseg.serve.segmenter import Segmenter
from polypseg.serve.served_project import ServedProject, opened_files
from polypseg.serve.settings import Settings
from polypseg.serve.uploads import Budget

CLEANING_SECONDS = 60.0
"""How often old jobs are looked for."""


class Service:
    """One server's state.

    Args:
        settings: Its bounds.
        predictor: Its model, where it is open already; else the one that the settings name is opened.

    Raises:
        ModelError: The model cannot be opened.

    Attributes:
        metrics: Counts what happens.
        budget: The memory of all uploads.
        drain: Whether it is shutting down.
    """

    def __init__(self, settings: Settings, predictor: Predictor | None = None) -> None:
        self._held = contextlib.ExitStack()
        if settings.project is not None:
            files = self._held.enter_context(opened_files(settings.project, settings.model))
            settings = settings.model_copy(update={"model": files.model.path})
        opened = [predictor] if predictor is not None else _open(settings)
        self.settings, self.predictor = settings, opened[0]
        self._engines = [one.engine for one in opened]
        self.metrics, self.drain = Metrics(), DrainState()
        self.budget = Budget(settings.max_upload_memory, self.metrics.upload_bytes.set)
        self._segmenter: Segmenter | None = None
        self._jobs: Jobs | None = None
        self.project = ServedProject(files, self) if settings.project is not None else None
        self.label_studio = (
            LabelStudio(settings.label_studio, settings.label_studio_key, settings.max_image_bytes)
            if settings.label_studio
            else None
        )
        self._retiring: set[asyncio.Task[None]] = set()
        self._has_ended = False

    @property
    def is_ready(self) -> bool:
        """Whether it takes work."""
        return self._segmenter is not None and not self.drain.is_draining

    @property
    def segmenter(self) -> Segmenter:
        """What answers images.

        Raises:
            RequestError: 503, not started.
        """
        if self._segmenter is None:
            raise RequestError(503, "Not ready", "the server is starting or has ended", retry_seconds=1)
        return self._segmenter

    @property
    def jobs(self) -> Jobs:
        """What answers videos.

        Raises:
            RequestError: 503, not started.
        """
        if self._jobs is None:
            raise RequestError(503, "Not ready", "the server is starting or has ended", retry_seconds=1)
        return self._jobs

    @property
    def num_unfinished(self) -> int:
        """Images and videos that were accepted and that a client still waits for."""
        images = self._segmenter.num_accepted if self._segmenter else 0
        return images + (self._jobs.num_unfinished if self._jobs else 0)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start; at the end of the block finish what was accepted, in `shutdown_seconds` at most, and clean up."""
        await asyncio.to_thread(_warm_up, self._engines)
        jobs = Jobs(self._predict_job, self.settings, self._count_jobs)
        self._segmenter = Segmenter(self.predictor, self._engines, self.settings, self.metrics)
        self._jobs = jobs
        cleaner = asyncio.create_task(self._clean(jobs))
        ahead = asyncio.create_task(self.project.labelling.work_ahead()) if self.project else None
        try:
            yield
        finally:
            self.drain.begin(self.settings.shutdown_seconds)
            while self.segmenter.num_accepted and monotonic() < self.drain.until:
                await asyncio.sleep(0.02)
            cleaner.cancel()
            if ahead is not None and self.project is not None:
                ahead.cancel()
                await asyncio.wait((ahead,))
                await self.project.retraining.close()
            await jobs.close()
            self._has_ended = True
            await asyncio.gather(*self._retiring)
            await asyncio.to_thread(self.segmenter.close)
            self._segmenter = self._jobs = None
            self._held.close()

    def abandon(self) -> None:
        """Remove all files, whoever still writes them; for the end of the process, from any thread."""
        if self._jobs is not None:
            self._jobs.remove_files()

    def describe_model(self) -> ServedModel:
        """The model, as its file tells of itself."""
        engine = self.predictor.engine
        facts = engine.facts.model_dump(include=set(ServedModel.model_fields))
        own = {"name": engine.facts.name or "unnamed", "engine": engine.name, "threshold": self.predictor.threshold}
        calibration = self.predictor.options.calibration
        own |= {
            "peak_threshold": self.predictor.peak_threshold,
            "promise": calibration.promise if calibration else None,
        }
        return ServedModel.model_validate(facts | own)

    async def replace_model(self, path: Path) -> None:
        """Serve another model from now on; what the old one has accepted it still answers.

        Raises:
            ModelError: It cannot be opened.
        """
        # a calibration that was named is of the model that it was named with; one that lies beside a model is found
        kept = "none" if self.settings.calibration == "none" else None
        settings = self.settings.model_copy(update={"model": path, "calibration": kept})
        opened = await asyncio.to_thread(_open, settings)
        engines = [one.engine for one in opened]
        await asyncio.to_thread(_warm_up, engines)
        old, self._segmenter = self.segmenter, Segmenter(opened[0], engines, self.settings, self.metrics)
        self.predictor, self._engines = opened[0], engines
        self._retiring.add(retired := asyncio.create_task(self._retire(old)))
        retired.add_done_callback(self._retiring.discard)

    async def _retire(self, old: Segmenter) -> None:
        """Close what answered images, when nothing waits for it any more; videos keep their model to the end."""
        while not self._has_ended and (old.num_accepted or (self._jobs is not None and self._jobs.num_at_work)):
            await asyncio.sleep(0.2)
        await asyncio.to_thread(old.close)

    async def _clean(self, jobs: Jobs) -> None:
        while True:
            await asyncio.sleep(min(CLEANING_SECONDS, self.settings.job_seconds))
            jobs.remove_old()

    def _count_jobs(self, states: dict[JobState, int]) -> None:
        for state, count in states.items():
            self.metrics.jobs.labels(state).set(count)

    def _predict_job(self, record: JobRecord, track: JobTrack) -> VideoResult:
        from polypseg.serve.videos import predict_job

        predictor = Predictor(BatchedEngine(self.predictor.engine, self.segmenter.batcher), record.query.options())
        if record.query.smoothing == "none":
            predictor = predictor.with_fitting(self.predictor.options.calibration)
        return predict_job(record, track, predictor, self.settings.max_image_pixels, self.settings.anonymise)


def _warm_up(engines: Sequence[Engine]) -> None:
    """Run each engine once: the first run is slow."""
    for engine in engines:
        engine.run(np.zeros((1, engine.size, engine.size, 3), np.float32))


def _open(settings: Settings) -> list[Predictor]:
    """The model, once for each engine; several share the cores out."""
    threads, number = settings.threads, settings.num_engines
    if threads is None and number > 1:
        threads = max(1, (os.cpu_count() or 1) // number)
    promise = None if settings.calibration in (None, "none") else load_calibration(Path(settings.calibration or ""))
    options = PredictOptions(calibration=promise, stored=settings.calibration is None)
    return [load(settings.model, settings.engine, threads, options) for _ in range(number)]
