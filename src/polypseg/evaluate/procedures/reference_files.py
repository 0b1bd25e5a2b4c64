"""References in one file: COCO boxes that carry lesion ids, and intervals."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from polypseg.errors import ScoreError, UsageError
from polypseg.evaluate.procedures.frames import Frames, frames_from, natural
from polypseg.evaluate.procedures.references import Gathered, References, Sights
from polypseg.records.reading import FileKind, read_json, read_rows

COCO = FileKind("COCO file of references", ScoreError, "expected images and annotations with a lesion_id", 4096)
INTERVALS = FileKind("table of intervals", ScoreError, "expected: procedure, lesion, first_frame, last_frame", 64)
LESION_KEYS = ("lesion_id", "unique_id")
"""The first is ours, the second that of REAL-Colon's and TRUE-Colon's files."""

INTERVAL_COLUMNS = ("procedure", "lesion", "first_frame", "last_frame")


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
    content: dict[str, Any] = read_json(path, dict[str, Any], COCO)
    images, annotations = content.get("images"), content.get("annotations")
    if not isinstance(images, list) or not isinstance(annotations, list) or not images:
        raise COCO.damaged(path, "no images or no annotations")
    frames, image_ids = _frames_of(path, images, rate)
    sizes = {image.get("id"): (image.get("width"), image.get("height")) for image in images}
    sights = _sights_of(path, annotations, (frames, image_ids, sizes))
    looks = _looks_of(path, content.get("lesions", []), sights)

    def sights_in(evaluated: Frames) -> Sights:
        if evaluated is frames:
            return sights
        places = np.array(
            [
                evaluated.places[frames.names[owner], key]
                for owner, key in zip(frames.procedure.tolist(), frames.keys, strict=True)
            ]
        )
        owners = np.array([evaluated.names.index(name) for name in frames.names])
        return Sights(
            sights.lesions,
            owners[sights.lesion_procedure],
            places[sights.frame],
            sights.lesion,
            sights.box,
            sights.percent,
        )

    return References(path, "boxes", frames, sights_in, looks, image_ids=image_ids)


def _frames_of(path: Path, images: list[Any], rate: float | None) -> tuple[Frames, dict[int, int]]:
    """The frames by procedure in natural order, and the place of each by its id."""
    listed: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for image in images:
        if not isinstance(image, dict) or not isinstance(image.get("file_name"), str) or "id" not in image:
            raise COCO.damaged(path, "an image without id or file_name")
        name, key = procedure_and_key(image)
        listed.setdefault(name, []).append((key, image))
    keys: dict[str, list[str]] = {}
    seconds: dict[str, list[float]] = {}
    order: list[dict[str, Any]] = []
    for name in sorted(listed, key=natural):
        own = sorted(listed[name], key=lambda pair: natural(pair[0]))
        keys[name] = [key for key, _ in own]
        order += [image for _, image in own]
        times = _times(name, [image for _, image in own])
        if times is not None:
            seconds[name] = times
    image_ids = {image["id"]: place for place, image in enumerate(order)}
    if len(image_ids) < len(order):
        raise COCO.damaged(path, "an image's id is there twice")
    return frames_from(keys, seconds, rate), image_ids


def _times(name: str, images: list[dict[str, Any]]) -> list[float] | None:
    """The times of a procedure's frames, from `seconds` or `frame_rate`; None where neither is told."""
    if all("seconds" in image for image in images):
        began = float(images[0]["seconds"])
        return [float(image["seconds"]) - began for image in images]
    rates = {image.get("frame_rate") for image in images}
    if len(rates) > 1:
        told = ", ".join(sorted(map(str, rates)))
        raise ScoreError(f"{name}: mixed frame rates in one procedure ({told}); give each frame its seconds instead")
    rate = rates.pop()
    if rate is None:
        return None
    if not float(rate) > 0:
        raise ScoreError(f"{name}: frame_rate {rate}; expected more than 0 frames a second")
    return [number / float(rate) for number in range(len(images))]


def _sights_of(
    path: Path, annotations: list[Any], known: tuple[Frames, dict[int, int], dict[Any, tuple[Any, Any]]]
) -> Sights:
    frames, image_ids, sizes = known
    gathered = Gathered()
    for annotation in annotations:
        if not isinstance(annotation, dict) or annotation.get("image_id") not in image_ids:
            raise COCO.damaged(path, "an annotation of an unknown image")
        box = annotation.get("bbox")
        lesion = next((annotation[key] for key in LESION_KEYS if annotation.get(key) is not None), None)
        if lesion is None:
            raise COCO.damaged(path, f"annotation {annotation.get('id')} carries no lesion_id")
        if not isinstance(box, list) or len(box) != 4 or not all(isinstance(value, int | float) for value in box):
            raise COCO.damaged(path, f"annotation {annotation.get('id')} has no bbox of four numbers")
        place = image_ids[annotation["image_id"]]
        width, height = sizes[annotation["image_id"]]
        area = float(annotation.get("area") or box[2] * box[3])
        percent = 100 * area / (width * height) if width and height else float("nan")
        owner = int(frames.procedure[place])
        gathered.add(place, owner, str(lesion), tuple(map(float, box)), percent)
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


def intervals(path: Path, rate: float | None) -> References:
    """References of a table of intervals; arguments and errors as `open_references`."""
    rows = read_rows(path, INTERVAL_COLUMNS, INTERVALS)
    if not rows:
        raise INTERVALS.damaged(path, "it holds no row")
    lengths = {row["procedure"]: _whole(path, row, "num_frames") for row in rows if row.get("num_frames")}
    names = list(dict.fromkeys(row["procedure"] for row in rows))
    spans = [(row, _whole(path, row, "first_frame"), _whole(path, row, "last_frame")) for row in rows if row["lesion"]]
    for row, first, last in spans:
        if last < first:
            raise ScoreError(f"{path}: lesion {row['lesion']} ends in frame {last} before it begins in frame {first}")
    frames = None
    if set(lengths) == set(names):
        frames = frames_from({name: [str(number) for number in range(lengths[name])] for name in names}, None, rate)

    def sights_in(evaluated: Frames) -> Sights:
        gathered = Gathered()
        lacking = [name for name in evaluated.names if name not in names]
        if lacking:
            raise ScoreError(
                f"{path}: no row for {lacking[0]}; a procedure without a lesion needs one, its lesion empty"
            )
        for row, first, last in spans:
            if row["procedure"] not in evaluated.names:
                raise ScoreError(f"{path}: procedure {row['procedure']} is missing in the videos")
            owner = evaluated.names.index(row["procedure"])
            begins, ends = np.searchsorted(evaluated.procedure, [owner, owner + 1]).tolist()
            if begins + last >= ends:
                raise ScoreError(
                    f"{path}: lesion {row['lesion']} ends in frame {last}; {row['procedure']} has frames 0 to "
                    f"{ends - begins - 1}"
                )
            for place in range(begins + first, begins + last + 1):
                gathered.add(place, owner, row["lesion"])
        return gathered.sights()

    known = (*INTERVAL_COLUMNS, "num_frames")
    looks = {row["lesion"]: {key: value for key, value in row.items() if key not in known} for row, _, _ in spans}
    return References(path, "intervals", frames, sights_in, looks)


def _whole(path: Path, row: Mapping[str, str], column: str) -> int:
    try:
        value = int(row[column])
    except ValueError:
        value = -1
    if value < 0:
        raise UsageError(f"{path}: {column} is {row[column]!r}; expected the number of a frame, from 0 on")
    return value
