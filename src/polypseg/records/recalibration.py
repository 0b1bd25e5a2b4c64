"""recalibration.json: what a model's probabilities are turned into, so that 0.8 is right in 8 of 10 cases.

Decisions:
- A rising piecewise-linear function with 257 nodes at 0, 1/256, …, 1, whatever method found it: one way to apply it,
  0 stays 0 and 1 stays 1, and no two probabilities change places.
- The thresholds go through the same function, so that the masks stay what they were.
- It belongs to one model, which it names by its digest.
"""

import hashlib
import json
from pathlib import Path
from typing import Literal, overload

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from polypseg.errors import ModelError
from polypseg.records.reading import FileKind, Saved, read_json

NAME = "recalibration.json"
KIND = FileKind("recalibration", ModelError, "make it again with: polypseg recalibrate MODEL, or remove it")
NUM_LEVELS = 257
GRID = np.linspace(0, 1, NUM_LEVELS)

Method = Literal["temperature", "isotonic"]


class BandFigures(Saved):
    """How reliable probabilities are in the bands around the polyps of some frames.

    Attributes:
        data: Which frames, in words.
        num_frames: With a polyp.
        error_before: Expected calibration error in the band, of the model's own probabilities.
        error_after: Of the recalibrated ones.
        brier_before: Brier score in the band, as above.
        brier_after: Of the recalibrated ones.
        whole_before: Expected calibration error over all pixels of these frames.
        whole_after: Of the recalibrated ones.
    """

    data: str
    num_frames: int = Field(ge=1)
    error_before: float
    error_after: float
    brier_before: float
    brier_after: float
    whole_before: float
    whole_after: float


class Recalibration(Saved):
    """What a recalibration holds.

    Attributes:
        method: What found it.
        levels: Values at 0, 1/256, …, 1, rising from 0 to 1.
        temperature: Of the method `temperature`; None for another.
        margin: Half the width of the band, in square roots of the polyp's area.
        fitted: How reliable it is on the frames that it was fitted on, by cross-fitting over their groups.
        model_sha256: Digest of the model that it is of; empty inside a model file, which says so itself.
        frame_sha256: Of the frames that it was fitted on.
        time: When.
    """

    method: Method
    levels: tuple[float, ...] = Field(strict=False, min_length=NUM_LEVELS, max_length=NUM_LEVELS)
    temperature: float | None = None
    margin: float = Field(gt=0)
    fitted: BandFigures | None = None
    model_sha256: str = ""
    frame_sha256: tuple[str, ...] = Field((), strict=False)
    time: str = ""

    @model_validator(mode="after")
    def _rises(self) -> "Recalibration":
        if self.levels[0] != 0 or self.levels[-1] != 1 or min(np.diff(self.levels)) <= 0:
            raise ValueError("the levels do not rise from 0 to 1")
        return self

    @overload
    def apply(self, values: NDArray[np.float32]) -> NDArray[np.float32]: ...

    @overload
    def apply(self, values: float) -> float: ...

    def apply(self, values: NDArray[np.float32] | float) -> NDArray[np.float32] | float:
        """Probabilities, recalibrated: of any shape, in [0, 1]; or one of them.

        One pass of table and slope: a search for the node would take five times as long.
        """
        table = np.asarray(self.levels, np.float32)
        given = np.asarray(values, np.float32)
        place = given * np.float32(NUM_LEVELS - 1)
        node = np.minimum(place.astype(np.uint16), np.uint16(NUM_LEVELS - 2))
        place -= node
        place *= np.diff(table)[node]
        place += table[node]
        return float(place) if np.ndim(values) == 0 else place

    def undo(self, value: float) -> float:
        """The probability that becomes this one.

        >>> halves = tuple((np.linspace(0, 1, 257) ** 2).tolist())
        >>> found = Recalibration(method="isotonic", levels=halves, margin=0.25)
        >>> found.apply(0.5), found.undo(0.25)
        (0.25, 0.5)
        """
        return float(np.interp(value, self.levels, GRID))

    @property
    def digest(self) -> str:
        """Of what it does: the same for two that turn probabilities alike."""
        return hashlib.sha256(json.dumps(self.levels).encode()).hexdigest()[:16]

    @property
    def words(self) -> str:
        """What it is, in a few words."""
        how = "" if self.temperature is None else f" {self.temperature:.3g}"
        return f"{self.method}{how}"


def load_recalibration(run_folder: Path, model_sha256: str) -> Recalibration | None:
    """The recalibration of a run; None without one.

    Args:
        run_folder: Of a run, or of a group of runs.
        model_sha256: Of its model now (`records.digests.model_file_digest`).

    Raises:
        ModelError: The file is damaged, or of an earlier checkpoint.
    """
    path = run_folder / NAME
    if not path.exists():
        return None
    found = read_json(path, Recalibration, KIND)
    if found.model_sha256 not in ("", model_sha256):
        raise ModelError(
            f"{path}: made for an earlier checkpoint (digest {found.model_sha256[:12]}, now {model_sha256[:12]}); make "
            f"it again with: polypseg recalibrate {run_folder}, or remove it"
        )
    return found
