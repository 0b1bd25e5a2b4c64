"""The threshold of a run: chosen on its validation split, and on nothing else.

The mean Dice over the validation images with a polyp is worked out at 255 thresholds, at the images' own sizes; the
best is written to RUN/threshold.json, where every engine finds it. The test split never takes part.
"""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np

from polypseg.evaluate.measure import read_pair
from polypseg.evaluate.plan import Plan, plan_run
from polypseg.evaluate.score import predict_cases
from polypseg.evaluate.selection import Selection
from polypseg.metrics.thresholds import NUM_LEVELS, ThresholdCurves, level_histogram, threshold_of, to_levels
from polypseg.progress import Track, silent
from polypseg.train.state import write_in_one_step

CHOSEN_ON = "validation"


class TunedThreshold(NamedTuple):
    """A chosen threshold.

    Attributes:
        threshold: The probability from which on a pixel is polyp.
        dice: Mean Dice over the validation images with a polyp at it.
        dice_at_half: The same at 0.5.
        num_images: How many images with a polyp chose it.
    """

    threshold: float
    dice: float
    dice_at_half: float
    num_images: int


def tune_threshold(run: Path, data: Path | None = None, batch_size: int = 8, track: Track = silent) -> TunedThreshold:
    """The threshold of the best mean Dice on the run's validation split, after it was stored in the run.

    Args:
        run: The run folder.
        data: Where the run's own data are now; None for where they were.
        batch_size: Images that the model sees at once.
        track: Shows progress.

    Raises:
        RunError: Not a run.
        SplitError: The run has no validation split, or its data changed.
        ScoreError: No validation image shows a polyp.
    """
    plan = plan_run(run, data, Selection(split=CHOSEN_ON), track)
    curves = _validation_curves(plan, batch_size, track)
    threshold = curves.best_threshold("dice")
    tuned = TunedThreshold(
        threshold,
        dice=float(curves.mean_dice[_level_of(threshold)]),
        dice_at_half=float(curves.mean_dice[_level_of(0.5)]),
        num_images=curves.num_polyp_images,
    )
    record = {
        **tuned._asdict(),
        "chosen_on": CHOSEN_ON,
        "chosen_by": "largest mean Dice over the images with a polyp",
        "data_digest": plan.data_digest(),
        "model_digest": plan.source["model_digest"],
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_in_one_step(run / "threshold.json", json.dumps(record, indent=1))
    return tuned


def _validation_curves(plan: Plan, batch_size: int, track: Track) -> ThresholdCurves:
    curves = ThresholdCurves()
    if plan.engine is None:
        return curves
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        predictions = predict_cases(plan.engine, plan.cases, batch_size, pool)
        pairs = zip(plan.cases, predictions, strict=True)
        for case, prediction in track(pairs, "choosing the threshold", len(plan.cases)):
            probability, reference = read_pair(case, prediction)
            curves.add(level_histogram(to_levels(probability), reference))
    return curves


def _level_of(threshold: float) -> int:
    """The first level that the threshold takes for polyp."""
    levels = np.array([threshold_of(level) for level in range(NUM_LEVELS)])
    return int(np.searchsorted(levels, threshold - 1e-12))
