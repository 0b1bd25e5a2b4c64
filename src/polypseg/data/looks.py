"""Kinds of frames by their look: colour, light and sharpness, so that whole kinds can be held out.

A validation drawn at random holds frames as the training set has them: the same endoscope, the same light. Where frames
of one look stay on one side it holds others; whether that is harder, docs/explanation/experiments.md tells.

Decisions:
- A look is what the lit part has of colour, brightness and detail, wherever it lies: of small pictures of the frame
  the black panel in a corner made the kinds (Kvasir-SEG, 40 kinds, judged by eye). No mask is used.
- k-means is OpenCV's, with a seed of its own: the same images give the same kinds.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from polypseg.arrays import Image
from polypseg.data.fingerprints import lit_part
from polypseg.preprocess import read_image
from polypseg.progress import Track, silent

SIDE = 128
"""Side in pixels at which a frame is looked at."""
QUANTILES = (0.1, 0.5, 0.9)
"""Of each channel of CIELAB over the lit part."""
_TRIES = 10
_SEED = 0


def look(image: Image) -> NDArray[np.float32]:
    """The look of an image (H, W, 3) uint8, shape (10,).

    Three quantiles of each channel of CIELAB over the lit part, and the logarithm of the mean absolute Laplacian of its
    lightness, which is how sharp it is. An image without a lit part is looked at as a whole.
    """
    seen = np.asarray(cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)
    lab = np.asarray(cv2.cvtColor(seen.astype(np.float32) / 255, cv2.COLOR_RGB2LAB), np.float32)
    detail = np.abs(cv2.Laplacian(lab[..., 0], cv2.CV_32F))
    inside = cv2.erode(lit_part(seen).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    if not inside.any():
        inside = np.ones_like(inside)
    colours = np.quantile(lab[inside], QUANTILES, axis=0)
    return np.append(colours.ravel(), np.log(detail[inside].mean() + 0.1)).astype(np.float32)


def kinds_of_looks(images: Sequence[Path], num_kinds: int, track: Track = silent) -> list[int]:
    """The kind of each image file, from 0 to `num_kinds` - 1.

    Raises:
        ImageError: A file cannot be read.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = track(pool.map(lambda path: look(read_image(path)), images), "reading looks", len(images))
        return sorted_into_kinds(list(found), num_kinds)


def sorted_into_kinds(looks: Sequence[NDArray[np.float32]], num_kinds: int) -> list[int]:
    """The kind of each look, from 0 to `num_kinds` - 1; where there are fewer looks than kinds, each is its own.

    Args:
        looks: Each of shape (10,).
        num_kinds: At least 1.
    """
    if len(looks) <= num_kinds:
        return list(range(len(looks)))
    table = np.stack(looks)
    table = (table - table.mean(axis=0)) / (table.std(axis=0) + 1e-6)
    ends = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 100, 1e-3)
    cv2.setRNGSeed(_SEED)
    _, kinds, _ = cv2.kmeans(table, num_kinds, None, ends, _TRIES, cv2.KMEANS_PP_CENTERS)  # type: ignore[call-overload]
    return [int(kind) for kind in kinds.ravel()]
