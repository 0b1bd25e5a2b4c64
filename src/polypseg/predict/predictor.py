"""From an image of any size to its mask: `load(MODEL).predict(image)`.

Decisions:
- The whole way (crop to the lit field, squeeze, normalise, run, put back, threshold) is one code for all engines,
  images, video and server.
- Components smaller than `min_area_px` are taken out of the mask, never out of the probability.
- A recalibration (`records.recalibration`) turns the probabilities at the image's own size, after all averaging; the
  thresholds go through it too, so that the masks stay what they were.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from polypseg.arrays import Image, Mask, Probability, check_image
from polypseg.errors import UsageError, unknown_name
from polypseg.predict.attention import AttentionMap
from polypseg.predict.doubt import doubt_of
from polypseg.predict.engines.engine import Engine, Outputs
from polypseg.predict.engines.opening import open_engine
from polypseg.predict.kept_calibration import fitting_calibration
from polypseg.predict.mirroring import TTAS, run_augmented
from polypseg.predict.nested import nested_mask
from polypseg.predict.prediction import Prediction as Prediction
from polypseg.preprocess import (
    MAX_PIXELS,
    Field,
    FieldRule,
    field_rule,
    model_view,
    normalise,
    put_back,
    read_image,
    to_mask,
)
from polypseg.records.calibration import Calibration
from polypseg.records.digests import model_file_digest

NO_PICTURE = "no picture found: the whole frame was predicted"
"""The note of a frame in which no lit field was found."""


class Prepared(NamedTuple):
    """What the model sees of an image.

    Attributes:
        pixels: Shape (size, size, 3), float32 in [0, 1].
        field: The part of the image that it shows.
        note: What a reader of the result should know; empty for nothing.
    """

    pixels: NDArray[np.float32]
    field: Field
    note: str = ""


@dataclass(frozen=True)
class PredictOptions:
    """How probabilities become masks.

    Attributes:
        threshold: Instead of the model's own; a pixel is polyp from this probability on.
        tta: Test-time augmentation (`predict.mirroring`): `none`, `doubt` (four runs of an image in doubt), or `flips`
            (four runs of each).
        min_area_px: Components of fewer pixels (8-connected, at the image's own size) are left out of the mask.
        attention: Whether to keep the gates' coefficients.
        field: Instead of the model's own way: `auto` crops to the lit field, `whole` does not.
        calibration: From `records.calibration.load_calibration`: inner and outer masks are made with it.
        stored: Whether `load` takes the calibration that is kept with the model, where none is given and its conditions
            are those of the call.
    """

    threshold: float | None = None
    tta: str = "none"
    min_area_px: int = 0
    attention: bool = False
    field: FieldRule | None = None
    calibration: Calibration | None = None
    stored: bool = True

    def __post_init__(self) -> None:
        """Refuse what does not fit.

        Raises:
            UsageError: A value out of range, or an unknown name.
        """
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise UsageError(f"threshold {self.threshold:g}: expected a value in [0, 1]")
        if self.tta not in TTAS:
            raise UsageError(unknown_name("test-time augmentation", self.tta, TTAS))
        field_rule(self.field)
        if self.min_area_px < 0:
            raise UsageError(f"min_area_px {self.min_area_px}: expected at least 0")


@dataclass(frozen=True)
class Predictor:
    """A model that is ready to predict.

    Attributes:
        engine: What runs it.
        options: How its probabilities become masks.
    """

    engine: Engine
    options: PredictOptions = PredictOptions()

    @property
    def threshold(self) -> float:
        """The threshold that is applied to the probabilities that a user sees."""
        if self.options.threshold is not None:
            return self.options.threshold
        return self.engine.facts.shown(self.engine.threshold)

    @property
    def raw_threshold(self) -> float:
        """The same for what the engine itself says, before it is recalibrated."""
        if self.options.threshold is None:
            return self.engine.threshold
        recalibration = self.engine.facts.recalibration
        return recalibration.undo(self.options.threshold) if recalibration else self.options.threshold

    @property
    def peak_threshold(self) -> float:
        """What one pixel of a component must reach, else it is left out; none where another threshold was given."""
        facts = self.engine.facts
        return facts.shown(facts.peak_threshold) if self.options.threshold is None else 0.0

    @property
    def field(self) -> FieldRule:
        """What of an image the model sees."""
        return self.options.field or self.engine.facts.field

    @property
    def conditions(self) -> dict[str, object]:
        """What a calibration depends on besides the model (`records.calibration.CONDITIONS`)."""
        return {
            "threshold": self.threshold,
            "peak_threshold": self.peak_threshold,
            "field": self.field,
            "tta": self.options.tta,
            "min_area_px": self.options.min_area_px,
            "recalibration": recalibration.digest if (recalibration := self.engine.facts.recalibration) else "",
        }

    def with_options(self, **changes: object) -> "Predictor":
        """The same model with other options; names as of `PredictOptions`."""
        return replace(self, options=replace(self.options, **changes))  # type: ignore[arg-type]

    def with_fitting(self, calibration: Calibration | None) -> "Predictor":
        """The same with a calibration of this very model, where it was made under these options; else without one."""
        if calibration is not None and calibration.other_conditions(self.conditions):
            calibration = None
        return self.with_options(calibration=calibration)

    def predict(self, image: Image) -> Prediction:
        """Probability and mask of one image, at its own size.

        Args:
            image: Shape (H, W, 3), uint8 RGB, any size.

        Raises:
            DataError: Not an image.
            ModelError: Attention is asked for and the model carries none.
        """
        return self.predict_batch([image])[0]

    def predict_batch(self, images: Sequence[Image]) -> list[Prediction]:
        """As `predict`, for several images (of any sizes) that the model sees at once."""
        began = perf_counter()
        prepared = [self.prepare(image) for image in images]
        outputs = self.run([each.pixels for each in prepared])
        found = [
            self.finish(image, each, outputs.of(index))
            for index, (image, each) in enumerate(zip(images, prepared, strict=True))
        ]
        seconds = (perf_counter() - began) / max(1, len(images))
        return [replace(prediction, seconds=seconds) for prediction in found]

    def prepare(self, image: Image, field: Field | None = None) -> Prepared:
        """The first of the three steps of `predict`: what the model sees.

        Args:
            image: Shape (H, W, 3), uint8.
            field: Where it is known already (a video follows it); None to find it as the model wants it.
        """
        view = model_view(check_image(image), self.engine.size, self.field, field)
        return Prepared(normalise(view.square), view.field, "" if view.is_found else NO_PICTURE)

    def run(self, prepared: Sequence[NDArray[np.float32]]) -> Outputs:
        """The second step: what the model says of the pixels of prepared images."""
        batch = prepared[0][np.newaxis] if len(prepared) == 1 else np.stack(prepared)
        return run_augmented(self.engine, batch, self.options.tta, self.options.attention)

    def finish(self, image: Image, prepared: Prepared, outputs: Outputs, seconds: float = 0.0) -> Prediction:
        """The third step: the result of one image of a batch, at the image's own size.

        Args:
            image: Shape (H, W, 3), uint8.
            prepared: From `prepare`.
            outputs: From `run`, of this image alone (`Outputs.of`).
            seconds: That the first two steps took; this step's own are added.
        """
        began = perf_counter()
        probability = put_back(outputs.probabilities[0, ..., 0], prepared.field, image.shape[:2])
        if (recalibration := self.engine.facts.recalibration) is not None:
            probability = recalibration.apply(probability)
        mask = without_small(to_mask(probability, self.threshold, self.peak_threshold), self.options.min_area_px)
        maps = tuple(
            AttentionMap(level, put_back(values[0], prepared.field, image.shape[:2]))
            for level, values in sorted(outputs.attention.items())
        )
        outer, inner = self._nested(probability, mask)
        doubt = doubt_of(outputs.probabilities[0, ..., 0], self.raw_threshold, bool(mask.any()))
        seconds += perf_counter() - began
        return Prediction(
            image, probability, mask, self.threshold, seconds, prepared.field, prepared.note, maps, outer, inner, doubt
        )

    def _nested(self, probability: Probability, mask: Mask) -> tuple[Mask | None, Mask | None]:
        """The outer and the inner mask, where the calibration has them."""
        calibration = self.options.calibration
        if calibration is None:
            return None, None
        outer = nested_mask(calibration.outer, "outer", probability, mask) if calibration.outer else None
        return outer, nested_mask(calibration.inner, "inner", probability, mask) if calibration.inner else None

    def predict_file(self, path: Path | str, max_pixels: int = MAX_PIXELS) -> Prediction:
        """As `predict`, of an image file, turned upright as its EXIF orientation says.

        Args:
            path: JPEG, PNG, TIFF or BMP.
            max_pixels: A larger image is refused before it is decoded.

        Raises:
            ImageError: The file cannot be read as one image.
        """
        return self.predict(read_image(path, max_pixels))

    def predict_many(self, images: Iterable[Image], batch_size: int = 1) -> Iterator[Prediction]:
        """As `predict`, one after another and in order; images are read as they are needed, so that memory stays flat.

        Args:
            images: Each (H, W, 3) uint8, of any size.
            batch_size: Images that the model sees at once, at least 1.
        """
        if batch_size < 1:
            raise UsageError(f"batch_size {batch_size}: expected at least 1")
        waiting = iter(images)
        while chunk := list(islice(waiting, batch_size)):
            yield from self.predict_batch(chunk)


def load(
    model: Path | str | None = None,
    engine: str = "auto",
    threads: int | None = None,
    options: PredictOptions = PredictOptions(),
    streams: int = 1,
) -> Predictor:
    """A model, ready to predict.

    Args:
        model: A run folder, an `.onnx` or `.keras` file, the name of a packaged model (`polypseg models` lists them),
            or a model on a hub: `hf://owner/name`, or `hf://owner/name@revision`; None for the packaged default.
        engine: `auto`, `onnxruntime`, `openvino` or `keras`.
        threads: Processor cores to use at most; None leaves it to the runtime.
        options: Threshold, test-time augmentation, smallest component, attention.
        streams: As of `open_engine`.

    Raises:
        DownloadError: A hub cannot be reached, or has no such model.
        ModelError: No such model, a damaged one, one that the engine cannot run, or a calibration of another model or
            of other options.
        MissingExtraError: The runtime is not installed.

    For example:

        prediction = polypseg.load().predict(image)
        prediction.mask  # (H, W) bool
    """
    from polypseg.predict.engines.packaged import resolve

    path = resolve(model)
    predictor = Predictor(open_engine(path, engine, threads, streams), options)
    if options.calibration is not None:
        options.calibration.refuse_other("the calibration", model_file_digest(path), predictor.conditions)
        return predictor
    found = fitting_calibration(path, predictor)[0] if options.stored else None
    return predictor if found is None else predictor.with_options(calibration=found)


def without_small(mask: Mask, min_area_px: int) -> Mask:
    """The mask without its components of fewer than `min_area_px` pixels (8-connected).

    >>> without_small(np.array([[1, 0, 1, 1]], bool), 2).tolist()
    [[False, False, True, True]]
    """
    if min_area_px <= 1 or not mask.any():
        return mask
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    keep = statistics[:, cv2.CC_STAT_AREA] >= min_area_px
    keep[0] = False
    return np.asarray(keep[labels])
