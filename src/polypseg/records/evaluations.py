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
from polypseg.records.run import Run


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
    try:
        evaluations: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["evaluations"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path}: cannot read the run's evaluations ({error!r})") from error
    return evaluations


def add_evaluation(run: Run, facts: Mapping[str, Any]) -> None:
    """Write one more evaluation down.

    Raises:
        RunError: The file is damaged.
    """
    entry = {"time": datetime.now(UTC).isoformat(timespec="seconds"), **facts}
    write_text(_path(run), json.dumps({"evaluations": [*read_evaluations(run), entry]}, indent=1))


def times_test_was_scored(run: Run) -> int:
    """In how many evaluations images of the run's test split took part.

    Raises:
        RunError: The file is damaged.
    """
    return sum("test" in entry.get("splits", ()) for entry in read_evaluations(run))


def _path(run: Run) -> Path:
    return run.folder / "evaluations.json"
