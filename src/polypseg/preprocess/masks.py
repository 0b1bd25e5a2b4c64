"""Reading a mask: which values or colours of a file mean polyp.

Decisions:
- A mask is 0 and one other value, or two levels and what a lossy format, a smooth edge or a resize makes of them. Any
  other file is refused with the values or colours found; a `MaskRule` says which of them are polyp.
- What one file means is decided here, by its own pixels; whether the files of a set agree, in `data/masks.py`.
- A mask is made two-valued before any resize.
- An outline without its filling is no mask. Neither is a channel of transparency over one colour.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageColor

from polypseg.arrays import Mask
from polypseg.errors import ImageError, UsageError, unknown_name
from polypseg.preprocess.files import file_content
from polypseg.preprocess.mask_levels import (
    COLOURED,
    PolypLevels,
    coloured_levels,
    grey_levels,
    nearest_colours,
    nearest_values,
    varies,
)
from polypseg.preprocess.outlines import is_outline
from polypseg.preprocess.reading import MAX_PIXELS, Stored, decode_exact, has_alpha, is_grey, to_eight_bits

CHANNELS = ("red", "green", "blue", "alpha")


@dataclass(frozen=True)
class MaskRule:
    """What in a mask file means polyp, where the file alone does not say it.

    Attributes:
        values: Grey values, or places in a palette; everything else is background. Empty: found by the file's pixels.
        colours: As #rrggbb or a name (red); everything else is background. Empty: found by the file's pixels.
        channel: red, green, blue or alpha: read as a grey mask; empty for the file as it is seen.
        labels: Of annotation files; everything else is background. Empty: the label polyp.
    """

    values: tuple[int, ...] = ()
    colours: tuple[str, ...] = ()
    channel: str = ""
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what contradicts itself or is no colour, value or channel.

        Raises:
            UsageError: Of the options' names.
        """
        if self.values and self.colours:
            raise UsageError("--polyp-values and --polyp-colours exclude one another: name values or colours")
        if self.colours and self.channel:
            raise UsageError("--polyp-colours and --mask-channel exclude one another: a channel has values, no colours")
        if self.channel and self.channel not in CHANNELS:
            raise UsageError(unknown_name("mask channel", self.channel, CHANNELS))
        if any(not 0 <= value <= 65535 for value in self.values):
            raise UsageError(f"--polyp-values {','.join(map(str, self.values))}: expected whole numbers, 0 to 65535")
        self.rgb()

    def __bool__(self) -> bool:
        return bool(self.values or self.colours or self.channel or self.labels)

    @property
    def is_explicit(self) -> bool:
        """Whether the user said what is polyp, rather than where to look."""
        return bool(self.values or self.colours)

    def text(self) -> str:
        """The rule on one line, as `MaskRule.parse` reads it; empty for the automatic one.

        >>> MaskRule(values=(1, 2)).text(), MaskRule.parse("values=1,2") == MaskRule(values=(1, 2))
        ('values=1,2', True)
        """
        parts = {
            "values": ",".join(map(str, self.values)),
            "colours": ",".join(self.colours),
            "channel": self.channel,
            "labels": quote(",".join(self.labels)),
        }
        return " ".join(f"{key}={value}" for key, value in parts.items() if value)

    @classmethod
    def parse(cls, text: str) -> "MaskRule":
        """The rule of a text that `text` wrote.

        Raises:
            UsageError: No such rule.
        """
        given = dict(part.partition("=")[::2] for part in text.split())
        values, colours, channel, labels = (given.get(key, "") for key in ("values", "colours", "channel", "labels"))
        return mask_rule(values, colours, channel, unquote(labels))

    def rgb(self) -> list[tuple[int, int, int]]:
        """The colours as numbers.

        Raises:
            UsageError: One is no colour.
        """
        found = []
        for colour in self.colours:
            try:
                red, green, blue = ImageColor.getrgb(colour)[:3]
            except ValueError as error:
                raise UsageError(f"--polyp-colours {colour!r}: expected #rrggbb or a name as red") from error
            found.append((red, green, blue))
        return found


AUTOMATIC = MaskRule()
"""What is polyp is found by each file's pixels."""


def mask_rule(values: str = "", colours: str = "", channel: str = "", labels: str = "") -> MaskRule:
    """The rule of the options' texts, lists with commas.

    Raises:
        UsageError: No such values, colours or channel.

    >>> mask_rule("1,2").values, mask_rule(colours="#ff0000, green").colours
    ((1, 2), ('#ff0000', 'green'))
    """
    parts = [part.strip() for part in values.split(",") if part.strip()]
    if not all(re.fullmatch(r"\d{1,5}", part) for part in parts):
        raise UsageError(f"--polyp-values {values!r}: expected whole numbers with commas between them, as 1,2")
    named = tuple(part.strip() for part in colours.split(",") if part.strip())
    told = tuple(part.strip() for part in labels.split(",") if part.strip())
    return MaskRule(tuple(map(int, parts)), named, channel, told)


class MaskFile(NamedTuple):
    """A mask that was read.

    Attributes:
        mask: Shape (H, W), bool.
        polyp: The value or colour that was taken for polyp, as text; empty where the mask is.
        is_soft: Whether the file has other values than two.
    """

    mask: Mask
    polyp: str
    is_soft: bool


class MapFile(NamedTuple):
    """A probability map that was read.

    Attributes:
        grey: Shape (H, W), uint8.
        num_levels: How many values it has; of a file that loses none.
        is_lossy: Whether the format may change values.
        is_coloured: Whether it is no grey map but one in colours.
        is_transparent: Whether pixels are transparent.
    """

    grey: NDArray[np.uint8]
    num_levels: int
    is_lossy: bool
    is_coloured: bool
    is_transparent: bool


def read_map(path: Path | str, max_pixels: int = MAX_PIXELS) -> MapFile:
    """As `read_grey`, with what a map should not have.

    Raises:
        ImageError: As `read_image`.
    """
    stored = decode_exact(file_content(Path(path)), str(path), max_pixels)
    picture = stored.picture
    is_transparent = has_alpha(picture) and picture.convert("RGBA").getchannel("A").getextrema() != (255, 255)
    seen = to_eight_bits(picture, str(path))
    colour = None if seen.mode in ("L", "1") else np.asarray(seen.convert("RGB"))
    is_coloured = colour is not None and not is_grey(colour) and bool((np.ptp(colour, axis=2) > COLOURED).any())
    grey = np.asarray(seen.convert("L"))
    return MapFile(grey, np.unique(grey).size, stored.is_lossy, is_coloured, is_transparent)


def read_grey(path: Path | str, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """An 8-bit probability map or a saved mask as it is stored, upright, not thresholded.

    Returns:
        Shape (H, W), uint8.

    Raises:
        ImageError: As `read_image`.
    """
    stored = decode_exact(file_content(Path(path)), str(path), max_pixels)
    return np.asarray(to_eight_bits(stored.picture, str(path)).convert("L"))


def read_mask(path: Path | str, rule: MaskRule = AUTOMATIC, max_pixels: int = MAX_PIXELS) -> Mask:
    """The mask, upright, True where there is a polyp.

    Args:
        path: An image file.
        rule: What in it means polyp.
        max_pixels: Larger files are refused before decoding.

    Returns:
        Shape (H, W), bool.

    Raises:
        ImageError: As `read_image`; or what means polyp is not certain: more than two levels or colours, a mask in the
            alpha channel, an outline.
    """
    return read_mask_file(path, rule, max_pixels).mask


def read_mask_file(path: Path | str, rule: MaskRule = AUTOMATIC, max_pixels: int = MAX_PIXELS) -> MaskFile:
    """As `read_mask`, with what was taken for polyp."""
    stored = decode_exact(file_content(Path(path)), str(path), max_pixels)
    try:
        found = _levels(stored, rule)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error
    if not rule.is_explicit and is_outline(found.mask):
        raise ImageError(
            f"{path}: an outline without its filling; fill it, or say that thin lines are meant with --polyp-values "
            f"{found.polyp}"
        )
    return MaskFile(found.mask, found.polyp if found.mask.any() else "", found.is_soft)


def _levels(stored: Stored, rule: MaskRule) -> PolypLevels:
    """What a file holds and what of it is polyp."""
    picture = stored.picture
    if picture.mode == "F":
        raise ImageError("holds floating-point values; expected black and white: store it as 8 bit, 0 and 255")
    if rule.channel:
        picture = _channel(picture, rule.channel)
    elif picture.mode == "P" and rule.values:  # the numbers of a label map are the places of its palette
        picture = PillowImage.fromarray(np.asarray(picture))
    elif picture.mode == "P":
        _check_palette(picture)
        if has_alpha(picture):
            picture = _without_alpha(picture)
    elif has_alpha(picture):
        picture = _without_alpha(picture)
    if picture.mode.startswith("I"):
        grey: NDArray[np.integer] = np.asarray(picture)
    else:
        rgb = picture if picture.mode in ("L", "1") else picture.convert("RGB")
        colour = _colour(rgb)
        if rule.colours:
            colour = np.asarray(rgb.convert("RGB"))
            return nearest_colours(colour, rule.rgb(), stored.is_lossy)
        if colour is not None and rule.values:
            raise ImageError("a mask in colours has no grey values; name the colours with --polyp-colours")
        if colour is not None:
            return coloured_levels(colour, stored.is_lossy)
        grey = np.asarray(rgb.convert("L"))
    if rule.values:
        return nearest_values(grey, rule.values, stored.is_lossy)
    return grey_levels(grey, stored.is_lossy)


def _channel(picture: PillowImage.Image, channel: str) -> PillowImage.Image:
    if channel == "alpha" and not has_alpha(picture):
        raise ImageError("has no alpha channel; leave out --mask-channel alpha")
    if picture.mode.startswith("I"):
        raise ImageError(f"a grey file of 16 bit has no channel {channel}; leave out --mask-channel")
    layered = picture.convert("RGBA")
    return layered.getchannel(channel[0].upper())


def _check_palette(picture: PillowImage.Image) -> None:
    """Nothing, unless entries of a palette that are drawn alike hide what their numbers tell apart.

    Raises:
        ImageError: The numbers, and the colours in which they are drawn.
    """
    numbers = np.flatnonzero(np.bincount(np.asarray(picture).ravel(), minlength=256))
    palette = np.reshape((picture.getpalette("RGB") or []) + [0] * 768, (-1, 3))
    drawn = [tuple(palette[number].tolist()) for number in numbers]
    if len(set(drawn)) < len(drawn):
        told = [f"{number} as #{r:02x}{g:02x}{b:02x}" for number, (r, g, b) in zip(numbers, drawn, strict=True)]
        shown = ", ".join(told[:6]) + (", …" if len(told) > 6 else "")
        raise ImageError(
            f"a palette that draws different numbers alike ({shown}); say which numbers are polyp with --polyp-values"
        )


def _without_alpha(picture: PillowImage.Image) -> PillowImage.Image:
    """The colours of a picture whose transparency says nothing that they do not say."""
    layered = np.asarray(picture.convert("RGBA"))
    colours, alpha = layered[..., :3], layered[..., 3]
    lowest, highest = int(alpha.min()), int(alpha.max())
    if lowest < 255:
        if highest == 0:
            raise ImageError(
                "alpha is 0 everywhere, the mask is invisible; if the colours are meant, say so with --mask-channel red"
            )
        is_constant = not np.ptp(colours[alpha > 0].reshape(-1, 3), axis=0).any()
        if colours[alpha == 0].any() or (is_constant and not colours[alpha > 0].any()):
            raise ImageError(
                "the mask is in the alpha channel, the colours under it do not show it; read it with --mask-channel "
                "alpha (or --mask-channel red for the colours)"
            )
        is_lit = np.asarray(colours.max(axis=2) > 0)
        for area in (is_lit, ~is_lit):
            if varies(alpha, area):
                raise ImageError(
                    "its alpha has levels that the colours do not tell apart; read it with --mask-channel alpha and "
                    "--polyp-values, or the colours alone with --mask-channel red"
                )
    return PillowImage.fromarray(np.ascontiguousarray(colours))


def _colour(picture: PillowImage.Image) -> NDArray[np.uint8] | None:
    """The colours (H, W, 3) uint8 of a picture that is not grey; None for a grey one."""
    if picture.mode in ("L", "1"):
        return None
    pixels = np.asarray(picture)
    return None if is_grey(pixels) else pixels
