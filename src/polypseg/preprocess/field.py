"""The lit field: where in a frame the endoscope's picture lies.

Endoscopes' pictures lie in black surrounds, beside panels and burnt-in text, or small in a captured screen. The model
sees the picture alone, and its answer is put back at the frame's own size.

Decisions:
- The field is an upright rectangle: the bounding box of the picture, whose corners may be cut off (octagons, circles).
- Surround is what is dark, what has the one colour of a side of the frame, and rectangles of one colour (panels).
  Strokes of text are thinner than the grid on which the field is searched, and go with an opening.
- The search runs on a grid of at most `GRID` points a side, so that it takes the same time at any size; the four edges
  are then found to the pixel.
- A frame without a picture (black, or of one colour) has no field: the caller takes the whole frame and says so.
- Nothing is snapped to the border: a frame in a captured screen has the field that it has alone.
"""

from typing import Literal, NamedTuple, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from polypseg.arrays import Image, Mask
from polypseg.errors import UsageError, unknown_name

FieldRule = Literal["auto", "whole"]
"""What of a frame a model sees: the lit field where there is one, or all of it."""

FIELD_RULES: tuple[FieldRule, ...] = ("auto", "whole")

GRID = 160
"""Points of the longer side on which the field is searched."""

LEAST_SIDE = 16
"""Smaller frames, in pixels, are taken whole."""

MOST_SURROUNDS = 3
"""Surrounds within one another that are looked through."""

LEAST_SHARE = 0.02
"""A smaller picture is none: the share of the frame that it covers."""

BLACK = 14
"""A pixel whose brightest channel is at most this is dark in every frame: black with the ripple of JPEG."""

TOLERANCE = 12
"""How far, in each channel, a pixel may be from a side's colour and still have it."""

FLAT = 6
"""The same among the points of a side that has one colour: drawn surrounds are flat, dark mucosa is not."""

SIDE_SHARE = 0.6
"""A side of the frame has one colour where so many of its points are within `FLAT` of their median."""

PANEL_SHARE = 0.01
"""A rectangle of one colour is a panel from this share of the frame on."""

PANEL_FILL = 0.75
"""Share of a panel's rectangle that has its colour; the rest is what is drawn on it."""

Colour = tuple[int, int, int]
"""Red, green, blue, 0 to 255."""

_Array = TypeVar("_Array", bound=NDArray[np.generic])


class Field(NamedTuple):
    """A rectangle of a frame, in pixels.

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

    def crop(self, array: _Array) -> _Array:
        """The part of an array (H, W, …) that lies in the field, as a view."""
        return array[self.top : self.top + self.height, self.left : self.left + self.width]  # type: ignore[return-value]

    def place(self, inner: NDArray[np.generic], shape: tuple[int, int]) -> NDArray[np.generic]:
        """The array of a whole frame of `shape` (height, width) that is `inner` in the field and 0 outside."""
        if inner.shape[:2] == shape:
            return inner
        frame = np.zeros((*shape, *inner.shape[2:]), inner.dtype)
        self.crop(frame)[...] = inner
        return frame


def whole_frame(shape: tuple[int, ...]) -> Field:
    """The field that is all of a frame of that shape (H, W, …).

    >>> whole_frame((288, 384, 3))
    Field(top=0, left=0, height=288, width=384)
    """
    return Field(0, 0, shape[0], shape[1])


def find_field(image: Image) -> Field | None:
    """Where the endoscope's picture lies in a frame.

    Args:
        image: Shape (H, W, 3), uint8.

    Returns:
        The picture's bounding box, the whole frame where the picture fills it, or None where no picture is found.
    """
    if min(image.shape[:2]) < LEAST_SIDE:
        return whole_frame(image.shape)
    found = _find_once(image)
    if found is None:
        return None
    for _ in range(MOST_SURROUNDS - 1):  # a frame with a surround of its own may lie in a captured screen
        inner = _find_once(found.crop(image)) if _has_plain_side(found.crop(image)) else None
        if inner is None or (inner.height, inner.width) == (found.height, found.width):
            break
        found = Field(found.top + inner.top, found.left + inner.left, inner.height, inner.width)
    return found


def _has_plain_side(image: Image) -> bool:
    """Whether a side of the picture has one colour, as a surround has."""
    return _side_colours(_sides(image, max(1, max(image.shape[:2]) // GRID))) != ([], [])


def _find_once(image: Image) -> Field | None:
    """The picture's box within one surround."""
    step = max(1, -(-max(image.shape[:2]) // GRID))
    grid = np.ascontiguousarray(image[step // 2 :: step, step // 2 :: step])
    if min(grid.shape[:2]) < 3:
        return whole_frame(image.shape)
    surround = _surround(grid)
    box = _largest_picture(~surround.mask)
    return None if box is None else _refined(image, box, step, surround)


def surround_of(image: Image) -> Mask:
    """The pixels (H, W) bool of a frame that are dark or have the colour of a side or panel, in the picture too."""
    step = max(1, -(-max(image.shape[:2]) // GRID))
    grid = np.ascontiguousarray(image[step // 2 :: step, step // 2 :: step])
    if min(grid.shape[:2]) < 3:
        return np.zeros(image.shape[:2], bool)
    return _surround(grid).covers(np.ascontiguousarray(image))


def field_rule(name: str | None) -> FieldRule | None:
    """The rule of that name; None for None.

    Raises:
        UsageError: There is none.
    """
    if name is None:
        return None
    for rule in FIELD_RULES:
        if rule == name:
            return rule
    raise UsageError(unknown_name("field", name, FIELD_RULES))


def field_of(image: Image, rule: FieldRule) -> tuple[Field, bool]:
    """The part of a frame that the model sees, and whether a picture was found there.

    Args:
        image: Shape (H, W, 3), uint8.
        rule: `auto` for the lit field, `whole` for all of the frame.

    Returns:
        The field, which is the whole frame where nothing was found; False only there.
    """
    found = find_field(image) if rule == "auto" else whole_frame(image.shape)
    return (whole_frame(image.shape), False) if found is None else (found, True)


class _Surround(NamedTuple):
    """What is not picture: on the grid, and the colours by which it is known at full size."""

    mask: Mask
    darkest_lit: int
    colours: tuple[Colour, ...]

    def covers(self, pixels: NDArray[np.uint8]) -> Mask:
        """Which pixels (H, W, 3) are dark or have the colour of a side or panel."""
        found = _within(pixels, _grey(0), _grey(self.darkest_lit - 1))
        for colour in self.colours:
            found |= _near(pixels, colour)
        return found


def _within(pixels: NDArray[np.uint8], low: Colour, high: Colour) -> Mask:
    """Which pixels (H, W, 3) lie between two colours in every channel."""
    return np.asarray(cv2.inRange(pixels, low, high)).view(bool)


def _grey(level: int) -> Colour:
    return level, level, level


def _near(pixels: NDArray[np.uint8], colour: Colour, tolerance: int = TOLERANCE) -> Mask:
    red, green, blue = colour
    low = red - tolerance, green - tolerance, blue - tolerance
    return _within(pixels, low, (red + tolerance, green + tolerance, blue + tolerance))


def _median(pixels: NDArray[np.uint8]) -> Colour:
    """The median colour of at most some hundred of the pixels (N, 3)."""
    few = pixels[:: max(1, len(pixels) // 256)]
    red, green, blue = np.sort(few, axis=0)[len(few) // 2].tolist()
    return red, green, blue


def _surround(grid: Image) -> _Surround:
    dark, bright = _side_colours(_sides(grid, 1))
    darkest_lit = 1 + max([BLACK, *(max(colour) + TOLERANCE for colour in dark)])
    found = _Surround(np.zeros(grid.shape[:2], bool), darkest_lit, tuple(bright))
    covered = found.covers(grid)
    panels, colours = _panels(grid, covered)
    return _Surround(panels | covered, darkest_lit, (*bright, *colours))


def _sides(image: Image, step: int) -> list[NDArray[np.uint8]]:
    """One of `step` pixels along each of the four sides."""
    return [image[:1, ::step], image[-1:, ::step], image[::step, :1], image[::step, -1:]]


def _side_colours(sides: list[NDArray[np.uint8]]) -> tuple[list[Colour], list[Colour]]:
    """The colours of the sides that have one, those that are dark and the others."""
    dark: list[Colour] = []
    bright: list[Colour] = []
    for side in sides:
        colour = _median(side.reshape(-1, 3))
        if np.count_nonzero(_near(np.ascontiguousarray(side), colour, FLAT)) >= SIDE_SHARE * side.size / 3:
            (dark if max(colour) < 40 else bright).append(colour)
    return dark, bright


def _panels(grid: Image, surround: Mask) -> tuple[Mask, list[Colour]]:
    """Rectangles of one colour on the grid, and their colours."""
    mask = np.zeros(grid.shape[:2], bool)
    colours: list[Colour] = []
    inner = grid[:-1, :-1]
    change = cv2.max(cv2.absdiff(grid[1:, :-1], inner), cv2.absdiff(grid[:-1, 1:], inner))
    flat = _within(change, _grey(0), _grey(3))
    flat &= ~surround[:-1, :-1] & ~_within(inner, _grey(235), _grey(255))
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(flat.view(np.uint8), connectivity=4)
    for index in 1 + np.flatnonzero(statistics[1:, cv2.CC_STAT_AREA] >= PANEL_SHARE * mask.size):
        left, top, width, height, _ = statistics[index].tolist()
        box = slice(top, top + height), slice(left, left + width)
        colour = _median(inner[box][labels[box] == index])
        if np.count_nonzero(_near(inner[box], colour)) >= PANEL_FILL * width * height:
            mask[top : top + height + 1, left : left + width + 1] = True  # the last row and column have no neighbour
            colours.append(colour)
    return mask, colours


def _largest_picture(lit: Mask) -> Field | None:
    """The box of the largest lit part on the grid, with parts that a shadow cut off from it."""
    opened = cv2.morphologyEx(lit.view(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    count, _, statistics, _ = cv2.connectedComponentsWithStats(opened, connectivity=8)
    if count == 1:
        return None
    order = sorted(range(1, count), key=lambda index: -int(statistics[index, cv2.CC_STAT_AREA]))
    left, top, width, height, area = (int(value) for value in statistics[order[0]])
    if area < LEAST_SHARE * lit.size:
        return None
    right, bottom = left + width, top + height
    for index in order[1:]:
        x, y, w, h, a = (int(value) for value in statistics[index])
        if a < 0.1 * area:
            break
        joined = min(left, x), min(top, y), max(right, x + w), max(bottom, y + h)
        if area + a >= 0.65 * (joined[2] - joined[0]) * (joined[3] - joined[1]):
            (left, top, right, bottom), area = joined, area + a
    return Field(top, left, bottom - top, right - left)


def _refined(image: Image, box: Field, step: int, surround: _Surround) -> Field:
    """The box at full size, each edge moved to where the picture begins."""
    height, width = image.shape[:2]
    top, left = box.top * step, box.left * step
    bottom, right = min(height, (box.top + box.height) * step), min(width, (box.left + box.width) * step)
    rows, columns = image[:, left:right:4], image[top:bottom:4]
    top = _edge(rows, top, -1, step, surround)
    bottom = _edge(rows, bottom - 1, 1, step, surround) + 1
    left = _edge(columns.transpose(1, 0, 2), left, -1, step, surround)
    right = _edge(columns.transpose(1, 0, 2), right - 1, 1, step, surround) + 1
    return Field(top, left, bottom - top, right - left)


def _edge(lines: NDArray[np.uint8], start: int, direction: int, step: int, surround: _Surround) -> int:
    """The outermost line (a row or column of the frame) that shows picture, within two steps of `start`."""
    first, last = max(0, start - 2 * step), min(len(lines), start + 2 * step + 1)
    near = lines[first:last]
    covered = surround.covers(np.ascontiguousarray(near))
    shows = np.count_nonzero(covered, axis=1) <= 0.95 * covered.shape[1]
    places = np.flatnonzero(shows)
    if not places.size:
        return start
    inner = start - first
    # From a line inside the picture outwards, up to the first line without picture: text beyond it does not count.
    towards = range(inner, len(shows)) if direction > 0 else range(inner, -1, -1)
    edge = int(places[np.argmin(np.abs(places - inner))])
    for place in towards:
        if shows[place]:
            edge = place
        elif (place - inner) * direction > 0 or shows[inner]:
            break
    return first + edge
