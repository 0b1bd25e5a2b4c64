"""References in a COCO file: boxes that carry lesion ids.

Decisions:
- The file is read record by record and kept in columns: 100,000 frames take a few MB.
- Images and annotations may stand in any order, and so may the two lists.
"""

from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from polypseg.errors import ScoreError
from polypseg.evaluate.procedures.frames import Frames, frames_from, natural
from polypseg.evaluate.procedures.references import Gathered, References, Sights
from polypseg.metrics.procedures.tables import Numbers
from polypseg.records.json_stream import stream_members
from polypseg.records.reading import FileKind

COCO = FileKind("COCO file of references", ScoreError, "expected images and annotations with a lesion_id", 4096)
LESION_KEYS = ("lesion_id", "unique_id")
"""The first is ours, the second that of REAL-Colon's and TRUE-Colon's files."""


def procedure_and_key(image: Mapping[str, Any]) -> tuple[str, str]:
    """The procedure and the frame's name of an image of a COCO file.

    The procedure is its key `procedure`, else the folder of its file name, else what is before the last `_`.

    >>> procedure_and_key({"file_name": "001-001_123.jpg"}), procedure_and_key({"file_name": "p1/a.b.png"})
    (('001-001', '001-001_123'), ('p1', 'a.b'))
    """
    path = PurePosixPath(str(image["file_name"]).replace("\\", "/"))
    folder = "" if str(path.parent) == "." else str(path.parent)
    named = image.get("procedure") or folder or path.stem.rpartition("_")[0] or "procedure"
    return str(named), path.stem


def boxes(path: Path, rate: float | None) -> References:
    """References of a COCO file; arguments and errors as `open_references`."""
    images, annotations = _Images(path), _Annotations(path)
    lesions: Any = []
    gatherers: dict[str, _Images | _Annotations] = {"images": images, "annotations": annotations}
    for key, value in stream_members(path, COCO):
        if not key:
            raise COCO.damaged(path, "a list, not an object with images and annotations")
        if key == "lesions":
            lesions = list(value) if isinstance(value, Iterator) else value
        gathered = gatherers.get(key)
        if gathered is None:
            continue
        if not isinstance(value, Iterator):
            raise COCO.damaged(path, f"{key} is no list")
        gathered.is_there = True
        for record in value:
            gathered.add(record)
    if not (images.is_there and annotations.is_there) or not images.by_procedure:
        raise COCO.damaged(path, "no images or no annotations")
    frames, image_ids, pixels = images.frames(rate)
    sights = annotations.sights(frames, image_ids, pixels)
    looks = _looks_of(path, lesions, sights)

    def sights_in(evaluated: Frames) -> Sights:
        return sights if evaluated is frames else _moved(sights, frames, evaluated)

    return References(path, "boxes", frames, sights_in, looks, image_ids=image_ids)


def _moved(sights: Sights, frames: Frames, evaluated: Frames) -> Sights:
    """The sights in other frames of the same names."""
    owners = [frames.names[owner] for owner in frames.procedure.tolist()]
    places = np.array([evaluated.places[pair] for pair in zip(owners, frames.keys, strict=True)])
    numbers = np.array([evaluated.names.index(name) for name in frames.names])
    return Sights(
        sights.lesions,
        numbers[sights.lesion_procedure],
        places[sights.frame],
        sights.lesion,
        sights.box,
        sights.percent,
    )


class _Image(NamedTuple):
    """What is kept of an image; None where it is not told."""

    key: str
    number: Any
    pixels: float
    seconds: Any
    rate: Any


class _Images:
    """Gathers the images by procedure."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.is_there = False
        self.by_procedure: dict[str, list[_Image]] = {}

    def add(self, image: Any) -> None:
        """Add an image.

        Raises:
            ScoreError: It has no id or file_name.
        """
        if not isinstance(image, dict) or not isinstance(image.get("file_name"), str):
            raise COCO.damaged(self._path, "an image without id or file_name")
        number, width, height = image.get("id"), image.get("width"), image.get("height")
        if not isinstance(number, int | str):
            raise COCO.damaged(self._path, "an image without id or file_name")
        name, key = procedure_and_key(image)
        is_sized = isinstance(width, int | float) and isinstance(height, int | float)
        pixels = float(width * height) if is_sized else 0.0  # type: ignore[operator]
        kept = _Image(key, number, pixels, image.get("seconds"), image.get("frame_rate"))
        self.by_procedure.setdefault(name, []).append(kept)

    def frames(self, rate: float | None) -> tuple[Frames, dict[Any, int], Numbers]:
        """The frames by procedure in natural order, the place of each by its id, and its pixels, 0 where unknown.

        Raises:
            ScoreError: An id, or a frame, is there twice; rates or times that do not fit.
            UsageError: No time and no rate.
        """
        keys: dict[str, list[str]] = {}
        seconds: dict[str, list[float]] = {}
        image_ids: dict[Any, int] = {}
        pixels = array("d")
        for name in sorted(self.by_procedure, key=natural):
            own = sorted(self.by_procedure.pop(name), key=lambda image: natural(image.key))
            keys[name] = [image.key for image in own]
            for image in own:
                image_ids[image.number] = len(pixels)
                pixels.append(image.pixels)
            times = self._times(name, own)
            if times is not None:
                seconds[name] = times
        if len(image_ids) < len(pixels):
            raise COCO.damaged(self._path, "an image's id is there twice")
        return frames_from(keys, seconds, rate), image_ids, np.array(pixels)

    def _times(self, name: str, images: list[_Image]) -> list[float] | None:
        """The times of a procedure's frames, from `seconds` or `frame_rate`; None where neither is told."""
        told = [image.seconds for image in images if image.seconds is not None]
        if len(told) == len(images):
            if not all(isinstance(one, int | float) for one in told):
                raise COCO.damaged(self._path, f"{name}: seconds is no number")
            return [float(one) - float(told[0]) for one in told]
        rates = {image.rate for image in images if isinstance(image.rate, int | float | None)}
        if len(rates) > 1:
            text = ", ".join(sorted(map(str, rates)))
            raise ScoreError(
                f"{name}: mixed frame rates in one procedure ({text}); give each frame its seconds instead"
            )
        rate = rates.pop() if rates else 0.0
        if rate is None:
            return None
        if not float(rate) > 0:
            raise ScoreError(f"{name}: frame_rate {images[0].rate}; expected more than 0 frames a second")
        return [number / float(rate) for number in range(len(images))]


class _Annotations:
    """Gathers the boxes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.is_there = False
        self._images: list[Any] = []
        self._lesions: list[str] = []
        self._names: dict[str, str] = {}
        self._values = array("d")  # of box and area, in turn

    def add(self, annotation: Any) -> None:
        """Add an annotation.

        Raises:
            ScoreError: It has no lesion or no box.
        """
        if not isinstance(annotation, dict) or not isinstance(annotation.get("image_id"), int | str):
            raise COCO.damaged(self._path, "an annotation of an unknown image")
        box = annotation.get("bbox")
        lesion = next((annotation[key] for key in LESION_KEYS if annotation.get(key) is not None), None)
        if lesion is None:
            raise COCO.damaged(self._path, f"annotation {annotation.get('id')} carries no lesion_id")
        if not isinstance(box, list) or len(box) != 4 or not all(isinstance(value, int | float) for value in box):
            raise COCO.damaged(self._path, f"annotation {annotation.get('id')} has no bbox of four numbers")
        area = annotation.get("area")
        self._images.append(annotation["image_id"])
        self._lesions.append(self._names.setdefault(str(lesion), str(lesion)))
        self._values.extend((*box, area if isinstance(area, int | float) and area else box[2] * box[3]))

    def sights(self, frames: Frames, image_ids: Mapping[Any, int], pixels: Numbers) -> Sights:
        """All of them.

        Raises:
            ScoreError: An annotation of an unknown image, or a lesion in two procedures.
        """
        gathered = Gathered()
        for number, (image, lesion) in enumerate(zip(self._images, self._lesions, strict=True)):
            place = image_ids.get(image)
            if place is None:
                raise COCO.damaged(self._path, "an annotation of an unknown image")
            *box, area = self._values[5 * number : 5 * number + 5]
            percent = 100 * area / pixels[place] if pixels[place] else float("nan")
            gathered.add(place, int(frames.procedure[place]), lesion, tuple(box), percent)
        return gathered.sights()


def _looks_of(path: Path, lesions: Any, sights: Sights) -> dict[str, dict[str, str]]:
    if not isinstance(lesions, list) or not all(isinstance(lesion, dict) and "id" in lesion for lesion in lesions):
        raise COCO.damaged(path, "lesions is no list of lesions with an id")
    unseen = [str(lesion["id"]) for lesion in lesions if str(lesion["id"]) not in sights.lesions]
    if unseen:
        raise ScoreError(f"{path}: lesion {unseen[0]} is visible in no frame; remove it or add the boxes that show it")
    return {
        str(lesion["id"]): {key: str(value) for key, value in lesion.items() if key not in ("id", "procedure")}
        for lesion in lesions
    }
