"""The threshold of a run: chosen on its validation split, and on nothing else.

The mean Dice over the validation images with a polyp, as they are and perturbed (`data.perturbations`), is worked out
at 255 thresholds, at the images' own sizes; the best is written to RUN/threshold.json, where every engine finds it. The
test split never takes part.

Then a second threshold is chosen, for restraint where there is no polyp: a component of the mask counts only where one
of its pixels reaches it (`preprocess.to_mask`). It is the highest of `PEAKS` that costs at most `MOST_DICE_LOST`.

Decisions:
- Frames as they are alone choose badly: a model is surer of the endoscopes that it was trained on than of others, so
  that high thresholds cost nothing there and polyps elsewhere (docs/explanation/experiments.md has the figures).
- What the peak threshold may cost is a price, not a finding: no image tells how many false alarms a polyp is worth.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np

from polypseg.arrays import Mask, Probability
from polypseg.data.perturbations import PERTURBATIONS, Perturbation
from polypseg.evaluate.group import OUT_OF_FOLD, validation_plans
from polypseg.evaluate.measure import read_pair
from polypseg.evaluate.plan import Plan, model_digest, plan_run, with_tta
from polypseg.evaluate.score import predict_cases
from polypseg.evaluate.selection import Selection
from polypseg.metrics.overlap import dice
from polypseg.metrics.thresholds import NUM_LEVELS, ThresholdCurves, level_histogram, threshold_of, to_levels
from polypseg.preprocess import to_mask, whole_frame
from polypseg.progress import Track, silent
from polypseg.records.lock import alone_at
from polypseg.records.run import open_run
from polypseg.records.threshold import NAME, Threshold, save_threshold

CHOSEN_ON = "validation"
PEAKS = (0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
MOST_DICE_LOST = 0.005
"""Of the mean Dice that chose the threshold, for the sake of frames without a polyp."""


def tune_threshold(
    run: Path,
    data: Path | None = None,
    batch_size: int = 8,
    track: Track = silent,
    tta: str = "none",
    perturbations: Mapping[str, Perturbation] = PERTURBATIONS,
) -> Threshold:
    """The threshold of the best mean Dice on the run's validation split, after it was stored in the run.

    Args:
        run: The run folder; of a cross-validation each image is predicted by the member that did not see it.
        data: Where the run's own data are now; None for where they were.
        batch_size: Images that the model sees at once.
        track: Shows progress.
        tta: Test-time augmentation (`predict.mirroring.TTAS`).
        perturbations: How the images are changed, each in all of these ways; `UNPERTURBED` leaves them as they are.

    Raises:
        BusyError: Another process chooses the run's threshold.
        RunError: Not a run.
        SplitError: The run has no validation split, or its data changed.
        ScoreError: No validation image shows a polyp.
    """
    opened = open_run(run)
    with alone_at(opened.folder / NAME):
        return _tune(run, bool(opened.config().split.folds), data, (batch_size, tta), perturbations, track)


def _tune(
    run: Path,
    is_cross_validation: bool,
    data: Path | None,
    how: tuple[int, str],
    perturbations: Mapping[str, Perturbation],
    track: Track,
) -> Threshold:
    """As `tune_threshold`, with a batch size and an augmentation, of a run whose threshold nobody else chooses."""
    batch_size, tta = how
    plans = validation_plans(run, data, track) if is_cross_validation else []
    plans = plans or [plan_run(run, data, Selection(split=CHOSEN_ON), track)]
    plans = [with_tta(plan, tta) for plan in plans]
    pairs = partial(_validation_pairs, plans, perturbations, batch_size, track)
    curves = ThresholdCurves()
    for probability, reference in pairs():
        curves.add(level_histogram(to_levels(probability), reference))
    threshold = curves.best_threshold("dice")
    peak, dice_with_peak = _best_peak(pairs(), threshold)
    tuned = Threshold(
        threshold=threshold,
        dice=float(curves.mean_dice[_level_of(threshold)]),
        dice_at_half=float(curves.mean_dice[_level_of(0.5)]),
        num_frames=curves.num_polyp_images,
        peak_threshold=peak,
        dice_with_peak=dice_with_peak,
        chosen_on=OUT_OF_FOLD if is_cross_validation else CHOSEN_ON,
        chosen_by="largest mean Dice over the images with a polyp",
        peak_chosen_by=f"the highest of {PEAKS} that costs at most {MOST_DICE_LOST} of it",
        perturbations=tuple(perturbations),
        tta=tta,
        data_digest=" ".join(plan.data_digest() for plan in plans),
        model_digest=model_digest(run if is_cross_validation else Path(str(plans[0].source.model))),
        time=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    save_threshold(run, tuned)
    return tuned


def _best_peak(pairs: Iterable[tuple[Probability, Mask]], threshold: float) -> tuple[float, float]:
    """The highest peak threshold that costs little Dice at the threshold, and the mean Dice with it."""
    candidates = (0.0, *(peak for peak in PEAKS if peak > threshold))
    dices = [
        [dice(to_mask(probability, threshold, peak), reference) for peak in candidates]
        for probability, reference in pairs
        if reference.any()
    ]
    means = np.mean(dices, axis=0)
    best = max(index for index, mean in enumerate(means) if mean >= means[0] - MOST_DICE_LOST)
    return candidates[best], float(means[best])


def _validation_pairs(
    plans: Sequence[Plan], perturbations: Mapping[str, Perturbation], batch_size: int, track: Track
) -> Iterable[tuple[Probability, Mask]]:
    """Probability and reference of each case in each perturbation, at its own size."""

    def pairs() -> Iterator[tuple[Probability, Mask]]:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for plan, perturbation in product(plans, perturbations.values()):
                if plan.engine is None:
                    continue
                predictions = predict_cases(plan.engine, plan.cases, batch_size, pool, plan.tta, perturbation)
                for case, prediction in zip(plan.cases, predictions, strict=True):
                    probability, reference = read_pair(case, prediction)
                    seen = prediction.field or whole_frame(reference.shape)
                    changed = perturbation.mask(seen.crop(reference))
                    yield probability, np.asarray(seen.place(changed, (reference.shape[0], reference.shape[1])), bool)

    return track(pairs(), "choosing the threshold", sum(len(plan.cases) for plan in plans) * len(perturbations))


def _level_of(threshold: float) -> int:
    """The first level that the threshold takes for polyp."""
    levels = np.array([threshold_of(level) for level in range(NUM_LEVELS)])
    return int(np.searchsorted(levels, threshold - 1e-12))
