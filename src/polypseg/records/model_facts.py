"""What a model file says of itself: how it must be fed, how its answer is read, where it comes from.

An exported model carries these as text in its ONNX metadata, a key each, prefixed `polypseg.`; `REQUIRED` are those
without which it cannot be run rightly.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from polypseg.errors import ModelError
from polypseg.records.reading import Number, Saved
from polypseg.records.recalibration import Recalibration

DEFAULT_THRESHOLD = 0.5
PREFIX = "polypseg."
STATED_SCORES = ("dice", "iou", "precision", "recall", "any_false_positive", "large_false_positive")
"""What of an evaluation a model file carries; the last two are of the images without a polyp."""
NORMALISATION = "rgb/255"
"""The only one: red, green, blue, each divided by 255; whatever an encoder wants beyond is a layer of the model."""
NETWORK_KEY = "network"
RECALIBRATION_KEY, CALIBRATION_KEY = "recalibration", "calibration"
"""What is stored in a file after its export (records/sealing.py); the second is read apart (records/stored.py)."""
REQUIRED = ("size", "normalisation", "threshold", "target")


def _as_table(value: Any) -> Any:
    return {"mean": value} if isinstance(value, int | float) else value


class StatedScore(Saved):
    """A mean score and its interval, as measured; an unknown limit is None."""

    mean: Number
    low: Number = None
    high: Number = None


Score = Annotated[StatedScore | None, BeforeValidator(_as_table)]
"""Files that others wrote may hold a number alone."""


class StatedFigures(Saved):
    """What a model reached on one set of images; figures of other names stay in the file.

    Attributes:
        data: Name of the folder.
        split: train, validation, test, all or external.
        num_images: That were scored.
        num_polyp_images: Over which the first four means are.
        threshold: In use.
        confidence: Of the intervals.
        dice: Mean; what was not measured is None, as the others.
        iou: Mean.
        precision: Mean.
        recall: Mean.
        any_false_positive: Share of the images without a polyp with any predicted pixel.
        large_false_positive: The same, of more than 0.1 % of the pixels.
    """

    model_config = ConfigDict(extra="allow")

    data: str = ""
    split: str | None = None
    num_images: int = 0
    num_polyp_images: int = 0
    threshold: float | None = None
    confidence: float | None = None
    dice: Score = None
    iou: Score = None
    precision: Score = None
    recall: Score = None
    any_false_positive: Score = None
    large_false_positive: Score = None

    def scores(self) -> dict[str, StatedScore]:
        """What was measured, by its name."""
        found = {name: getattr(self, name) for name in STATED_SCORES}
        return {name: score for name, score in found.items() if score is not None}


class EngineDice(Saved):
    """The mean Dice of a file through one engine.

    Attributes:
        dice: The mean.
        apart: How many images' Dice is more than 0.05 from that of the source; None where it was not counted.
    """

    dice: float
    apart: int | None = None


class DiceByEngine(Saved):
    """The mean Dice of a file on one set of images, through every engine.

    Attributes:
        images: How many show a polyp.
        engines: By engine and instruction set.
        source: Of the model in 32 bits that the file was made from; None where there is none, or it was not measured.
        digests: The beginnings of the images' digests (`records.seen`); empty where they are not known.
    """

    images: int = 0
    engines: dict[str, EngineDice] = Field(default_factory=dict)
    source: float | None = None
    digests: str = ""


class Network(Saved):
    """Which network the weights of a file belong to, by the settings of `[model]` that build it."""

    name: str = "attention_unet"
    filters: int
    depth: int = 4
    dropout: float = 0.0
    encoder: str | None = None
    decoder_filters: tuple[int, ...] = Field((), strict=False)


class ModelFacts(BaseModel):
    """The facts of one model file; what nobody recorded is empty or None."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    size: int = Field(ge=8, le=4096, description="side in pixels of the square that the model sees")
    normalisation: str = Field(NORMALISATION, pattern="^rgb/255$")
    threshold: float = Field(DEFAULT_THRESHOLD, ge=0, le=1, description="a pixel is polyp from this probability on")
    peak_threshold: float = Field(
        0.0,
        ge=0,
        le=1,
        alias="seed_threshold",
        description="a component counts only where one of its pixels reaches this; 0: any",
    )
    field: Literal["auto", "whole"] = Field(
        "whole", description="what of a frame the model sees: auto for the lit field; files without it see all"
    )
    target: str = Field("polyp", description="what the probability is of")
    name: str = Field("", description="of the model, as polyp-lite")
    version: str = Field("", description="of the model")
    precision: str = Field("fp32", pattern="^(fp32|fp16|int8)$")
    quantised_by: str = Field("", description="what made int8 of it, and how")
    stride: int | None = Field(
        None, ge=1, description="the graph takes every height and width divisible by this; None: size alone"
    )
    attention_levels: tuple[int, ...] = Field((), description="gates whose coefficients are outputs, 1 the finest")
    num_parameters: int | None = None
    multiply_adds: int | None = Field(None, description="of one image, in the convolutions")
    opset: int | None = None
    protocol: str = Field(
        "", description="which images trained, validated and tested, by source; files of before: none"
    )
    training_data: str = Field("", description="data set and split, in words")
    split_digest: str = Field("", description="of the split manifest")
    seen_images: str = Field("", description="beginnings of the digests of all images but the tested ones, packed")
    checkpoint_chosen_by: str = ""
    threshold_source: str = ""
    figures: dict[str, StatedFigures] = Field(
        default_factory=dict, description="measured scores by data set and metric"
    )
    terms: str = Field("", description="of the training data")
    licence: str = Field("", description="of the weights")
    network: Network | None = Field(None, description="what `train.start_from` builds for the file; None: not recorded")
    source_digest: str = Field("", description="SHA-256 of the Keras file that was exported")
    exported_by: str = Field("", description="versions")
    created: str = ""
    largest_difference: float | None = Field(None, description="largest probability difference from Keras, as proved")
    dice_change: float | None = Field(None, description="largest change of the mean Dice from fp32, as proved")
    proved_on: str = Field("", description="the images and the engines of both, in words")
    saturating_sums: int | None = Field(
        None,
        description="of two 8-bit products that leave 16 bits, as counted; 0: right on AVX2 too; None: not counted",
    )
    counted_on: str = Field("", description="the images of the count, in words")
    calibration_digest: str = Field("", description="SHA-256 of the images that int8 was calibrated with")
    dice_by_engine: dict[str, DiceByEngine] = Field(
        default_factory=dict, description="mean Dice of this very file by data set, engine and instruction set"
    )
    second_look: bool = Field(
        False, description="int8: images on which 8 bits may decide otherwise are predicted again in float"
    )
    recalibration: Recalibration | None = Field(
        None, description="what the probabilities are turned into when the file is opened; None: they stay"
    )
    self_test: str = Field("", description="pictures and what the model says of them, for engines/self_test.py")

    @field_validator("figures", "dice_by_engine", mode="before")
    @classmethod
    def _tables_alone(cls, value: Any) -> Any:
        return (
            {key: each for key, each in value.items() if not isinstance(each, str)}
            if isinstance(value, dict)
            else value
        )

    def shown(self, threshold: float) -> float:
        """A threshold of the model itself, as it is for the probabilities that a user sees."""
        return threshold if self.recalibration is None else self.recalibration.apply(threshold)


def to_metadata(facts: ModelFacts) -> dict[str, str]:
    """The facts as an ONNX file keeps them: text by key, `polypseg.size` and so on; JSON where it is no text.

    >>> to_metadata(ModelFacts(size=256))["polypseg.size"]
    '256'
    """
    optional = {RECALIBRATION_KEY: facts.recalibration, NETWORK_KEY: facts.network}
    absent = {key for key, value in optional.items() if value is None}  # files without one are as they always were
    values = facts.model_dump(mode="json", by_alias=True, exclude=absent)
    values |= facts.model_dump(mode="json", exclude_unset=True, include={"figures", "dice_by_engine"})
    return {PREFIX + key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}


def from_metadata(metadata: Mapping[str, str], source: str) -> ModelFacts:
    """The facts of a file's metadata.

    Args:
        metadata: Text by key; keys without the prefix are not ours.
        source: The file, for the message.

    Raises:
        ModelError: A required one is missing (the message says which), or one does not fit.
    """
    missing = [key for key in REQUIRED if PREFIX + key not in metadata]
    if missing:
        raise ModelError(
            f"{source}: not a model that polypseg exported: its metadata lack "
            f"{', '.join(PREFIX + key for key in missing)}; export one with: polypseg export RUN -o model.onnx"
        )
    values = {key.removeprefix(PREFIX): _value(text) for key, text in metadata.items() if key.startswith(PREFIX)}
    texts = {name for name, field in ModelFacts.model_fields.items() if field.annotation is str}
    values |= {key: metadata[PREFIX + key] for key in texts if PREFIX + key in metadata}
    try:
        return ModelFacts.model_validate(values)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"]))
        raise ModelError(
            f"{source}: the metadata {PREFIX}{where} hold {fault['input']!r}: {fault['msg']}; export the model again"
        ) from error


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
