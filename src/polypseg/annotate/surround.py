"""The picture's shape in a frame: what is kept when all around it is blanked.

Decisions:
- The lit field (`preprocess/field.py`) is a rectangle whose corners may be cut off, and text stands in these corners.
  The shape that is kept is therefore the convex hull of what is lit in the field: a rectangle, an octagon or a circle.
- Strokes of text are thinner than the element of the opening, so that they do not stretch the hull. A dark corner of a
  picture may be blanked with the surround; no name is kept with it.
- In a video the shape is that of the pixels that are lit in a good share of frames: it does not jump, and a menu for a
  moment does not stretch it.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from polypseg.arrays import Image, Mask
from polypseg.preprocess import Field, find_field
from polypseg.preprocess.field import GRID, surround_of

OPENING_POINTS = 3
"""Side of the opening's element, in points of the grid on which the field is searched."""

LIT_SHARE = 0.3
"""A pixel of a video belongs to the picture where it is lit in so large a share of the frames that were looked at."""

MARGIN_PX = 2
"""How far around the hull is kept: its edge is smooth."""


def picture_shape(image: Image) -> Mask | None:
    """The pixels (H, W) bool of a frame that show the endoscope's picture; None where there is no picture."""
    field = find_field(image)
    if field is None:
        return None
    return _hull(_lit(image), field)


def shape_of_many(images: Sequence[Image]) -> Mask | None:
    """The same of frames of one video and size; None where none of them shows a picture."""
    fields = [field for field in map(find_field, images) if field is not None]
    if not fields:
        return None
    shape = images[0].shape[:2]
    counts = np.zeros(shape, np.int32)
    inside = np.zeros(shape, np.int32)
    for image in images:
        counts += _lit(image)
    for field in fields:
        field.crop(inside)[...] += 1
    rows, columns = (np.flatnonzero((inside > LIT_SHARE * len(fields)).any(axis=axis)) for axis in (1, 0))
    box = Field(int(rows[0]), int(columns[0]), int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1)
    return _hull(counts > LIT_SHARE * len(images), box)


def blank(image: Image, kept: Mask) -> Image:
    """The image, black where it is not kept."""
    return np.where(kept[..., None], image, 0).astype(np.uint8)


def _lit(image: Image) -> Mask:
    return ~surround_of(image)


def _hull(lit: Mask, field: Field) -> Mask | None:
    """The convex hull of what is lit in a field, without thin strokes."""
    step = max(1, -(-max(lit.shape) // GRID))
    side, field = OPENING_POINTS * step, _wider(field, 2 * step, lit.shape)
    padded = np.pad(np.ascontiguousarray(field.crop(lit)).view(np.uint8), side)  # the frame's border is no stroke
    opened = cv2.morphologyEx(padded, cv2.MORPH_OPEN, np.ones((side, side), np.uint8))[side:-side, side:-side]
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(np.ascontiguousarray(opened), connectivity=8)
    if count == 1:
        return None
    areas = statistics[1:, cv2.CC_STAT_AREA]
    large = 1 + np.flatnonzero(areas >= 0.1 * areas.max())  # a shadow may cut the picture
    contours, _ = cv2.findContours(np.isin(labels, large).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    hull = np.zeros(opened.shape, np.uint8)
    cv2.fillConvexPoly(hull, cv2.convexHull(np.concatenate(contours)), 1)
    hull = cv2.dilate(hull, np.ones((2 * MARGIN_PX + 1, 2 * MARGIN_PX + 1), np.uint8))
    kept = np.zeros(lit.shape, bool)
    field.crop(kept)[...] = hull.view(bool)
    return kept


def _wider(field: Field, margin: int, shape: tuple[int, ...]) -> Field:
    """The field with a margin, within the frame: its edges are found where most of a line shows picture."""
    top, left = max(0, field.top - margin), max(0, field.left - margin)
    bottom, right = field.top + field.height + margin, field.left + field.width + margin
    return Field(top, left, min(shape[0], bottom) - top, min(shape[1], right) - left)
