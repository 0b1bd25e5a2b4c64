"""The two COCO files of `--protocol true-colon` in columns: read record by record, joined as its package does.

Decisions:
- Frames are named by the file's name without folders and ending (`stem`), or by its prefix and number
  (`stem_int_suffix`, for REAL-Colon). Two frames of one name stop the work, as they do there.
- Integer image ids of predictions are those of the references; texts are file names. At most 100 detections a frame.
- A prediction without a frame is left out, and fewer than 95 % with one stop the work. Boxes of an image that is not
  there are left out. Both are counted.
- What the package cannot read (a box of three numbers, a score that is not finite) is one error in one line.
"""

import re
from array import array
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from polypseg.errors import PolypsegError, ScoreError
from polypseg.evaluate.procedures.coco_references import COCO
from polypseg.evaluate.procedures.findings import RESULTS
from polypseg.metrics.procedures.tables import Flags, Numbers, Places
from polypseg.metrics.procedures.true_colon import Boxes

MOST_DETECTIONS, LEAST_MATCHED, LESION_KEY = 100, 0.95, "unique_id"

NOWHERE = -1
"""The place of what belongs to no frame."""


class Rule(NamedTuple):
    """How a frame is named, and how its number is read from the name; None where that cannot be done."""

    name: Callable[[str], str | None]
    number: Callable[[str], int | None]


class Marks(NamedTuple):
    """Detections that have a frame, in the package's order: the highest score first.

    Attributes:
        boxes: With their frames.
        scores: Shape (N,).
        num_left_out: Predictions that name no frame.
    """

    boxes: Boxes
    scores: Numbers
    num_left_out: int


class Truth:
    """Gathers images and boxes of the references.

    Args:
        source: For messages.
        rule: How frames are named.
    """

    def __init__(self, source: Path | str, rule: Rule) -> None:
        self._source, self._rule = source, rule
        self.places: dict[str, int] = {}
        self._numbers: dict[Any, int] = {}  # of image ids, in the order in which they are met
        self._place_of = array("q")  # by that number
        self._box_images, self._values = array("q"), array("d")
        self._lesions: list[str | None] = []
        self._names: dict[str, str] = {}

    def add_image(self, image: Any) -> None:
        """Add an image.

        Raises:
            ScoreError: It has no id or name, its id is there twice, or its frame is.
        """
        told = image if isinstance(image, dict) else {}
        number, file_name = told.get("id"), told.get("file_name")
        if not isinstance(number, int | str) or not isinstance(file_name, str):
            raise COCO.damaged(self._source, "an image without id or file_name")
        key = self._rule.name(file_name)
        if key is None:
            raise ScoreError(f"file_name {file_name!r}: the rule of names does not fit; try the other one")
        if key in self.places:
            raise ScoreError(f"two frames are named {key}: the protocol drops folders and endings; rename the files")
        known = self._number(number)
        if self._place_of[known] != NOWHERE:
            raise COCO.damaged(self._source, f"the image id {number} is there twice")
        self._place_of[known] = self.places[key] = len(self.places)

    def add_annotation(self, annotation: Any) -> None:
        """Add a box; one without is none, as in the package.

        Raises:
            ScoreError: It is no annotation, or its box has not four numbers.
        """
        if not isinstance(annotation, dict):
            raise COCO.damaged(self._source, "an annotation that is no object")
        box, image = annotation.get("bbox"), annotation.get("image_id")
        if not isinstance(box, list):
            return
        values = [as_number(value) for value in box]
        if len(values) != 4 or not np.isfinite(values).all():
            raise COCO.damaged(self._source, f"annotation {annotation.get('id')} has no bbox of four numbers")
        lesion = annotation.get(LESION_KEY)
        self._box_images.append(self._number(image if isinstance(image, int | str) else None))
        self._values.extend(values)
        self._lesions.append(self._names.setdefault(lesion, lesion) if isinstance(lesion, str) else None)

    def place(self, image_id: Any) -> int:
        """The frame of an image id, `NOWHERE` where there is none."""
        number = self._numbers.get(image_id)
        return NOWHERE if number is None else self._place_of[number]

    def boxes(self) -> tuple[Boxes, list[str | None], int]:
        """The boxes sorted by frame, in each in the file's order; the lesion of each; the number without a frame."""
        frame = np.array(self._place_of, np.int64)[np.array(self._box_images, np.int64)]
        order = np.argsort(frame, kind="stable")
        order = order[frame[order] != NOWHERE]
        values = np.array(self._values, np.float64).reshape(-1, 4)
        lesions = [self._lesions[place] for place in order.tolist()]
        return Boxes(frame[order], values[order]), lesions, len(frame) - len(order)

    def _number(self, image_id: Any) -> int:
        number = self._numbers.setdefault(image_id, len(self._numbers))
        if number == len(self._place_of):
            self._place_of.append(NOWHERE)
        return number


class Found:
    """Gathers predictions.

    Args:
        source: For messages.
        rule: How frames are named.
        truth: The references, complete.
    """

    def __init__(self, source: Path | str, rule: Rule, truth: Truth) -> None:
        self._source, self._rule, self._truth = source, rule, truth
        self._groups: dict[Any, int] = {}
        self._group, self._by_id, self._by_name = array("q"), array("q"), array("q")
        self._is_number, self._has_box = array("b"), array("b")
        self._values = array("d")  # score and box, in turn

    def add(self, found: Any) -> None:
        """Add a prediction; one without a score that is a number is none, as in the package.

        Raises:
            ScoreError: A score or a box that is not finite.
        """
        if not isinstance(found, dict):
            return
        name, box = found.get("image_id"), found.get("bbox")
        name = name if isinstance(name, int | str | float) else None
        try:
            score = float(found.get("score", 0.0))
        except (TypeError, ValueError):
            return
        numbers = [as_number(value) for value in box] if isinstance(box, list) and len(box) == 4 else []
        values = numbers or [0.0] * 4
        if not np.isfinite([score, *values]).all():
            raise self._damaged("a score or a box that is not finite")
        text = name if isinstance(name, str) else found.get("file_name")
        key = self._rule.name(text) if isinstance(text, str) else None
        self._group.append(self._groups.setdefault(name, len(self._groups)))
        self._by_id.append(self._truth.place(name))
        self._by_name.append(NOWHERE if key is None else self._truth.places.get(key, NOWHERE))
        self._is_number.append(isinstance(name, int))
        self._has_box.append(bool(numbers))
        self._values.extend((score, *values))

    def marks(self) -> Marks:
        """The detections.

        Raises:
            ScoreError: Too few belong to a frame.
        """
        values = np.array(self._values, np.float64).reshape(-1, 5)
        score, box = values[:, 0], values[:, 1:]
        top = _top(np.array(self._group, np.int64), score)
        has_numbers = bool(np.array(self._is_number, bool)[top].any())
        place = np.array(self._by_id if has_numbers else self._by_name, np.int64)
        num_top, is_known = int(np.count_nonzero(top)), top & (place != NOWHERE)
        num_known = int(np.count_nonzero(is_known))
        if num_top and num_known / num_top < LEAST_MATCHED:
            raise ScoreError(
                f"only {num_known:,} of {num_top:,} predictions name a frame of the references; expected their ids or "
                "file names"
            )
        chosen = np.flatnonzero(is_known & np.array(self._has_box, bool))
        score, box, place = score[chosen], box[chosen], place[chosen]
        order = np.lexsort([*box.T[::-1], _ranks(self._truth.places)[place], -score])
        return Marks(Boxes(place[order], box[order]), score[order], num_top - num_known)

    def _damaged(self, reason: str) -> PolypsegError:
        return RESULTS.damaged(self._source, reason)


def as_number(value: Any) -> float:
    """The value as a number; 0 for what is none, as in the package.

    >>> as_number("2.5"), as_number(None)
    (2.5, 0.0)
    """
    try:
        return float(value)
    except (TypeError, ValueError):
        return 0.0


def _top(group: Places, score: Numbers) -> Flags:
    """The 100 highest of each group, the earlier first where scores are equal."""
    order = np.lexsort([np.arange(len(group)), -score, group])
    opens = np.flatnonzero(np.diff(group[order], prepend=-1))
    rank = np.arange(len(group)) - np.repeat(opens, np.diff(opens, append=len(group)))
    kept = np.zeros(len(group), bool)
    kept[order[rank < MOST_DETECTIONS]] = True
    return kept


def _ranks(places: Mapping[str, int]) -> Places:
    """By place, where the frame comes when the names, in quotes, are sorted: so the package parts equal scores."""
    ranks = np.zeros(len(places), np.int64)
    ranks[[places[key] for key in sorted(places, key=repr)]] = np.arange(len(places))
    return ranks


def _stem(text: str) -> str | None:
    return Path(text).stem if text else None


def _stem_number(text: str) -> str | None:
    stem = _stem(text)
    if stem is None or "_" not in stem:
        return None
    prefix, suffix = stem.rsplit("_", 1)
    try:
        return f"{prefix}_{int(suffix)}"
    except ValueError:
        return None


def _last_digits(key: str) -> int | None:
    match = re.search(r"\d+$", key)
    return int(match[0]) if match else None


def _after_line(key: str) -> int | None:
    try:
        return int(key.rsplit("_", 1)[1])
    except (ValueError, IndexError):
        return None


RULES: Mapping[str, Rule] = {
    "stem": Rule(_stem, _last_digits),
    "stem_int_suffix": Rule(_stem_number, _after_line),
}
"""By name."""
