"""Masks as they come from a page and as a project keeps them: PNG, 0 and 255, pixel for pixel."""

import io

import cv2
import numpy as np
from PIL import Image as PillowImage

from polypseg.arrays import Mask
from polypseg.errors import CorrectionError
from polypseg.preprocess import MAX_PIXELS


def encode_mask(mask: Mask) -> bytes:
    """The PNG (8-bit grey, 0 and 255) of a mask (H, W) bool."""
    return bytes(cv2.imencode(".png", mask.astype(np.uint8) * np.uint8(255))[1])


def decode_mask(content: bytes, size: tuple[int, int]) -> Mask:
    """The mask of a PNG.

    Args:
        content: Grey, or a canvas' colours of equal channels, opaque; 0 and 255 alone.
        size: Height and width that it must have; compared before pixels are decoded.

    Raises:
        CorrectionError: It is no PNG, of another size, or holds other values.
    """
    try:
        with PillowImage.open(io.BytesIO(content), formats=["PNG"]) as opened:
            width, height = opened.size
            if (height, width) != size or width * height > MAX_PIXELS:
                raise CorrectionError(
                    f"the mask is {height}x{width} pixels (height x width), its frame {size[0]}x{size[1]}"
                )
            pixels = np.asarray(opened.convert("RGBA" if opened.mode != "L" else "L"))
    except CorrectionError:
        raise
    except Exception as error:  # Pillow's readers raise many kinds on damaged files
        raise CorrectionError("the mask is no PNG, or a damaged one; expected 8-bit grey, 0 and 255") from error
    if pixels.ndim == 3:
        if (pixels[..., 3] != 255).any() or (pixels[..., :3] != pixels[..., :1]).any():
            raise CorrectionError("the mask has colours or transparent pixels; expected grey, 0 and 255")
        pixels = pixels[..., 0]
    if not np.isin(pixels, (0, 255)).all():
        raise CorrectionError("the mask has other values than 0 and 255; expected these alone")
    return np.ascontiguousarray(pixels == 255)
