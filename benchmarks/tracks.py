"""Do polyps keep their numbers? Our tracks against ByteTrack's, on synthetic procedures with exact identities.

    pip install trackers motmetrics           # in an environment of their own if their pins clash
    python benchmarks/tracks.py

Each tracker gets the same boxes. They are those of the lesions in sight, spoilt as a detector would:

    whole       moved by 3 % of their size
    blinking    moved by 8 %; one in five frames without a box, as in blur
    hidden      moved by 8 %; 12 times a minute nothing is found for 0.2 to 0.9 seconds
    detector    hidden, one in ten frames without a box, and false boxes that last 0.1 to 1 second, 10 a minute

IDF1 is 1 where a track is one lesion and a lesion is one track. A switch is a lesion whose track is another one than
before. Both are given twice: by `polypseg.metrics.procedures.identity`, and by py-motmetrics; a box is right where it
shares any area with the lesion, for both. A lesion that is not in sight for more than a second may take a new number:
the column `long gaps` says how often that is so, and fewer switches are luck.

ByteTrack is that of Roboflow's `trackers` (Zhang et al., ECCV 2022). It runs with its own settings, and with settings
for one camera and few objects: a track begins with its first box, remembers a second, and continues with little
overlap.
"""

import argparse
import platform
import time
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from polypseg.data.procedure import ProcedureRequest, draw_procedure
from polypseg.metrics.procedures.identity import identity
from polypseg.metrics.procedures.tables import Procedures
from polypseg.predict.video.tracks import Tracker
from polypseg.preprocess.lesion_masks import level_boxes

Box = NDArray[np.float64]
"""x, y, width, height."""


class Spoiling(NamedTuple):
    """What a detector does to the boxes."""

    jitter: float
    missed: float = 0.0
    hidden_a_minute: float = 0.0
    false_a_minute: float = 0.0


SPOILINGS = {
    "whole": Spoiling(0.03),
    "blinking": Spoiling(0.08, missed=0.2),
    "hidden": Spoiling(0.08, hidden_a_minute=12),
    "detector": Spoiling(0.08, missed=0.1, hidden_a_minute=12, false_a_minute=10),
}


class Seen(NamedTuple):
    """A procedure: the lesions of each frame with their boxes, and what a detector finds."""

    sights: list[list[tuple[int, Box]]]
    found: list[list[tuple[Box, float]]]


Follow = Callable[[Sequence[Sequence[tuple[Box, float]]], float], list[list[int]]]
"""The track of each box of each frame, at frames a second; 0 for none."""


def spoil(sights: list[list[tuple[int, Box]]], how: Spoiling, rate: float, side: int, seed: int) -> Seen:
    """What a detector finds of a procedure."""
    rng, num = np.random.default_rng(seed), len(sights)
    hidden = np.zeros(num, bool)
    for _ in range(rng.poisson(how.hidden_a_minute * num / rate / 60)):
        begins = int(rng.integers(num))
        hidden[begins : begins + round(rng.uniform(0.2, 0.9) * rate)] = True
    false: list[list[tuple[Box, float]]] = [[] for _ in range(num)]
    for _ in range(rng.poisson(how.false_a_minute * num / rate / 60)):
        begins, size = int(rng.integers(num)), rng.uniform(0.08, 0.25) * side
        place, motion = rng.uniform(0, side - size, 2), rng.normal(0, 0.1 * side, 2) / rate
        for step, frame in enumerate(range(begins, min(num, begins + round(rng.uniform(0.1, 1.0) * rate)))):
            box = np.array([*(place + motion * step), size, size])
            false[frame].append((box, float(rng.uniform(0.3, 0.9))))
    found: list[list[tuple[Box, float]]] = []
    for frame, own in enumerate(sights):
        boxes = [] if hidden[frame] else [box for _, box in own if rng.random() >= how.missed]
        moved = [box + rng.normal(0, how.jitter, 4) * np.sqrt(box[2] * box[3]) for box in boxes]
        sized = [np.array([*box[:2], *np.maximum(box[2:], 1)]) for box in moved]
        found.append([*((box, float(rng.uniform(0.5, 1))) for box in sized), *false[frame]])
    return Seen(sights, found)


def ours(frames: Sequence[Sequence[tuple[Box, float]]], rate: float) -> list[list[int]]:
    """The numbers that `polypseg predict` gives."""
    tracker = Tracker()
    return [tracker.follow([box for box, _ in own], place / rate) for place, own in enumerate(frames)]


def bytetrack(**settings: Any) -> Follow:
    """ByteTrack with these settings."""
    import supervision
    from trackers import ByteTrackTracker

    def follow(frames: Sequence[Sequence[tuple[Box, float]]], rate: float) -> list[list[int]]:
        tracker = ByteTrackTracker(frame_rate=rate, **settings)
        numbers = []
        for own in frames:
            corners = [[*box[:2], *(box[:2] + box[2:])] for box, _ in own]
            detections = supervision.Detections(
                xyxy=np.array(corners, np.float64).reshape(-1, 4),
                confidence=np.array([score for _, score in own], np.float64),
                class_id=np.arange(len(own)),  # the order may change: each box carries its place
            )
            told = tracker.update(detections)
            here = [0] * len(own)
            for place, number in zip(told.class_id, told.tracker_id, strict=True):
                here[int(place)] = int(number) + 1 if number >= 0 else 0
            numbers.append(here)
        return numbers

    return follow


def facts(seen: Seen, numbers: list[list[int]], rate: float) -> tuple[Procedures, NDArray[np.int64]]:
    """The procedure in columns and the track of each tracked box."""
    names = sorted({lesion for own in seen.sights for lesion, _ in own})
    sights = [(frame, names.index(lesion)) for frame, own in enumerate(seen.sights) for lesion, _ in own]
    findings, tracks, meetings = [], [], []
    first = 0
    for frame, (own, here) in enumerate(zip(seen.found, numbers, strict=True)):
        for (box, _), number in zip(own, here, strict=True):
            if number:
                met = [place for place, (_, other) in enumerate(seen.sights[frame]) if _overlap(box, other)]
                meetings += [(len(findings), first + place) for place in met]
                findings.append(frame)
                tracks.append(number)
        first += len(seen.sights[frame])
    sight, met = (np.array(pairs, np.int64).reshape(-1, 2) for pairs in (sights, meetings))
    unknown = np.full(len(findings), np.nan)
    procedures = Procedures(
        ("p",),
        np.zeros(len(seen.sights), np.int64),
        np.arange(len(seen.sights)) / rate,
        tuple(map(str, names)),
        np.zeros(len(names), np.int64),
        sight[:, 0],
        sight[:, 1],
        np.full(len(sight), np.nan),
        np.array(findings, np.int64),
        np.ones(len(findings)),
        unknown,
        met[:, 0],
        met[:, 1],
    )
    return procedures, np.array(tracks, np.int64)


def by_motmetrics(seen: Seen, numbers: list[list[int]]) -> tuple[float, float, float]:
    """Sums of py-motmetrics: 2·IDTP, sights and tracked boxes, switches; boxes of one number in a frame count once."""
    import motmetrics

    accumulator = motmetrics.MOTAccumulator(auto_id=True)
    for own, boxes, here in zip(seen.sights, seen.found, numbers, strict=True):
        tracked = sorted({number for number in here if number})
        distances = np.full((len(own), len(tracked)), np.nan)
        for row, (_, other) in enumerate(own):
            for (box, _), number in zip(boxes, here, strict=True):
                if number and _overlap(box, other):
                    distances[row, tracked.index(number)] = 0.5
        accumulator.update([lesion for lesion, _ in own], tracked, distances)
    host = motmetrics.metrics.create()
    told = host.compute(accumulator, metrics=["idtp", "num_objects", "num_predictions", "num_switches"], name="all")
    idtp, objects, predictions, switches = told.loc["all"]
    return 2 * idtp, objects + predictions, switches


def long_gaps(seen: Seen, rate: float) -> int:
    """How often a lesion is not found for a second and more, and found again."""
    number = 0
    last: dict[int, int] = {}
    for frame, (own, boxes) in enumerate(zip(seen.sights, seen.found, strict=True)):
        for lesion, other in own:
            if any(_overlap(box, other) for box, _ in boxes):
                number += lesion in last and (frame - last[lesion]) / rate >= 1
                last[lesion] = frame
    return number


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--procedures", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=25.0)
    parser.add_argument("--side", type=int, default=96)
    parser.add_argument("--seed", type=int, default=5)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    request = ProcedureRequest(options.seconds, options.rate, options.side, num_lesions=4)
    drawn = []
    for number in range(1, options.procedures + 1):
        frames = draw_procedure(options.seed, number, request)
        drawn.append([[(level, np.array(box)) for level, box, _ in level_boxes(frame.numbers)] for frame in frames])
    trackers: dict[str, Follow] = {
        "polypseg": ours,
        "ByteTrack": bytetrack(),
        "ByteTrack, set for this": bytetrack(
            lost_track_buffer=30,
            track_activation_threshold=0.3,
            minimum_consecutive_frames=1,
            minimum_iou_threshold=0.01,
            high_conf_det_threshold=0.3,
        ),
    }
    packages = ", ".join(f"{name} {version(name)}" for name in ("trackers", "supervision", "motmetrics", "numpy"))
    print(f"{platform.machine()}, Python {platform.python_version()}, {packages}")
    print(
        f"{options.procedures} procedures of {options.seconds:g} s at {options.rate:g} frames/s, "
        f"{sum(len(own) for sights in drawn for own in sights)} sights"
    )
    print("boxes | tracker | IDF1 | IDF1, motmetrics | switches | switches, motmetrics | long gaps | ms a frame")
    for spoiling, how in SPOILINGS.items():
        made = [
            spoil(sights, how, options.rate, options.side, options.seed + place) for place, sights in enumerate(drawn)
        ]
        gaps = sum(long_gaps(seen, options.rate) for seen in made)
        for name, follow in trackers.items():
            print(" | ".join([spoiling, name, *_row(made, follow, options.rate, gaps)]), flush=True)


def _row(made: Sequence[Seen], follow: Follow, rate: float, gaps: int) -> list[str]:
    sums = np.zeros(3)
    others = np.zeros(3)
    seconds = 0.0
    for seen in made:
        began = time.process_time()
        numbers = follow(seen.found, rate)
        seconds += time.process_time() - began
        procedures, tracks = facts(seen, numbers, rate)
        known = identity(procedures, tracks)
        sums += 2 * known.num_agreeing, known.num_sights + known.num_tracked, known.num_switches
        others += by_motmetrics(seen, numbers)
    num_frames = sum(len(seen.found) for seen in made)
    cells = [f"{sums[0] / sums[1]:.3f}", f"{others[0] / others[1]:.3f}", f"{sums[2]:.0f}", f"{others[2]:.0f}"]
    return [*cells, str(gaps), f"{1000 * seconds / num_frames:.2f}"]


def _overlap(first: Box, second: Box) -> bool:
    low, high = np.maximum(first[:2], second[:2]), np.minimum(first[:2] + first[2:], second[:2] + second[2:])
    return bool(np.all(high > low))


if __name__ == "__main__":
    main()
