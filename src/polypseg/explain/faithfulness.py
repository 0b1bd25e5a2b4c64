"""How faithful a map is to a model: pixels are taken away and given back in the map's order, and the answer is watched.

    deletion    the map's highest pixels are blurred first:   a faithful map makes the answer fall at once
    insertion   they are restored first to a blurred frame:   a faithful map brings the answer back at once

The answer is the mean probability over the mask of the whole frame, divided by its value there: 1 for the frame itself.
Each figure is the area under the curve of the answer against the share of pixels, by trapezoids.

Decisions:
- Pixels of one value are taken in random order: a constant map must be as good as a random one, not as its first row.
- What is taken away is blurred, not black: black patches are edges that no endoscope shows.

References:
    Petsiuk, Das, Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box Models", BMVC 2018, sec. 4.
    Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018 (rank correlation under random weights).
"""

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from polypseg.arrays import Mask

Pixels = NDArray[np.float32]
Map = NDArray[np.float32]
Run = Callable[[Pixels], NDArray[np.float32]]
"""A batch (N, size, size, 3) to probabilities (N, size, size, 1)."""


class Faithfulness(NamedTuple):
    """Of one map of one frame.

    Attributes:
        deletion: Lower is better.
        insertion: Higher is better.
    """

    deletion: float
    insertion: float


def energy_inside(values: Map, reference: Mask) -> float:
    """The share of a map's sum that lies in a mask; the mask's share of the area for a map of zeros.

    >>> energy_inside(np.array([[1.0, 3.0]], np.float32), np.array([[False, True]]))
    0.75
    """
    total = float(values.sum(dtype=np.float64))
    return float(values[reference].sum(dtype=np.float64)) / total if total > 0 else float(reference.mean())


def blurred_away(pixels: Pixels) -> Pixels:
    """A frame (size, size, 3) of which no detail is left: a Gaussian of a sixteenth of its side."""
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), pixels.shape[0] / 16), np.float32)


def faithfulness(
    run: Run, pixels: Pixels, mask: Mask, values: Map, rng: np.random.Generator, num_steps: int = 10
) -> Faithfulness:
    """How the answer changes while pixels go and come in the order of a map.

    Args:
        run: The model.
        pixels: Shape (size, size, 3), float32 in [0, 1].
        mask: What the model marks in them, shape (size, size), bool, not empty.
        values: The map, shape (size, size).
        rng: Orders pixels of one value.
        num_steps: In which all pixels go, at least 1.
    """
    order = np.lexsort((rng.permutation(values.size), -values.ravel()))
    rank = np.empty(values.size, np.intp)
    rank[order] = np.arange(values.size)
    bounds = np.round(np.linspace(0, values.size, num_steps + 1))
    gone = rank.reshape(values.shape) < bounds[:, np.newaxis, np.newaxis]
    blurred = blurred_away(pixels)
    whole = _answers(run, pixels[np.newaxis], mask)[0]
    curves = []
    for there, back in ((pixels, blurred), (blurred, pixels)):
        batch = np.where(gone[..., np.newaxis], back, there).astype(np.float32)
        answers = np.concatenate([_answers(run, step[np.newaxis], mask) for step in batch])
        curves.append(float(np.trapezoid(answers / max(whole, 1e-6), dx=1 / num_steps)))
    return Faithfulness(*curves)


def _answers(run: Run, batch: Pixels, mask: Mask) -> NDArray[np.float64]:
    return np.asarray(run(batch)[..., 0][:, mask].mean(axis=1, dtype=np.float64))


def rank_correlation(first: Map, second: Map) -> float:
    """Spearman's rank correlation of two maps of one shape, equal values sharing their mean rank; 0 for a constant.

    >>> round(rank_correlation(np.array([[1.0, 2, 3]], np.float32), np.array([[3.0, 2, 1]], np.float32)), 9)
    -1.0
    """
    ranks = [_mean_ranks(values.ravel()) for values in (first, second)]
    centred = [each - each.mean() for each in ranks]
    length = float(np.sqrt((centred[0] ** 2).sum() * (centred[1] ** 2).sum()))
    return float(centred[0] @ centred[1]) / length if length > 0 else 0.0


def _mean_ranks(values: NDArray[np.float32]) -> NDArray[np.float64]:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2)[places])
