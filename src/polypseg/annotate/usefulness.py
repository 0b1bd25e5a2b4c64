"""Which frames to label first: those that the model doubts, and that do not look like what is labelled already.

    usefulness = (doubt + 0.1) · min(1, d / D)

d is the distance to the nearest frame that is labelled or comes before, D the median distance between frames. The most
useful frame is taken, then the next, so that near-duplicates of one doubtful frame do not come one after another.

Reference:
    Sener, Savarese, "Active Learning for Convolutional Neural Networks: A Core-Set Approach", ICLR 2018 (the greedy
    k-centre that this is without doubt).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SURE = 0.1
"""What a frame without doubt counts: where no frame is doubtful, the order is by looks alone."""

NUM_ORDERED = 200
"""So many frames are put in order one by one; the rest by their usefulness after these."""

NUM_FOR_SCALE = 300
"""The median distance is that of so many frames, spread over all."""


def useful_order(
    doubts: Sequence[float], looks: NDArray[np.float32], is_labelled: Sequence[bool], num_ordered: int = NUM_ORDERED
) -> list[int]:
    """The places of the frames that are not labelled, the most useful first.

    Args:
        doubts: Of each frame, 0 (sure) to 1.
        looks: Shape (N, K): a vector that tells what a frame looks like.
        is_labelled: Whether a frame is labelled already.
        num_ordered: As `NUM_ORDERED`.

    >>> looks = np.array([[0.0], [0.1], [1.0]], np.float32)
    >>> useful_order([0.9, 0.8, 0.5], looks, [False, False, False])  # the second looks like the first
    [0, 2, 1]
    """
    worth = np.asarray(doubts, np.float64) + SURE
    labelled = np.asarray(is_labelled, bool)
    nearest = np.full(len(worth), np.inf)
    for seen in np.flatnonzero(labelled):
        nearest = np.minimum(nearest, _distances(looks, looks[seen]))
    scale = _median_distance(looks)
    left = ~labelled
    order: list[int] = []
    while left.any() and len(order) < num_ordered:
        place = int(np.argmax(np.where(left, _usefulness(worth, nearest, scale), -1.0)))
        order.append(place)
        left[place] = False
        nearest = np.minimum(nearest, _distances(looks, looks[place]))
    rest = np.flatnonzero(left)
    usefulness = _usefulness(worth, nearest, scale)[rest]
    return [*order, *map(int, rest[np.argsort(-usefulness, kind="stable")])]


def _usefulness(worth: NDArray[np.float64], nearest: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    return worth * np.minimum(1.0, nearest / scale)


def _distances(looks: NDArray[np.float32], one: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(np.sqrt(np.square(looks - one).sum(axis=1, dtype=np.float64)))


def _median_distance(looks: NDArray[np.float32]) -> float:
    """Half of the pairs are further apart than this; 1 where all frames look alike."""
    chosen = looks[np.linspace(0, len(looks) - 1, min(len(looks), NUM_FOR_SCALE)).astype(int)] if len(looks) else looks
    apart = np.concatenate([_distances(chosen[place + 1 :], one) for place, one in enumerate(chosen)] or [np.zeros(0)])
    apart = apart[apart > 0]
    return float(np.median(apart)) if apart.size else 1.0
