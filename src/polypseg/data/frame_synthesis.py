"""New training frames out of old ones: the polyp taken away, a polyp more, another's colours, bent, compressed again.

Kvasir-SEG has no frame without a polyp, so that a model trained on it as it is marks something in nearly every
frame. Here a share of the frames is shown without its polyp, again in each epoch.

Decisions:
- Works on the bytes of a batch (NumPy and OpenCV), before augmentation, the same on every backend; what is drawn
  follows from a key alone.
- A polyp is cut away where enough of the frame is left beside it: such a picture is real everywhere. Else it is
  covered by the mirrored frame, in the colour of its surroundings, with a soft edge; and where its mirror image would
  lie on the polyp itself the frame stays as it is. Pasted polyps have the same soft edge, so that the edge itself tells
  nothing.
- Colours come from another frame of the same batch, whole: what they become was seen through some endoscope.
- A close-up of a polyp is a window drawn as those without a polyp are, so that an enlarged frame without a black rim
  tells nothing about what it shows.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

LEAST_CROP = 0.35
"""Shorter side of what is left beside a polyp, as a share of the frame, below which it is covered instead."""
LONGEST_CROP = 1.5
"""Longer side of a window over its shorter one, at most: what is seen keeps its shape."""
MOST_FILLED = 0.5
"""Share of a close-up that may be polyp; a window within a polyp does not show what it is."""
MOST_OVERLAP = 0.05
"""Share of the polyp that its own mirror image may hide; that much is painted over."""
MARGIN = 0.02
"""How far from the polyp's edge its surroundings begin, as a share of the frame's side."""
DARK = 30
"""Grey level below which a pixel belongs to the black around an endoscope's picture."""
LEAST_PIXELS = 0.05
"""Share of a frame that must be brighter than that, for its colours to be given or taken."""
MOST_STRETCH = 2.0
"""Greatest factor by which a colour's spread grows or shrinks when a frame takes another's colours."""
ELASTIC_NODES = 5
"""Nodes a side of the net by which a frame is bent."""
ELASTIC_SIGMA = 0.03
"""Standard deviation of a node's shift along each axis, as a share of the frame's side."""


class SynthesisShares(NamedTuple):
    """Shares of the samples, each in [0, 1].

    Attributes:
        polyp_removal: Shown without their polyp, where that can be done.
        copy_paste: Get a polyp of another sample of the batch.
        jpeg: Compressed again at a quality from 30 to 90.
        colour_transfer: Take the colours of another sample of the batch.
        elastic: Bent.
        close_ups: Shown as a window that holds some of the polyp, enlarged; these get no other's polyp.
    """

    polyp_removal: float = 0.0
    copy_paste: float = 0.0
    jpeg: float = 0.0
    colour_transfer: float = 0.0
    elastic: float = 0.0
    close_ups: float = 0.0


def synthesise(images: Bytes, masks: Bytes, key: Sequence[int], shares: SynthesisShares) -> tuple[Bytes, Bytes]:
    """The batch with some of its samples synthesised; the arrays given are left as they are.

    Args:
        images: Shape (N, H, W, 3).
        masks: Shape (N, H, W, 1), values 0 and 1.
        key: Whole numbers that decide what is drawn.
        shares: How many of which.

    Returns:
        Images and masks of the same shapes and values.
    """
    if not any(shares):
        return images, masks
    images_out, masks_out = images.copy(), masks.copy()
    for index in range(len(images)):
        rng = np.random.default_rng([*map(int, key), index])
        kind, other = rng.random(), int(rng.integers(max(1, len(images) - 1)))
        other += other >= index  # any but this one
        if kind < shares.polyp_removal:
            empty = without_polyp(images[index], masks[index, ..., 0], rng)
            if empty is not None:
                images_out[index], masks_out[index] = empty, 0
        elif kind < shares.polyp_removal + shares.copy_paste and other < len(images):
            pasted = with_polyp_of(images[index], masks[index, ..., 0], images[other], masks[other, ..., 0], rng)
            images_out[index], masks_out[index, ..., 0] = pasted
        elif 0 <= kind - shares.polyp_removal - shares.copy_paste < shares.close_ups:
            images_out[index], masks_out[index, ..., 0] = close_up(images[index], masks[index, ..., 0], rng)
        quality = int(rng.integers(30, 91)) if rng.random() < shares.jpeg else None
        if rng.random() < shares.colour_transfer and len(images) > 1:
            giver = (index + 1 + int(rng.integers(len(images) - 1))) % len(images)
            images_out[index] = with_colours_of(images_out[index], images[giver])
        if rng.random() < shares.elastic:
            images_out[index], masks_out[index, ..., 0] = bent(images_out[index], masks_out[index, ..., 0], rng)
        if quality is not None:
            images_out[index] = _compressed(images_out[index], quality)
    return images_out, masks_out


def without_polyp(image: Bytes, mask: Bytes, rng: np.random.Generator) -> Bytes | None:
    """A frame without a polyp: what lies beside it, enlarged, or the whole with the polyp covered; None where neither
    can be done.

    Args:
        image: Shape (H, W, 3).
        mask: Shape (H, W), values 0 and 1; where it is empty the image comes back as it is.
        rng: Draws the crop.
    """
    if not mask.any():
        return image
    crop = _crop_beside(image, mask, rng)
    return _covered(image, mask) if crop is None else crop


def _crop_beside(image: Bytes, mask: Bytes, rng: np.random.Generator) -> Bytes | None:
    """A window of the frame that no polyp reaches into, at the frame's size, or None where all are too small."""
    height, width = mask.shape
    gap_y, gap_x = int(np.ceil(MARGIN * height)), int(np.ceil(MARGIN * width))
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, bottom, left, right = rows[0] - gap_y, rows[-1] + 1 + gap_y, columns[0] - gap_x, columns[-1] + 1 + gap_x
    strips = [(0, top, 0, width), (bottom, height, 0, width), (0, height, 0, left), (0, height, right, width)]
    large = [
        (r0, r1, c0, c1)
        for r0, r1, c0, c1 in strips
        if r1 - r0 >= LEAST_CROP * height and c1 - c0 >= LEAST_CROP * width
    ]
    if not large:
        return None
    row_0, row_1, column_0, column_1 = large[int(rng.integers(len(large)))]
    side_y = min(row_1 - row_0, int(LONGEST_CROP * (column_1 - column_0)))
    side_x = min(column_1 - column_0, int(LONGEST_CROP * (row_1 - row_0)))
    row = row_0 + int(rng.integers(row_1 - row_0 - side_y + 1))
    column = column_0 + int(rng.integers(column_1 - column_0 - side_x + 1))
    window = image[row : row + side_y, column : column + side_x]
    return np.asarray(cv2.resize(window, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def close_up(image: Bytes, mask: Bytes, rng: np.random.Generator) -> tuple[Bytes, Bytes]:
    """A window that holds a pixel of a polyp (any, where there is none), and its mask, at the frame's size.

    Args:
        image: Shape (H, W, 3).
        mask: Shape (H, W), values 0 and 1; where more than `MOST_FILLED` of the window would be polyp, image and mask
            come back as they are.
        rng: Draws the window: each side from `LEAST_CROP` of the frame's to all of it.
    """
    height, width = mask.shape
    side_y, side_x = (
        max(1, round(side * share)) for side, share in zip(mask.shape, rng.uniform(LEAST_CROP, 1, 2), strict=True)
    )
    side_y, side_x = min(side_y, int(LONGEST_CROP * side_x)), min(side_x, int(LONGEST_CROP * side_y))
    held = np.argwhere(mask) if mask.any() else np.argwhere(mask == 0)
    row, column = held[int(rng.integers(len(held)))]
    top = int(rng.integers(max(0, row - side_y + 1), min(row, height - side_y) + 1))
    left = int(rng.integers(max(0, column - side_x + 1), min(column, width - side_x) + 1))
    window = slice(top, top + side_y), slice(left, left + side_x)
    if mask[window].mean() > MOST_FILLED:
        return image, mask
    enlarged = cv2.resize(image[window], (width, height), interpolation=cv2.INTER_CUBIC)
    enlarged_mask = cv2.resize(mask[window], (width, height), interpolation=cv2.INTER_NEAREST)
    return np.asarray(enlarged, np.uint8), np.asarray(enlarged_mask, np.uint8)


def _covered(image: Bytes, mask: Bytes) -> Bytes | None:
    """The frame with the polyp under a piece of its mirror image, or None where that would show the polyp again."""
    wide = _widened(mask)
    flips = (1, 0, -1)
    overlap = [int((wide & cv2.flip(wide, flip)).sum()) for flip in flips]
    if min(overlap) > MOST_OVERLAP * wide.sum():
        return None
    best = flips[int(np.argmin(overlap))]
    source, taken = cv2.flip(image, best), cv2.flip(wide, best)
    filled = cv2.inpaint(source, taken & wide, 5, cv2.INPAINT_TELEA) if min(overlap) else source
    return _blended(image, np.asarray(filled, np.uint8), wide)


def with_polyp_of(
    image: Bytes, mask: Bytes, other: Bytes, other_mask: Bytes, rng: np.random.Generator
) -> tuple[Bytes, Bytes]:
    """The frame with the polyp of another one pasted onto it, turned, scaled and moved, and the mask of both.

    Args:
        image: Shape (H, W, 3).
        mask: Shape (H, W), values 0 and 1.
        other: Shape (H, W, 3).
        other_mask: Shape (H, W); where it is empty, over 30 % of the frame, or would come to lie on the black rim,
            image and mask come back as they are.
        rng: Draws turn, scale and place.
    """
    height, width = mask.shape
    if not 0 < other_mask.mean() <= 0.3:
        return image, mask
    rows, columns = np.nonzero(other_mask)
    matrix = cv2.getRotationMatrix2D(
        (float(columns.mean()), float(rows.mean())), float(rng.uniform(0, 360)), float(rng.uniform(0.6, 1.2))
    )
    place = rng.uniform(0.2, 0.8, 2) * (width, height)
    matrix[:, 2] += place - (columns.mean(), rows.mean())
    moved = cv2.warpAffine(other, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    moved_mask = cv2.warpAffine(other_mask, matrix, (width, height), flags=cv2.INTER_NEAREST)
    wide = _widened(moved_mask)
    dark = image.mean(axis=2) < DARK
    if not moved_mask.any() or dark[wide > 0].mean() > 0.1:
        return image, mask
    return _blended(image, np.asarray(moved, np.uint8), wide, keep_colour=0.5), np.maximum(mask, moved_mask)


def with_colours_of(image: Bytes, other: Bytes) -> Bytes:
    """The frame in the colours of another: mean and spread of each channel of CIELAB become the other's.

    What is darker than `DARK` counts for neither and changes the less, the darker it is, so that the rim stays black. A
    frame comes back as it is where it or the other is nearly all dark.

    Args:
        image: Shape (H, W, 3), RGB.
        other: Shape (H, W, 3), RGB, of any size.

    Reference:
        Reinhard et al., "Color Transfer between Images", IEEE Computer Graphics and Applications 2001.
    """
    lab, wanted = _lab(image), _lab(other)
    bright, bright_other = image.mean(axis=2) >= DARK, other.mean(axis=2) >= DARK
    if min(bright.mean(), bright_other.mean()) < LEAST_PIXELS:
        return image
    found, given = lab[bright], wanted[bright_other]
    stretch = (given.std(axis=0) + 1e-3) / (found.std(axis=0) + 1e-3)
    stretch = np.clip(stretch, 1 / MOST_STRETCH, MOST_STRETCH)
    moved = (lab - found.mean(axis=0)) * stretch + given.mean(axis=0)
    changed = cv2.cvtColor(moved.astype(np.float32), cv2.COLOR_LAB2RGB) * 255
    weight = np.clip(image.mean(axis=2, dtype=np.float32) / (2 * DARK), 0, 1)[..., None]
    mixed: Bytes = np.clip(np.rint(weight * changed + (1 - weight) * image), 0, 255).astype(np.uint8)
    return mixed


def bent(image: Bytes, mask: Bytes, rng: np.random.Generator) -> tuple[Bytes, Bytes]:
    """The frame and its mask, bent alike: a net of few nodes is shifted at random, what lies between follows smoothly.

    Args:
        image: Shape (H, W, 3).
        mask: Shape (H, W), values 0 and 1.
        rng: Draws the shifts.

    Reference:
        Ronneberger et al., "U-Net", MICCAI 2015, sec. 3.1.
    """
    height, width = mask.shape
    nodes = rng.normal(0, ELASTIC_SIGMA, (ELASTIC_NODES, ELASTIC_NODES, 2)).astype(np.float32)
    shift = cv2.resize(nodes, (width, height), interpolation=cv2.INTER_CUBIC)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    to_x, to_y = columns + shift[..., 0] * width, rows + shift[..., 1] * height
    moved = cv2.remap(image, to_x, to_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    moved_mask = cv2.remap(mask, to_x, to_y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT)
    return np.asarray(moved, np.uint8), np.asarray(moved_mask, np.uint8)


def _lab(image: Bytes) -> NDArray[np.float32]:
    return np.asarray(cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB), np.float32)


def _widened(mask: Bytes) -> Bytes:
    radius = max(1, round(MARGIN * max(mask.shape)))
    return np.asarray(
        cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))), np.uint8
    )


def _blended(image: Bytes, source: Bytes, where: Bytes, keep_colour: float = 0.0) -> Bytes:
    """The image with the source laid over it where the mask says, the border soft, its colour near the surroundings'.

    Args:
        image: Shape (H, W, 3).
        source: Shape (H, W, 3).
        where: Shape (H, W), values 0 and 1.
        keep_colour: Share of the source's own mean colour that stays.
    """
    radius = max(1, round(MARGIN * max(where.shape)))
    ring = (_widened(_widened(where)) > 0) & (where == 0)
    laid = source.astype(np.float32)
    if ring.any():
        wanted, found = image[ring].mean(axis=0), source[where > 0].mean(axis=0)
        laid = laid + (1 - keep_colour) * (wanted - found)
    alpha = cv2.GaussianBlur(where.astype(np.float32), (0, 0), radius / 2)[..., None]
    blended: Bytes = np.clip(np.rint(alpha * laid + (1 - alpha) * image), 0, 255).astype(np.uint8)
    return blended


def _compressed(image: Bytes, quality: int) -> Bytes:
    """The image after JPEG at a quality from 1 to 100."""
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
