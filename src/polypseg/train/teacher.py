"""Distillation: a trained model, or the members of a cross-validation, whose probabilities a smaller one learns from.

Decisions:
- The teacher sees the batch as the student does, augmented and synthesised, so that its answer belongs to that picture.
- Reference and probability are mixed before the loss, so that every loss that takes probabilities serves, and the mask
  keeps a say where the teacher errs.
- A teacher that was trained on the student's validation images flatters the student there
  (docs/how-to/training.md).
"""

from pathlib import Path
from typing import Any

import keras
from keras import ops

from polypseg.config import Config
from polypseg.data.batches import BatchTransform
from polypseg.errors import ModelError
from polypseg.models.checkpoint import load_model
from polypseg.train.named_models import teacher_files


def teacher_of(config: Config) -> BatchTransform | None:
    """What mixes masks with the probability of the config's teacher; None without one."""
    settings = config.train
    if settings.teacher is None:
        return None
    return load_teacher(Path(settings.teacher), config.data.size, settings.teacher_weight)


def load_teacher(path: Path, size: int, weight: float) -> BatchTransform:
    """What mixes the masks of a batch with the mean probability of the teacher's models.

    Args:
        path: As `teacher_files` takes it.
        size: Side in pixels of the student's images; a teacher of another size sees them resized.
        weight: Share of the teacher.

    Raises:
        ModelError: A file is missing or no model of one probability a pixel.
    """
    models = [_at_size(load_model(file), file, size) for file in teacher_files(path)]

    def change_masks(images: Any, masks: Any) -> Any:
        probability = sum(model(images, training=False) for model in models) / len(models)
        return (1.0 - weight) * ops.cast(masks, "float32") + weight * probability

    return change_masks


def _at_size(model: keras.Model, file: Path, size: int) -> keras.Model:
    """The model for images of another size than its own; its weights are not trained."""
    model.trainable = False
    side = model.input_shape[1]
    if tuple(model.output.shape[1:]) != (side, side, 1):
        raise ModelError(f"{file}: gives {tuple(model.output.shape)}; expected one probability a pixel of its input")
    if side in (size, None):
        return model
    image = keras.Input((size, size, 3))
    smaller = side < size
    seen = keras.layers.Resizing(side, side, antialias=smaller, dtype="float32")(image)
    return keras.Model(image, keras.layers.Resizing(size, size, dtype="float32")(model(seen)))
