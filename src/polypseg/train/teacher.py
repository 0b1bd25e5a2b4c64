"""Distillation: a trained model, or the members of a cross-validation, whose probabilities a smaller one learns from.

Decisions:
- The teacher sees the batch as the student does, augmented and recomposed, so that its answer belongs to that picture.
- Reference and probability are mixed before the loss, so that every loss that takes probabilities serves, and the mask
  keeps a say where the teacher errs.
- A teacher that was trained on the student's validation images flatters the student there; docs/training.md says so.
"""

import hashlib
from pathlib import Path
from typing import Any

import keras
from keras import ops

from polypseg.config import Config
from polypseg.data.batches import Soften
from polypseg.data.splits import file_digests
from polypseg.errors import ModelError, RunError
from polypseg.models.checkpoint import load_model
from polypseg.train.run import Run


def teacher_files(path: Path) -> list[Path]:
    """The `.keras` files of a teacher: the file itself, a run's best, or the best of each member of a group of runs.

    Raises:
        ModelError: Nothing of the kind is there, or a member has no finished epoch.
    """
    if path.is_file():
        return [path]
    run = Run(path)
    files = [member.best_path for member in run.members()] or [run.best_path]
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise ModelError(
            f"train.teacher {path}: {missing[0]} is not there; expected a run with a finished epoch, a folder of such "
            "runs (--folds), or a .keras file"
        )
    return files


def teacher_digest(path: Path) -> str:
    """SHA-256 over the digests of the teacher's files, in hex: one value, the same teacher."""
    files = teacher_files(path)
    digests = file_digests(files)
    return hashlib.sha256("".join(digests[file] for file in files).encode()).hexdigest()


def check_teacher(run: Run, config: Config) -> None:
    """Nothing where the training has no teacher, or the one that it began with.

    Raises:
        RunError: Another one is there now.
        ModelError: None is there.
    """
    if config.train.teacher is None:
        return
    known = run.environment().get("teacher_digest")
    if known not in (None, teacher_digest(Path(config.train.teacher))):
        raise RunError(
            f"{config.train.teacher}: not the teacher that {run.folder} began with; put its files back from a copy, or "
            "start a new run (--name)"
        )


def with_absolute_teacher(config: Config) -> Config:
    """So that a resume finds it from wherever it is called."""
    path = str(Path(str(config.train.teacher)).resolve())
    return config.model_copy(update={"train": config.train.model_copy(update={"teacher": path})})


def teacher_of(config: Config) -> Soften | None:
    """What mixes masks with the probability of the config's teacher; None without one."""
    settings = config.train
    if settings.teacher is None:
        return None
    return load_teacher(Path(settings.teacher), config.data.size, settings.teacher_weight)


def load_teacher(path: Path, size: int, weight: float) -> Soften:
    """What mixes the masks of a batch with the mean probability of the teacher's models.

    Args:
        path: As `teacher_files` takes it.
        size: Side in pixels of the student's images; a teacher of another size sees them resized.
        weight: Share of the teacher.

    Raises:
        ModelError: A file is missing or no model of one probability a pixel.
    """
    models = [_at_size(load_model(file), file, size) for file in teacher_files(path)]

    def soften(images: Any, masks: Any) -> Any:
        probability = sum(model(images, training=False) for model in models) / len(models)
        return (1.0 - weight) * ops.cast(masks, "float32") + weight * probability

    return soften


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
