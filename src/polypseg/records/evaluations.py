"""How often a run was scored: RUN/evaluations.json, a line an evaluation.

A test split that is scored after every change has become a validation split. The count makes that visible.
"""

from datetime import UTC, datetime
from pathlib import Path

from pydantic import ConfigDict, Field

from polypseg.errors import RunError
from polypseg.records.atomic import write_text
from polypseg.records.lock import alone_at
from polypseg.records.reading import FileKind, Saved, as_json, read_json
from polypseg.records.run import Run

PATIENCE_SECONDS = 10.0
"""For another evaluation of the run that is being written down this moment."""

_KIND = FileKind("list of a run's evaluations", RunError, "put it back from a copy, or remove it to count from none")


class CountedEvaluation(Saved):
    """One evaluation of a run; what a newer polypseg has added stays in the file.

    Attributes:
        time: When.
        id: As in its evaluation.json.
        split: What was scored, as test or external.
        splits: Of the run, those that images came from.
        data_digest: Of the images.
        model_digest: Of the checkpoint.
        threshold: In use.
        peak_threshold: In use.
        tta: Test-time augmentation.
        num_images: That were scored.
        folder: Of the evaluation.
    """

    model_config = ConfigDict(extra="allow")

    time: str = ""
    id: str = ""
    split: str = ""
    splits: tuple[str, ...] = ()
    data_digest: str = ""
    model_digest: str | None = None
    threshold: float | None = None
    peak_threshold: float | None = Field(None, alias="seed_threshold")
    tta: str = "none"
    num_images: int | None = None
    folder: str = ""


class _Evaluations(Saved):
    evaluations: tuple[CountedEvaluation, ...]


def read_evaluations(run: Run) -> tuple[CountedEvaluation, ...]:
    """Every evaluation of a run, the first one first.

    Raises:
        RunError: The file is damaged.
    """
    path = _path(run)
    if not path.exists():
        return ()
    return read_json(path, _Evaluations, _KIND).evaluations


def add_evaluation(run: Run, evaluation: CountedEvaluation) -> None:
    """Write one more evaluation down, with the time.

    Raises:
        BusyError: Another process keeps the file.
        RunError: The file is damaged.
    """
    entry = evaluation.model_copy(update={"time": datetime.now(UTC).isoformat(timespec="seconds")})
    with alone_at(_path(run), PATIENCE_SECONDS):
        write_text(_path(run), as_json(_Evaluations(evaluations=(*read_evaluations(run), entry))))


def times_test_was_scored(run: Run) -> int:
    """In how many evaluations images of the run's test split took part.

    Raises:
        RunError: The file is damaged.
    """
    return sum("test" in entry.splits for entry in read_evaluations(run))


def _path(run: Run) -> Path:
    return run.folder / "evaluations.json"
