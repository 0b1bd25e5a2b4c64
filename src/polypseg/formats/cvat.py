"""CVAT's XML: "CVAT for images 1.1" and "CVAT for video 1.1".

Decisions:
- Shapes with one `group_id` are parts of one polyp.
- A frame without a shape may be one that nobody has looked at. It shows no polyp where it has the tag `no polyp`, which
  polypseg writes and a person can set in CVAT.
- A frame of a video is the image that CVAT exports for it: frame_000000.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np

from polypseg.formats.annotations import (
    POLYP,
    AnnotatedFrame,
    AnnotatedRegion,
    Annotations,
    annotation_file,
    without_outline,
)
from polypseg.formats.outlines import Polygon, Size, ellipse, from_row_run_lengths, row_run_lengths, run_lengths
from polypseg.formats.written import Written, exact_polygons
from polypseg.formats.xml import number, read_xml
from polypseg.preprocess import MAX_PIXELS
from polypseg.records.atomic import replacing

KIND = annotation_file("CVAT file")

NO_POLYP = "no polyp"
"""The tag of a frame that was looked at and shows none."""

FILE_NAME = "annotations.xml"


def read(paths: Sequence[Path]) -> Annotations:
    """What CVAT files say.

    Raises:
        DataError: One is damaged.
    """
    frames: list[AnnotatedFrame] = []
    for path in paths:
        root = read_xml(path, KIND)
        try:
            frames += [_frame(image) for image in root.iter("image")] or _video_frames(root)
        except ValueError as error:
            raise KIND.damaged(path, error) from error
    return Annotations(frames, [], [])


def _frame(image: ElementTree.Element) -> AnnotatedFrame:
    size = number(image, "height", int), number(image, "width", int)
    if "name" not in image.attrib:
        raise ValueError("<image> has no name")
    is_labelled = any(tag.get("label") == NO_POLYP for tag in image.iter("tag"))
    shapes = [shape for shape in image if shape.tag != "tag"]
    return AnnotatedFrame(
        image.attrib["name"], size, _joined(shapes, [_region(s, s.get("label", ""), size) for s in shapes]), is_labelled
    )


def _video_frames(root: ElementTree.Element) -> list[AnnotatedFrame]:
    found = root.find("meta//original_size")
    size = None
    if found is not None and found.find("height") is not None and found.find("width") is not None:
        size = int(found.findtext("height", "")), int(found.findtext("width", ""))
    regions: dict[int, list[AnnotatedRegion]] = {}
    for track in root.iter("track"):
        for shape in track:
            if shape.get("outside") != "1":
                region = _region(shape, track.get("label", ""), size)
                regions.setdefault(number(shape, "frame", int), []).append(region)
    return [AnnotatedFrame(f"frame_{place:06d}", size, tuple(found)) for place, found in sorted(regions.items())]


def _region(shape: ElementTree.Element, label: str, size: Size | None) -> AnnotatedRegion:
    if shape.tag == "polygon":
        return AnnotatedRegion(label, (_points(shape.get("points", "")),))
    if shape.tag == "ellipse":
        x, y, radius_x, radius_y = (number(shape, name, float) for name in ("cx", "cy", "rx", "ry"))
        return AnnotatedRegion(
            label, (ellipse(x, y, radius_x, radius_y, math.radians(float(shape.get("rotation", "0")))),)
        )
    if shape.tag == "mask":
        return _bitmap(shape, label, size)
    return without_outline(label, f"a {shape.tag}")


def _points(text: str) -> Polygon:
    """The corners of `x,y;x,y`.

    Raises:
        ValueError: It is something else.
    """
    pairs = [pair.split(",") for pair in text.split(";") if pair.strip()]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError("a polygon's points are no pairs of x,y")
    return tuple(float(value) for pair in pairs for value in pair)


def _bitmap(shape: ElementTree.Element, label: str, size: Size | None) -> AnnotatedRegion:
    left, top, width, height = (number(shape, name, int) for name in ("left", "top", "width", "height"))
    counts = [int(count) for count in shape.get("rle", "").split(",") if count.strip()]
    if size is None or size[0] * size[1] > MAX_PIXELS:
        return AnnotatedRegion(label, fault="a mask in a frame of unknown size")
    if min(left, top, width, height) < 0 or top + height > size[0] or left + width > size[1]:
        return AnnotatedRegion(
            label, fault=f"its mask lies outside of the frame, which is {size[0]}x{size[1]} (height x width)"
        )
    if min(counts, default=-1) < 0 or sum(counts) != width * height:
        return AnnotatedRegion(label, fault=f"its run lengths do not add up to {height}x{width} pixels")
    whole = np.zeros(size, bool)
    whole[top : top + height, left : left + width] = from_row_run_lengths(counts, (height, width))
    return AnnotatedRegion(label, (), tuple(run_lengths(whole)))


def _joined(shapes: Sequence[ElementTree.Element], regions: Sequence[AnnotatedRegion]) -> tuple[AnnotatedRegion, ...]:
    """The regions, polygons of one group and label as one."""
    joined: list[AnnotatedRegion] = []
    places: dict[tuple[str, str], int] = {}
    for shape, region in zip(shapes, regions, strict=True):
        group = shape.get("group_id")
        if group is None or not region.polygons:
            joined.append(region)
        elif (key := (group, region.label)) in places:
            earlier = joined[places[key]]
            joined[places[key]] = earlier._replace(polygons=earlier.polygons + region.polygons)
        else:
            places[key] = len(joined)
            joined.append(region)
    return tuple(joined)


def write(out: Path, frames: Sequence[Written]) -> list[str]:
    """Write annotations.xml, "CVAT for images 1.1", beside images/; as of a task, which datumaro's reader expects."""
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    labels = ElementTree.SubElement(ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task"), "labels")
    for name, kind in ((POLYP, "any"), (NO_POLYP, "tag")):
        label = ElementTree.SubElement(labels, "label")
        ElementTree.SubElement(label, "name").text = name
        ElementTree.SubElement(label, "type").text = kind
    for place, frame in enumerate(frames):
        height, width = frame.size
        attributes = {"id": str(place), "name": frame.file, "width": str(width), "height": str(height)}
        image = ElementTree.SubElement(root, "image", attributes)
        for group, region in enumerate(frame.regions, 1):
            _add(image, region, frame.size, group)
        if not frame.regions:
            ElementTree.SubElement(image, "tag", {"label": NO_POLYP, "source": "manual"})
    ElementTree.indent(root)
    with replacing(out / FILE_NAME) as temporary:
        ElementTree.ElementTree(root).write(temporary, encoding="utf-8", xml_declaration=True)
    return []


def _add(image: ElementTree.Element, region: AnnotatedRegion, size: Size, group: int) -> None:
    head = {"label": POLYP, "source": "manual", "occluded": "0"}
    polygons = exact_polygons(region, size)
    if polygons is None:
        mask = region.pixels(size)
        x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
        counts = row_run_lengths(np.ascontiguousarray(mask[y : y + height, x : x + width]))
        box = {"left": str(x), "top": str(y), "width": str(width), "height": str(height)}
        ElementTree.SubElement(image, "mask", {**head, "rle": ", ".join(map(str, counts)), **box, "z_order": "0"})
        return
    together = {"group_id": str(group)} if len(polygons) > 1 else {}
    for polygon in polygons:
        points = ";".join(
            f"{x:g},{y:g}" if x == int(x) and y == int(y) else f"{x!r},{y!r}"
            for x, y in zip(polygon[::2], polygon[1::2], strict=True)
        )
        ElementTree.SubElement(image, "polygon", {**head, "points": points, "z_order": "0", **together})
