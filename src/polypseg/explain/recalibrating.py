"""From a model and frames with references to a recalibration: `polypseg recalibrate`.

    frames ─► counts by probability and truth in the band of each polyp ─► a rising function ─► Recalibration

Decisions:
- Only pixels near the outline of a polyp count, within `margin` square roots of its area on either side. Nine of ten
  pixels of a frame are easy background; over all of them a bad outline looks well calibrated.
- Each frame weighs the same, whatever its size, and each group (sequence, patient) as well.
- What is said of the frames that it was fitted on is cross-fitted: each group is judged by a fit without it.
- `temperature` has one number to find and cannot make background into polyp; `isotonic` follows the frames closely.
  Both leave 0 at 0: a pixel that the model rules out in the middle of the mucosa stays ruled out.

References:
    Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", ICML 2017 (temperature scaling).
    Zadrozny, Elkan, "Transforming Classifier Scores into Accurate Multiclass Probability Estimates", KDD 2002.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from polypseg.arrays import Mask, Probability
from polypseg.data.samples import Sample, load_sample
from polypseg.errors import DataError, UsageError, plural, unknown_name
from polypseg.explain.calibrating import refuse_seen, unit_numbers
from polypseg.metrics.calibration import brier_score, expected_calibration_error
from polypseg.predict.predictor import Predictor
from polypseg.progress import Track, silent
from polypseg.records.digests import file_digests, model_file_digest
from polypseg.records.onnx_metadata import read_facts
from polypseg.records.recalibration import GRID, BandFigures, Method, Recalibration
from polypseg.records.run import open_run
from polypseg.records.seen import unpack

METHODS: tuple[Method, ...] = ("temperature", "isotonic")
MARGIN = 0.25
FEWEST_FRAMES = 10
NUM_FOLDS = 5

_STEPS = 1024
_VALUES = np.linspace(0, 1, _STEPS + 1)
_EDGE = 1e-6
_LEAST_SLOPE = 1e-3
_PARTS = 1_000_000

Counts = NDArray[np.float64]
"""Shape (2, 1025): pixels that are no polyp and that are, by their probability in steps of 1/1024."""


class FrameCounts(NamedTuple):
    """One frame with a polyp; each of its parts sums up to 1.

    Attributes:
        band: Over the band around the polyp.
        whole: Over the frame.
    """

    band: Counts
    whole: Counts


class Looked(NamedTuple):
    """What was seen of some frames.

    Attributes:
        samples: Those with a polyp.
        counts: Of each.
        units: To which group each belongs.
    """

    samples: list[Sample]
    counts: list[FrameCounts]
    units: list[int]


def lesion_band(reference: Mask, margin: float = MARGIN) -> Mask:
    """The pixels within a margin of the outline of the polyp, on either side.

    Args:
        reference: Shape (H, W), bool.
        margin: In square roots of the polyp's area.

    >>> lesion_band(np.array([[1, 1, 1, 1, 0, 0, 0, 0]], bool), 0.5).astype(int).tolist()
    [[0, 0, 0, 1, 1, 0, 0, 0]]
    """
    area = np.count_nonzero(reference)
    if area in (0, reference.size):
        return np.zeros(reference.shape, bool)
    distances = [
        cv2.distanceTransform(side.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        for side in (np.ascontiguousarray(reference), np.ascontiguousarray(~reference))
    ]
    return np.asarray(np.maximum(*distances) <= margin * np.sqrt(area))


def counts_of(probability: Probability, reference: Mask, margin: float = MARGIN) -> FrameCounts | None:
    """The counts of a frame; None where there is no outline.

    Args:
        probability: Shape (H, W), float32 in [0, 1].
        reference: Shape (H, W), bool.
        margin: Of the band.
    """
    band = lesion_band(reference, margin)
    if not band.any():
        return None
    places = np.rint(probability * np.float32(_STEPS)).astype(np.intp) + (_STEPS + 1) * reference
    parts = [
        np.bincount(chosen.ravel(), minlength=2 * (_STEPS + 1)).reshape(2, -1) / chosen.size
        for chosen in (places[band], places)
    ]
    return FrameCounts(*parts)


def look_at(predictor: Predictor, samples: Sequence[Sample], margin: float = MARGIN, track: Track = silent) -> Looked:
    """The counts of the frames with a polyp, by the model's own probabilities.

    Args:
        predictor: A recalibration that it has already is not applied.
        samples: Frames; those without a mask or a polyp are left out.
        margin: Of the band.
        track: Shows progress.
    """
    engine = predictor.engine
    engine.facts = engine.facts.model_copy(update={"recalibration": None})
    plain = Predictor(engine, replace(predictor.options, calibration=None))
    found = Looked([], [], [])
    units = unit_numbers(samples)
    for sample, unit in track(zip(samples, units, strict=True), "recalibrating", len(samples)):
        if sample.mask_path is None:
            continue
        image, reference = load_sample(sample)
        counts = counts_of(plain.predict(image).probability, reference, margin)
        if counts is not None:
            found.samples.append(sample)
            found.counts.append(counts)
            found.units.append(unit)
    return found


def fit(method: Method, looked: Looked, margin: float = MARGIN) -> Recalibration:
    """The recalibration of some frames.

    Args:
        method: A name of `METHODS`.
        looked: At least one frame.
        margin: That it was looked at with.
    """
    counts = _together([each.band for each in looked.counts], looked.units)
    if method == "isotonic":
        return Recalibration(method=method, levels=_isotonic(counts), margin=margin)

    def loss(logarithm: float) -> float:
        shown = np.clip(np.interp(_VALUES, GRID, _tempered(float(np.exp(logarithm)))), _EDGE, 1 - _EDGE)
        return float(-(counts[0] * np.log(1 - shown) + counts[1] * np.log(shown)).sum())

    temperature = float(np.exp(minimize_scalar(loss, bounds=(-2.5, 2.5), method="bounded").x))
    levels = tuple(_tempered(temperature).tolist())
    return Recalibration(method=method, levels=levels, temperature=temperature, margin=margin)


def judged(looked: Looked, by: Sequence[Recalibration], data: str) -> BandFigures:
    """How reliable frames are, before and after.

    Args:
        looked: At the frames.
        by: The recalibration of each of them.
        data: The frames, in words.
    """
    found: dict[str, float] = {}
    for part in ("band", "whole"):
        given: list[Counts] = [getattr(each, part) for each in looked.counts]
        after = [_turned(each, recalibration) for each, recalibration in zip(given, by, strict=True)]
        for when, counts in (("before", given), ("after", after)):
            eight_bits = eight_bit_counts(_together(counts, looked.units))
            name = "whole" if part == "whole" else "error"
            found[f"{name}_{when}"] = expected_calibration_error(eight_bits)
            if part == "band":
                found[f"brier_{when}"] = brier_score(eight_bits)
    return BandFigures(data=data, num_frames=len(looked.counts), **found)


def cross_fitted(method: Method, looked: Looked, margin: float = MARGIN) -> list[Recalibration]:
    """For each frame the recalibration that was fitted without its group's fold."""
    fold_of = np.unique(looked.units, return_inverse=True)[1] % NUM_FOLDS
    fits = {}
    for fold in np.unique(fold_of).tolist():
        kept = np.flatnonzero(fold_of != fold).tolist()
        others = Looked([], [looked.counts[i] for i in kept], [looked.units[i] for i in kept])
        fits[fold] = fit(method, others, margin)
    return [fits[fold] for fold in fold_of.tolist()]


def recalibrate(
    model: Path, predictor: Predictor, samples: Sequence[Sample], method: str = "temperature", track: Track = silent
) -> tuple[Recalibration, Looked]:
    """The recalibration of a model on frames with references, and what was seen of them.

    Args:
        model: The model's path, for its digest.
        predictor: Made from it.
        samples: Frames that it was not trained on; those of a group weigh as one.
        method: A name of `METHODS`.
        track: Shows progress.

    Raises:
        UsageError: An unknown method.
        DataError: Too few frames with a polyp, or all of one group.
    """
    chosen = check_method(method)
    looked = look_at(predictor, samples, MARGIN, track)
    if len(looked.counts) < FEWEST_FRAMES or len(set(looked.units)) < 2:
        raise DataError(
            f"recalibration needs at least {FEWEST_FRAMES} frames with the mask of a polyp, in 2 groups or more, found "
            f"{len(looked.counts)} in {len(set(looked.units))}; add frames with --data"
        )
    figures = judged(looked, cross_fitted(chosen, looked), f"{plural(len(looked.counts), 'frame')}, cross-fitted")
    record = fit(chosen, looked).model_copy(
        update={
            "fitted": figures,
            "model_sha256": model_file_digest(model),
            "frame_sha256": tuple(file_digests([sample.image_path for sample in looked.samples]).values()),
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
        }
    )
    return record, looked


def validation_samples(folder: Path) -> list[Sample]:
    """The validation split of a run; of a group of runs the images that validate in any and train in none.

    Raises:
        DataError: The run's data are not there, or no longer what it saw.
    """
    from polypseg.data.splits import verify_split
    from polypseg.records.split import Split
    from polypseg.train.samples import run_samples

    run = open_run(folder)
    samples, _ = run_samples(run)
    splits = [member.split() for member in run.members() or [run]]
    trained = {name for split in splits for name in split.names("train")}
    chosen = {name for split in splits for name in split.names("validation")} - trained
    if not chosen:
        raise DataError(f"{folder}: every validation image trains another member; name other frames with --data")
    entries = {name: entry for split in splits for name, entry in split.entries.items() if name in chosen}
    verify_split(Split(splits[0].source, splits[0].seed, entries), samples)
    return [sample for sample in samples if sample.name in chosen]


def refuse_trained(model: Path, samples: Sequence[Sample]) -> None:
    """Nothing, if a model was not trained on any of the frames, as far as its run or its file tells.

    Frames that chose the checkpoint of a run are allowed; a model file does not tell them from those that trained.

    Raises:
        DataError: It was.
    """
    digests = list(file_digests([sample.image_path for sample in samples]).values())
    if not model.is_dir():
        refuse_seen(samples, digests, unpack(read_facts(model).seen_images))
        return
    refuse_seen(samples, digests, open_run(model).seen(("train",)))


def check_method(method: str) -> Method:
    """The method of that name.

    Raises:
        UsageError: There is none.
    """
    for known in METHODS:
        if method == known:
            return known
    raise UsageError(unknown_name("method", method, METHODS))


def eight_bit_counts(counts: Counts) -> NDArray[np.int64]:
    """Counts as `metrics.calibration` takes them, shape (2, 256), in millionths."""
    levels = np.rint(_VALUES * 255).astype(np.intp)
    return np.array([np.rint(_PARTS * np.bincount(levels, row, 256)) for row in counts]).astype(np.int64)


def band_counts(looked: Looked, recalibration: Recalibration | None = None) -> NDArray[np.int64]:
    """What a reliability diagram of the band is drawn from, shape (2, 256), in millionths."""
    counts = [each.band for each in looked.counts]
    if recalibration is not None:
        counts = [_turned(each, recalibration) for each in counts]
    return eight_bit_counts(_together(counts, looked.units))


def _together(counts: Sequence[Counts], units: Sequence[int]) -> Counts:
    """The mean over groups of the mean over each group's frames."""
    places = np.unique(units, return_inverse=True)[1]
    weights = 1 / (np.bincount(places)[places] * (places.max() + 1))
    return np.asarray(np.tensordot(weights, np.stack(counts), axes=1))


def _turned(counts: Counts, recalibration: Recalibration) -> Counts:
    """Counts by the recalibrated probability."""
    places = np.rint(np.interp(_VALUES, GRID, recalibration.levels) * _STEPS).astype(np.intp)
    return np.array([np.bincount(places, row, _STEPS + 1) for row in counts])


def _tempered(temperature: float) -> NDArray[np.float64]:
    """The nodes of σ(logit(p) / T)."""
    return _rising(1 / (1 + (1 / GRID[1:-1] - 1) ** (1 / temperature)))


def _rising(inside: NDArray[np.float64]) -> NDArray[np.float64]:
    """Nodes from 0 to 1 that rise everywhere, be it by a thousandth of what they stand for."""
    return np.concatenate([[0.0], (1 - _LEAST_SLOPE) * inside + _LEAST_SLOPE * GRID[1:-1], [1.0]])


def _isotonic(counts: Counts) -> tuple[float, ...]:
    """The nodes of the rising step function nearest to the counts, its steps joined by lines."""
    weights, truths = counts.sum(axis=0), counts[1]
    blocks: list[tuple[float, float, float]] = []  # weight, sum of truths, sum of probabilities
    for weight, truth, value in zip(weights[1:-1], truths[1:-1], _VALUES[1:-1], strict=True):
        if weight <= 0:
            continue
        block = (float(weight), float(truth), float(weight * value))
        while blocks and blocks[-1][1] * block[0] >= block[1] * blocks[-1][0]:
            last = blocks.pop()
            block = (last[0] + block[0], last[1] + block[1], last[2] + block[2])
        blocks.append(block)
    centres = [0.0, *(value / weight for weight, _, value in blocks), 1.0]
    shares = [0.0, *(truth / weight for weight, truth, _ in blocks), 1.0]
    return tuple(_rising(np.interp(GRID[1:-1], centres, shares)).tolist())
