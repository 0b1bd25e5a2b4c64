"""What is known of procedures: in which frames each lesion is visible, and where.

Three forms, told apart by what is named:

    a folder   masks: FOLDER/PROCEDURE/FRAME.png; a grey level is the lesion's number in its procedure, 0 is none
    a .json    COCO: images and boxes; each annotation carries `lesion_id` (or `unique_id`)
    a .csv     intervals: procedure, lesion, first_frame, last_frame; a procedure without a lesion has an empty one

Decisions:
- A lesion belongs to one procedure. In masks it is named PROCEDURE:LEVEL; black and white masks hold one lesion.
- Boxes of masks are those of all pixels of a lesion, in however many pieces.
- A lesion may be described by columns of text (`size_mm`, `look`): COCO's key `lesions`, further columns of intervals.
"""

from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from polypseg.data.samples import warn_of_further_pictures
from polypseg.errors import ScoreError
from polypseg.evaluate.procedures.frames import Frames, frames_from, natural
from polypseg.metrics.procedures.tables import Numbers, Places
from polypseg.preprocess.files import is_image_file
from polypseg.preprocess.lesion_masks import lesion_name, level_boxes, read_levels

NO_BOX = (np.nan, np.nan, np.nan, np.nan)


@dataclass(frozen=True)
class Sights:
    """Lesions in the frames in which they are visible.

    Attributes:
        lesions: Names of the L lesions.
        lesion_procedure: Shape (L,).
        frame: Shape (S,).
        lesion: Shape (S,).
        box: Shape (S, 4): x, y, width, height in pixels; NaN for intervals.
        percent: Shape (S,): area in per cent of the frame; NaN where unknown.
    """

    lesions: tuple[str, ...]
    lesion_procedure: Places
    frame: Places
    lesion: Places
    box: Numbers
    percent: Numbers


@dataclass(frozen=True)
class References:
    """What was read.

    Attributes:
        source: The file or folder.
        kind: `masks`, `boxes` or `intervals`.
        frames: Of the references; None for intervals, which hold for the videos' frames.
        sights_in: The sights, for the frames that are evaluated.
        looks: What is said of each lesion, by column.
        mask_paths: Of masks: the file of each frame.
        image_ids: Of COCO: each frame's place by the file's own number.
        is_timed: Whether the times of `frames` are known, and not only their order.
    """

    source: Path
    kind: str
    frames: Frames | None
    sights_in: Callable[[Frames], Sights]
    looks: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    mask_paths: tuple[Path, ...] = ()
    image_ids: Mapping[int, int] = field(default_factory=dict)
    is_timed: bool = True

    @property
    def is_located(self) -> bool:
        """Whether a lesion's place is known."""
        return self.kind != "intervals"


class Gathered:
    """Collects sights lesion by lesion, in any order."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._owners: list[int] = []
        self._places = array("q")  # of frame and lesion, in turn
        self._values = array("d")  # of box and area

    def add(
        self, frame: int, owner: int, lesion: str, box: tuple[float, ...] = NO_BOX, percent: float = np.nan
    ) -> None:
        """Add a sight.

        Raises:
            ScoreError: The lesion was seen in another procedure.
        """
        number = self._numbers.setdefault(lesion, len(self._numbers))
        if number == len(self._owners):
            self._owners.append(owner)
        elif self._owners[number] != owner:
            raise ScoreError(f"lesion {lesion}: in two procedures; expected a name of its own for each lesion")
        self._places.extend((frame, number))
        self._values.extend((*box, percent))

    def sights(self) -> Sights:
        """All of them, by frame.

        Raises:
            ScoreError: A lesion is in one frame twice.
        """
        places = np.array(self._places, np.int64).reshape(-1, 2)
        values = np.array(self._values, np.float64).reshape(-1, 5)
        order = np.lexsort([places[:, 1], places[:, 0]])
        frame, lesion = places[order].T
        twice = np.flatnonzero((np.diff(frame) == 0) & (np.diff(lesion) == 0))
        if twice.size:
            name = list(self._numbers)[lesion[twice[0]]]
            raise ScoreError(
                f"lesion {name}: in {twice.size:,} frames twice; expected one box, or one interval, of a lesion in a "
                "frame: merge them"
            )
        owners = np.array(self._owners, np.int64)
        return Sights(tuple(self._numbers), owners, frame, lesion, values[order, :4], values[order, 4])


def open_references(path: Path, rate: float | None = None) -> References:
    """The references, in whichever of the three forms they are.

    Args:
        path: A folder, a .json or a .csv file.
        rate: Frames a second, where the references do not tell.

    Raises:
        ScoreError: They cannot be understood.
        UsageError: Times are not known and no rate is given.
    """
    if path.is_dir():
        return _masks(path, rate)
    if not path.exists():
        raise ScoreError(f"{path}: no such references; expected a folder of masks, COCO (.json) or intervals (.csv)")
    from polypseg.evaluate.procedures import coco_references, interval_references

    if path.suffix.lower() == ".json":
        return coco_references.boxes(path, rate)
    if path.suffix.lower() == ".csv":
        return interval_references.intervals(path, rate)
    raise ScoreError(f"{path}: expected a folder of masks, COCO (.json) or intervals (.csv)")


def procedure_folders(folder: Path) -> dict[str, list[Path]]:
    """The images of each folder in a folder, in natural order; of the folder itself where it holds images alone.

    Raises:
        ScoreError: No image anywhere.
    """
    found = {}
    for one in sorted((entry for entry in folder.iterdir() if entry.is_dir()), key=lambda entry: natural(entry.name)):
        images = sorted((file for file in one.iterdir() if is_image_file(file)), key=lambda file: natural(file.stem))
        if images:
            found[one.name] = images
    if not found:
        images = sorted((file for file in folder.iterdir() if is_image_file(file)), key=lambda file: natural(file.stem))
        found = {folder.name: images} if images else {}
    return found


def _masks(folder: Path, rate: float | None) -> References:
    files = procedure_folders(folder)
    if not files:
        raise ScoreError(f"{folder}: no masks; expected FOLDER/PROCEDURE/FRAME.png")
    frames = frames_from({name: [file.stem for file in own] for name, own in files.items()}, None, rate or 1.0)
    paths = tuple(file for own in files.values() for file in own)
    warn_of_further_pictures(paths)

    def sights_in(evaluated: Frames) -> Sights:
        gathered = Gathered()
        for place, path in enumerate(paths):
            owner = int(frames.procedure[place])
            name = frames.names[owner]
            there = evaluated.places.get((name, frames.keys[place]))
            for level, box, percent in level_boxes(read_levels(path)) if there is not None else ():
                gathered.add(there or 0, evaluated.names.index(name), lesion_name(name, level), box, percent)
        return gathered.sights()

    return References(folder, "masks", frames, sights_in, mask_paths=paths, is_timed=rate is not None)
