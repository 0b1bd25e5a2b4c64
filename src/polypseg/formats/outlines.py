"""Polygons, run lengths and masks, each made from the other.

Decisions:
- A pixel belongs to a polygon where its centre does (even-odd rule). A polygon from `outline` runs from corner to
  corner of pixels, so that it gives back its region pixel by pixel, here and in COCO's own tools.
- Run lengths are COCO's: column by column, background first.
"""

import math
from collections.abc import Sequence

import cv2
import numpy as np

from polypseg.arrays import Mask, check_mask

Polygon = tuple[float, ...]
"""(x, y, x, y, …) in pixels."""

Size = tuple[int, int]
"""Height and width in pixels."""

ELLIPSE_CORNERS = 128
"""Corners of the polygon that stands for an ellipse; its area is 0.04 % smaller."""


def fill(polygon: Sequence[float], size: Size) -> Mask:
    """The pixels (H, W) bool whose centres lie in a polygon.

    >>> fill((0, 0, 3, 0, 0, 3), (2, 3)).astype(int).tolist()
    [[1, 1, 0], [1, 0, 0]]
    """
    height, width = size
    toggles = np.zeros((height, width + 1), bool)
    xs, ys = np.asarray(polygon[::2], float), np.asarray(polygon[1::2], float)
    for (xa, ya), (xb, yb) in zip(
        zip(xs, ys, strict=True), zip(np.roll(xs, -1), np.roll(ys, -1), strict=True), strict=True
    ):
        (x0, y0), (x1, y1) = sorted(((xa, ya), (xb, yb)), key=lambda corner: (corner[1], corner[0]))
        first, last = max(0, math.ceil(y0 - 0.5)), min(height, math.ceil(y1 - 0.5))
        if first < last:
            rows = np.arange(first, last)
            crossing = x0 + (rows + 0.5 - y0) * ((x1 - x0) / (y1 - y0))
            toggles[rows, np.clip(np.ceil(crossing - 0.5), 0, width).astype(int)] ^= True
    return np.logical_xor.accumulate(toggles, axis=1)[:, :width]


def outline(region: Mask, x: int = 0, y: int = 0) -> tuple[int, ...]:
    """The outer border of an 8-connected region whose box begins at (x, y), as a polygon; its holes are filled.

    OpenCV's contour runs through the centres of pixels. In an image of twice the size, where each pixel is two by
    two, the halves of even index lie left of (above) a pixel's middle, the others right of (below) it: each goes to
    its edge.
    """
    doubled = region.astype(np.uint8).repeat(2, axis=0).repeat(2, axis=1)
    found, _ = cv2.findContours(doubled, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    corners = (max(found, key=len).reshape(-1, 2) + 1) // 2 + (x, y)
    return tuple(corners.ravel().tolist())


def outlines(mask: Mask) -> tuple[Polygon, ...]:
    """The outer border of each region of a mask, in the order of their first rows; holes are filled."""
    return tuple(outline(pixels, x, y) for pixels, x, y in components(mask))


def components(mask: Mask) -> list[tuple[Mask, int, int]]:
    """The 8-connected regions of a mask: the pixels of each one's box, and the box's x and y."""
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(check_mask(mask).view(np.uint8), connectivity=8)
    return [
        (labels[y : y + height, x : x + width] == label, x, y)
        for label, (x, y, width, height, _) in enumerate(statistics.tolist())
        if label
    ]


def component_masks(mask: Mask) -> list[Mask]:
    """The 8-connected regions of a mask, each as a mask of the whole frame."""
    found = []
    for pixels, x, y in components(mask):
        whole = np.zeros(mask.shape, bool)
        whole[y : y + pixels.shape[0], x : x + pixels.shape[1]] = pixels
        found.append(whole)
    return found


def has_holes(mask: Mask) -> bool:
    """Whether background is enclosed by the mask.

    >>> ring = np.ones((3, 3), bool); ring[1, 1] = False
    >>> has_holes(ring), has_holes(~ring)
    (True, False)
    """
    outside = np.pad(~mask, 1, constant_values=True)
    return int(cv2.connectedComponents(outside.view(np.uint8), connectivity=4)[0]) > 2


def ellipse(x: float, y: float, radius_x: float, radius_y: float, turned_rad: float = 0.0) -> Polygon:
    """The polygon of an ellipse around (x, y), turned clockwise as seen on the screen."""
    angles = np.linspace(0, 2 * np.pi, ELLIPSE_CORNERS, endpoint=False)
    along, across = radius_x * np.cos(angles), radius_y * np.sin(angles)
    cosine, sine = math.cos(turned_rad), math.sin(turned_rad)
    corners = np.stack([x + along * cosine - across * sine, y + along * sine + across * cosine], axis=1)
    return tuple(corners.ravel().tolist())


def run_lengths(mask: Mask) -> list[int]:
    """The mask as COCO's uncompressed run lengths: column by column, background first.

    >>> run_lengths(np.array([[0, 1], [1, 1]], bool))
    [1, 3]
    """
    return _runs(cv2.transpose(check_mask(mask).view(np.uint8)))


def row_run_lengths(mask: Mask) -> list[int]:
    """As `run_lengths`, row by row (CVAT).

    >>> row_run_lengths(np.array([[1, 1], [0, 1]], bool))
    [0, 2, 1, 1]
    """
    return _runs(check_mask(mask).view(np.uint8))


def _runs(values: np.ndarray) -> list[int]:
    flat = values.ravel()
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    counts: list[int] = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    return [0, *counts] if flat[0] else counts


def from_run_lengths(counts: Sequence[int], size: Size) -> Mask:
    """The mask (H, W) bool of COCO's run lengths, whose sum is the number of pixels.

    >>> from_run_lengths([1, 3], (2, 2)).astype(int).tolist()
    [[0, 1], [1, 1]]
    """
    return np.ascontiguousarray(_from_runs(counts).reshape(size[::-1]).T)


def from_row_run_lengths(counts: Sequence[int], size: Size) -> Mask:
    """As `from_run_lengths`, row by row (CVAT)."""
    return _from_runs(counts).reshape(size)


def _from_runs(counts: Sequence[int]) -> Mask:
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts)


def compress_run_lengths(counts: list[int]) -> str:
    """COCO's compressed text of run lengths (`counts`): differences to the count two before, five bits a letter.

    >>> compress_run_lengths([1, 3])
    '13'
    """
    text = []
    for index, count in enumerate(counts):
        value = count - counts[index - 2] if index > 2 else count
        while True:
            bits = value & 0x1F
            value >>= 5
            is_last = value == (-1 if bits & 0x10 else 0)
            text.append(chr((bits if is_last else bits | 0x20) + 48))
            if is_last:
                break
    return "".join(text)


def expand_run_lengths(text: str) -> list[int]:
    """The run lengths of COCO's compressed text.

    Raises:
        ValueError: It ends within a number, or holds another letter or a negative length.

    >>> expand_run_lengths("13")
    [1, 3]
    """
    counts: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64 or shift > 30:
            raise ValueError(f"{letter!r} is no letter of compressed run lengths")
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
        if counts[-1] < 0:
            raise ValueError("a run length is negative")
    if shift:
        raise ValueError("compressed run lengths end within a number")
    return counts
