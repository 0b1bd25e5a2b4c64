"""VGG Image Annotator 2, and 1: a project or its exported annotations in JSON.

Decisions:
- A region's label is its only attribute that has a value; of several, all of them as `name=value`.
- A listed image without a region may be one that nobody has looked at: it is not counted as one without a polyp.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from polypseg.formats.annotations import AnnotatedFrame, AnnotatedRegion, Annotations, annotation_file, without_outline
from polypseg.formats.outlines import ellipse
from polypseg.records.reading import Saved, parse_json, read_json

KIND = annotation_file("VIA file")

PROJECT_KEY = "_via_img_metadata"


class _Shape(Saved):
    name: str
    all_points_x: list[float] = Field(default_factory=list)
    all_points_y: list[float] = Field(default_factory=list)
    cx: float = 0.0
    cy: float = 0.0
    r: float = 0.0
    rx: float = 0.0
    ry: float = 0.0
    theta: float = 0.0


class _Region(Saved):
    shape_attributes: _Shape
    region_attributes: dict[str, object] = Field(default_factory=dict)


class _Image(Saved):
    filename: str
    regions: list[_Region] | dict[str, _Region] = Field(default_factory=list)


def read(paths: Sequence[Path]) -> Annotations:
    """What VIA files say.

    Raises:
        DataError: One is damaged.
    """
    frames = []
    for path in paths:
        found = read_json(path, dict[str, object], KIND)
        for image in _images(path, found.get(PROJECT_KEY, found)):
            regions = image.regions if isinstance(image.regions, list) else list(image.regions.values())
            frames.append(AnnotatedFrame(image.filename, None, tuple(map(_region, regions))))
    return Annotations(frames, [], [])


def _images(path: Path, images: Any) -> list[_Image]:
    """The images of a table that was parsed; parsed once more, with their types, so that a fault is told in one way."""
    return list(parse_json(json.dumps(images), dict[str, _Image], path, KIND).values())


def _region(region: _Region) -> AnnotatedRegion:
    shape, label = region.shape_attributes, _label(region.region_attributes)
    if shape.name == "polygon":
        if len(shape.all_points_x) != len(shape.all_points_y):
            return AnnotatedRegion(label, fault="a polygon has not as many x as y")
        pairs = zip(shape.all_points_x, shape.all_points_y, strict=True)
        return AnnotatedRegion(label, (tuple(value for pair in pairs for value in pair),))
    if shape.name == "circle":
        return AnnotatedRegion(label, (ellipse(shape.cx, shape.cy, shape.r, shape.r),))
    if shape.name == "ellipse":
        return AnnotatedRegion(label, (ellipse(shape.cx, shape.cy, shape.rx, shape.ry, shape.theta),))
    return without_outline(label, f"a {shape.name}")


def _label(attributes: Mapping[str, object]) -> str:
    """The label of a region's attributes: a text, or the boxes that are ticked.

    >>> _label({"type": "polyp", "note": ""}), _label({"type": {"polyp": True}}), _label({"a": "x", "b": "y"})
    ('polyp', 'polyp', 'a=x b=y')
    """
    told = {}
    for name, value in attributes.items():
        ticked = [key for key, is_ticked in value.items() if is_ticked] if isinstance(value, dict) else [str(value)]
        if any(ticked):
            told[name] = " ".join(ticked)
    return next(iter(told.values())) if len(told) == 1 else " ".join(f"{key}={text}" for key, text in told.items())
