"""What an annotation says: frames, and regions on them.

Decisions:
- A polygon stays a polygon and a bitmap a bitmap, so that a conversion loses nothing that both formats hold.
- Coordinates are pixels, x to the right and y down; (0, 0) is the upper left corner of the upper left pixel.
- What is wrong with one region is kept with it: it matters only where its label means polyp.
- A frame that is listed without a region may show no polyp, or nobody has looked at it yet. `is_labelled` is True only
  where the format tells the difference.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from polypseg.arrays import Mask
from polypseg.errors import DataError, plural
from polypseg.formats.outlines import Polygon, Size, fill, from_run_lengths
from polypseg.records.reading import FileKind

POLYP = "polyp"
"""The label that is written."""

TOLERANCE_PX = 1.0
"""A corner may lie so far outside of the frame: tools round."""


class AnnotatedRegion(NamedTuple):
    """One annotated region.

    Attributes:
        label: What it shows, as the file says; empty where it says nothing.
        polygons: Its parts, each (x, y, x, y, …) in pixels; empty where it is a bitmap.
        runs: COCO's run lengths over the whole frame, of a bitmap; empty where it is made of polygons.
        value: The number of its label, where the format has one.
        is_crowd: Whether it covers several objects that nobody told apart.
        fault: Why it cannot be a mask; mostly empty.
    """

    label: str
    polygons: tuple[Polygon, ...] = ()
    runs: tuple[int, ...] = ()
    value: int | None = None
    is_crowd: bool = False
    fault: str = ""

    def pixels(self, size: Size) -> Mask:
        """The pixels (H, W) bool of a frame of that size that it covers."""
        if self.runs:
            return from_run_lengths(self.runs, size)
        mask = np.zeros(size, bool)
        for polygon in self.polygons:
            mask |= fill(polygon, size)
        return mask

    def fault_in(self, size: Size) -> str:
        """Why it is no region of a frame of that size; empty where it is one."""
        if self.fault:
            return self.fault
        if self.runs:
            found = sum(self.runs)
            return "" if found == size[0] * size[1] else f"its run lengths cover {found:,} pixels, not the frame's"
        return next(filter(None, (polygon_fault(polygon, size) for polygon in self.polygons)), "")


@dataclass(frozen=True)
class AnnotatedFrame:
    """What an annotation file says of one image.

    Attributes:
        file: The image, as the file names it: a path with /.
        size: Height and width in pixels, where the file tells them.
        regions: On it.
        is_labelled: Whether the file says that somebody looked at it, even where there is no region.
        fault: Why nothing can be said of it; mostly empty.
    """

    file: str
    size: Size | None
    regions: tuple[AnnotatedRegion, ...] = ()
    is_labelled: bool = False
    fault: str = ""


class Unusable(NamedTuple):
    """A file that cannot be used, and why."""

    name: str
    reason: str

    @classmethod
    def of(cls, path: Path, error: Exception) -> "Unusable":
        """A file and an error, whose message may begin with the file."""
        return cls(str(path), str(error).removeprefix(f"{path}: "))


class Annotations(NamedTuple):
    """What the annotation files of a folder say.

    Attributes:
        frames: In the order of the files.
        unusable: Files that cannot be read, where each frame has one of its own.
        notes: What a user should know, a line each.
    """

    frames: list[AnnotatedFrame]
    unusable: list[Unusable]
    notes: list[str]


def annotation_file(name: str) -> FileKind:
    """The kind of an annotation file, for errors."""
    return FileKind(name, DataError, "export it again", max_mib=1024)


def polygon_fault(polygon: Sequence[float], size: Size) -> str:
    """Why a polygon is no region of a frame (height, width); empty where it is one.

    >>> polygon_fault((0, 0, 4, 0, 4, 20), (8, 8))
    'a corner at (4, 20) lies outside of the frame, which is 8x8 (height x width)'
    """
    if len(polygon) % 2:
        return f"a polygon has an odd number of coordinates ({len(polygon)}), expected x and y of each corner"
    if len(polygon) < 6:
        return f"a polygon has {plural(len(polygon) // 2, 'corner')}, expected 3 or more"
    if not all(math.isfinite(value) for value in polygon):
        return "a polygon has a corner that is not a number"
    height, width = size
    for x, y in zip(polygon[::2], polygon[1::2], strict=True):
        if not (-TOLERANCE_PX <= x <= width + TOLERANCE_PX and -TOLERANCE_PX <= y <= height + TOLERANCE_PX):
            return f"a corner at ({x:g}, {y:g}) lies outside of the frame, which is {height}x{width} (height x width)"
    return ""


def without_outline(label: str, kind: str, value: int | None = None) -> AnnotatedRegion:
    """A region of a kind that does not outline anything: a box, a line, a point."""
    return AnnotatedRegion(label, value=value, fault=f"{kind} is no outline; draw a polygon or a mask")
