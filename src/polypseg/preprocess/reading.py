"""Reading an image: from a file's bytes to upright 8-bit RGB.

Decisions:
- Pillow tells what a file is (only the formats that are meant: none that starts another program) and decodes it (EXIF,
  CMYK, palette, 16 bit). A JPEG is decoded by libjpeg-turbo with its warnings as errors: the same pixels, sooner.
- A file's orientation is always applied, to masks and maps as to images: all are handled as a viewer shows them. One
  that stands in XMP alone, which Pillow follows and most viewers do not, is refused.
- An image of more than 8 bits is brought to 8. What is read by its exact values (masks, maps, labels) is refused where
  that would make one value of two (`decode_exact`).
- Nothing is repaired silently: what cannot be read as one image stops with its name. A phone's photo that carries more
  pictures (a preview, a gain map) is its first one, as a viewer shows it; that is noted.
"""

import io
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, ImageOps
from PIL import Image as PillowImage

from polypseg.arrays import Image
from polypseg.errors import ImageError
from polypseg.preprocess.damage import decode_jpeg, pixels_fault, png_fault, tail_fault
from polypseg.preprocess.depth import is_deep, loses_levels
from polypseg.preprocess.emptiness import checked_frame
from polypseg.preprocess.files import EMPTY, UNREADABLE, check_regular, file_content, reason_of
from polypseg.preprocess.tiffs import has_sign, tiff_fault
from polypseg.preprocess.turning import UPRIGHT, refuse_turn_by_note, upright

MAX_PIXELS = 64_000_000
"""Larger images are refused before they are decoded: a decompression bomb, not a colonoscopy frame."""

_JPEG_START = b"\xff\xd8"

_FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "DIB", "WEBP", "JPEG2000", "AVIF", "GIF", "PPM")

_SPACES: Mapping[str, Literal["RGB", "GRAY", "CMYK"]] = MappingProxyType({"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK"})
"""How a JPEG of a mode of Pillow's is decoded."""


class Stored(NamedTuple):
    """A decoded file, upright, its values as they are stored.

    Attributes:
        picture: In a mode of Pillow's.
        is_lossy: Whether the format may change values (JPEG, WebP, JPEG 2000, AVIF).
        is_deep: Whether it holds more than 8 bits a channel.
        note: What a user should know of it; mostly empty.
    """

    picture: PillowImage.Image
    is_lossy: bool
    is_deep: bool
    note: str


def read_image(path: Path | str, max_pixels: int = MAX_PIXELS) -> Image:
    """The image as RGB, upright.

    Grey, palette, CMYK, alpha (laid on black) and 16-bit files (scaled by 1/257) become 8-bit RGB.

    Args:
        path: JPEG, PNG, TIFF, BMP, WebP, JPEG 2000, AVIF, GIF or PPM.
        max_pixels: Larger images are refused before decoding.

    Returns:
        Shape (H, W, 3), uint8.

    Raises:
        ImageError: No such file, no regular file, not an image, damaged, several frames, too many pixels, or nothing
            to be seen: (nearly) black, of one colour, transparent, or 16-bit values that are not scaled.
    """
    return read_noted(path, max_pixels)[0]


def read_noted(path: Path | str, max_pixels: int = MAX_PIXELS) -> tuple[Image, str]:
    """As `read_image`, with what a user should know of the file (that it holds further pictures); mostly empty."""
    return decode_noted(file_content(Path(path)), str(path), max_pixels)


def decode_image(content: bytes, name: str = "image", max_pixels: int = MAX_PIXELS) -> Image:
    """As `read_image`, from the bytes of a file."""
    return decode_noted(content, name, max_pixels)[0]


def decode_noted(content: bytes, name: str, max_pixels: int) -> tuple[Image, str]:
    """As `read_noted`, from the bytes of a file."""
    if content.startswith(_JPEG_START):
        with _opened(content, name, max_pixels) as opened:
            if opened.mode == "RGB" and _is_jpeg(opened):
                pixels = upright(decode_jpeg(content, "RGB", name), opened, name)
                return checked_frame(pixels, name, is_deep=False), _note(opened, name)
    stored = decode_stored(content, name, max_pixels)
    return checked_frame(_rgb(to_eight_bits(stored.picture, name)), name, stored.is_deep), stored.note


def open_pages(file: Path | BinaryIO, name: str) -> PillowImage.Image:
    """A file whose pages `read_page` reads; its pixels are not decoded yet. The caller closes it.

    Raises:
        ImageError: No such file, or not an image.
    """
    try:
        if isinstance(file, Path):
            check_regular(file)
        elif file.seek(0, io.SEEK_END) == 0:
            raise ImageError(f"{name}: {EMPTY}")
        return PillowImage.open(file, formats=_FORMATS)
    except ImageError:
        raise
    except UNREADABLE as error:
        raise ImageError(f"{name}: {reason_of(error, _head(file))}") from error


def num_pages(opened: PillowImage.Image, name: str) -> int:
    """How many pages a TIFF holds; 1 for any other file, whose frames are an animation.

    Raises:
        ImageError: The list of its pages is damaged.
    """
    try:
        return int(getattr(opened, "n_frames", 1)) if opened.format == "TIFF" else 1
    except UNREADABLE as error:
        raise ImageError(f"{name}: {reason_of(error)}") from error


def read_page(opened: PillowImage.Image, page: int, name: str, max_pixels: int = MAX_PIXELS) -> Image:
    """A page as RGB, upright; each is decoded when it is asked for.

    Args:
        opened: From `open_pages`.
        page: Counted from 0.
        name: For messages.
        max_pixels: A larger page is refused before decoding.

    Returns:
        Shape (H, W, 3), uint8.

    Raises:
        ImageError: As `read_image`.
    """
    try:
        opened.seek(page)
        _check_pixels(opened, name, max_pixels)
        refuse_turn_by_note(opened, name)
        deep, fault = is_deep(opened, b""), tiff_fault(opened)
        if not fault and has_sign(opened):
            fault = "values that have a sign; expected 0 to 255, or 16 bit, white being 65535: store it so"
        if fault:
            raise ImageError(f"{name}: {fault}")
        opened.load()
        found = ImageOps.exif_transpose(opened)  # a copy: the file stays where the next page can be sought
    except ImageError:
        raise
    except UNREADABLE as error:
        raise ImageError(f"{name}: {reason_of(error)}") from error
    return checked_frame(_rgb(to_eight_bits(found, name)), name, deep)


def image_size(path: Path | str) -> tuple[int, int]:
    """Height and width in pixels of an upright image, from its header alone.

    Raises:
        ImageError: No such file, or not an image.
    """
    return _header(path)[0]


def is_turned(path: Path | str) -> bool:
    """Whether a file's orientation says that its stored pixels are to be turned or mirrored; errors as `image_size`."""
    return _header(path)[1] in UPRIGHT


def header_note(path: Path | str) -> str:
    """What a user should know of a file, from its header alone (that it holds further pictures); mostly empty.

    Empty, too, for a file that cannot be read: the error of whoever reads it says so.
    """
    try:
        check_regular(Path(path))
        with Path(path).open("rb") as opened:
            if opened.read(2) != _JPEG_START:
                return ""
        with PillowImage.open(path, formats=_FORMATS) as picture:
            return _note(picture, str(path))
    except (ImageError, *UNREADABLE):
        return ""


def _header(path: Path | str) -> tuple[tuple[int, int], int]:
    """Height and width of the upright image, and EXIF's orientation."""
    try:
        check_regular(Path(path))
        with PillowImage.open(path, formats=_FORMATS) as opened:
            orientation = int(opened.getexif().get(ExifTags.Base.Orientation, 1))
            turned = orientation in (5, 6, 7, 8)
            if turned and opened.format == "TIFF":  # Pillow turns these itself, from some version on before they load
                opened.load()
                width, height = ImageOps.exif_transpose(opened).size
                return (height, width), orientation
            width, height = opened.size
    except ImageError:
        raise
    except UNREADABLE as error:
        raise ImageError(f"{path}: {reason_of(error, _head(Path(path)))}") from error
    return ((width, height) if turned else (height, width)), orientation


def decode_stored(content: bytes, name: str, max_pixels: int) -> Stored:
    """The upright image of a file's bytes, its values as they are stored.

    Raises:
        ImageError: As `read_image`, but for what is to be seen.
    """
    with _opened(content, name, max_pixels) as opened:
        note, deep = _note(opened, name), is_deep(opened, content)
        is_lossy = _is_jpeg(opened) or opened.format in ("WEBP", "JPEG2000", "AVIF")
        if _is_jpeg(opened):
            pixels = decode_jpeg(content, _SPACES[opened.mode], name)  # of CMYK only whether it is whole
            if opened.mode != "CMYK":
                shown = upright(np.ascontiguousarray(pixels[..., 0]) if is_grey(pixels) else pixels, opened, name)
                return Stored(PillowImage.fromarray(shown), True, False, note)
        try:
            fault = png_fault(content) or tail_fault(content) or tiff_fault(opened)
            if fault:
                raise ImageError(f"{name}: {fault}")
            num_colours = _num_colours(opened)
            opened.load()
            fault = pixels_fault(content, opened, num_colours)
            if fault:
                raise ImageError(f"{name}: {fault}")
            ImageOps.exif_transpose(opened, in_place=True)  # in place: without an orientation it copies nothing
        except ImageError:
            raise
        except UNREADABLE as error:
            raise ImageError(f"{name}: {reason_of(error)}") from error
        return Stored(opened, is_lossy, deep, note)


def decode_exact(content: bytes, name: str, max_pixels: int) -> Stored:
    """As `decode_stored`, of a file whose values count: a mask, a map, labels.

    Raises:
        ImageError: As `decode_stored`; or values that differ became equal when 16 bits were brought to 8.
    """
    stored = decode_stored(content, name, max_pixels)
    if stored.is_deep and stored.picture.mode[0] not in "IF" and loses_levels(content):
        raise ImageError(
            f"{name}: 16 bits a channel, values that differ become equal in 8 bits; expected 8 bit, or 16-bit grey: "
            "store it so, 0 and 255"
        )
    return stored


def to_eight_bits(picture: PillowImage.Image, name: str) -> PillowImage.Image:
    """The picture with its values scaled to 8 bit, alpha laid on black.

    Raises:
        ImageError: Its values are none that an image can have, or nothing of it is visible.
    """
    if picture.mode == "F":
        raise ImageError(f"{name}: holds floating-point values; expected 8 or 16 bit: store it as 8 bit, 0 to 255")
    if picture.mode.startswith("I"):  # 16- and 32-bit grey: Pillow itself would clip at 255
        deep = np.asarray(picture).astype(np.int64)
        low, high = int(deep.min()), int(deep.max())
        if low < 0 or high > 65535 or 0 < high < 257 or (high > 0 and has_sign(picture)):
            sign = " that have a sign" if has_sign(picture) else ""
            raise ImageError(
                f"{name}: a deep grey file with values from {low} to {high}{sign}; expected 16 bit, white being 65535: "
                "store it as 8 bit, 0 to 255"
            )
        return PillowImage.fromarray(np.rint(deep / 257).astype(np.uint8))
    if has_alpha(picture):
        layered = picture.convert("RGBA")
        if layered.getchannel("A").getextrema() == (0, 0):
            raise ImageError(f"{name}: alpha is 0 everywhere, nothing of it is visible; store it without alpha")
        return PillowImage.alpha_composite(PillowImage.new("RGBA", layered.size, (0, 0, 0, 255)), layered)
    return picture


def is_grey(pixels: NDArray[np.uint8]) -> bool:
    """Whether the channels of a picture (H, W, 1) or (H, W, 3) are equal."""
    first = pixels[..., 0]
    return all(np.array_equal(first, pixels[..., channel]) for channel in range(1, pixels.shape[2]))


def has_alpha(picture: PillowImage.Image) -> bool:
    """Whether pixels may be transparent."""
    return picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info


def _opened(content: bytes, name: str, max_pixels: int) -> PillowImage.Image:
    """The file, its header read, and one image in it."""
    if not content:
        raise ImageError(f"{name}: {EMPTY}")
    try:
        opened = PillowImage.open(io.BytesIO(content), formats=_FORMATS)
        _check_pixels(opened, name, max_pixels)
        frames = getattr(opened, "n_frames", 1)
    except ImageError:
        raise
    except UNREADABLE as error:
        raise ImageError(f"{name}: {reason_of(error, content)}") from error
    if frames != 1 and not _is_jpeg(opened):
        raise ImageError(f"{name}: holds {frames} frames; expected one image: split it first")
    refuse_turn_by_note(opened, name)
    return opened


def _num_colours(opened: PillowImage.Image) -> int:
    """Of the palette, as it is stored: decoding fills it up; 0 without one."""
    palette = opened.palette if opened.mode == "P" else None
    return 0 if palette is None else len(palette.palette) // len(palette.rawmode or palette.mode)


def _is_jpeg(opened: PillowImage.Image) -> bool:
    return opened.format in ("JPEG", "MPO")


def _note(opened: PillowImage.Image, name: str) -> str:
    frames = getattr(opened, "n_frames", 1)
    return f"{name}: holds {frames} pictures; the first one was read" if frames > 1 else ""


def _check_pixels(opened: PillowImage.Image, name: str, max_pixels: int) -> None:
    width, height = opened.size
    if width * height > max_pixels:
        raise ImageError(f"{name}: {height}x{width} pixels are more than the allowed {max_pixels:,}")


def _rgb(image: PillowImage.Image) -> Image:
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _head(file: Path | BinaryIO) -> bytes:
    """The first bytes of a file that could not be opened as an image; none where they cannot be read."""
    try:
        if isinstance(file, Path):
            with file.open("rb") as opened:
                return opened.read(1024)
        file.seek(0)
        return file.read(1024)
    except OSError:
        return b""
