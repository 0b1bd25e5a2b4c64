"""A video to its overlay, frame by frame: decode, infer, draw and encode side by side.

Decisions:
- Memory does not grow with the video: queues are bounded, and only the frames that wait for the decision whether their
  detections are long enough (temporal.py) are held.
- Video and table have the names NAME.part.mp4 and NAME.part.csv until they are whole. Ctrl-C, a kill and a full disk
  leave the part files, which can be read; of a capture device Ctrl-C is the usual end, and gives them their names.
- Sound is not copied.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from threading import Event
from typing import NamedTuple

import cv2
import numpy as np

from polypseg.arrays import Image, Mask
from polypseg.errors import DataError, UsageError
from polypseg.overlay import DOUBTFUL, TRUE_POSITIVE, contour, line_width_px, numbered, overlay
from polypseg.predict.nested import doubtful_band
from polypseg.predict.predictor import Predictor
from polypseg.predict.video.frames import DAMAGED, DROPPED, MISTIMED, REJOINED, RESIZED, FrameReader
from polypseg.predict.video.marking import Predicted, Tracked, marked, row_of, tracked
from polypseg.predict.video.options import DEFAULTS, VideoOptions, VideoSummary
from polypseg.predict.video.source import open_source
from polypseg.predict.video.stages import Pipeline
from polypseg.predict.video.table import FrameTable
from polypseg.predict.video.temporal import Decided
from polypseg.predict.video.writer import VideoLook, VideoWriter, check_output
from polypseg.progress import Track, silent
from polypseg.records.lock import alone_at

__all__ = ["VideoOptions", "VideoSummary", "predict_video"]


def predict_video(
    source: Path | int,
    output: Path,
    predictor: Predictor,
    options: VideoOptions = DEFAULTS,
    track: Track = silent,
) -> VideoSummary:
    """What came of a video, once it is written beside its table.

    Writes `output` (H.264 in mp4, or in mkv where the name ends so) and `output` with the ending .csv. The picture of
    when a polyp is seen is drawn from that table: `report.timeline.timeline(summary.table, path)`.

    Args:
        source: A video file, or the index of a camera or capture device (recorded until Ctrl-C or `max_frames`).
        output: Ends in .mp4 or .mkv.
        predictor: From `polypseg.load`; attention is not asked for.
        options: Smoothing, withholding, drawing, quality.
        track: Shows progress; its total is an estimate for files that do not tell, and 0 for a device.

    Raises:
        BusyError: Another process writes the same video.
        DataError: Not a video, no picture in it that can be decoded, a device that cannot be opened, or a full disk.
        MissingExtraError: PyAV is not installed.
        UsageError: The output is the source, or has another ending.
    """
    began = time.perf_counter()
    _check_place(source, output)
    opened, stopped = open_source(source), Event()
    with ExitStack() as stack:
        pipeline = Pipeline()
        stack.callback(pipeline.finally_close, opened.container.close)
        output.parent.mkdir(parents=True, exist_ok=True)
        stack.enter_context(alone_at(output))
        reader = FrameReader(opened, stopped, options.max_frames, options.deinterlace)
        recorder = stack.enter_context(_Recorder(output, reader, options))
        stack.enter_context(pipeline)
        frames = reader.frames_ahead(pipeline)
        decided = pipeline.ahead(marked(frames, predictor, options))
        drawn = pipeline.ahead(_drawn(decided, options))
        recorded = pipeline.ahead(map(recorder.add, drawn))
        try:
            for _ in track(recorded, "predicting frames", _total(opened.num_expected, options.max_frames)):
                pass
        except KeyboardInterrupt:
            stopped.set()
            for _ in recorded:
                pass
        return recorder.finish(stopped.is_set(), began)


def draw_mask(image: Image, mask: Mask, view: str = "overlay", opacity: float = 0.4, band: Mask | None = None) -> Image:
    """The image with its mask tinted and outlined as `Prediction.overlay` does, or outlined alone, or as it is.

    A doubtful band is tinted yellow, or in the view of outlines outlined in yellow.

    Args:
        image: Shape (H, W, 3), uint8.
        mask: Shape (H, W), bool.
        view: A name of `VIEWS`.
        opacity: Of the tint.
        band: What lies between the inner and the outer mask, shape (H, W), bool; None without a calibration.
    """
    whole = mask if band is None else mask | band
    x, y, width, height = cv2.boundingRect(whole.view(np.uint8))
    if view == "none" or width == 0:
        return image
    drawn = image.copy()
    rows, columns = slice(y, y + height), slice(x, x + width)  # beyond its box there is no mask: the line is the same
    inside, shown, line = mask[rows, columns], image[rows, columns], line_width_px(mask.shape)
    tinted = overlay(shown, inside, TRUE_POSITIVE, opacity) if view == "overlay" else shown
    if band is not None and view == "overlay":
        part = band[rows, columns]
        tinted[part] = overlay(shown, part, DOUBTFUL, opacity)[part]
    elif band is not None:
        tinted = contour(tinted, band[rows, columns], DOUBTFUL, width_px=max(1, line // 2))
    drawn[rows, columns] = contour(tinted, inside, width_px=line)
    return drawn


def look_of(reader: FrameReader) -> VideoLook:
    """What a written video shares with its source; known from the first picture on."""
    aspect = Fraction(reader.source.stream.sample_aspect_ratio or 1)
    aspect = 1 / aspect if reader.is_turned else aspect
    return VideoLook(reader.clock.time_base, reader.source.rate, aspect, reader.matrix)


def _check_place(source: Path | int, output: Path) -> None:
    check_output(output)
    if isinstance(source, Path) and source.exists():
        files = (output, output.with_suffix(f".part{output.suffix}"), output.with_suffix(".csv"))
        if any(file.exists() and file.samefile(source) for file in files):
            raise UsageError(f"{output}: would overwrite the source {source}; name another file")


def _total(num_expected: int, max_frames: int | None) -> int:
    if max_frames is None:
        return num_expected
    return min(max_frames, num_expected) if num_expected else max_frames


class _Drawn(NamedTuple):
    shown: Tracked
    image: Image | None


def _drawn(frames: Iterable[Decided[Predicted]], options: VideoOptions) -> Iterator[_Drawn]:
    for shown in tracked(frames):
        image, mask = shown.decided.item.frame.image, shown.decided.mask
        if image is not None and mask is not None:
            item = shown.decided.item
            inner = None if item.inner is None else item.inner & mask  # what is withheld is not sure either
            band = doubtful_band(mask, item.outer, inner)
            image = draw_mask(image, mask, options.view, options.opacity, band)
            if options.numbers and options.view != "none":
                image = numbered(image, list(zip(shown.tracks, shown.boxes, strict=True)))
        yield _Drawn(shown, image)


class _Recorder:
    """Writes video and table, and counts what it wrote."""

    def __init__(self, output: Path, reader: FrameReader, options: VideoOptions) -> None:
        self._output, self._reader, self._options = output, reader, options
        self._writer: VideoWriter | None = None
        self._table = FrameTable(output.with_suffix(".csv"))
        self._tracks: set[int] = set()
        self._faults = dict.fromkeys((DROPPED, DAMAGED, MISTIMED, REJOINED, RESIZED), 0)
        self._num_frames = self._num_with_polyp = self._num_with_withheld = self._num_withheld = 0

    def __enter__(self) -> "_Recorder":
        return self

    def __exit__(self, *_: object) -> None:
        """Close what `finish` did not; without a picture nothing is left behind."""
        self._table.close()
        if self._writer is not None:
            self._writer.close()
        else:
            self._table.part.unlink(missing_ok=True)

    def add(self, drawn: _Drawn) -> int:
        """Write a frame and its row; the number of the frame."""
        shown, image = drawn
        decided = shown.decided
        frame = decided.item.frame
        for fault in frame.faults:
            self._faults[fault] += 1
        if image is not None:
            self._open_for(image).write(image, frame.seconds)
        self._table.add(row_of(shown))
        if image is None:
            return frame.number
        self._tracks.update(shown.tracks)
        self._num_frames += 1
        self._num_with_polyp += decided.num_components > 0
        self._num_with_withheld += decided.num_withheld > 0
        self._num_withheld += decided.num_ended
        return frame.number

    def finish(self, is_interrupted: bool, began: float) -> VideoSummary:
        """What came of it; the files get their names unless a file was interrupted."""
        writer, source = self._writer, self._reader.source
        if writer is None:
            raise KeyboardInterrupt if is_interrupted else DataError(f"{source.name}: holds no frames")
        writer.flush()
        video, table = writer.part, self._table.part
        if not is_interrupted or source.is_device:
            video, table = writer.finish(), self._table.finish()
        return VideoSummary(
            video,
            table,
            writer.size,
            writer.codec,
            self._num_frames,
            self._num_with_polyp,
            self._num_with_withheld,
            self._num_withheld,
            self._faults[DAMAGED],
            self._faults[DROPPED],
            self._faults[MISTIMED],
            self._faults[RESIZED],
            self._reader.fault,
            source.has_sound,
            is_interrupted,
            float(self._reader.clock.end()),
            time.perf_counter() - began,
            self._faults[REJOINED],
            tuple(self._reader.notes()),
            len(self._tracks),
        )

    def _open_for(self, image: Image) -> VideoWriter:
        if self._writer is None:
            size = (image.shape[0], image.shape[1])
            self._writer = VideoWriter(self._output, size, look_of(self._reader), self._options.quality)
        return self._writer
