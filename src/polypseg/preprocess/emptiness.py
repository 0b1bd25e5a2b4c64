"""Pictures that show nothing are refused: black, of one colour, or of values that were not scaled.

Decisions:
- Such a picture is a fault: a model would find "no polyp" in it. The
  limits are far from frames: of 4,540 real ones the darkest reaches 151 of 255 at its 99.9th percentile, and the
  flattest has a standard deviation of 16 levels, so that even a frame at an eighth of its light is read; 12-bit values
  in a 16-bit file end at 15 of 255.
"""

import math

import numpy as np
from numpy.typing import NDArray

from polypseg.arrays import Image
from polypseg.errors import ImageError

DARK, DEEP_DARK = 16, 66
"""A frame has pixels of this level (of 255); one from a 16-bit file of the other, or its values are not scaled."""

FLAT = 3
"""A frame's levels spread further than this."""

LIT_SHARE = 0.001
"""So many of its pixels must reach the level: a few hot pixels, or a letter in a corner, are no frame."""

SMALLEST_FRAME = 1024
"""Pixels (32x32); a smaller picture may be black or of one colour: it is no frame, but an icon or a test's."""


def checked_frame(image: Image, name: str, is_deep: bool) -> Image:
    """The image, if there is something to be seen in it.

    Args:
        image: Shape (H, W, 3), uint8.
        name: For messages.
        is_deep: Whether it is from a file of more than 8 bits.

    Raises:
        ImageError: It is (nearly) black, or of one colour.
    """
    fault = empty_reason(image, is_deep)
    if fault:
        raise ImageError(f"{name}: {fault}")
    return image


def empty_reason(image: Image, is_deep: bool = False) -> str:
    """Why there is nothing to be seen in an image; empty where there is.

    Args:
        image: Shape (H, W, 3), uint8.
        is_deep: Whether it is from a file of more than 8 bits.
    """
    height, width = image.shape[:2]
    if height * width < SMALLEST_FRAME:
        return ""
    step = max(1, math.isqrt(height * width // 10_000))
    seen = image[::step, ::step]
    limit = DEEP_DARK if is_deep else DARK
    low, high = _range(seen[..., 1])
    if high >= limit and high - low > FLAT:
        return ""  # nearly every frame
    brightest = _range(np.maximum(np.maximum(seen[..., 0], seen[..., 1]), seen[..., 2]))[1]
    if brightest < limit:
        why = "; a 16-bit file with 10- or 12-bit values? Scale them, white being 65535" if is_deep else ""
        return f"(nearly) black, hardly a pixel is brighter than {brightest} of 255{why}"
    if all(high - low <= FLAT for low, high in (_range(seen[..., channel]) for channel in range(3))):
        return f"of one colour, {tuple(image[0, 0].tolist())}; expected an image that shows something"
    return ""


def _range(levels: NDArray[np.uint8]) -> tuple[int, int]:
    """The lowest and the highest level but for the shares of pixels that do not count."""
    counts = np.cumsum(np.bincount(levels.ravel(), minlength=256))
    low, high = np.searchsorted(counts, (LIT_SHARE * counts[-1], (1 - LIT_SHARE) * counts[-1]))
    return int(low), int(high)
