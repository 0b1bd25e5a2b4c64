"""Reading a mask: which values of a file mean polyp.

Decisions:
- A mask is thresholded before any resize.
- A file that is not black and white is refused with what was found in it.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from polypseg.arrays import MASK_THRESHOLD, Mask
from polypseg.errors import ImageError
from polypseg.preprocess.reading import MAX_PIXELS, decode_upright, file_content

MAX_GREY_SHARE = 0.02
"""A mask may have so many pixels of middling grey (64..191). Kvasir-SEG's have none, CVC-ClinicDB's at most 0.00017."""


def read_grey(path: Path | str, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """A mask or an 8-bit probability map as it is stored, upright, not thresholded.

    Returns:
        Shape (H, W), uint8.

    Raises:
        ImageError: As `read_image`.
    """
    return np.asarray(decode_upright(file_content(Path(path)), str(path), max_pixels).convert("L"))


def read_mask(path: Path | str, max_pixels: int = MAX_PIXELS) -> Mask:
    """The mask, upright, True where the file is brighter than 127.

    Returns:
        Shape (H, W), bool.

    Raises:
        ImageError: As `read_image`; or not two-valued: many grey levels, or nothing brighter than 127
            although not black (a 0/1 mask, a label map).
    """
    grey = read_grey(path, max_pixels)
    problem = mask_problem(grey)
    if problem:
        raise ImageError(f"{path}: {problem}")
    return grey > MASK_THRESHOLD


def mask_problem(grey: NDArray[np.uint8]) -> str | None:
    """What keeps a grey image (H, W) uint8 from being a mask, or None.

    >>> mask_problem(np.array([[0, 255]], np.uint8)) is None
    True
    >>> mask_problem(np.array([[0, 1]], np.uint8))
    'the mask is not black, yet nothing in it is brighter than 127 (its largest value is 1); expected 0 and 255: multiply it by 255'
    """  # noqa: E501
    brightest = int(grey.max())
    if 0 < brightest <= MASK_THRESHOLD:
        mend = f"multiply it by {255 // brightest}" if brightest <= 2 else "store it as black and white"
        return (
            f"the mask is not black, yet nothing in it is brighter than {MASK_THRESHOLD} "
            f"(its largest value is {brightest}); expected 0 and 255: {mend}"
        )
    middling = float(np.mean((grey >= 64) & (grey <= 191)))
    if middling > MAX_GREY_SHARE:
        return (
            f"the mask has {np.unique(grey).size} grey levels, {100 * middling:.0f} % of its pixels between 64 and 191;"
            " expected black and white: threshold it first"
        )
    return None
