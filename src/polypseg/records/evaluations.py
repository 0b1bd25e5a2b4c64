"""How often a run was scored: RUN/evaluations.json, a line an evaluation.

A test split that is scored after every change has become a validation split. The count makes that visible.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from polypseg.errors import RunError
from polypseg.records.atomic import write_text
from polypseg.records.lock import alone_at
from polypseg.records.reading import FileKind, read_json
from polypseg.records.run import Run

PATIENCE_SECONDS = 10.0
"""For another evaluation of the run that is being written down this moment."""

_KIND = FileKind("list of a run's evaluations", RunError, "put it back from a copy, or remove it to count from none")


def read_evaluations(run: Run) -> list[dict[str, Any]]:
    """Every evaluation of a run, the first one first.

    Returns:
        Each with time, id, split, splits (those that images came from), data_digest, threshold, num_images.

    Raises:
        RunError: The file is damaged.
    """
    path = _path(run)
    if not path.exists():
        return []
    evaluations = read_json(path, dict[str, list[dict[str, Any]]], _KIND).get("evaluations")
    if evaluations is None:
        raise _KIND.damaged(path, "it lacks evaluations")
    return evaluations


def add_evaluation(run: Run, facts: Mapping[str, Any]) -> None:
    """Write one more evaluation down.

    Raises:
        BusyError: Another process keeps the file.
        RunError: The file is damaged.
    """
    entry = {"time": datetime.now(UTC).isoformat(timespec="seconds"), **facts}
    with alone_at(_path(run), PATIENCE_SECONDS):
        write_text(_path(run), json.dumps({"evaluations": [*read_evaluations(run), entry]}, indent=1))


def times_test_was_scored(run: Run) -> int:
    """In how many evaluations images of the run's test split took part.

    Raises:
        RunError: The file is damaged.
    """
    return sum("test" in entry.get("splits", ()) for entry in read_evaluations(run))


def _path(run: Run) -> Path:
    return run.folder / "evaluations.json"
