"""Masks and maps laid over an image, pixel by pixel: arrays in, an array (H, W, 3) uint8 out.

Decisions:
- A colour is blended as (1 - opacity) * image + opacity * colour, rounded to the nearest level.
- Found is light blue, missed is dark blue, a false alarm is yellow. Laid at the default opacity over the
  colours of a colon (and over black) and seen with normal, protan, deutan or tritan eyes, any two of the three
  stay at least 31 CIE 1976 units apart, and each at least 19 from the bare image; the usual
  green, yellow and magenta fall to 2 (tests/report/test_overlay.py measures it).
- Under a heat map the image is grey, so that every colour belongs to the map.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from polypseg.arrays import Image, Mask, Probability, check_image, check_mask, check_probability, check_same_shape
from polypseg.errors import DataError, UsageError

Colour = tuple[int, int, int]
"""Red, green, blue, each 0 to 255."""

TRUE_POSITIVE: Colour = (86, 180, 233)
FALSE_POSITIVE: Colour = (240, 228, 66)
FALSE_NEGATIVE: Colour = (0, 40, 140)
DOUBTFUL = FALSE_POSITIVE
"""Of what may be polyp or not."""
OUTLINE: Colour = (255, 255, 255)

COMPARE_OPACITY = 0.6
"""Of `compare_overlay`; the distances above hold for it."""

_LEVELS = np.arange(256, dtype=np.uint8)[:, np.newaxis]  # a column: of a plain vector OpenCV 5 makes a row
HEAT_COLOURS: NDArray[np.uint8] = cv2.applyColorMap(_LEVELS, cv2.COLORMAP_INFERNO)[:, 0, ::-1]
"""The 256 colours of a heat map, shape (256, 3): Matplotlib's inferno, in even steps of lightness."""
HEAT_COLOURS.setflags(write=False)


def overlay(image: Image, mask: Mask, colour: Colour = TRUE_POSITIVE, opacity: float = 0.5) -> Image:
    """The image with the masked pixels tinted.

    Args:
        image: Shape (H, W, 3), uint8.
        mask: Shape (H, W), bool.
        colour: Of the tint.
        opacity: 0 leaves the image as it is, 1 hides it.

    Returns:
        Shape (H, W, 3), uint8; a new array.

    Raises:
        DataError: Not an image, not a mask, or of unlike size.
        UsageError: A colour or an opacity out of range.

    >>> overlay(np.zeros((1, 2, 3), np.uint8), np.array([[True, False]]), (100, 200, 0), opacity=0.5).tolist()
    [[[50, 100, 0], [0, 0, 0]]]
    """
    _check_pair(image, mask)
    return _tinted(image, [(mask, colour)], opacity)


def compare_overlay(image: Image, predicted: Mask, reference: Mask, opacity: float = COMPARE_OPACITY) -> Image:
    """The image with what was found in light blue, what was missed in dark blue and false alarms in yellow.

    Args:
        image: Shape (H, W, 3), uint8.
        predicted: Shape (H, W), bool.
        reference: Shape (H, W), bool.
        opacity: 0 leaves the image as it is, 1 hides it.

    Returns:
        Shape (H, W, 3), uint8; pixels in neither mask are untouched.

    Raises:
        DataError: Not an image, not masks, or of unlike size.
        UsageError: An opacity out of range.
    """
    check_same_shape(check_mask(predicted, "predicted"), check_mask(reference, "reference"))
    _check_pair(image, predicted)
    layers = [
        (predicted & reference, TRUE_POSITIVE),
        (predicted & ~reference, FALSE_POSITIVE),
        (~predicted & reference, FALSE_NEGATIVE),
    ]
    return _tinted(image, layers, opacity)


def contour(image: Image, mask: Mask, colour: Colour = OUTLINE, width_px: int = 2) -> Image:
    """The image with a line along the inside of the mask's border.

    The line takes the masked pixels from which at most `width_px` steps up, down, left or right leave the
    mask; beyond the edge of the image there is no mask, so that a line around a polyp is always closed.

    Args:
        image: Shape (H, W, 3), uint8.
        mask: Shape (H, W), bool.
        colour: Of the line.
        width_px: Of the line; `line_width_px` gives one that suits the image's size.

    Returns:
        Shape (H, W, 3), uint8; a new array.

    Raises:
        DataError: Not an image, not a mask, or of unlike size.
        UsageError: A colour out of range, or a width below 1.
    """
    _check_pair(image, mask)
    if width_px < 1:
        raise UsageError(f"width_px {width_px}: expected at least 1 pixel")
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    inner = cv2.erode(
        mask.astype(np.uint8), cross, iterations=width_px, borderType=cv2.BORDER_CONSTANT, borderValue=(0, 0, 0, 0)
    )
    return _tinted(image, [(mask & (inner == 0), colour)], opacity=1.0)


def numbered(image: Image, numbers: Sequence[tuple[int, tuple[int, int, int, int]]]) -> Image:
    """The image with a number at the upper left corner of each box, white on black.

    Args:
        image: Shape (H, W, 3), uint8.
        numbers: Each with its box: x, y, width, height.

    Returns:
        Shape (H, W, 3), uint8; the image itself where there is no number.
    """
    if not numbers:
        return image
    drawn = check_image(image).copy()
    scale = max(0.4, max(image.shape[:2]) / 900)
    thickness = max(1, round(1.6 * scale))
    for number, (x, y, _, _) in numbers:
        (width, height), below = cv2.getTextSize(str(number), cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
        left = min(max(0, x), max(0, image.shape[1] - width - 4))
        top = min(max(0, y - height - below - 4), max(0, image.shape[0] - height - below - 4))
        cv2.rectangle(drawn, (left, top), (left + width + 3, top + height + below + 3), (0, 0, 0), cv2.FILLED)
        place = (left + 2, top + height + 2)
        cv2.putText(drawn, str(number), place, cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), thickness, cv2.LINE_AA)
    return drawn


def line_width_px(shape: tuple[int, ...]) -> int:
    """The width of a line that is seen when the image is shown small: 0.8 % of its longer side, at least 1.

    >>> line_width_px((256, 256)), line_width_px((1072, 1920)), line_width_px((8, 8))
    (2, 15, 1)
    """
    return max(1, round(0.008 * max(shape[:2])))


def heat_map(
    image: Image, probability: Probability, opacity: float = 0.6, limits: tuple[float, float] = (0.0, 1.0)
) -> Image:
    """The image in grey under the map's colours: black where it is low, through red to light yellow.

    Args:
        image: Shape (H, W, 3), uint8.
        probability: Shape (H, W), float in [0, 1]; an attention map is one too.
        opacity: 0 shows the grey image alone, 1 the map alone.
        limits: The values of the lowest and the highest colour; beyond them the colour stays.

    Returns:
        Shape (H, W, 3), uint8.

    Raises:
        DataError: Not an image, not a map in [0, 1], or of unlike size.
        UsageError: An opacity out of range, or limits that do not rise.
    """
    values = check_probability(probability)
    _check_pair(image, np.ones(values.shape, bool))
    _check_opacity(opacity)
    low, high = limits
    if not low < high:
        raise UsageError(f"limits {limits}: expected the lower value first, as (0, 1)")
    place = np.clip((values - low) / (high - low), 0.0, 1.0)
    colours = HEAT_COLOURS[np.rint(255 * place).astype(np.uint8)].astype(np.float32)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)[..., np.newaxis]
    return np.asarray(np.rint((1 - opacity) * grey + opacity * colours), np.uint8)


def _tinted(image: Image, layers: list[tuple[Mask, Colour]], opacity: float) -> Image:
    _check_opacity(opacity)
    tinted = image.copy()
    for mask, colour in layers:
        if len(colour) != 3 or not all(0 <= level <= 255 for level in colour):
            raise UsageError(f"colour {colour}: expected (red, green, blue), each 0 to 255")
        below = image[mask].astype(np.float32)
        tinted[mask] = np.rint((1 - opacity) * below + opacity * np.asarray(colour, np.float32)).astype(np.uint8)
    return tinted


def _check_opacity(opacity: float) -> None:
    if not 0.0 <= opacity <= 1.0:
        raise UsageError(f"opacity {opacity:g}: expected a value in [0, 1]")


def _check_pair(image: Image, mask: Mask) -> None:
    shape = check_image(image).shape[:2]
    if shape != check_mask(mask).shape:
        raise DataError(
            f"the image has {shape[0]}x{shape[1]} pixels (height x width), what is laid over it "
            f"{mask.shape[0]}x{mask.shape[1]}; bring it to the image's own size first (preprocess.restore)"
        )
