"""The overlap metrics pixel by pixel."""

from collections.abc import Iterator

import numpy as np


def pixels(first: np.ndarray, second: np.ndarray) -> Iterator[tuple[bool, bool]]:
    for row in range(first.shape[0]):
        for column in range(first.shape[1]):
            yield bool(first[row, column]), bool(second[row, column])


def counts(predicted: np.ndarray, reference: np.ndarray) -> tuple[int, int, int, int]:
    """True positive, false positive, false negative, true negative."""
    pairs = list(pixels(predicted, reference))
    return (
        pairs.count((True, True)),
        pairs.count((True, False)),
        pairs.count((False, True)),
        pairs.count((False, False)),
    )


def mean_absolute_error(probability: np.ndarray, reference: np.ndarray) -> float:
    total = 0.0
    for row in range(probability.shape[0]):
        for column in range(probability.shape[1]):
            total += abs(float(probability[row, column]) - float(reference[row, column]))
    return total / probability.size


def soft_dice(probability: np.ndarray, reference: np.ndarray) -> float:
    both = total = 0.0
    for row in range(probability.shape[0]):
        for column in range(probability.shape[1]):
            both += float(probability[row, column]) * float(reference[row, column])
            total += float(probability[row, column]) + float(reference[row, column])
    return 2 * both / total if total else 1.0
