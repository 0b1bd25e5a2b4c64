"""The frames of an open project, as addresses and files name them."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from polypseg.arrays import Mask
from polypseg.data.project_frames import ProjectFrame
from polypseg.data.samples import Fault
from polypseg.errors import CorrectionError, DataError
from polypseg.preprocess import image_size
from polypseg.records.project import SavedState


class FrameInProject(NamedTuple):
    """A frame of an open project.

    Attributes:
        id: For addresses: of letters and digits alone.
        name: As its files are called.
        image_path: Its image.
        size: Height and width in pixels, upright.
        group: Its patient, video or folder; None where unknown.
        mask_path: A mask beside the image, as it was before the project; None where there is none.
    """

    id: str
    name: str
    image_path: Path
    size: tuple[int, int]
    group: str | None
    mask_path: Path | None


def frame_id(name: str) -> str:
    """What stands for a frame in an address, where its name need not stand.

    >>> frame_id("a frame"), len(frame_id("é" * 200))
    ('5784ae6fdc3ff113', 16)
    """
    return hashlib.blake2b(name.encode(), digest_size=8).hexdigest()


def readable_frames(found: Sequence[ProjectFrame]) -> tuple[Mapping[str, FrameInProject], list[Fault]]:
    """The frames whose images can be opened, by their identifiers, and the others."""
    frames: dict[str, FrameInProject] = {}
    faults: list[Fault] = []
    for one in found:
        try:
            size = image_size(one.image_path)
        except DataError as error:
            faults.append(Fault(one.name, str(error)))
            continue
        identifier = frame_id(one.name)
        frames[identifier] = FrameInProject(identifier, one.name, one.image_path, size, one.group, one.mask_path)
    return frames, faults


def check_mask_of(frame: FrameInProject, state: SavedState, mask: Mask | None) -> None:
    """Nothing, where a mask fits a frame and what is said of it.

    Raises:
        CorrectionError: It does not.
    """
    if (mask is None) != (state == "rejected"):
        raise CorrectionError(f"{state}: expected {'no mask' if mask is not None else 'a mask'}")
    if mask is None:
        return
    if mask.shape != frame.size:
        found, expected = ("x".join(map(str, size)) for size in (mask.shape, frame.size))
        raise CorrectionError(f"the mask is {found} pixels (height x width), its frame {expected}")
    if state == "no-polyp" and mask.any():
        raise CorrectionError("no-polyp: the mask has pixels; expected an empty one, or the state corrected")
