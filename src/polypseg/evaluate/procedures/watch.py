"""A model watches procedures: what it finds in each frame, and how well it outlines what is there.

Decisions:
- A finding is a region of the mask at the model's threshold; its score is its highest probability. So at the model's
  own operating point the findings are what a user is shown. For lower thresholds the regions at `floor` that no such
  region touches are findings too: what is found grows as the threshold falls, and never shrinks.
- The operating point is the peak threshold where the model has one: below it a region is not shown.
- Findings at the operating point get tracks; weaker ones have none.
- A frame without a picture has no finding. Frames are watched in order, as a video is predicted: lit field followed,
  smoothing as asked. Several smoothings cost one run of the model.
- With masks a region meets a lesion where they share a pixel. The outline of a lesion is compared with all shown
  regions that meet it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from polypseg.arrays import Mask, Probability
from polypseg.errors import ScoreError
from polypseg.evaluate.procedures.films import Film, film_frames
from polypseg.evaluate.procedures.findings import NO_TRACK, FindingRows, Findings
from polypseg.evaluate.procedures.frames import Frames, frames_from
from polypseg.evaluate.procedures.references import References
from polypseg.metrics.boundary_iou import boundary_iou
from polypseg.metrics.overlap import dice
from polypseg.predict.engines.engine import Outputs
from polypseg.predict.predictor import Predictor, without_small
from polypseg.predict.regions import Region, find_regions
from polypseg.predict.video.field import FieldFollower
from polypseg.predict.video.temporal import Smoother, make_smoother
from polypseg.predict.video.tracks import Tracker
from polypseg.preprocess import put_back
from polypseg.preprocess.lesion_masks import lesion_name, read_levels
from polypseg.progress import Track, silent

FLOOR = 0.05
"""Regions of lower probability are none."""


class Smoothing(NamedTuple):
    """A name of `SMOOTHINGS`, and how many frames it reaches back."""

    name: str = "none"
    num_frames: int = 5


class Outline(NamedTuple):
    """How well a lesion is outlined in a frame in which it is found."""

    dice: float
    boundary_iou: float


@dataclass
class Watched:
    """What came of it, for one smoothing.

    Attributes:
        findings: By frame; None until all is watched.
        touching: Frame, number of the finding within its frame, and the lesion that it meets; of masks alone.
        outlines: By frame and lesion; of masks alone.
    """

    findings: Findings | None = None
    touching: list[tuple[int, int, str]] = field(default_factory=list)
    outlines: dict[tuple[int, str], Outline] = field(default_factory=dict)
    rows: FindingRows = field(default_factory=FindingRows)


def watch(
    films: Sequence[Film],
    predictor: Predictor,
    references: References,
    smoothings: Sequence[Smoothing] = (Smoothing(),),
    rate: float | None = None,
    track: Track = silent,
) -> tuple[Frames, Mapping[Smoothing, Watched]]:
    """The frames, and what is found in them with each smoothing.

    Args:
        films: From `find_films`.
        predictor: The model.
        references: For masks; others are not looked at.
        smoothings: Each once.
        rate: Frames a second of folders.
        track: Shows progress.

    Raises:
        ScoreError: A mask of another size than its frame.
        UsageError: A folder without `rate`, or an unknown smoothing.
    """
    watched = {smoothing: Watched() for smoothing in smoothings}
    masks = {}
    if references.frames is not None and references.mask_paths:
        masks = {pair: references.mask_paths[place] for pair, place in references.frames.places.items()}
    keys: dict[str, list[str]] = {}
    seconds: dict[str, list[float]] = {}
    place = 0
    for film in films:
        watchers = [_Watcher(predictor, smoothing, watched[smoothing]) for smoothing in smoothings]
        follower = FieldFollower(predictor.field)
        keys[film.name] = []
        for frame in track(film_frames(film, references.frames), f"watching {film.name}", len(film.files)):
            keys[film.name].append(frame.key)
            time = len(keys[film.name]) / (rate or 25) if frame.seconds is None else frame.seconds
            if frame.seconds is not None:
                seconds.setdefault(film.name, []).append(frame.seconds)
            if frame.image is not None:
                path = masks.get((film.name, frame.key))
                levels = None if path is None else read_levels(path)
                if levels is not None and levels.shape != frame.image.shape[:2]:
                    size = "x".join(map(str, levels.shape))
                    shape = "x".join(map(str, frame.image.shape[:2]))
                    raise ScoreError(f"{path}: {size} pixels, its frame {shape}; expected masks of the frames' size")
                prepared = predictor.prepare(frame.image, follower.follow(frame.image)[0])
                outputs = predictor.run([prepared.pixels])
                for watcher in watchers:
                    probability = put_back(watcher.smoothed(outputs)[0, ..., 0], prepared.field, frame.image.shape[:2])
                    watcher.look(place, time, probability, (film.name, levels))
            place += 1
    for result in watched.values():
        result.findings = result.rows.findings("the model")
    return frames_from(keys, seconds, rate), watched


def operating_point(predictor: Predictor) -> float:
    """The score from which on a region is shown."""
    return max(predictor.threshold, predictor.peak_threshold)


class _Watcher:
    """Looks at one procedure with one smoothing."""

    def __init__(self, predictor: Predictor, smoothing: Smoothing, result: Watched) -> None:
        self._predictor, self._result = predictor, result
        self._smoother: Smoother = make_smoother(*smoothing)
        self._tracker = Tracker()

    def smoothed(self, outputs: Outputs) -> Probability:
        """The model's map of this frame, smoothed over those before."""
        return self._smoother.smooth(outputs.probabilities)

    def look(
        self, place: int, seconds: float, probability: Probability, reference: tuple[str, NDArray[np.uint8] | None]
    ) -> None:
        """Take a frame's map, at its own size."""
        shown, weak = split_regions(probability, self._predictor.threshold, self._predictor.options.min_area_px)
        least = operating_point(self._predictor)
        is_shown = [region.max_probability >= least for region in shown]
        numbers = iter(
            self._tracker.follow([region.box for region, yes in zip(shown, is_shown, strict=True) if yes], seconds)
        )
        regions = [*shown, *weak]
        tracks = [next(numbers) if yes else NO_TRACK for yes in is_shown] + [NO_TRACK] * len(weak)
        for region, number in zip(regions, tracks, strict=True):
            percent = 100 * region.area_px / probability.size
            self._result.rows.add(place, region.box, min(1.0, region.max_probability), percent, number)
        procedure, levels = reference
        if levels is not None:
            self._compare(place, regions, least, (procedure, levels))

    def _compare(
        self, place: int, regions: list[Region], least: float, reference: tuple[str, NDArray[np.uint8]]
    ) -> None:
        procedure, levels = reference
        outlined: dict[int, Mask] = {}
        for number, region in enumerate(regions):
            x, y, width, height = region.box
            here = np.s_[y : y + height, x : x + width]
            for level in np.unique(levels[here][region.pixels]).tolist():
                if level:
                    self._result.touching.append((place, number, lesion_name(procedure, level)))
                    if region.max_probability >= least:
                        outlined.setdefault(level, np.zeros(levels.shape, bool))[here] |= region.pixels
        for level, mask in outlined.items():
            outline = Outline(dice(mask, levels == level), boundary_iou(mask, levels == level))
            self._result.outlines[place, lesion_name(procedure, level)] = outline


def split_regions(
    probability: Probability, threshold: float, min_area_px: int = 0, floor: float = FLOOR
) -> tuple[list[Region], list[Region]]:
    """The regions at a threshold, and those at the floor that touch none of them.

    Args:
        probability: Shape (H, W), float32.
        threshold: Of the mask.
        min_area_px: Smaller regions are none.
        floor: Of the weak regions; nothing where it is not below the threshold.

    >>> probability = np.array([[0.9, 0.1, 0.0, 0.2, 0.0, 0.01]], np.float32)
    >>> shown, weak = split_regions(probability, 0.5)
    >>> [region.box for region in shown], [region.box for region in weak]
    ([(0, 0, 1, 1)], [(3, 0, 1, 1)])
    """
    mask = without_small(probability >= threshold, min_area_px)
    shown = find_regions(mask, probability)
    if floor >= threshold or not (probability.max() >= floor):
        return shown, []
    lower = without_small(probability >= floor, min_area_px)
    num_labels, labels = cv2.connectedComponents(lower.view(np.uint8), connectivity=8)
    is_weak = np.ones(num_labels, bool)
    is_weak[0] = False
    is_weak[np.unique(labels[mask])] = False
    return shown, find_regions(np.asarray(is_weak[labels]), probability) if is_weak.any() else []
