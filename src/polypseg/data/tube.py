"""A colon as a tube that a camera moves through: its course, folds, wall and lesions, and one view of it.

Nothing is learned from or copied out of a data set.

Decisions:
- Lengths are in radii of the tube. The wall is a surface r(z) around a winding centre line, narrowed by folds; a fold
  hides what lies behind it. Lesions are ellipsoids on the wall, of one to three lobes.
- Rays are followed to the wall at a quarter of the pixels, and the distances enlarged: the wall is smooth. Lesions are
  met exactly, at every pixel: the mask is where a lesion is met before the wall.
- The wall's colours are a picture that is wrapped around it once; a frame only looks them up.
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]

STEP = 0.02
"""Between two entries of the tables along the tube."""

NEAR, FAR, NUM_STEPS = 0.12, 9.0, 40
"""Distances at which a ray is looked at, in geometric progression."""

AROUND, ALONG, TILE = 512, 1536, 18.0
"""Pixels of the wall's picture around and along, and the length after which it repeats."""

VIEW = 1.15
"""Tangent of half the angle of view, at the middle of a side."""


class Lesion(NamedTuple):
    """A lesion on the wall.

    Attributes:
        z: Place along the tube.
        angle: Place around it.
        radius: Along the wall.
        height: Off the wall; below a third of the radius it is flat.
        lobes: Shape (K, 3): angle and distance of each lobe's middle from the lesion's, and its size, in radii.
        colour: RGB in [0, 1].
    """

    z: float
    angle: float
    radius: float
    height: float
    lobes: Field
    colour: Field


class Tube(NamedTuple):
    """A tube.

    Attributes:
        radius: Shape (N,): of the wall, every `STEP` along it.
        slope: Shape (N,): its derivative.
        centre: Shape (N, 2): of the tube.
        wall: Shape (ALONG, AROUND, 3), uint8.
        wet: Shape (ALONG, AROUND), float32: where the wall reflects.
        stain: Shape (ALONG, AROUND), float32: where stool would lie.
        dirt: Shape (N,): how much of it lies there.
        water: Shape (N,): how much water.
        lesions: In order along the tube.
    """

    radius: Field
    slope: Field
    centre: Field
    wall: NDArray[np.uint8]
    wet: Field
    stain: Field
    dirt: Field
    water: Field
    lesions: tuple[Lesion, ...]


class Pose(NamedTuple):
    """Where the camera is and looks.

    Attributes:
        z: Along the tube.
        aside: Off the centre line, shape (2,).
        yaw: In radians, off the tube's direction, as the next two.
        pitch: Up and down.
        roll: About the axis of view.
    """

    z: float
    aside: Field
    yaw: float
    pitch: float
    roll: float


class View(NamedTuple):
    """What is seen.

    Attributes:
        picture: Shape (H, W, 3), float32 about [0, 1].
        numbers: Shape (H, W), uint8: the number of the lesion, from 1 on; 0 for none.
        distance: Shape (H, W), float32.
    """

    picture: Field
    numbers: NDArray[np.uint8]
    distance: Field


def draw_tube(rng: np.random.Generator, length: float, lesions: tuple[Lesion, ...]) -> Tube:
    """A tube of a length, with these lesions."""
    num = int((length + FAR + 2) / STEP) + 2
    z = (np.arange(num) * STEP).astype(np.float32)
    radius = np.ones(num, np.float32)
    place = rng.uniform(0.5, 1.5)
    while place < z[-1]:
        width, depth = rng.uniform(0.1, 0.22), rng.uniform(0.12, 0.42)
        radius *= 1 - np.float32(depth) * np.exp(-(((z - np.float32(place)) / np.float32(width)) ** 2))
        place += rng.uniform(0.7, 1.9)
    bends = rng.uniform(0.15, 0.5, (3, 2)), rng.uniform(0.15, 0.55, (3, 2)), rng.uniform(0, 6.28, (3, 2))
    centre = sum(bends[0][k] * np.sin(bends[1][k] * z[:, None] + bends[2][k]) for k in range(3))
    wall, wet, stain = _wall(rng)
    dirt, water = (_episodes(rng, z, share) for share in (0.3, 0.25))
    slope = np.gradient(radius, np.float32(STEP)).astype(np.float32)
    return Tube(radius, slope, np.asarray(centre, np.float32), wall, wet, stain, dirt, water, lesions)


def draw_lesion(rng: np.random.Generator, z: float) -> Lesion:
    """A lesion at a place along the tube; about one in three is flat."""
    flat = rng.random() < 0.35
    radius = float(np.exp(rng.uniform(np.log(0.14), np.log(0.42))))
    height = radius * float(rng.uniform(0.15, 0.3) if flat else rng.uniform(0.6, 1.25))
    num = int(rng.choice([1, 1, 2, 3]))
    lobes = np.stack([rng.uniform(0, 6.28, num), rng.uniform(0.35, 0.7, num), rng.uniform(0.5, 0.85, num)], 1)
    lobes[0] = (0, 0, 1)
    tint = (
        rng.uniform([0.97, 0.85, 0.85], [1.08, 1.1, 1.1]) if flat else rng.uniform([0.97, 0.68, 0.7], [1.12, 0.98, 1.0])
    )
    colour = np.clip(np.array([0.78, 0.42, 0.36]) * tint, 0, 1)
    return Lesion(z, float(rng.uniform(0, 6.28)), radius, height, lobes.astype(np.float32), colour.astype(np.float32))


class _Camera(NamedTuple):
    """Where the camera is.

    Attributes:
        pose: Within the tube.
        middle: (2,): its place across the tube.
        rays: (H, W, 3): the direction of each pixel.
    """

    pose: Pose
    middle: Field
    rays: Field


def view(tube: Tube, pose: Pose, size: tuple[int, int]) -> View:
    """What a camera sees, and where which lesion is.

    Args:
        tube: From `draw_tube`.
        pose: Of the camera.
        size: Height and width in pixels.
    """
    middle = _at(tube.centre, pose.z) + pose.aside
    rays = _rays(pose, size, _heading(tube, pose.z))
    coarse = np.ascontiguousarray(rays[::2, ::2])
    distance = cv2.resize(_reach(tube, pose, middle, coarse), (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    picture = _paint_wall(tube, pose, middle, rays, distance)
    seen = View(picture, np.zeros(size, np.uint8), distance)
    camera = _Camera(pose, middle, rays)
    for place, lesion in enumerate(tube.lesions):
        if pose.z - 1 < lesion.z < pose.z + 6:
            _paint_lesion(tube, lesion, camera, seen, place + 1)
    return seen


def _at(table: Field, z: float) -> Field:
    return np.asarray(table[min(len(table) - 1, max(0, int(z / STEP)))])


def _heading(tube: Tube, z: float) -> Field:
    """The direction of the tube, (2,): how its centre moves with z."""
    return np.asarray((_at(tube.centre, z + 0.6) - _at(tube.centre, z)) / np.float32(0.6))


def _rays(pose: Pose, size: tuple[int, int], heading: Field) -> Field:
    """Unit directions of the pixels, shape (H, W, 3)."""
    unit = min(size) / 2
    u = ((np.arange(size[1], dtype=np.float32) + 0.5) - size[1] / 2) / np.float32(unit / VIEW)
    v = ((np.arange(size[0], dtype=np.float32) + 0.5) - size[0] / 2) / np.float32(unit / VIEW)
    yaw, pitch = pose.yaw + float(np.arctan(heading[0])), pose.pitch + float(np.arctan(heading[1]))
    turn = cv2.Rodrigues(np.array([0, yaw, 0]))[0] @ cv2.Rodrigues(np.array([-pitch, 0, 0]))[0]
    turn = (turn @ cv2.Rodrigues(np.array([0, 0, pose.roll]))[0]).astype(np.float32)
    flat = u[None, :, None] * turn[:, 0] + v[:, None, None] * turn[:, 1] + turn[:, 2]
    return np.asarray(flat / np.sqrt((flat * flat).sum(-1, keepdims=True)), np.float32)


def _reach(tube: Tube, pose: Pose, middle: Field, rays: Field) -> Field:
    """The distance to the wall along each ray."""
    flat = rays.reshape(-1, 3)
    steps = np.geomspace(NEAR, FAR, NUM_STEPS).astype(np.float32)[:, None]
    index = ((np.float32(pose.z) + steps * flat[:, 2]) * np.float32(1 / STEP)).astype(np.int32)
    np.clip(index, 0, len(tube.radius) - 1, out=index)
    across = middle[0] + steps * flat[:, 0] - tube.centre[:, 0].take(index)
    down = middle[1] + steps * flat[:, 1] - tube.centre[:, 1].take(index)
    beyond = np.sqrt(across * across + down * down) - tube.radius.take(index)
    outside = beyond >= 0
    outside[-1] = True
    hit = np.maximum(1, np.argmax(outside, axis=0))
    columns = np.arange(flat.shape[0])
    after, before = beyond[hit, columns], beyond[hit - 1, columns]
    share = np.clip(-before / np.maximum(after - before, np.float32(1e-6)), 0, 1)
    found = steps[hit - 1, 0] + share * (steps[hit, 0] - steps[hit - 1, 0])
    return np.asarray(found.reshape(rays.shape[:2]), np.float32)


def _paint_wall(tube: Tube, pose: Pose, middle: Field, rays: Field, distance: Field) -> Field:
    """The wall's colours, lit by a lamp at the camera."""
    z = np.float32(pose.z) + distance * rays[..., 2]
    index = np.clip((z * np.float32(1 / STEP)).astype(np.int32), 0, len(tube.radius) - 1)
    across = middle[0] + distance * rays[..., 0] - tube.centre[:, 0].take(index)
    down = middle[1] + distance * rays[..., 1] - tube.centre[:, 1].take(index)
    radius, angle = cv2.cartToPolar(across, down)
    at_x = angle * np.float32(AROUND / (2 * np.pi))
    at_y = np.mod(z * np.float32(ALONG / TILE), np.float32(ALONG))
    sampled = cv2.remap(tube.wall, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    colour = sampled.astype(np.float32) * np.float32(1 / 255)
    layers = [
        cv2.remap(layer, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP) for layer in (tube.stain, tube.wet)
    ]
    stool = np.clip((layers[0] + 2 * tube.dirt.take(index) - np.float32(1.7)) * 2, 0, 1)[..., None]
    colour += stool * (np.array([0.62, 0.47, 0.12], np.float32) - colour)
    puddle = np.clip((down / np.maximum(radius, np.float32(1e-3)) - np.float32(0.86)) * 12, 0, 1)
    puddle = (puddle * np.clip(3 * tube.water.take(index) - 1, 0, 1))[..., None] * np.float32(0.7)
    colour += puddle * (np.array([0.5, 0.52, 0.3], np.float32) - colour)
    outward = (across * rays[..., 0] + down * rays[..., 1]) / np.maximum(radius, np.float32(1e-3))
    slope = tube.slope.take(index)
    facing = np.clip((outward - slope * rays[..., 2]) / np.sqrt(1 + slope * slope), 0, 1)
    return _lit(colour, facing, distance, layers[1] + puddle[..., 0])


def _lit(colour: Field, facing: Field, distance: Field, wet: Field) -> Field:
    shade = (np.float32(0.25) + facing) / (np.float32(0.55) + np.float32(0.5) * distance * distance)
    shade = np.float32(1.25) * shade / (1 + np.float32(0.35) * shade)
    glint = np.clip(facing * facing * wet * 3 - np.float32(2.3), 0, 1) * np.clip(shade, 0, 1)
    lit = colour * shade[..., None]
    return np.asarray(lit + glint[..., None] * (1 - lit), np.float32)


def _paint_lesion(tube: Tube, lesion: Lesion, camera: _Camera, view: View, number: int) -> None:
    """Draw a lesion over the view where it is met before anything else, in place."""
    pose, middle, rays = camera
    picture, numbers, distance = view
    up = np.array([-np.cos(lesion.angle), -np.sin(lesion.angle), 0], np.float32)
    around = np.array([-np.sin(lesion.angle), np.cos(lesion.angle), 0], np.float32)
    ahead = np.array([0, 0, 1], np.float32)
    foot = np.append(_at(tube.centre, lesion.z) - up[:2] * _at(tube.radius, lesion.z), lesion.z).astype(np.float32)
    eye = np.append(middle, np.float32(pose.z)).astype(np.float32)
    frame = np.stack([around, ahead, up]).astype(np.float32)
    for turn, away, part in lesion.lobes.tolist():
        shift = lesion.radius * away * (np.cos(turn) * around + np.sin(turn) * ahead)
        axes = np.array([lesion.radius, lesion.radius, lesion.height], np.float32) * np.float32(part)
        local = frame / axes[:, None]
        origin = (local @ (eye - foot - shift.astype(np.float32))).astype(np.float32)
        towards = rays @ local.T
        a = (towards * towards).sum(-1)
        half_b = towards @ origin
        inside = half_b * half_b - a * np.float32(origin @ origin - 1)
        met = (-half_b - np.sqrt(np.maximum(inside, 0))) / a
        seen = (inside > 0) & (met > np.float32(NEAR)) & (met < distance)
        if not seen.any():
            continue
        normal = (origin + met[seen][:, None] * towards[seen]) @ local
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6)
        facing = np.clip(-(normal * rays[seen]).sum(-1), 0, 1)
        mottled = lesion.colour * (1 + np.float32(0.06) * np.sin(11 * normal + 17 * normal[:, ::-1] ** 2))
        wet = np.float32(0.72) + np.float32(0.3) * np.sin(7 * normal[:, 0] + 5 * normal[:, 1] + number)
        picture[seen] = _lit(mottled.astype(np.float32), facing, met[seen], wet)
        distance[seen] = met[seen]
        numbers[seen] = number


def _wall(rng: np.random.Generator) -> tuple[NDArray[np.uint8], Field, Field]:
    """Colours, wetness and places of stool of the wall, each without a seam."""
    red = rng.uniform(0.72, 0.86)
    base = np.array([red, red * rng.uniform(0.5, 0.62), red * rng.uniform(0.4, 0.52)], np.float32)
    mottle = 0.10 * _noise(rng, 12, 36) + 0.06 * _noise(rng, 48, 144)
    colour = base * (1 + mottle[..., None] * np.array([0.4, 1.0, 1.0], np.float32))
    vessels = np.zeros((ALONG, AROUND), np.uint8)
    for _ in range(90):
        turns = rng.uniform(0, 6.28) + np.cumsum(rng.normal(0, 0.25, 30))
        path = rng.uniform(0, 1, 2) * (AROUND, ALONG) + np.cumsum(np.stack([np.cos(turns), np.sin(turns)], 1) * 7, 0)
        width = int(rng.choice([1, 1, 2]))
        for shift in ((0, 0), (AROUND, 0), (-AROUND, 0), (0, ALONG), (0, -ALONG)):
            points = np.rint(path + shift).astype(np.int32)
            cv2.polylines(vessels, [points], False, int(rng.integers(90, 200)), width, cv2.LINE_AA)
    veins = cv2.GaussianBlur(vessels, (0, 0), 0.8).astype(np.float32) / 255
    colour *= 1 - veins[..., None] * np.array([0.25, 0.6, 0.5], np.float32)
    wet = 0.5 + 0.4 * _noise(rng, 64, 192) + 0.25 * _noise(rng, 16, 48)
    stain = 0.5 + 0.4 * _noise(rng, 14, 42) + 0.2 * _noise(rng, 60, 180)
    pixels = np.clip(colour * 255, 0, 255).astype(np.uint8)
    return pixels, wet.astype(np.float32), stain.astype(np.float32)


def _noise(rng: np.random.Generator, around: int, along: int) -> Field:
    """Smooth noise on the wall that meets itself around and along."""
    coarse = rng.standard_normal((along, around), dtype=np.float32)
    padded = np.pad(coarse, 2, mode="wrap")
    scale = (AROUND // around, ALONG // along)
    large = cv2.resize(padded, None, fx=AROUND / around, fy=ALONG / along, interpolation=cv2.INTER_CUBIC)
    return np.asarray(large[2 * scale[1] : 2 * scale[1] + ALONG, 2 * scale[0] : 2 * scale[0] + AROUND])


def _episodes(rng: np.random.Generator, z: Field, share: float) -> Field:
    """A value along the tube that is above 0 in about so much of it."""
    knots = rng.uniform(0, 1, int(z[-1] / 2.5) + 3)
    smooth = np.interp(z, np.arange(len(knots)) * 2.5, knots)
    return np.clip((smooth - (1 - share) * 0.8) * 2.5, 0, 1).astype(np.float32)
