"""Pictures as a player shows them: turned, mirrored or both, as the file's display matrix asks.

Decisions:
- The matrix of the container (mp4, mov, mkv) and of the stream (H.264, H.265) is the frame's, by FFmpeg's rule.
- The eight orientations are applied, by whole pixels. A matrix that turns by another angle is taken for the nearest of
  the eight, and that is told; one that says nothing is none.
"""

import struct
from typing import Any, NamedTuple

import numpy as np

from polypseg.arrays import Image

MATRIX_KEY = "DISPLAYMATRIX"
_SKEW = 0.02
"""Of a unit vector: about one degree."""


class Orientation(NamedTuple):
    """How a stored picture becomes the shown one: rows and columns are swapped first, then each is turned about.

    Attributes:
        transpose: Whether rows become columns.
        flip_rows: Whether the shown picture is turned upside down.
        flip_columns: Whether it is mirrored left to right.
        is_exact: Whether the matrix says exactly this.
    """

    transpose: bool = False
    flip_rows: bool = False
    flip_columns: bool = False
    is_exact: bool = True

    def apply(self, image: Image) -> Image:
        """The shown picture of a stored one, (H, W, 3) uint8."""
        shown = image.transpose(1, 0, 2) if self.transpose else image
        shown = shown[:: -1 if self.flip_rows else 1, :: -1 if self.flip_columns else 1]
        return np.ascontiguousarray(shown)


UPRIGHT = Orientation()


def orientation(decoded: Any) -> Orientation:
    """The orientation that a decoded frame asks for."""
    found = decoded.side_data.get(MATRIX_KEY)
    if found is None or len(content := bytes(found)) < 36:
        return UPRIGHT
    a, b, _, c, d = struct.unpack("=9i", content[:36])[:5]
    return from_matrix(a, b, c, d)


def from_matrix(a: int, b: int, c: int, d: int) -> Orientation:
    """The orientation of the matrix that takes (column x, row y) to (a·x + c·y, b·x + d·y).

    >>> from_matrix(-65536, 0, 0, 65536)
    Orientation(transpose=False, flip_rows=False, flip_columns=True, is_exact=True)
    """
    length = max(abs(value) for value in (a, b, c, d))
    if length == 0:
        return UPRIGHT
    straight, crossed = abs(a) + abs(d), abs(b) + abs(c)
    if crossed > straight:
        return Orientation(True, b < 0, c < 0, straight <= _SKEW * crossed)
    return Orientation(False, d < 0, a < 0, crossed <= _SKEW * straight)
