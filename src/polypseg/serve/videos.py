"""What a video job does: the video with the mask drawn, and what was seen when."""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from polypseg.annotate.anonymise_video import anonymise_video
from polypseg.errors import RequestError
from polypseg.predict.predictor import Predictor
from polypseg.predict.video.source import open_source
from polypseg.predict.video.work import VideoOptions, predict_video
from polypseg.records.atomic import put_in_place
from polypseg.records.video_table import FrameRow, read_video_table
from polypseg.serve.jobs import JobRecord, JobTrack
from polypseg.serve.schemas import Detection, VideoFrame, VideoResult


def predict_job(
    record: JobRecord, track: JobTrack, predictor: Predictor, max_pixels: int, anonymise: bool = False
) -> VideoResult:
    """The result of a job, once its video is written.

    Args:
        record: The job; its folder holds the source.
        track: Tells of the progress.
        predictor: With the options of the job.
        max_pixels: Of a frame.
        anonymise: Whether all but the picture is blanked first, and text in it; the video as it came is removed.

    Raises:
        PolypsegError: As `predict_video`; RequestError 413 where its frames are too large.
    """
    check_size(record.source, max_pixels)
    notes = put_anonymous_copy(record.source) if anonymise else []
    options = VideoOptions(smoothing=record.query.smoothing, withhold_frames=record.query.withhold)
    summary = predict_video(record.source, record.output, predictor, options, track)
    frames = [as_frame(row) for row in read_video_table(summary.table)]
    fps = frame_rate([frame.seconds for frame in frames])
    return VideoResult(
        frames=frames,
        detections=detections(frames, fps),
        fps=fps,
        faults=dict(Counter(fault for frame in frames for fault in frame.faults)),
        promise=calibration.promise if (calibration := predictor.options.calibration) else None,
        notes=[*notes, *(record.without_paths(note) for note in summary.notes())],
        video=f"/v1/jobs/{record.id}/video",
    )


def put_anonymous_copy(source: Path) -> list[str]:
    """Put a copy that shows the picture alone in a video's place; what was done, in words.

    Raises:
        DataError: No picture was found in it, or its frames change their size.
    """
    copy = source.with_name("anonymous.mp4")
    try:
        done = anonymise_video(source, copy, blank_text=True)
        put_in_place(copy, source)
    finally:
        copy.unlink(missing_ok=True)
    return [f"anonymised: {done.blanked_percent:.1f} % of each frame blanked, {done.text_blanked} lines of text found"]


def check_size(source: Path, max_pixels: int) -> None:
    """Nothing, if the frames are within bounds, as the file says of itself.

    Raises:
        PolypsegError: As `predict_video`; RequestError 413 where the frames have too many pixels.
    """
    opened = open_source(source)
    try:
        height, width = opened.stream.codec_context.height, opened.stream.codec_context.width
    finally:
        opened.container.close()
    if height * width > max_pixels:
        found = f"{height}x{width} pixels a frame"
        raise RequestError(413, "Too many pixels", f"{found}; at most {max_pixels:,} are taken")


def as_frame(row: FrameRow) -> VideoFrame:
    """The answer of a table's row; `nan` there is null here."""
    values = {
        name: None if isinstance(value, float) and math.isnan(value) else value for name, value in vars(row).items()
    }
    named = {"components": values.pop("num_components"), "withheld": row.num_withheld > 0, "faults": row.faults}
    return VideoFrame.model_validate(values | named)


def frame_rate(seconds: Sequence[float]) -> float:
    """Frames a second, from the times of the frames; 0 where there are fewer than two.

    >>> frame_rate([0.0, 0.5, 1.0])
    2.0
    """
    if len(seconds) < 2 or seconds[-1] <= seconds[0]:
        return 0.0
    return round((len(seconds) - 1) / (seconds[-1] - seconds[0]), 4)


def detections(frames: Sequence[VideoFrame], fps: float) -> list[Detection]:
    """The stretches in which a polyp is shown, each to the time of the frame after its last."""
    found: list[Detection] = []
    begin: float | None = None
    for frame in frames:
        is_seen = bool(frame.components)
        if is_seen and begin is None:
            begin = frame.seconds
        elif not is_seen and begin is not None:
            found.append(Detection(begin=begin, end=frame.seconds))
            begin = None
    if begin is not None:
        end = frames[-1].seconds + (1 / fps if fps else 0)
        found.append(Detection(begin=begin, end=round(end, 6)))
    return found
