"""Synthetic procedures: minutes of a camera that moves through a tube, with exact masks and lesion ids.

    for frame in draw_procedure(seed=0, number=1, request=ProcedureRequest(seconds=60)):
        frame.image, frame.numbers

Lesions come, turn, hide behind folds and leave; between them are clean stretches. There are blur, stool, water on the
wall and on the lens, and contact with the wall. A figure on these frames says nothing about patients.

Decisions:
- The same seed and number give the same procedure, whatever else is drawn.
- A lesion is in sight where its mask has `LEAST_SHARE` of the frame: farther away nobody would mark it. While the lens
  touches the wall nothing is in sight.
- A lesion that moves behind a fold is the same lesion when it comes back; lesions are numbered along the tube.
"""

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from polypseg.arrays import Image
from polypseg.data.scene import SMALLEST_SIDE
from polypseg.data.tube import Field, Lesion, Pose, Tube, draw_lesion, draw_tube, view
from polypseg.errors import DataError, UsageError
from polypseg.preprocess.lesion_masks import lesion_name, level_boxes
from polypseg.progress import Track, silent
from polypseg.records.atomic import write_text

LEAST_SHARE = 0.0015
"""Of the frame; fewer pixels of a lesion are not marked."""

SPEED = 0.42
"""Of the camera, in radii of the tube a second, on average."""


class ProcedureRequest(NamedTuple):
    """What is drawn.

    Attributes:
        seconds: Length.
        rate: Frames a second.
        side: Of the frames, in pixels.
        num_lesions: In the whole procedure; 0 for a clean one.
    """

    seconds: float = 60.0
    rate: float = 25.0
    side: int = 256
    num_lesions: int = 3


class ProcedureFrame(NamedTuple):
    """A frame.

    Attributes:
        image: Shape (H, W, 3), uint8.
        numbers: Shape (H, W), uint8: the lesion's number at each pixel, 0 for none.
    """

    image: Image
    numbers: NDArray[np.uint8]


class _Course(NamedTuple):
    """The camera's way and what befalls it, one value per frame."""

    z: Field
    aside: Field
    yaw: Field
    pitch: Field
    roll: Field
    blur: Field
    drops: Field
    contact: Field


def draw_procedure(seed: int, number: int, request: ProcedureRequest) -> Iterator[ProcedureFrame]:
    """The frames of a procedure, one after another.

    Args:
        seed: Of all procedures.
        number: Of this one.
        request: Length, rate, size and lesions.

    Raises:
        UsageError: A number that cannot be.
    """
    _check(request)
    tube, course = _drawn(seed, number, request)
    size = (request.side, request.side)
    visible = _visible(request.side)
    soft = cv2.blur(visible.astype(np.float32), (3, 3))[..., None]
    grain = np.random.default_rng([seed, number, 2]).standard_normal((2 * request.side,) * 2, dtype=np.float32)
    for place in range(len(course.z)):
        pose = Pose(*(_one(column, place) for column in course[:5]))
        seen = view(tube, pose, size)
        numbers = np.where(visible, seen.numbers, 0).astype(np.uint8)
        if course.contact[place] > 0.5:
            numbers[:] = 0
        _drop_small(numbers)
        top, left = (place * 37) % request.side, (place * 101) % request.side
        noise = grain[top : top + request.side, left : left + request.side, None] * np.float32(0.012)
        yield ProcedureFrame(_filmed(seen.picture, course, place, noise, soft), numbers)


def make_procedures(
    out: Path | str,
    num_procedures: int = 2,
    seed: int = 0,
    request: ProcedureRequest | None = None,
    track: Track = silent,
) -> list[str]:
    """The names of new procedures: videos/NAME/*.jpg, masks/NAME/*.png and lesions.json in the folder `out`.

    Args:
        out: Folder to write; refused where it already holds videos.
        num_procedures: How many.
        seed: The same seed gives the same procedures.
        request: Length, rate, size and lesions; the default's where None.
        track: Shows progress.

    Raises:
        DataError: The folder already holds videos.
        UsageError: A number that cannot be.
    """
    wanted = request or ProcedureRequest()
    _check(wanted)
    folder = Path(out)
    if (folder / "videos").exists() and any((folder / "videos").iterdir()):
        raise DataError(f"{folder / 'videos'}: already holds files; remove it or name another folder")
    content = _Coco(wanted)
    names = []
    for number in range(1, num_procedures + 1):
        name = f"procedure{number:03d}"
        names.append(name)
        for kind in ("videos", "masks"):
            (folder / kind / name).mkdir(parents=True, exist_ok=True)
        frames = draw_procedure(seed, number, wanted)
        total = round(wanted.seconds * wanted.rate)
        for place, frame in enumerate(track(frames, f"drawing {name}", total)):
            key = f"{name}_{place:06d}"
            picture = folder / "videos" / name / f"{key}.jpg"
            cv2.imwrite(str(picture), frame.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
            cv2.imwrite(str(folder / "masks" / name / f"{key}.png"), frame.numbers)
            content.add(name, key, frame.numbers)
    write_text(folder / "lesions.json", content.text(seed))
    return names


class _CocoImage(NamedTuple):
    id: int
    file_name: str
    height: int
    width: int
    procedure: str
    frame_rate: float


class _CocoBox(NamedTuple):
    id: int
    image_id: int
    bbox: list[float]
    area: int
    lesion_id: str
    unique_id: str
    category_id: int = 1
    iscrowd: int = 0


class _Coco:
    """Gathers boxes with lesion ids."""

    def __init__(self, request: ProcedureRequest) -> None:
        self._request = request
        self._images: list[_CocoImage] = []
        self._annotations: list[_CocoBox] = []

    def add(self, name: str, key: str, numbers: NDArray[np.uint8]) -> None:
        """Add a frame."""
        height, width = numbers.shape
        number, file_name = len(self._images) + 1, f"{name}/{key}.jpg"
        self._images.append(_CocoImage(number, file_name, height, width, name, self._request.rate))
        for level, box, percent in level_boxes(numbers) if numbers.any() else ():
            lesion = lesion_name(name, level)
            area, unique = round(percent / 100 * numbers.size), lesion.replace(":", "_")
            self._annotations.append(_CocoBox(len(self._annotations) + 1, number, list(box), area, lesion, unique))

    def text(self, seed: int) -> str:
        """The file's text, with the look of each lesion that is ever in sight."""
        seen = dict.fromkeys(one.lesion_id for one in self._annotations)
        lesions = []
        for lesion in seen:
            name, _, level = lesion.rpartition(":")
            drawn = _drawn_lesions(seed, int(name.removeprefix("procedure")), self._request)[int(level) - 1]
            look = "flat" if drawn.height < drawn.radius / 3 else "protruding"
            lesions.append({"id": lesion, "look": look})
        information = {"description": "polypseg synthetic procedures", "seed": seed}
        whole = {
            "info": information,
            "images": [image._asdict() for image in self._images],
            "annotations": [box._asdict() for box in self._annotations],
            "categories": [{"id": 1, "name": "polyp"}],
            "lesions": lesions,
        }
        return json.dumps(whole) + "\n"


def _check(request: ProcedureRequest) -> None:
    if not request.seconds * request.rate >= 2 or not request.rate > 0:
        raise UsageError(f"{request.seconds:g} seconds at {request.rate:g} a second: expected at least 2 frames")
    if request.side < SMALLEST_SIDE:
        raise UsageError(f"side {request.side}: expected at least {SMALLEST_SIDE} pixels")
    if not 0 <= request.num_lesions <= 50:
        raise UsageError(f"num_lesions {request.num_lesions}: expected 0 to 50")


def _drawn_lesions(seed: int, number: int, request: ProcedureRequest) -> tuple[Lesion, ...]:
    """Lesions along the first nine tenths of the way, each in a part of its own."""
    rng = np.random.default_rng([seed, number, 0])
    length = max(3.0, SPEED * request.seconds)
    edges = np.linspace(0.8, 0.9 * length + 0.8, request.num_lesions + 1)
    return tuple(
        draw_lesion(rng, float(rng.uniform(low + 0.2 * (high - low), high))) for low, high in pairwise(edges.tolist())
    )


def _drawn(seed: int, number: int, request: ProcedureRequest) -> tuple[Tube, _Course]:
    rng = np.random.default_rng([seed, number, 1])
    length = max(3.0, SPEED * request.seconds)
    tube = draw_tube(rng, length, _drawn_lesions(seed, number, request))
    num = round(request.seconds * request.rate)
    time = np.arange(num) / request.rate
    speed = 1 + _waves(rng, time, 0.05, 0.3, 1.3)  # now and then it moves back
    way = np.cumsum(speed) / max(1e-9, float(np.sum(speed))) * (length - 0.2)
    yaw, pitch = (_waves(rng, time, 0.03, 0.25, 0.55) for _ in range(2))
    roll = np.cumsum(_waves(rng, time, 0.03, 0.2, 0.5)) / request.rate
    aside = np.stack([_waves(rng, time, 0.05, 0.3, 0.3) for _ in range(2)], axis=1)
    befallen = [_spells(rng, time, a_minute, longest) for a_minute, longest in ((8, 1.2), (3, 1.5), (2, 0.9))]
    columns = (np.maximum(way, 0), aside, yaw, pitch, roll, *befallen)
    return tube, _Course(*(np.asarray(column, np.float32) for column in columns))


def _waves(rng: np.random.Generator, time: NDArray[np.float64], slowest: float, fastest: float, most: float) -> Any:
    """A smooth motion of a few waves, of about this size."""
    waves = [
        rng.uniform(0.4, 1) * np.sin(2 * np.pi * rng.uniform(slowest, fastest) * time + rng.uniform(0, 6.28))
        for _ in range(4)
    ]
    return most * sum(waves) / 2


def _spells(rng: np.random.Generator, time: NDArray[np.float64], a_minute: float, longest: float) -> Any:
    """Something that comes and goes, so many times a minute: 0 to 1."""
    strength = np.zeros(len(time))
    for _ in range(int(rng.poisson(a_minute * time[-1] / 60))):
        middle, half = rng.uniform(0, time[-1]), rng.uniform(0.15, longest / 2)
        strength = np.maximum(strength, np.clip((half - np.abs(time - middle)) / (0.3 * half), 0, 1))
    return strength


def _one(column: Field, place: int) -> Any:
    return column[place] if column.ndim > 1 else float(column[place])


def _visible(side: int) -> NDArray[np.bool_]:
    """An octagon, as endoscopes show."""
    along = np.abs((np.arange(side) + 0.5) / (side / 2) - 1)
    return np.asarray((along[:, None] + along[None, :] < 1.5) & (along[:, None] < 0.98) & (along[None, :] < 0.98))


def _drop_small(numbers: NDArray[np.uint8]) -> None:
    """Take lesions of too few pixels out, in place."""
    if not numbers.any():
        return
    areas = np.bincount(numbers.ravel())
    for level in np.flatnonzero((areas > 0) & (areas < LEAST_SHARE * numbers.size)):
        if level:
            numbers[numbers == level] = 0


def _filmed(picture: Field, course: _Course, place: int, noise: Field, soft: Field) -> Image:
    """The picture as the camera stores it: moved, out of focus, wet, touching, noisy, in its octagon."""
    side = picture.shape[0]
    before = max(0, place - 1)
    moved = [float(column[place] - column[before]) * side / 2 for column in (course.yaw, course.pitch)]
    length = float(np.hypot(*moved))
    if length > 1.5:
        picture = _moved(picture, moved, min(15, round(length)))
    blur, drops, contact = (float(column[place]) for column in (course.blur, course.drops, course.contact))
    if drops > 0:
        picture = _through_water(picture, drops, place)
    if blur > 0:
        picture = cv2.GaussianBlur(picture, (0, 0), 0.4 + blur * side / 90)
    if contact > 0:
        red = cv2.GaussianBlur(picture, (0, 0), side / 8) * np.float32(0.5) + np.array([0.5, 0.12, 0.1], np.float32)
        picture = picture + np.float32(contact) * (red - picture)
    return np.asarray(np.clip((picture + noise) * soft * 255, 0, 255), np.uint8)


def _moved(picture: Field, moved: list[float], length: int) -> Field:
    kernel = np.zeros((length | 1, length | 1), np.float32)
    middle, angle = length // 2, float(np.arctan2(moved[1], moved[0]))
    ends = [
        (round(middle + sign * middle * np.cos(angle)), round(middle + sign * middle * np.sin(angle)))
        for sign in (-1, 1)
    ]
    cv2.line(kernel, ends[0], ends[1], 1.0)
    return np.asarray(cv2.filter2D(picture, -1, kernel / kernel.sum()), np.float32)


def _through_water(picture: Field, strength: float, place: int) -> Field:
    """Water on the lens: what is behind it ripples."""
    side = picture.shape[0]
    across = np.arange(side, dtype=np.float32)
    wave = np.float32(strength * side / 40)
    shift_x = wave * np.sin(across * np.float32(16 / side) + np.float32(0.4 * place))
    shift_y = wave * np.cos(across * np.float32(21 / side) - np.float32(0.3 * place))
    at_x = across[None, :] + shift_x[:, None] + np.float32(0.5) * shift_x[None, :]
    at_y = across[:, None] + shift_y[None, :] + np.float32(0.5) * shift_y[:, None]
    return np.asarray(cv2.remap(picture, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT), np.float32)
