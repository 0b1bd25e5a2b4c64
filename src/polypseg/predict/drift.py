"""Whether new frames are of the kind that a calibration was made on: a comparison of plain statistics.

A promise (`explain.conformal`) holds for frames like the calibration frames. What a frame looks like and how the model
answers is put into seven numbers; their distributions over the new and the calibration frames are compared by the
Kolmogorov-Smirnov distance. The distance that counts as large is found by drawing units of the calibration frames with
replacement, once as many as the new frames make, once as many as there are.

Decisions:
- All but the mask's area is taken from what the model saw and said, whatever the size of the frame: two passes over a
  4K frame would cost a third of its prediction.
- Frames of a unit are alike. How many units the new frames are is not known: they are taken for as many as calibration
  frames of that number would be. A single video can therefore look strange although its hospital is not.
- A warning is given where one of the statistics has a p-value below 0.05, divided by their number. Silence proves
  nothing: a change that these numbers do not show goes unseen.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from polypseg.arrays import Probability
from polypseg.records.calibration import Calibration

STATISTICS = ("brightness", "contrast", "redness", "sharpness", "largest probability", "area share", "softness")
SIGNIFICANCE = 0.05
_SIDE = 128
_NUM_DRAWS, _NUM_EDGES = 2000, 64
_LOW, _HIGH = np.float32(0.1), np.float32(0.9)
_GREY_STEP = 1 / 255


class Drift(NamedTuple):
    """How new frames differ from the calibration frames.

    Attributes:
        distances: By name of a statistic the Kolmogorov-Smirnov distance, 0 to 1.
        p_values: By name how often frames of the same kind differ as much.
    """

    distances: dict[str, float]
    p_values: dict[str, float]

    @property
    def strange(self) -> list[str]:
        """The names of the statistics that differ more than chance explains."""
        return [name for name, value in self.p_values.items() if value < SIGNIFICANCE / len(self.p_values)]

    @property
    def warning(self) -> str:
        """What a user should know; empty where nothing differs."""
        if not self.strange:
            return ""
        shown = ", ".join(f"{name} (distance {self.distances[name]:.2f})" for name in self.strange)
        return (
            f"these frames differ from the calibration frames in {shown}: what the calibration promises may not hold "
            "here; calibrate on frames like these"
        )


def frame_statistics(pixels: NDArray[np.float32], probability: Probability, area_share: float) -> dict[str, float]:
    """The statistics of one frame, by the names of `STATISTICS`.

    Args:
        pixels: What the model saw, shape (size, size, 3), float32 RGB in [0, 1].
        probability: What it says of that, at the same size, before any recalibration.
        area_share: The mask's pixels over those of the frame.

    >>> pixels, probability = np.full((4, 4, 3), 0.2, np.float32), np.zeros((4, 4), np.float32)
    >>> found = frame_statistics(pixels, probability, 0.0)
    >>> found["brightness"], round(found["redness"], 4), found["area share"], found["softness"]
    (0.2, 0.3333, 0.0, 0.0)
    """
    seen = cv2.resize(pixels, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(seen, cv2.COLOR_RGB2GRAY)
    red, green, blue = cv2.mean(seen)[:3]
    deviation = float(grey.std())
    soft, sure = int(np.count_nonzero(probability >= _LOW)), int(np.count_nonzero(probability >= _HIGH))
    values = (
        float(grey.mean()),
        deviation,
        red / max(_GREY_STEP, red + green + blue),
        float(cv2.Laplacian(grey, cv2.CV_32F).std()) / max(_GREY_STEP, deviation),
        float(probability.max()),
        area_share,
        (soft - sure) / soft if soft else 0.0,
    )
    return {name: round(value, 6) for name, value in zip(STATISTICS, values, strict=True)}


def drift_of(calibration: Calibration, statistics: Mapping[str, Sequence[float]], seed: int = 0) -> Drift:
    """How frames differ from the calibration frames.

    Args:
        calibration: With the statistics of its frames.
        statistics: By name the value of each new frame; names that the calibration lacks are passed over.
        seed: Of the draws.
    """
    names = [name for name in calibration.statistics if name in statistics]
    num_new = len(statistics[names[0]]) if names else 0
    if not num_new:
        return Drift({}, {})
    units = np.asarray(calibration.units)
    frames = np.bincount(units)
    counts = np.empty((len(frames), len(names), _NUM_EDGES))
    new = np.empty((len(names), _NUM_EDGES))
    for place, name in enumerate(names):
        values = np.asarray(calibration.statistics[name])
        edges = np.quantile(np.concatenate([values, statistics[name]]), np.linspace(0, 1, _NUM_EDGES))
        for unit in range(len(frames)):
            counts[unit, place] = np.searchsorted(np.sort(values[units == unit]), edges, side="right")
        new[place] = np.searchsorted(np.sort(statistics[name]), edges, side="right") / num_new
    found = np.abs(new - counts.sum(axis=0) / frames.sum()).max(axis=1)
    num_units = max(1, round(num_new / frames.mean()))
    by_chance = _distances_by_chance(counts, frames, num_units, np.random.default_rng(seed))
    p_values = (1 + (by_chance >= found - 1e-12).sum(axis=0)) / (1 + len(by_chance))
    return Drift(dict(zip(names, found.tolist(), strict=True)), dict(zip(names, p_values.tolist(), strict=True)))


def _distances_by_chance(
    counts: NDArray[np.float64], frames: NDArray[np.intp], num_units: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Distances between two draws of units, shape (draws, statistics)."""
    shares = np.full(len(frames), 1 / len(frames))

    def drawn(number: int) -> NDArray[np.float64]:
        times = rng.multinomial(number, shares, size=_NUM_DRAWS).astype(np.float64)
        whole = np.tensordot(times, counts, axes=1)
        return np.asarray(whole / (times @ frames)[:, np.newaxis, np.newaxis])

    return np.asarray(np.abs(drawn(num_units) - drawn(len(frames))).max(axis=2))
