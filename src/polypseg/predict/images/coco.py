"""The regions of all images as two files in COCO's format: exact run lengths, and polygons.

Decisions:
- A region is an annotation; its score is the mean probability over its pixels. An image without one is listed too.
- With a calibration the outer and the inner mask's regions are annotations too, of categories of their own.
- The image's `file_name` is its path below the folder that holds all images.
- What is found is kept line by line in `.coco.jsonl` while images are predicted, and gathered at the end: memory does
  not grow with the number of images, and a later call with --resume goes on.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import TextIO

import numpy as np

from polypseg.arrays import Mask
from polypseg.errors import DataError
from polypseg.formats.outlines import compress_run_lengths, run_lengths
from polypseg.predict.images.table import add_line
from polypseg.predict.regions import Region
from polypseg.records.atomic import replacing
from polypseg.records.reading import FileKind, Saved, as_json, parse_json

LINES_NAME = ".coco.jsonl"
_KIND = FileKind("list of regions", DataError, "predict again with --overwrite")
RUN_LENGTHS_NAME, POLYGONS_NAME = "coco.json", "coco_polygons.json"
CATEGORIES = {"regions": "polyp", "outer": "polyp, outer mask", "inner": "polyp, inner mask"}
"""What a list of regions in a line means; the categories are numbered from 1 in this order."""


class KeptRegion(Saved):
    """One region of a line.

    Attributes:
        bbox: x, y, width, height in pixels.
        area: In pixels.
        score: Mean probability.
        counts: COCO's compressed run lengths, of the whole image.
        polygon: Outer border, x and y in turn.
    """

    bbox: tuple[int, int, int, int]
    area: int
    score: float
    counts: str
    polygon: tuple[int, ...]


class KeptImage(Saved):
    """One line: the regions of an image; those of outer and inner mask are None without a calibration."""

    name: str
    file_name: str
    height: int
    width: int
    regions: tuple[KeptRegion, ...] = ()
    outer: tuple[KeptRegion, ...] | None = None
    inner: tuple[KeptRegion, ...] | None = None

    def of(self, kind: str) -> tuple[KeptRegion, ...]:
        """The regions of a kind of `CATEGORIES`."""
        found: tuple[KeptRegion, ...] | None = getattr(self, kind)
        return found or ()


def image_line(
    name: str,
    file_name: str,
    mask: Mask,
    regions: list[Region],
    nested: Mapping[str, list[Region]] = MappingProxyType({}),
) -> str:
    """The line that keeps the regions of an image.

    Args:
        name: Of the image's results; the key of the line.
        file_name: As the files will hold it.
        mask: Shape (H, W), bool.
        regions: Of the mask.
        nested: Those of the outer and the inner mask, where there are any.
    """
    height, width = mask.shape
    found = {
        kind: tuple(_kept_region(region, (height, width)) for region in each)
        for kind, each in ({"regions": regions} | dict(nested)).items()
    }
    kept = KeptImage(name=name, file_name=file_name, height=height, width=width, **found)
    return as_json(kept, indent=None) + "\n"


def _kept_region(region: Region, shape: tuple[int, int]) -> KeptRegion:
    whole = np.zeros(shape, bool)
    x, y, width, height = region.box
    whole[y : y + height, x : x + width] = region.pixels
    return KeptRegion(
        bbox=region.box,
        area=region.area_px,
        score=round(region.mean_probability, 6),
        counts=compress_run_lengths(run_lengths(whole)),
        polygon=tuple(region.polygon),
    )


class CocoLines:
    """Adds lines to the file that keeps them; use it in a `with`."""

    def __init__(self, folder: Path) -> None:
        self._descriptor = os.open(folder / LINES_NAME, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)

    def __enter__(self) -> "CocoLines":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def add(self, line: str) -> None:
        """Add a line.

        Raises:
            OSError: It cannot be written; the file is as before.
        """
        add_line(self._descriptor, line)


def kept_names(folder: Path) -> set[str]:
    """The names of the images whose lines are there."""
    return {record.name for record in _records(folder)}


def mend_lines(path: Path) -> None:
    """Leave out what a kill cut off of a file of lines, so that the next line begins a line."""
    with suppress(FileNotFoundError), path.open("rb+") as opened:
        end = 0
        for line in opened:
            end += len(line) if line.endswith(b"\n") else 0
        opened.truncate(end)


def write_coco(folder: Path, names: set[str], information: Mapping[str, str]) -> list[Path]:
    """Gather the kept lines into `coco.json` (run lengths) and `coco_polygons.json`.

    Args:
        folder: Of the results.
        names: Of the images that belong to them, in the table too.
        information: For the key `info`.

    Returns:
        The paths of the two files.
    """
    last = {record.name: index for index, record in enumerate(_records(folder)) if record.name in names}
    chosen = set(last.values())
    return [_write(folder, file, chosen, information) for file in (RUN_LENGTHS_NAME, POLYGONS_NAME)]


def _write(folder: Path, file_name: str, chosen: set[int], information: Mapping[str, str]) -> Path:
    path = folder / file_name
    kinds = {kind for record in _chosen(folder, chosen) for kind in record.model_fields_set} | {"regions"}
    names = [{"id": number, "name": name} for number, (kind, name) in enumerate(CATEGORIES.items(), 1) if kind in kinds]
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as opened:
        head = {"info": information, "licenses": [], "categories": names}
        opened.write(json.dumps(head)[:-1] + ', "images": [')
        _write_images(opened, folder, chosen)
        opened.write('],\n"annotations": [')
        _write_annotations(opened, folder, chosen, file_name == POLYGONS_NAME)
        opened.write("]}\n")
    return path


def _write_images(opened: TextIO, folder: Path, chosen: set[int]) -> None:
    for number, record in enumerate(_chosen(folder, chosen), 1):
        image = {"id": number, "file_name": record.file_name, "height": record.height, "width": record.width}
        opened.write(("," if number > 1 else "") + "\n" + json.dumps(image))


def _write_annotations(opened: TextIO, folder: Path, chosen: set[int], polygons: bool) -> None:
    count = 0
    for number, record in enumerate(_chosen(folder, chosen), 1):
        found = [(number, region) for number, kind in enumerate(CATEGORIES, 1) for region in record.of(kind)]
        for category, region in found:
            count += 1
            exact = {"size": [record.height, record.width], "counts": region.counts}
            annotation = {
                "id": count,
                "image_id": number,
                "category_id": category,
                "segmentation": [region.polygon] if polygons else exact,
                "area": region.area,
                "bbox": region.bbox,
                "iscrowd": 0,
                "score": region.score,
            }
            opened.write(("," if count > 1 else "") + "\n" + json.dumps(annotation))


def _chosen(folder: Path, chosen: set[int]) -> Iterator[KeptImage]:
    return (record for index, record in enumerate(_records(folder)) if index in chosen)


def _records(folder: Path) -> Iterator[KeptImage]:
    path = folder / LINES_NAME
    if not path.exists():
        return
    with path.open("rb") as opened:
        for line in opened:
            if line.endswith(b"\n"):  # a kill may have cut off the last
                yield parse_json(line, KeptImage, path, _KIND)
