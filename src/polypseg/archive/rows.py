"""Videos to rows in one function that any engine can call: Spark, Dask, a process pool.

It keeps no archive: whoever calls it keeps the rows, and sees to what is done twice.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from threading import Event
from typing import Any

from polypseg.archive.inputs import here
from polypseg.archive.options import DEFAULTS, ArchiveJob, ArchiveOptions
from polypseg.archive.tables import frame_cells, frame_columns
from polypseg.archive.video import Sampler
from polypseg.errors import DataError
from polypseg.predict.predictor import Predictor
from polypseg.predict.video.frames import FrameReader
from polypseg.predict.video.marking import marked, row_of, tracked
from polypseg.predict.video.source import open_source
from polypseg.predict.video.stages import Pipeline

Row = dict[str, Any]


def predict_videos(
    paths: Iterable[str | Path],
    model: str | None = None,
    options: ArchiveOptions = DEFAULTS,
    engine: str = "auto",
    threads: int | None = 1,
) -> Iterator[Row]:
    """One row per frame of each video, one video after another; a row with its `fault` alone where one cannot be read.

    The columns are `path` and those of a video's table; what is not known is None. A process loads the model once.

    Args:
        paths: Files or addresses.
        model: As of `polypseg.load`.
        options: Smoothing, withholding, frames that are left out; masks and videos are not written.
        engine: As of `polypseg.load`.
        threads: Processor cores to use at most; None leaves it to the runtime.

    Raises:
        ModelError: The model cannot be loaded.

    For example, in Spark:

        spark.sparkContext.parallelize(paths, len(paths)).mapPartitions(predict_videos).toDF(spark_schema())
    """
    predictor = _predictor(model, options, engine, threads)
    for path in map(str, paths):
        try:
            with here(path) as copy:
                for row in _rows(copy, predictor, options):
                    yield {"path": path, **row}
        except (DataError, OSError) as error:
            reason = str(error).partition(f"{path}: ")[2] or getattr(error, "strerror", None) or str(error)
            yield {"path": path, **dict.fromkeys(frame_columns()), "note": "", "fault": str(reason).splitlines()[0]}


def spark_schema() -> str:
    """The columns of the rows and their types, as Spark's `toDF` takes them.

    >>> spark_schema()[:39]
    'path string, frame int, seconds double,'
    """
    return ", ".join(f"{name} {_SPARK_TYPES[kind]}" for name, kind in {"path": "string", **frame_columns()}.items())


_SPARK_TYPES = {"string": "string", "int32": "int", "float64": "double"}


def _rows(file: Path, predictor: Predictor, options: ArchiveOptions) -> Iterator[Row]:
    source, pipeline = open_source(file), Pipeline()
    try:
        reader = FrameReader(source, Event(), options.video.max_frames, options.video.deinterlace)
        with pipeline:
            frames = Sampler(options.seconds_apart).sampled(reader.frames_ahead(pipeline))
            for shown in tracked(marked(frames, predictor, options.video)):
                cells = frame_cells(row_of(shown))
                yield {name: None if value != value else value for name, value in cells.items()}
    finally:
        pipeline.finally_close(source.container.close)


@lru_cache(maxsize=1)
def _predictor(model: str | None, options: ArchiveOptions, engine: str, threads: int | None) -> Predictor:
    return ArchiveJob(Path(), model, engine, threads, options).load()[0]
