"""A new data set in one of the formats: images copied, annotations written.

Decisions:
- The folder appears when all of it is written; a kill leaves a hidden folder beside it, which the next call replaces.
- An image is copied byte by byte. One that its file turns (EXIF) is stored upright as PNG: annotations are of what a
  viewer shows, and programs differ in whether they turn it.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import cv2

from polypseg.arrays import Image
from polypseg.errors import DataError, UsageError, unknown_name
from polypseg.formats import coco, cvat, label_maps, label_studio, labelme, yolo
from polypseg.formats.annotations import AnnotatedRegion
from polypseg.formats.outlines import Size
from polypseg.formats.written import Written
from polypseg.preprocess import read_image
from polypseg.preprocess.reading import is_turned
from polypseg.progress import Track, silent
from polypseg.records.atomic import building, write_bytes

Writer = Callable[[Path, Sequence[Written]], list[str]]


class Format(NamedTuple):
    """How a format is written.

    Attributes:
        write: Writes the annotations; returns what a user should know.
        images: The folder of the images.
        only_png: Whether its images are PNG, named with nnU-Net's number of a channel.
    """

    write: Writer
    images: str = "images"
    only_png: bool = False


FORMATS = {
    "coco": Format(coco.write),
    "cvat": Format(cvat.write),
    "label-studio": Format(label_studio.write),
    "labelme": Format(labelme.write),
    "masks": Format(label_maps.write_masks),
    "nnunet": Format(label_maps.write_nnunet, "imagesTr", only_png=True),
    "voc": Format(label_maps.write_voc, label_maps.FRAMES),
    "yolo": Format(yolo.write),
}
"""The formats that are written, by name."""


class Labelled(NamedTuple):
    """A frame to write.

    Attributes:
        name: Unique; its files are called so.
        image_path: Its image.
        size: Height and width in pixels, upright.
        regions: Its polyps; none where it shows none.
    """

    name: str
    image_path: Path
    size: Size
    regions: tuple[AnnotatedRegion, ...]


def written_format(name: str) -> Format:
    """The format of that name.

    Raises:
        UsageError: There is none.
    """
    if name not in FORMATS:
        raise UsageError(unknown_name("format", name, FORMATS))
    return FORMATS[name]


def write_data_set(out: Path, name: str, frames: Sequence[Labelled], track: Track = silent) -> list[str]:
    """Write a new folder; returns what a user should know, a line each.

    Raises:
        DataError: The folder holds files, an image cannot be read, or a format cannot hold what is there.
        UsageError: No such format.
    """
    chosen = written_format(name)
    with new_folder(out) as folder:
        images = folder / chosen.images
        images.mkdir()
        written = [
            Written(_copy(frame, images, chosen.only_png), frame.size, frame.regions)
            for frame in track(frames, "copying images", len(frames))
        ]
        return chosen.write(folder, written)


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A hidden folder to write to, which becomes `out` when the block ends, and is removed if it fails.

    Raises:
        DataError: `out` is there and is no empty folder.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out}: already holds files; expected a new or empty folder: remove it or name another")
    out.parent.mkdir(parents=True, exist_ok=True)
    with building(out, overwrite=True) as hidden:
        yield hidden


def _copy(frame: Labelled, images: Path, only_png: bool) -> str:
    """Copy a frame's image; returns the new file's name."""
    suffix = frame.image_path.suffix.lower()
    if only_png or is_turned(frame.image_path):
        name = f"{frame.name}_0000.png" if only_png else f"{frame.name}.png"
        write_png(images / name, read_image(frame.image_path))
        return name
    shutil.copyfile(frame.image_path, images / f"{frame.name}{suffix}")
    return f"{frame.name}{suffix}"


def write_png(path: Path, image: Image) -> None:
    """Write an image (H, W, 3) uint8 as PNG, atomically.

    Raises:
        DataError: It cannot be encoded.
    """
    is_encoded, content = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    if not is_encoded:
        raise DataError(f"{path}: an image of {image.shape} cannot be encoded as PNG")
    write_bytes(path, content.tobytes())
