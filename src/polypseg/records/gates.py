"""gates.json: whether a run's attention gates work, measured on its validation frames at the end of the training."""

import json
from pathlib import Path

from pydantic import Field

from polypseg.errors import RunError
from polypseg.records.atomic import write_text
from polypseg.records.reading import FileKind, Saved, read_json

NAME = "gates.json"
KIND = FileKind("record of gates", RunError, "remove it; polypseg train --name NAME --resume measures them again")
ALIVE_MEAN = (0.05, 0.95)
"""A gate whose mean lies outside is (almost) closed or open everywhere."""
ALIVE_SPREAD = 0.05
"""A gate that spreads less is the same everywhere: it tells no place from another."""


class GateFigures(Saved):
    """One gate over all frames.

    Attributes:
        level: 1 is the finest gate.
        mean: Of its coefficients.
        spread: The standard deviation of the coefficients over the pixels of a frame, mean over the frames.
        dice_lost: Mean Dice as it is, less the mean Dice with all coefficients of this gate set to `mean`; None
            without a frame with a polyp. Below 0 the model is better without the gate.
    """

    level: int = Field(ge=1)
    mean: float = Field(ge=0, le=1)
    spread: float = Field(ge=0, le=1)
    dice_lost: float | None = None

    @property
    def fault(self) -> str:
        """Why the gate is as good as none, in words; empty for a gate that works.

        >>> GateFigures(level=3, mean=0.5, spread=0.004).fault
        'its coefficients spread by 0.004 within a frame, expected at least 0.05'
        """
        low, high = ALIVE_MEAN
        if not low <= self.mean <= high:
            return f"the mean of its coefficients is {self.mean:.3f}, expected {low:g} to {high:g}"
        if self.spread < ALIVE_SPREAD:
            return f"its coefficients spread by {self.spread:.3f} within a frame, expected at least {ALIVE_SPREAD:g}"
        return ""


class GatesRecord(Saved):
    """The gates of a model.

    Attributes:
        gates: One each, the finest first.
        num_frames: How many frames they were measured on.
        num_polyp_frames: How many of them show a polyp; Dice is a mean over these.
        dice: Mean Dice as it is; None without a frame with a polyp.
        threshold: At which masks were cut.
        peak_threshold: As of `Threshold`.
        measured_on: Of which split the frames are.
        model_digest: Of the model file; empty where it is in no file.
        time: When.
    """

    gates: tuple[GateFigures, ...]
    num_frames: int = Field(ge=0)
    num_polyp_frames: int = Field(ge=0)
    dice: float | None = None
    threshold: float = Field(ge=0, le=1)
    peak_threshold: float = Field(0.0, ge=0, le=1)
    measured_on: str = ""
    model_digest: str = ""
    time: str = ""

    def warnings(self) -> list[str]:
        """A line for each gate that is as good as none.

        >>> gates = (GateFigures(level=1, mean=0.009, spread=0.01), GateFigures(level=2, mean=0.4, spread=0.2))
        >>> GatesRecord(gates=gates, num_frames=9, num_polyp_frames=9, threshold=0.5).warnings()
        ['gate 1 does not work: the mean of its coefficients is 0.009, expected 0.05 to 0.95']
        """
        return [f"gate {gate.level} does not work: {gate.fault}" for gate in self.gates if gate.fault]


def load_gates(run_folder: Path) -> GatesRecord | None:
    """The gates of a run; None where they were not measured, or it has none.

    Raises:
        RunError: The file is damaged.
    """
    path = run_folder / NAME
    return read_json(path, GatesRecord, KIND) if path.exists() else None


def save_gates(run_folder: Path, record: GatesRecord) -> None:
    """Write the gates into a run."""
    write_text(run_folder / NAME, json.dumps(record.model_dump(mode="json"), indent=1))
