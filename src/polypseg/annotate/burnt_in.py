"""Lines of text that were drawn into a frame: found, so that a person looks at them.

Decisions:
- A letter is a thin, bright stroke on something darker (white top-hat in any channel). Several of one height in a row
  are text; a highlight of mucosa is neither thin nor one of a row.
- This is a warning, no proof: what is blanked does not depend on it. Dark text, a single letter and handwriting are not
  found.
"""

from typing import NamedTuple

import cv2
import numpy as np

from polypseg.arrays import Image, Mask

LETTERS_IN_LINE = 4
"""Fewer letters in a row are no text."""

CONTRAST = 70
"""How much brighter, in levels, a stroke is than its surroundings."""

SMALLEST_PX = 5
"""Lower letters cannot be read."""

TALLEST = 0.08
"""A higher letter is none, as a share of the frame's height."""


MOST_WIDE = 2.2
"""Two letters may touch: the width of a piece over its height."""

LARGEST_GAP = 2.5
"""Between two pieces of a line, over their height: a space, or a letter that was not found."""


class TextLine(NamedTuple):
    """A line of text, as a box in pixels.

    Attributes:
        top: First row.
        left: First column.
        height: Rows.
        width: Columns.
    """

    top: int
    left: int
    height: int
    width: int


def find_text(image: Image) -> list[TextLine]:
    """The lines of bright text of a frame (H, W, 3) uint8, from the top."""
    tallest = max(SMALLEST_PX + 1, round(TALLEST * image.shape[0]))
    element = cv2.getStructuringElement(cv2.MORPH_RECT, (max(3, tallest // 4), max(3, tallest // 4)))
    strokes = (cv2.morphologyEx(image, cv2.MORPH_TOPHAT, element).max(axis=2) >= CONTRAST).astype(np.uint8)
    _, _, statistics, _ = cv2.connectedComponentsWithStats(strokes, connectivity=8)
    letters = [
        (left, top, width, height)
        for left, top, width, height, area in statistics[1:].tolist()
        if SMALLEST_PX <= height <= tallest and width <= MOST_WIDE * height and area >= 0.15 * width * height
    ]
    return _lines(sorted(letters))


def reaches_into(line: TextLine, kept: Mask) -> bool:
    """Whether text lies in what is kept of a frame, wholly or in part."""
    box = kept[line.top : line.top + line.height, line.left : line.left + line.width]
    return bool(box.any())


def _lines(letters: list[tuple[int, int, int, int]]) -> list[TextLine]:
    """Letters, from left to right, put together where they stand in a row."""
    lines: list[list[tuple[int, int, int, int]]] = []
    for letter in letters:
        home = next((line for line in lines if _continues(line, letter)), None)
        if home is None:
            lines.append([letter])
        else:
            home.append(letter)
    found = []
    for line in lines:
        if len(line) >= LETTERS_IN_LINE:
            left, top = min(item[0] for item in line), min(item[1] for item in line)
            right, bottom = max(item[0] + item[2] for item in line), max(item[1] + item[3] for item in line)
            found.append(TextLine(top, left, bottom - top, right - left))
    return sorted(found)


def _continues(line: list[tuple[int, int, int, int]], letter: tuple[int, int, int, int]) -> bool:
    """Whether a letter stands behind the last one of a line: as high, at the same height, near."""
    left, top, width, height = line[-1]
    tallest, lowest = max(height, letter[3]), min(height, letter[3])
    if lowest < 0.55 * tallest or letter[0] - (left + width) > LARGEST_GAP * tallest or letter[0] < left + 0.3 * width:
        return False
    bottoms = abs((top + height) - (letter[1] + letter[3])), abs(top - letter[1])
    return min(bottoms) <= 0.25 * tallest
