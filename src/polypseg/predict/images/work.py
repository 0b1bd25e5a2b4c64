"""Images to their results, many at once: threads read and prepare, threads run the engine, threads restore and write.

Decisions:
- Results are told and the table's rows are added in the order of the images, whichever thread is first.
- At most so many images are between two stages that every thread has work: memory does not grow with their number.
- An engine of several streams runs as many batches at once, each on one core: a small model gains little from a second
  core for one image, and nothing waits for anything.
- A file that cannot be read is a row with a fault, and the work goes on. What cannot be written (a full disk) ends it:
  what was written until then is whole, and --resume goes on from there.
"""

import json
from collections.abc import Generator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import accumulate, chain, islice
from pathlib import Path
from time import perf_counter
from typing import NamedTuple, TypeVar

import numpy as np

from polypseg.arrays import Image
from polypseg.errors import DataError, ImageError, UsageError, plural
from polypseg.machine import usable_cores
from polypseg.predict.drift import drift_of, frame_statistics
from polypseg.predict.engines.engine import Outputs
from polypseg.predict.images.coco import CocoLines, image_line, write_coco
from polypseg.predict.images.inputs import InputLines, Stamp, place_of, stamp_of
from polypseg.predict.images.outputs import OutputFolder
from polypseg.predict.images.resume import Settings, done_names, start_anew
from polypseg.predict.images.review import write_review
from polypseg.predict.images.sources import ImageSource
from polypseg.predict.images.table import PredictionTable, Row, fault_row, row_of
from polypseg.predict.lookahead import map_ahead
from polypseg.predict.predictor import Predictor, Prepared
from polypseg.predict.regions import find_regions
from polypseg.preprocess import MAX_PIXELS
from polypseg.progress import Track, silent
from polypseg.records.lock import alone_in

Given = TypeVar("Given")
Found = TypeVar("Found")

WORKERS = 2
"""Threads at least that read, and as many that write; with an engine of more streams there are as many as these."""

MOST_STREAMS = 8
"""Each holds the features of a batch: 32 filters at 256 px take 100 MB."""


class PredictedImages(NamedTuple):
    """What came of a prediction of images.

    Attributes:
        num_predicted: Images with results, of this call.
        num_done_before: Images whose results were there already.
        faults: Why the others have none, a line each.
        seconds: That the work took.
        written: The files that gather the results.
        notes: What a user should know of the images, a line each.
    """

    num_predicted: int
    num_done_before: int
    faults: list[str]
    seconds: float
    written: list[Path]
    notes: Sequence[str] = ()


class _Read(NamedTuple):
    """An image that was read, or why it was not."""

    source: ImageSource
    image: Image
    prepared: Prepared | None
    seconds: float
    fault: str = ""
    stamp: Stamp | None = None


class _Answered(NamedTuple):
    """An image and what the model says of its batch."""

    read: _Read
    outputs: Outputs | None
    place: int
    seconds: float


class _Written(NamedTuple):
    """An image whose files are there, and what is to be kept of it."""

    source: ImageSource
    row: Row
    coco_line: str
    stamp: Stamp | None = None
    statistics: Mapping[str, float] | None = None


@dataclass(frozen=True)
class WorkOptions:
    """How images are worked through.

    Attributes:
        batch_size: Images that the model sees at once, at least 1.
        max_pixels: A larger image is a fault, found before it is decoded.
        resume: Skip images whose results are there, made with the same model and settings.
        streams: Batches that the engine runs at once; as it was opened.
    """

    batch_size: int = 1
    max_pixels: int = MAX_PIXELS
    resume: bool = False
    streams: int = 1

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise UsageError(f"batch_size {self.batch_size}: expected at least 1")


def predict_images(
    sources: list[ImageSource],
    output: OutputFolder,
    predictor: Predictor,
    record: Settings,
    options: WorkOptions = WorkOptions(),
    track: Track = silent,
) -> PredictedImages:
    """What came of the images, once their results lie in a folder.

    Args:
        sources: From `find_sources`.
        output: Where results go; its `check` must have passed.
        predictor: From `polypseg.load`.
        record: What the results follow from; it is kept beside them.
        options: Batches, limits, whether to go on.
        track: Shows progress.

    Raises:
        BusyError: Another process writes into the folder.
        DataError: The results cannot be written, or those that are there do not belong to this call.
    """
    began = perf_counter()
    work = _Work(output, predictor, options)
    try:
        output.folder.mkdir(parents=True, exist_ok=True)
        with alone_in(output.folder):
            output.check_table()  # again: another call may have ended since the first time
            output.sweep()
            done = done_names(output, record, sources) if options.resume else start_anew(output, record)
            waiting = [source for source in sources if source.name not in done]
            with closing(work.rows(waiting)) as rows:
                for _ in track(rows, "predicting", len(waiting)):
                    pass
            written = [output.table_path]
            if output.options.review is not None:
                written.append(write_review(output, sources, output.options.review, options.max_pixels))
            if output.options.coco:
                wanted = {source.name for source in sources}
                written += write_coco(output.folder, wanted, {"description": f"polypseg predict: {json.dumps(record)}"})
    except OSError as error:
        raise DataError(
            f"{error.filename or output.folder}: cannot write: {error.strerror or error}; {work.num_predicted} of "
            f"{plural(len(sources), 'image was', 'images were')} "
            "predicted, with whole results; mend it, then go on with --resume"
        ) from error
    num_before, seconds = len(sources) - len(waiting), perf_counter() - began
    return PredictedImages(
        work.num_predicted, num_before, work.faults, seconds, written, work.drift_notes() + work.notes
    )


def streams_for(num_images: int, threads: int | None = None) -> int:
    """How many batches of one image an engine should run at once: one a core, but for a handful of images.

    Args:
        num_images: That are to be predicted.
        threads: Cores at most; None for all.
    """
    cores = min(usable_cores() if threads is None else threads, MOST_STREAMS)
    return cores if num_images >= 2 * cores else 1


class _Work:
    """The stages of one call."""

    def __init__(self, output: OutputFolder, predictor: Predictor, options: WorkOptions) -> None:
        self.output, self.predictor = output, predictor
        self.batch_size, self.streams, self.max_pixels = options.batch_size, options.streams, options.max_pixels
        self.notes: list[str] = []
        self.faults: list[str] = []
        self.num_predicted = 0
        self.statistics: dict[str, list[float]] = {}

    def drift_notes(self) -> list[str]:
        """The warning that the frames differ from the calibration's; empty without a calibration."""
        calibration = self.predictor.options.calibration
        warning = drift_of(calibration, self.statistics).warning if calibration and self.statistics else ""
        return [warning] if warning else []

    def rows(self, sources: Iterable[ImageSource]) -> Generator[Row, None, None]:
        """The rows of the table, each after it was added."""
        with ExitStack() as stack:
            table = stack.enter_context(PredictionTable(self.output.table_path))
            lines = stack.enter_context(CocoLines(self.output.folder)) if self.output.options.coco else None
            inputs = stack.enter_context(InputLines(self.output.folder))
            workers = max(WORKERS, self.streams)
            readers, runners, writers = (
                stack.enter_context(ThreadPoolExecutor(count)) for count in (workers, self.streams, workers)
            )
            ahead = 2 * workers + self.batch_size
            read = stack.enter_context(closing(map_ahead(readers, self._read, sources, ahead)))
            batches = iter(lambda: list(islice(read, self.batch_size)), [])
            answers = stack.enter_context(closing(map_ahead(runners, self._answer, batches, 2 * self.streams + 1)))
            written = map_ahead(writers, self._write, chain.from_iterable(answers), ahead)
            previous: ImageSource | None = None
            for source, row, coco_line, stamp, statistics in stack.enter_context(closing(written)):
                if lines is not None and coco_line:
                    lines.add(coco_line)
                if stamp is not None:
                    inputs.add(source.name, stamp)
                table.add(row)
                self._count(row, statistics)
                if previous is not None and previous.pages is not None and previous.pages is not source.pages:
                    previous.pages.close()
                previous = source
                yield row
            if previous is not None and previous.pages is not None:
                previous.pages.close()

    def _count(self, row: Row, statistics: Mapping[str, float] | None) -> None:
        self.num_predicted += not row.fault
        for name, value in (statistics or {}).items():
            self.statistics.setdefault(name, []).append(value)
        if row.fault:
            self.faults.append(row.fault)

    def _read(self, source: ImageSource) -> _Read:
        nothing, place = np.zeros((0, 0, 3), np.uint8), place_of(source)
        try:
            image, note = source.read_noted(self.max_pixels)
            stamp = stamp_of(source, place)
        except ImageError as error:
            return _Read(source, nothing, None, 0.0, str(error))
        except MemoryError:
            return _Read(source, nothing, None, 0.0, f"{source.path}: not enough memory for it")
        except OSError as error:
            return _Read(source, nothing, None, 0.0, f"{source.path}: cannot read the file: {error.strerror}")
        began = perf_counter()
        prepared = self.predictor.prepare(image)
        if note:
            self.notes.append(note)
            prepared = prepared._replace(note="; ".join(text for text in (note, prepared.note) if text))
        return _Read(source, image, prepared, perf_counter() - began, stamp=stamp)

    def _answer(self, batch: list[_Read]) -> list[_Answered]:
        """The images of a batch with what the model says of them."""
        good = [found for found in batch if not found.fault]
        began = perf_counter()
        outputs = self.predictor.run([found.prepared.pixels for found in good if found.prepared]) if good else None
        share = (perf_counter() - began) / max(1, len(good))
        places = accumulate((not found.fault for found in batch), initial=0)
        return [
            _Answered(found, outputs, place, found.seconds + share) for found, place in zip(batch, places, strict=False)
        ]

    def _write(self, answered: _Answered) -> _Written:
        read, outputs, place, seconds = answered
        source = read.source
        if read.prepared is None or outputs is None:
            return _Written(source, fault_row(source, read.fault), "")
        prediction = self.predictor.finish(read.image, read.prepared, outputs.of(place), seconds)
        regions = find_regions(prediction.mask, prediction.probability)
        self.output.write(prediction, source.name)
        line, statistics = "", None
        if self.output.options.coco:
            masks = {"outer": prediction.outer, "inner": prediction.inner}
            nested = {
                kind: find_regions(mask, prediction.probability) for kind, mask in masks.items() if mask is not None
            }
            file_name = f"{source.name}{Path(source.path).suffix}"
            line = image_line(source.name, file_name, prediction.mask, regions, nested)
        if self.predictor.options.calibration is not None:
            own_map, mask = outputs.of(place).probabilities[0, ..., 0], prediction.mask
            statistics = frame_statistics(read.prepared.pixels, own_map, np.count_nonzero(mask) / mask.size)
        return _Written(source, row_of(source, prediction, regions), line, read.stamp, statistics)
