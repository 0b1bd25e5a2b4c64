"""Folders of images: in chunks, each of which is a unit as a video is.

Decisions:
- A chunk is named FOLDER//FIRST//LAST, by the names of its first and its last image: no path has two slashes in a row.
- Where a chunk ends follows from the images' names, about every 256 images: images that are added, removed or changed
  change the chunks that they are in, and no others.
- Images know nothing of one another: nothing is smoothed, withheld or tracked; a detection is a component of an image.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from polypseg.errors import DataError, ImageError
from polypseg.preprocess import IMAGE_SUFFIXES

MEAN_IMAGES = 256
"""Of a chunk; a power of two."""

MOST_IMAGES = 4 * MEAN_IMAGES

_BETWEEN = "//"


class Chunk(NamedTuple):
    """Images of a folder, from one name to another.

    Attributes:
        folder: That holds them, not those below it.
        first: Name of the first image.
        last: Name of the last one.
    """

    folder: Path
    first: str
    last: str

    @property
    def path(self) -> str:
        """As the manifest has it."""
        return _BETWEEN.join((str(self.folder), self.first, self.last))

    @staticmethod
    def of(path: str) -> "Chunk":
        """The chunk of a path of the manifest."""
        folder, first, last = path.rsplit(_BETWEEN, 2)
        return Chunk(Path(folder), first, last)

    def images(self) -> list[Path]:
        """Its images, sorted by name.

        Raises:
            FileNotFoundError: The folder is gone, or holds none of them any more.
        """
        with os.scandir(self.folder) as found:
            names = sorted(item.name for item in found if _is_image(item) and self.first <= item.name <= self.last)
        if not names:
            raise FileNotFoundError(2, "No such images", str(self.folder))
        return [self.folder / name for name in names]


def is_chunk(path: str) -> bool:
    """Whether a path of the manifest is that of images, and not of a video.

    >>> is_chunk("/frames//0001.jpg//0256.jpg"), is_chunk("/videos/a.mp4"), is_chunk("s3://bucket/a.mp4")
    (True, False, False)
    """
    return path.count(_BETWEEN) == 2 and "://" not in path


def chunks_of(folder: str, names: Iterable[str]) -> Iterator[Chunk]:
    """The chunks of a folder's images.

    Args:
        folder: That holds them.
        names: Of the images, in any order.
    """
    chunk: list[str] = []
    for name in sorted(names):
        chunk.append(name)
        digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
        if int.from_bytes(digest[:4], "big") % MEAN_IMAGES == 0 or len(chunk) == MOST_IMAGES:
            yield Chunk(Path(folder), chunk[0], chunk[-1])
            chunk = []
    if chunk:
        yield Chunk(Path(folder), chunk[0], chunk[-1])


def image_names(items: Sequence["os.DirEntry[str]"]) -> list[str]:
    """The names of the images among what a folder holds."""
    return [item.name for item in items if _is_image(item)]


def digest_of_images(path: str) -> str:
    """The SHA-256 over names and bytes of a chunk's images, in hex.

    Raises:
        OSError: One cannot be read.
    """
    whole = hashlib.sha256()
    for image in Chunk.of(path).images():
        with image.open("rb") as opened:
            content = hashlib.file_digest(opened, "sha256").digest()
        whole.update(image.name.encode("utf-8", "surrogateescape") + b"\0" + content)
    return whole.hexdigest()


def sizes_and_times(path: str) -> tuple[int, str, str]:
    """Bytes of a chunk's images, and a digest of names, sizes and times of change: of their content, and of anything.

    Raises:
        OSError: They are not there.
    """
    total, content, anything = 0, hashlib.sha256(), hashlib.sha256()
    for image in Chunk.of(path).images():
        found = image.stat()
        total += found.st_size
        line = f"{image.name}\0{found.st_size}\0{found.st_mtime_ns}\0"
        content.update(line.encode("utf-8", "surrogateescape"))
        anything.update(f"{line}{found.st_ctime_ns}\0".encode("utf-8", "surrogateescape"))
    return total, content.hexdigest()[:32], anything.hexdigest()[:32]


def refuse_all_damaged(num_images: int, num_damaged: int, reason: str) -> None:
    """Nothing, where an image of a chunk could be read.

    Raises:
        DataError: None could.
    """
    if num_images == num_damaged:
        raise DataError(f"none of its {num_images} images can be read: {reason}")


def why_unreadable(error: ImageError, image: Path) -> str:
    """What is wrong with an image, in a line without its path."""
    return str(error).removeprefix(f"{image}: ").splitlines()[0]


def _is_image(item: "os.DirEntry[str]") -> bool:
    return (
        not item.name.startswith(".") and os.path.splitext(item.name)[1].lower() in IMAGE_SUFFIXES and item.is_file()  # noqa: PTH122
    )
