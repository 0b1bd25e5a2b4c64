"""From an image to what the model sees, and back to the image's own size: one code for training and prediction.

Decisions:
- Resizing squeezes (the reference system's way): height and width change apart, nothing is padded.
- A mask is averaged over areas and cut at one half, so that it stays two-valued and a boundary moves by less than a
  pixel of the result.
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from polypseg.arrays import Image, Mask, Probability
from polypseg.preprocess.field import Field, FieldRule, field_of


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


class ModelView(NamedTuple):
    """What the model sees of an image.

    Attributes:
        square: Shape (size, size, 3), uint8.
        field: The part of the image that it shows.
        is_found: False where no picture was found, and all of the frame is shown.
    """

    square: Image
    field: Field
    is_found: bool


def model_view(image: Image, size: int, rule: FieldRule, field: Field | None = None) -> ModelView:
    """What a model of an input size sees of an image (H, W, 3) uint8.

    Args:
        image: Shape (H, W, 3), uint8.
        size: Side of the model's square in pixels.
        rule: `auto` for the lit field, `whole` for all of the frame.
        field: Where it is known already (a video follows it); None to find it by the rule.
    """
    seen, is_found = (field, True) if field is not None else field_of(image, rule)
    return ModelView(resize_image(seen.crop(image), (size, size)), seen, is_found)


def normalise(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Images (…, H, W, 3) uint8 as the model takes them: float32 in [0, 1]."""
    return np.divide(images, np.float32(255), dtype=np.float32)


def restore(probability: NDArray[np.floating], size: tuple[int, int]) -> Probability:
    """A map (h, w) brought to the image's own `size` (height, width), bilinear, still in [0, 1]."""
    if probability.shape == size:
        return probability.astype(np.float32, copy=False)
    resized = cv2.resize(probability.astype(np.float32, copy=False), (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized, dtype=np.float32)


def put_back(probability: NDArray[np.floating], field: Field, size: tuple[int, ...]) -> Probability:
    """A map (h, w) of a field as a map of the whole frame of `size` (height, width, …); 0 outside of the field."""
    inner = restore(probability, (field.height, field.width))
    return np.asarray(field.place(inner, (size[0], size[1])), np.float32)


def to_mask(probability: Probability, threshold: float, peak_threshold: float = 0.0) -> Mask:
    """The mask of a probability map: True from the threshold on, where a component is sure enough of itself.

    Args:
        probability: Shape (H, W), float32 in [0, 1].
        threshold: A pixel is polyp from this probability on (compared in float32).
        peak_threshold: A component (8-connected) counts only where one of its pixels reaches this; up to `threshold`
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
    if peak_threshold <= threshold or wide == 0:
        return mask
    inside = slice(top, top + high), slice(left, left + wide)  # all of the mask; a polyp fills a part of the image
    count, labels = cv2.connectedComponents(np.ascontiguousarray(mask[inside]).view(np.uint8), connectivity=8)
    keep = np.zeros(count, bool)
    keep[labels[probability[inside] >= np.float32(peak_threshold)]] = True
    if not keep[1:].all():
        mask[inside] = keep.take(labels)
    return mask
