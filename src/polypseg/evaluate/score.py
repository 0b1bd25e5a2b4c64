"""Scoring: image by image, safe to kill at any moment, memory flat in the number of images.

Decisions:
- evaluation.json is written first: what is scored and how. Rows are appended as they come, in the order of the
  cases; a kill leaves whole rows and at most one broken one, which is cut off.
- The same command goes on where it was stopped, and a finished evaluation is not made again, as long as model, data
  and settings are the same to the last digest. A stopped one with other settings is refused unless `overwrite` throws
  it away: rows that were made in two ways must not stand in one table.
- The model runs in this thread; reading, metrics and writing run beside it, a few images ahead at most.
"""

import os
import shutil
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from polypseg import __version__
from polypseg.data.perturbations import AS_IT_IS, Perturbation
from polypseg.errors import DataError, ScoreError
from polypseg.evaluate.measure import Measure, MeasuredImage, PredictedMap
from polypseg.evaluate.plan import Plan
from polypseg.evaluate.selection import ImageToScore
from polypseg.metrics.table import ScoreSettings
from polypseg.metrics.thresholds import NUM_LEVELS
from polypseg.predict.engines.engine import Engine
from polypseg.predict.lookahead import map_ahead
from polypseg.predict.predictor import PredictOptions, Predictor
from polypseg.preprocess import FieldRule, ModelView, model_view, normalise, read_image
from polypseg.progress import Track, silent
from polypseg.records.atomic import put_in_place, write_text
from polypseg.records.evaluation import Evaluation
from polypseg.records.evaluation_record import EvaluationRecord, LeftOutImage, saved_settings
from polypseg.records.lock import LOCK_NAME, alone_at
from polypseg.records.reading import FileKind, as_json, open_npy
from polypseg.records.scores import COLUMNS, format_row, header

FORMAT = 1
_WORTH_PROCESSES = 300
"""With fewer images processes do not pay: one takes 0.65 s to start, an image 15 ms (processor time, Kvasir-SEG)."""

_AHEAD = 4
"""Images in work for each worker; more would only cost memory."""


@dataclass(frozen=True)
class ScoreOptions:
    """How a plan is carried out.

    Attributes:
        settings: What decides a row besides the image; its threshold is that of the plan.
        batch_size: Images that the model sees at once.
        save_maps: Write the probability maps too.
        skip_bad: An image that cannot be scored becomes a row with a fault instead of an error.
        overwrite: Throw away what an evaluation with other settings has left, or score again.
        workers: How many images are worked on at once; None for one a core.
        processes: Work in processes where there are many images; threads hold one another up in Python's own code. A
            script that asks for it must guard its own start (`if __name__ == "__main__"`), as multiprocessing says.
    """

    settings: ScoreSettings = field(default_factory=ScoreSettings)
    batch_size: int = 8
    save_maps: bool = False
    skip_bad: bool = False
    overwrite: bool = False
    workers: int | None = None
    processes: bool = False


def score(
    plan: Plan, folder: Path, options: ScoreOptions | None = None, track: Track = silent
) -> tuple[Evaluation, int]:
    """The finished evaluation, and how many images were scored for it now (the others were there already).

    Args:
        plan: What is scored.
        folder: Where the evaluation goes; made if there is none.
        options: How.
        track: Shows progress.

    Raises:
        BusyError: Another process scores into the folder.
        ScoreError: An image cannot be scored, or the folder holds a stopped evaluation with other settings.
    """
    options = options or ScoreOptions()
    options = replace(
        options, settings=replace(options.settings, threshold=plan.threshold, peak_threshold=plan.peak_threshold)
    )
    evaluation = Evaluation(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with alone_at(folder):
        num_done = begin(evaluation, _record(plan, options), len(plan.cases), options.overwrite)
        pending = plan.cases[num_done:]
        measure = Measure(
            evaluation, options.settings, plan.loss, options.save_maps, options.skip_bad, plan.outer, plan.inner
        )
        _make_histograms(evaluation.histograms_path, len(plan.cases))
        with _pool(options, len(pending)) as pool:
            measured = measure_all(pending, plan, measure, options, pool)
            _append(evaluation, track(measured, "scoring images", len(pending)), len(pending))
        put_in_place(evaluation.unfinished_path, evaluation.scores_path)
    return evaluation, len(pending)


def measure_all(
    cases: Sequence[ImageToScore], plan: Plan, measure: Measure, options: ScoreOptions, pool: Executor
) -> Iterator[MeasuredImage]:
    """What each case gives, in order."""
    predictions: Iterator[PredictedMap] = (PredictedMap() for _ in cases)
    if plan.engine is not None:
        recalibration = plan.engine.facts.recalibration if plan.is_recalibrated else None
        predictions = (
            each._replace(recalibration=recalibration)
            for each in predict_cases(plan.engine, cases, options.batch_size, pool, plan.tta)
        )
    work = zip(cases, predictions, strict=True)
    return map_ahead(pool, measure.of_pair, work, _AHEAD * (options.workers or os.cpu_count() or 1))


def predict_cases(
    engine: Engine,
    cases: Sequence[ImageToScore],
    batch_size: int,
    pool: Executor,
    tta: str = "none",
    perturbation: Perturbation = AS_IT_IS,
) -> Iterator[PredictedMap]:
    """The model's own map of each case, in order, through `Predictor`.

    An image that cannot be read is a prediction with a fault. A perturbation changes what the model sees, at its size.
    """
    predictor, waiting = Predictor(engine, PredictOptions(tta=tta)), iter(cases)
    read_view = partial(_read_view, size=engine.size, field=engine.facts.field)
    while chunk := list(islice(waiting, batch_size)):
        read = list(pool.map(read_view, chunk))
        good = [found for found in read if not isinstance(found, str)]
        maps: Iterator[NDArray[np.float32]] = iter(())
        if good:
            pixels = [normalise(perturbation.image(found.view.square)) for found in good]
            maps = iter(predictor.run(pixels).probabilities[..., 0])
        for found in read:
            if isinstance(found, str):
                yield PredictedMap(fault=found)
            else:
                yield PredictedMap(next(maps), found.shape, found.view.field)


def begin(evaluation: Evaluation, record: EvaluationRecord, num_cases: int, overwrite: bool) -> int:
    """How many rows are there already; the folder is ready for the others afterwards.

    Raises:
        ScoreError: A stopped evaluation with other settings is there, or a damaged one, and `overwrite` is False; or
            files that are no evaluation.
    """
    is_stopped, is_finished = evaluation.unfinished_path.is_file(), evaluation.scores_path.is_file()
    if evaluation.record_path.is_file() and (is_stopped or is_finished) and not overwrite:
        old = evaluation.record()
        differing = _differences(old, record)
        if not differing:
            rows_path = evaluation.unfinished_path if is_stopped else evaluation.scores_path
            num_done = _cut_to_whole_rows(rows_path, num_cases)
            if num_done and not _histograms_fit(evaluation.histograms_path, num_cases):
                raise ScoreError(
                    f"{evaluation.histograms_path}: missing or damaged, though {num_done} images are scored already; "
                    "score again with --overwrite"
                )
            kept = record.model_copy(update={"id": old.id, "started": old.started})
            write_text(evaluation.record_path, as_json(kept))
            put_in_place(rows_path, evaluation.unfinished_path)
            return num_done
        if is_stopped:
            raise ScoreError(
                f"{evaluation.folder}: holds a stopped evaluation that differs in {', '.join(differing)}; finish it "
                "with its own settings, choose another folder (--out), or throw it away (--overwrite)"
            )
    _clear(evaluation)
    write_text(evaluation.record_path, as_json(record))
    write_text(evaluation.unfinished_path, header())
    return 0


def _clear(evaluation: Evaluation) -> None:
    """The folder is there, and empty of an earlier evaluation.

    Raises:
        ScoreError: It holds files, and no evaluation of polypseg: its masks/ may be somebody's references.
    """
    evaluation.folder.mkdir(parents=True, exist_ok=True)
    if not evaluation.record_path.is_file() and {p.name for p in evaluation.folder.iterdir()} - {LOCK_NAME}:
        raise ScoreError(
            f"{evaluation.folder}: holds files, but no evaluation; expected a new or empty folder (--out), so that "
            "nothing of yours is written over"
        )
    for path in (
        evaluation.unfinished_path,
        evaluation.scores_path,
        evaluation.summary_path,
        evaluation.curves_path,
        evaluation.histograms_path,
    ):
        path.unlink(missing_ok=True)
    folders = (evaluation.nested_folder("outer"), evaluation.nested_folder("inner"))
    for folder in (evaluation.masks_folder, evaluation.maps_folder, *folders):
        if folder.is_dir():
            shutil.rmtree(folder)


def _pool(options: ScoreOptions, num_pending: int) -> Executor:
    workers = options.workers or os.cpu_count() or 1
    if not options.processes or workers < 2 or num_pending < _WORTH_PROCESSES:
        return ThreadPoolExecutor(workers)
    # spawned, for a fork of a process in which a framework runs may hang; an interrupt is this process's to handle
    ignore = signal.signal, (signal.SIGINT, signal.SIG_IGN)
    return ProcessPoolExecutor(workers, get_context("spawn"), *ignore)


def _record(plan: Plan, options: ScoreOptions) -> EvaluationRecord:
    """What evaluation.json holds; an evaluation that is continued keeps its id and its time."""
    return EvaluationRecord(
        format=FORMAT,
        polypseg=__version__,
        id=uuid4().hex,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        source=plan.source,
        threshold_source=plan.threshold_source,
        settings=saved_settings(options.settings),
        save_maps=options.save_maps,
        skip_bad=options.skip_bad,
        columns=COLUMNS,
        data_digest=plan.data_digest(),
        skipped=tuple(LeftOutImage(**fault._asdict()) for fault in plan.skipped),
        samples=tuple(case.record() for case in plan.cases),
    )


def _differences(old: EvaluationRecord, new: EvaluationRecord) -> list[str]:
    """In what two records differ, in words; where files lie does not matter, what is in them does."""
    before = old.settings.model_dump(by_alias=True)
    settings = {key: (before[key], value) for key, value in new.settings.model_dump(by_alias=True).items()}
    found = [f"{key} ({was} there, {now} now)" for key, (was, now) in settings.items() if was != now]
    was, now = _identity(old), _identity(new)
    return found + [word for word in was if was[word] != now[word]]


def _identity(record: EvaluationRecord) -> dict[str, object]:
    """What makes two records the same, by what an error calls it."""
    source = record.source
    return {
        "polypseg's version": record.polypseg,
        "columns": record.columns,
        "--save-maps": record.save_maps,
        "--skip-bad": record.skip_bad,
        "model": (source.kind, source.model_digest, source.size, source.engine),
        "--tta": source.tta,
        "--field": source.field,
        "recalibration": source.recalibration,
        "--calibration": source.calibration,
        "images": [sample.without_paths() for sample in record.samples],
    }


def _append(evaluation: Evaluation, measured: Iterable[MeasuredImage], num_pending: int) -> None:
    """Write each row as it comes; a row is in the file only after its histogram.

    Histograms are written, not mapped: on a full disk a write is an error, and a touch of mapped memory is the end.
    """
    num_bytes = 2 * NUM_LEVELS * np.dtype(np.int32).itemsize
    rows = evaluation.unfinished_path.open("a", encoding="utf-8", newline="")
    with rows, evaluation.histograms_path.open("r+b") as histograms:
        histograms.seek(-num_pending * num_bytes, os.SEEK_END)
        for row, histogram in measured:
            histograms.write(histogram.astype(np.int32).tobytes())
            histograms.flush()
            rows.write(format_row(row))
            rows.flush()


def _make_histograms(path: Path, num_cases: int) -> None:
    """The file of histograms is there; made again where it does not fit (a kill may have come before it was whole)."""
    if not _histograms_fit(path, num_cases):
        open_memmap: Callable[..., object] = np.lib.format.open_memmap
        open_memmap(path, mode="w+", dtype=np.int32, shape=(num_cases, 2, NUM_LEVELS))


def _histograms_fit(path: Path, num_cases: int) -> bool:
    try:
        return open_npy(path, FileKind("histogram", ScoreError, "score again")).shape == (num_cases, 2, NUM_LEVELS)
    except ScoreError:
        return False


def _cut_to_whole_rows(path: Path, num_cases: int) -> int:
    """How many whole rows a stopped file of scores holds; what follows the last line's end is cut off."""
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        os.truncate(path, len(whole))
    if not whole:
        write_text(path, header())
    num_rows = max(0, whole.count(b"\n") - 1)
    if num_rows > num_cases or (whole and not whole.decode("utf-8").startswith(header())):
        raise ScoreError(f"{path}: does not fit its evaluation.json; throw it away (--overwrite)")
    return num_rows


class _Read(NamedTuple):
    """What the model sees of an image, and the image's own height and width."""

    view: ModelView
    shape: tuple[int, int]


def _read_view(case: ImageToScore, size: int, field: FieldRule) -> _Read | str:
    """What the model sees of a case's image, or why it cannot be read."""
    if case.image_path is None:
        return f"{case.name}: there is no image for the model"
    try:
        image = read_image(case.image_path)
    except DataError as error:
        return str(error)
    return _Read(model_view(image, size, field), (image.shape[0], image.shape[1]))
