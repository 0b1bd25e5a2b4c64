"""What the routes share: the model, the images and the videos on their way, and how it all begins and ends."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from time import monotonic

import numpy as np

from polypseg.annotate.project import opened_project
from polypseg.errors import RequestError
from polypseg.predict.engines.packaged import resolve
from polypseg.predict.predictor import PredictOptions, Predictor, load
from polypseg.records.calibration import load_calibration
from polypseg.records.digests import model_file_digest
from polypseg.serve.batching import BatchedEngine
from polypseg.serve.guard import DrainState
from polypseg.serve.jobs import JobRecord, Jobs, JobTrack
from polypseg.serve.labelling import Labelling
from polypseg.serve.metrics import Metrics
from polypseg.serve.schemas import JobState, ServedModel, VideoResult
from polypseg.serve.segmenter import Segmenter
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
        opened = [predictor] if predictor is not None else _open(settings)
        self.settings, self.predictor = settings, opened[0]
        self._engines = [one.engine for one in opened]
        self.metrics, self.drain = Metrics(), DrainState()
        self.budget = Budget(settings.max_upload_memory, self.metrics.upload_bytes.set)
        self._segmenter: Segmenter | None = None
        self._jobs: Jobs | None = None
        self._open = contextlib.ExitStack()
        self.labelling = self._open_project() if settings.project is not None else None

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
        await asyncio.to_thread(self._warm_up)
        segmenter = Segmenter(self.predictor, self._engines, self.settings, self.metrics)
        jobs = Jobs(self._predict_job, self.settings, self._count_jobs)
        self._segmenter, self._jobs = segmenter, jobs
        cleaner = asyncio.create_task(self._clean(jobs))
        ahead = asyncio.create_task(self.labelling.work_ahead()) if self.labelling else None
        try:
            yield
        finally:
            self.drain.begin(self.settings.shutdown_seconds)
            while segmenter.num_accepted and monotonic() < self.drain.until:
                await asyncio.sleep(0.02)
            cleaner.cancel()
            if ahead is not None:
                ahead.cancel()
                await asyncio.wait((ahead,))
            await jobs.close()
            await asyncio.to_thread(segmenter.close)
            self._segmenter = self._jobs = None
            self._open.close()

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

    def _open_project(self) -> Labelling:
        """The project that the settings name, locked until the end."""
        folder = self.settings.project or Path()
        project = self._open.enter_context(opened_project(folder))
        digest = model_file_digest(resolve(self.settings.model))
        facts = self.predictor.engine.facts
        model = f"{facts.name or 'unnamed'} {facts.version}".strip()
        return Labelling(project, digest, model, lambda: self.segmenter, self.settings.max_image_pixels)

    def _warm_up(self) -> None:
        """Run each engine once: the first run is slow."""
        size = self.predictor.engine.size
        for engine in self._engines:
            engine.run(np.zeros((1, size, size, 3), np.float32))

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
        return predict_job(record, track, predictor, self.settings.max_image_pixels)


def _open(settings: Settings) -> list[Predictor]:
    """The model, once for each engine; several share the cores out."""
    threads, number = settings.threads, settings.num_engines
    if threads is None and number > 1:
        threads = max(1, (os.cpu_count() or 1) // number)
    promise = None if settings.calibration in (None, "none") else load_calibration(Path(settings.calibration or ""))
    options = PredictOptions(calibration=promise, stored=settings.calibration is None)
    return [load(settings.model, settings.engine, threads, options) for _ in range(number)]
