"""Damage that the usual decoders pass over: JPEG's warnings and PNG's check sums.

Decisions:
- A JPEG has no check sum. What its decoder (libjpeg-turbo) only warns of, and then fills up with grey, is a fault: a
  scan that ends too early or too late, a code that the tables do not know. simplejpeg reports these warnings; OpenCV
  prints them, Pillow drops them. Its pixels are theirs, in less time.
- Two warnings are of the header alone and change no pixel; files of some cameras have them.
- A changed bit that is still a valid JPEG (a wrong brightness from a block on) cannot be found by any decoder.
- Pillow does not compare the check sums of PNG's image data; they are compared here.
"""

import zlib
from typing import Literal

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from polypseg.errors import ImageError

Space = Literal["RGB", "GRAY", "CMYK"]

_HARMLESS = ("unknown JFIF revision", "Invalid SOS parameters for sequential JPEG")

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_CHECKED = (b"IHDR", b"PLTE", b"IDAT", b"tRNS", b"eXIf", b"IEND")


def decode_jpeg(content: bytes, space: Space, name: str) -> NDArray[np.uint8]:
    """The pixels of a JPEG as they are stored (not turned), (H, W, channels) uint8.

    Raises:
        ImageError: It is damaged, by as little as the decoder notices.
    """
    try:
        return np.asarray(simplejpeg.decode_jpeg(content, space))
    except ValueError as error:
        message = str(error)
        if not any(harmless in message for harmless in _HARMLESS):
            raise ImageError(f"{name}: {jpeg_fault(message)}") from error
    try:
        return np.asarray(simplejpeg.decode_jpeg(content, space, strict=False))
    except ValueError as error:
        raise ImageError(f"{name}: {jpeg_fault(str(error))}") from error


def jpeg_fault(message: str) -> str:
    """The fault of a JPEG in words that say what to do.

    >>> jpeg_fault("Premature end of JPEG file")
    'the image is cut short (Premature end of JPEG file); copy or download it again'
    """
    return cut_short(message) if "remature end" in message else _damaged(message)


def cut_short(message: str) -> str:
    """The fault of a file whose end is missing."""
    return f"the image is cut short ({message}); copy or download it again"


def png_fault(content: bytes) -> str:
    """What is wrong with the chunks of a PNG; empty where nothing is, or it is no PNG."""
    if not content.startswith(_PNG_SIGNATURE):
        return ""
    place, end = len(_PNG_SIGNATURE), len(content)
    while place + 12 <= end:
        length = int.from_bytes(content[place : place + 4])
        kind = content[place + 4 : place + 8]
        stop = place + 8 + length
        if stop + 4 > end:
            break
        if kind in _PNG_CHECKED and zlib.crc32(memoryview(content)[place + 4 : stop]) != int.from_bytes(
            content[stop : stop + 4]
        ):
            return _damaged(f"wrong check sum in {kind.decode()}")
        if kind == b"IEND":
            return ""
        place = stop + 4
    return cut_short("no end mark")


def _damaged(message: str) -> str:
    return f"the image is damaged ({message}); copy or download it again"
