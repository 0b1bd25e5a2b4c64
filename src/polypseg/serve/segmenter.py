"""Images on their way through the server: how many are let in, how many are worked on, how long each may take.

Decisions:
- `queue_size` images are accepted at once; one more is refused with 429, so that an accepted one has a bounded wait.
- Only a few of them (`_at_work`) are ever decoded at the same time: an image of 25 million pixels takes 75 MB decoded,
  and a few MB as it came.
- Decoding and encoding run in threads beside the engine's; the event loop only reads and writes.
"""

import asyncio
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import TypeVar

import numpy as np

from polypseg.arrays import Image
from polypseg.errors import RequestError
from polypseg.predict.engines.engine import Engine
from polypseg.predict.predictor import Prediction, Predictor
from polypseg.serve import pipeline
from polypseg.serve.batching import Batcher
from polypseg.serve.metrics import Metrics
from polypseg.serve.schemas import SegmentQuery
from polypseg.serve.settings import Settings

T = TypeVar("T")


@dataclass(frozen=True)
class Answer:
    """What a client gets.

    Attributes:
        content: JSON, or a PNG.
        media_type: Of the content.
    """

    content: bytes
    media_type: str


class Segmenter:
    """Segments images for many clients at once. Used from the event loop only.

    Args:
        predictor: Tells of the model.
        engines: Of that model; they run.
        settings: The bounds.
        metrics: Told of what happens.
    """

    def __init__(self, predictor: Predictor, engines: Sequence[Engine], settings: Settings, metrics: Metrics) -> None:
        self._predictor, self._settings, self._metrics = predictor, settings, metrics
        self.batcher = Batcher(engines, settings.batch_size, metrics.observe_batch)
        cores = os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(cores, "polypseg-images")
        self._at_work = asyncio.Semaphore(2 * settings.batch_size * len(engines) + cores)
        self._accepted = 0

    @property
    def num_accepted(self) -> int:
        """Images that are accepted and not yet answered."""
        return self._accepted

    @contextmanager
    def admit(self, num_images: int) -> Iterator[None]:
        """A place for so many images.

        Raises:
            RequestError: 429, there is none.
        """
        if self._accepted + num_images > self._settings.queue_size:
            raise RequestError(429, "Busy", "the queue is full; come again shortly", self._retry_seconds())
        self._accepted += num_images
        self._metrics.waiting.set(self._accepted)
        try:
            yield
        finally:
            self._accepted -= num_images
            self._metrics.waiting.set(self._accepted)

    def _retry_seconds(self) -> int:
        """In which half of the queue is worked off, at least one second."""
        return max(1, min(30, round(self._metrics.mean_run_seconds() * self._settings.queue_size / 2)))

    async def segment(self, content: bytes, query: SegmentQuery) -> Answer:
        """The answer to one admitted image.

        Raises:
            RequestError: 400, 413, or 504 where it took too long.
        """
        try:
            async with asyncio.timeout(self._settings.request_seconds):
                return await self._segment(content, query)
        except TimeoutError as error:
            seconds = f"{self._settings.request_seconds:g}"
            raise RequestError(504, "Out of time", f"the answer took longer than {seconds} seconds") from error

    async def predict(self, read: Callable[[], Image]) -> Prediction:
        """The prediction of an image with the model's own options; no bound refuses it.

        Args:
            read: Gives the image, in a thread; what it raises is raised.
        """
        self._accepted += 1
        try:
            async with self._at_work:
                image = await self._in_thread(read)
                prepared = await self._in_thread(lambda: self._predictor.prepare(image))
                run = await asyncio.wrap_future(self.batcher.submit(prepared.pixels[np.newaxis], "none", False))
                return await self._in_thread(lambda: self._predictor.finish(image, prepared, run.outputs))
        finally:
            self._accepted -= 1

    async def _segment(self, content: bytes, query: SegmentQuery) -> Answer:
        began, limit, is_blanked = perf_counter(), self._settings.max_image_pixels, self._settings.anonymise
        predictor = Predictor(self._predictor.engine, query.options())
        predictor = predictor.with_fitting(self._predictor.options.calibration)
        async with self._at_work:
            prepared = await self._in_thread(
                lambda: pipeline.prepare(content, predictor, limit, query.page, is_blanked)
            )
            batch = prepared.seen.pixels[np.newaxis]
            run = await asyncio.wrap_future(self.batcher.submit(batch, query.tta, query.attention))
            seconds = {"decode": prepared.seconds, "infer": run.seconds}

            def finish() -> Answer:
                prediction = predictor.finish(prepared.image, prepared.seen, run.outputs)
                if query.format == "png":
                    return Answer(pipeline.mask_png(prediction), "image/png")
                described = pipeline.describe(prediction, query, predictor)
                described |= {"page": query.page or 1, "num_pages": prepared.num_pages}
                return _as_json(described, seconds | {"total": perf_counter() - began})

            answer = await self._in_thread(finish)
        self._metrics.observe_image(prepared.seconds, perf_counter() - began)
        return answer

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def close(self) -> None:
        """Finish what runs, drop what waits, and end the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self.batcher.close()


def _as_json(described: dict[str, object], seconds: dict[str, float]) -> Answer:
    answer = described | {"seconds": {name: round(value, 6) for name, value in seconds.items()}}
    return Answer(json.dumps(answer, separators=(",", ":"), allow_nan=False).encode(), "application/json")
