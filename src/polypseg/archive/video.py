"""One video, or chunk of images, to its result: a folder with its tables, its masks where they are asked for, a record.

Decisions:
- A whole video is one piece of work: smoothing, withholding, detections and tracks carry what was before
  (docs/explanation/archive.md says why none is cut at key frames).
- The record holds a digest of every file beside it, so that damage on the disk is found later.
"""

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from threading import Event
from time import perf_counter
from typing import Any, NamedTuple

from polypseg.archive.images import Chunk, is_chunk, refuse_all_damaged, why_unreadable
from polypseg.archive.manifest import ManifestEntry
from polypseg.archive.options import ArchiveOptions
from polypseg.archive.tables import (
    DETECTION_COLUMNS,
    DETECTIONS_NAME,
    FRAMES_NAME,
    MASK_COLUMNS,
    MASKS_NAME,
    DetectionTable,
    TableWriter,
    frame_cells,
    frame_columns,
)
from polypseg.arrays import Image, Mask
from polypseg.errors import ArchiveError, ImageError
from polypseg.formats.outlines import compress_run_lengths, run_lengths
from polypseg.predict.images.outputs import encode_png
from polypseg.predict.predictor import Predictor
from polypseg.predict.video.frames import DAMAGED, DROPPED, MISTIMED, REJOINED, RESIZED, Frame, FrameReader
from polypseg.predict.video.marking import Predicted, Tracked, marked, row_of, tracked
from polypseg.predict.video.source import open_source
from polypseg.predict.video.stages import Pipeline
from polypseg.predict.video.temporal import Decided, withhold_short
from polypseg.predict.video.work import draw_mask, look_of
from polypseg.predict.video.writer import VideoWriter
from polypseg.preprocess import read_noted
from polypseg.records.atomic import write_text
from polypseg.records.reading import FileKind, Saved, read_json

RECORD_NAME, OVERLAY_NAME, MASK_FOLDER = "record.json", "overlay.mp4", "masks"
FAULTS = (DROPPED, DAMAGED, MISTIMED, REJOINED, RESIZED)
_NO_TIME: Any = math.nan
RESULT = FileKind("record of a result", ArchiveError, "remove it: polypseg archive verify ARCHIVE --remove")


class ResultRecord(Saved):
    """What is known of a video's result.

    Attributes:
        video: The video's digest.
        path: Where the video lay.
        num_read: Frames of the source.
        num_frames: Frames that were predicted.
        num_with_polyp: Of them, frames in which a polyp is shown.
        num_detections: Detections that are shown.
        num_withheld: Detections that were withheld.
        video_seconds: From the first to the end of the last frame.
        faults: Frames by fault.
        fault: What is wrong with the file as a whole; empty for nothing.
        remarks: What else a reader should know.
        seconds: That the work took.
        files: SHA-256 of the files beside the record, by name.
    """

    video: str
    path: str
    num_read: int
    num_frames: int
    num_with_polyp: int
    num_detections: int
    num_withheld: int
    video_seconds: float
    faults: dict[str, int]
    fault: str
    remarks: list[str]
    seconds: float
    files: dict[str, str]


class Sampler:
    """Lets a frame through, and the next one `seconds_apart` later; counts the faults of all.

    Args:
        seconds_apart: 0 lets all through.

    Attributes:
        num_read: Frames so far.
        faults: Of them, by fault.
    """

    def __init__(self, seconds_apart: float) -> None:
        self._step = Fraction(str(seconds_apart))
        self._due = Fraction(0)
        self.num_read = 0
        self.faults = dict.fromkeys(FAULTS, 0)

    def sampled(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """The frames that are due, and those without a picture, which say that something is missing."""
        for frame in frames:
            self.num_read += 1
            for fault in frame.faults:
                self.faults[fault] += 1
            if frame.image is None:
                yield frame
            elif frame.seconds >= self._due:
                if self._step:
                    self._due = (frame.seconds // self._step + 1) * self._step
                yield frame


def write_result(
    file: Path, folder: Path, entry: ManifestEntry, predictor: Predictor, options: ArchiveOptions
) -> ResultRecord:
    """What is known of a video's or a chunk's result, once its files are in a folder.

    Args:
        file: The video on this machine, or the folder of the images.
        folder: Exists, and is empty.
        entry: The video's row in the manifest.
        predictor: From `polypseg.load`.
        options: Smoothing, withholding, masks.

    Raises:
        DataError: Not a video, or no picture in it that can be decoded; or no image of a chunk can.
        OSError: A file cannot be written.
    """
    if is_chunk(entry.path):
        return _write_images(folder, entry, predictor, options)
    began = perf_counter()
    source, stopped, sampler = open_source(file), Event(), Sampler(options.seconds_apart)
    with ExitStack() as stack:
        pipeline = Pipeline()
        stack.callback(pipeline.finally_close, source.container.close)
        reader = FrameReader(source, stopped, options.video.max_frames, options.video.deinterlace)
        files = stack.enter_context(_ResultFiles(folder, reader, options))
        stack.enter_context(pipeline)
        frames = sampler.sampled(reader.frames_ahead(pipeline))
        for shown in tracked(marked(frames, predictor, options.video)):
            files.add(shown)
    counted = {"num_read": sampler.num_read, "faults": sampler.faults, "seconds": round(perf_counter() - began, 3)}
    told = {"fault": reader.fault.removeprefix(f"{file}: "), "remarks": reader.notes()}
    return _recorded(folder, entry, files.counts, {**counted, **told, "video_seconds": float(reader.clock.end())})


def _write_images(folder: Path, entry: ManifestEntry, predictor: Predictor, options: ArchiveOptions) -> ResultRecord:
    """As `write_result`, of a chunk of images: each is predicted by itself, as `polypseg predict` does."""
    began, images, reason, num_damaged = perf_counter(), Chunk.of(entry.path).images(), "", 0
    model = predictor.with_options(attention=False)

    def read() -> Iterator[tuple[Path, Image | None, str]]:
        for path in images:
            try:
                yield path, *read_noted(path)
            except ImageError as error:
                yield path, None, why_unreadable(error, path)

    with _ResultFiles(folder, None, options) as files, Pipeline() as pipeline:
        for number, (path, image, note) in enumerate(pipeline.ahead(read())):
            if image is None:
                num_damaged, reason = num_damaged + 1, note
                item = Predicted(Frame(number, _NO_TIME, None, (DAMAGED,)), math.nan)
                files.add(Tracked(Decided(item, None)), path.name, note)
                continue
            found = model.predict(image)
            item = Predicted(Frame(number, _NO_TIME, image), float(found.probability.max()), found.note or note)
            [decided] = withhold_short([(item, found.mask)], 0)
            files.add(Tracked(decided), path.name)
    refuse_all_damaged(len(images), num_damaged, reason)
    faults = {**dict.fromkeys(FAULTS, 0), DAMAGED: num_damaged}
    told = {"num_read": len(images), "faults": faults, "fault": "", "remarks": [], "video_seconds": 0.0}
    return _recorded(folder, entry, files.counts, {**told, "seconds": round(perf_counter() - began, 3)})


def _recorded(folder: Path, entry: ManifestEntry, counts: "_Counts", told: Mapping[str, Any]) -> ResultRecord:
    """The record of a result, beside its files."""
    record = ResultRecord(
        video=entry.video,
        path=entry.path.encode("utf-8", "backslashreplace").decode(),
        num_frames=counts.frames,
        num_with_polyp=counts.with_polyp,
        num_detections=counts.detections,
        num_withheld=counts.withheld,
        files=digests_below(folder),
        **told,
    )
    write_text(folder / RECORD_NAME, record.model_dump_json(indent=1) + "\n")
    return record


def read_record(folder: Path) -> ResultRecord:
    """The record of a result.

    Raises:
        ArchiveError: It is missing or damaged.
    """
    return read_json(folder / RECORD_NAME, ResultRecord, RESULT)


def digests_below(folder: Path) -> dict[str, str]:
    """SHA-256 by name of the files below a folder, without its record."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / RECORD_NAME)
    return {file.relative_to(folder).as_posix(): _digest(file) for file in files}


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


class _Counts(NamedTuple):
    frames: int = 0
    with_polyp: int = 0
    withheld: int = 0
    detections: int = 0


class _ResultFiles:
    """Writes the files of a result; use it in a `with`."""

    def __init__(self, folder: Path, reader: FrameReader | None, options: ArchiveOptions) -> None:
        self._folder, self._reader, self._options = folder, reader, options
        self._stack = ExitStack()
        self._detections = DetectionTable()
        self._masks: TableWriter | None = None
        self._writer: VideoWriter | None = None
        self.counts = _Counts()

    def __enter__(self) -> "_ResultFiles":
        self._frames = self._stack.enter_context(TableWriter(self._folder / FRAMES_NAME, frame_columns()))
        if self._options.masks == "rle":
            self._masks = self._stack.enter_context(TableWriter(self._folder / MASKS_NAME, MASK_COLUMNS))
        elif self._options.masks == "png":
            (self._folder / MASK_FOLDER).mkdir()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: Any) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            if self._writer is not None:
                self._writer.close()
            self._stack.__exit__(kind, error, at)

    def add(self, shown: Tracked, image: str | None = None, note: str = "") -> None:
        """Write a frame, or the image of that name."""
        decided = shown.decided
        frame = decided.item.frame
        self._frames.add(frame_cells(row_of(shown), image, note))
        if frame.image is None or decided.mask is None:
            return
        if decided.components is not None:
            self._detections.add(frame.number, float(frame.seconds), decided.components.measured())
        if self._options.masks != "none" and decided.num_components:
            self._add_mask(frame.number, decided.mask)
        if self._options.write_video and self._reader is not None:
            self._draw(frame, decided.mask)
        before = self.counts
        self.counts = _Counts(
            before.frames + 1,
            before.with_polyp + (decided.num_components > 0),
            before.withheld + decided.num_ended,
        )

    def _add_mask(self, number: int, mask: Mask) -> None:
        if self._masks is None:
            picture = encode_png(mask.view("uint8") * 255)
            with (self._folder / MASK_FOLDER / f"{number:08d}.png").open("wb") as opened:  # flushed with the folder
                opened.write(picture)
            return
        height, width = mask.shape
        counts = compress_run_lengths(run_lengths(mask))
        self._masks.add({"frame": number, "height": height, "width": width, "counts": counts})

    def _draw(self, frame: Frame, mask: Mask) -> None:
        if frame.image is None or self._reader is None:
            return
        if self._writer is None:
            size = (frame.image.shape[0], frame.image.shape[1])
            path, video = self._folder / OVERLAY_NAME, self._options.video
            self._writer = VideoWriter(path, size, look_of(self._reader), video.quality)
        video = self._options.video
        self._writer.write(draw_mask(frame.image, mask, video.view, video.opacity), frame.seconds)

    def _finish(self) -> None:
        rows = self._detections.rows()
        with TableWriter(self._folder / DETECTIONS_NAME, DETECTION_COLUMNS) as table:
            for row in rows:
                table.add(row)
        self.counts = self.counts._replace(detections=len(rows))
        if self._writer is not None:
            self._writer.flush()
            self._writer.finish()
