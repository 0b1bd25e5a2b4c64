"""Label Studio's JSON export: polygons, ellipses and brushes of each task's annotation.

Decisions:
- A task without an annotation, or whose annotation was cancelled, is not labelled; one whose annotation has no region
  shows no polyp. Predictions are not read: nobody has accepted them.
- Of several annotations of one task the one that is marked as ground truth counts; where that does not tell, the frame
  cannot be used.
- A region is a pixel of a brush where alpha is above half, as the page draws it.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
from pydantic import Field

from polypseg.arrays import MASK_THRESHOLD
from polypseg.formats.annotations import (
    POLYP,
    AnnotatedFrame,
    AnnotatedRegion,
    Annotations,
    annotation_file,
    without_outline,
)
from polypseg.formats.label_studio_runs import decode, encode
from polypseg.formats.outlines import Size, ellipse, run_lengths
from polypseg.formats.written import Written, exact_polygons
from polypseg.preprocess import IMAGE_SUFFIXES, MAX_PIXELS
from polypseg.records.atomic import write_text
from polypseg.records.reading import Saved, read_json

KIND = annotation_file("Label Studio export (JSON)")

FILE_NAME, CONFIG_NAME = "tasks.json", "labelling.xml"

LOCAL_FILES = "/data/local-files/?d="
"""How Label Studio names an image below its root of local files."""

LABELLING = f"""<View>
  <Image name="image" value="$image" zoom="true"/>
  <PolygonLabels name="polygon" toName="image"><Label value="{POLYP}"/></PolygonLabels>
  <BrushLabels name="brush" toName="image"><Label value="{POLYP}"/></BrushLabels>
</View>
"""

_UPLOAD_PREFIX = re.compile(r"[0-9a-f]{8}-(?=.)")

_NOT_IN_UPLOADS = re.compile(r"[^-\w.]")

_OUTLINES = ("polygon", "ellipse", "brush")


class _Result(Saved):
    id: str | None = None
    type: str = ""
    value: dict[str, Any] = Field(default_factory=dict)
    original_width: int | None = None
    original_height: int | None = None
    image_rotation: float = 0


class _Annotation(Saved):
    result: list[_Result] = Field(default_factory=list)
    was_cancelled: bool | None = False
    ground_truth: bool | None = False


class _Task(Saved):
    data: dict[str, object]
    annotations: list[_Annotation] | None = None
    completions: list[_Annotation] | None = None


def read(paths: Sequence[Path]) -> Annotations:
    """What Label Studio's exports say.

    Raises:
        DataError: One is damaged.
    """
    frames = [_frame(task) for path in paths for task in read_json(path, list[_Task], KIND)]
    return Annotations(frames, [], [])


def _frame(task: _Task) -> AnnotatedFrame:
    address = _address(task.data)
    if address is None:
        return AnnotatedFrame(f"task {sorted(task.data)}", None, fault="the task's data name no image")
    done = [a for a in [*(task.annotations or ()), *(task.completions or ())] if not a.was_cancelled]
    if len(done) > 1:
        done = [annotation for annotation in done if annotation.ground_truth] or done
    if len(done) > 1:
        fault = f"{len(done)} annotations of one image, and not one of them is marked as ground truth; keep one"
        return AnnotatedFrame(_file(address), None, fault=fault)
    if not done:
        return AnnotatedFrame(_file(address), None)
    results = done[0].result
    labels = {result.id: _labels(result) for result in results if _labels(result)}
    sizes = {(r.original_height, r.original_width) for r in results if r.original_height and r.original_width}
    if len(sizes) > 1:
        return AnnotatedFrame(_file(address), None, fault="its regions are of images of several sizes")
    height, width = next(iter(sizes), (None, None))
    size = (height, width) if height and width else None
    shapes = [result for result in results if result.value.keys() & {"points", "rle", "radiusX", "width", "x"}]
    return AnnotatedFrame(_file(address), size, tuple(_region(s, labels.get(s.id, ""), size) for s in shapes), True)


def _address(data: Mapping[str, object]) -> str | None:
    """Where a task's image is: under `image`, or the only text that is an image's name."""
    texts = {key: value for key, value in data.items() if isinstance(value, str)}
    if "image" in texts:
        return texts["image"]
    named = [text for text in texts.values() if PurePosixPath(_file(text)).suffix.lower() in IMAGE_SUFFIXES]
    return named[0] if len(named) == 1 else None


def _file(address: str) -> str:
    """The path of an image's file in an address.

    >>> _file("/data/local-files/?d=a/b.jpg"), _file("s3://bucket/a/b%20c.jpg"), _file("/data/upload/1/0123abcd-b.jpg")
    ('a/b.jpg', 'a/b c.jpg', 'data/upload/1/0123abcd-b.jpg')
    """
    parts = urlsplit(address.replace("\\", "/"))
    local = parse_qs(parts.query).get("d")
    return local[0] if local else unquote(parts.path).lstrip("/")


def without_upload_prefix(name: str) -> str:
    """A file's name without what Label Studio puts before it when it is uploaded.

    >>> without_upload_prefix("0123abcd-frame.jpg")
    'frame.jpg'
    """
    return _UPLOAD_PREFIX.sub("", name, count=1) if _UPLOAD_PREFIX.match(name) else name


def upload_name(name: str) -> str:
    """The name that Label Studio stores an uploaded file under, but for its prefix (Django's `get_valid_filename`).

    >>> upload_name("frame 1 (left).jpg")
    'frame_1_left.jpg'
    """
    return _NOT_IN_UPLOADS.sub("", name.strip().replace(" ", "_"))


def _labels(result: _Result) -> str:
    for key, value in result.value.items():
        if key.endswith("labels") and isinstance(value, list):
            return " ".join(map(str, value))
    return ""


def _region(result: _Result, label: str, size: Size | None) -> AnnotatedRegion:
    kind = result.type.removesuffix("labels") or "region"
    if kind not in _OUTLINES:
        return without_outline(label, f"a {kind}")
    if size is None or size[0] * size[1] > MAX_PIXELS:
        return AnnotatedRegion(label, fault="the image's size is not told")
    if result.image_rotation:
        return AnnotatedRegion(label, fault="the image was turned while it was labelled; turn it back and export again")
    try:
        return _outlined(kind, result.value, label, size)
    except (KeyError, TypeError, ValueError) as error:
        return AnnotatedRegion(label, fault=f"its {kind} is damaged ({error})")


def _outlined(kind: str, value: Mapping[str, Any], label: str, size: Size) -> AnnotatedRegion:
    """The region; Label Studio's numbers are per cent of the width and of the height."""
    across, down = size[1] / 100, size[0] / 100
    if kind == "polygon":
        return AnnotatedRegion(label, (tuple(part for x, y in value["points"] for part in (x * across, y * down)),))
    if kind == "ellipse":
        turned = math.radians(value.get("rotation", 0))
        centre = value["x"] * across, value["y"] * down
        return AnnotatedRegion(label, (ellipse(*centre, value["radiusX"] * across, value["radiusY"] * down, turned),))
    alpha = decode(value["rle"], size[0] * size[1]).reshape(size)
    return AnnotatedRegion(label, (), tuple(run_lengths(np.ascontiguousarray(alpha > MASK_THRESHOLD))))


def write(out: Path, frames: Sequence[Written]) -> list[str]:
    """Write tasks.json and labelling.xml, the labelling interface, beside images/, for a server whose root they are."""
    tasks = [
        {
            "id": number,
            "data": {"image": f"{LOCAL_FILES}images/{frame.file}"},
            "annotations": [
                {
                    "was_cancelled": False,
                    "ground_truth": False,
                    "result": [
                        result
                        for place, region in enumerate(frame.regions)
                        for result in _results(region, frame.size, f"r{number}-{place}")
                    ],
                }
            ],
        }
        for number, frame in enumerate(frames, 1)
    ]
    write_text(out / FILE_NAME, json.dumps(tasks) + "\n")
    write_text(out / CONFIG_NAME, LABELLING)
    return []


def _results(region: AnnotatedRegion, size: Size, name: str) -> list[dict[str, object]]:
    """A region as a polygon, or as a brush where one polygon does not hold it."""
    height, width = size
    head = {"id": name, "to_name": "image", "original_width": width, "original_height": height, "image_rotation": 0}
    polygons = exact_polygons(region, size)
    if polygons is None or len(polygons) != 1:
        value: dict[str, object] = {"format": "rle", "rle": encode(region.pixels(size)), "brushlabels": [POLYP]}
        return [{**head, "from_name": "brush", "type": "brushlabels", "value": value}]
    points = [[100 * x / width, 100 * y / height] for x, y in zip(polygons[0][::2], polygons[0][1::2], strict=True)]
    value = {"points": points, "closed": True, "polygonlabels": [POLYP]}
    return [{**head, "from_name": "polygon", "type": "polygonlabels", "value": value}]
