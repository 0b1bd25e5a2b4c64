"""What is to be predicted: the images that paths name, each with the name that its results get.

Decisions:
- A folder is searched with all folders within; hidden files and folders are passed over, and so are the masks of a data
  set, with a note. What is no image there and not what usually lies beside images (a HEIC, a DICOM, a video) is tried
  too, so that it gets a row that says why it has no mask. A path with `*`, `?` or `[` that is no file is expanded.
- A result is named after its image's place below the folder that holds all of them, without an image's ending, so that
  equal file names in different folders do not meet. Two images that would still share a name are refused.
- Links keep their names: two links to one file are two images.
- A TIFF of several pages is an image a page, `NAME_page0001` and so on.
- `-` is the bytes of standard input, named `stdin`.
"""

import glob
import hashlib
import io
import os
import sys
import warnings
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock

from PIL import Image as PillowImage

from polypseg.arrays import Image
from polypseg.data.layouts import MASK_FOLDERS, image_and_mask_folders
from polypseg.data.samples import MASK_NAME_SUFFIXES
from polypseg.errors import DataError, ImageError, UsageError, listed, plural
from polypseg.predict.kinds import VIDEO_SUFFIXES
from polypseg.preprocess import (
    IMAGE_SUFFIXES,
    MAX_FILE_BYTES,
    MAX_PIXELS,
    is_image_file,
    is_left_out,
    num_pages,
    open_pages,
    read_noted,
    read_page,
    refuse_odd_names,
)

STDIN = "-"
STDIN_NAME = "stdin"
TIFF_SUFFIXES = (".tif", ".tiff")


class PassedOverWarning(UserWarning):
    """Masks of a data set lie within a folder of images, and are not predicted; the message names them."""


class Pages:
    """A file of several pages, opened while they are read; several threads may read from it."""

    def __init__(self, file: Path | bytes, label: str) -> None:
        self._file, self.label = file, label
        self._opened: PillowImage.Image | None = None
        self._lock = Lock()

    def count(self) -> int:
        """How many there are."""
        with self._lock:
            try:
                return num_pages(self._open(), self.label)
            finally:
                self._close()

    def read(self, page: int | None, max_pixels: int) -> Image:
        """A page, counted from 1; None where it is the only one."""
        label = self.label if page is None else f"{self.label} page {page}"
        with self._lock:
            return read_page(self._open(), (page or 1) - 1, label, max_pixels)

    @cached_property
    def sha256(self) -> str:
        """The digest of the file's bytes.

        Raises:
            OSError: It cannot be read.
        """
        if isinstance(self._file, bytes):
            return hashlib.sha256(self._file).hexdigest()
        with self._file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()

    def close(self) -> None:
        """Let go of the file; a later read opens it again."""
        with self._lock:
            self._close()

    def _open(self) -> PillowImage.Image:
        if self._opened is None:
            file = io.BytesIO(self._file) if isinstance(self._file, bytes) else self._file
            self._opened = open_pages(file, self.label)
        return self._opened

    def _close(self) -> None:
        if self._opened is not None:
            self._opened.close()
        self._opened = None


@dataclass(frozen=True)
class ImageSource:
    """One image that is to be predicted.

    Attributes:
        name: Of its results, with `/` between folders and without an ending.
        path: As it was named or found; `-` for standard input.
        page: Counted from 1; None where the file is one image.
        pages: The file that it is read from where that may hold several; whoever reads closes it.
    """

    name: str
    path: str
    page: int | None = None
    pages: Pages | None = None

    def read(self, max_pixels: int = MAX_PIXELS) -> Image:
        """The image, upright, (H, W, 3) uint8.

        Raises:
            ImageError: It cannot be read, or has more pixels than `max_pixels`.
        """
        return self.read_noted(max_pixels)[0]

    def read_noted(self, max_pixels: int = MAX_PIXELS) -> tuple[Image, str]:
        """As `read`, with what a user should know of the file; mostly empty."""
        if self.pages is not None:
            return self.pages.read(self.page, max_pixels), ""
        return read_noted(self.path, max_pixels)


def find_sources(paths: Sequence[str], leave_out: Path | None = None) -> list[ImageSource]:
    """The images that paths name, in the order of the paths and, within a folder, of their names; each once.

    Args:
        paths: Files, folders, patterns, or `-`.
        leave_out: A folder that is not searched: where the results go.

    Raises:
        DataError: A path that is not there, a folder without images, two images whose results would share a name, or a
            name that is not valid UTF-8.
        UsageError: Nothing named, or standard input named twice.
    """
    if not paths:
        raise UsageError("no image named; expected files, folders, patterns, or - for standard input")
    if paths.count(STDIN) > 1:
        raise UsageError("standard input (-) is named twice")
    found: dict[str, tuple[str, str]] = {}  # by its place: as found, and the folder that it was found from
    for path in paths:
        for file, root in _files(path, leave_out):
            found.setdefault(_place(file), (file, root))
    refuse_odd_names(file for file, _ in found.values())
    top = _common_folder({root for _, root in found.values() if root})
    sources = [source for file, _ in found.values() for source in _sources(file, top)]
    _refuse_equal_names(sources)
    return sources


def _place(file: str) -> str:
    """Where a name lies: one file named twice is one image, two links to one file are two."""
    if file == STDIN:
        return STDIN
    folder, name = os.path.split(os.path.abspath(file))  # noqa: PTH100
    return os.path.join(os.path.realpath(folder), name)  # noqa: PTH118


def _files(path: str, leave_out: Path | None) -> Iterator[tuple[str, str]]:
    """The files that one path names, each with the folder that its name counts from."""
    if path == STDIN:
        yield STDIN, ""
    elif Path(path).is_dir():
        yield from _in_folder(path, leave_out)
    elif os.path.lexists(path):
        yield path, str(Path(path).parent)
    elif glob.has_magic(path):
        matches = sorted(glob.glob(path, recursive=True))  # noqa: PTH207 — absolute patterns too
        if not matches:
            raise DataError(f"{path}: nothing matches this pattern")
        for match in matches:
            yield from _files(match, leave_out)
    else:
        raise DataError(f"{path}: no such file or folder")


def _in_folder(folder: str, leave_out: Path | None) -> Iterator[tuple[str, str]]:
    closed = os.path.realpath(leave_out) if leave_out is not None else None
    if closed == os.path.realpath(folder):
        raise UsageError(f"{folder}: the results cannot go into the folder that is searched for images; name another")
    count = num_videos = 0
    passed: list[str] = []
    top = os.path.realpath(folder)
    above = {folder: frozenset({closed, top, *map(str, Path(top).parents)})}  # where a link within must not lead to
    for here, folders, files in os.walk(folder, onerror=_cannot_search, followlinks=True):
        masks = _masks_within(here, folders, files)
        passed += masks
        skipped = above[here] | {os.path.realpath(each) for each in masks}
        places = {name: os.path.join(here, name) for name in sorted(folders) if name[0] != "."}  # noqa: PTH118
        folders[:] = [name for name, place in places.items() if os.path.realpath(place) not in skipped]
        above |= {places[name]: above[here] | {os.path.realpath(places[name])} for name in folders}
        stems = {Path(name).stem for name in files}
        for name in sorted(files):
            path = Path(here, name)
            num_videos += path.suffix.lower() in VIDEO_SUFFIXES
            if is_image_file(path) and _is_mask_beside(path.stem, stems):
                passed.append(str(path))
            elif is_image_file(path) or is_left_out(path):
                count += is_image_file(path)
                yield str(path), folder
    if not count:
        hint = f" (it holds {plural(num_videos, 'video')}: name one at a time)" if num_videos else ""
        endings = "expected files ending in .jpg, .png, .tif or .bmp"
        raise DataError(f"{folder}: no image in this folder or those within{hint}; {endings}")
    if passed:
        warnings.warn(
            f"{plural(len(passed), 'file or folder', 'files or folders')} of masks beside images not predicted:"
            f"{listed(passed, 5)}",
            PassedOverWarning,
            stacklevel=2,
        )


def _masks_within(folder: str, folders: Sequence[str], files: Sequence[str]) -> list[str]:
    """The folders of masks of a data set whose root is a folder: beside its images, or beside folders of them."""
    try:
        pair = image_and_mask_folders(Path(folder))
    except OSError as error:
        raise DataError(f"{folder}: cannot search the folder: {error.strerror}") from error
    found = {str(pair[1])} if pair is not None else set()
    named = {name for name in folders if name.lower() in MASK_FOLDERS}
    others = [name for name in folders if name not in named and name[0] != "."]
    if others or any(is_image_file(Path(name)) for name in files):
        found |= {os.path.join(folder, name) for name in named}  # noqa: PTH118
    return sorted(found)


def _is_mask_beside(stem: str, stems: Container[str]) -> bool:
    """Whether a file is the mask of another one in its folder, by its name."""
    return any(
        stem.lower().endswith(suffix) and stem[: len(stem) - len(suffix)] in stems for suffix in MASK_NAME_SUFFIXES
    )


def _cannot_search(error: OSError) -> None:
    raise DataError(f"{error.filename}: cannot search the folder: {error.strerror}") from error


def _common_folder(roots: Iterable[str]) -> str:
    folders = [os.path.abspath(root) for root in roots]  # noqa: PTH100 — as named: a link keeps its own name
    try:
        return os.path.commonpath(folders) if folders else ""
    except ValueError as error:
        raise UsageError(f"the paths lie on different drives ({error}); predict them apart") from error


def _sources(file: str, top: str) -> list[ImageSource]:
    """The images of one file."""
    if file == STDIN:
        content = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise DataError(f"standard input: more than the allowed {MAX_FILE_BYTES:,} bytes; expected one image")
        return _pages(Pages(content, STDIN_NAME), STDIN_NAME, STDIN)
    path = Path(os.path.relpath(file, top))
    name = (path.with_suffix("") if path.suffix.lower() in IMAGE_SUFFIXES else path).as_posix()
    if Path(file).suffix.lower() in TIFF_SUFFIXES:
        return _pages(Pages(Path(file), file), name, file)
    return [ImageSource(name, file)]


def _pages(pages: Pages, name: str, path: str) -> list[ImageSource]:
    try:
        count = pages.count()
    except ImageError:
        count = 1  # what is wrong with it is told when it is read
    if count == 1:
        return [ImageSource(name, path, None, pages)]
    return [ImageSource(f"{name}_page{page:04d}", path, page, pages) for page in range(1, count + 1)]


def _refuse_equal_names(sources: Iterable[ImageSource]) -> None:
    by_name: dict[str, ImageSource] = {}
    meeting = []
    for source in sources:
        first = by_name.setdefault(source.name, source)
        if first is not source:
            meeting.append(f"{first.path} and {source.path} (both {source.name})")
    if meeting:
        raise DataError(
            f"{plural(len(meeting), 'pair')} "
            "of images would write the same results; rename one of each, or predict them into "
            f"different folders:{listed(meeting)}"
        )
