"""What a video job does: the video with the mask drawn, and what was seen when."""

import csv
from collections.abc import Sequence
from pathlib import Path

from polypseg.errors import RequestError, missing_extra
from polypseg.predict.predictor import Predictor
from polypseg.predict.video import VideoOptions, predict_video
from polypseg.serve.jobs import JobRecord, JobTrack
from polypseg.serve.schemas import Detection, VideoFrame, VideoResult


def predict_job(record: JobRecord, track: JobTrack, predictor: Predictor, max_pixels: int) -> VideoResult:
    """The result of a job, once its video is written.

    Raises:
        PolypsegError: As `predict_video`; RequestError 413 where its frames are too large.
    """
    check_size(record.source, max_pixels)
    options = VideoOptions(smoothing=record.query.smoothing, withhold_frames=record.query.withhold)
    summary = predict_video(
        record.source, record.output, Predictor(predictor.engine, record.query.options()), options, track
    )
    frames = read_frames(summary.table)
    fps = frame_rate([frame.seconds for frame in frames])
    return VideoResult(frames=frames, detections=detections(frames, fps), fps=fps, video=f"/v1/jobs/{record.id}/video")


def check_size(source: Path, max_pixels: int) -> None:
    """Nothing, if the frames are within bounds, as the file says of itself.

    Raises:
        RequestError: 400 not a video; 413 too many pixels.
        MissingExtraError: PyAV is not installed.
    """
    try:
        import av
    except ModuleNotFoundError as error:
        raise missing_extra("av", "video") from error
    try:
        with av.open(str(source)) as container:
            pixels = [stream.width * stream.height for stream in container.streams.video]
    except (av.FFmpegError, OSError, ValueError) as error:
        raise RequestError(400, "Not a video", "the file cannot be opened as a video; is it damaged?") from error
    if not pixels:
        raise RequestError(400, "Not a video", "the file holds no pictures")
    if max(pixels) > max_pixels:
        raise RequestError(413, "Too many pixels", f"at most {max_pixels:,} pixels a frame are taken")


def read_frames(table: Path) -> list[VideoFrame]:
    """The rows of a video's table."""
    with table.open(newline="", encoding="utf-8") as file:
        return [_frame(row) for row in csv.DictReader(file)]


def _frame(row: dict[str, str]) -> VideoFrame:
    """A frame of a table's row; `nan` there is null here."""
    known = {name: None if value == "nan" else value for name, value in row.items()}
    return VideoFrame.model_validate(
        known | {"components": known["num_components"], "withheld": float(known["num_withheld"] or 0) > 0}
    )


def frame_rate(seconds: Sequence[float]) -> float:
    """Frames a second, from the times of the frames; 0 where there are fewer than two.

    >>> frame_rate([0.0, 0.5, 1.0])
    2.0
    """
    if len(seconds) < 2 or seconds[-1] <= seconds[0]:
        return 0.0
    return round((len(seconds) - 1) / (seconds[-1] - seconds[0]), 4)


def detections(frames: Sequence[VideoFrame], fps: float) -> list[Detection]:
    """The stretches in which a polyp is seen and not withheld, each to the time of the frame after its last."""
    found: list[Detection] = []
    begin: float | None = None
    for frame in frames:
        is_seen = bool(frame.components) and not frame.withheld
        if is_seen and begin is None:
            begin = frame.seconds
        elif not is_seen and begin is not None:
            found.append(Detection(begin=begin, end=frame.seconds))
            begin = None
    if begin is not None:
        end = frames[-1].seconds + (1 / fps if fps else 0)
        found.append(Detection(begin=begin, end=round(end, 6)))
    return found
