"""From a file to what the model sees, and back to the image's own size: one code for training and prediction.

Decisions:
- Pillow decodes (EXIF, CMYK, palette, 16 bit, truncation found); OpenCV resizes. A plain JPEG, which nearly every frame
  is, goes through OpenCV: the same pixels in half the time (0.9 ms instead of 1.7 at 530x622).
- A file's EXIF orientation is always applied, to masks as to images: both are handled as a viewer shows them.
- A mask is thresholded before any resize. It is then averaged over areas and cut at one half, so that it
  stays two-valued and a boundary moves by less than a pixel of the result.
- Resizing squeezes (the reference system's way): height and width change apart, nothing is padded.
- Nothing is repaired silently: what cannot be read as one image stops with its name.
"""

import io
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, ImageOps, UnidentifiedImageError
from PIL import Image as PillowImage

from polypseg.arrays import MASK_THRESHOLD, Image, Mask, Probability
from polypseg.errors import ImageError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp"})
"""File endings that count as an image, in lower case."""

MAX_PIXELS = 64_000_000
"""Larger images are refused before they are decoded: a decompression bomb, not a colonoscopy frame."""

MAX_GREY_SHARE = 0.02
"""A mask may have so many pixels of middling grey (64..191). Kvasir-SEG's have none, CVC-ClinicDB's at most 0.00017."""


_EMPTY = "the file is empty (0 bytes); expected an image"
_UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    OverflowError,
    struct.error,
    zlib.error,
    PillowImage.DecompressionBombError,
    PillowImage.DecompressionBombWarning,
)
"""What Pillow raises on damaged files, found by feeding it some."""


def read_image(path: Path | str, max_pixels: int = MAX_PIXELS) -> Image:
    """The image as RGB, upright.

    Grey, palette, CMYK, alpha (laid on black) and 16-bit files (scaled by 1/257) become 8-bit RGB. A 16-bit file
    that holds 8-bit values (none above 256) is refused: scaled, it would be black.

    Args:
        path: JPEG, PNG, TIFF or BMP.
        max_pixels: Larger images are refused before decoding.

    Returns:
        Shape (H, W, 3), uint8.

    Raises:
        ImageError: No such file, not an image, truncated, several frames, or too many pixels.
    """
    return decode_image(_content(Path(path)), str(path), max_pixels)


def decode_image(content: bytes, name: str = "image", max_pixels: int = MAX_PIXELS) -> Image:
    """As `read_image`, from the bytes of a file."""
    plain = _plain_jpeg(content, name, max_pixels)
    return _rgb(_decode(content, name, max_pixels)) if plain is None else plain


def _plain_jpeg(content: bytes, name: str, max_pixels: int) -> Image | None:
    """The pixels of a whole, upright JPEG of three channels; None for any other file."""
    if not content.startswith(b"\xff\xd8\xff") or not content.endswith(b"\xff\xd9"):
        return None  # OpenCV would fill up what is cut off
    try:
        with PillowImage.open(io.BytesIO(content)) as opened:
            _check_pixels(opened, name, max_pixels)
            is_upright = opened.getexif().get(ExifTags.Base.Orientation, 1) == 1
            if (opened.format, opened.mode) != ("JPEG", "RGB") or not is_upright:
                return None
    except _UNREADABLE:
        return None  # Pillow's own words follow
    found = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return None if found is None else np.asarray(cv2.cvtColor(found, cv2.COLOR_BGR2RGB, dst=found), np.uint8)


def open_pages(file: Path | BinaryIO, name: str) -> PillowImage.Image:
    """A file whose pages `read_page` reads; its pixels are not decoded yet. The caller closes it.

    Raises:
        ImageError: No such file, or not an image.
    """
    try:
        if (file.stat().st_size if isinstance(file, Path) else file.seek(0, io.SEEK_END)) == 0:
            raise ImageError(f"{name}: {_EMPTY}")
        return PillowImage.open(file)
    except _UNREADABLE as error:
        raise ImageError(f"{name}: {_reason(error)}") from error


def num_pages(opened: PillowImage.Image, name: str) -> int:
    """How many pages a TIFF holds; 1 for any other file, whose frames are an animation.

    Raises:
        ImageError: The list of its pages is damaged.
    """
    try:
        return int(getattr(opened, "n_frames", 1)) if opened.format == "TIFF" else 1
    except _UNREADABLE as error:
        raise ImageError(f"{name}: {_reason(error)}") from error


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
        opened.load()
        found = ImageOps.exif_transpose(opened)  # a copy: the file stays where the next page can be sought
    except ImageError:
        raise
    except _UNREADABLE as error:
        raise ImageError(f"{name}: {_reason(error)}") from error
    return _rgb(_to_eight_bits(found, name))


def read_grey(path: Path | str, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """A mask or an 8-bit probability map as it is stored, upright, not thresholded.

    Returns:
        Shape (H, W), uint8.

    Raises:
        ImageError: As `read_image`.
    """
    return np.asarray(_decode(_content(Path(path)), str(path), max_pixels).convert("L"))


def read_mask(path: Path | str, max_pixels: int = MAX_PIXELS) -> Mask:
    """The mask, upright, True where the file is brighter than 127.

    Returns:
        Shape (H, W), bool.

    Raises:
        ImageError: As `read_image`; or not two-valued: many grey levels, or nothing brighter than 127
            although not black (a 0/1 mask, a label map).
    """
    grey = read_grey(path, max_pixels)
    problem = mask_problem(grey)
    if problem:
        raise ImageError(f"{path}: {problem}")
    return grey > MASK_THRESHOLD


def mask_problem(grey: NDArray[np.uint8]) -> str | None:
    """What keeps a grey image (H, W) uint8 from being a mask, or None.

    >>> mask_problem(np.array([[0, 255]], np.uint8)) is None
    True
    >>> mask_problem(np.array([[0, 1]], np.uint8))
    'the mask is not black, yet nothing in it is brighter than 127 (its largest value is 1); expected 0 and 255: multiply it by 255'
    """  # noqa: E501
    brightest = int(grey.max())
    if 0 < brightest <= MASK_THRESHOLD:
        mend = f"multiply it by {255 // brightest}" if brightest <= 2 else "store it as black and white"
        return (
            f"the mask is not black, yet nothing in it is brighter than {MASK_THRESHOLD} "
            f"(its largest value is {brightest}); expected 0 and 255: {mend}"
        )
    middling = float(np.mean((grey >= 64) & (grey <= 191)))
    if middling > MAX_GREY_SHARE:
        return (
            f"the mask has {np.unique(grey).size} grey levels, {100 * middling:.0f} % of its pixels between 64 and 191;"
            " expected black and white: threshold it first"
        )
    return None


def image_size(path: Path | str) -> tuple[int, int]:
    """Height and width in pixels of an upright image, from its header alone.

    Raises:
        ImageError: No such file, or not an image.
    """
    try:
        if Path(path).stat().st_size == 0:
            raise ImageError(f"{path}: {_EMPTY}")
        with PillowImage.open(path) as opened:
            turned = opened.getexif().get(0x0112, 1) in (5, 6, 7, 8)
            if turned and opened.format == "TIFF":  # Pillow turns these itself, from some version on before they load
                opened.load()
                width, height = ImageOps.exif_transpose(opened).size
                return height, width
            width, height = opened.size
    except _UNREADABLE as error:
        raise ImageError(f"{path}: {_reason(error)}") from error
    return (width, height) if turned else (height, width)


def resize_image(image: Image, size: tuple[int, int]) -> Image:
    """The image squeezed to `size` (height, width): averaged over areas where it shrinks, bilinear where it grows."""
    if image.shape[:2] == size:
        return image
    shrinks = size[0] <= image.shape[0] and size[1] <= image.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (size[1], size[0]), interpolation=how), dtype=np.uint8)


def resize_mask(mask: Mask, size: tuple[int, int]) -> Mask:
    """The mask squeezed to `size` (height, width), two-valued: polyp where polyp covers at least half a pixel."""
    if mask.shape == size:
        return mask
    shrinks = size[0] <= mask.shape[0] and size[1] <= mask.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    covered = cv2.resize(mask.astype(np.float32), (size[1], size[0]), interpolation=how)
    return np.asarray(covered >= 0.5)


def normalise(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Images (…, H, W, 3) uint8 as the model takes them: float32 in [0, 1]."""
    return np.divide(images, np.float32(255), dtype=np.float32)


def restore(probability: NDArray[np.floating], size: tuple[int, int]) -> Probability:
    """A map (h, w) brought to the image's own `size` (height, width), bilinear, still in [0, 1]."""
    if probability.shape == size:
        return probability.astype(np.float32, copy=False)
    resized = cv2.resize(probability.astype(np.float32, copy=False), (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized, dtype=np.float32)


def to_mask(probability: Probability, threshold: float, seed_threshold: float = 0.0) -> Mask:
    """The mask of a probability map: True from the threshold on, where a component is sure enough of itself.

    Args:
        probability: Shape (H, W), float32 in [0, 1].
        threshold: A pixel is polyp from this probability on (compared in float32).
        seed_threshold: A component (8-connected) counts only where one of its pixels reaches this; up to `threshold`
            it changes nothing.

    Returns:
        Shape (H, W), bool.

    Reference:
        Hysteresis: Canny, "A Computational Approach to Edge Detection", IEEE TPAMI 8(6), 1986, sec. VI.

    >>> to_mask(np.array([[0.6, 0.9, 0.1, 0.6]], np.float32), 0.5, 0.8).tolist()
    [[True, True, False, False]]
    """
    mask = np.asarray(probability >= np.float32(threshold))
    left, top, wide, high = cv2.boundingRect(mask.view(np.uint8))
    if seed_threshold <= threshold or wide == 0:
        return mask
    inside = slice(top, top + high), slice(left, left + wide)  # all of the mask; a polyp fills a part of the image
    count, labels = cv2.connectedComponents(np.ascontiguousarray(mask[inside]).view(np.uint8), connectivity=8)
    keep = np.zeros(count, bool)
    keep[labels[probability[inside] >= np.float32(seed_threshold)]] = True
    if not keep[1:].all():
        mask[inside] = keep.take(labels)
    return mask


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: cannot read the file: {error.strerror}") from error


def _decode(content: bytes, name: str, max_pixels: int) -> PillowImage.Image:
    """The upright image of a file's bytes, its values scaled to 8 bit, alpha laid on black."""
    if not content:
        raise ImageError(f"{name}: {_EMPTY}")
    try:
        with PillowImage.open(io.BytesIO(content)) as opened:
            _check_pixels(opened, name, max_pixels)
            if getattr(opened, "n_frames", 1) != 1:
                raise ImageError(f"{name}: holds {opened.n_frames} frames; expected one image: split it first")  # type: ignore[attr-defined]
            opened.load()
            ImageOps.exif_transpose(opened, in_place=True)  # in place: without an orientation it copies nothing
    except ImageError:
        raise
    except _UNREADABLE as error:
        raise ImageError(f"{name}: {_reason(error)}") from error
    return _to_eight_bits(opened, name)


def _check_pixels(opened: PillowImage.Image, name: str, max_pixels: int) -> None:
    width, height = opened.size
    if width * height > max_pixels:
        raise ImageError(f"{name}: {height}x{width} pixels are more than the allowed {max_pixels:,}")


def _rgb(image: PillowImage.Image) -> Image:
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _to_eight_bits(image: PillowImage.Image, name: str) -> PillowImage.Image:
    if image.mode == "F":
        raise ImageError(f"{name}: holds floating-point values; expected 8 or 16 bit: store it as 8 bit, 0 to 255")
    if image.mode.startswith("I"):  # 16- and 32-bit grey: Pillow itself would clip at 255
        deep = np.asarray(image).astype(np.int64)
        low, high = int(deep.min()), int(deep.max())
        if low < 0 or high > 65535 or 0 < high < 257:
            raise ImageError(
                f"{name}: a deep grey file with values from {low} to {high}; expected 16 bit, white being 65535: "
                "store it as 8 bit, 0 to 255"
            )
        return PillowImage.fromarray(np.rint(deep / 257).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layered = image.convert("RGBA")
        return PillowImage.alpha_composite(PillowImage.new("RGBA", layered.size, (0, 0, 0, 255)), layered)
    return image


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, UnidentifiedImageError):
        return "not an image that can be read (JPEG, PNG, TIFF or BMP); is it damaged or wrongly named?"
    if isinstance(error, OSError) and error.errno is not None:
        return f"cannot read the file: {error.strerror}"
    if isinstance(error, PillowImage.DecompressionBombError):
        return f"has more pixels than any bound allows: {error}"
    if "truncated" in str(error).lower():
        return f"the image is cut short ({error}); copy or download it again"
    return f"cannot be decoded: {error}"
