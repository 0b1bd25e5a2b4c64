"""A calibration (`polypseg calibrate -o NAME.json`): which outer and inner masks hold which risk, for which model.

Decisions:
- What is promised holds for the model, threshold and field that it was measured with, and for them alone: they stand in
  the file, and a call with others is refused.
- The calibration frames are known by their digests, so that nobody scores a promise on what made it.
- The statistics of the calibration frames stay in the file, frame by frame: new frames are compared with them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from polypseg.errors import ModelError
from polypseg.records.atomic import write_text
from polypseg.records.reading import FileKind, Saved, read_json

KIND = FileKind("calibration", ModelError, "make one with: polypseg calibrate MODEL --data DIR -o NAME.json")

Family = Literal["threshold", "dilation"]
Side = Literal["outer", "inner"]

CONDITIONS = ("threshold", "peak_threshold", "field", "tta", "min_area_px", "recalibration")
"""What of a prediction a calibration depends on, besides the model."""


class Bound(Saved):
    """How one of the two masks is made, and what it holds.

    Attributes:
        family: `threshold`: the mask at another threshold; `dilation`: the mask, grown or shrunk by a margin.
        value: The threshold, or the margin in square roots of the mask's area.
        risk: Mean loss over the units of the calibration frames at this value.
        stretch: Its area over that of the mask, mean over the calibration frames with a mask.
    """

    family: Family
    value: float = Field(ge=0)
    risk: float = Field(ge=0, le=1)
    stretch: float = Field(ge=0)


class Calibration(Saved):
    """What a calibration file holds.

    Attributes:
        level: The share of pixels that may be missed by the outer mask, or be no polyp in the inner one.
        confidence: How sure it is that the share holds; None: it holds on average.
        outer: The mask that misses at most that share of a polyp's pixels; None where it was not asked for.
        inner: The mask of which at most that share is no polyp; None where it was not asked for.
        model: Name.
        model_sha256: Digest of its file.
        threshold: Of the mask, as the next five of `CONDITIONS`.
        peak_threshold: Of a component.
        field: What of a frame the model saw.
        tta: Test-time augmentation.
        min_area_px: Smaller components were left out.
        recalibration: Digest of the recalibration of the probabilities; empty without one.
        num_units: Groups of frames that count once (sequences, patients, single frames).
        frame_sha256: Digest of each calibration frame's file.
        units: To which unit each of them belongs, from 0.
        statistics: By name the value of each of them (`predict.drift`).
        data: Where the frames were, in words.
        time: When.
        exported_by: Version of polypseg.
    """

    level: float = Field(gt=0, lt=1)
    confidence: float | None = Field(None, gt=0, lt=1)
    outer: Bound | None = None
    inner: Bound | None = None
    model: str = ""
    model_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    threshold: float = Field(ge=0, le=1)
    peak_threshold: float = Field(0.0, ge=0, le=1)
    field: Literal["auto", "whole"] = "whole"
    tta: str = "none"
    min_area_px: int = Field(0, ge=0)
    recalibration: str = ""
    num_units: int = Field(ge=1)
    frame_sha256: tuple[str, ...] = Field(strict=False)
    units: tuple[int, ...] = Field(strict=False)
    statistics: dict[str, tuple[float, ...]]
    data: str = ""
    time: str = ""
    exported_by: str = ""

    @model_validator(mode="after")
    def _is_whole(self) -> "Calibration":
        if self.outer is None and self.inner is None:
            raise ValueError("neither an outer nor an inner mask")
        counts = {len(self.frame_sha256), len(self.units), *map(len, self.statistics.values())}
        if len(counts) != 1 or not self.units:
            raise ValueError(f"{sorted(counts)} values of the calibration frames; expected one of each")
        if set(self.units) != set(range(self.num_units)):
            raise ValueError(f"the units of the frames are not 0 to {self.num_units - 1}")
        return self

    @property
    def promise(self) -> str:
        """What it says, in words."""
        share = f"{100 * self.level:g} %"
        parts = [f"the outer mask misses at most {share} of a polyp's pixels"] if self.outer else []
        parts += [f"at most {share} of the inner mask is no polyp"] if self.inner else []
        how = "on average" if self.confidence is None else f"with a confidence of {100 * self.confidence:g} %"
        return f"{'; '.join(parts)}, {how} over new frames of the same kind"

    def refuse_other(self, source: Path | str, model_sha256: str, conditions: Mapping[str, object]) -> None:
        """Nothing, if it was made for that model and these conditions.

        Args:
            source: The file, for the message.
            model_sha256: Of the model in use.
            conditions: Value by name of `CONDITIONS`.

        Raises:
            ModelError: It was not.
        """
        again = "calibrate again with: polypseg calibrate MODEL --data DIR"
        if model_sha256 != self.model_sha256:
            raise ModelError(
                f"{source}: made for another model ({self.model or 'unnamed'}, digest {self.model_sha256[:12]}), and "
                f"this one's digest is {model_sha256[:12]}; {again}"
            )
        other = self.other_conditions(conditions)
        if other:
            raise ModelError(f"{source}: made with other settings: {', '.join(other)}; predict with those, or {again}")

    def other_conditions(self, conditions: Mapping[str, object]) -> list[str]:
        """In which of the conditions it was made otherwise, in words; empty where it fits.

        Args:
            conditions: Value by name of `CONDITIONS`.
        """
        return [
            f"{name} {_shown(getattr(self, name))} (now {_shown(conditions[name])})"
            for name in CONDITIONS
            if conditions[name] != getattr(self, name)
        ]


def _shown(value: object) -> object:
    return "none" if value == "" else value


def load_calibration(path: Path) -> Calibration:
    """The calibration of a file.

    Raises:
        ModelError: It cannot be read, or is damaged.
    """
    return read_json(path, Calibration, KIND)


def save_calibration(path: Path, calibration: Calibration) -> None:
    """Write a calibration in one step; its folder exists."""
    write_text(path, calibration.model_dump_json(indent=1) + "\n")
