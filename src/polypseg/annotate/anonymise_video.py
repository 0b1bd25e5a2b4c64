"""A video without its surround, sound, subtitles, tags and chapters.

Decisions:
- One shape is kept in all frames, from frames spread over the whole video. A frame without a picture of its own (a
  title page, a menu, the report) is black from edge to edge.
- The pictures are encoded again (H.264, quality 18), so that no side data of the original remain. Times stay.
- Lines of text are looked for in the frames that the shape is taken from: as many as the frame with most of them shows.
"""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from polypseg.annotate.blanking import Blanked, blank_frame, worst
from polypseg.annotate.records import Anonymised
from polypseg.annotate.surround import blank, shape_of_many
from polypseg.arrays import Image, Mask
from polypseg.errors import DataError
from polypseg.predict.video.frames import Frame, FrameReader, frames_of
from polypseg.predict.video.writer import VideoLook, VideoWriter
from polypseg.preprocess import find_field

NUM_LOOKED_AT = 40
"""Frames that the shape is taken from."""

QUALITY = 18
"""x264's: hardly a difference to be seen."""


def anonymise_video(source: Path, output: Path, blank_text: bool = False) -> Anonymised:
    """Write a video that shows the picture alone.

    Args:
        source: Any video that can be read.
        output: Ends in .mp4; its stem is the new name.
        blank_text: Also blank the lines of text that are found in the picture.

    Raises:
        DataError: Not a video, damaged, or without a picture.
        MissingExtraError: PyAV is not installed.
    """
    looked_at = _look(source)
    shape = shape_of_many(looked_at)
    if shape is None:
        raise DataError(f"{source}: no picture was found in it; it is not written")
    found = [blank_frame(image, blank_text, shape) for image in looked_at if find_field(image) is not None]
    kept = shape.copy()
    for one in found:  # what is text in one frame is blanked in all
        kept &= one.kept
    with frames_of(source) as (reader, frames):
        _write(reader, frames, output, kept)
        removed = _removed(reader)
    return _row(output.stem, kept, found, removed)


def _look(source: Path) -> list[Image]:
    """Frames that are spread over a video, all of the size of the first."""
    with frames_of(source) as (reader, frames):
        step = max(1, reader.source.num_expected // NUM_LOOKED_AT)
        images = [f.image for f in frames if f.image is not None and f.number % step == 0]
    return [image for image in images[: 2 * NUM_LOOKED_AT] if image.shape == images[0].shape]


def _write(reader: FrameReader, frames: Iterator[Frame], output: Path, kept: Mask) -> None:
    writer: VideoWriter | None = None
    try:
        for frame in frames:
            if frame.image is None:
                continue
            if frame.image.shape[:2] != kept.shape:
                raise DataError(f"{reader.source.name}: its frames change their size; cut it into parts of one size")
            if writer is None:
                aspect = Fraction(reader.source.stream.sample_aspect_ratio or 1)
                aspect = 1 / aspect if reader.is_turned else aspect
                look = VideoLook(reader.clock.time_base, reader.source.rate, aspect, reader.matrix)
                writer = VideoWriter(output, (kept.shape[0], kept.shape[1]), look, QUALITY)
            shown = kept if find_field(frame.image) is not None else kept & False
            writer.write(blank(frame.image, shown), frame.seconds)
        if writer is not None:
            writer.flush()
            writer.finish()
    finally:
        if writer is not None:
            writer.close()


def _removed(reader: FrameReader) -> tuple[str, ...]:
    """The kinds of what a video holds beside its pictures."""
    container = reader.source.container
    kinds = {f"tag {key}" for holder in (container, *container.streams) for key in holder.metadata}
    kinds |= {str(stream.type) for stream in container.streams if stream is not reader.source.stream}
    kinds |= {"chapters"} if container.chapters() else set()
    return tuple(sorted(kinds))


def _row(name: str, kept: Mask, found: list[Blanked], removed: tuple[str, ...]) -> Anonymised:
    height, width = kept.shape
    percent = round(100 * float(1 - kept.mean()), 2)
    bright, text_blanked, text_left = worst(found)
    return Anonymised(name, "video", height, width, percent, bright, text_blanked, text_left, 0, removed)
