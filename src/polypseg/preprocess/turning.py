"""How a picture is turned and mirrored, as its file says.

Decisions:
- A turn that stands in XMP alone is refused: Pillow follows it, browsers and most viewers do not.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags
from PIL import Image as PillowImage

from polypseg.errors import ImageError
from polypseg.preprocess.files import UNREADABLE, reason_of

UPRIGHT: Mapping[int, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = MappingProxyType(
    {
        2: lambda stored: stored[:, ::-1],
        3: lambda stored: stored[::-1, ::-1],
        4: lambda stored: stored[::-1],
        5: lambda stored: stored.swapaxes(0, 1),
        6: lambda stored: np.rot90(stored, -1),
        7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
        8: lambda stored: np.rot90(stored),
    }
)
"""EXIF's orientations (2.3, tag 0x0112); any other value is upright."""


def upright(pixels: NDArray[np.uint8], opened: PillowImage.Image, name: str) -> NDArray[np.uint8]:
    """The pixels of a file, (H, W) or (H, W, C), as a viewer shows them.

    Raises:
        ImageError: Its EXIF is damaged.
    """
    try:
        orientation = opened.getexif().get(ExifTags.Base.Orientation, 1)
    except UNREADABLE as error:
        raise ImageError(f"{name}: {reason_of(error)}") from error
    turn = UPRIGHT.get(orientation)
    return pixels if turn is None else np.ascontiguousarray(turn(pixels))


def refuse_turn_by_note(opened: PillowImage.Image, name: str) -> None:
    """Nothing, unless a turn stands in XMP and not in EXIF.

    Raises:
        ImageError: It does.
    """
    note = opened.info.get("xmp", b"")  # a TIFF may hold it as text
    if b"tiff:Orientation" not in (note if isinstance(note, bytes) else str(note).encode("utf-8", "replace")):
        return
    if "Raw profile type exif" in opened.info:
        return
    try:
        exif = PillowImage.Exif()
        exif.load(opened.info.get("exif", b""))
        tags = {**dict(exif), **dict(getattr(opened, "tag_v2", {}))}
        orientation = opened.getexif().get(ExifTags.Base.Orientation, 1)
    except UNREADABLE as error:
        raise ImageError(f"{name}: {reason_of(error)}") from error
    if ExifTags.Base.Orientation not in tags and orientation in UPRIGHT:
        raise ImageError(
            f"{name}: its XMP asks for a turn (orientation {orientation}), its EXIF does not: viewers do not agree; "
            "turn the picture, and remove that note"
        )
