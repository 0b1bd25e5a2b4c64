"""COCO's JSON: polygons, run lengths (compressed or not), crowds.

Decisions:
- An image without an annotation shows no polyp only where its record says so (`"labelled": true`, which polypseg
  writes): exports of labelling tools list images that nobody has looked at in the same way.
- A region that a polygon cannot hold (one with a hole) is written as run lengths.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pydantic import Field

from polypseg.formats.annotations import (
    POLYP,
    AnnotatedFrame,
    AnnotatedRegion,
    Annotations,
    annotation_file,
    without_outline,
)
from polypseg.formats.outlines import Size, compress_run_lengths, expand_run_lengths, has_holes, outlines, run_lengths
from polypseg.formats.written import Written
from polypseg.records.atomic import write_text
from polypseg.records.reading import Saved, read_json

KIND = annotation_file("COCO file")

FILE_NAME = "annotations.json"


class _Image(Saved):
    id: int | str
    file_name: str
    height: int | None = None
    width: int | None = None
    labelled: bool = False


class _Category(Saved):
    id: int
    name: str


class _Runs(Saved):
    size: tuple[int, int]
    counts: list[int] | str


class _Annotation(Saved):
    id: int | str | None = None
    image_id: int | str
    category_id: int
    segmentation: list[list[float]] | _Runs | None = None
    iscrowd: int | bool = 0


class _File(Saved):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category] = Field(default_factory=list)


def read(paths: Sequence[Path]) -> Annotations:
    """What COCO files say.

    Raises:
        DataError: One is damaged, an id is there twice, or an annotation names an image or a category that is not.
    """
    return Annotations([frame for path in paths for frame in _frames(path)], [], [])


def _frames(path: Path) -> list[AnnotatedFrame]:
    found = read_json(path, _File, KIND)
    names = _unique(path, "category", [(category.id, category.name) for category in found.categories])
    images = _unique(path, "image", [(image.id, image) for image in found.images])
    _unique(path, "annotation", [(a.id, a) for a in found.annotations if a.id is not None])
    regions: dict[int | str, list[AnnotatedRegion]] = {key: [] for key in images}
    for annotation in found.annotations:
        if annotation.image_id not in images:
            raise KIND.damaged(path, f"an annotation is of the image {annotation.image_id}, which is not listed")
        if annotation.category_id not in names:
            raise KIND.damaged(path, f"an annotation is of the category {annotation.category_id}, which is not listed")
        image = images[annotation.image_id]
        regions[annotation.image_id].append(_region(annotation, names[annotation.category_id], _size(image)))
    return [
        AnnotatedFrame(image.file_name, _size(image), tuple(regions[key]), image.labelled)
        for key, image in images.items()
    ]


def _unique(path: Path, what: str, pairs: Sequence[tuple[Any, Any]]) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for key, value in pairs:
        if key in found:
            raise KIND.damaged(path, f"the {what} id {key} is there twice")
        found[key] = value
    return found


def _size(image: _Image) -> Size | None:
    return None if image.height is None or image.width is None else (image.height, image.width)


def _region(annotation: _Annotation, label: str, size: Size | None) -> AnnotatedRegion:
    given, value = annotation.segmentation, annotation.category_id
    if not given:
        return without_outline(label, "a box alone", value)
    if isinstance(given, list):
        return AnnotatedRegion(label, tuple(map(tuple, given)), value=value, is_crowd=bool(annotation.iscrowd))
    fault, counts = "", given.counts
    if isinstance(counts, str):
        try:
            counts = expand_run_lengths(counts)
        except ValueError as error:
            counts, fault = [], str(error)
    if size is not None and given.size != size:
        fault = f"its run lengths are of {given.size[0]}x{given.size[1]} pixels, the image of {size[0]}x{size[1]}"
    elif not fault and (min(counts, default=-1) < 0 or sum(counts) != given.size[0] * given.size[1]):
        fault = f"its run lengths do not add up to {given.size[0]}x{given.size[1]} pixels"
    return AnnotatedRegion(label, (), tuple(counts), value, bool(annotation.iscrowd), fault)


def write(out: Path, frames: Sequence[Written]) -> list[str]:
    """Write annotations.json beside images/."""
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for number, frame in enumerate(frames, 1):
        height, width = frame.size
        images.append({"id": number, "file_name": frame.file, "height": height, "width": width, "labelled": True})
        for region in frame.regions:
            annotations.append(
                {"id": len(annotations) + 1, "image_id": number, "category_id": 1, **_segmentation(region, frame.size)}
            )
    record = {
        "info": {"description": "written by polypseg"},
        "licenses": [],
        "categories": [{"id": 1, "name": POLYP, "supercategory": ""}],
        "images": images,
        "annotations": annotations,
    }
    write_text(out / FILE_NAME, json.dumps(record) + "\n")
    return []


def _segmentation(region: AnnotatedRegion, size: Size) -> dict[str, object]:
    mask = region.pixels(size)
    segmentation: Any = [list(polygon) for polygon in region.polygons]
    if region.is_crowd or (region.runs and has_holes(mask)):
        counts = run_lengths(mask)
        segmentation = {"size": list(size), "counts": counts if region.is_crowd else compress_run_lengths(counts)}
    elif region.runs:
        segmentation = [list(polygon) for polygon in outlines(mask)]
    return {
        "segmentation": segmentation,
        "area": int(np.count_nonzero(mask)),
        "bbox": list(cv2.boundingRect(mask.view(np.uint8))),
        "iscrowd": int(region.is_crowd),
    }
