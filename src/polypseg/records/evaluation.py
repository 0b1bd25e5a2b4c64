"""The evaluation folder: what an evaluation leaves behind, and the only place that knows its file names.

scores.csv       one row per image, complete; while an evaluation is going on it is called scores.csv.part
summary.json     every aggregate, with intervals, strata, negatives and provenance
evaluation.json  what is scored and how: settings, files and their digests; written before the first image
histograms.npy   pixels by class and level of each image, (N, 2, 256) int32, in the order of scores.csv
curves.npz       what depends on the threshold, summed over the images (records/curves.py)
masks/           the predicted masks, black and white PNG, one a name
maps/            the probability maps as 8-bit PNG, where they were asked for
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from polypseg.arrays import MASK_THRESHOLD, Mask
from polypseg.errors import ScoreError
from polypseg.preprocess import read_grey
from polypseg.records.curves import EvaluationCurves, read_curves
from polypseg.records.evaluation_record import EvaluationRecord
from polypseg.records.reading import FileKind, open_npy, read_json
from polypseg.records.run import Run
from polypseg.records.scores import Scores, read_scores
from polypseg.records.summary import Summary

_KIND = FileKind("file of an evaluation", ScoreError, "score again with: polypseg evaluate")

RUN_FOLDER = "evaluation"
"""Within a run folder; each evaluated split has a folder of its own in it."""


@dataclass(frozen=True)
class Evaluation:
    """An evaluation folder.

    Attributes:
        folder: Where it is.
        scores_name: The file of the rows; another name than scores.csv where a copy was opened by itself.
    """

    folder: Path
    scores_name: str = "scores.csv"

    @property
    def scores_path(self) -> Path:
        """One row per image."""
        return self.folder / self.scores_name

    @property
    def unfinished_path(self) -> Path:
        """The rows of an evaluation that is going on, or was stopped."""
        return self.folder / "scores.csv.part"

    @property
    def summary_path(self) -> Path:
        """Every aggregate."""
        return self.folder / "summary.json"

    @property
    def record_path(self) -> Path:
        """What is scored, and how."""
        return self.folder / "evaluation.json"

    @property
    def histograms_path(self) -> Path:
        """Pixels by class and level of each image."""
        return self.folder / "histograms.npy"

    @property
    def curves_path(self) -> Path:
        """What depends on the threshold, summed over the images."""
        return self.folder / "curves.npz"

    @property
    def masks_folder(self) -> Path:
        """The predicted masks."""
        return self.folder / "masks"

    def nested_folder(self, side: str) -> Path:
        """The outer or inner masks, where a calibration made them."""
        return self.folder / side

    def nested_path(self, side: str, name: str) -> Path:
        """Where the outer or inner mask of an image is written."""
        return self.nested_folder(side) / f"{name}.png"

    @property
    def maps_folder(self) -> Path:
        """The probability maps, where they were asked for."""
        return self.folder / "maps"

    def scores(self) -> Scores:
        """The rows, read from the folder.

        Raises:
            ScoreError: The evaluation is not finished, or the file is damaged.
        """
        if not self.scores_path.is_file() and self.unfinished_path.is_file():
            raise ScoreError(f"{self.folder}: this evaluation was stopped; run the same command again to finish it")
        return read_scores(self.scores_path)

    def summary(self) -> Summary:
        """The aggregates, read from the folder.

        Raises:
            ScoreError: They are missing or damaged.
        """
        return read_json(self.summary_path, Summary, _KIND)

    def record(self) -> EvaluationRecord:
        """What was scored and how, read from the folder.

        Raises:
            ScoreError: It is missing or damaged.
        """
        return read_json(self.record_path, EvaluationRecord, _KIND)

    def histograms(self) -> NDArray[np.int32]:
        """Shape (N, 2, 256), row i that of row i of the scores; read from disk as it is needed."""
        return open_npy(self.histograms_path, _KIND)

    def curves(self) -> EvaluationCurves:
        """What depends on the threshold, read from the folder.

        Raises:
            ScoreError: It is missing or damaged.
        """
        return read_curves(self.curves_path)

    def mask_path(self, name: str) -> Path:
        """Where the predicted mask of an image is."""
        return self.masks_folder / f"{name}.png"

    def map_path(self, name: str) -> Path:
        """Where the probability map of an image is, if maps were saved."""
        return self.maps_folder / f"{name}.png"

    def predicted_mask(self, name: str) -> Mask:
        """The predicted mask of an image, (H, W) bool.

        Raises:
            ImageError: There is none.
        """
        return read_grey(self.mask_path(name)) > MASK_THRESHOLD


def run_evaluation(run: Run, split: str) -> Evaluation:
    """Where the evaluation of a run's split belongs."""
    return Evaluation(run.folder / RUN_FOLDER / split)


def open_evaluation(path: Path | str) -> Evaluation:
    """The evaluation of an evaluation folder, of a run folder (its test split), or of a file of scores.

    Raises:
        ScoreError: There is no finished evaluation.
    """
    path = Path(path)
    if path.is_file():
        return Evaluation(path.parent, path.name)
    for folder in (path, path / RUN_FOLDER / "test"):
        found = Evaluation(folder)
        if found.scores_path.is_file():
            return found
        if found.unfinished_path.is_file():
            raise ScoreError(f"{folder}: this evaluation was stopped; run the same command again to finish it")
    if (path / "config.toml").is_file():
        raise ScoreError(f"{path}: this run's test split was not scored yet; do it with: polypseg evaluate {path}")
    raise ScoreError(f"{path}: no evaluation here; expected a folder or scores.csv that polypseg evaluate wrote")
