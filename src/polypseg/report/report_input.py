"""Everything that a report is filled from: an evaluation, and the run that it judges where that is at hand.

Decisions:
- Saved results are read and nothing is computed again; no model is opened.
- A part of a run that is missing or damaged does not stop the report: it is named, and what would come from it is
  unknown.
- The run's count of evaluations is read now, not when the evaluation was made: it may have grown since.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from polypseg.config import Config
from polypseg.data.terms_of_use import TermsOfUse, terms_of_sources, terms_of_split, terms_of_use
from polypseg.errors import PolypsegError
from polypseg.records.curves import EvaluationCurves
from polypseg.records.digests import file_digests
from polypseg.records.environment import Environment
from polypseg.records.evaluation import RUN_FOLDER, Evaluation, open_evaluation
from polypseg.records.evaluation_record import EvaluationRecord
from polypseg.records.evaluations import CountedEvaluation, read_evaluations
from polypseg.records.explanation import FOLDER as EXPLANATION_FOLDER
from polypseg.records.explanation import NAME as EXPLANATION_NAME
from polypseg.records.explanation import Explanation, load_explanation
from polypseg.records.gates import GatesRecord, load_gates
from polypseg.records.model_facts import ModelFacts
from polypseg.records.run import Run
from polypseg.records.scores import Scores
from polypseg.records.split import SPLIT_NAMES, Split
from polypseg.records.summary import HeldPromise, LeakRecord, Provenance, Summary
from polypseg.records.threshold import DEFAULT, Threshold, load_threshold
from polypseg.records.training_state import HistoryRow
from polypseg.report.curve_panels import holds_probabilities

T = TypeVar("T")


@dataclass(frozen=True)
class RunFacts:
    """What a run folder tells; what it does not hold is None or empty.

    Attributes:
        folder: The run folder.
        config: All settings.
        split: The manifest.
        environment: Versions, machine, data folder, command, starts.
        history: A row an epoch; empty for a group of runs.
        evaluations: Every evaluation of the run, the first one first.
        threshold: How the threshold was chosen.
        others: Name and summary of the run's other evaluations.
        is_unchanged: Whether the checkpoint is the one that was scored; None where that cannot be told.
        member_histories: Of a cross-validation or of several seeds: each member's history by its name.
        gates: The attention gates of the checkpoint as it is now; by the members' names, a single run's by an empty
            one. Empty where they were not measured, or there are none.
    """

    folder: Path
    config: Config | None = None
    split: Split | None = None
    environment: Environment | None = None
    history: Sequence[HistoryRow] = ()
    evaluations: Sequence[CountedEvaluation] = ()
    threshold: Threshold = DEFAULT
    others: Mapping[str, Summary] = field(default_factory=dict)
    is_unchanged: bool | None = None
    member_histories: Mapping[str, Sequence[HistoryRow]] = field(default_factory=dict)
    gates: Mapping[str, GatesRecord] = field(default_factory=dict)

    @property
    def monitor(self) -> str:
        """What chose the checkpoint: val_loss or val_dice."""
        return self.config.train.monitor if self.config else "val_loss"

    @property
    def best_epoch(self) -> HistoryRow | None:
        """The row of the best monitored value, which is the checkpoint's; None without one."""
        return self.best_row(self.history)

    def best_row(self, history: Sequence[HistoryRow]) -> HistoryRow | None:
        """The row of the best monitored value of a history; None without one."""
        rows = [row for row in history if np.isfinite(row.get(self.monitor, np.nan))]
        sign = 1 if self.monitor == "val_loss" else -1
        return min(rows, key=lambda row: sign * row[self.monitor]) if rows else None

    @property
    def shared_groups(self) -> list[str] | None:
        """The groups (sequences, patients) that are in more than one split; None where no sample has a group."""
        if self.split is None or not any(entry.group for entry in self.split.entries.values()):
            return None
        splits: dict[str, set[str]] = {}
        for entry in self.split.entries.values():
            if entry.group:
                splits.setdefault(entry.group, set()).add(entry.split)
        return sorted(group for group, found in splits.items() if len(found) > 1)

    @property
    def times_test_was_scored(self) -> int:
        """In how many evaluations images of the test split took part."""
        return sum("test" in entry.splits for entry in self.evaluations)


@dataclass(frozen=True)
class ReportInput:
    """What a report is filled from.

    Attributes:
        evaluation: The folder.
        scores: One row per image.
        summary: Every aggregate.
        details: evaluation.json: what was scored and how.
        curves: What depends on the threshold.
        run: The run that is judged; None where there is none, or it is not at hand.
        explanation: How faithful the model's maps are, where `polypseg explain` measured this very model.
        unreadable: What should be there and could not be read, a sentence each.
    """

    evaluation: Evaluation
    scores: Scores
    summary: Summary
    details: EvaluationRecord
    curves: EvaluationCurves
    run: RunFacts | None = None
    unreadable: tuple[str, ...] = ()
    explanation: Explanation | None = None

    @property
    def held(self) -> HeldPromise | None:
        """What was found of a calibration's promise; None where none was scored."""
        return self.source.held

    @property
    def source(self) -> Provenance:
        """What is judged, on which data, by which command."""
        return self.summary.provenance

    @property
    def subject(self) -> str:
        """The name of what is judged: run, model file or folder of predictions."""
        path = Path(self.source.subject)
        generic = path.name.lower() in ("masks", "predictions", "results", "images")
        return f"{path.parent.name}/{path.name}" if generic and path.parent.name else path.resolve().name

    @property
    def model_says(self) -> ModelFacts | None:
        """What the scored model file says of itself; None for a run and for maps."""
        return self.source.facts

    @property
    def data(self) -> str:
        """The folder of the data that were scored; empty where only polyp-free predictions were."""
        return self.source.data_folder

    @property
    def data_name(self) -> str:
        """The name of the data set, or of the folder that holds it, as far as it is known."""
        folder = Path(self.data)
        generic = folder.name.lower() in ("images", "masks", "references")
        return self.terms_of_use.title or (folder.parent.name if generic else folder.name) or "its images"

    @property
    def polyps(self) -> Scores:
        """The rows of the images with a polyp."""
        return self.scores.select(self.scores.has_polyp)

    @property
    def polyp_free(self) -> Scores:
        """The rows of the images without one."""
        return self.scores.select(self.scores.is_polyp_free)

    @property
    def leaks(self) -> Sequence[LeakRecord]:
        """The scored images that show what a training image shows."""
        return self.source.leaks.pairs

    @property
    def has_probabilities(self) -> bool:
        """Whether the maps hold more than black and white."""
        return holds_probabilities(self.curves)

    @cached_property
    def terms_of_use(self) -> TermsOfUse:
        """Of the data that were scored."""
        is_own = self.source.split in SPLIT_NAMES
        if is_own and any(self.scores.sources):
            return terms_of_sources(self._scored_sources())
        return terms_of_use(self.data, self.scores.names, (self.source.split_source or "") if is_own else "")

    @cached_property
    def training_terms_of_use(self) -> TermsOfUse | None:
        """Of the data that were trained on; None where unknown which."""
        if self.run is None or self.run.split is None:
            return None
        folder = self.run.environment.data if self.run.environment else ""
        return terms_of_split(self.run.split, self.run.config.sources if self.run.config else {}, folder)

    def _scored_sources(self) -> dict[str, tuple[str, list[str]]]:
        """Of a run with several sources: the folder of each that was scored, and the names of its images."""
        sources = self.run.config.sources if self.run and self.run.config else {}
        found: dict[str, tuple[str, list[str]]] = {}
        for name, source in zip(self.scores.names, self.scores.sources, strict=True):
            folder = (sources[source].path or "") if source in sources else ""
            found.setdefault(source, (folder, []))[1].append(name.removeprefix(f"{source}_"))
        return found


def read_report_input(path: Path | str) -> ReportInput:
    """What a report is filled from.

    Args:
        path: A run folder (its test split), a folder that evaluate wrote, or its scores.csv.

    Raises:
        ScoreError: There is no finished evaluation, or a file of it is missing or damaged.
    """
    evaluation = open_evaluation(path)
    scores, summary, details = evaluation.scores(), evaluation.summary(), evaluation.record()
    folder = _run_folder(Path(path), evaluation, summary.provenance)
    unreadable: list[str] = []
    if folder is None and summary.provenance.run is not None:
        unreadable.append(f"the run folder {summary.provenance.run} is not there any more")
    run = _read_run(folder, evaluation, summary.provenance, unreadable) if folder else None
    explanation = _read_explanation(evaluation, folder, summary.provenance, unreadable)
    return ReportInput(evaluation, scores, summary, details, evaluation.curves(), run, tuple(unreadable), explanation)


def _read_explanation(
    evaluation: Evaluation, run: Path | None, source: Provenance, unreadable: list[str]
) -> Explanation | None:
    """The record of `polypseg explain` of the model that was scored, from the run or from beside the scores."""
    for place in [*([run] if run else []), evaluation.folder]:
        folder = place / EXPLANATION_FOLDER
        if not (folder / EXPLANATION_NAME).is_file():
            continue
        try:
            found = load_explanation(folder)
        except PolypsegError as error:
            unreadable.append(str(error).partition("\n")[0])
            continue
        if found.model_sha256 == source.model_digest:
            return found
    return None


def _run_folder(path: Path, evaluation: Evaluation, source: Provenance) -> Path | None:
    """The run that is judged: the one that was named, that the evaluation lies in, or that it recorded."""
    if source.run is None:
        return None
    candidates = [path, Path(source.run)]
    if evaluation.folder.resolve().parent.name == RUN_FOLDER:
        candidates.insert(1, evaluation.folder.resolve().parent.parent)
    return next((candidate for candidate in candidates if (candidate / "config.toml").is_file()), None)


def _read_run(folder: Path, evaluation: Evaluation, source: Provenance, unreadable: list[str]) -> RunFacts:
    run = Run(folder)

    def read(what: Callable[[], T], otherwise: T) -> T:
        try:
            return what()
        except PolypsegError as error:
            unreadable.append(str(error).partition("\n")[0])
            return otherwise

    members: list[Run] = read(run.members, [])
    gates = {
        member.folder.name if members else "": (member, read(partial(load_gates, member.folder), None))
        for member in members or [run]
    }
    return RunFacts(
        folder,
        read(run.config, None),
        read(run.split, None),
        read(run.environment, None),
        [] if members else read(run.history, []),
        read(lambda: read_evaluations(run), ()),
        read(lambda: load_threshold(folder), DEFAULT),
        _others(folder, evaluation),
        _is_unchanged(run, source),
        {member.folder.name: read(member.history, []) for member in members},
        {name: record for name, (member, record) in gates.items() if record and _is_of(record, member)},
    )


def _others(folder: Path, evaluation: Evaluation) -> dict[str, Summary]:
    """The summaries of the run's other finished evaluations, by the names of their folders."""
    found = {}
    for place in sorted((folder / RUN_FOLDER).glob("*/summary.json")):
        other = Evaluation(place.parent)
        if place.parent.resolve() != evaluation.folder.resolve() and other.scores_path.is_file():
            try:
                found[place.parent.name] = other.summary()
            except PolypsegError:
                continue
    return found


def _is_of(record: GatesRecord, run: Run) -> bool:
    """Whether the gates are those of the run's checkpoint, as far as it is there."""
    return not run.best_path.is_file() or file_digests([run.best_path])[run.best_path] == record.model_digest


def _is_unchanged(run: Run, source: Provenance) -> bool | None:
    if not run.best_path.is_file() or source.model_digest is None:
        return None
    return bool(file_digests([run.best_path])[run.best_path] == source.model_digest)


def split_counts(split: Split) -> dict[str, tuple[int, int]]:
    """Numbers of images and of groups of each split."""
    entries = {name: [entry for entry in split.entries.values() if entry.split == name] for name in SPLIT_NAMES}
    return {name: (len(own), len({entry.group for entry in own if entry.group})) for name, own in entries.items()}
