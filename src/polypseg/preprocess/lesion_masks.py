"""Masks of procedures: a grey level is the number of a lesion in its procedure, 0 is none."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from polypseg.errors import ImageError
from polypseg.preprocess.masks import read_grey

MOST_LESIONS = 50
"""A mask of more grey levels is no mask of lesions' numbers."""


def read_levels(path: Path) -> NDArray[np.uint8]:
    """A mask of lesions' numbers, (H, W) uint8; black and white alone is one lesion, number 255.

    Raises:
        ImageError: It cannot be read, or has more levels than there can be lesions.
    """
    levels = read_grey(path)
    present = np.count_nonzero(np.bincount(levels.ravel(), minlength=256)[1:])
    if present > MOST_LESIONS:
        raise ImageError(
            f"{path}: {present} grey levels; expected the number of a lesion at each pixel, 0 for none: save it as PNG"
        )
    return levels


def level_boxes(levels: NDArray[np.uint8]) -> list[tuple[int, tuple[float, ...], float]]:
    """Level, box and area in per cent of each lesion of a mask.

    >>> level_boxes(np.array([[0, 7, 7, 0], [0, 7, 0, 2]], np.uint8))
    [(2, (3.0, 1.0, 1.0, 1.0), 12.5), (7, (1.0, 0.0, 2.0, 2.0), 37.5)]
    """
    found: list[tuple[int, tuple[float, ...], float]] = []
    areas = np.bincount(levels.ravel(), minlength=256)
    for level in np.flatnonzero(areas[1:]) + 1:
        here = levels == level
        rows, columns = np.flatnonzero(here.any(axis=1)), np.flatnonzero(here.any(axis=0))
        x, y = float(columns[0]), float(rows[0])
        box = (x, y, float(columns[-1]) + 1 - x, float(rows[-1]) + 1 - y)
        found.append((int(level), box, 100 * int(areas[level]) / levels.size))
    return found


def lesion_name(procedure: str, level: int) -> str:
    """The name of a lesion of masks.

    >>> lesion_name("p1", 3)
    'p1:3'
    """
    return f"{procedure}:{level}"
