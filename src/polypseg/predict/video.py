"""A video to its overlay, frame by frame: decode, infer, draw and encode side by side."""

from pathlib import Path

from polypseg.predict.predictor import Predictor
from polypseg.predict.video_options import DEFAULTS, VideoOptions, VideoSummary
from polypseg.progress import Track, silent

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
        predictor: From `polypseg.load`.
        options: Smoothing, withholding, drawing, quality.
        track: Shows progress; its total is an estimate for files that do not tell, and 0 for a device.

    Raises:
        DataError: Not a video, no picture in it that can be decoded, or a device that cannot be opened.
        MissingExtraError: PyAV is not installed.
        UsageError: The output is the source, or has another ending.
    """
    raise NotImplementedError
