"""Fifteen corruptions of a colonoscopy frame, each in five strengths: what a camera meets, always in the same way.

    corrupt(image, "motion-blur", strength=3, name="cju0qkwl35piu0993l0dewei2")

Decisions:
- What is drawn at random (where bubbles are, which way the camera moves) hangs on the name of the image and of the
  corruption alone: every model sees the same frames, and a higher strength is the same disturbance, only more of it.
- `VERSION` rises with every change of a pixel; figures of two versions are not comparable.
- Nothing moves: the mask of the frame stays true. Lengths are shares of the shorter side.
- The black surround stays black; a light on it would be a disturbance of finding the field, and not of seeing.
- They are for judging models, never for training them.

Reference:
    Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations",
    ICLR 2019 (strengths, mean corruption error).
"""

import zlib
from collections.abc import Callable, Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from polypseg.arrays import Image, check_image
from polypseg.errors import UsageError, unknown_name

VERSION = 1

STRENGTHS = (1, 2, 3, 4, 5)

Picture = NDArray[np.float32]
"""Shape (H, W, 3), in [0, 1]."""

Corruption = Callable[[Picture, float, np.random.Generator], Picture]
"""A picture, an amount in (0, 1] and a source of chance to a picture."""

DARK = 18 / 255
"""Nothing in the surround is brighter."""


def corrupt(image: Image, corruption: str, strength: int, name: str) -> Image:
    """The image, corrupted.

    Args:
        image: Shape (H, W, 3), uint8.
        corruption: A name of `CORRUPTIONS`.
        strength: 1 to 5.
        name: Of the image; decides what is drawn at random.

    Returns:
        Shape (H, W, 3), uint8.

    Raises:
        UsageError: An unknown corruption or strength.
    """
    if corruption not in CORRUPTIONS:
        raise UsageError(unknown_name("corruption", corruption, CORRUPTIONS))
    if strength not in STRENGTHS:
        raise UsageError(f"strength {strength}: expected 1 to 5")
    picture = check_image(image).astype(np.float32) / np.float32(255)
    rng = np.random.default_rng([VERSION, zlib.crc32(name.encode()), zlib.crc32(corruption.encode())])
    changed = np.clip(CORRUPTIONS[corruption](picture, strength / 5, rng), 0, 1).astype(np.float32)
    if corruption not in WHOLE_FRAME:
        lit = _lit(picture)[..., None]
        changed = np.asarray(picture + lit * (changed - picture), np.float32)
    return np.asarray(np.rint(changed * 255), np.uint8)


def _lit(picture: Picture) -> Picture:
    """1 in the picture, 0 in the surround; dark spots inside count as picture."""
    bright = (picture.max(axis=2) > DARK).astype(np.uint8)
    size = max(3, _side(picture) // 16) | 1
    dark = cv2.morphologyEx(bright, cv2.MORPH_CLOSE, np.ones((size, size), np.uint8)) == 0
    _, labels = cv2.connectedComponents(dark.astype(np.uint8))
    outer = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    return np.asarray(~(dark & np.isin(labels, outer)), np.float32)  # a dark lumen within is none of the surround


def _side(picture: Picture) -> int:
    return int(min(picture.shape[:2]))


def _grid(picture: Picture) -> tuple[Picture, Picture]:
    """Row and column of each pixel, in shares of the shorter side."""
    height, width = picture.shape[:2]
    rows, columns = np.mgrid[:height, :width].astype(np.float32) / np.float32(_side(picture))
    return rows, columns


def _noise(picture: Picture, cells: int, rng: np.random.Generator) -> Picture:
    """Smooth noise in about [-2, 2], with so many bumps along a side."""
    height, width = picture.shape[:2]
    coarse = rng.standard_normal((cells + 1, cells + 1), dtype=np.float32)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


def _blend(picture: Picture, colour: tuple[float, float, float], amount: Picture) -> Picture:
    share = np.clip(amount, 0, 1)[..., None].astype(np.float32)
    return np.asarray(picture + share * (np.array(colour, np.float32) - picture), np.float32)


def _motion_blur(picture: Picture, amount: float, rng: np.random.Generator) -> Picture:
    """The camera moves during the exposure, up to an eighth of the side."""
    length = max(3, round(amount * _side(picture) / 8)) | 1
    angle = rng.uniform(0, np.pi)
    kernel = np.zeros((length, length), np.float32)
    middle = length // 2
    shift = (middle * np.cos(angle), middle * np.sin(angle))
    ends = [(round(middle + sign * shift[0]), round(middle + sign * shift[1])) for sign in (-1, 1)]
    cv2.line(kernel, ends[0], ends[1], 1.0)
    return np.asarray(cv2.filter2D(picture, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT), np.float32)


def _defocus(picture: Picture, amount: float, _: np.random.Generator) -> Picture:
    """A disc of confusion of up to a fifteenth of the side."""
    radius = amount * _side(picture) / 30
    along = np.arange(-int(radius) - 1, int(radius) + 2, dtype=np.float32)
    disc = np.clip(np.float32(radius + 0.5) - np.hypot(along[:, None], along[None, :]), 0, 1)
    return np.asarray(cv2.filter2D(picture, -1, disc / disc.sum(), borderType=cv2.BORDER_REFLECT), np.float32)


def _specular_flare(picture: Picture, amount: float, rng: np.random.Generator) -> Picture:
    """White reflexes with a veil around them."""
    rows, columns = _grid(picture)
    veil = np.zeros(rows.shape, np.float32)
    for _ in range(8):
        row, column = rng.uniform(0.1, 0.9, 2) * (rows.max(), columns.max())
        size, stretch, turn = rng.uniform(0.02, 0.05) * (0.4 + amount), rng.uniform(1, 3), rng.uniform(0, np.pi)
        down, across = rows - row, columns - column
        along = across * np.cos(turn) + down * np.sin(turn)
        aside = (down * np.cos(turn) - across * np.sin(turn)) * stretch
        distance = (along**2 + aside**2) / np.float32(size**2)
        veil += np.exp(-distance) * 1.6 + np.float32(0.25 * amount) * np.exp(-distance / 25)
    return _blend(picture, (1, 1, 0.97), veil * np.float32(0.35 + 0.65 * amount))


def _bubbles(picture: Picture, amount: float, rng: np.random.Generator) -> Picture:
    """Rings with a bright spot, in clusters."""
    height, width = picture.shape[:2]
    side = _side(picture)
    changed = picture.copy()
    drawn = rng.uniform(0, 1, (200, 4))
    centres = rng.uniform(0.1, 0.9, (6, 2))
    for number in range(round(200 * amount)):
        row, column = centres[number % 6] + 0.22 * (drawn[number, :2] - 0.5)
        radius = max(2, round(side * (0.008 + 0.03 * drawn[number, 2] ** 2)))
        place = (round(column * width), round(row * height))
        layer = changed.copy()
        cv2.circle(layer, place, radius, (0.78, 0.75, 0.68), cv2.FILLED, cv2.LINE_AA)
        changed = changed * np.float32(0.72) + layer * np.float32(0.28)
        cv2.circle(changed, place, radius, (0.95, 0.93, 0.88), max(1, radius // 5), cv2.LINE_AA)
        spot = (place[0] - radius // 3, place[1] - radius // 3)
        cv2.circle(changed, spot, max(1, radius // 4), (1, 1, 1), cv2.FILLED, cv2.LINE_AA)
    return changed


def _stool(picture: Picture, amount: float, rng: np.random.Generator) -> Picture:
    """Yellow-brown remnants over up to half of the frame."""
    cover = _noise(picture, 5, rng) + 0.5 * _noise(picture, 19, rng)
    limit = np.quantile(cover, 1 - 0.5 * amount)
    grain = 1 + 0.12 * _noise(picture, 60, rng)[..., None]
    stained = _blend(picture, (0.5, 0.37, 0.1), np.ones(cover.shape, np.float32) * np.float32(0.88)) * grain
    share = np.clip((cover - limit) * 4, 0, 1)[..., None]
    return np.asarray(picture + share * (stained - picture), np.float32)


def _water(picture: Picture, amount: float, rng: np.random.Generator) -> Picture:
    """Drops and a film of water on the lens: blurred in places, with bright rims."""
    film = _noise(picture, 6, rng) + 0.4 * _noise(picture, 16, rng)
    share = np.clip((film - np.float32(1.2 - 2.2 * amount)) * 3, 0, 1)[..., None]
    blurred = cv2.GaussianBlur(picture, (0, 0), (0.01 + 0.03 * amount) * _side(picture))
    wet = picture + share * (blurred - picture)
    rim = (share * (1 - share) * 4)[..., 0] * np.float32(0.35 * amount)
    return _blend(np.asarray(wet, np.float32), (0.9, 0.92, 0.9), rim)


def _blood_tint(picture: Picture, amount: float, rng: np.random.Generator) -> Picture:
    """Blood over the field: green and blue are taken away, most where it runs."""
    runs = 0.55 + 0.45 * np.tanh(_noise(picture, 4, rng))
    taken = np.float32(0.85 * amount) * runs[..., None]
    return np.asarray(picture * (1 - taken * np.array([0.25, 1.0, 0.95], np.float32)), np.float32)


def _smoke(picture: Picture, amount: float, rng: np.random.Generator) -> Picture:
    """A grey veil of uneven thickness, as of diathermy."""
    thick = 0.6 + 0.25 * _noise(picture, 3, rng) + 0.12 * _noise(picture, 9, rng)
    return _blend(picture, (0.78, 0.76, 0.74), np.float32(0.95 * amount) * np.clip(thick, 0.15, 1))


def _exposure(picture: Picture, amount: float, rng: np.random.Generator) -> Picture:
    """Over- or underexposed by up to three stops, one or the other by the name of the image."""
    stops = 3 * amount * (1 if rng.random() < 0.5 else -1)
    linear = picture ** np.float32(2.2) * np.float32(2.0**stops)
    return np.asarray(np.minimum(linear, 1) ** np.float32(1 / 2.2), np.float32)


def _sensor_noise(picture: Picture, amount: float, rng: np.random.Generator) -> Picture:
    """Shot noise and read noise of a camera that amplifies."""
    drawn = rng.standard_normal(picture.shape, dtype=np.float32)
    return np.asarray(picture + drawn * np.float32(amount) * (0.06 + 0.18 * np.sqrt(picture)), np.float32)


def _compression(picture: Picture, amount: float, _: np.random.Generator) -> Picture:
    """JPEG down to quality 4."""
    quality = round(36 - 32 * amount)
    encoded = cv2.imencode(".jpg", np.rint(picture * 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.float32) / np.float32(255)


def _interlacing(picture: Picture, amount: float, rng: np.random.Generator) -> Picture:
    """Every other line is of another moment: shifted by up to a sixteenth of the side."""
    shift = max(1, round(amount * _side(picture) / 16)) * (1 if rng.random() < 0.5 else -1)
    changed = picture.copy()
    changed[1::2] = np.roll(picture, shift, axis=1)[1::2]
    return changed


def _colour_cast(picture: Picture, amount: float, rng: np.random.Generator) -> Picture:
    """A wrong white balance: one channel up, another down."""
    up, down = rng.permutation(3)[:2]
    gains = np.ones(3, np.float32)
    gains[up], gains[down] = 1 + 0.45 * amount, 1 - 0.5 * amount
    return np.asarray(picture * gains, np.float32)


def _narrow_band(picture: Picture, amount: float, _: np.random.Generator) -> Picture:
    """As narrow-band light looks: blue and green alone, vessels brown, the wall cyan to green."""
    red, green, blue = (picture[..., channel] for channel in range(3))
    narrow = np.stack([0.75 * green + 0.05 * red, 0.35 * green + 0.75 * blue, 0.3 * green + 0.8 * blue], -1)
    return np.asarray(picture + np.float32(amount) * (narrow - picture), np.float32)


def _overlays(picture: Picture, amount: float, rng: np.random.Generator) -> Picture:
    """Text, lines and windows that a processor lays over the picture, more with every strength."""
    height, width = picture.shape[:2]
    changed = np.rint(picture * 255).astype(np.uint8)
    scale, thick = _side(picture) / 420, max(1, round(_side(picture) / 250))
    for number in range(round(10 * amount)):
        row, column = rng.uniform(0.05, 0.85, 2)
        place = (round(column * width), round(row * height))
        colour = [(255, 255, 255), (242, 230, 51), (51, 230, 102)][number % 3]
        if number % 3 == 0:
            text = f"{rng.integers(10, 60)}:{rng.integers(10, 60)} ID {rng.integers(1000, 9999)}"
            cv2.putText(changed, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, thick, cv2.LINE_AA)
        elif number % 3 == 1:
            end = (place[0] + round(0.25 * width), place[1] + round(0.2 * height))
            cv2.rectangle(changed, place, end, colour, thick)
        else:
            end = (place[0] + round(0.16 * width), place[1] + round(0.12 * height))
            cv2.rectangle(changed, place, end, (13, 13, 20), cv2.FILLED)
            cv2.rectangle(changed, place, end, colour, thick)
    return changed.astype(np.float32) / np.float32(255)


CORRUPTIONS: Mapping[str, Corruption] = {
    "motion-blur": _motion_blur,
    "defocus": _defocus,
    "specular-flare": _specular_flare,
    "bubbles": _bubbles,
    "stool": _stool,
    "water": _water,
    "blood-tint": _blood_tint,
    "smoke": _smoke,
    "exposure": _exposure,
    "noise": _sensor_noise,
    "compression": _compression,
    "interlacing": _interlacing,
    "colour-cast": _colour_cast,
    "narrow-band": _narrow_band,
    "overlays": _overlays,
}
"""By name."""

WHOLE_FRAME = ("compression", "interlacing", "overlays")
"""Those that change the surround too, as they come after the camera."""
