"""From an image of any size to its mask: `load(MODEL).predict(image)`.

Decisions:
- The whole way (crop to the lit field, squeeze, normalise, run, put back, threshold) is one code for all engines,
  images, video and server.
- Test-time augmentation averages the probabilities of the image and its mirror images; it costs as many runs.
- Components smaller than `min_area_px` are taken out of the mask, never out of the probability.
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
from polypseg.errors import ModelError, UsageError, unknown_name
from polypseg.overlay import TRUE_POSITIVE, Colour, contour, line_width_px, overlay
from polypseg.predict.engines.checking import check_probabilities
from polypseg.predict.engines.engine import Engine, Outputs
from polypseg.predict.engines.opening import open_engine
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

FLIPS: dict[str, tuple[tuple[int, ...], ...]] = {"none": ((),), "flips": ((), (1,), (2,), (1, 2))}
"""Test-time augmentations by name: the axes of a batch (N, H, W, C) along which each copy is mirrored."""


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


class AttentionMap(NamedTuple):
    """The coefficients of one gate.

    Attributes:
        level: 1 is the finest gate.
        map: Shape (H, W) float32 in [0, 1], at the image's own size.
    """

    level: int
    map: Probability


@dataclass(frozen=True)
class PredictOptions:
    """How probabilities become masks.

    Attributes:
        threshold: Instead of the model's own; a pixel is polyp from this probability on.
        tta: Test-time augmentation: `none`, or `flips` (four runs an image).
        min_area_px: Components of fewer pixels (8-connected, at the image's own size) are left out of the mask.
        attention: Whether to keep the gates' coefficients.
        field: Instead of the model's own way: `auto` crops to the lit field, `whole` does not.
    """

    threshold: float | None = None
    tta: str = "none"
    min_area_px: int = 0
    attention: bool = False
    field: FieldRule | None = None

    def __post_init__(self) -> None:
        """Refuse what does not fit.

        Raises:
            UsageError: A value out of range, or an unknown name.
        """
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise UsageError(f"threshold {self.threshold:g}: expected a value in [0, 1]")
        if self.tta not in FLIPS:
            raise UsageError(unknown_name("test-time augmentation", self.tta, FLIPS))
        field_rule(self.field)
        if self.min_area_px < 0:
            raise UsageError(f"min_area_px {self.min_area_px}: expected at least 0")


@dataclass(frozen=True, repr=False)
class Prediction:
    """What a model says of one image, at the image's own size; printed, it is one line.

    Attributes:
        image: Shape (H, W, 3), uint8.
        probability: Shape (H, W), float32 in [0, 1].
        mask: Shape (H, W), bool.
        threshold: The probability from which on a pixel is polyp.
        seconds: From the image in memory to the mask, shared out over a batch.
        field: The part of the image that the model saw; outside of it the probability is 0.
        note: What a reader should know of it; empty for nothing.
    """

    image: Image
    probability: Probability
    mask: Mask
    threshold: float
    seconds: float
    field: Field
    note: str = ""
    _attention: tuple[AttentionMap, ...] = ()

    def __repr__(self) -> str:
        height, width = self.mask.shape
        return (
            f"Prediction({height}x{width} px, polyp in {100 * self.mask.mean():.1f} % of the image, largest "
            f"probability {self.probability.max():.3f}, threshold {self.threshold:.3g}, {self.seconds:.3f} s)"
        )

    def overlay(self, colour: Colour = TRUE_POSITIVE, opacity: float = 0.4) -> Image:
        """The image with the mask tinted and outlined, (H, W, 3) uint8."""
        return contour(
            overlay(self.image, self.mask, colour, opacity), self.mask, width_px=line_width_px(self.mask.shape)
        )

    def attention(self) -> list[AttentionMap]:
        """The gates' coefficients, the finest level first.

        Raises:
            ModelError: They were not asked for (`PredictOptions.attention`).
        """
        if not self._attention:
            raise ModelError("this prediction holds no attention; ask for it: PredictOptions(attention=True)")
        return list(self._attention)


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
        """The threshold that is applied."""
        return self.engine.threshold if self.options.threshold is None else self.options.threshold

    @property
    def peak_threshold(self) -> float:
        """What one pixel of a component must reach, else it is left out; none where another threshold was given."""
        return self.engine.facts.peak_threshold if self.options.threshold is None else 0.0

    @property
    def field(self) -> FieldRule:
        """What of an image the model sees."""
        return self.options.field or self.engine.facts.field

    def with_options(self, **changes: object) -> "Predictor":
        """The same model with other options; names as of `PredictOptions`."""
        return replace(self, options=replace(self.options, **changes))  # type: ignore[arg-type]

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
        mask = without_small(to_mask(probability, self.threshold, self.peak_threshold), self.options.min_area_px)
        maps = tuple(
            AttentionMap(level, put_back(values[0], prepared.field, image.shape[:2]))
            for level, values in sorted(outputs.attention.items())
        )
        seconds += perf_counter() - began
        return Prediction(image, probability, mask, self.threshold, seconds, prepared.field, prepared.note, maps)

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
        model: A run folder, an `.onnx` or `.keras` file, or the name of a packaged model (`polypseg models` lists
            them); None for the packaged default.
        engine: `auto`, `onnxruntime`, `openvino` or `keras`.
        threads: Processor cores to use at most; None leaves it to the runtime.
        options: Threshold, test-time augmentation, smallest component, attention.
        streams: As of `open_engine`.

    Raises:
        ModelError: No such model, a damaged one, or one that the engine cannot run.
        MissingExtraError: The runtime is not installed.

    For example:

        prediction = polypseg.load().predict(image)
        prediction.mask  # (H, W) bool
    """
    from polypseg.predict.engines.packaged import resolve

    return Predictor(open_engine(resolve(model), engine, threads, streams), options)


def run_augmented(engine: Engine, batch: NDArray[np.float32], tta: str = "none", attention: bool = False) -> Outputs:
    """What the engine says of a batch, averaged over its mirror images where `tta` asks for them.

    Args:
        engine: From `open_engine`.
        batch: Shape (N, size, size, 3), float32 in [0, 1].
        tta: A name of `FLIPS`.
        attention: Whether the gates' coefficients are wanted; they are of the image as it is.

    Raises:
        ModelError: What it says are no probabilities.
    """
    total: NDArray[np.float32] | None = None
    maps: dict[int, NDArray[np.float32]] = {}
    for axes in FLIPS[tta]:
        seen = np.ascontiguousarray(np.flip(batch, axes)) if axes else batch
        if attention and not axes:
            probabilities, maps = engine.run_with_attention(seen)
        else:
            probabilities = engine.run(seen)
        check_probabilities(probabilities, len(batch), engine.size, engine.facts.name or engine.name)
        back = np.flip(probabilities, axes) if axes else probabilities
        total = back if total is None else total + back
    return Outputs(np.asarray(total, np.float32) / np.float32(len(FLIPS[tta])), maps)


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
