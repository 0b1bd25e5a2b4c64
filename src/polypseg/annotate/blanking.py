"""One frame, blanked, and what was found on the way."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from polypseg.annotate.burnt_in import TextLine, find_text, reaches_into
from polypseg.annotate.surround import blank, picture_shape
from polypseg.arrays import Image, Mask
from polypseg.errors import ImageError
from polypseg.preprocess.field import surround_of

MARGIN_ABOVE, MARGIN_BESIDE = 0.3, 2.0
"""How far around a line of text is blanked, as a share of its height: letters at its ends may not have been found."""


class Blanked(NamedTuple):
    """A frame that was blanked.

    Attributes:
        image: Shape (H, W, 3), uint8.
        kept: The pixels (H, W) bool that were kept.
        bright_px: How many of the blanked pixels were not surround: text, panels.
        text_blanked: Lines of text that are blanked wholly.
        text_left: Lines of text that are left, wholly or in part.
    """

    image: Image
    kept: Mask
    bright_px: int
    text_blanked: int
    text_left: int


def blank_frame(image: Image, blank_text: bool = False, shape: Mask | None = None) -> Blanked:
    """The frame, black where it shows no picture.

    Args:
        image: Shape (H, W, 3), uint8.
        blank_text: Also blank the lines of text that are found in the picture.
        shape: What is kept, of a video; None to find it in this frame.

    Raises:
        ImageError: The frame shows no picture.
    """
    kept = picture_shape(image) if shape is None else shape
    if kept is None:
        raise ImageError("no picture was found in it (a title page, a report?); it is not written")
    lines = find_text(image)
    left = [line for line in lines if reaches_into(line, kept)]
    if blank_text and left:
        kept = kept.copy()
        for line in left:
            kept[_around(line)] = False
    outside = ~kept
    bright = int(np.count_nonzero(outside & ~surround_of(image)))
    remaining = 0 if blank_text else len(left)
    return Blanked(blank(image, kept), kept, bright, len(lines) - remaining, remaining)


def worst(found: Sequence[Blanked]) -> tuple[int, int, int]:
    """Of several frames the most blanked pixels that were not surround, lines of text blanked, and lines left."""
    return (
        max(one.bright_px for one in found),
        max(one.text_blanked for one in found),
        max(one.text_left for one in found),
    )


def _around(line: TextLine) -> tuple[slice, slice]:
    above, beside = max(2, round(MARGIN_ABOVE * line.height)), round(MARGIN_BESIDE * line.height)
    return (
        slice(max(0, line.top - above), line.top + line.height + above),
        slice(max(0, line.left - beside), line.left + line.width + beside),
    )
