"""The regions of a mask: what a person counts, measures and outlines, and what a program exchanges.

Decisions:
- A region is an 8-connected component of the mask.
- Boxes are (x, y, width, height) in pixels, polygons lists of x and y in turn, run lengths column by column beginning
  with the background: COCO's formats, so that its tools read them. Axes elsewhere are (row, column).
- A polygon runs around a region's border pixels, from corner to corner, so that COCO's tools fill it with exactly the
  region's pixels; holes are filled too: only the run lengths leave them out.
"""

from typing import NamedTuple

import cv2
import numpy as np

from polypseg.arrays import Mask, Probability, check_mask


class Region(NamedTuple):
    """One component of a mask.

    Attributes:
        area_px: Number of pixels.
        box: (x, y, width, height) in pixels.
        mean_probability: Over its pixels.
        max_probability: Over its pixels.
        pixels: Which pixels of its box it holds, shape (height, width), bool.
    """

    area_px: int
    box: tuple[int, int, int, int]
    mean_probability: float
    max_probability: float
    pixels: Mask

    @property
    def polygon(self) -> tuple[int, ...]:
        """Its outer border, (x, y, x, y, …) in pixels, the image's upper left corner being (0, 0)."""
        return _polygon(self.pixels, *self.box[:2])


def find_regions(mask: Mask, probability: Probability) -> list[Region]:
    """The regions of a mask, the largest first.

    Args:
        mask: Shape (H, W), bool.
        probability: Shape (H, W), float32 in [0, 1].

    >>> mask = np.array([[1, 1, 0, 1], [1, 1, 0, 0]], bool)
    >>> [(region.area_px, region.box) for region in find_regions(mask, mask.astype(np.float32))]
    [(4, (0, 0, 2, 2)), (1, (3, 0, 1, 1))]
    """
    left, top, wide, high = cv2.boundingRect(check_mask(mask).view(np.uint8))
    if wide == 0:
        return []
    inside = slice(top, top + high), slice(left, left + wide)  # all of the mask; a polyp fills a part of the image
    filled = np.ascontiguousarray(mask[inside]).view(np.uint8)
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(filled, connectivity=8)
    regions = []
    for label, (x, y, width, height, area) in enumerate(statistics.tolist()):
        if label == 0:
            continue
        here = labels[y : y + height, x : x + width] == label
        values = probability[inside][y : y + height, x : x + width][here]
        box = (left + x, top + y, width, height)
        regions.append(Region(area, box, float(values.mean(dtype=np.float64)), float(values.max()), here))
    return sorted(regions, key=lambda region: -region.area_px)


def _polygon(region: Mask, x: int, y: int) -> tuple[int, ...]:
    """The border of a region whose box begins at (x, y).

    OpenCV's contour runs through the centres of pixels. In an image of twice the size, where each pixel is two by
    two, the halves of even index lie left of (above) a pixel's middle, the others right of (below) it: each goes to
    its edge.
    """
    doubled = region.astype(np.uint8).repeat(2, axis=0).repeat(2, axis=1)
    found, _ = cv2.findContours(doubled, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    corners = (max(found, key=len).reshape(-1, 2) + 1) // 2 + (x, y)
    return tuple(corners.ravel().tolist())


def run_lengths(mask: Mask) -> list[int]:
    """The mask as COCO's uncompressed run lengths: column by column, background first.

    >>> run_lengths(np.array([[0, 1], [1, 1]], bool))
    [1, 3]
    """
    flat = cv2.transpose(check_mask(mask).view(np.uint8)).ravel()
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    counts: list[int] = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    return [0, *counts] if flat[0] else counts


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
