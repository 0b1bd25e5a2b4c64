"""What the routes of a project answer."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from polypseg.records.project import FrameState, GateComparison, SavedState

Labeller = Annotated[str, Field(max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$")]


class LeftOut(BaseModel):
    """A file among the images that cannot be used."""

    name: str
    reason: str


class ProjectFacts(BaseModel):
    """A project."""

    name: str
    folder: str = Field(description="of the project")
    images: str = Field(description="folder of the images")
    model: str = Field(description="name and version of the served model")
    previous_model: str | None = Field(description="that one click goes back to")
    frames: int
    states: dict[FrameState, int]
    labellers: list[str]
    reference: bool = Field(description="whether a reference set is trained with and tested on")
    left_out: list[LeftOut] = Field(description="files that cannot be used")
    notes: list[str] = Field(description="what was found and done when the project was opened")


class FrameRecord(BaseModel):
    """A frame."""

    id: str
    name: str
    state: FrameState
    width: int
    height: int
    doubt: float | None = Field(ge=0, le=1, description="of the proposal, 0 is sure; null: nothing proposed yet")
    group: str | None
    labeller: str | None
    changed: str | None = Field(description="when somebody last saved it, ISO 8601")
    revision: int = Field(ge=0, description="0: nobody saved anything")


class FrameList(BaseModel):
    """Frames in order."""

    frames: list[FrameRecord]


class FrameListQuery(BaseModel):
    """The parameters of the list of frames."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    order: Literal["useful", "random", "name"] = Field(
        "useful", description="`useful`: those that the model doubts and that look unlike the labelled ones first"
    )
    state: FrameState | None = Field(None, description="Frames of this state alone.")
    seed: int = Field(0, ge=0, le=2**32 - 1, description="Of the random order.")


class MaskSaveQuery(BaseModel):
    """The parameters of a save."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: SavedState
    labeller: Labeller = Field("", description="Who saves.")
    revision: int = Field(0, ge=0, description="The frame's revision that was changed; 0 where there was none.")


class MaskQuery(BaseModel):
    """The parameters of a saved mask."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    revision: int | None = Field(None, ge=1, description="An earlier one; unset: the last.")


RetrainStatus = Literal["idle", "training", "comparing", "waiting", "cancelled", "failed", "done"]


class SetComparison(BaseModel):
    """Two models on one set."""

    old: float | None = Field(description="mean Dice of the served model; null without frames that show a polyp")
    new: float | None = Field(description="of the trained one")
    difference: float | None
    low: float | None = Field(description="of the difference's 95 % interval")
    high: float | None
    frames: int = Field(description="that show a polyp")
    negatives: int = Field(description="frames without a polyp")
    old_marked: int = Field(description="of them, in which the served model marks something")
    new_marked: int


class RetrainComparison(BaseModel):
    """Two models on what the project holds out and on the reference set."""

    project: SetComparison
    reference: SetComparison | None
    reasons: list[str] = Field(description="why the trained model is worse")

    @classmethod
    def of(cls, found: GateComparison) -> "RetrainComparison":
        """As the page gets it."""
        sets = (found.project, found.reference)
        project, reference = (None if one is None else SetComparison(**one.model_dump()) for one in sets)
        return cls(project=project, reference=reference, reasons=found.reasons)  # type: ignore[arg-type]


class Retrain(BaseModel):
    """How far a training is."""

    status: RetrainStatus = Field(description="waiting: the trained model is not served, and a person may say so")
    epoch: int = Field(0, ge=0, description="epochs that are done")
    epochs: int = Field(0, ge=0)
    seconds: float = 0.0
    message: str = ""
    comparison: RetrainComparison | None = None
    better: bool | None = Field(None, description="whether it passed the comparison")


class RetrainBegun(BaseModel):
    """A training that began."""

    status: RetrainStatus


class ModelQuery(BaseModel):
    """Which model to serve."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    use: Literal["new", "previous"]


class ModelServed(BaseModel):
    """The model that is served now."""

    model: str


class SavedRevision(BaseModel):
    """One save of a frame."""

    model_config = ConfigDict(populate_by_name=True)

    time: str
    labeller: str
    state: SavedState
    revision: int
    proposal: str = Field(alias="from", description="what the mask began with")
