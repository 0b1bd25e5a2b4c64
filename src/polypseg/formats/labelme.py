"""LabelMe's JSON: one file per image, shapes with points, or a bitmap within a box.

Decisions:
- Shapes with one `group_id` are parts of one polyp.
- A saved file without a shape says that somebody looked at the image: it shows no polyp.
- A region that a polygon cannot hold is written as LabelMe's `mask`.
"""

import base64
import binascii
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as PillowImage

from polypseg.errors import ImageError, PolypsegError
from polypseg.formats.annotations import (
    POLYP,
    AnnotatedFrame,
    AnnotatedRegion,
    Annotations,
    Unusable,
    annotation_file,
    without_outline,
)
from polypseg.formats.outlines import Size, ellipse, run_lengths
from polypseg.formats.written import Written, exact_polygons
from polypseg.preprocess import MAX_PIXELS
from polypseg.preprocess.reading import decode_exact
from polypseg.records.atomic import write_text
from polypseg.records.reading import Saved, read_json

KIND = annotation_file("LabelMe file")

VERSION = "5.5.0"
"""Of LabelMe, whose format is written."""


class _Shape(Saved):
    label: str
    points: list[tuple[float, float]]
    shape_type: str | None = "polygon"
    group_id: int | None = None
    mask: str | None = None


class _File(Saved):
    shapes: list[_Shape]
    imagePath: str  # noqa: N815 - LabelMe's own name
    imageHeight: int | None = None  # noqa: N815
    imageWidth: int | None = None  # noqa: N815


def read(paths: Sequence[Path]) -> Annotations:
    """What LabelMe files say; one that is damaged is named among the unusable ones."""
    frames: list[AnnotatedFrame] = []
    unusable: list[Unusable] = []
    for path in paths:
        try:
            found = read_json(path, _File, KIND)
        except PolypsegError as error:
            unusable.append(Unusable.of(path, error))
            continue
        has_size = found.imageHeight is not None and found.imageWidth is not None
        size = (found.imageHeight or 0, found.imageWidth or 0) if has_size else None
        frames.append(AnnotatedFrame(found.imagePath.replace("\\", "/"), size, _regions(found.shapes, size), True))
    return Annotations(frames, unusable, [])


def _regions(shapes: Sequence[_Shape], size: Size | None) -> tuple[AnnotatedRegion, ...]:
    """The shapes, those of one group as one region."""
    regions: list[AnnotatedRegion] = []
    groups: dict[tuple[int, str], int] = {}
    for shape in shapes:
        region = _region(shape, size)
        key = (shape.group_id, shape.label) if shape.group_id is not None else None
        if key is None or key not in groups or not region.polygons or not regions[groups[key]].polygons:
            if key is not None:
                groups.setdefault(key, len(regions))
            regions.append(region)
        else:
            earlier = regions[groups[key]]
            regions[groups[key]] = earlier._replace(polygons=earlier.polygons + region.polygons)
    return tuple(regions)


def _region(shape: _Shape, size: Size | None) -> AnnotatedRegion:
    points, kind = shape.points, shape.shape_type or "polygon"
    if kind == "polygon":
        return AnnotatedRegion(shape.label, (tuple(value for point in points for value in point),))
    if kind == "circle" and len(points) == 2:
        (x, y), (edge_x, edge_y) = points
        radius = math.hypot(edge_x - x, edge_y - y)
        return AnnotatedRegion(shape.label, (ellipse(x, y, radius, radius),))
    if kind == "mask":
        return _bitmap(shape, size)
    return without_outline(shape.label, f"a {kind}")


def _bitmap(shape: _Shape, size: Size | None) -> AnnotatedRegion:
    if size is None or size[0] * size[1] > MAX_PIXELS or len(shape.points) != 2 or not shape.mask:
        return AnnotatedRegion(shape.label, fault="a mask without its pixels, its box or the image's size")
    try:
        stored = decode_exact(base64.b64decode(shape.mask, validate=True), "the mask of a shape", MAX_PIXELS)
    except (ImageError, binascii.Error, ValueError) as error:
        return AnnotatedRegion(shape.label, fault=f"its mask is damaged ({error})")
    pixels = np.asarray(stored.picture.convert("L")) > 0
    (left, top), (right, bottom) = shape.points
    box = round(top), round(left), round(bottom) + 1, round(right) + 1
    if pixels.shape != (box[2] - box[0], box[3] - box[1]) or min(box) < 0 or box[2] > size[0] or box[3] > size[1]:
        return AnnotatedRegion(
            shape.label, fault=f"its mask of {pixels.shape[0]}x{pixels.shape[1]} pixels does not fit its box"
        )
    whole = np.zeros(size, bool)
    whole[box[0] : box[2], box[1] : box[3]] = pixels
    return AnnotatedRegion(shape.label, (), tuple(run_lengths(whole)))


def write(out: Path, frames: Sequence[Written]) -> list[str]:
    """Write a JSON file beside each image."""
    for frame in frames:
        record: dict[str, object] = {
            "version": VERSION,
            "flags": {},
            "shapes": [
                shape for number, region in enumerate(frame.regions) for shape in _shapes(region, frame.size, number)
            ],
            "imagePath": frame.file,
            "imageData": None,
            "imageHeight": frame.size[0],
            "imageWidth": frame.size[1],
        }
        write_text(out / "images" / f"{frame.stem}.json", json.dumps(record, indent=2) + "\n")
    return []


def _shapes(region: AnnotatedRegion, size: Size, number: int) -> list[dict[str, object]]:
    polygons = exact_polygons(region, size)
    head: dict[str, object] = {"label": POLYP, "description": "", "flags": {}, "group_id": None, "mask": None}
    if polygons is None:
        return [{**head, "shape_type": "mask", **_encoded(region, size)}]
    head["group_id"] = number if len(polygons) > 1 else None
    return [
        {**head, "shape_type": "polygon", "points": [list(pair) for pair in zip(p[::2], p[1::2], strict=True)]}
        for p in polygons
    ]


def _encoded(region: AnnotatedRegion, size: Size) -> dict[str, object]:
    mask = region.pixels(size)
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    content = io.BytesIO()
    PillowImage.fromarray(mask[y : y + height, x : x + width]).save(content, "PNG")
    return {
        "points": [[x, y], [x + width - 1, y + height - 1]],
        "mask": base64.b64encode(content.getvalue()).decode("ascii"),
    }
