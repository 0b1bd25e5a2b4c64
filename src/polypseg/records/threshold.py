"""threshold.json: the thresholds of a run, and on which images they were chosen.

The file calls the peak threshold `seed_threshold`, as polypseg 0.1 did.
"""

import json
import math
from pathlib import Path

from pydantic import Field

from polypseg.errors import ModelError
from polypseg.records.atomic import write_text
from polypseg.records.model_facts import DEFAULT_THRESHOLD
from polypseg.records.reading import FileKind, Saved, read_json

NAME = "threshold.json"
KIND = FileKind("stored threshold", ModelError, "choose it again with: polypseg evaluate RUN --tune-threshold")


class Threshold(Saved):
    """What was chosen, on what, and how well it does there.

    Attributes:
        threshold: The probability from which on a pixel is polyp.
        peak_threshold: What one pixel of a component must reach; 0 where none is asked for.
        dice: Mean Dice at the threshold over the images with a polyp, each in all of its perturbations; NaN where
            unknown, as the next two.
        dice_at_half: The same at 0.5.
        dice_with_peak: Mean Dice at both.
        num_frames: Over how many; each perturbation of an image counts.
        chosen_on: `validation` or `out-of-fold`; empty where nothing was chosen on images.
        chosen_by: How the threshold was, in words.
        peak_chosen_by: How the peak threshold was.
        perturbations: The ways in which the images were changed.
        tta: Test-time augmentation in use.
        data_digest: Of what it was chosen on.
        model_digest: Of the model that it was chosen for; None where unknown.
        time: When.
    """

    threshold: float = Field(ge=0, le=1)
    peak_threshold: float = Field(0.0, ge=0, le=1, alias="seed_threshold")
    dice: float = math.nan
    dice_at_half: float = math.nan
    dice_with_peak: float = Field(math.nan, alias="dice_with_seed")
    num_frames: int = 0
    chosen_on: str = "validation"
    chosen_by: str = ""
    peak_chosen_by: str = Field("", alias="seed_chosen_by")
    perturbations: tuple[str, ...] = ()
    tta: str = "none"
    data_digest: str = ""
    model_digest: str | None = None
    time: str = ""

    @property
    def words(self) -> str:
        """On which images it was chosen; `default` where it was not."""
        if not self.chosen_on:
            return self.chosen_by or "default"
        where = "out of fold" if self.chosen_on == "out-of-fold" else f"on the {self.chosen_on} split"
        return f"chosen {where}{', in perturbations too' if len(self.perturbations) > 1 else ''}"

    @property
    def source(self) -> str:
        """The words, and the file's name where it comes from one."""
        return f"{self.words} ({NAME})" if self.chosen_on else self.words

    def is_for(self, model_digest: str) -> bool:
        """Whether it was chosen for this model, as far as is known."""
        return self.model_digest in (None, model_digest)


DEFAULT = Threshold(threshold=DEFAULT_THRESHOLD, chosen_on="")


def load_threshold(run_folder: Path) -> Threshold:
    """The thresholds of a run; `DEFAULT` where none were chosen.

    Raises:
        ModelError: The file is damaged.
    """
    path = run_folder / NAME
    return read_json(path, Threshold, KIND) if path.exists() else DEFAULT


def save_threshold(run_folder: Path, chosen: Threshold) -> None:
    """Write the thresholds into a run, where every engine finds them."""
    write_text(run_folder / NAME, json.dumps(chosen.model_dump(mode="json", by_alias=True), indent=1))
