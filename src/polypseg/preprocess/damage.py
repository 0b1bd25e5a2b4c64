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
- A table of quantisation that holds zeros is none (T.81, B.2.4.1); its decoder draws flat blocks with it.
- Pillow does not compare the check sums of PNG's image data; they are compared here. It leaves rows black that are not
  there: so those of a PNG whose last row is black are counted.
- A number that a palette has no colour for, or a level above a PPM's own white, is a fault in any format.
- WebP and AVIF have no check sums, and their decoders take a file whose second half was never copied (zeros). Coded
  pixels do not end in so many zeros.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from typing import Literal

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

_TABLES = 0xDB
"""A segment of a JPEG that holds tables of quantisation."""

_ZEROS = 128
"""Coded pixels that end in so many zero bytes were not written to their end."""

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
"""First row and column, and steps, of the passes of an interlaced PNG."""

_PIECE = 1 << 20

_PPM = re.compile(rb"P([56])" + 3 * rb"\s+(?:#[^\n]*\n\s*)*(\d+)" + rb"\s")
"""The header of a PPM or PGM of bytes: width, height, white."""

_PNG_CHECKED = (b"IHDR", b"PLTE", b"IDAT", b"tRNS", b"eXIf", b"IEND")


def decode_jpeg(content: bytes, space: Space, name: str) -> NDArray[np.uint8]:
    """The pixels of a JPEG as they are stored (not turned), (H, W, channels) uint8.

    Raises:
        ImageError: It is damaged, by as little as the decoder notices.
    """
    pixels = _decoded_jpeg(content, space, name)
    try:
        is_whole, is_empty = not _lacks_scans(content), _has_empty_table(content)
    except (LookupError, ValueError):  # a segment that is shorter than it must be
        is_whole = is_empty = False
    if not is_whole:
        raise ImageError(f"{name}: {cut_short('scans are missing')}")
    if is_empty:
        raise ImageError(f"{name}: {damaged('a table of quantisation holds zeros')}")
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


def _has_empty_table(jpeg: bytes) -> bool:
    """Whether a table of quantisation before the first scan holds a zero (ITU T.81, B.2.4.1)."""
    place = 2
    while (found := _MARKER.search(jpeg, place)) is not None:
        kind, start = jpeg[found.start() + 1], found.end() + 2
        place = found.end() + int.from_bytes(jpeg[found.end() : start])
        if kind in (_SCAN, _END):
            break
        while kind == _TABLES and start < place:
            size = 2 if jpeg[start] >> 4 else 1
            steps, start = jpeg[start + 1 : start + 1 + size * _COEFFICIENTS], start + 1 + size * _COEFFICIENTS
            if 0 in struct.unpack(f">{len(steps) // size}{'BH'[size - 1]}", steps):
                return True
    return False


def jpeg_fault(message: str) -> str:
    """The fault of a JPEG in words that say what to do.

    >>> jpeg_fault("Premature end of JPEG file")
    'the image is cut short (Premature end of JPEG file); copy or download it again'
    """
    return cut_short(message) if "remature end" in message else damaged(message)


def cut_short(message: str) -> str:
    """The fault of a file whose end is missing."""
    return f"the image is cut short ({message}); copy or download it again"


def png_fault(content: bytes) -> str:
    """What is wrong with the chunks of a PNG; empty where nothing is, or it is no PNG."""
    if not content.startswith(_PNG_SIGNATURE):
        return ""
    for kind, start, stop in _png_chunks(content):
        if kind in _PNG_CHECKED and zlib.crc32(memoryview(content)[start - 4 : stop]) != int.from_bytes(
            content[stop : stop + 4]
        ):
            return damaged(f"wrong check sum in {kind.decode()}")
        if kind == b"IEND":
            return ""
    return cut_short("no end mark")


def pixels_fault(content: bytes, picture: PillowImage.Image, num_colours: int) -> str:
    """What is wrong with pixels that were decoded without a word; empty where nothing is.

    Args:
        content: Of the file.
        picture: The decoded file, not turned yet.
        num_colours: Of its palette, as it is stored; 0 without one.
    """
    if picture.mode == "P" and num_colours and (highest := int(np.asarray(picture).max())) >= num_colours:
        return damaged(f"a pixel of number {highest}, its palette holds {num_colours} colours")
    if picture.format == "PPM":
        return _above_white(content)
    last_row = picture.crop((0, picture.height - 1, *picture.size))
    return "" if picture.format != "PNG" or np.asarray(last_row).any() else _missing_rows(content)


def _above_white(content: bytes) -> str:
    """What is wrong with the levels of a PPM whose white is below 255."""
    header = _PPM.match(content)
    if header is None or int(header[4]) >= 255:
        return ""
    levels = content[header.end() :][: int(header[2]) * int(header[3]) * (3 if header[1] == b"6" else 1)]
    highest = max(levels, default=0)
    return damaged(f"a level of {highest}, white is {int(header[4])}") if highest > int(header[4]) else ""


def _missing_rows(png: bytes) -> str:
    """What is wrong with the number of rows in a PNG that Pillow could decode."""
    width, height, bits, colour, _, _, is_interlaced = struct.unpack(">IIBBBBB", png[16:29])
    pixel = bits * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    expected = 0
    for row, column, row_step, column_step in _ADAM7 if is_interlaced else ((0, 0, 1, 1),):
        rows, columns = -((row - height) // row_step), -((column - width) // column_step)
        expected += rows * (1 + (columns * pixel + 7) // 8) if rows > 0 and columns > 0 else 0
    unpacker, found = zlib.decompressobj(), 0
    for kind, start, stop in _png_chunks(png):
        rest = png[start:stop] if kind == b"IDAT" else b""
        while rest and found < expected:
            found += len(unpacker.decompress(rest, _PIECE))
            rest = unpacker.unconsumed_tail
    return "" if found >= expected else cut_short(f"{found:,} of {expected:,} bytes of pixels")


def _png_chunks(png: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The kinds of a PNG's chunks, and where what they hold begins and ends; those that are whole."""
    place = len(_PNG_SIGNATURE)
    while place + 12 <= len(png):
        stop = place + 8 + int.from_bytes(png[place : place + 4])
        if stop + 4 > len(png):
            return
        yield png[place + 4 : place + 8], place + 8, stop
        place = stop + 4


def tail_fault(content: bytes) -> str:
    """What is wrong with the end of a WebP or an AVIF; empty where nothing is, or it is neither."""
    end = _end_of_pixels(content)
    if end >= _ZEROS and not any(content[end - _ZEROS : end]):
        return cut_short("it ends in zeros")
    return ""


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


def damaged(message: str) -> str:
    """The fault of a file that cannot be right."""
    return f"the image is damaged ({message}); copy or download it again"
