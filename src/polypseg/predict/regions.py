"""The regions of a mask: what a person counts, measures and outlines, and what a program exchanges.

Decisions:
- A region is an 8-connected component of the mask.
- Boxes are (x, y, width, height) in pixels, polygons lists of x and y in turn: COCO's formats, so that its tools read
  them (`formats/outlines.py`, where the run lengths are too). Axes elsewhere are (row, column).
- A polygon runs around a region's border pixels, from corner to corner, so that COCO's tools fill it with exactly the
  region's pixels; holes are filled too: only the run lengths leave them out.
"""

from typing import NamedTuple

import cv2
import numpy as np

from polypseg.arrays import Mask, Probability, check_mask
from polypseg.formats.outlines import outline


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
        return outline(self.pixels, *self.box[:2])


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
