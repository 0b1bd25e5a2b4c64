"""What is kept of an image to find its copies: a perceptual hash and small pictures of its local contrast.

Colonoscopy frames look alike as a whole: a dark surround, a panel in a corner, a bright wall. A perceptual hash
mostly sees those (of the 36 pairs of Kvasir-SEG whose hashes differ in at most 6 bits, 6 show one scene, the
other 30 do not), and it loses a frame that was stored once with and once without a panel. So beside the hash
there are pictures of the local contrast, in which surround and panel do not count.

Decisions:
- Local contrast: grey minus its surroundings' mean, over their deviation; light, colour and blur hardly matter.
- Dark pixels and panels of pure green or blue are not shown by the endoscope: their weight is 0.
- Two views: the whole file (steady under any resizing), and the part that shows something, without its dark
  margins (steady under cropped or added margins).
"""

from hashlib import blake2b
from typing import NamedTuple

import cv2
import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from polypseg.arrays import Image

SIDE = 64
"""Side in pixels of the pictures by which a pair is confirmed."""

COARSE_SIDE = 32
"""Side in pixels of the pictures by which candidates are found."""

_STEPS = 40.0
"""Local contrast is stored in steps of 1/40, from -3.2 to 3.2."""


class Fingerprint(NamedTuple):
    """One image.

    Attributes:
        digest: Of the pixels; equal for equal images only.
        hash: 64-bit perceptual hash of the whole file.
        contrast: Local contrast of the whole and of the visible part, shape (2, 64, 64), int8.
        shown: Which of those pixels count, shape (2, 64, 64), bool.
        coarse: Local contrast of the visible part, shape (32, 32), int8.
        coarse_shown: Which of those pixels count, shape (32, 32), bool.
    """

    digest: bytes
    hash: int
    contrast: NDArray[np.int8]
    shown: NDArray[np.bool_]
    coarse: NDArray[np.int8]
    coarse_shown: NDArray[np.bool_]


def fingerprint(image: Image) -> Fingerprint:
    """The fingerprint of an image (H, W, 3) uint8; about 12 KiB whatever its size."""
    digest = blake2b(np.ascontiguousarray(image).data, digest_size=16, person=repr(image.shape[:2]).encode()[:16])
    small = _squeeze(image, 4 * SIDE)
    visible = visible_part(small)
    contrasts, weights = zip(*(local_contrast(_squeeze(view, SIDE), 2.7) for view in (small, visible)), strict=True)
    coarse, coarse_shown = local_contrast(_squeeze(visible, COARSE_SIDE), 3.0)
    return Fingerprint(
        digest.digest(), perceptual_hash(small), np.stack(contrasts), np.stack(weights), coarse, coarse_shown
    )


def perceptual_hash(image: Image) -> int:
    """The 64-bit perceptual hash of an image (H, W, 3) uint8.

    Reference:
        Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010 (pHash by DCT).
    """
    grey = PillowImage.fromarray(image).convert("L").resize((256, 256), PillowImage.Resampling.BOX)
    return int(str(imagehash.phash(grey)), 16)


def visible_part(image: Image) -> Image:
    """The image without its dark margins: from the first to the last row and column that are lit in 30 % or more.

    Lines of text in a margin light less. An image whose lit part is less than 30 % of a side is returned whole.
    """
    lit = lit_part(image)
    rows, columns = np.flatnonzero(lit.mean(1) >= 0.3), np.flatnonzero(lit.mean(0) >= 0.3)
    if len(rows) < 0.3 * lit.shape[0] or len(columns) < 0.3 * lit.shape[1]:
        return image
    return image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def local_contrast(image: Image, reach_px: float) -> tuple[NDArray[np.int8], NDArray[np.bool_]]:
    """Grey against its surroundings (H, W) int8, 0 where nothing is shown, and where something is shown (H, W) bool.

    Args:
        image: Shape (H, W, 3), uint8.
        reach_px: Standard deviation of the surroundings' Gaussian.
    """
    red, green, blue = (image[..., channel].astype(np.float32) for channel in range(3))
    is_panel = np.maximum(green, blue) > 1.25 * red + 10  # mucosa is red, even where it is dyed
    shown = cv2.erode((lit_part(image) & ~is_panel).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    weight = shown.astype(np.float32)
    nearby = np.maximum(cv2.GaussianBlur(weight, (0, 0), reach_px), np.float32(1e-3))
    grey = (red + green + blue) / 3
    difference = (grey - cv2.GaussianBlur(grey * weight, (0, 0), reach_px) / nearby) * weight
    deviation = np.sqrt(cv2.GaussianBlur(difference**2, (0, 0), reach_px) / nearby)
    contrast = difference / (deviation + np.float32(0.03) * max(1.0, float(grey.max())))
    return np.clip(np.rint(contrast * _STEPS), -127, 127).astype(np.int8), shown


def lit_part(image: Image) -> NDArray[np.bool_]:
    """Where the brightest channel is brighter than a surround: than 24, and a sixth of what it reaches in the light."""
    brightest = np.maximum(np.maximum(image[..., 0], image[..., 1]), image[..., 2])  # far faster than .max(2)
    return np.asarray(brightest > max(24.0, float(np.quantile(brightest, 0.98)) / 6))


def _squeeze(image: Image, side: int) -> Image:
    return np.asarray(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA), np.uint8)
