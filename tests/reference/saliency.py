"""The PraNet protocol as its papers write it: one threshold after the other, one pixel after the other."""

import math

import numpy as np
from scipy.ndimage import correlate

EPS = 2.0**-52


def stretched(levels: np.ndarray) -> np.ndarray:
    values = levels / 255
    low, high = values.min(), values.max()
    return values if low == high else (values - low) / (high - low)


def dice_curve(values: np.ndarray, reference: np.ndarray) -> list[float]:
    scores = []
    for level in range(256):
        predicted = np.floor(values * 255) >= level
        both = (predicted & reference).sum()
        scores.append(2 * both / (predicted.sum() + reference.sum()) if both else 0.0)
    return scores


def e_measure_curve(values: np.ndarray, reference: np.ndarray) -> list[float]:
    scores = []
    for level in range(256):
        predicted = (np.floor(values * 255) >= level).astype(float)
        if not reference.any():
            enhanced = 1 - predicted
        elif reference.all():
            enhanced = predicted
        else:
            first, second = predicted - predicted.mean(), reference - reference.mean()
            enhanced = (2 * first * second / (first**2 + second**2 + EPS) + 1) ** 2 / 4
        scores.append(enhanced.sum() / (reference.size - 1 + EPS))
    return scores


def weighted_f(values: np.ndarray, reference: np.ndarray) -> float:
    """Every background pixel looks for its nearest polyp pixel among all of them."""
    error = np.abs(values - reference)
    polyp = [(int(row), int(column)) for row, column in np.argwhere(reference)]
    spread, importance = error.copy(), np.ones_like(error)
    for row in range(error.shape[0]):
        for column in range(error.shape[1]):
            if not reference[row, column]:
                nearest = min(polyp, key=lambda pixel: (math.dist(pixel, (row, column)), pixel[1], pixel[0]))
                spread[row, column] = error[nearest]
                importance[row, column] = 2 - math.exp(math.log(0.5) / 5 * math.dist(nearest, (row, column)))
    places = np.arange(-3, 4)
    window = np.exp(-(places[:, None] ** 2 + places[None, :] ** 2) / (2 * 5**2))
    around = correlate(spread, window / window.sum(), mode="constant")
    weighted = np.where(reference, np.minimum(error, around), error) * importance
    found = reference.sum() - weighted[reference].sum()
    recall = 1 - weighted[reference].mean()
    precision = found / (found + weighted[~reference].sum() + EPS)
    return float(2 * recall * precision / (recall + precision + EPS))
