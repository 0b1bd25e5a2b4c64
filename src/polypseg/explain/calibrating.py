"""From a model and frames with references to a calibration: `polypseg calibrate`.

    frames ─► losses of every step of a family ─► means by unit ─► the first step that holds the level ─► Calibration

Decisions:
- The family is chosen before the frames are looked at: `threshold`, which has the smaller stretch at equal risk where
  whole polyps are missed (docs/explanation/doubt.md). The other one is worked out beside it, for the user to see; to
  take the better of the two after looking would weaken the promise.
- The risk `missed` is that of frames with a polyp; frames without one cannot miss. The risk `false` is that of all
  frames: a mark in a frame without a polyp is false as a whole.
- Frames that the model has seen in training make every promise too good; they are refused by their digests.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from polypseg import __version__
from polypseg.arrays import Image, Mask, Probability
from polypseg.data.samples import Sample, load_sample
from polypseg.errors import DataError, ScoreError, UsageError, plural, unknown_name
from polypseg.explain.conformal import Losses, check_level, controlled_step, fewest_units, never_rising, unit_losses
from polypseg.predict.drift import STATISTICS, frame_statistics
from polypseg.predict.nested import FAMILIES, Steps, entry_steps, steps_of
from polypseg.predict.predictor import Predictor
from polypseg.progress import Track, silent
from polypseg.records.calibration import Bound, Calibration, Family, Side
from polypseg.records.digests import file_digests, model_file_digest
from polypseg.records.run import open_run
from polypseg.records.seen import SeenImages, unpack

RISKS: dict[str, Side] = {"missed": "outer", "false": "inner"}
"""A risk and the mask that holds it."""

DEFAULT_FAMILY: Family = "threshold"


class Promise(NamedTuple):
    """What a calibration is to hold.

    Attributes:
        risks: Names of `RISKS`.
        level: The share of pixels.
        confidence: None to hold it on average.
        family: Of nested masks.
    """

    risks: Sequence[str] = ("missed", "false")
    level: float = 0.1
    confidence: float | None = None
    family: Family = DEFAULT_FAMILY

    def check(self) -> None:
        """Nothing, if it can be held.

        Raises:
            UsageError: A level or a confidence outside (0, 1), an unknown risk or family.
        """
        check_level(self.level, self.confidence)
        for risk in self.risks:
            if risk not in RISKS:
                raise UsageError(unknown_name("risk", risk, RISKS))
        if self.family not in FAMILIES:
            raise UsageError(unknown_name("family", self.family, FAMILIES))


DEFAULT = Promise()


class FrameCurves(NamedTuple):
    """One frame at every step of a family.

    Attributes:
        losses: Shape (K,), never rising; NaN where the risk is not one of this frame.
        areas: Area of the nested mask over that of the mask, shape (K,); NaN where there is no mask.
    """

    losses: NDArray[np.float64]
    areas: NDArray[np.float64]


class Choice(NamedTuple):
    """What a family needs to hold a level.

    Attributes:
        bound: The value and its stretch; None where only the whole frame (or no inner mask at all) holds it.
        least_level: The lowest level that the family holds with something between.
    """

    bound: Bound | None
    least_level: float


def frame_curves(
    family: Family, side: Side, values: Steps, found: tuple[Probability, Mask], reference: Mask
) -> FrameCurves:
    """The losses and areas of a frame at every step.

    Args:
        family: Of nested masks.
        side: `outer`: the share of the polyp's pixels that is missed; `inner`: the share of the mask that is no polyp.
        values: From `steps_of`.
        found: Probability and mask, (H, W).
        reference: Shape (H, W), bool.

    >>> row = np.array([[0.2, 0.6, 0.9]], np.float32)
    >>> reference = np.array([[True, True, False]])
    >>> frame_curves("threshold", "outer", np.array([0.5, 0.1]), (row, row >= 0.5), reference).losses.tolist()
    [0.5, 0.0, 0.0]
    """
    probability, mask = found
    steps, num_steps = entry_steps(family, side, values, probability, mask), len(values) + 1
    area = int(np.count_nonzero(mask))
    at = np.bincount(steps.ravel(), minlength=num_steps).cumsum()
    if side == "outer":
        polyp = np.bincount(steps[reference], minlength=num_steps)
        losses = 1 - polyp.cumsum() / polyp.sum() if polyp.sum() else np.full(num_steps, np.nan)
        areas = at
    else:
        areas = mask.size - at
        wrong = np.count_nonzero(~reference) - np.bincount(steps[~reference], minlength=num_steps).cumsum()
        losses = never_rising((wrong / np.maximum(areas, 1))[np.newaxis])[0]
    return FrameCurves(losses, areas / area if area else np.full(num_steps, np.nan))


def choose(
    curves: Sequence[FrameCurves], units: Sequence[int], family: Family, values: Steps, promise: Promise
) -> Choice:
    """The first value of a family that holds the level.

    Args:
        curves: Of each frame.
        units: To which unit each frame belongs.
        family: Of nested masks.
        values: From `steps_of`.
        promise: Level and confidence.
    """
    losses = np.array([curve.losses for curve in curves])
    counted = ~np.isnan(losses[:, 0])
    by_unit = unit_losses(losses[counted], _renumbered(np.asarray(units)[counted]))
    step = controlled_step(by_unit, promise.level, promise.confidence)
    least = _least_level(by_unit, promise.confidence)
    if step is None or step == len(values):
        return Choice(None, least)
    areas = np.array([curve.areas[step] for curve in curves])
    stretch = float(np.nanmean(areas)) if np.isfinite(areas).any() else 1.0
    value, risk = float(values[step]), float(by_unit[:, step].mean())
    return Choice(Bound(family=family, value=value, risk=risk, stretch=stretch), least)


def _least_level(losses: Losses, confidence: float | None) -> float:
    """The lowest level, in steps of 0.01, that is held before the last step; 1 where none is."""
    levels = [hundredths / 100 for hundredths in range(1, 100)]
    held = (level for level in levels if controlled_step(losses, level, confidence) not in (None, losses.shape[1] - 1))
    return next(held, 1.0)


def _renumbered(units: NDArray[np.intp]) -> list[int]:
    return np.unique(units, return_inverse=True)[1].tolist()  # type: ignore[no-any-return]


class Calibrated(NamedTuple):
    """What came of a calibration.

    Attributes:
        calibration: The file's value.
        others: By risk and family what the families that were not taken would need.
    """

    calibration: Calibration
    others: dict[tuple[str, Family], Choice]


def calibrate(
    model: Path, predictor: Predictor, samples: Sequence[Sample], promise: Promise = DEFAULT, track: Track = silent
) -> Calibrated:
    """A calibration of a model on frames with references.

    Args:
        model: The model's path; for its digest, and what it was trained on.
        predictor: Made from it.
        samples: With masks; those of a group are one unit.
        promise: What is to be held.
        track: Shows progress.

    Raises:
        UsageError: A level or confidence outside (0, 1), an unknown risk or family.
        DataError: Frames without masks, too few units or polyps, or frames that the model was trained on.
        ScoreError: Only the whole frame (or no inner mask) holds the level.
    """
    promise.check()
    units = unit_numbers(samples)
    _check_frames(samples, units, promise)
    digests = list(file_digests([sample.image_path for sample in samples], track).values())
    refuse_seen(samples, digests, seen_by(model, predictor))
    curves, statistics = _look_at(predictor, samples, promise, track)
    found = {
        (risk, family): choose(curves[risk, family], units, family, values, promise)
        for (risk, family), values in _values(predictor, promise).items()
    }
    bounds = {RISKS[risk]: _bound_of(found[risk, promise.family], risk, promise) for risk in promise.risks}
    options = predictor.options
    calibration = Calibration(
        level=promise.level,
        confidence=promise.confidence,
        outer=bounds.get("outer"),
        inner=bounds.get("inner"),
        model=predictor.engine.facts.name or model.name,
        model_sha256=model_file_digest(model),
        threshold=predictor.threshold,
        peak_threshold=predictor.peak_threshold,
        field=predictor.field,
        tta=options.tta,
        min_area_px=options.min_area_px,
        recalibration=str(predictor.conditions["recalibration"]),
        num_units=max(units) + 1,
        frame_sha256=tuple(digests),
        units=tuple(units),
        statistics={name: tuple(row[name] for row in statistics) for name in STATISTICS},
        data=f"{plural(len(samples), 'frame')} in {plural(max(units) + 1, 'unit')}",
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        exported_by=f"polypseg {__version__}",
    )
    return Calibrated(calibration, {key: choice for key, choice in found.items() if key[1] != promise.family})


def unit_numbers(samples: Sequence[Sample]) -> list[int]:
    """To which unit each sample belongs, from 0: its group, or itself where it has none."""
    keys = [("group", sample.group) if sample.group else ("frame", sample.name) for sample in samples]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return [numbers[key] for key in keys]


def seen_by(model: Path, predictor: Predictor) -> SeenImages:
    """The images that a model has seen in training, as far as its file or its run tells."""
    if model.is_dir():
        return open_run(model).seen()
    return unpack(predictor.engine.facts.seen_images)


def refuse_seen(samples: Sequence[Sample], digests: Sequence[str], seen: SeenImages) -> None:
    """Nothing, if the model has seen none of the images.

    Raises:
        DataError: It has.
    """
    known = [sample.name for sample, digest in zip(samples, digests, strict=True) if digest in seen]
    if known:
        raise DataError(
            f"{len(known)} of {len(samples)} frames were used to train this model ({', '.join(known[:3])}"
            f"{', …' if len(known) > 3 else ''}); what is measured on them is too good: name other frames with --data"
        )


def _check_frames(samples: Sequence[Sample], units: Sequence[int], promise: Promise) -> None:
    if all(sample.mask_path is None for sample in samples):
        raise DataError("calibration needs frames with masks, and none of these has one; name others with --data")
    _refuse_few(max(units) + 1, promise, "")


def _refuse_few(num_units: int, promise: Promise, what: str) -> None:
    needed = fewest_units(promise.level, promise.confidence)
    if num_units < needed:
        sure = "" if promise.confidence is None else f" with confidence {promise.confidence:g}"
        raise DataError(
            f"level {promise.level:g}{sure} needs at least {needed} groups{what} (sequences, patients; a frame without "
            f"one counts by itself), found {num_units}; add frames of others, or ask for a higher level"
        )


def _values(predictor: Predictor, promise: Promise) -> dict[tuple[str, Family], Steps]:
    return {
        (risk, family): steps_of(family, RISKS[risk], predictor.threshold)
        for risk in promise.risks
        for family in FAMILIES
    }


def _look_at(
    predictor: Predictor, samples: Sequence[Sample], promise: Promise, track: Track
) -> tuple[dict[tuple[str, Family], list[FrameCurves]], list[dict[str, float]]]:
    """The curves of each frame by risk and family, and its statistics."""
    values = _values(predictor, promise)
    curves: dict[tuple[str, Family], list[FrameCurves]] = {key: [] for key in values}
    statistics = []
    for image, reference in track(_pairs(samples), "calibrating", len(samples)):
        prepared = predictor.prepare(image)
        outputs = predictor.run([prepared.pixels])
        found = predictor.finish(image, prepared, outputs)
        statistics.append(frame_statistics(prepared.pixels, outputs.probabilities[0, ..., 0], float(found.mask.mean())))
        for (risk, family), steps in values.items():
            pair = found.probability, found.mask
            curves[risk, family].append(frame_curves(family, RISKS[risk], steps, pair, reference))
    if "missed" in promise.risks:
        shown = {
            unit
            for unit, curve in zip(unit_numbers(samples), curves["missed", promise.family], strict=True)
            if not np.isnan(curve.losses[0])
        }
        _refuse_few(len(shown), promise, " that show a polyp")
    return curves, statistics


def _pairs(samples: Iterable[Sample]) -> Iterator[tuple[Image, Mask]]:
    return (load_sample(sample) for sample in samples)


def _bound_of(choice: Choice, risk: str, promise: Promise) -> Bound:
    if choice.bound is None:
        only = "the whole frame as outer mask" if risk == "missed" else "no inner mask at all"
        if choice.least_level < 1:
            mend = f"{choice.least_level:g} is the lowest level that more holds"
        else:
            mend = "no level can be held on these frames"
        raise ScoreError(
            f"risk {risk}, level {promise.level:g}: only {only} holds it; {mend}; ask for a higher one with --level, "
            "or take a better model"
        )
    return choice.bound
