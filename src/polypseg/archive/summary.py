"""The results of a run as three tables in Parquet, which DuckDB, Polars, pandas and Spark read without polypseg.

    OUT/frames/video=VIDEO/frames.parquet     one row per frame, one folder per video (a Hive partition)
    OUT/detections.parquet                    one row per detection
    OUT/procedures.parquet, procedures.csv    one row per row of the manifest, with its state and reason

Decisions:
- Rows are in the order of the manifest, so that two runs without and with faults give equal tables.
- Nothing in them tells on which machine or when a row was made.
- The tables are read and written video by video: memory does not grow with the archive.
"""

import csv
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from polypseg.archive.manifest import ManifestEntry, read_manifest
from polypseg.archive.store import State, Store
from polypseg.archive.tables import (
    DETECTION_COLUMNS,
    DETECTIONS_NAME,
    FRAMES_NAME,
    TableWriter,
    import_arrow,
    schema_of,
)
from polypseg.archive.video import ResultRecord, read_record
from polypseg.errors import ArchiveError, UsageError
from polypseg.progress import Track, silent
from polypseg.records.atomic import building, replacing

SUMMARY_NAME, PROCEDURES_NAME = "summary", "procedures"
MISSING = "missing"

PROCEDURE_COLUMNS = {
    "video": "string",
    "path": "string",
    "state": "string",
    "reason": "string",
    "video_seconds": "float64",
    "num_read": "int32",
    "num_frames": "int32",
    "num_with_polyp": "int32",
    "num_detections": "int32",
    "num_withheld": "int32",
    "num_damaged": "int32",
    "num_dropped": "int32",
    "num_mistimed": "int32",
    "num_rejoined": "int32",
    "num_resized": "int32",
    "codec": "string",
    "height": "int32",
    "width": "int32",
    "num_bytes": "int64",
}
"""`reason` says why a video is not done, and what is wrong with the file as a whole of one that is."""


@dataclass
class WrittenTables:
    """What was written.

    Attributes:
        folder: Where the tables lie.
        num_procedures: Rows of the procedures.
        num_done: Of them, those with results.
        num_frames: Rows of the frames.
        num_detections: Rows of the detections.
        seconds: That it took.
    """

    folder: Path
    num_procedures: int = 0
    num_done: int = 0
    num_frames: int = 0
    num_detections: int = 0
    seconds: float = 0.0


def summarise(
    store: Store, folder: Path | None = None, overwrite: bool = False, track: Track = silent
) -> WrittenTables:
    """What was written, of the results of a run.

    Args:
        store: From `the_run`.
        folder: Where to; None for ARCHIVE/summary/RUN.
        overwrite: Whether a folder that is there is replaced.
        track: Shows progress by videos.

    Raises:
        ArchiveError: A result is damaged; `verify_archive` tells of all.
        UsageError: The folder exists, or is not one of ours.
    """
    began = perf_counter()
    folder = folder or store.archive / SUMMARY_NAME / store.run
    if folder.exists() and not overwrite:
        raise UsageError(f"{folder}: exists; replace it with --overwrite, or name another folder")
    if folder.exists() and not (folder / f"{PROCEDURES_NAME}.parquet").is_file():
        raise UsageError(f"{folder}: is no summary, and is not overwritten; name another folder")
    summary = WrittenTables(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with building(folder, overwrite) as new:
        _write_tables(store, new, summary, track)
    summary.seconds = perf_counter() - began
    return summary


def _write_tables(store: Store, folder: Path, summary: WrittenTables, track: Track) -> None:
    states = store.states()
    (folder / "frames").mkdir()
    with ExitStack() as stack:
        columns = {"video": "string", **DETECTION_COLUMNS}
        detections = stack.enter_context(_ArrowWriter(folder / DETECTIONS_NAME, columns))
        procedures = stack.enter_context(TableWriter(folder / f"{PROCEDURES_NAME}.parquet", PROCEDURE_COLUMNS))
        lines = csv.DictWriter(
            stack.enter_context((folder / f"{PROCEDURES_NAME}.csv").open("w", newline="", encoding="utf-8")),
            list(PROCEDURE_COLUMNS),
            lineterminator="\n",
        )
        lines.writeheader()
        written = set[bytes]()
        for entry in track(read_manifest(store.archive), "summarising videos", 0):
            video = bytes.fromhex(entry.video)
            state = states.get(video, State.OPEN)
            record = read_record(store.place(entry.video)) if state is State.DONE else None
            row = _procedure(entry, str(state), store, record)
            procedures.add(row)
            lines.writerow(row)
            summary.num_procedures += 1
            if record is None or video in written:
                continue
            written.add(video)
            summary.num_done += 1
            summary.num_frames += _copy_frames(store.place(entry.video), folder, entry.video)
            summary.num_detections += detections.add_file(store.place(entry.video) / DETECTIONS_NAME, entry.video)


def _procedure(entry: ManifestEntry, state: str, store: Store, record: ResultRecord | None) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(PROCEDURE_COLUMNS)
    row.update(video=entry.video, path=_readable(entry.path), codec=entry.codec, num_bytes=entry.num_bytes)
    row.update(height=entry.height, width=entry.width, state=state, video_seconds=entry.seconds)
    if record is None:
        is_missing = entry.is_missing and state == State.OPEN
        reasons = [] if state == State.OPEN else store.reasons(entry.video)
        row.update(state=MISSING if is_missing else state, reason=reasons[-1] if reasons else entry.fault)
        return row
    names = ("num_read", "num_frames", "num_with_polyp", "num_detections", "num_withheld", "video_seconds")
    row.update({name: getattr(record, name) for name in names}, reason=record.fault)
    row.update({f"num_{fault}": number for fault, number in record.faults.items() if f"num_{fault}" in row})
    return row


def _copy_frames(place: Path, folder: Path, video: str) -> int:
    """Copy the frames of a video into their partition; how many there are."""
    from pyarrow import parquet

    partition = folder / "frames" / f"video={video}"
    partition.mkdir()
    try:
        shutil.copyfile(place / FRAMES_NAME, partition / FRAMES_NAME)
        return int(parquet.read_metadata(partition / FRAMES_NAME).num_rows)
    except (FileNotFoundError, import_arrow().ArrowException) as error:
        raise _damaged(place / FRAMES_NAME, error) from error


class _ArrowWriter:
    """Gathers Parquet files of one kind into one, with the video's digest in front; use it in a `with`."""

    def __init__(self, path: Path, columns: dict[str, str]) -> None:
        from pyarrow import parquet

        self._arrow, self._schema = import_arrow(), schema_of(columns)
        self._writer = parquet.ParquetWriter(path, self._schema, compression="zstd")
        self._waiting: list[Any] = []
        self._num_waiting = 0

    def __enter__(self) -> "_ArrowWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._write()
        self._writer.close()

    def add_file(self, path: Path, video: str) -> int:
        """Add the rows of a file; how many there are."""
        from pyarrow import parquet

        try:
            table = parquet.read_table(path)
            names = self._arrow.array([video] * table.num_rows, "string")
            table = table.add_column(0, "video", names).cast(self._schema)
        except (FileNotFoundError, ValueError, self._arrow.ArrowException) as error:
            raise _damaged(path, error) from error
        self._waiting.append(table)
        self._num_waiting += table.num_rows
        if self._num_waiting >= 100_000 or len(self._waiting) >= 1000:
            self._write()
        return int(table.num_rows)

    def _write(self) -> None:
        if self._waiting:
            self._writer.write_table(self._arrow.concat_tables(self._waiting))
        self._waiting, self._num_waiting = [], 0


def forget_rows(folder: Path, video: str) -> int:
    """Rows of a summary that were removed, all that it held of a video."""
    from pyarrow import compute, parquet

    partition, removed = folder / "frames" / f"video={video}", 0
    if partition.is_dir():
        removed += int(parquet.read_metadata(partition / FRAMES_NAME).num_rows)
        shutil.rmtree(partition)
    for path in (folder / DETECTIONS_NAME, folder / f"{PROCEDURES_NAME}.parquet"):
        source = parquet.ParquetFile(path)
        with replacing(path) as temporary, parquet.ParquetWriter(temporary, source.schema_arrow) as writer:
            for batch in source.iter_batches():
                kept = batch.filter(compute.not_equal(batch.column("video"), video))
                removed += batch.num_rows - kept.num_rows
                writer.write_batch(kept)
        source.close()
    lines = folder / f"{PROCEDURES_NAME}.csv"
    with replacing(lines) as temporary, temporary.open("w", newline="", encoding="utf-8") as written:
        writer = csv.writer(written, lineterminator="\n")
        writer.writerows(row for row in _lines(lines) if row and row[0] != video)
    return removed


def _lines(path: Path) -> Iterator[list[str]]:
    with path.open(newline="", encoding="utf-8") as opened:
        yield from csv.reader(opened)


def _readable(path: str) -> str:
    """A path as valid Unicode."""
    return path.encode("utf-8", "backslashreplace").decode()


def _damaged(path: Path, error: Exception) -> ArchiveError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return ArchiveError(f"{path}: cannot be read ({reason}); run: polypseg archive verify ARCHIVE --remove, then run")
