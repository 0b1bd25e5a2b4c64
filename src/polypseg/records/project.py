"""A project: frames of a folder on their way to labels, in a folder of its own.

    project.json    name, where the images are
    masks/          a PNG (0, 255) for each labelled frame; nothing of a frame that is rejected or not yet labelled
    frames.csv      one row per frame: state, labeller, time
    trail.jsonl     who saved what when, from which proposal; the only file from which the state is read
    history/        every mask that was ever saved: NAME/0001.png, …
    proposals/      what models propose; may be deleted
    models/         trained from this project
    models.jsonl    which model was served when
    reference/      a share of what the model knew: train/ is mixed in when it is trained again, test/ compares models

Decisions:
- A save is done when its line is in the trail. Its mask is in history/ before; masks/ and frames.csv follow, and what a
  kill left undone of them is made up for when the project is opened.
- The images stay where they are and as they are; the project tells their folder relative to itself.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import Field

from polypseg.errors import ProjectError
from polypseg.records.atomic import write_text
from polypseg.records.reading import FileKind, Saved, read_json
from polypseg.records.trail import Trail, TrailLine

SavedState = Literal["corrected", "accepted", "no-polyp", "rejected"]
"""What a person says of a frame."""

FrameState = Literal["new", "proposed", "corrected", "accepted", "no-polyp", "rejected"]

LABELLED_STATES: tuple[SavedState, ...] = ("corrected", "accepted", "no-polyp")
"""A frame in one of them trains and tests."""

PROJECT_NAME, FRAMES_NAME, TRAIL_NAME, MODELS_NAME = "project.json", "frames.csv", "trail.jsonl", "models.jsonl"
MASKS, HISTORY, PROPOSALS, MODELS, REFERENCE = "masks", "history", "proposals", "models", "reference"
REFERENCE_NAME, COMPARISON_NAME, MODEL_FILE = "reference.json", "comparison.json", "model.onnx"
KIND = FileKind("project of polypseg", ProjectError, "put it back from a copy, or name another project")
TRAIL_KIND = FileKind("trail of a project", ProjectError, "put it back from a copy")
FORMAT = 1


class ProjectFile(Saved):
    """What project.json says.

    Attributes:
        program: Always polypseg.
        format: Of the folder.
        name: Of the project.
        images: Where the images are, relative to the project; with / between its parts.
        created: When, as ISO 8601.
    """

    program: Literal["polypseg"]
    format: int
    name: str
    images: str
    created: str


class Correction(TrailLine):
    """A line of the trail: what a person saved.

    Attributes:
        time: ISO 8601, with the zone.
        labeller: Who; empty where nobody said.
        frame: Its name.
        state: What it is from now on.
        revision: Of this frame, counted from 1.
        mask: SHA-256 of the mask's file, in hex; empty for a rejected frame.
        proposal: What the mask began with: a model and its digest, or `masks` for those beside the images; empty for
            nothing.
    """

    time: str
    labeller: str
    frame: str
    state: SavedState
    revision: int
    mask: str
    proposal: str = Field(alias="from")


class ModelChange(TrailLine):
    """A line of models.jsonl: which model is served from then on.

    Attributes:
        time: ISO 8601, with the zone.
        model: A name, or a path; one within the project is relative to it.
        digest: SHA-256 of its file.
        reason: Why, in words.
    """

    time: str
    model: str
    digest: str
    reason: str


class ReferenceFile(Saved):
    """What reference/reference.json says.

    Attributes:
        source: The folder that the frames are of.
        train: How many train.
        test: How many compare models.
        groups: Of the frames that compare models, by name; those without are by themselves.
    """

    source: str
    train: int
    test: int
    groups: dict[str, str]


class SetComparison(Saved):
    """Two models on one set, the same frames in both.

    Attributes:
        frames: That show a polyp.
        old: Mean Dice of the served model over these; null without any, as the next four.
        new: Of the trained one.
        difference: Of the means, new less old.
        low: Of its 95 % interval, over groups.
        high: Of its interval.
        negatives: Frames without a polyp.
        old_marked: In how many of them the served model marks something.
        new_marked: The trained one.
    """

    frames: int
    old: float | None
    new: float | None
    difference: float | None
    low: float | None
    high: float | None
    negatives: int
    old_marked: int
    new_marked: int


class GateComparison(Saved):
    """What the gate looks at, as comparison.json beside a trained model keeps it.

    Attributes:
        project: On what the project holds out.
        reference: On the reference set; null where there is none.
        is_worse: Whether the trained model may not take the served one's place by itself.
        reasons: Why, a line each.
        old_digest: SHA-256 of the served model's file.
        new_digest: Of the trained one's.
    """

    project: SetComparison
    reference: SetComparison | None
    is_worse: bool
    reasons: list[str]
    old_digest: str
    new_digest: str


class ProjectFrameRow(NamedTuple):
    """A row of frames.csv."""

    name: str
    image: str
    mask: str
    group: str
    state: FrameState
    held_out: str
    labeller: str
    changed: str
    revision: int
    proposal: str


def is_project(folder: Path) -> bool:
    """Whether a folder holds a project."""
    return (folder / PROJECT_NAME).is_file()


def read_project(folder: Path) -> ProjectFile:
    """What a project says of itself.

    Raises:
        ProjectError: There is none, it is damaged, or it is of a newer polypseg.
    """
    path = folder / PROJECT_NAME
    found = read_json(path, ProjectFile, KIND)
    if found.format != FORMAT:
        raise ProjectError(f"{path}: format {found.format}, expected {FORMAT}; was it written by a newer polypseg?")
    return found


def write_project(folder: Path, project: ProjectFile) -> None:
    """Write project.json; the folder exists."""
    write_text(folder / PROJECT_NAME, project.model_dump_json(indent=1) + "\n")


def images_folder(folder: Path, project: ProjectFile) -> Path:
    """Where a project's images are.

    Raises:
        ProjectError: They are there no more.
    """
    place = (folder / project.images).resolve()
    if not place.is_dir():
        raise ProjectError(
            f"{folder}: its images were in {place}, which is no folder now; move them back, or tell the new place in "
            f"{PROJECT_NAME} (images)"
        )
    return place


def corrections(folder: Path) -> Trail[Correction]:
    """The trail of a project."""
    return Trail(folder / TRAIL_NAME, Correction, TRAIL_KIND)


def model_changes(folder: Path) -> Trail[ModelChange]:
    """Which models a project was served with."""
    return Trail(folder / MODELS_NAME, ModelChange, TRAIL_KIND)


def latest(lines: Iterable[Correction]) -> dict[str, Correction]:
    """The last line of each frame."""
    return {line.frame: line for line in lines}


def mask_path(folder: Path, frame: str) -> Path:
    """Where the mask of a labelled frame lies."""
    return folder / MASKS / f"{frame}.png"


def revision_path(folder: Path, frame: str, revision: int) -> Path:
    """Where a mask lies that was saved once."""
    return folder / HISTORY / frame / f"{revision:04d}.png"


def write_frames(folder: Path, rows: Sequence[ProjectFrameRow]) -> None:
    """Write frames.csv."""
    write_text(folder / FRAMES_NAME, frames_table(rows))


def frames_table(rows: Sequence[ProjectFrameRow]) -> str:
    """The text of frames.csv."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow([*ProjectFrameRow._fields[:-1], "from"])
    table.writerows(rows)
    return text.getvalue()
