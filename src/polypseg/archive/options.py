"""How the videos of an archive are predicted, and the name that this gives their results."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from polypseg.archive.store import RunSettings
from polypseg.errors import UsageError, unknown_name
from polypseg.predict.images.resume import record_of
from polypseg.predict.predictor import PredictOptions, Predictor, load
from polypseg.predict.video.options import VideoOptions

MASKS = ("none", "rle", "png")
"""How masks are kept: not at all, as run lengths in a table, or as one picture per frame."""

FORMAT = 2
"""Of a result's files; another one is another result."""


@dataclass(frozen=True)
class ArchiveOptions:
    """How the videos of an archive are predicted.

    Attributes:
        predict: Threshold, test-time augmentation, smallest component, lit field.
        video: Smoothing, withholding, lines; view, opacity and quality where a video is written.
        masks: A name of `MASKS`.
        write_video: Whether a video with its masks is written beside the tables.
        seconds_apart: Predict a frame and the next one so much later, in seconds; 0 predicts every frame.
    """

    predict: PredictOptions = field(default_factory=PredictOptions)
    video: VideoOptions = field(default_factory=VideoOptions)
    masks: str = "none"
    write_video: bool = False
    seconds_apart: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what does not fit.

        Raises:
            UsageError: A value out of range, or an unknown name.
        """
        if self.masks not in MASKS:
            raise UsageError(unknown_name("form of masks", self.masks, MASKS))
        if not 0 <= self.seconds_apart < float("inf"):
            raise UsageError(f"seconds_apart {self.seconds_apart:g}: expected 0 or more")


DEFAULTS = ArchiveOptions()
"""Every frame's own result, in tables alone."""


class ArchiveJob(NamedTuple):
    """What a worker needs to begin: everything but the video.

    Attributes:
        archive: The folder of the archive, the same on every machine.
        model: A model file, a run folder, or the name of a packaged model; None for the packaged default.
        engine: As of `polypseg.load`.
        threads: Processor cores a worker may use; None leaves it to the runtime.
        options: How videos are predicted.
    """

    archive: Path
    model: str | None = None
    engine: str = "auto"
    threads: int | None = None
    options: ArchiveOptions = DEFAULTS

    def load(self) -> tuple[Predictor, RunSettings]:
        """The model, ready to predict, and what its results follow from."""
        from polypseg.predict.engines.packaged import resolve

        path = resolve(self.model)
        predictor = load(path, self.engine, self.threads, self.options.predict)
        return predictor, run_record(path, predictor, self.options)


def run_record(model: Path, predictor: Predictor, options: ArchiveOptions) -> RunSettings:
    """What the results of a model and of options follow from; what has no effect is not in it."""
    video = options.video
    record: RunSettings = {
        "format": FORMAT,
        **record_of(model, predictor),
        "smoothing": video.smoothing,
        "withhold_frames": video.withhold_frames,
        "deinterlace": video.deinterlace,
        "masks": options.masks,
        "write_video": options.write_video,
        "seconds_apart": options.seconds_apart,
    }
    if video.smoothing != "none":
        record["smoothing_frames"] = video.smoothing_frames
    if video.max_frames is not None:
        record["max_frames"] = video.max_frames
    if options.write_video:
        record.update(view=video.view, opacity=video.opacity, quality=video.quality)
    return record
