"""YOLO's polygons (Ultralytics): one text file an image, `class x y x y …`, as shares of width and height.

Decisions:
- An empty text file says that the image shows no polyp. An image without a text file is not labelled.
- A line of five numbers is a box: no outline.
- Names of classes are read from data.yaml (its `names`), classes.txt or obj.names; without them a class is its number.
- A YOLO polygon has no holes: they are filled when it is written, and that is noted.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from polypseg.errors import DataError, ImageError, plural
from polypseg.formats.annotations import (
    POLYP,
    AnnotatedFrame,
    AnnotatedRegion,
    Annotations,
    Unusable,
    annotation_file,
    without_outline,
)
from polypseg.formats.images import ImageFiles
from polypseg.formats.outlines import Size, has_holes, outlines
from polypseg.formats.written import Written
from polypseg.preprocess import image_size
from polypseg.records.atomic import write_text
from polypseg.records.reading import read_text

KIND = annotation_file("YOLO label file")
NAMES_KIND = annotation_file("list of YOLO's classes")

NAME_FILES = ("data.yaml", "data.yml", "dataset.yaml", "classes.txt", "obj.names", "labels/classes.txt")

_ITEM = re.compile(r"\s*(?:-|(\d+)\s*:)\s*(.+?)\s*$")


def label_files(folder: Path) -> list[Path]:
    """The text files in folders that are called labels and lie beside images."""
    return sorted(
        path
        for labels in [*folder.glob("labels"), *folder.glob("*/labels")]
        if (labels.parent / "images").is_dir()
        for path in labels.rglob("*.txt")
        if path.name not in ("classes.txt", "train.txt", "val.txt", "test.txt")
    )


def read(folder: Path, paths: Sequence[Path], images: ImageFiles) -> Annotations:
    """What YOLO's label files say.

    Args:
        folder: Where the names of the classes are.
        paths: The label files.
        images: Whose sizes make pixels of shares.

    Raises:
        DataError: The names of the classes cannot be understood.
    """
    names = class_names(folder)
    frames: list[AnnotatedFrame] = []
    unusable: list[Unusable] = []
    for path in paths:
        labels = next(parent for parent in path.parents if parent.name == "labels")
        file = (labels.parent / "images" / path.relative_to(labels)).relative_to(folder).with_suffix("").as_posix()
        try:
            size = image_size(images.find(file))
            frames.append(AnnotatedFrame(file, size, _regions(path, names, size), True))
        except (LookupError, ImageError) as error:
            frames.append(AnnotatedFrame(file, None, fault=str(error)))
        except DataError as error:
            unusable.append(Unusable.of(path, error))
    return Annotations(frames, unusable, [])


def _regions(path: Path, names: Mapping[int, str], size: Size) -> tuple[AnnotatedRegion, ...]:
    regions = []
    for place, line in enumerate(read_text(path, KIND).splitlines(), 1):
        words = line.split()
        if not words:
            continue
        try:
            value, shares = int(words[0]), [float(word) for word in words[1:]]
        except ValueError as error:
            raise KIND.damaged(path, f"line {place}: {error}") from error
        label = names.get(value, str(value))
        if len(shares) == 4:
            regions.append(without_outline(label, "a box", value))
            continue
        corners = tuple(share * size[1 - index % 2] for index, share in enumerate(shares))
        regions.append(AnnotatedRegion(label, (corners,), value=value))
    return tuple(regions)


def class_names(folder: Path) -> dict[int, str]:
    """The names of the classes, by number; empty where no file tells them.

    Raises:
        DataError: The file cannot be understood.
    """
    path = next((folder / name for name in NAME_FILES if (folder / name).is_file()), None)
    if path is None:
        return {}
    text = read_text(path, NAMES_KIND)
    if path.suffix not in (".yaml", ".yml"):
        return dict(enumerate(line.strip() for line in text.splitlines() if line.strip()))
    return _names_of_yaml(path, text)


def _names_of_yaml(path: Path, text: str) -> dict[int, str]:
    """The value of `names:`, a list or a table, in one line or in several; the rest of the file is not read."""
    lines = [line.split(" #")[0].rstrip() for line in text.splitlines() if not line.lstrip().startswith("#")]
    start = next((place for place, line in enumerate(lines) if re.match(r"names\s*:", line)), None)
    if start is None:
        raise NAMES_KIND.damaged(path, "it has no names")
    first = lines[start].partition(":")[2].strip()
    if first[:1] in "[{" and first[-1:] in "]}" and first:
        items = [item.strip() for item in first[1:-1].split(",") if item.strip()]
        found = [_ITEM.match(item if first[0] == "{" else f"- {item}") for item in items]
    else:
        rest = lines[start + 1 :]
        end = next((p for p, line in enumerate(rest) if line and not line.startswith((" ", "-", "\t"))), len(rest))
        found = [_ITEM.match(line) for line in rest[:end] if line.strip()]
    if (first and not first.startswith(("[", "{"))) or not found or not all(found):
        raise NAMES_KIND.damaged(path, "its names are neither a list nor a table of numbers and names")
    pairs = [(match[1], match[2].strip("'\"")) for match in found if match]
    return {place if key is None else int(key): name for place, (key, name) in enumerate(pairs)}


def write(out: Path, frames: Sequence[Written]) -> list[str]:
    """Write labels/ beside images/, and data.yaml; without `path`, Ultralytics takes its folder, wherever it is run."""
    filled = []
    (out / "labels").mkdir()
    for frame in frames:
        height, width = frame.size
        lines = []
        for region in frame.regions:
            polygons = region.polygons
            if not polygons:
                mask = region.pixels(frame.size)
                polygons = outlines(mask)
                filled += [frame.file] if has_holes(mask) else []
            for polygon in polygons:
                shares = np.clip(np.asarray(polygon, float).reshape(-1, 2) / (width, height), 0, 1).ravel()
                lines.append(f"0 {' '.join(f'{share:.8g}' for share in shares)}\n")
        write_text(out / "labels" / f"{frame.stem}.txt", "".join(lines))
    write_text(out / "data.yaml", f"train: images\nval: images\nnames:\n  0: {POLYP}\n")
    return (
        [f"{plural(len(filled), 'polyp has', 'polyps have')} holes, which YOLO cannot hold; filled: {filled[0]}"]
        if filled
        else []
    )
