"""Calibration pixel by pixel, in exact fractions where a bin's edge decides."""

from fractions import Fraction

import numpy as np


def bins(levels: np.ndarray, reference: np.ndarray, num_bins: int) -> list[list[tuple[float, bool]]]:
    """For each bin ((m-1)/M, m/M] its pixels as (probability, polyp or not); 0 falls into the first."""
    filled: list[list[tuple[float, bool]]] = [[] for _ in range(num_bins)]
    for level, polyp in zip(levels.ravel().tolist(), reference.ravel().tolist(), strict=True):
        probability = Fraction(level, 255)
        for number in range(num_bins):
            if probability <= Fraction(number + 1, num_bins):
                filled[number].append((level / 255, polyp))
                break
    return filled


def expected_calibration_error(levels: np.ndarray, reference: np.ndarray, num_bins: int) -> float:
    total = 0.0
    for pixels in bins(levels, reference, num_bins):
        if pixels:
            share = sum(polyp for _, polyp in pixels) / len(pixels)
            mean = sum(probability for probability, _ in pixels) / len(pixels)
            total += abs(share - mean) * len(pixels) / levels.size
    return total
