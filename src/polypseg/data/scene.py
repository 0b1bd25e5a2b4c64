"""A colon seen from within, drawn by formulas: what `synthetic` makes its frames of.

A frame is a tube: folds that hide one another towards a dark lumen, vessels, wet highlights, the black surround
of an endoscope; in it stands a polyp as a dome of one or several lobes, bold, or flat and of the wall's own
colour. Nothing is learned from or copied out of a data set.

Decisions:
- Lengths are in units of half the shorter side, so that a scene looks alike at any size.
- The mask is cut from the dome's formula, not from the picture.
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from polypseg.arrays import Image, Mask
from polypseg.errors import UsageError

Field = NDArray[np.float32]
"""One value per pixel, shape (H, W)."""

SMALLEST_SIDE = 16
"""In pixels; below it nothing can be told from anything."""

MIN_POLYP_SHARE = 0.004
"""A polyp is placed again until so much of the frame shows it, so that no frame is empty by accident."""


class Scene(NamedTuple):
    """What all frames of one sequence share.

    Attributes:
        mucosa: Colour of the wall, RGB in [0, 1].
        polyp: Colour of the polyp, RGB in [0, 1].
        num_folds: Folds between the camera and the lumen.
        lumen_radius: Of the dark opening.
        vessels: Strength of the vessels in [0, 1].
        wetness: How much of the wall bears highlights, in [0, 1].
        stretch: Axis ratio of the polyp's lobes, at least 1.
        num_lobes: How many domes the polyp is made of.
        radius: Of the largest lobe.
        prominence: Height of the polyp over its radius; 0.1 is flat.
        pits: Strength of the polyp's surface pattern.
        surround: Outline of the picture: octagon, circle, rounded or full.
        panel: Whether a dark panel hides the lower left corner.
        stains: Strength of yellow remnants on the wall, a distractor.
    """

    mucosa: NDArray[np.float32]
    polyp: NDArray[np.float32]
    num_folds: int
    lumen_radius: float
    vessels: float
    wetness: float
    stretch: float
    num_lobes: int
    radius: float
    prominence: float
    pits: float
    surround: str
    panel: bool
    stains: float


def draw_scene(rng: np.random.Generator) -> Scene:
    """A scene drawn at random; about one in five polyps is flat and coloured like the wall around it."""
    red = rng.uniform(0.66, 0.86)
    green = red * rng.uniform(0.46, 0.64)
    mucosa = np.array([red, green, green * rng.uniform(0.72, 0.98)], np.float32)
    hard = rng.random() < 0.2
    if hard:
        tint = rng.uniform(0.97, 1.05, 3)
    elif rng.random() < 0.5:  # redder than the wall
        tint = np.array([rng.uniform(1.0, 1.12), rng.uniform(0.68, 0.88), rng.uniform(0.7, 0.92)])
    else:  # paler
        tint = np.array([rng.uniform(1.04, 1.16), rng.uniform(1.08, 1.3), rng.uniform(1.04, 1.3)])
    return Scene(
        mucosa=mucosa,
        polyp=np.clip(mucosa * tint, 0, 1).astype(np.float32),
        num_folds=int(rng.integers(1, 5)),
        lumen_radius=float(rng.uniform(0.12, 0.42)),
        vessels=float(rng.uniform(0.1, 0.55)),
        wetness=float(rng.uniform(0.2, 1.0)),
        stretch=float(rng.uniform(1.0, 1.7)),
        num_lobes=int(rng.choice([1, 1, 1, 2, 3, 4])),
        radius=float(np.exp(rng.uniform(np.log(0.18), np.log(0.6)))),
        prominence=float(rng.uniform(0.12, 0.25) if hard else rng.uniform(0.4, 0.95)),
        pits=float(rng.uniform(0.0, 0.3 if hard else 0.8)),
        surround=str(rng.choice(["octagon", "octagon", "circle", "rounded", "full"])),
        panel=bool(rng.random() < 0.35),
        stains=float(max(0.0, rng.uniform(-0.6, 0.7))),
    )


def draw_frame(
    scene: Scene, rng: np.random.Generator, size: tuple[int, int], with_polyp: bool = True
) -> tuple[Image, Mask]:
    """One view of a scene, and its mask; arguments and result as in `synthetic_image`."""
    height, width = size
    if min(size) < SMALLEST_SIDE:
        raise UsageError(f"size {height}x{width}: expected at least {SMALLEST_SIDE} pixels a side")
    unit = min(size) / 2
    u = np.broadcast_to(((np.arange(width, dtype=np.float32) + 0.5) - width / 2) / np.float32(unit), size)
    v = np.broadcast_to((((np.arange(height, dtype=np.float32) + 0.5) - height / 2) / np.float32(unit))[:, None], size)
    visible = _visible(scene, u, v)
    lumen = rng.uniform(-0.8, 0.8, 2).astype(np.float32)
    shade, relief = _wall(scene, rng, u, v, lumen)
    relief += 0.02 * _noise(rng, size, 7) + 0.006 * _noise(rng, size, 24)
    colour = scene.mucosa * (1 + 0.10 * _noise(rng, size, 4)[..., None] * np.array([0.3, 1.0, 1.0], np.float32))
    colour *= 1 - scene.vessels * _vessels(rng, size)[..., None] * np.array([0.35, 0.9, 0.8], np.float32)
    _stain(scene, rng, colour)
    mask = np.zeros(size, bool)
    if with_polyp:
        dome = _place_polyp(scene, rng, u, v, visible, lumen)
        mask = (dome > 0) & visible
        shade, relief, colour = _cover(scene, rng, dome, shade, relief, colour)
    wet = np.float32(0.6 * scene.wetness - 0.7) + np.float32(0.55) * mask
    picture = _light(rng, u, v, shade, relief, colour, wet)
    return _film(rng, picture, visible), mask


def _noise(rng: np.random.Generator, size: tuple[int, int], cells: int) -> Field:
    """Smooth noise, standard deviation about 0.7, with `cells` bumps along each side."""
    coarse = rng.standard_normal((cells + 1, cells + 1), dtype=np.float32)
    return np.asarray(cv2.resize(coarse, (size[1], size[0]), interpolation=cv2.INTER_CUBIC))


def _visible(scene: Scene, u: Field, v: Field) -> Mask:
    """Where the endoscope shows anything: all but its black surround and panel."""
    half_width, half_height = float(u.max()), float(v.max())
    across, down = np.abs(u) / half_width, np.abs(v) / half_height
    if scene.surround == "octagon":
        seen = (across + down < 1.5) & (across < 0.98) & (down < 0.99)
    elif scene.surround == "circle":
        seen = across**2 + down**2 < 1.12
    elif scene.surround == "rounded":
        seen = across**8 + down**8 < 0.97
    else:
        seen = np.ones(u.shape, bool)
    if scene.panel:
        seen &= ~((u < -0.38 * half_width) & (v > 0.38 * half_height))
    return np.asarray(seen)


def _wall(
    scene: Scene, rng: np.random.Generator, u: Field, v: Field, lumen: NDArray[np.float32]
) -> tuple[Field, Field]:
    """Brightness and relief of the tube: each fold hides a part of the next, darker one."""
    size = u.shape
    across, down = u - lumen[0], v - lumen[1]
    squeeze = rng.uniform(0.75, 1.3)
    radius = np.sqrt((across * np.float32(squeeze)) ** 2 + (down / np.float32(squeeze)) ** 2)
    radius *= 1 + 0.14 * _noise(rng, size, 3)
    angle = np.arctan2(down, across)
    shade = 0.62 + 0.5 * np.minimum(radius, 1.3) - 0.14 * radius**2
    relief = np.zeros(size, np.float32)
    edges = scene.lumen_radius * 1.75 ** np.arange(scene.num_folds) * rng.uniform(0.9, 1.15, scene.num_folds)
    for number, edge in enumerate(edges):
        corners, turn = int(rng.integers(2, 4)), rng.uniform(0, 6.28)
        rim = np.float32(edge) * (1 + 0.16 * np.cos(corners * angle + np.float32(turn)))
        beyond = (radius - rim) / np.float32(0.05 + 0.25 * edge)  # in widths of the fold, negative behind its edge
        drop = np.float32(0.62 if number == 0 else rng.uniform(0.18, 0.42))
        shade *= 1 - drop / (1 + np.exp(np.minimum(14 * beyond, 60)))
        ridge = np.exp(-((beyond - 0.4) ** 2) * 4)
        shade *= 1 + 0.16 * ridge
        relief += np.float32(0.05) * ridge
    return shade.astype(np.float32), relief


def _vessels(rng: np.random.Generator, size: tuple[int, int]) -> Field:
    """How much of a vessel lies in each pixel, in [0, 1]: random walks that fork twice a generation."""
    num_steps = 14
    canvas = np.zeros(size, np.uint8)
    unit = min(size)
    num_stems = int(rng.integers(5, 10))
    starts = rng.uniform(0, 1, (num_stems, 2)) * (size[1], size[0])
    headings = rng.uniform(0, 6.28, num_stems)
    for thickness in (1.0, 0.62, 0.38, 0.24):
        turns = headings[:, None] + np.cumsum(rng.normal(0, 0.28, (len(headings), num_steps)), 1)
        steps = np.stack([np.cos(turns), np.sin(turns)], -1) * (unit * 0.028)
        paths = starts[:, None] + np.cumsum(steps, 1)
        pixels = max(1, round(thickness * unit / 130))
        lines = list(np.rint(paths * 8).astype(np.int32))
        cv2.polylines(canvas, lines, False, int(110 + 140 * thickness), pixels, cv2.LINE_AA, 3)
        stems, joints = np.repeat(np.arange(len(lines)), 2), rng.integers(3, num_steps, 2 * len(lines))
        aside = rng.choice([-1, 1], len(stems)) * rng.uniform(0.4, 1.1, len(stems))
        starts, headings = paths[stems, joints], turns[stems, joints] + aside
    soft = cv2.GaussianBlur(canvas, (0, 0), unit / 300)
    return np.asarray(soft, np.float32) / np.float32(255)


def _stain(scene: Scene, rng: np.random.Generator, colour: NDArray[np.float32]) -> None:
    """Yellow remnants laid over the wall, in place."""
    if scene.stains == 0:
        return
    size = colour.shape[:2]
    amount = np.clip(_noise(rng, size, 6) + 0.6 * _noise(rng, size, 30) - 1.3, 0, 1) * np.float32(scene.stains)
    colour += amount[..., None] * (np.array([0.78, 0.62, 0.18], np.float32) - colour)


def _place_polyp(
    scene: Scene, rng: np.random.Generator, u: Field, v: Field, visible: Mask, lumen: NDArray[np.float32]
) -> Field:
    """The polyp's dome, at most 1, positive on the polyp: the largest of its lobes' 1 − r², its outline wavy."""
    size = visible.shape
    reach = np.array([u.max(), v.max()], np.float32) - np.float32(0.4 * scene.radius)
    wave = np.float32(0.07 * scene.radius)
    u, v = u + wave * _noise(rng, size, 8), v + wave * _noise(rng, size, 8)
    for attempt in range(20):
        middle = rng.uniform(-1, 1, 2) * reach
        near_lumen = np.hypot(*(middle - lumen)) < scene.lumen_radius
        dome = _lobes(scene, rng, u, v, middle * (0.97**attempt))
        if not near_lumen and np.mean((dome > 0) & visible) >= MIN_POLYP_SHARE:
            return dome
    dome = _lobes(scene, rng, u, v, np.zeros(2))  # the middle is visible under every surround
    while np.mean((dome > 0) & visible) < MIN_POLYP_SHARE:  # small beside a frame that is long and narrow
        dome = 1 - (1 - dome) / np.float32(1.44)  # every lobe a fifth wider
    return dome


def _lobes(scene: Scene, rng: np.random.Generator, u: Field, v: Field, middle: NDArray[np.floating]) -> Field:
    dome = np.full(u.shape, -9.0, np.float32)
    for number in range(scene.num_lobes):
        radius = scene.radius * rng.uniform(0.85, 1.1) * (1 if number == 0 else rng.uniform(0.45, 0.8))
        away, turn = rng.uniform(0, 6.28, 2)
        offset = 0.0 if number == 0 else 0.8 * scene.radius
        across, down = (
            u - np.float32(middle[0] + offset * np.cos(away)),
            v - np.float32(middle[1] + offset * np.sin(away)),
        )
        cosine, sine = np.float32(np.cos(turn) / radius), np.float32(np.sin(turn) / radius)
        along, beside = across * cosine + down * sine, (down * cosine - across * sine) * np.float32(scene.stretch)
        np.maximum(dome, 1 - along**2 - beside**2, out=dome)
    return dome


def _cover(
    scene: Scene, rng: np.random.Generator, dome: Field, shade: Field, relief: Field, colour: NDArray[np.float32]
) -> tuple[Field, Field, NDArray[np.float32]]:
    """Brightness, relief and colour of the wall with the polyp on it and its shadow around it."""
    size = dome.shape
    bump = np.sqrt(np.clip(dome, 0, 1) + np.float32(0.04)) - np.float32(0.2)  # steep, not endless, at its foot
    cover = np.clip(dome * np.float32(7), 0, 1)
    steep = np.float32(min(1.0, scene.prominence * 1.3))
    shadow = np.exp(-np.clip(-dome, 0, 9) * np.float32(3.5))
    shift = min(size) * 0.03 * scene.prominence
    aside = np.array([[1, 0, rng.uniform(-shift, shift)], [0, 1, shift]], np.float32)
    cast = cv2.warpAffine(shadow, aside, (size[1], size[0]), borderMode=cv2.BORDER_REPLICATE)
    around = shade * (1 - np.float32(0.45) * steep * cast)
    own = 0.35 * shade + np.float32(0.62) * (1 - np.float32(0.3) * steep * (1 - bump))
    pattern = _noise(rng, size, 34) + 0.7 * _noise(rng, size, 60)
    own *= 1 + np.float32(0.07 * scene.pits) * pattern
    relief = relief * (1 - cover) + np.float32(scene.prominence * scene.radius) * bump
    relief += np.float32(0.006 * scene.pits) * pattern * cover
    tinted = scene.polyp * (1 + 0.05 * _noise(rng, size, 8)[..., None])
    painted = np.asarray(colour + (cover * np.float32(0.9))[..., None] * (tinted - colour), np.float32)
    return around + cover * (own - around), relief, painted


def _light(
    rng: np.random.Generator, u: Field, v: Field, shade: Field, relief: Field, colour: NDArray[np.float32], wet: Field
) -> NDArray[np.float32]:
    """The lit picture, RGB about [0, 1]: slopes that face the lamp shine, the wettest of them white."""
    size = shade.shape
    unit = np.float32(min(size) / 2)
    slope_x = cv2.Sobel(relief, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8) * unit
    slope_y = cv2.Sobel(relief, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8) * unit
    lamp = rng.uniform(-0.35, 0.35, 2).astype(np.float32)
    to_lamp_x, to_lamp_y = 0.5 * (lamp[0] - u), 0.5 * (lamp[1] - v) - np.float32(0.15)
    upright = 1 / np.sqrt(1 + slope_x**2 + slope_y**2)
    facing = (1 - slope_x * to_lamp_x - slope_y * to_lamp_y) * upright / np.sqrt(1 + to_lamp_x**2 + to_lamp_y**2)
    lit = shade * (0.34 + 0.85 * np.clip(facing, 0, 1.2))
    picture = colour * np.stack([lit * (1.14 - 0.14 * lit)] + 2 * [lit * (0.84 + 0.16 * lit)], -1)  # the dark is red
    tilt_x = slope_x - to_lamp_x + 0.5 * _noise(rng, size, 30)
    tilt_y = slope_y - to_lamp_y + 0.5 * _noise(rng, size, 30)
    patches = np.clip(_noise(rng, size, 7) + wet, 0, 1)
    glint = np.clip(1.3 - 16 * (tilt_x**2 + tilt_y**2), 0, 1) * patches * np.clip(shade * 2.4 - 0.9, 0, 1.6)
    glint = np.minimum(cv2.GaussianBlur(glint, (0, 0), max(0.4, float(unit) / 200)), 1)
    picture += glint[..., None] * (np.float32(1.02) - picture)
    glare = np.clip(lit - 0.95, 0, 1) * np.float32(0.8)
    return np.asarray(picture + glare[..., None] * (1 - picture), np.float32)


def _film(rng: np.random.Generator, picture: NDArray[np.float32], visible: Mask) -> Image:
    """The picture as the camera stores it: exposed, a little blurred and noisy, black where nothing is visible."""
    size = visible.shape
    exposed = picture * np.float32(rng.uniform(0.85, 1.15))
    blurred = cv2.GaussianBlur(exposed, (0, 0), min(size) / 256 * rng.uniform(0.35, 1.1))
    grain = rng.standard_normal((*size, 1), dtype=np.float32) * np.float32(0.012)
    edge = cv2.blur(visible.astype(np.float32), (3, 3))[..., None]
    return np.asarray(np.clip((blurred + grain) * edge * 255, 0, 255), np.uint8)
