"""Frames made to look otherwise, always in the same way: for judging what a model bears, never for training.

    for name, perturbation in PERTURBATIONS.items():
        squares = [perturbation.image(square) for square in squares]

Validation frames come from the endoscopes of the training frames. Blurred, darkened, nearer or further away, they stand
in for frames of others.

Decisions:
- Nothing is drawn at random: two models are judged on the same frames, and a threshold chosen twice is the same.
- Lengths are shares of the side: a frame of any size, and its mask at another size, change alike.

Reference:
    Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations",
    ICLR 2019.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import cv2
import numpy as np

from polypseg.arrays import Image, Mask


class Perturbation(NamedTuple):
    """One way of changing a frame.

    Attributes:
        image: Changes a frame, (H, W, 3) uint8.
        mask: Changes its mask, (H, W) bool, as the frame's geometry is changed.
    """

    image: Callable[[Image], Image]
    mask: Callable[[Mask], Mask] = lambda mask: mask


def coloured(image: Image, hue_degrees: float = 0, saturation: float = 1, value: float = 1) -> Image:
    """The hue turned, saturation and brightness scaled.

    >>> coloured(np.full((1, 1, 3), (200, 0, 0), np.uint8), hue_degrees=120, value=0.5)[0, 0].tolist()
    [0, 100, 0]
    """
    parts = cv2.cvtColor(image, cv2.COLOR_RGB2HSV).astype(np.float32)
    parts[..., 0] = (parts[..., 0] + hue_degrees / 2) % 180
    parts[..., 1:] *= (saturation, value)
    return np.asarray(cv2.cvtColor(np.clip(parts, 0, 255).astype(np.uint8), cv2.COLOR_HSV2RGB), np.uint8)


def blurred(image: Image, sigma: float) -> Image:
    """Out of focus: a Gaussian of `sigma`, a share of the shorter side."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma * min(image.shape[:2])), np.uint8)


def scaled(image: Image, factor: float) -> Image:
    """Nearer or further away, about the centre; what comes in from outside the frame is black."""
    return np.asarray(_scaled(image, factor, cv2.INTER_LINEAR), np.uint8)


def scaled_mask(mask: Mask, factor: float) -> Mask:
    """As `scaled`, to the nearest pixel.

    >>> scaled_mask(np.array([[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]], bool), 2).all()
    np.True_
    """
    return np.asarray(_scaled(mask.astype(np.uint8), factor, cv2.INTER_NEAREST) > 0)


def _scaled(pixels: np.ndarray, factor: float, interpolation: int) -> np.ndarray:
    height, width = pixels.shape[:2]
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    matrix = np.column_stack([factor * np.eye(2), (1 - factor) * centre])
    return np.asarray(cv2.warpAffine(pixels, matrix, (width, height), flags=interpolation))


def _geometric(factor: float) -> Perturbation:
    return Perturbation(partial(scaled, factor=factor), partial(scaled_mask, factor=factor))


PLAIN = "as it is"
"""The name of the perturbation that changes nothing."""

AS_IT_IS = Perturbation(lambda image: image)

UNPERTURBED: Mapping[str, Perturbation] = {PLAIN: AS_IT_IS}
"""The frames as they are, alone."""

PERTURBATIONS: Mapping[str, Perturbation] = {
    **UNPERTURBED,
    "hue +12 degrees": Perturbation(partial(coloured, hue_degrees=12)),
    "hue -12 degrees": Perturbation(partial(coloured, hue_degrees=-12)),
    "saturation x 0.6": Perturbation(partial(coloured, saturation=0.6)),
    "brightness x 0.6": Perturbation(partial(coloured, value=0.6)),
    "blur, sigma 1/128 of the side": Perturbation(partial(blurred, sigma=1 / 128)),
    "shrunk x 0.65": _geometric(0.65),
    "enlarged x 1.5": _geometric(1.5),
}
"""By name; the first changes nothing."""
