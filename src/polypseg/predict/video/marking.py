"""Frames with their masks, and the row that says what is shown in each: what a video and an archive share."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from polypseg.arrays import Mask
from polypseg.errors import UsageError
from polypseg.predict.engines.engine import Outputs
from polypseg.predict.predictor import Predictor
from polypseg.predict.video.field import NO_PICTURE, FieldFollower
from polypseg.predict.video.frames import Frame
from polypseg.predict.video.options import VideoOptions
from polypseg.predict.video.table import area_and_box
from polypseg.predict.video.temporal import Decided, Smoother, make_smoother, withhold_short
from polypseg.predict.video.tracks import Tracker
from polypseg.records.video_table import FrameRow


class Predicted(NamedTuple):
    """A frame that the model saw.

    Attributes:
        frame: Its image is None where it was dropped.
        max_probability: Over the frame, after smoothing; `nan` for a dropped one.
        note: Empty, or `NO_PICTURE`.
        outer: The mask that misses little, by a calibration; None without one, as the next.
        inner: The mask of which little is no polyp.
    """

    frame: Frame
    max_probability: float
    note: str = ""
    outer: Mask | None = None
    inner: Mask | None = None


def predicted(
    frames: Iterable[Frame], predictor: Predictor, options: VideoOptions
) -> Iterator[tuple[Predicted, Mask | None]]:
    """The frames with their masks, smoothed as the options say; None for a dropped frame.

    Raises:
        UsageError: Smoothing and a calibration: its promise is for frames as they are.
    """
    if options.smoothing != "none" and predictor.options.calibration is not None:
        raise UsageError(
            f"smoothing {options.smoothing}: a calibration holds for frames as they are; leave out one of them "
            "(--calibration none)"
        )
    model = predictor.with_options(attention=False)
    follower = FieldFollower(model.field)
    smoother: Smoother = make_smoother(options.smoothing, options.smoothing_frames)
    for frame in frames:
        if frame.image is None:
            yield Predicted(frame, float("nan")), None
            continue
        field, is_found = follower.follow(frame.image)
        prepared = model.prepare(frame.image, field)
        probability = smoother.smooth(model.run([prepared.pixels]).probabilities)
        found = model.finish(frame.image, prepared, Outputs(probability, {}))
        note = "" if is_found else NO_PICTURE
        yield Predicted(frame, float(found.probability.max()), note, found.outer, found.inner), found.mask


def marked(frames: Iterable[Frame], predictor: Predictor, options: VideoOptions) -> Iterator[Decided[Predicted]]:
    """The frames with what is shown in them: predicted, and short detections withheld."""
    return withhold_short(predicted(frames, predictor, options), options.withhold_frames)


class Tracked(NamedTuple):
    """A frame with what is shown in it.

    Attributes:
        decided: What is shown.
        boxes: The box (x, y, width, height) in pixels of each component, the largest first.
        tracks: The number of each of them (tracks.py): a polyp keeps its number.
    """

    decided: Decided[Predicted]
    boxes: tuple[tuple[int, int, int, int], ...] = ()
    tracks: tuple[int, ...] = ()


def tracked(frames: Iterable[Decided[Predicted]]) -> Iterator[Tracked]:
    """The frames, their components numbered."""
    tracker = Tracker()
    for decided in frames:
        frame = decided.item.frame
        if frame.image is None or decided.mask is None:
            yield Tracked(decided)
            continue
        boxes = _boxes(decided)
        yield Tracked(decided, boxes, tuple(tracker.follow(boxes, float(frame.seconds))))


def _boxes(decided: Decided[Predicted]) -> tuple[tuple[int, int, int, int], ...]:
    """The box of each component that is shown, the largest component first."""
    if decided.components is None:
        return ()
    found = sorted(decided.components.measured(), key=lambda component: -component.area_px)
    return tuple(component.box for component in found)


def row_of(shown: Tracked) -> FrameRow:
    """What is said of a frame."""
    decided = shown.decided
    frame, max_probability, note, outer, inner = decided.item
    fault = "+".join(frame.faults)
    if frame.image is None or decided.mask is None:
        return FrameRow(frame.number, float(frame.seconds), fault=fault)
    found = (*area_and_box(decided.mask), decided.num_components, max_probability, decided.num_withheld, note)
    areas = (float("nan") if mask is None else int(np.count_nonzero(mask)) for mask in (outer, inner))
    return FrameRow(frame.number, float(frame.seconds), *found, fault, "+".join(map(str, shown.tracks)), *areas)
