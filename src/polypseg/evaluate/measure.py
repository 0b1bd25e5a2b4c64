"""One image: from its prediction and reference to its row, its histogram and its saved mask.

Decisions:
- A prediction is brought to the reference's size before it is scored (bilinear), never the other way round.
- An 8-bit map means level / 255; so 128 is the first level that is polyp at the threshold 0.5.
- Reading, scoring and writing one image is one call without shared state: it may run in any thread or process.
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from polypseg.arrays import Mask, Probability
from polypseg.config import LossConfig
from polypseg.errors import DataError, ScoreError
from polypseg.evaluate.model_size import model_size_columns
from polypseg.evaluate.selection import ImageToScore
from polypseg.metrics.table import ScoreSettings, score_image
from polypseg.metrics.thresholds import NUM_LEVELS, Histogram, to_levels
from polypseg.predict.nested import nested_mask
from polypseg.preprocess import Field, put_back, read_grey, read_mask, resize_mask, to_mask, whole_frame
from polypseg.records.atomic import write_bytes
from polypseg.records.calibration import Bound, Side
from polypseg.records.evaluation import Evaluation
from polypseg.records.recalibration import Recalibration
from polypseg.records.scores import NESTED_LOSSES as LOSSES
from polypseg.records.scores import Row


class PredictedMap(NamedTuple):
    """What predicts one image.

    Attributes:
        map: A model's output, shape (size, size), float32 in [0, 1]; None where the case has a file.
        image_shape: Height and width of the image; None where it was not read.
        field: The part of the image that the model saw; None for all of it.
        fault: Why there is no map although a model should have made one; empty otherwise.
        recalibration: What the model's probabilities are turned into, after they are put back.
    """

    map: NDArray[np.float32] | None = None
    image_shape: tuple[int, int] | None = None
    field: Field | None = None
    fault: str = ""
    recalibration: Recalibration | None = None


class MeasuredImage(NamedTuple):
    """What one image gives: a row of scores.csv and its (2, 256) histogram."""

    row: Row
    histogram: Histogram


@dataclass(frozen=True)
class Measure:
    """How each image is scored, and where its mask goes.

    Attributes:
        evaluation: The folder.
        settings: What decides a row besides the image.
        loss: The training's loss, for the figures at the model's size; None without a run.
        save_maps: Write the probability maps too.
        skip_bad: An image that cannot be scored becomes a row with a fault instead of an error.
        outer: How the outer mask of a calibration is made; None without one, as the next.
        inner: How the inner mask is made.
    """

    evaluation: Evaluation
    settings: ScoreSettings = field(default_factory=ScoreSettings)
    loss: LossConfig | None = None
    save_maps: bool = False
    skip_bad: bool = False
    outer: Bound | None = None
    inner: Bound | None = None

    def __call__(self, case: ImageToScore, prediction: PredictedMap) -> MeasuredImage:
        """The row and the histogram of one image; its mask is on disk afterwards.

        Raises:
            ScoreError: The image cannot be scored, and `skip_bad` is False.
        """
        try:
            return self._measured(case, prediction)
        except DataError as error:
            message = str(error) if case.name in str(error) else f"{case.name}: {error}"
            if not self.skip_bad:
                raise ScoreError(f"{message}; mend or remove it, or leave it out with --skip-bad") from error
            return MeasuredImage({**case.texts(), "fault": message}, np.zeros((2, NUM_LEVELS), np.int64))

    def _nested_columns(self, name: str, found: tuple[Probability, Mask], reference: Mask) -> Row:
        """What the outer mask misses and what of the inner one is false; both masks are on disk afterwards."""
        row: Row = {}
        sides: tuple[tuple[Side, Bound | None], ...] = (("outer", self.outer), ("inner", self.inner))
        for side, bound in sides:
            if bound is None:
                continue
            mask = nested_mask(bound, side, *found)
            loss = missed_share(mask, reference) if side == "outer" else false_share(mask, reference)
            row |= {LOSSES[side]: loss, f"{side}_px": int(np.count_nonzero(mask))}
            write_grey(self.evaluation.nested_path(side, name), mask.astype(np.uint8) * np.uint8(255))
        return row

    def of_pair(self, pair: tuple[ImageToScore, PredictedMap]) -> MeasuredImage:
        """As a call, of an image and its prediction."""
        return self(*pair)

    def _measured(self, case: ImageToScore, prediction: PredictedMap) -> MeasuredImage:
        probability, reference, resized_from = _read_pair(case, prediction)
        scored = score_image(probability, reference, self.settings)
        predicted = to_mask(probability, self.settings.threshold, self.settings.peak_threshold)
        row: Row = {
            **case.texts(),
            "reference_digest": mask_digest(reference),
            "resized_from": resized_from,
            "reference_px": int(np.count_nonzero(reference)),
            "predicted_px": int(np.count_nonzero(predicted)),
            **scored.row,
        }
        if prediction.map is not None:
            side = (prediction.map.shape[0], prediction.map.shape[1])
            seen = (prediction.field or whole_frame(reference.shape)).crop(reference)
            row |= model_size_columns(prediction.map, resize_mask(seen, side), self.loss)
            row |= self._nested_columns(case.name, (probability, predicted), reference)
        write_grey(self.evaluation.mask_path(case.name), predicted.astype(np.uint8) * np.uint8(255))
        if self.save_maps:
            write_grey(self.evaluation.map_path(case.name), to_levels(probability))
        return MeasuredImage(row, scored.histogram)


def missed_share(outer: Mask, reference: Mask) -> float:
    """The share of the polyp that an outer mask misses; NaN without a polyp.

    >>> missed_share(np.array([[True, False]]), np.array([[True, True]]))
    0.5
    """
    polyp = int(np.count_nonzero(reference))
    return int(np.count_nonzero(reference & ~outer)) / polyp if polyp else float("nan")


def false_share(inner: Mask, reference: Mask) -> float:
    """The share of an inner mask that is no polyp; 0 for an empty one.

    >>> false_share(np.array([[True, True]]), np.array([[True, False]]))
    0.5
    """
    area = int(np.count_nonzero(inner))
    return int(np.count_nonzero(inner & ~reference)) / area if area else 0.0


def read_pair(case: ImageToScore, prediction: PredictedMap) -> tuple[Probability, Mask]:
    """Probability and reference of one image, at the reference's size.

    Raises:
        ImageError: A file cannot be read.
        DataError: Image and reference differ in size.
    """
    probability, reference, _ = _read_pair(case, prediction)
    return probability, reference


def mask_digest(mask: Mask) -> str:
    """The first 16 digits of the SHA-256 of a mask's size and pixels: the same for a PNG and a JPEG of one mask.

    >>> mask_digest(np.zeros((2, 3), bool)) == mask_digest(np.zeros((3, 2), bool))
    False
    """
    content = f"{mask.shape[0]}x{mask.shape[1]} ".encode() + np.packbits(mask).tobytes()
    return hashlib.sha256(content).hexdigest()[:16]


def write_grey(path: Path, grey: NDArray[np.uint8]) -> None:
    """Write a grey image (H, W) uint8 as PNG, without loss.

    Raises:
        ScoreError: It cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    is_encoded, content = cv2.imencode(".png", grey)
    if not is_encoded:
        raise ScoreError(f"{path}: the picture of {grey.shape} pixels cannot be encoded as PNG")
    write_bytes(path, content.tobytes())


def _read_pair(case: ImageToScore, prediction: PredictedMap) -> tuple[Probability, Mask, str]:
    """Probability and reference at the reference's size, and the size of a file that had another."""
    if prediction.fault:
        raise DataError(prediction.fault)
    if prediction.map is not None:
        shape = prediction.image_shape or prediction.map.shape
        reference = _read_reference(case, (shape[0], shape[1]))
        if shape != reference.shape:
            raise DataError(
                f"{case.image_path} is {shape[0]}x{shape[1]} (height x width), its mask {case.reference_path} is "
                f"{reference.shape[0]}x{reference.shape[1]}; expected one size"
            )
        probability = put_back(prediction.map, prediction.field or whole_frame(shape), shape)
        if prediction.recalibration is not None:
            probability = prediction.recalibration.apply(probability)
        return probability, reference, ""
    if case.prediction_path is None:
        raise DataError(f"{case.name}: neither a model nor a file predicts it")
    grey = read_grey(case.prediction_path)
    height, width = grey.shape
    reference = _read_reference(case, (height, width))
    resized_from = "" if grey.shape == reference.shape else f"{height}x{width}"
    if resized_from:
        # an 8-bit map stays one: so do PySODMetrics' users and most published evaluations resize
        size = reference.shape[1], reference.shape[0]
        grey = np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_LINEAR), np.uint8)
    return grey.astype(np.float32) / np.float32(255), reference, resized_from


def _read_reference(case: ImageToScore, shape: tuple[int, int]) -> Mask:
    """The reference mask, which is empty and of the shape given where the image shows no polyp."""
    return np.zeros(shape, bool) if case.reference_path is None else read_mask(case.reference_path, case.mask_rule)
