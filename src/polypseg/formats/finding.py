"""Which annotation format lies in a folder, and what its files say.

Decisions:
- A format is known by the keys and tags of its files, not by their names.
- Files lie in the folder itself or one level below it.
- A folder with annotations of two formats is refused: which of them counts, only its owner knows.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from polypseg.errors import DataError
from polypseg.formats import coco, cvat, label_maps, label_studio, labelme, via, yolo
from polypseg.formats.annotations import Annotations, annotation_file
from polypseg.formats.images import ImageFiles
from polypseg.formats.xml import read_xml
from polypseg.records.project import is_project
from polypseg.records.reading import read_json

TITLES = {
    "coco": "COCO",
    "cvat": "CVAT",
    "label-studio": "Label Studio",
    "labelme": "LabelMe",
    "nnunet": "nnU-Net",
    "via": "VGG Image Annotator",
    "voc": "Pascal VOC",
    "yolo": "YOLO polygons",
}
"""The formats that are read, by name."""

JSON, XML = annotation_file("JSON file"), annotation_file("XML file")


class FoundAnnotations(NamedTuple):
    """Annotations that were found.

    Attributes:
        format: Of `TITLES`.
        paths: Its files; empty where the format is a layout of folders.
        folder: That holds them and the images.
    """

    format: str
    paths: tuple[Path, ...]
    folder: Path

    @property
    def title(self) -> str:
        """The format in words, with its file where there is one."""
        return TITLES[self.format] + (f" ({self.paths[0].name})" if len(self.paths) == 1 else "")


def find_annotations(folder: Path) -> FoundAnnotations | None:
    """The annotations of a folder; None where no file in it is of a known format.

    Raises:
        DataError: There are annotations of two formats, a file is damaged, or it is of a format without outlines.
    """
    if label_maps.is_nnunet(folder):
        return FoundAnnotations("nnunet", (), folder)
    if label_maps.is_voc(folder):
        return FoundAnnotations("voc", (), folder)
    by_format: dict[str, list[Path]] = {}
    for path, name in _known(folder):
        by_format.setdefault(name, []).append(path)
    texts = yolo.label_files(folder)
    if texts:
        by_format.setdefault("yolo", []).extend(texts)
    if len(by_format) > 1:
        told = " and ".join(f"{TITLES[name]} ({paths[0].name})" for name, paths in sorted(by_format.items()))
        raise DataError(f"{folder}: holds annotations of several formats: {told}; keep one")
    return next((FoundAnnotations(name, tuple(paths), folder) for name, paths in by_format.items()), None)


def format_of_file(path: Path) -> str | None:
    """The format of a JSON or XML file; None where it is no annotation file that is known.

    Raises:
        DataError: It is damaged, or of a format without outlines.
    """
    if path.suffix.lower() == ".xml":
        return _format_of_xml(path)
    return _format_of_json(path, read_json(path, Any, JSON))  # type: ignore[arg-type]


def frame_names(found: FoundAnnotations, images: ImageFiles) -> dict[Path, str]:
    """A unique name for each image of annotations; nnU-Net's number of a channel is no part of it."""
    names = images.names()
    if found.format == "nnunet":
        return {path: name.removesuffix("_0000") for path, name in names.items()}
    return names


def read_annotations(found: FoundAnnotations, images: ImageFiles) -> Annotations:
    """What the annotations say.

    Raises:
        DataError: A file that stands for many frames is damaged.
    """
    if found.format == "nnunet":
        return label_maps.read_nnunet(found.folder)
    if found.format == "voc":
        return label_maps.read_voc(found.folder)
    if found.format == "yolo":
        return yolo.read(found.folder, found.paths, images)
    readers = {"coco": coco, "cvat": cvat, "label-studio": label_studio, "labelme": labelme, "via": via}
    annotations: Annotations = readers[found.format].read(found.paths)  # type: ignore[attr-defined]
    return annotations


def _known(folder: Path) -> Iterable[tuple[Path, str]]:
    """The files of known formats. Of many files in a folder the first that is LabelMe's speaks for the others; what a
    project of corrections says of itself is none.
    """
    found = (path for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "__")))
    inner = sorted(path for path in found if not is_project(path))
    for place in (folder, *inner):
        is_labelme = False
        for path in sorted(place.iterdir()):
            if path.suffix.lower() not in (".json", ".xml") or path.name.startswith("."):
                continue
            name = "labelme" if is_labelme and path.suffix.lower() == ".json" else format_of_file(path)
            is_labelme = is_labelme or name == "labelme"
            if name is not None:
                yield path, name


def _format_of_json(path: Path, content: Any) -> str | None:
    if isinstance(content, list):
        if not content or not isinstance(content[0], dict):
            return None
        keys = content[0].keys()
        if "data" in keys and keys & {"annotations", "completions", "predictions"}:
            return "label-studio"
        if "image" in keys and "annotation_id" in keys:
            raise DataError(f"{path}: Label Studio's short export (JSON-MIN), which lacks sizes; export as JSON")
        return None
    if not isinstance(content, dict):
        return None
    if {"images", "annotations"} <= content.keys():
        return "coco"
    if {"shapes", "imagePath"} <= content.keys():
        return "labelme"
    if {"project", "metadata", "file"} <= content.keys():
        raise DataError(f"{path}: a project of VIA 3, which is not read; export it from VIA 2, or as COCO")
    images = content.get(via.PROJECT_KEY, content)
    is_via = isinstance(images, dict) and all(
        isinstance(image, dict) and {"filename", "regions"} <= image.keys() for image in images.values()
    )
    return "via" if is_via and images else None


def _format_of_xml(path: Path) -> str | None:
    root = read_xml(path, XML)
    if root.tag == "annotations" and (root.find("image") is not None or root.find("track") is not None):
        return "cvat"
    if root.tag == "annotation" and root.find("object") is not None:
        raise DataError(f"{path}: boxes of Pascal VOC, no outlines; masks would lie in {label_maps.CLASSES}/")
    return None
