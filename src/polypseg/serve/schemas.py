"""What the server answers, as the OpenAPI document describes it (docs/reference/api.md says it in words)."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from polypseg.predict.predictor import PredictOptions
from polypseg.records.model_facts import StatedFigures

Fraction = Annotated[float, Field(ge=0, le=1)]
JobState = Literal["queued", "running", "done", "failed", "cancelled"]


class Problem(BaseModel):
    """A problem document (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str


class MaskQuery(BaseModel):
    """The parameters that decide on a mask."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    threshold: Fraction | None = Field(None, description="Polyp from this probability on; unset: the model's own.")
    tta: Literal["none", "doubt", "flips"] = Field(
        "none",
        description="Mirror images: flips averages over them, four times the work; doubt compares a frame in doubt "
        "with them, for fewer false alarms.",
    )
    min_area: int = Field(0, ge=0, le=10**9, description="Smaller components (pixels) are left out of the mask.")

    def options(self) -> PredictOptions:
        """The same for a predictor."""
        return PredictOptions(self.threshold, self.tta, self.min_area, getattr(self, "attention", False))


class BatchQuery(MaskQuery):
    """The parameters of `POST /v1/segment/batch`."""

    overlay: bool = Field(False, description="Add the image with the mask on it.")
    attention: bool = Field(False, description="Add the coefficients of the model's gates.")
    probability: bool = Field(False, description="Add the probability map.")
    picture: bool = Field(False, description="Add the image as it was read, upright.")


class SegmentQuery(BatchQuery):
    """The parameters of `POST /v1/segment`."""

    format: Literal["json", "png"] | None = Field(
        None, description="`png`: the mask alone, grey 0 and 255; unset: as the header `Accept` prefers, else `json`."
    )
    page: int | None = Field(None, ge=1, le=10**6, description="Of a TIFF of several pages, counted from 1.")


class VideoQuery(MaskQuery):
    """The parameters of `POST /v1/video`."""

    smoothing: Literal["none", "exponential", "window"] = Field("none", description="Of probabilities over time.")
    withhold: int = Field(0, ge=0, le=100, description="Detections of at most so many frames in a row are withheld.")


class VideoFramesQuery(BaseModel):
    """The parameters of `POST /v1/video/frames`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    numbers: str = Field(
        pattern=r"^[0-9]{1,7}(,[0-9]{1,7})*$",
        max_length=10_000,
        description="Of the frames, from 0, with commas between.",
    )


class Picture(BaseModel):
    """An image in an answer."""

    png: str = Field(description="base64 of a PNG file")


class AttentionPicture(Picture):
    """The coefficients of one gate, times 255."""

    level: int = Field(ge=1, description="1 is the finest gate")


class ServedBy(BaseModel):
    """The model that answered."""

    name: str
    version: str
    size: int
    engine: str


class ImageSize(BaseModel):
    """Of the image, upright, in pixels."""

    height: int
    width: int


class Polyp(BaseModel):
    """One component of the mask."""

    area_px: int
    area_percent: float
    box: tuple[int, int, int, int] = Field(description="x, y, width, height in pixels")
    mean_probability: float
    max_probability: float
    polygon: list[int] = Field(description="outer border, x and y in turn")


class RunLengths(BaseModel):
    """The mask as COCO's compressed run lengths."""

    size: tuple[int, int] = Field(description="height, width")
    counts: str


class Seconds(BaseModel):
    """How long it took."""

    decode: float
    infer: float
    total: float


class Segmentation(BaseModel):
    """What the model says of one image."""

    model: ServedBy
    image: ImageSize
    page: int = Field(description="of the file, counted from 1; 1 but for a TIFF of several")
    num_pages: int = Field(description="that the file holds")
    threshold: float
    peak_threshold: float = Field(description="one pixel of each component reaches it, else it is left out")
    area_px: int
    area_percent: float
    num_components: int
    max_probability: float
    mean_probability: float | None = Field(description="over the mask; null where it is empty")
    mark_doubt: float = Field(description="that what is marked is no polyp, 0 (sure) to 1")
    outline_doubt: float = Field(description="that the outline is wrong, or a polyp missed, 0 (sure) to 1")
    polyps: list[Polyp]
    mask: RunLengths
    outer: RunLengths | None = Field(None, description="the mask that misses little; absent without a calibration")
    inner: RunLengths | None = Field(None, description="the mask of which little is no polyp; absent without one")
    outer_area_px: int | None = Field(None, description="absent without a calibration, as the next two")
    inner_area_px: int | None = None
    promise: str | None = Field(None, description="what the calibration promises of outer and inner mask, in words")
    probability: Picture | None = Field(None, description="8-bit grey, the value times 255; absent unless asked for")
    overlay: Picture | None = Field(None, description="absent unless asked for")
    picture: Picture | None = Field(None, description="the image as it was read, upright; absent unless asked for")
    attention: list[AttentionPicture] | None = Field(None, description="absent unless asked for")
    attention_level: int | None = Field(
        None,
        ge=1,
        description="the gate whose coefficients agree best with the mask (area under the ROC curve); the middle one "
        "where nothing was found",
    )
    seconds: Seconds


class SegmentationBatch(BaseModel):
    """What the model says of each image, in the order of the fields; a problem where an image is bad."""

    results: list[Segmentation | Problem]


class JobCreated(BaseModel):
    """A job that was accepted."""

    id: str
    state: JobState


class VideoFrame(BaseModel):
    """What the model says of one frame; null where the decoder gave no picture."""

    frame: int
    seconds: float
    area_percent: float | None
    components: int | None = Field(description="8-connected components that are shown")
    max_probability: float | None
    withheld: bool = Field(description="whether a detection is withheld (`withhold`)")
    outer_area_px: int | None = Field(None, description="null without a calibration, as the next")
    inner_area_px: int | None = None
    faults: list[str] = Field(
        [], description="what is wrong with the frame: `dropped`, `damaged`, `mistimed`, `resized`, …"
    )


class Detection(BaseModel):
    """A stretch of the video in which a polyp is seen, in seconds."""

    begin: float
    end: float


class VideoResult(BaseModel):
    """What the model says of a video."""

    frames: list[VideoFrame]
    detections: list[Detection]
    fps: float
    faults: dict[str, int] = Field({}, description="frames by what is wrong with them; empty where nothing is")
    notes: list[str] = Field([], description="what a user must know of it, in words: damage, a cut end, lost sound")
    promise: str | None = Field(None, description="what the calibration promises of each frame; null without one")
    video: str = Field(description="where the video with the mask drawn is")


class Job(BaseModel):
    """A video job."""

    id: str
    state: JobState
    progress: Fraction
    frames_done: int
    num_frames: int = Field(description="0 until it is known")
    result: VideoResult | None
    error: Problem | None


class ServedModel(BaseModel):
    """The model that is served, as its file tells of itself."""

    name: str
    version: str
    size: int
    engine: str
    threshold: float
    peak_threshold: float
    precision: str
    attention_levels: list[int]
    num_parameters: int | None
    training_data: str
    figures: dict[str, StatedFigures]
    terms: str
    licence: str
    promise: str | None = Field(None, description="what its calibration promises, in words; null without one")


class ServedModels(BaseModel):
    """The models that are served."""

    models: list[ServedModel]


class Health(BaseModel):
    """Whether the server is there."""

    status: Literal["ok"] = "ok"
