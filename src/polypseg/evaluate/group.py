"""What a group of runs says together: out-of-fold scores of a cross-validation, and figures over several seeds.

Decisions:
- Out of fold each sample is predicted by the one member that did not see it. The rows of the members' validations
  stand in one evaluation folder, RUN/evaluation/out-of-fold, which is like any other: it can be summed up and compared.
- Over seeds the mean of a figure has Student's interval over the runs; the best run is no figure of a method.
"""

import csv
import io
import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import numpy as np
from scipy import stats

from polypseg.errors import RunError, UsageError
from polypseg.evaluate.evaluation import default_folder
from polypseg.evaluate.plan import Plan, model_digest, plan_run, with_tta
from polypseg.evaluate.score import ScoreOptions, score
from polypseg.evaluate.selection import Selection
from polypseg.evaluate.summary import SummaryOptions, summarise
from polypseg.progress import Track, silent
from polypseg.records.atomic import replacing, write_text
from polypseg.records.evaluation import Evaluation, run_evaluation
from polypseg.records.evaluation_record import EvaluationRecord
from polypseg.records.reading import as_json
from polypseg.records.run import Run, open_run
from polypseg.records.seeds import OverSeeds, SeedFigures, save_seed_figures
from polypseg.records.summary import Circumstances, Summary
from polypseg.records.threshold import load_threshold

OUT_OF_FOLD = "out-of-fold"
FIGURES = ("dice", "iou")
"""What `seed_figures` sums up."""


def over_seeds(values: Sequence[float]) -> OverSeeds:
    """Mean and 95 % interval of a figure that each run gives once.

    >>> [round(value, 3) for _, value in over_seeds([0.8, 0.9])]  # t(0.975, 1) = 12.706, times 0.0707 / sqrt(2) = 0.05
    [0.85, 0.215, 1.485, 0.071]
    """
    array = np.asarray(values, np.float64)
    mean = float(array.mean())
    if len(array) < 2:
        return OverSeeds(mean=mean, low=None, high=None, deviation=None)
    deviation = float(array.std(ddof=1))
    reach = float(stats.t.ppf(0.975, len(array) - 1)) * deviation / float(np.sqrt(len(array)))
    return OverSeeds(mean=mean, low=mean - reach, high=mean + reach, deviation=deviation)


def seed_figures(folder: Path, split: str = "test") -> SeedFigures:
    """The figures of each member's evaluation of a split and of all together, after seeds.json is written.

    Args:
        folder: A group of runs whose members were all evaluated.
        split: Of the members.

    Raises:
        RunError: Not a group.
        ScoreError: A member was not evaluated.
    """
    group = _group(folder)
    runs: dict[str, dict[str, float | None]] = {}
    for member in group.members():
        metrics = run_evaluation(member, split).summary().metrics
        runs[member.folder.name] = {figure: metrics[figure].mean for figure in FIGURES}
    dice, iou = (over_seeds([_or_nan(run[figure]) for run in runs.values()]) for figure in FIGURES)
    figures = SeedFigures(split=split, num_runs=len(runs), runs=runs, dice=dice, iou=iou)
    save_seed_figures(group.folder, figures)
    return figures


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def validation_plans(folder: Path, data: Path | None = None, track: Track = silent) -> list[Plan]:
    """The validation of each member, at the group's thresholds.

    Raises:
        RunError: Not a group.
        UsageError: Not a cross-validation.
    """
    group = _group(folder)
    if not group.config().split.folds:
        raise UsageError(f"{folder}: its runs differ in their seed; only a cross-validation has out-of-fold scores")
    stored = load_threshold(folder)
    plans = [plan_run(member.folder, data, Selection(split="validation"), track) for member in group.members()]
    return [
        replace(
            plan,
            threshold=stored.threshold,
            peak_threshold=stored.peak_threshold,
            threshold_source=stored.source,
            is_recalibrated=False,  # a member's own, and the thresholds are the group's
        )
        for plan in plans
    ]


def out_of_fold(
    folder: Path,
    data: Path | None = None,
    score_options: ScoreOptions | None = None,
    summary_options: SummaryOptions | None = None,
    command: str = "",
    track: Track = silent,
    tta: str = "none",
) -> tuple[Evaluation, Summary]:
    """The scores of each sample by the member that did not see it, and their summary.

    Args:
        folder: A cross-validation.
        data: Where its data are now; None for where they were.
        score_options: How images are scored.
        summary_options: How scores are summed up.
        command: What the user typed, for the record.
        track: Shows progress.
        tta: Test-time augmentation (`predict.mirroring.TTAS`).

    Raises:
        RunError: Not a group.
        UsageError: Not a cross-validation.
        ScoreError: As of `score`.
    """
    plans = [with_tta(plan, tta) for plan in validation_plans(folder, data, track)]
    scored = [score(plan, default_folder(plan), score_options, track) for plan in plans]
    evaluation = run_evaluation(Run(folder), OUT_OF_FOLD if tta == "none" else f"{OUT_OF_FOLD}-{tta}")
    _merge([found for found, _ in scored], evaluation, folder)
    circumstances = Circumstances(
        command=command,
        times_test_was_scored=None,
        num_scored_now=sum(number for _, number in scored),
        notes=(f"each image was predicted by the one of {len(plans)} members that did not see it",),
    )
    return evaluation, summarise(evaluation, summary_options, circumstances)


def _group(folder: Path) -> Run:
    group = open_run(folder)
    if not group.members():
        raise RunError(f"{folder}: a single run; expected a group of runs (polypseg train --folds or --seeds)")
    return group


def _merge(parts: Sequence[Evaluation], evaluation: Evaluation, folder: Path) -> None:
    """Rows, histograms and masks of the parts in one folder, in order of the names; scores.csv last."""
    evaluation.folder.mkdir(parents=True, exist_ok=True)
    evaluation.masks_folder.mkdir(exist_ok=True)
    evaluation.scores_path.unlink(missing_ok=True)
    names = [name for part in parts for name in part.scores().names]
    rows = [row for part in parts for row in _rows(part)[1:]]
    order = np.argsort(np.array(names))
    with replacing(evaluation.histograms_path) as temporary:
        np.save(temporary, np.concatenate([np.asarray(part.histograms()) for part in parts])[order])
    for part in parts:
        for mask in part.masks_folder.glob("*.png"):
            shutil.copyfile(mask, evaluation.masks_folder / mask.name)
    write_text(evaluation.record_path, as_json(_merged_record(parts, folder)))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([_rows(parts[0])[0], *(rows[place] for place in order)])
    write_text(evaluation.scores_path, text.getvalue())


def _rows(part: Evaluation) -> list[list[str]]:
    return list(csv.reader(io.StringIO(part.scores_path.read_text(encoding="utf-8"))))


def _merged_record(parts: Sequence[Evaluation], folder: Path) -> EvaluationRecord:
    records = [part.record() for part in parts]
    first = records[0]
    split = Run(folder).split()
    whole = {"run": str(folder), "model": str(folder), "model_digest": model_digest(folder)}
    whole |= {"split": OUT_OF_FOLD, "split_digest": split.digest(), "split_source": split.source}
    return first.model_copy(
        update={
            "id": uuid4().hex,
            "source": first.source.model_copy(update=whole),
            "data_digest": " ".join(record.data_digest for record in records),
            "samples": tuple(sorted((s for record in records for s in record.samples), key=lambda s: s.name)),
        }
    )
