"""Surface distances by comparing every border pixel with every other one."""

import math

import numpy as np


def border_pixels(mask: np.ndarray) -> list[tuple[int, int]]:
    height, width = mask.shape
    found = []
    for row in range(height):
        for column in range(width):
            if not mask[row, column]:
                continue
            for near_row, near_column in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
                inside = 0 <= near_row < height and 0 <= near_column < width
                if not inside or not mask[near_row, near_column]:
                    found.append((row, column))
                    break
    return found


def directed(first: np.ndarray, second: np.ndarray) -> list[float]:
    """From each border pixel of the first mask to the nearest one of the second."""
    others = border_pixels(second)
    return [min((math.dist(pixel, other) for other in others), default=math.inf) for pixel in border_pixels(first)]


def percentile_95(distances: list[float]) -> float:
    """By linear interpolation between the two values around it."""
    ordered = sorted(distances)
    place = 0.95 * (len(ordered) - 1)
    low, high = ordered[math.floor(place)], ordered[math.ceil(place)]
    return low + (high - low) * (place - math.floor(place))


def hausdorff_95(predicted: np.ndarray, reference: np.ndarray) -> float:
    return max(percentile_95(directed(predicted, reference)), percentile_95(directed(reference, predicted)))


def average(predicted: np.ndarray, reference: np.ndarray) -> float:
    distances = directed(predicted, reference) + directed(reference, predicted)
    return sum(distances) / len(distances)


def surface_dice(predicted: np.ndarray, reference: np.ndarray, tolerance: float) -> float:
    distances = directed(predicted, reference) + directed(reference, predicted)
    return sum(distance <= tolerance for distance in distances) / len(distances)
