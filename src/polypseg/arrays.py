"""What an image, a mask and a probability map are, and the checks at every public border.

image        (H, W, 3) uint8, RGB
mask         (H, W) bool, True where there is a polyp
probability  (H, W) float32 in [0, 1]

NumPy only: nothing here reads a file or knows a framework. Axes are (row, column).
"""

from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from polypseg.errors import DataError

Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Probability = NDArray[np.float32]

MASK_THRESHOLD = 127
"""An 8-bit mask is polyp where its value is greater than this (Kvasir-SEG, PraNet)."""


def check_image(image: Any, name: str = "image") -> Image:
    """The image itself, once it is known to be (H, W, 3) uint8.

    Raises:
        DataError: Another shape or dtype, or a path or a picture of Pillow's instead of an array.
    """
    if isinstance(image, str | PathLike):
        raise DataError(
            f"{name}: expected (H, W, 3) uint8 RGB, found the path {str(image)!r}; predict a file with "
            "predict_file(path), or read it first with polypseg.preprocess.read_image(path)"
        )
    array = np.asarray(image)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8 or 0 in array.shape:
        raise DataError(
            f"{name}: expected (H, W, 3) uint8 RGB, found {array.shape} {array.dtype}; "
            "convert floats with (255 * image).round().astype('uint8')"
        )
    if not hasattr(image, "shape"):
        kind = f"{type(image).__module__}.{type(image).__name__}"
        raise DataError(f"{name}: expected an array (H, W, 3) uint8 RGB, found {kind}; give numpy.asarray(image)")
    return array


def check_mask(mask: Any, name: str = "mask") -> Mask:
    """The mask itself, once it is known to be (H, W) bool.

    Raises:
        DataError: Another shape or dtype; a 0/255 mask is not guessed at.
    """
    array = np.asarray(mask)
    if array.ndim != 2 or array.dtype != np.bool_ or 0 in array.shape:
        raise DataError(f"{name}: expected (H, W) bool, found {array.shape} {array.dtype}; compare first: mask > 127")
    return array


def check_probability(probability: Any, name: str = "probability") -> Probability:
    """The map as float32, once it is known to be (H, W), finite and within [0, 1].

    Raises:
        DataError: Another shape, not a float, NaN, or values outside [0, 1].
    """
    array = np.asarray(probability)
    if array.ndim != 2 or array.dtype.kind != "f" or 0 in array.shape:
        raise DataError(f"{name}: expected (H, W) float in [0, 1], found {array.shape} {array.dtype}")
    low, high = float(array.min()), float(array.max())
    if not (low >= 0.0 and high <= 1.0):  # written so that NaN fails
        raise DataError(f"{name}: expected values in [0, 1], found {low:g} to {high:g}; divide 8-bit maps by 255")
    return array.astype(np.float32, copy=False)


def check_same_shape(predicted: NDArray[Any], reference: NDArray[Any]) -> None:
    """Nothing, if both arrays have one shape.

    Raises:
        DataError: The shapes differ.
    """
    if predicted.shape != reference.shape:
        raise DataError(
            f"predicted has shape {predicted.shape}, reference {reference.shape}; "
            "resize the prediction to the reference's size first"
        )
