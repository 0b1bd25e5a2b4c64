"""What every writer of a format gets: a frame whose image already lies in the new folder."""

from pathlib import PurePosixPath
from typing import NamedTuple

from polypseg.formats.annotations import AnnotatedRegion
from polypseg.formats.outlines import Polygon, Size, has_holes, outlines


class Written(NamedTuple):
    """A frame of a new data set.

    Attributes:
        file: The name of its image file.
        size: Height and width in pixels.
        regions: Its polyps; none where it shows none.
    """

    file: str
    size: Size
    regions: tuple[AnnotatedRegion, ...]

    @property
    def stem(self) -> str:
        """The file's name without its ending."""
        return PurePosixPath(self.file).stem


def exact_polygons(region: AnnotatedRegion, size: Size) -> tuple[Polygon, ...] | None:
    """The polygons of a region; None where no polygon holds it, because it has a hole."""
    if region.polygons:
        return region.polygons
    mask = region.pixels(size)
    return None if has_holes(mask) else outlines(mask)
