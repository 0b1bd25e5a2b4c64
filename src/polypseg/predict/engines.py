"""Engines: what runs a model. One small interface, one implementation a runtime.

A runtime is imported when an engine of its kind is opened, never before.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from polypseg.arrays import Image, Probability, check_image
from polypseg.errors import ModelError, missing_extra
from polypseg.preprocess import normalise, resize_image, restore

DEFAULT_THRESHOLD = 0.5


class Engine(Protocol):
    """Runs one model.

    Attributes:
        name: Of the runtime.
        size: Side in pixels of the square that the model sees.
        threshold: A pixel is polyp where its probability is at least this; chosen on validation or 0.5.
    """

    name: str
    size: int
    threshold: float

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Batch (N, size, size, 3) float32 in [0, 1] to probabilities (N, size, size, 1) float32."""


class KerasEngine:
    """A `.keras` file, in the backend that Keras is set to."""

    name = "keras"

    def __init__(self, path: Path, threshold: float) -> None:
        try:
            import keras
        except ModuleNotFoundError as error:
            raise missing_extra("keras", "train") from error
        from polypseg.models.checkpoint import load_model

        self._to_numpy = keras.ops.convert_to_numpy
        self.model = load_model(path)
        shape = self.model.input_shape
        if len(shape) != 4 or shape[1] is None or shape[1] != shape[2] or shape[3] != 3:
            raise ModelError(f"{path}: the model takes {shape}; expected (None, size, size, 3)")
        self.size = int(shape[1])
        self.threshold = threshold

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """As `Engine.run`."""
        return np.asarray(self._to_numpy(self.model.predict_on_batch(batch)), np.float32)


def open_engine(model: Path | str) -> Engine:
    """An engine for a run folder (its best checkpoint, its stored threshold) or a `.keras` file.

    Raises:
        ModelError: Neither of them, or a damaged one.
        MissingExtraError: Its runtime is not installed.
    """
    path = Path(model)
    if path.is_dir():
        best = path / "checkpoints" / "best.keras"
        if not best.is_file():
            raise ModelError(f"{path}: holds no checkpoints/best.keras; expected a run folder with a finished epoch")
        return KerasEngine(best, stored_threshold(path))
    if not path.exists():
        raise ModelError(f"{path}: no such file or folder; expected a run folder or a .keras file")
    if path.suffix != ".keras":
        raise ModelError(f"{path}: expected a run folder or a .keras file, found {path.suffix or 'no ending'}")
    return KerasEngine(path, DEFAULT_THRESHOLD)


def stored_threshold(run_folder: Path) -> float:
    """The threshold that was chosen on a run's validation split (`threshold.json`), else 0.5.

    Raises:
        ModelError: The file is damaged.
    """
    path = run_folder / "threshold.json"
    if not path.exists():
        return DEFAULT_THRESHOLD
    try:
        threshold = float(json.loads(path.read_text(encoding="utf-8"))["threshold"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: cannot read the stored threshold ({error!r})") from error
    if not 0 <= threshold <= 1:
        raise ModelError(f"{path}: threshold {threshold}; expected a value in [0, 1]")
    return threshold


def predict_probabilities(engine: Engine, images: Iterable[Image], batch_size: int = 8) -> Iterator[Probability]:
    """The probability map of each image, at the image's own size, in order.

    Args:
        engine: From `open_engine`.
        images: Each (H, W, 3) uint8, of any size; read as they are needed, so that memory stays flat.
        batch_size: Images that the model sees at once.

    Yields:
        (H, W) float32 in [0, 1].
    """
    waiting = iter(images)
    while chunk := list(islice(waiting, batch_size)):
        yield from _predict_chunk(engine, chunk)


def predict_mask(engine: Engine, image: Image) -> tuple[Probability, NDArray[np.bool_]]:
    """Probability and mask (probability at least the engine's threshold) of one image, at its own size."""
    probability = next(predict_probabilities(engine, [image]))
    return probability, probability >= engine.threshold


def _predict_chunk(engine: Engine, images: Sequence[Image]) -> Iterator[Probability]:
    size = (engine.size, engine.size)
    batch = normalise(np.stack([resize_image(check_image(image), size) for image in images]))
    for image, probability in zip(images, engine.run(batch), strict=True):
        yield restore(probability[..., 0], image.shape[:2])
