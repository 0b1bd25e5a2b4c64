"""Seconds by stage of the way from an image file to its mask, and what they say: percentiles, shares, verdicts.

Decisions:
- The stages are those of `Predictor.predict_file`, called one by one; their sum is the end-to-end time.
- An engine answers with NumPy arrays in memory. A GPU has finished by then, so that no clock stops too early.
- A verdict is of the slow frames (the 95th percentile): a median that fits drops half of the frames.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np

from polypseg.arrays import Mask
from polypseg.predict.predictor import Predictor, without_small
from polypseg.preprocess import decode_image, put_back, to_mask

STAGES = ("read", "decode", "resize", "infer", "resize back", "threshold")
"""In their order; `resize` normalises too."""

AROUND = ("decode", "resize", "resize back")
"""What handling pixels costs around the model."""

LIMITS = {"25 frames a second": 40.0, "a delay of 120 ms": 120.0}
"""What a verdict is of: milliseconds by name."""

Clock = Callable[[], float]


class Percentiles(NamedTuple):
    """Milliseconds, interpolated linearly between two measurements."""

    p50: float
    p95: float
    p99: float


class Verdict(NamedTuple):
    """Whether a limit is kept.

    Attributes:
        name: Of the limit.
        limit_ms: Its milliseconds.
        answer: `reached` (95 of 100 keep it), `at the median only`, or `missed`.
    """

    name: str
    limit_ms: float
    answer: str


@dataclass(frozen=True)
class Timings:
    """What was measured of one engine.

    Attributes:
        batch_size: Images that the model sees at once.
        seconds: By stage, one value per run of one batch.
    """

    batch_size: int
    seconds: dict[str, list[float]]

    @property
    def end_to_end(self) -> list[float]:
        """Seconds of each run over all its stages."""
        return [sum(run) for run in zip(*self.seconds.values(), strict=True)]

    @property
    def images_per_second(self) -> float:
        """Images over the time of all runs."""
        total = self.end_to_end
        return self.batch_size * len(total) / sum(total)

    @property
    def share_around(self) -> float:
        """Share of decoding, resizing and resizing back in the time of all runs, in [0, 1]."""
        return sum(self.share(stage) for stage in AROUND)

    def share(self, stage: str) -> float:
        """Share of a stage in the time of all runs, in [0, 1]."""
        return sum(self.seconds[stage]) / sum(self.end_to_end)


def percentiles(seconds: Sequence[float]) -> Percentiles:
    """The 50th, 95th and 99th percentile, in milliseconds.

    >>> percentiles([0.001, 0.002, 0.003])[0]
    2.0
    """
    return Percentiles(*(round(float(value), 6) for value in 1000 * np.percentile(seconds, (50, 95, 99))))


def verdicts(found: Percentiles) -> list[Verdict]:
    """Whether each of `LIMITS` is kept.

    >>> [verdict.answer for verdict in verdicts(Percentiles(39, 60, 80))]
    ['at the median only', 'reached']
    """
    return [Verdict(name, limit, _answer(found, limit)) for name, limit in LIMITS.items()]


def time_runs(
    predictor: Predictor,
    paths: Sequence[Path],
    num_runs: int,
    batch_size: int = 1,
    warm_up: int = 0,
    clock: Clock = perf_counter,
) -> Timings:
    """Seconds by stage of `num_runs` batches, taken in turn from the images.

    Args:
        predictor: The model.
        paths: Image files.
        num_runs: Measured runs, at least 1.
        batch_size: Images of a run.
        warm_up: Runs before them that are not counted.
        clock: Seconds.
    """
    seconds: dict[str, list[float]] = {stage: [] for stage in STAGES}
    for number in range(-warm_up, num_runs):
        first = (number + warm_up) * batch_size
        batch = [paths[(first + place) % len(paths)] for place in range(batch_size)]
        marks, _ = stages_of(predictor, batch, clock)
        if number >= 0:
            for stage, began, ended in zip(STAGES, marks, marks[1:], strict=False):
                seconds[stage].append(ended - began)
    return Timings(batch_size, seconds)


def stages_of(predictor: Predictor, paths: Sequence[Path], clock: Clock) -> tuple[list[float], list[Mask]]:
    """The clock before the first stage and after each one, for the images of one batch; and their masks."""
    marks = [clock()]
    contents = [path.read_bytes() for path in paths]
    marks.append(clock())
    images = [decode_image(content, str(path)) for content, path in zip(contents, paths, strict=True)]
    marks.append(clock())
    prepared = [predictor.prepare(image) for image in images]
    marks.append(clock())
    outputs = predictor.run([each.pixels for each in prepared])
    marks.append(clock())
    probabilities = [
        put_back(outputs.probabilities[n, ..., 0], each.field, image.shape)
        for n, (image, each) in enumerate(zip(images, prepared, strict=True))
    ]
    marks.append(clock())
    masks = [to_mask(probability, predictor.threshold, predictor.peak_threshold) for probability in probabilities]
    masks = [without_small(mask, predictor.options.min_area_px) for mask in masks]
    marks.append(clock())
    return marks, masks


def _answer(found: Percentiles, limit_ms: float) -> str:
    if found.p95 <= limit_ms:
        return "reached"
    return "at the median only" if found.p50 <= limit_ms else "missed"
