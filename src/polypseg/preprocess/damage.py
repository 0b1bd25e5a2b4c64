"""Damage that the usual decoders pass over: JPEG's warnings and PNG's check sums.

Decisions:
- A JPEG has no check sum. What its decoder (libjpeg-turbo) only warns of, and then fills up with grey, is a fault: a
  scan that ends too early or too late, a code that the tables do not know. simplejpeg reports these warnings; OpenCV
  prints them, Pillow drops them. Its pixels are theirs, in less time.
- A JPEG that ends between two of its scans is whole to its decoder, which shows what came; so the scans are counted
  here: every coefficient of every component, to its last bit.
- Three warnings are of the header alone and change no pixel: files of some cameras and programs (Pillow's own MPO) have
  them. Such a file is decoded again with a clean header, again with every warning as an error.
- A changed bit that is still a valid JPEG (a wrong brightness from a block on) cannot be found by any decoder.
- Pillow does not compare the check sums of PNG's image data; they are compared here.
- The JPEG streams within a TIFF are held to the same rule as a JPEG file.
- WebP and AVIF have no check sums, and their decoders take a file whose second half was never copied (zeros). Coded
  pixels do not end in so many zeros.
"""

import re
import zlib
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image as PillowImage

from polypseg.errors import ImageError

Space = Literal["RGB", "GRAY", "CMYK"]

_OF_HEADER = ("unknown JFIF revision", "Invalid SOS parameters for sequential JPEG", "extraneous bytes before marker")

_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")
"""Of a JPEG: one that a segment follows, or its end."""

_FRAMES, _SCAN, _END, _COEFFICIENTS = (0xC0, 0xC1, 0xC2, 0xC9, 0xCA), 0xDA, 0xD9, 64
_PROGRESSIVE, _NOTES = (0xC2, 0xCA), (*range(0xE0, 0xF0), 0xFE)
"""Frames whose scans have parameters; segments that hold notes (EXIF, comments) and no pixels."""

_ZEROS = 128
"""Coded pixels that end in so many zero bytes were not written to their end."""

_JPEG_IN_TIFF = 7
_OFFSETS_AND_LENGTHS = ((273, 279), (324, 325))
"""TIFF's tags of strips, and of tiles."""

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_CHECKED = (b"IHDR", b"PLTE", b"IDAT", b"tRNS", b"eXIf", b"IEND")


def decode_jpeg(content: bytes, space: Space, name: str) -> NDArray[np.uint8]:
    """The pixels of a JPEG as they are stored (not turned), (H, W, channels) uint8.

    Raises:
        ImageError: It is damaged, by as little as the decoder notices.
    """
    pixels = _decoded_jpeg(content, space, name)
    try:
        is_whole = not _lacks_scans(content)
    except (LookupError, ValueError):  # a segment that is shorter than it must be
        is_whole = False
    if not is_whole:
        raise ImageError(f"{name}: {cut_short('scans are missing')}")
    return pixels


def _decoded_jpeg(content: bytes, space: Space, name: str) -> NDArray[np.uint8]:
    try:
        return np.asarray(simplejpeg.decode_jpeg(content, space))
    except ValueError as error:
        message = str(error)
    if any(of_header in message for of_header in _OF_HEADER):
        try:
            return np.asarray(simplejpeg.decode_jpeg(_with_clean_header(content), space))
        except ValueError as error:
            message = str(error)
    raise ImageError(f"{name}: {jpeg_fault(message)}")


def _with_clean_header(jpeg: bytes) -> bytes:
    """A JPEG without what its decoder warns of in a header though it changes no pixel.

    Bytes that follow a note of a wrong length are left out, JFIF's revision and the parameters of a sequential scan are
    the usual ones.
    """
    parts, place, is_progressive, was_note = [jpeg[:2]], 2, False, True
    while (found := _MARKER.search(jpeg, place)) is not None:
        kind, length = jpeg[found.start() + 1], int.from_bytes(jpeg[found.end() : found.end() + 2])
        segment = bytearray(jpeg[found.start() : found.end() + length])
        between, place = jpeg[place : found.start()], found.end() + length
        if kind == 0xE0 and segment[4:9] == b"JFIF\0":
            segment[9:11] = b"\1\1"
        if kind == _SCAN and not is_progressive:
            segment[-3:] = bytes((0, _COEFFICIENTS - 1, 0))
        parts += [b"" if was_note else between, bytes(segment)]
        if kind in (_SCAN, _END):
            break
        is_progressive, was_note = is_progressive or kind in _PROGRESSIVE, kind in _NOTES
    return b"".join([*parts, jpeg[place:]])


def _lacks_scans(jpeg: bytes) -> bool:
    """Whether a JPEG that could be decoded ends before its last scan (ITU T.81, B.2.2, B.2.3 and G.1)."""
    missing: dict[int, list[int]] = {}  # of each component: the lowest bit that came of each coefficient
    place, is_progressive = 2, False
    while (found := _MARKER.search(jpeg, place)) is not None:
        kind, start = jpeg[found.start() + 1], found.end() + 2
        place = found.end() + int.from_bytes(jpeg[found.end() : start])
        body = jpeg[start:place]
        if kind == _END:
            break
        if kind in _FRAMES:
            missing = {component: [1] * _COEFFICIENTS for component in body[6 : 6 + 3 * body[5] : 3]}
            is_progressive = kind in _PROGRESSIVE
        elif kind == _SCAN:
            first, last, bits = body[-3:] if is_progressive else (0, _COEFFICIENTS - 1, 0)
            for component in body[1 : 1 + 2 * body[0] : 2]:
                missing[component][first : last + 1] = [bits & 15] * (last + 1 - first)
            if not any(map(any, missing.values())):
                return False
    return bool(missing)


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


def tail_fault(content: bytes) -> str:
    """What is wrong with the end of a WebP or an AVIF; empty where nothing is, or it is neither."""
    end = _end_of_pixels(content)
    if end >= _ZEROS and not any(content[end - _ZEROS : end]):
        return cut_short("it ends in zeros")
    return ""


def tiff_fault(opened: PillowImage.Image) -> str:
    """What is wrong with the JPEG streams of a TIFF's page, which is not decoded yet; empty where nothing is.

    Raises:
        OSError: The file cannot be read.
    """
    if opened.format != "TIFF" or opened.tag_v2.get(259) != _JPEG_IN_TIFF:  # type: ignore[attr-defined]
        return ""
    space: Space = "GRAY" if opened.mode == "L" else "CMYK" if opened.mode == "CMYK" else "RGB"
    for stream in _jpeg_streams(opened):
        try:
            decode_jpeg(stream, space, "")
        except ImageError as error:
            return str(error).removeprefix(": ")
    return ""


def _jpeg_streams(opened: Any) -> Iterator[bytes]:
    """The strips or tiles of a page, each with the tables that it shares with the others."""
    tags = opened.tag_v2
    tables = tags.get(347, b"")
    for offsets, lengths in _OFFSETS_AND_LENGTHS:
        for offset, length in zip(tags.get(offsets, ()), tags.get(lengths, ()), strict=False):
            opened.fp.seek(offset)
            stream = opened.fp.read(length)
            yield tables[:-2] + stream[2:] if tables else stream


def _end_of_pixels(content: bytes) -> int:
    """Where the coded pixels of a WebP or an AVIF end; 0 for any other file."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return min(len(content), 8 + int.from_bytes(content[4:8], "little"))
    if content[4:8] != b"ftyp":
        return 0
    place, end = 0, 0
    while place + 8 <= len(content):
        length, kind = int.from_bytes(content[place : place + 4]), content[place + 4 : place + 8]
        stop = place + length if length >= 8 else len(content)  # 0: to the end; 1: a length of 64 bits, of no still
        end = min(stop, len(content)) if kind == b"mdat" else end
        place = stop
    return end


def _damaged(message: str) -> str:
    return f"the image is damaged ({message}); copy or download it again"
