"""TIFF: what a page holds that Pillow would read as something else, and the JPEG streams in it.

Decisions:
- TIFF leaves nearly everything open. What Pillow reads otherwise than it is stored, found by writing pages of every
  kind, is refused: a deep grey page whose white is 0, deep channels one after another, bytes with a sign, CIELab.
- The JPEG streams within a TIFF are held to the same rule as a JPEG file.
"""

from collections.abc import Iterator
from typing import Any

from PIL import Image as PillowImage

from polypseg.errors import ImageError
from polypseg.preprocess.damage import Space, decode_jpeg

_BITS, _COMPRESSION, _COLOURS, _PLANES, _SIGN = 258, 259, 262, 284, 339
"""Tags (TIFF 6.0, section 8)."""

_WHITE_IS_ZERO, _LAB = 0, (8, 9, 10)
_UNCOMPRESSED, _JPEG = 1, 7
_OFFSETS_AND_LENGTHS = ((273, 279), (324, 325))
"""Tags of strips, and of tiles."""


def tiff_fault(opened: PillowImage.Image) -> str:
    """Why a TIFF's page, which is not decoded yet, cannot be used; empty where it can.

    Raises:
        OSError: The file cannot be read.
    """
    if opened.format != "TIFF":
        return ""
    tags = opened.tag_v2  # type: ignore[attr-defined]
    fault = _misread(tags)
    if fault or tags.get(_COMPRESSION) != _JPEG:
        return fault
    space: Space = "GRAY" if opened.mode == "L" else "CMYK" if opened.mode == "CMYK" else "RGB"
    for stream in _jpeg_streams(opened):
        try:
            decode_jpeg(stream, space, "")
        except ImageError as error:
            return str(error).removeprefix(": ")
    return ""


def _misread(tags: Any) -> str:
    """What of a page Pillow reads otherwise than it is stored, and how to store it."""
    bits = max(_several(tags.get(_BITS, 1)))
    if tags.get(_COLOURS) in _LAB:
        return "its colours are CIELab; expected grey or RGB: convert it"
    if tags.get(_COLOURS) == _WHITE_IS_ZERO and bits > 8:
        return f"a grey TIFF of {bits} bits whose white is 0; expected black to be 0: store it as 8 bit, or as PNG"
    if tags.get(_PLANES) == 2 and bits > 8 and tags.get(_COMPRESSION, 1) == _UNCOMPRESSED:
        return f"a TIFF of {bits} bits with one channel after another; expected them side by side: store it as PNG"
    if 2 in _several(tags.get(_SIGN, 1)) and bits == 8:
        return "a TIFF of bytes with a sign (-128 to 127); expected 0 to 255: store it so"
    return ""


def has_sign(picture: PillowImage.Image) -> bool:
    """Whether a TIFF's values have a sign, so that its white is not that of its depth; False for any other file."""
    return picture.format == "TIFF" and 2 in _several(picture.tag_v2.get(_SIGN, 1))  # type: ignore[attr-defined]


def _several(value: Any) -> tuple[int, ...]:
    """The values of a tag, one or several."""
    return tuple(value) if isinstance(value, tuple) else (value,)


def _jpeg_streams(opened: Any) -> Iterator[bytes]:
    """The strips or tiles of a page, each with the tables that it shares with the others."""
    tags = opened.tag_v2
    tables = tags.get(347, b"")
    for offsets, lengths in _OFFSETS_AND_LENGTHS:
        for offset, length in zip(tags.get(offsets, ()), tags.get(lengths, ()), strict=False):
            opened.fp.seek(offset)
            stream = opened.fp.read(length)
            yield tables[:-2] + stream[2:] if tables else stream
