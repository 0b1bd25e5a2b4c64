"""explanation.json: how faithful the pictures are that are shown as a model's reasons."""

import json
from pathlib import Path

from pydantic import Field

from polypseg.errors import ModelError
from polypseg.records.atomic import write_text
from polypseg.records.reading import FileKind, Saved, read_json

NAME = "explanation.json"
FOLDER = "explanation"
"""Where a report looks for it: in the run's folder, or in that of the scores."""
KIND = FileKind("record of explanations", ModelError, "make it again with: polypseg explain MODEL --data DIR -o FOLDER")


class MapFigures(Saved):
    """One kind of map over all frames; each figure is a mean.

    Attributes:
        name: `gate 1` (the finest), …, `gradient`, `probability`, `random`.
        auroc: How well the map ranks the polyp's pixels above the others; 0.5 says nothing.
        energy_inside: Share of the map's sum that lies in the polyp.
        deletion: What is left of the model's answer while the map's highest pixels are blurred away; lower is better.
        insertion: What comes back of it while they are restored to a blurred frame; higher is better.
        randomised: Rank correlation with the map of the same network with random weights; near 0 is good: None where
            the model file cannot be changed.
        dice_lost: What the Dice loses where the gate is held at its mean; None for other maps, or as above.
    """

    name: str
    auroc: float = Field(ge=0, le=1)
    energy_inside: float = Field(ge=0, le=1)
    deletion: float
    insertion: float
    randomised: float | None = None
    dice_lost: float | None = None


class Explanation(Saved):
    """What `polypseg explain` measured.

    Attributes:
        maps: One each.
        num_frames: With a polyp and a mask, over which all figures are means.
        polyp_share: Area of the polyps over that of the frames: the energy of a map that says nothing.
        num_steps: Of deletion and insertion.
        model: Name.
        model_sha256: Digest of its file.
        frame_sha256: Of each frame's file.
        time: When.
    """

    maps: tuple[MapFigures, ...] = Field(strict=False)
    num_frames: int = Field(ge=1)
    polyp_share: float = Field(ge=0, le=1)
    num_steps: int = Field(ge=1)
    model: str = ""
    model_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    frame_sha256: tuple[str, ...] = Field((), strict=False)
    time: str = ""


def load_explanation(folder: Path) -> Explanation:
    """The record of a folder.

    Raises:
        ModelError: It cannot be read, or is damaged.
    """
    return read_json(folder / NAME, Explanation, KIND)


def save_explanation(folder: Path, record: Explanation) -> Path:
    """The path of the record, once it is written; its folder exists."""
    write_text(folder / NAME, json.dumps(record.model_dump(mode="json"), indent=1) + "\n")
    return folder / NAME
