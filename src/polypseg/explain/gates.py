"""Whether a model's attention gates work: how open they are, how much they tell places apart, what they are worth.

Decisions:
- Coefficients are measured at the gate's own size, over what the model sees: the lit field where it is trained on it.
- A gate is held at the mean of its own coefficients over all frames: it then scales its skip by one number, as if it
  were not there. The finer gates are free to answer to that.
- Dice is that of the masks that a user gets, at the image's own size, over the frames with a polyp.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from polypseg.arrays import Image, Mask, check_image
from polypseg.data.samples import Sample, load_sample
from polypseg.errors import DataError, ModelError
from polypseg.metrics.overlap import dice
from polypseg.predict.engines.keras_engine import gate_levels
from polypseg.preprocess import Field, FieldRule, field_of, normalise, put_back, resize_image, to_mask
from polypseg.progress import Track, silent
from polypseg.records.digests import file_digests
from polypseg.records.gates import GateFigures, GatesRecord, load_gates, save_gates
from polypseg.records.run import Run
from polypseg.records.threshold import load_threshold
from polypseg.train.samples import run_samples

if TYPE_CHECKING:
    import keras

    from polypseg.models.held_gates import HeldGates

BATCH_SIZE = 8

Frame = tuple[Image, Mask]
"""An image (H, W, 3) uint8 and its reference (H, W) bool."""


class SampleFrames:
    """The frames of samples, read from the disk as they are needed, each time that they are gone through.

    Args:
        samples: As found and checked.
        track: Shows the progress of each time.
    """

    def __init__(self, samples: Sequence[Sample], track: Track = silent) -> None:
        self._samples, self._track = samples, track

    def __iter__(self) -> Iterator[Frame]:
        for sample in self._track(self._samples, "measuring gates", len(self._samples)):
            yield load_sample(sample)


class _Batch(NamedTuple):
    """Frames as the model sees them; `pixels` is filled up to the batch size."""

    pixels: NDArray[np.float32]
    fields: tuple[Field, ...]
    references: tuple[Mask, ...]


def measure_gates(
    model: "keras.Model",
    frames: Iterable[Frame],
    threshold: float = 0.5,
    peak_threshold: float = 0.0,
    field: FieldRule = "whole",
) -> GatesRecord:
    """The mean and the spread of each gate's coefficients, and the Dice that is lost where the gate is held.

    Args:
        model: An `attention_unet` with plain or normalised gates, as trained or loaded.
        frames: Images of any sizes with their references; they are gone through twice, so a list, or `SampleFrames`.
        threshold: A pixel is polyp from this probability on.
        peak_threshold: As of `to_mask`.
        field: `auto` where the model was trained on the lit field alone.

    Raises:
        ModelError: The model has no gates, or no fixed input size.
        DataError: There is no frame, or the frames can be gone through once only.
    """
    from polypseg.models.held_gates import HeldGates

    levels = gate_levels(model)
    if not levels:
        raise ModelError(f"the model {model.name!r} has no attention gates; expected an attention_unet")
    if None in model.input_shape[1:3]:
        raise ModelError(f"the model {model.name!r} has no fixed input size; build it with one")
    if iter(frames) is frames:
        raise DataError("the frames are gone through twice; expected a list of (image, reference), found an iterator")
    held = HeldGates(model, {layer.name: level for level, layer in levels.items()})
    size, cuts = int(model.input_shape[1]), (threshold, peak_threshold)
    means: dict[int, list[float]] = {level: [] for level in levels}
    spreads: dict[int, list[float]] = {level: [] for level in levels}
    as_it_is: list[float] = []
    num_frames = 0
    for batch in _batches(frames, size, field):
        count = len(batch.fields)
        num_frames += count
        outputs = held.run(batch.pixels)
        as_it_is += _dice_values(outputs.probabilities, batch, cuts)
        for level, values in outputs.coefficients.items():
            means[level] += values[:count].mean((1, 2), dtype=np.float64).tolist()
            spreads[level] += values[:count].std((1, 2), dtype=np.float64).tolist()
    if not num_frames:
        raise DataError("no frame was given; expected at least one (image, reference)")
    overall = {level: float(np.mean(values)) for level, values in means.items()}
    lost = _dice_lost(held, _batches(frames, size, field), overall, cuts, as_it_is)
    return GatesRecord(
        gates=tuple(
            GateFigures(
                level=level, mean=overall[level], spread=float(np.mean(spreads[level])), dice_lost=lost.get(level)
            )
            for level in sorted(levels)
        ),
        num_frames=num_frames,
        num_polyp_frames=len(as_it_is),
        dice=float(np.mean(as_it_is)) if as_it_is else None,
        threshold=threshold,
        peak_threshold=peak_threshold,
        time=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def measure_run_gates(run: Run, data: Path | None = None, track: Track = silent) -> GatesRecord | None:
    """The gates of a run's best model over its validation frames; they are saved in the run.

    Args:
        run: A run, not a group of runs.
        data: As of `run_samples`.
        track: Shows the progress.

    Returns:
        What is saved already where the model and the thresholds are still the same; None where the model has no gates.

    Raises:
        ModelError: The best model is missing or damaged.
        PairingError: The data are gone.
    """
    from polypseg.models.checkpoint import load_model

    model = load_model(run.best_path)
    if not gate_levels(model):
        return None
    digest, chosen = file_digests([run.best_path])[run.best_path], load_threshold(run.folder)
    known = load_gates(run.folder)
    cuts = (chosen.threshold, chosen.peak_threshold)
    if known is not None and known.model_digest == digest and (known.threshold, known.peak_threshold) == cuts:
        return known
    found, _ = run_samples(run, data)
    frames = SampleFrames(run.split().select(found, "validation"), track)
    measured = measure_gates(model, frames, *cuts, run.config().data.field)
    record = measured.model_copy(update={"measured_on": "validation", "model_digest": digest})
    save_gates(run.folder, record)
    return record


def _batches(frames: Iterable[Frame], size: int, field: FieldRule) -> Iterator[_Batch]:
    """The frames in batches of one size, so that the model is compiled once."""
    waiting = iter(frames)
    while chunk := list(islice(waiting, BATCH_SIZE)):
        fields = tuple(field_of(check_image(image), field)[0] for image, _ in chunk)
        squares = [resize_image(seen.crop(image), (size, size)) for seen, (image, _) in zip(fields, chunk, strict=True)]
        filled = squares + [squares[-1]] * (BATCH_SIZE - len(squares))
        yield _Batch(normalise(np.stack(filled)), fields, tuple(reference for _, reference in chunk))


def _dice_lost(
    held: "HeldGates",
    batches: Iterable[_Batch],
    values: dict[int, float],
    cuts: tuple[float, float],
    as_it_is: Sequence[float],
) -> dict[int, float]:
    """By level, what is lost of the mean Dice where that gate is held at its value; empty without a polyp."""
    if not as_it_is:
        return {}
    scores: dict[int, list[float]] = {level: [] for level in values}
    for batch in batches:
        for level, value in values.items():
            probabilities = held.run(batch.pixels, level, value).probabilities
            scores[level] += _dice_values(probabilities, batch, cuts)
    return {level: float(np.mean(as_it_is) - np.mean(found)) for level, found in scores.items()}


def _dice_values(probabilities: NDArray[np.float32], batch: _Batch, cuts: tuple[float, float]) -> list[float]:
    """The Dice of each frame of a batch that shows a polyp."""
    found = []
    for values, field, reference in zip(probabilities, batch.fields, batch.references, strict=False):
        if reference.any():
            found.append(dice(to_mask(put_back(values[..., 0], field, reference.shape), *cuts), reference))
    return found
