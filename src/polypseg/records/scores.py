"""scores.csv: its columns, its rows, and the table that is read from it.

Decisions:
- First who the image is (texts), then its areas, then the columns of `metrics.table`, then what a run adds.
- Numbers are written with all their digits, so that a file read again, or an evaluation continued, is the same
  to the last bit. An undefined value is `nan`, an unknown text is empty.
- A row with a `fault` is an image that could not be scored and was left out on purpose; all its numbers are NaN.
"""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from polypseg.errors import ScoreError
from polypseg.metrics.table import columns_of
from polypseg.records.reading import FileKind, read_text

Row = dict[str, str | float]


@dataclass(frozen=True)
class TextColumns:
    """The columns of texts, N values each, empty where unknown.

    Attributes:
        name: Of the image.
        split: train, validation, test or external.
        group: Sequence or patient.
        centre: The hospital.
        source: Which of a run's folders of data.
        reference_digest: SHA-256 of the reference's pixels, the first 16 digits.
        resized_from: Height x width of a prediction that was resized.
        fault: Why the image could not be scored.
    """

    name: Sequence[str]
    split: Sequence[str]
    group: Sequence[str]
    centre: Sequence[str]
    source: Sequence[str]
    reference_digest: Sequence[str]
    resized_from: Sequence[str]
    fault: Sequence[str]

    def take(self, places: Sequence[int]) -> "TextColumns":
        """The rows at these places, in their order."""
        columns = (getattr(self, column) for column in TEXT_COLUMNS)
        return TextColumns(*([column[place] for place in places] for column in columns))


TEXT_COLUMNS = tuple(column.name for column in fields(TextColumns))
"""In the order of the file."""

KIND = FileKind("table of scores", ScoreError, "evaluate again")

AREA_COLUMNS = ("reference_px", "predicted_px")
"""Pixels of the polyp in the reference, and predicted."""

MODEL_SIZE_COLUMNS = ("loss", "model_size_dice", "model_size_iou")
"""At the model's own size, as Keras' `model.evaluate` sees the image: an empty pair counts as 1; NaN without one."""

NESTED_LOSSES = {"outer": "outer_missed", "inner": "inner_false"}
"""By the mask of a calibration: the share of the polyp that the outer misses; the share of the inner that is false."""

NESTED_COLUMNS = ("outer_missed", "outer_px", "inner_false", "inner_px")
"""Of outer and inner masks, and their areas; NaN without a calibration."""

NUMBER_COLUMNS = (*AREA_COLUMNS, *columns_of(), *MODEL_SIZE_COLUMNS, *NESTED_COLUMNS)
COLUMNS = (*TEXT_COLUMNS, *NUMBER_COLUMNS)


@dataclass(frozen=True)
class Scores:
    """The rows of a scores.csv, column by column.

    Attributes:
        text: The columns of texts.
        values: Each column of numbers, shape (N,), float64; NaN where undefined.
    """

    text: TextColumns
    values: Mapping[str, NDArray[np.float64]]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def names(self) -> Sequence[str]:
        """The N names."""
        return self.text.name

    @property
    def splits(self) -> Sequence[str]:
        """Of each image: train, validation, test or external."""
        return self.text.split

    @property
    def sources(self) -> Sequence[str]:
        """Which of a run's folders of data each image is from; empty where there is one."""
        return self.text.source

    @property
    def faults(self) -> Sequence[str]:
        """Why each image could not be scored; empty where it was."""
        return self.text.fault

    @property
    def num_resized(self) -> int:
        """How many predictions were resized to their reference's size."""
        return sum(1 for size in self.text.resized_from if size)

    @property
    def dice(self) -> NDArray[np.float64]:
        """Shape (N,)."""
        return self.values["dice"]

    @property
    def reference_px(self) -> NDArray[np.float64]:
        """Shape (N,): the pixels of the polyp in each reference."""
        return self.values["reference_px"]

    @property
    def predicted_px(self) -> NDArray[np.float64]:
        """Shape (N,): the pixels that were predicted."""
        return self.values["predicted_px"]

    @property
    def num_pixels(self) -> NDArray[np.float64]:
        """Shape (N,): the pixels of each image."""
        return self.values["height_px"] * self.values["width_px"]

    @property
    def polyp_percent(self) -> NDArray[np.float64]:
        """Shape (N,): the share of each image that is polyp, in %."""
        return np.asarray(100 * self.reference_px / self.num_pixels)

    @property
    def predicted_percent(self) -> NDArray[np.float64]:
        """Shape (N,): the share of each image that was predicted, in %."""
        return np.asarray(100 * self.predicted_px / self.num_pixels)

    @property
    def is_scored(self) -> NDArray[np.bool_]:
        """Shape (N,): False for images that were left out with a fault."""
        return np.array([not fault for fault in self.faults], bool)

    @property
    def has_polyp(self) -> NDArray[np.bool_]:
        """Shape (N,): the images with a polyp, over which scores are averaged."""
        return np.asarray(self.reference_px > 0)

    @property
    def is_polyp_free(self) -> NDArray[np.bool_]:
        """Shape (N,): the images without a polyp, which are reported apart."""
        return np.asarray(self.reference_px == 0)

    def groups(self) -> list[str] | None:
        """The group of each image, an image without one being its own; None where no image has a group."""
        given = self.text.group
        if not any(given):
            return None
        return [f"group {group}" if group else f"image {name}" for group, name in zip(given, self.names, strict=True)]

    def select(self, chosen: NDArray[np.bool_]) -> "Scores":
        """The rows where `chosen`, shape (N,), is True."""
        return self.take(np.flatnonzero(chosen).tolist())

    def take(self, places: Sequence[int]) -> "Scores":
        """The rows at these places, in their order."""
        rows = np.array(places, np.int64)
        return Scores(self.text.take(places), {key: column[rows] for key, column in self.values.items()})


def header() -> str:
    """The first line of a scores.csv."""
    return _line(COLUMNS)


def format_row(row: Mapping[str, str | float]) -> str:
    """The line of one image; what the row lacks is `nan`, or empty in a column of texts."""
    missing = dict.fromkeys(TEXT_COLUMNS, "") | dict.fromkeys(NUMBER_COLUMNS, math.nan)
    return _line([_cell(value) for value in {**missing, **row}.values()])


def read_scores(path: Path) -> Scores:
    """The table of a scores.csv.

    Columns that a newer or older polypseg wrote are kept as numbers where they are numbers.

    Raises:
        ScoreError: No such file, or not one that polypseg wrote.
    """
    written = read_text(path, KIND)
    try:
        rows = list(csv.DictReader(io.StringIO(written, newline="")))
    except csv.Error as error:
        raise KIND.damaged(path, error) from error
    needed = {"name", "reference_digest", "reference_px", "dice"}
    if not rows or not needed <= rows[0].keys():
        lacking = sorted(needed - (rows[0].keys() if rows else set()))
        raise ScoreError(f"{path}: not a scores.csv of polypseg evaluate; it lacks {', '.join(lacking) or 'rows'}")
    text = TextColumns(*([row.get(key) or "" for row in rows] for key in TEXT_COLUMNS))
    try:
        numbers = [key for key in rows[0] if key not in TEXT_COLUMNS]
        values = {key: np.array([float(row[key]) for row in rows]) for key in numbers}
    except (TypeError, ValueError) as error:
        raise ScoreError(f"{path}: a row is damaged ({error}); score again with: polypseg evaluate") from error
    return Scores(text, values)


def _cell(value: str | float) -> str:
    if isinstance(value, str):
        return value
    return str(int(value)) if isinstance(value, int | np.integer) else repr(float(value))


def _line(cells: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()
