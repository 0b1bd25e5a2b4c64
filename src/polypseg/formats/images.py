"""Which image file of a folder an annotation means.

Decisions:
- A name is looked up by its last part; where several files have it, by as much of the path before it as tells them
  apart. What is still not certain is a fault, never the first of several.
- Folders of label maps are no folders of images.
"""

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from polypseg.formats.label_studio import upload_name, without_upload_prefix
from polypseg.preprocess import is_image_file, refuse_odd_names, unicode_name

_NO_IMAGES = frozenset(
    {"segmentationclass", "segmentationobject", "labelstr", "labelsts", "imagests", "masks", "mask", "labels"}
)
"""Folders, in lower case, whose pictures are no frames."""

MAX_DEPTH = 3


class ImageFiles:
    """The image files below a folder, by their names."""

    def __init__(self, folder: Path) -> None:
        """List them.

        Raises:
            DataError: A file's name is not valid UTF-8.
        """
        self.folder = folder
        self.paths = sorted(_walk(folder))
        refuse_odd_names(self.paths)
        self._by_name: dict[str, list[Path]] = {}
        self._by_upload: dict[str, list[Path]] = {}
        for path in self.paths:
            for key in {unicode_name(path.name), unicode_name(path.stem)}:
                self._by_name.setdefault(key, []).append(path)
            self._by_upload.setdefault(upload_name(unicode_name(path.name)), []).append(path)

    def find(self, file: str) -> Path:
        """The image that an annotation names.

        Raises:
            LookupError: There is none, or it is not certain which one is meant.
        """
        wanted = PurePosixPath(unicode_name(file.replace("\\", "/")))
        uploaded = without_upload_prefix(wanted.name)
        found = self._by_name.get(wanted.name) or self._by_upload.get(uploaded) or self._by_name.get(uploaded, [])
        if not found:
            raise LookupError(f"there is no image of that name in {self.folder}")
        common = [_common_parts(path.relative_to(self.folder), wanted) for path in found]
        best = [path for path, shared in zip(found, common, strict=True) if shared == max(common)]
        if len(best) > 1:
            names = " and ".join(str(path.relative_to(self.folder)) for path in best[:2])
            raise LookupError(f"{names} could both be meant")
        return best[0]

    def names(self) -> dict[Path, str]:
        """A unique name for each image: its stem, or where several have it the path, its parts joined by _."""
        stems = [unicode_name(path.stem) for path in self.paths]
        return {
            path: stem
            if stems.count(stem) == 1
            else unicode_name("_".join(path.relative_to(self.folder).with_suffix("").parts))
            for path, stem in zip(self.paths, stems, strict=True)
        }


def _walk(folder: Path) -> list[Path]:
    found: list[Path] = []
    for where, folders, files in os.walk(folder):
        here = Path(where)
        depth = len(here.relative_to(folder).parts)
        folders[:] = [
            name
            for name in folders
            if depth < MAX_DEPTH and name.lower() not in _NO_IMAGES and not name.startswith((".", "__"))
        ]
        found += [here / name for name in files if is_image_file(Path(name))]
    return found


def _common_parts(path: Path, wanted: PurePosixPath) -> int:
    """How many of the folders before the name agree, from the name backwards."""
    count = 0
    ours: Sequence[str] = [unicode_name(part) for part in path.parts[-2::-1]]
    for our, their in zip(ours, wanted.parts[-2::-1], strict=False):
        if our != their:
            break
        count += 1
    return count
