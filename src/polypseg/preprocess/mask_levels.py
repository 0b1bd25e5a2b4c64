"""The levels of a mask file: two of them, or the reason why there are not.

Decisions:
- A file of few values (at most `FEW`) is taken at its word: each value that covers an area is a level, and there may be
  two, 0 being one. A third value may only be specks and hairlines, as CVC-ClinicDB's masks have them.
- A file of many values has two levels where all the others lie within a tolerance of them, or along edges: JPEG's
  noise, smooth edges. A third level that covers an area is found by its width. CVC-ClinicDB's masks have areas of up
  to 23 of 255 beside pure white; only beside white is so much taken for black.
- Colours are read as values are: black and one colour, in one shade.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from polypseg.arrays import MASK_THRESHOLD, Mask
from polypseg.errors import ImageError

FEW = 8
"""A lossless file of at most so many values is a map of labels, not of noise."""

SPECK_SHARE, SPECK_PX = 0.01, 5
"""A further value of such a file covers less than this share of the image, and no square of so many pixels a side."""

EDGE_PX = 9
"""What lies between two levels covers no square of so many pixels a side: JPEG's blocks have 8."""

FAINT = 5
"""A value of at most this is a label where it covers a square of `EDGE_PX` alone: noise does not."""

NEAR, NEAR_BLACK = 12, 32
"""A level's own tolerance; that of black in a lossless file whose other level is white."""

WHITE = 224
"""A level from here on is white."""

MAX_GREY_SHARE = 0.02
"""A mask may have so many pixels of middling grey (64..191). Kvasir-SEG's have none, CVC-ClinicDB's at most 0.00017."""

COLOURED = 48
"""A pixel is of a colour where its channels differ by more."""

_HUES = {
    (1, 0, 0): "red",
    (0, 1, 0): "green",
    (0, 0, 1): "blue",
    (1, 1, 0): "yellow",
    (1, 0, 1): "magenta",
    (0, 1, 1): "cyan",
    (1, 1, 1): "white",
}

_VALUES = "say which are polyp with --polyp-values"
_COLOURS = "say which are polyp with --polyp-colours"


class PolypLevels(NamedTuple):
    """What a mask file holds.

    Attributes:
        mask: Shape (H, W), bool.
        polyp: The level that was taken for polyp: a value, #rrggbb, or the name of a hue.
        is_soft: Whether there are other values than two.
    """

    mask: Mask
    polyp: str
    is_soft: bool


def grey_levels(grey: NDArray[np.integer], is_lossy: bool) -> PolypLevels:
    """Polyp and background of a grey file (H, W) of any depth.

    Raises:
        ImageError: More than two levels, or not 0 and another one.
    """
    values, counts = _histogram(grey)
    others = [int(value) for value in values if value]
    if not others:
        return PolypLevels(np.zeros(grey.shape, bool), "", False)
    if len(values) == 1:
        if others[0] not in (255, 65535):
            raise ImageError(f"holds only the value {others[0]}, and nothing says what it means; {_VALUES}")
        return PolypLevels(np.ones(grey.shape, bool), _level_name(others[0]), False)
    if len(values) == 2 and values[0] == 0 and not (is_lossy and others[0] < 64):
        return PolypLevels(grey > 0, _level_name(others[0]), others[0] not in (255, 65535))
    if len(values) <= FEW and not is_lossy:
        return _few(grey, values, counts)
    return _many(_eight_bits(grey), values, counts, is_lossy)


def coloured_levels(colour: NDArray[np.uint8], is_lossy: bool) -> PolypLevels:
    """Polyp and background of a file in colours, (H, W, 3).

    Raises:
        ImageError: More than one colour, or none and no black.
    """
    if not is_lossy:
        packed = _packed(colour)
        codes, counts = np.unique(packed, return_counts=True)
        if len(codes) <= FEW:
            return _few_colours(packed, codes, counts)
    strongest = colour.max(axis=2)
    is_coloured = strongest - colour.min(axis=2) > COLOURED
    if not is_coloured.any():  # grey but for the noise of its colours
        return grey_levels(np.asarray(cv2.cvtColor(colour, cv2.COLOR_RGB2GRAY)), True)
    usual = np.median(colour[is_coloured], axis=0).astype(np.uint8)
    is_usual = cv2.absdiff(colour, np.broadcast_to(usual, colour.shape)).max(axis=2) <= COLOURED
    hues = _hues(colour, strongest, is_coloured, usual, is_usual)
    total = sum(hues.values())
    if len(hues) != 1:
        told = ", ".join(f"{name} ({100 * count / colour[..., 0].size:.1f} %)" for name, count in hues.items())
        raise ImageError(f"a mask in colours: {told or 'a gradient'}; expected black and one colour: {_COLOURS}")
    name = next(iter(hues))
    level = int(np.median(strongest[is_coloured]))
    mask = strongest > level // 2
    others = _middles(~is_usual & (strongest > COLOURED), EDGE_PX)
    if others.any():
        shade = "#{:02x}{:02x}{:02x}".format(*np.median(colour[others], axis=0).astype(int))
        raise ImageError(
            f"a mask in {name} and a further shade, about {shade}; expected black and one colour: {_COLOURS}"
        )
    if not _has_area(strongest <= NEAR_BLACK, SPECK_PX) or total == 0:
        raise ImageError(f"a mask in {name} without black; expected black and one colour: {_COLOURS}")
    return PolypLevels(mask, name, True)


def nearest_values(grey: NDArray[np.integer], polyp: Sequence[int], is_lossy: bool) -> PolypLevels:
    """Polyp where a grey file (H, W) has one of the values; in a lossy one, or of many, where one is the nearest level.

    Raises:
        ImageError: A value that no file of this depth can have.
    """
    values, _ = _histogram(grey)
    is_noisy = is_lossy or len(values) > FEW
    name = ",".join(map(str, polyp))
    if not is_noisy or max(values) > 255:
        return PolypLevels(np.isin(grey, polyp), name, len(values) > 2)
    levels = sorted({0, *polyp} | ({255} if max(values) > 255 - NEAR else set()))
    distances = np.abs(np.arange(256)[:, None] - np.array(levels)[None])
    is_polyp = np.isin(np.array(levels)[distances.argmin(axis=1)], polyp)
    return PolypLevels(is_polyp[grey], name, True)


def nearest_colours(colour: NDArray[np.uint8], polyp: Sequence[tuple[int, int, int]], is_lossy: bool) -> PolypLevels:
    """Polyp where a picture (H, W, 3) has one of the colours; in a lossy one, or of many, where one is the nearest.

    The other colours that a pixel may be nearest to are black, white and the six pure ones.
    """
    name = ",".join("#{:02x}{:02x}{:02x}".format(*one) for one in polyp)
    packed = _packed(colour)
    wanted = [int(red) << 16 | int(green) << 8 | int(blue) for red, green, blue in polyp]
    if not is_lossy and len(np.unique(packed)) <= FEW:
        return PolypLevels(np.isin(packed, wanted), name, True)
    listed = np.array(polyp, np.int32)
    corners = np.array([(r, g, b) for r in (0, 255) for g in (0, 255) for b in (0, 255)], np.int32)
    rivals = corners[(np.abs(corners[:, None] - listed[None]).sum(axis=2) > 192).all(axis=1)]
    pixels = colour.astype(np.int32)
    near = np.min([((pixels - one) ** 2).sum(axis=2) for one in listed], axis=0)
    far = np.min([((pixels - one) ** 2).sum(axis=2) for one in rivals], axis=0)
    return PolypLevels(near < far, name, True)


def varies(levels: NDArray[np.uint8], where: Mask) -> bool:
    """Whether part of an area (H, W) has another level than most of it, and is itself an area.

    >>> halves = np.repeat(np.array([[0] * 20, [90] * 20], np.uint8), 10, axis=0)
    >>> varies(halves, halves >= 0), varies(halves, halves > 0)
    (True, False)
    """
    number = _counts(levels[where]) if where.any() else np.zeros(256, np.int64)
    usual = int(number.argmax())
    others = where & (np.abs(levels.astype(np.int16) - usual) > NEAR)
    return _has_area(others, SPECK_PX if np.count_nonzero(number) <= FEW else EDGE_PX)


def _few(grey: NDArray[np.integer], values: NDArray[np.integer], counts: NDArray[np.int64]) -> PolypLevels:
    """The two levels of a file of few values."""
    if values[0] != 0:
        raise ImageError(f"holds the values {_shares(values, counts)}, and no 0 for background; {_VALUES}")
    polyp = next((white for white in (255, 65535) if white in values), int(values[1:][counts[1:].argmax()]))
    for value, count in zip(values, counts, strict=True):
        if value not in (0, polyp) and _is_level(grey == value, int(count)):
            raise ImageError(
                f"holds {len(values)} values, {_shares(values, counts)}; expected 0 and one other: {_VALUES}"
            )
    return PolypLevels(grey > polyp // 2, _level_name(polyp), True)


def _few_colours(packed: NDArray[np.int64], codes: NDArray[np.int64], counts: NDArray[np.int64]) -> PolypLevels:
    names = [f"#{code:06x}" for code in codes]
    shares = ", ".join(f"{name} ({100 * count / packed.size:.1f} %)" for name, count in zip(names, counts, strict=True))
    if codes[0] != 0:
        raise ImageError(f"a mask in the colours {shares}, and no black for background; {_COLOURS}")
    polyp = int(codes[1:][counts[1:].argmax()])
    for code, count in zip(codes, counts, strict=True):
        if code not in (0, polyp) and _is_level(packed == code, int(count)):
            raise ImageError(f"a mask in {len(codes)} colours, {shares}; expected black and one colour: {_COLOURS}")
    return PolypLevels(packed == polyp, f"#{polyp:06x}", True)


def _many(
    grey: NDArray[np.uint8], values: NDArray[np.integer], counts: NDArray[np.int64], is_lossy: bool
) -> PolypLevels:
    """The two levels of a file of many values."""
    number = _counts(grey)
    if not number[64:].any():
        raise ImageError(f"holds the values {_shares(values, counts)}, all of them dark; {_VALUES}")
    level = 64 + int(number[64:].argmax())
    is_white = level >= WHITE
    above = MASK_THRESHOLD if is_white else level // 2
    middling = float(number[above // 2 + 1 : above + (level - above) // 2 + 1].sum() / grey.size)
    if middling > MAX_GREY_SHARE:
        raise ImageError(
            f"has {len(values)} grey levels, {100 * middling:.0f} % of its pixels between 0 and {level}; expected "
            "black and white: threshold it first"
        )
    dark = NEAR_BLACK if level >= 250 and not is_lossy else NEAR
    every = np.arange(256)
    is_between = (every > dark) & (every < level - NEAR) | (every > level + NEAR) & (not is_white)
    if _has_area(cv2.LUT(np.ascontiguousarray(grey), is_between.view(np.uint8)) > 0, EDGE_PX):
        third = int(np.where(is_between, number, 0).argmax())
    else:
        faint = [value for value in range(1, FAINT + 1) if number[value] and _has_area(grey == value, EDGE_PX)]
        third = faint[0] if faint else 0
    if third:
        raise ImageError(
            f"has areas of a third level, about {third} beside 0 and {level}; expected 0 and one other: {_VALUES}"
        )
    return PolypLevels(grey > above, _level_name(level), True)


def _level_name(level: int) -> str:
    """A level as text; whatever is white is 255."""
    return "255" if WHITE <= level <= 255 or level >= WHITE * 257 else str(level)


def _hues(
    colour: NDArray[np.uint8], strongest: NDArray[np.uint8], is_coloured: Mask, usual: NDArray[np.uint8], is_usual: Mask
) -> dict[str, int]:
    """The hues that cover an area of a picture, with their numbers of pixels, the largest first; white is one.

    What is near the usual colour has its hue, so that noise does not divide a colour between two.
    """
    bits = colour > (strongest // 2)[..., None]
    bits[is_usual] = usual > usual.max() // 2
    found = {}
    for corner, name in _HUES.items():
        is_hue = (bits == np.array(corner, bool)).all(axis=2)
        is_hue &= is_coloured if name != "white" else (strongest > MASK_THRESHOLD) & ~is_coloured
        if _has_area(is_hue, SPECK_PX):
            found[name] = int(np.count_nonzero(is_hue))
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _is_level(where: Mask, count: int) -> bool:
    return count > SPECK_SHARE * where.size or _has_area(where, SPECK_PX)


def _has_area(where: Mask, side_px: int) -> bool:
    """Whether a square of so many pixels a side fits into an area."""
    return bool(_middles(where, side_px).any())


def _middles(where: Mask, side_px: int) -> Mask:
    """Where the middle of a square of so many pixels a side may lie, so that the square is within the area."""
    side = min(side_px, *where.shape)
    eroded = cv2.erode(
        np.ascontiguousarray(where).view(np.uint8), np.ones((side, side), np.uint8),
        borderType=cv2.BORDER_CONSTANT, borderValue=0,
    )  # fmt: skip
    return np.asarray(eroded > 0)


def _histogram(grey: NDArray[np.integer]) -> tuple[NDArray[np.integer], NDArray[np.int64]]:
    """The values of a grey file in order, and how often each occurs."""
    if grey.dtype == np.uint8:
        number = _counts(grey)
        values = np.flatnonzero(number)
        return values, number[values]
    found, counts = np.unique(grey, return_counts=True)
    return found, counts


def _counts(grey: NDArray[np.integer]) -> NDArray[np.int64]:
    """How often each of the 256 values occurs."""
    return np.asarray(cv2.calcHist([np.ascontiguousarray(grey)], [0], None, [256], (0, 256)).ravel(), np.int64)


def _eight_bits(grey: NDArray[np.integer]) -> NDArray[np.uint8]:
    if grey.dtype == np.uint8:
        return np.asarray(grey, np.uint8)
    if grey.min() < 0 or grey.max() > 65535 or grey.max() < 257:
        raise ImageError(
            f"a deep grey file with values from {grey.min()} to {grey.max()}; expected black and white: {_VALUES}"
        )
    return np.asarray(np.rint(grey / 257), np.uint8)


def _packed(colour: NDArray[np.uint8]) -> NDArray[np.int64]:
    wide = colour.astype(np.int64)
    return wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]


def _shares(values: NDArray[np.integer], counts: NDArray[np.int64], most: int = 6) -> str:
    """The most frequent values with their shares.

    >>> _shares(np.array([0, 1, 255]), np.array([90, 6, 4]))
    '0 (90.0 %), 1 (6.0 %), 255 (4.0 %)'
    """
    order = np.argsort(-counts, kind="stable")[:most]
    told = [f"{values[place]} ({100 * counts[place] / counts.sum():.1f} %)" for place in order]
    return ", ".join(told) + (", …" if len(values) > most else "")
